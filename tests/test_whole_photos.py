"""A photo with pixels missing is called truncated, however its file ends; one that has all of them is used."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from semcast.errors import Damaged
from semcast.photos import read_bytes, read_mask, read_photo
from semcast.scans import parse

END = b"\xff\xd9"
RISE = np.linspace(0, 60, 96)[:, None] + np.linspace(0, 90, 128)
NOISE = np.random.default_rng(0).integers(0, 100, (96, 128, 3), dtype=np.uint8)
SCENE = (RISE[..., None] + NOISE).astype(np.uint8)
KINDS = [
    {}, {"optimize": True}, {"progressive": True}, {"restart_marker_blocks": 5}, {"restart_marker_rows": 1},
    {"progressive": True, "restart_marker_rows": 2}, {"subsampling": 0, "quality": 95},
]  # fmt: skip


def jpeg(pixels: np.ndarray | Image.Image = SCENE, **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def assert_truncated(data: bytes, longest: int = 2048) -> None:
    with pytest.raises(Damaged, match="truncated"):
        read_bytes(data, "a", longest)


# ---- JPEG ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_whole_jpegs_are_used(options: dict[str, object], mode: str) -> None:
    """Also where they look as if something were missing: of middle grey, or ending in zero bits."""
    size = (200, 130)
    below = np.concatenate([SCENE, np.full((600, 128, 3), 128, np.uint8)])
    for image in map(Image.fromarray, (SCENE, below, np.where(below == 128, 255, below).astype(np.uint8))):
        data = jpeg(image.convert(mode), **options)
        for longest in (2048, 50):
            expected = read_bytes(data, "a", longest)
            assert np.array_equal(read_bytes(data[:-2], "a", longest), expected)
    for level in (0, 128, 255):
        read_bytes(jpeg(Image.new("RGB", size, (level,) * 3).convert(mode), **options), "a")


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_blocks": 5}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_end_mark_does_not_make_a_jpeg_whole(options: dict[str, object], share: float) -> None:
    data = jpeg(**options)
    start = parse(data).scans[0].start
    cut = int(start + share * (len(data) - start))
    assert_truncated(data[:cut])
    assert_truncated(data[:cut] + END)
    assert_truncated(data[:cut] + END, 50)
    if "optimize" not in options:
        assert_truncated(data[:cut] + bytes(len(data) - cut - 2) + END)


def test_zeros_more_than_pixels_need() -> None:
    """Of codes as short as those of a picture of one colour, half a file of zeros is a whole picture and more."""
    flat = SCENE.copy()
    flat[16:] = 90
    data = jpeg(flat, optimize=True)
    cut = parse(data).scans[0].start + 400
    assert_truncated(data[:cut] + bytes(4000) + END)
    whole = read_bytes(data, "a")
    assert np.array_equal(read_bytes(data[:-2] + bytes(4000) + END, "a"), whole)  # behind all pixels, they are no harm


def test_a_jpeg_cut_between_two_scans() -> None:
    data = jpeg(progressive=True)
    scans = parse(data).scans
    assert len(scans) > 5
    for scan in scans[:-1]:
        assert_truncated(data[: scan.end])
        assert_truncated(data[: (scan.start + scan.end) // 2] + END)


def test_a_jpeg_cut_before_a_restart_mark() -> None:
    data = jpeg(restart_marker_blocks=5)
    at = data.index(b"\xff\xd3", parse(data).scans[0].start)
    for cut in (at, at + 2):
        assert_truncated(data[:cut])
        assert_truncated(data[:cut] + END)


# ---- others ----------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: bytes, size: tuple[int, int], bits: int = 8, kind: int = 2, laced: int = 0, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, kind, 0, 0, laced))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


ROWS = b"".join(b"\0" + row.tobytes() for row in SCENE)


def test_a_png_with_fewer_rows_than_it_says() -> None:
    size, row = (128, 96), 1 + 3 * 128
    assert np.array_equal(read_bytes(png(ROWS, size), "a"), SCENE)
    for lost in (row, 48 * row):
        assert_truncated(png(ROWS[:-lost], size))
    long = chunk(b"zTXt", b"note\0\0" + zlib.compress(b"x" * (2 << 20)))
    assert_truncated(png(ROWS[: 48 * row], size, 8, 2, 0, long))
    black = ROWS[: 48 * row] + bytes(48 * row)
    assert (read_bytes(png(black, size), "a")[48:] == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (64, 33)])
@pytest.mark.parametrize(("bits", "kind"), [(1, 0), (2, 0), (4, 3), (8, 2), (16, 6)])
def test_interlaced_pngs(size: tuple[int, int], bits: int, kind: int) -> None:
    """Their passes are counted one by one: as many bytes as the decoder takes, and one fewer is too few."""
    wide = bits * {0: 1, 2: 3, 3: 1, 6: 4}[kind]
    needed = 0
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    for left, top, right, down in passes:
        columns, rows = len(range(left, size[0], right)), len(range(top, size[1], down))
        needed += rows * (1 + (columns * wide + 7) // 8) if columns else 0
    palette = (chunk(b"PLTE", bytes(48)),) if kind == 3 else ()
    assert read_bytes(png(bytes(needed), size, bits, kind, 1, *palette), "a").shape == (size[1], size[0], 3)
    assert_truncated(png(bytes(needed - 1), size, bits, kind, 1, *palette))


def test_a_mask_with_rows_missing_is_refused(tmp_path: Path) -> None:
    """What lies under them would be sent as if it were not private."""
    rows = b"".join(b"\0" + bytes([255] * 128) for _ in range(48))
    path = tmp_path / "mask.png"
    path.write_bytes(png(rows, (128, 96), 8, 0))
    with pytest.raises(Damaged, match="truncated"):
        read_mask(path)


def test_a_tiff_with_strips_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(SCENE).save(path)
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<HH", 278, 4)) if struct.pack("<HH", 278, 4) in data else data.index(struct.pack("<HH", 278, 3))
    data[at + 8 : at + 12] = struct.pack("<I", 40)  # rows of a strip: there would be three
    path.write_bytes(data)
    with pytest.raises(Damaged, match="truncated"):
        read_photo(path)


@pytest.mark.parametrize("options", [{"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"format": "AVIF"}])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_what_is_cut_off_is_not_called_another_kind_of_file(options: dict[str, str], share: float) -> None:
    if options.get("format") == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow cannot write AVIF")
    file = io.BytesIO()
    Image.fromarray(SCENE).save(file, **{"format": "TIFF"} | options)
    assert_truncated(file.getvalue()[: int(share * len(file.getvalue()))])
