"""What a file says of its samples is heeded: bits, sign, which end is white, planes, inks, transparency, profile, gamma, turn."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semcast.errors import BadInput, SemcastError
from semcast.photos import read_mask, read_photo

ROOT = Path(__file__).resolve().parents[1]
GREY = (np.add.outer(3 * np.arange(40), 2 * np.arange(64)) % 256).astype(np.uint8)
COLOUR = np.stack((GREY, GREY[::-1], GREY[:, ::-1]), -1)
SHORT, LONG = 3, 4
Tags = dict[int, tuple[int, list[int]]]


def grey_of(photo: np.ndarray) -> np.ndarray:
    assert (photo == photo[..., :1]).all()
    return photo[..., 0].astype(int)


def tiff(path: Path, data: bytes, bits: int, photometric: int, planes: int = 1, **more: list[int]) -> Path:
    """A TIFF of one strip, 64 x 40, by hand; ``more`` are tags of short numbers, as ``t339=[2]``."""
    tags: Tags = {
        256: (LONG, [64]), 257: (LONG, [40]), 258: (SHORT, [bits] * planes), 259: (SHORT, [1]), 262: (SHORT, [photometric]),
        273: (LONG, [0]), 277: (SHORT, [planes]), 278: (LONG, [40]), 279: (LONG, [len(data)]),
    }  # fmt: skip
    tags |= {int(name[1:]): (SHORT, values) for name, values in more.items()}
    start = 8 + 2 + 12 * len(tags) + 4
    bodies = {tag: np.array(values, "<u2" if kind == SHORT else "<u4").tobytes() for tag, (kind, values) in tags.items()}
    where = start + sum(len(body) for body in bodies.values() if len(body) > 4)
    bodies[273] = struct.pack("<I", where)
    entries, extra = b"", b""
    for tag in sorted(tags):
        body = bodies[tag]
        if len(body) > 4:
            body, extra = struct.pack("<I", start + len(extra)), extra + body
        entries += struct.pack("<HHI", tag, tags[tag][0], len(tags[tag][1])) + body.ljust(4, b"\0")
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + extra + data)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path: Path, rows: np.ndarray, bits: int, kind: int, *extra: bytes) -> Path:
    """A PNG whose packed rows are given, with more chunks before its pixels."""
    wide = {0: 1, 2: 3, 4: 2}[kind] * bits
    header = struct.pack(">IIBBBBB", rows[0].nbytes * 8 // wide, len(rows), bits, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    return path


def profile(space: bytes, gamma: float, *primaries: tuple[float, float, float]) -> bytes:
    """A small ICC profile: greys, or RGB with those primaries (XYZ)."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(256 * gamma), 0)
    white = (0.9642, 1.0, 0.8249)
    tags = [(b"wtpt", xyz(*white)), (b"desc", b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78)),
            (b"cprt", b"text\0\0\0\0x\0\0\0")]  # fmt: skip
    tags += [(name, curve) for name in ((b"kTRC",) if space == b"GRAY" else (b"rTRC", b"gTRC", b"bTRC"))]
    tags += [(name, xyz(*each)) for name, each in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=False)]
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, value in tags:
        value += bytes(-len(value) % 4)
        table, body = table + name + struct.pack(">II", at + len(body), len(value)), body + value
    head = bytearray(128)
    head[:4], head[8], head[12:24], head[36:40], head[68:80] = (
        struct.pack(">I", at + len(body)), 2, b"mntr" + space + b"XYZ ", b"acsp", xyz(*white)[8:],
    )  # fmt: skip
    return bytes(head) + struct.pack(">I", len(tags)) + table + body


LINEAR = profile(b"GRAY", 1.0)
SWAPPED = profile(b"RGB ", 2.2, (0.1431, 0.0606, 0.7141), (0.3851, 0.7169, 0.0971), (0.4361, 0.2225, 0.0139))
"""Red is called blue and blue red."""


