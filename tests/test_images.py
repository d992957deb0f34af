"""Every kind of photo that must be read, every kind that must be refused, and writing that never harms a file."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps, features

from semcast.errors import SemcastError
from semcast.photos import check_output, read_aligned, read_mark, read_mask, read_photo, to_tensor, to_uint8, write_image

ORIENTATION = 0x0112


@pytest.fixture
def scene() -> np.ndarray:
    """A smooth picture without symmetry, uint8 [40, 60, 3]."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack((4 * x, 6 * y, 2 * (x + y)), -1).astype(np.uint8)


def saved(path: Path, pixels: np.ndarray | Image.Image, **options: object) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def near(one: np.ndarray, other: np.ndarray, most: float) -> bool:
    return one.shape == other.shape and float(np.abs(one.astype(float) - other).mean()) <= most


# ---- must work -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.PNG", "a.ppm"])
def test_lossless_formats_come_back_exactly(tmp_path: Path, scene: np.ndarray, name: str) -> None:
    photo = read_photo(saved(tmp_path / name, scene))
    assert photo.dtype == np.uint8
    assert np.array_equal(photo, scene)


@pytest.mark.parametrize("kind", ["jpg", "webp", "avif", "heic"])
def test_lossy_formats(tmp_path: Path, scene: np.ndarray, kind: str) -> None:
    if kind == "avif" and not features.check("avif"):
        pytest.skip("this Pillow cannot write AVIF")
    if kind == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    assert near(read_photo(saved(tmp_path / f"a.{kind}", scene, quality=95)), scene, 6)


def test_the_content_counts_not_the_extension(tmp_path: Path, scene: np.ndarray) -> None:
    saved(tmp_path / "a.png", scene)
    renamed = (tmp_path / "a.png").rename(tmp_path / "photo.dat")
    assert np.array_equal(read_photo(str(renamed)), scene)


def test_greyscale(tmp_path: Path, scene: np.ndarray) -> None:
    grey = scene[..., 0]
    assert np.array_equal(read_photo(saved(tmp_path / "a.png", grey)), np.repeat(grey[..., None], 3, -1))


def test_one_bit_and_palette(tmp_path: Path, scene: np.ndarray) -> None:
    bits = read_photo(saved(tmp_path / "a.png", Image.fromarray(scene).convert("1")))
    assert set(np.unique(bits)) == {0, 255}
    palette = Image.fromarray(scene).quantize(64)
    assert np.array_equal(read_photo(saved(tmp_path / "b.png", palette)), np.asarray(palette.convert("RGB")))


def test_transparency_shows_white(tmp_path: Path, scene: np.ndarray) -> None:
    alpha = np.zeros(scene.shape[:2], np.uint8)
    alpha[:, 30:] = 255
    photo = read_photo(saved(tmp_path / "a.png", np.dstack((scene, alpha))))
    assert (photo[:, :30] == 255).all()
    assert np.array_equal(photo[:, 30:], scene[:, 30:])
    half = np.dstack((np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 128, np.uint8)))
    assert abs(int(read_photo(saved(tmp_path / "b.png", half))[0, 0, 0]) - 127) <= 1


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    photo = read_photo(saved(tmp_path / name, ramp))
    assert near(photo[..., 0], ramp / 257.0, 0.6)


def test_sixteen_bit_colour_png(tmp_path: Path) -> None:
    """Pillow does not write this one: a PNG by hand."""
    colour = np.zeros((8, 8, 3), ">u2")
    colour[..., 0], colour[..., 1] = 65535, 32768
    rows = b"".join(b"\0" + row.tobytes() for row in colour)
    path = tmp_path / "a.png"
    path.write_bytes(png(8, 8, rows, depth=16))
    assert read_photo(path)[3, 3].tolist() == [255, 128, 0]