def from_light(levels: np.ndarray) -> np.ndarray:
    """sRGB's levels of linear ones."""
    light = levels / 255.0
    return np.rint(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


def refusal(read: Callable[[Path], object], path: Path, kind: type[SemcastError] = BadInput) -> str:
    with pytest.raises(kind) as caught:
        read(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


# ---- TIFF ------------------------------------------------------------------------------------------------------------


def test_white_may_be_zero_at_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    assert np.array_equal(grey_of(read_photo(tiff(path, (255 - GREY).tobytes(), 8, 0))), GREY)
    deep = 65535 - GREY.astype("<u2") * 257
    assert np.array_equal(grey_of(read_photo(tiff(path, deep.tobytes(), 16, 0))), GREY)
    real = (1 - GREY / 255).astype("<f4")
    assert np.abs(grey_of(read_photo(tiff(path, real.tobytes(), 32, 0, t339=[3]))) - GREY).max() <= 1


@pytest.mark.parametrize(("kind", "sign"), [("<i1", 2), ("<i2", 2), ("<i4", 2), ("<u4", 1)])
def test_numbers_with_a_sign_or_32_bits_are_refused(tmp_path: Path, kind: str, sign: int) -> None:
    values = (GREY >> 1).astype(kind)
    message = refusal(read_photo, tiff(tmp_path / "a.tif", values.tobytes(), 8 * values.itemsize, 1, t339=[sign]))
    assert "signed" in message or "32 bits" in message


def test_twelve_bits_are_a_full_range(tmp_path: Path) -> None:
    values = (GREY.astype(np.uint16) * 16 + GREY // 16).reshape(-1, 2)
    packed = np.stack((values[:, 0] >> 4, (values[:, 0] & 15) << 4 | values[:, 1] >> 8, values[:, 1] & 255), 1)
    path = tiff(tmp_path / "a.tif", packed.astype(np.uint8).tobytes(), 12, 1)
    assert np.array_equal(grey_of(read_photo(path)), GREY)


def test_separate_planes(tmp_path: Path) -> None:
    planes = np.moveaxis(COLOUR, 2, 0)
    data, path = planes.tobytes(), tmp_path / "a.tif"
    tiff(path, data, 8, 2, 3, t284=[2])
    assert "strips" in refusal(read_photo, path, SemcastError)  # three planes and one strip
    refusal(read_photo, tiff(path, (planes.astype("<u2") * 257).tobytes(), 16, 2, 3, t284=[2]))


def test_palettes_of_eight_bits(tmp_path: Path) -> None:
    falling = list(range(255, -1, -1)) * 3
    assert np.array_equal(grey_of(read_photo(tiff(tmp_path / "a.tif", GREY.tobytes(), 8, 3, t320=falling))), 255 - GREY)
    usual = [257 * each for each in falling]
    assert np.array_equal(grey_of(read_photo(tiff(tmp_path / "a.tif", GREY.tobytes(), 8, 3, t320=usual))), 255 - GREY)


def test_inks_that_are_not_cmyk_are_refused(tmp_path: Path) -> None:
    inks = np.dstack((COLOUR, GREY)).tobytes()
    read_photo(tiff(tmp_path / "a.tif", inks, 8, 5, 4, t332=[1]))
    assert "inks" in refusal(read_photo, tiff(tmp_path / "a.tif", inks, 8, 5, 4, t332=[2]))


def test_raw_ycbcr(tmp_path: Path) -> None:
    """One colour a pixel is shown; one for four is not called truncated, which it is not."""
    pixels = np.asarray(Image.fromarray(COLOUR).convert("YCbCr"))
    whole = tiff(tmp_path / "a.tif", pixels.tobytes(), 8, 6, 3, t530=[1, 1])
    assert np.abs(read_photo(whole).astype(int) - COLOUR).mean() < 2
    quarter = tiff(tmp_path / "b.tif", pixels.tobytes()[: 40 * 64 * 3 // 2], 8, 6, 3, t530=[2, 2])
    assert "YCbCr" in refusal(read_photo, quarter)


# ---- PNG -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_any_depth(tmp_path: Path, bits: int) -> None:
    most, key = (1 << bits) - 1, {8: 2, 16: 514}.get(bits, 1)
    levels = GREY.astype(int) * 257 if bits == 16 else GREY.astype(int) >> (8 - bits)
    shown = np.where(levels == key, 255, levels * 255 // most)
    assert key in levels or bits == 1
    rows = levels.astype(">u2") if bits == 16 else levels.astype(np.uint8)
    if bits < 8:
        per = 8 // bits
        rows = sum(rows[:, i::per] << (8 - bits * (i + 1)) for i in range(per)).astype(np.uint8)  # type: ignore[union-attr]
    path = png(tmp_path / "a.png", rows, bits, 0, chunk(b"tRNS", struct.pack(">H", key)))
    assert np.array_equal(grey_of(read_photo(path)), shown)


def test_the_transparent_colour_of_sixteen_bits(tmp_path: Path) -> None:
    deep = (COLOUR.astype(int) * 256 + 7).astype(">u2")
    key = chunk(b"tRNS", deep[3, 5].tobytes())
    photo = read_photo(png(tmp_path / "a.png", deep.reshape(40, -1), 16, 2, key))
    clear = (COLOUR[3, 5] == COLOUR).all(-1)
    assert (photo[clear] == 255).all() and np.array_equal(photo[~clear], COLOUR[~clear])


@pytest.mark.parametrize("bits", [8, 16])
def test_a_profile_of_greys_beside_an_alpha(tmp_path: Path, bits: int) -> None:
    """It holds for greys; their three equal channels it would not fit."""
    full = np.full_like(GREY, 255)
    rows = np.stack((GREY, full), -1).reshape(40, -1)
    icc = chunk(b"iCCP", b"x\0\0" + zlib.compress(LINEAR))
    path = png(tmp_path / "a.png", rows if bits == 8 else rows.astype(">u2") * 257, bits, 4, icc)
    assert np.abs(grey_of(read_photo(path)) - from_light(GREY)).mean() < 1
    path = png(tmp_path / "b.png", GREY, 8, 0, icc, chunk(b"tRNS", struct.pack(">H", int(GREY[0, 0]))))
    shown = np.where(GREY[0, 0] == GREY, 255, from_light(GREY))
    assert np.abs(grey_of(read_photo(path)) - shown).mean() < 1


def test_a_profile_beside_ycbcr(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).convert("YCbCr")
    image.save(tmp_path / "a.tif", icc_profile=SWAPPED)
    assert np.abs(read_photo(tmp_path / "a.tif").astype(int) - COLOUR[..., ::-1]).mean() < 6


def test_gamma_without_a_profile(tmp_path: Path) -> None:
    def gamma(value: int) -> bytes:
        return chunk(b"gAMA", struct.pack(">I", value))

    rows = COLOUR.reshape(40, -1)
    photo = read_photo(png(tmp_path / "a.png", rows, 8, 2, gamma(100_000)))
    assert np.array_equal(photo, from_light(COLOUR))
    srgb = chunk(b"sRGB", b"\0")
    for extra in ((gamma(45_455),), (srgb, gamma(100_000)), (gamma(0),)):
        assert np.array_equal(read_photo(png(tmp_path / "b.png", rows, 8, 2, *extra)), COLOUR)


@pytest.mark.parametrize(("transfer", "says"), [(16, "PQ"), (18, "HLG"), (13, "")])
def test_levels_for_other_screens_are_refused(tmp_path: Path, transfer: int, says: str) -> None:
    path = png(tmp_path / "a.png", COLOUR.reshape(40, -1), 8, 2, chunk(b"cICP", bytes([9, transfer, 0, 1])))
    if says:
        assert says in refusal(read_photo, path)
    else:
        assert np.array_equal(read_photo(path), COLOUR)


TURN = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
NAME = b"XML:com.adobe.xmp\0"
LONG_TEXT = chunk(b"zTXt", b"note\0\0" + zlib.compress(b"x" * (2 << 20)))
EXIF = b"\nexif\n 34\n" + (b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0").hex().encode()


@pytest.mark.parametrize(
    "texts",
    [
        (chunk(b"iTXt", NAME + bytes(4) + TURN), LONG_TEXT),
        (LONG_TEXT, chunk(b"iTXt", NAME + b"\1\0\0\0" + zlib.compress(TURN))),
        (chunk(b"iTXt", NAME + b"\1\0\0\0" + zlib.compress(TURN + b" " * (2 << 20))),),
        (LONG_TEXT, chunk(b"tEXt", b"Raw profile type exif\0" + EXIF)),
        (chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(EXIF + b"0" * (2 << 20))),),
    ],
    ids=["plain", "packed", "long", "exif", "long-exif"],
)
def test_a_text_too_long_does_not_take_the_turn_away(tmp_path: Path, texts: tuple[bytes, ...]) -> None:
    """A mask over it would hide other pixels than it shows."""
    path = png(tmp_path / "a.png", COLOUR.reshape(40, -1), 8, 2, *texts)
    assert np.array_equal(read_photo(path), np.rot90(COLOUR, -1))


# ---- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "gif", "tif", "webp"])
def test_a_mask_is_one_picture(tmp_path: Path, kind: str) -> None:
    mask = Image.fromarray(np.where(GREY > 99, 255, 0).astype(np.uint8)).convert("RGB" if kind == "webp" else "L")
    options = {"lossless": True} if kind == "webp" else {}
    mask.save(tmp_path / f"a.{kind}", **options)
    assert np.array_equal(read_mask(tmp_path / f"a.{kind}"), GREY > 99)
    mask.save(tmp_path / f"b.{kind}", save_all=True, append_images=[Image.new(mask.mode, mask.size)], **options)
    assert "one picture" in refusal(read_mask, tmp_path / f"b.{kind}")


@pytest.mark.parametrize(("mode", "key"), [("L", 255), ("P", 0), ("RGB", (0, 0, 0))])
def test_a_mask_has_no_transparency(tmp_path: Path, mode: str, key: object) -> None:
    Image.fromarray(np.where(GREY > 99, 255, 0).astype(np.uint8)).convert(mode).save(tmp_path / "a.png", transparency=key)
    assert "transparency" in refusal(read_mask, tmp_path / "a.png")
    Image.fromarray(GREY).save(tmp_path / "b.jpg")
    assert "(PNG, BMP" in (said := refusal(read_mask, tmp_path / "b.jpg")) and "<" not in said  # JPEG smears the edges


def test_a_mask_with_a_palette_of_eight_bits_is_not_empty(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", (GREY > 99).astype(np.uint8).tobytes(), 8, 3, t320=([0, 255] + [0] * 254) * 3)
    assert np.array_equal(read_mask(path), GREY > 99)


def test_libraries_say_nothing_beside_the_sentence(tmp_path: Path) -> None:
    """libtiff prints what it also raises, and so does Pillow's log where nobody listens: in a process where nobody does."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.tif", compression="tiff_adobe_deflate")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    (tmp_path / "a.tif").write_bytes(data)
    tiff(tmp_path / "b.tif", bytes(64 * 40), 8, 1, t277=[62211])
    code = """
import sys
from semcast.errors import SemcastError
from semcast.photos import read_photo
for name in sys.argv[1:]:
    try:
        read_photo(name)
    except SemcastError:
        print("refused")
print("still here", file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.tif", tmp_path / "b.tif"], capture_output=True, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.stdout.split() == ["refused", "refused"] and done.stderr == "still here\n"