def test_cmyk_jpeg(tmp_path: Path) -> None:
    red = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    r, g, b = read_photo(saved(tmp_path / "a.jpg", red, quality=95))[16, 16]
    assert r > 200
    assert max(g, b) < 80


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, scene: np.ndarray, orientation: int, name: str) -> None:
    # What a camera stores for an upright scene, by orientation.
    stored = {
        1: scene, 2: scene[:, ::-1], 3: scene[::-1, ::-1], 4: scene[::-1], 5: scene.transpose(1, 0, 2),
        6: np.rot90(scene, 1), 7: np.rot90(scene.transpose(1, 0, 2), 2), 8: np.rot90(scene, 3),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = saved(tmp_path / name, np.ascontiguousarray(stored), exif=exif)
    assert near(read_photo(path), scene, 8 if name == "a.jpg" else 0)


def test_broken_exif_does_not_matter(tmp_path: Path, scene: np.ndarray) -> None:
    assert near(read_photo(saved(tmp_path / "a.jpg", scene, exif=b"Exif\0\0MM\0*\0\0\0\x99garbage")), scene, 8)


def test_odd_exif_does_not_stop_the_turn(tmp_path: Path, scene: np.ndarray) -> None:
    """A text where a number belongs: PIL.ImageOps.exif_transpose raises, the orientation is there all the same."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[282] = 6, 72.0  # the resolution
    raw = bytearray(exif.tobytes())
    raw[raw.index(struct.pack(">HH", 282, 5)) + 3] = 2
    path = saved(tmp_path / "a.jpg", np.ascontiguousarray(np.rot90(scene, 1)), exif=bytes(raw), quality=95)
    with pytest.raises(Exception), Image.open(path) as image:  # noqa: B017 - why the turns are our own
        ImageOps.exif_transpose(image)
    assert near(read_photo(path), scene, 8)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_turned_tiffs_of_every_mode(tmp_path: Path, scene: np.ndarray, mode: str, orientation: int) -> None:
    image, exif = Image.fromarray(scene).convert(mode), Image.Exif()
    exif[ORIENTATION] = orientation
    turned = image.transpose({3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation])
    assert np.array_equal(read_photo(saved(tmp_path / "a.tif", turned, exif=exif)), np.asarray(image.convert("RGB")))


def test_texts_that_are_too_long_do_not_matter(tmp_path: Path, scene: np.ndarray) -> None:
    long = zlib.compress(b"x" * (2 << 20))
    plain = saved(tmp_path / "a.png", scene).read_bytes()
    for where, kind, body in (
        (b"IDAT", b"zTXt", b"note\0\0" + long), (b"IDAT", b"iTXt", b"note\0\1\0\0\0" + long),
        (b"IEND", b"zTXt", b"note\0\0" + long), (b"IDAT", b"iCCP", b"big\0\0" + long),
    ):  # fmt: skip
        at = plain.index(where) - 4
        (tmp_path / "b.png").write_bytes(plain[:at] + chunk(kind, body) + plain[at:])
        assert np.array_equal(read_photo(tmp_path / "b.png"), scene)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 95}])
def test_a_jpeg_may_lack_its_end_mark_but_no_pixel(tmp_path: Path, options: dict[str, object]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    path = saved(tmp_path / "a.jpg", noise, **options)
    whole, expected = path.read_bytes(), read_photo(path)
    path.write_bytes(whole[:-2])
    assert np.array_equal(read_photo(path), expected)
    for lost in (10, 60, len(whole) // 2):
        path.write_bytes(whole[:-lost])
        assert "damaged" in refusal(lambda: read_photo(path))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_mask_is_turned_like_its_photo(tmp_path: Path, name: str) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[2:9, 3:20] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = saved(tmp_path / name, np.ascontiguousarray(np.rot90(mask, 1)), exif=exif)
    assert np.array_equal(read_mask(path), mask > 0)


def test_small_photos_keep_their_size(tmp_path: Path) -> None:
    small = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(read_photo(saved(tmp_path / "a.png", small)), small)
    assert read_photo(saved(tmp_path / "b.png", small[..., 0])).shape == (32, 32, 3)
    assert read_photo(saved(tmp_path / "c.png", small[:1, :1])).shape == (1, 1, 3)


def test_a_48_megapixel_phone_photo(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (8000, 6000), (200, 100, 50)), exif=exif)
    photo = read_photo(path)
    assert photo.shape == (2048, 1536, 3)
    assert near(photo, np.broadcast_to([200, 100, 50], photo.shape), 2)


def test_a_thin_photo_keeps_a_pixel(tmp_path: Path) -> None:
    assert read_photo(saved(tmp_path / "a.png", np.zeros((1, 9000, 3), np.uint8))).shape == (1, 2048, 3)


def test_an_embedded_profile_is_honoured(tmp_path: Path) -> None:
    """The same numbers in another colour space are another colour; a profile that is none changes nothing."""
    plain = Image.new("RGB", (8, 8), (120, 60, 200))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert near(read_photo(saved(tmp_path / "a.png", plain, icc_profile=srgb)), np.asarray(plain), 1)
    assert np.array_equal(read_photo(saved(tmp_path / "b.png", plain, icc_profile=b"nonsense")), np.asarray(plain))


def test_the_first_picture_of_an_animation(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    path = saved(tmp_path / "a.gif", first, save_all=True, append_images=[second])
    assert read_photo(path)[4, 4].tolist() == [255, 0, 0]


def test_aligned_photos_are_resized(tmp_path: Path, scene: np.ndarray) -> None:
    square = np.ascontiguousarray(scene[:, :40])
    assert read_aligned(saved(tmp_path / "a.png", square), 16).shape == (16, 16, 3)
    assert read_aligned(saved(tmp_path / "a.png", square), 64).shape == (64, 64, 3)
    assert np.array_equal(read_aligned(tmp_path / "a.png", 40), square)
    checks = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)
    fine = read_aligned(saved(tmp_path / "b.png", checks), 256)
    assert fine.std() < 2  # a checkerboard too fine for the size turns grey, it does not alias


# ---- must be refused -------------------------------------------------------------------------------------------------


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, rows: bytes = b"", depth: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def refusal(read: Callable[[], object]) -> str:
    """The one sentence of the refusal."""
    with pytest.raises(SemcastError) as caught:
        read()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"just some text, long enough to be looked at\n" * 20, "is not an image"),
        (os.urandom(4000), "is not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "is not an image"),
        (png(50_000, 50_000), "megapixels"),
        (png(14_000, 13_000), "megapixels"),
        (png(100, 100), "damaged"),
        (png(0, 10), "image"),
    ],
)
def test_refused_content(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    for read in (read_photo, read_aligned):
        message = refusal(lambda read=read: read(path))
        assert says in message
        assert "bad.png" in message


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated(tmp_path: Path, name: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[: max(12, int(path.stat().st_size * share))])
    message = refusal(lambda: read_photo(path))
    assert "damaged" in message or "not an image" in message


def test_missing_folder_and_strange_files(tmp_path: Path) -> None:
    assert "does not exist" in refusal(lambda: read_photo(tmp_path / "none.jpg"))
    assert "is a folder" in refusal(lambda: read_photo(tmp_path))
    assert "cannot be read" in refusal(lambda: read_photo(tmp_path / ("x" * 300)))
    refusal(lambda: read_photo("nul\0.png"))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "is not a file" in refusal(lambda: read_photo(tmp_path / "pipe"))


def test_infinite_floats(tmp_path: Path) -> None:
    bad = np.full((8, 8), np.nan, np.float32)
    assert "NaN" in refusal(lambda: read_photo(saved(tmp_path / "a.tif", bad)))
    ramp = np.linspace(-0.5, 0.5, 64, dtype=np.float32).reshape(8, 8)
    assert "do not say what is black" in refusal(lambda: read_photo(saved(tmp_path / "b.tif", ramp)))
    ringing = np.linspace(-0.01, 1.0, 64, dtype=np.float32).reshape(8, 8)
    assert read_photo(saved(tmp_path / "c.tif", ringing)).max() == 255


def test_aligned_must_be_square(tmp_path: Path, scene: np.ndarray) -> None:
    assert "must be square" in refusal(lambda: read_aligned(saved(tmp_path / "a.png", scene)))
    almost = Image.new("L", (4000, 3999))
    assert "must be square" in refusal(lambda: read_aligned(saved(tmp_path / "b.png", almost)))


# ---- writing ---------------------------------------------------------------------------------------------------------


def test_where_a_picture_can_be_written(tmp_path: Path) -> None:
    check_output(tmp_path / "new.png")
    check_output(tmp_path / "new.JPG")
    old = tmp_path / "old.png"
    old.write_bytes(b"precious")
    assert "exists already" in refusal(lambda: check_output(old))
    check_output(old, force=True)
    assert old.read_bytes() == b"precious"
    assert "is a folder" in refusal(lambda: check_output(tmp_path, force=True))
    assert "does not exist" in refusal(lambda: check_output(tmp_path / "no" / "a.png"))
    assert "does not exist" in refusal(lambda: check_output(old / "a.png"))
    for name in ("a.xyz", "a", "a.npy"):
        message = refusal(lambda name=name: check_output(tmp_path / name))
        assert ".png" in message
        assert ".jpg" in message


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere: pretend
    assert "no permission" in refusal(lambda: check_output(tmp_path / "a.png"))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.jpg", "a.webp"])
def test_what_is_written_is_read(tmp_path: Path, scene: np.ndarray, name: str) -> None:
    write_image(tmp_path / name, scene)
    assert near(read_photo(tmp_path / name), scene, 4 if name in ("a.jpg", "a.webp") else 0)
    write_image(tmp_path / name, to_tensor(scene))  # overwrites, and takes tensors
    assert near(read_photo(tmp_path / name), scene, 4 if name in ("a.jpg", "a.webp") else 0)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_interrupted_writing_harms_nothing(tmp_path: Path, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_image(path, scene)
    before = path.read_bytes()

    def broken(image: Image.Image, file: object, *_: object, **__: object) -> None:
        file.write(b"half a pic")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", broken)
    assert "No space left" in refusal(lambda: write_image(path, scene[::-1]))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_names_as_long_as_the_file_system_allows(tmp_path: Path, scene: np.ndarray) -> None:
    for name in ("x" * 251 + ".png", "顔" * 82 + ".png"):
        write_image(tmp_path / name, scene)
        assert (tmp_path / name).is_file()
    assert "too long" in refusal(lambda: check_output(tmp_path / ("x" * 300 + ".png")))


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    refusal(lambda: read_photo(tmp_path / "a.png"))
    assert "cannot be written" in refusal(lambda: check_output(tmp_path / "a.png"))


def test_unwritable(tmp_path: Path, scene: np.ndarray) -> None:
    assert "cannot be written" in refusal(lambda: write_image(tmp_path / "no" / "a.png", scene))
    assert "extension" in refusal(lambda: write_image(tmp_path / "a.xyz", scene))


# ---- arrays and tensors ----------------------------------------------------------------------------------------------


def test_tensor_round_trip() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    tensor = to_tensor(photo)
    assert tensor.shape == (1, 3, 5, 7)
    assert tensor.dtype == torch.float32
    assert np.array_equal(to_uint8(tensor), photo)
    assert np.array_equal(to_uint8(tensor[0]), photo)


def test_out_of_range_values_are_clipped() -> None:
    wild = torch.tensor([-1.0, 2.0, float("nan"), 0.5]).expand(1, 3, 1, 4)
    assert to_uint8(wild)[0, :, 0].tolist() == [0, 255, 0, 128]


def test_one_image_at_a_time() -> None:
    refusal(lambda: to_uint8(torch.zeros(2, 3, 4, 4)))


@pytest.mark.parametrize("read", [read_photo, read_mask, read_mark])
def test_what_a_decoder_warns_of_is_not_the_users_concern(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "odd.tiff"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<HH", 0x0117, 4))  # the lengths of strips: more of them than the file has bytes
    data[at + 4 : at + 8] = struct.pack("<I", 1 << 20)
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            read(path)
        except SemcastError as error:
            assert "\n" not in str(error)
    assert [str(each.message) for each in said] == []
