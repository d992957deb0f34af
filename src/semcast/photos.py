"""Photos in, pictures out: every file the user names is opened, checked and written here.

A photo is uint8 ``[height, width, 3]``, sRGB, upright. What cannot be used is refused with one sentence
(:class:`~semcast.errors.SemcastError`); what is written appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from semcast.colours import to_srgb
from semcast.errors import BadInput, Damaged, Missing, SemcastError
from semcast.files import check_place, hushed, reason_of, whole
from semcast.mark import Mark, read_text, read_xmp, write_text, write_xmp
from semcast.mending import is_jpeg, is_png, without_extras
from semcast.scans import hollow_probes, is_doubtful, lacks_restarts, lacks_scans, parse, probes
from semcast.soundness import check_after, check_before, has_grey_corner, is_cut_off

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it raises it also logs; Python prints that if nobody listens
Photo = NDArray[np.uint8]
"""uint8 ``[height, width, 3]``, sRGB."""

LONGEST_SIDE = 2048
MAX_PIXELS = 175_000_000
"""More than any phone but one makes, and just below where Pillow itself refuses."""

SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".jfif", ".jpe", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".pnm", ".jp2",
    ".avif", ".heic", ".heif",
])  # fmt: skip
"""Of the files of a folder that are photos, in any case."""
MASK = ".mask.png"
"""How the name of a photo's labels ends, which are no photo."""
WRITES = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
# A list of our own: among Pillow's formats some start other programs (EPS) and some are not photos at all.
_READS = ["JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF"]
_MASKS = ["PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP"]
_XMP = 700
# The turns are our own: PIL.ImageOps.exif_transpose writes all of EXIF anew for the picture that it makes and raises where that
# is odd, and turned before it is made smaller a photo comes out some levels different from the one that was measured.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_photo(path: Path | str, longest: int = LONGEST_SIDE) -> Photo:
    """Any photo as uint8 ``[height, width, 3]``, upright (EXIF), in sRGB, its longest side at most ``longest`` pixels.

    Greyscale, palette, CMYK and 16-bit images are converted over their full range; transparency shows white behind it;
    of an animation or a stack the first picture counts. Large JPEGs are decoded at a fraction of their size.

    Raises:
        Missing: there is none, or no permission.
        Damaged: it is empty, truncated or damaged; a photo that lacks pixels is truncated, however its file ends.
        BadInput: a folder, no image, over 175 megapixels, or of samples that cannot be shown rightly (as for HDR screens).
    """
    return _read(Path(path), longest)[0]


def read_bytes(data: bytes, name: str, longest: int = LONGEST_SIDE) -> Photo:
    """As :func:`read_photo`, of a photo that is in memory: nothing is written.

    Args:
        name: what sentences call it.
    """
    if not data:
        raise Damaged(f"{name} is empty")
    return _decode_or_mend(Path(name), io.BytesIO(data), longest)[0]


def read_aligned(path: Path | str, size: int = 256) -> Photo:
    """A photo that is already cropped like the training faces, resized to uint8 ``[size, size, 3]``.

    Raises:
        SemcastError: as :func:`read_photo`, or the photo is not square.
    """
    photo, (width, height) = _read(Path(path), max(LONGEST_SIDE, size))
    if width != height:
        raise BadInput(f"{path} is {width} x {height} pixels: an aligned photo must be square")
    return resize(photo, size)


def read_mask(path: Path | str) -> NDArray[np.bool_]:
    """A mask ``[height, width]``, upright, from an image that holds two values alone, 0 and its largest (255, 1 or True).

    Raises:
        SemcastError: it cannot be read, lacks pixels, is not binary, has transparency, or is several pictures.
    """
    path = Path(path)
    _check_input(path)
    try:
        with warnings.catch_warnings(action="ignore"), path.open("rb") as file, Image.open(file, formats=_MASKS) as image:
            if (pictures := getattr(image, "n_frames", 1)) > 1:
                raise BadInput(f"{path} is not a mask: it must be one picture, not {pictures}")
            if image.mode not in ("1", "L", "P", "RGB") or "transparency" in image.info:
                raise BadInput(f"{path} is not a mask: it must be black and white without transparency")
            check_before(str(path), image, file)
            with hushed():
                image.load()
            check_after(str(path), image, file)
            turn = _orientation(image)
            upright = image.convert("RGB")
            pixels = np.asarray(upright if turn is None else upright.transpose(turn))
    except SemcastError:
        raise
    except UnidentifiedImageError:
        raise BadInput(f"{path} is not a mask that can be read here ({', '.join(_MASKS)})") from None
    except Exception as error:  # noqa: BLE001 - decoders raise anything at all
        raise BadInput(f"{path} is not a mask that can be read here, such as a PNG ({reason_of(error)})") from None
    values = np.unique(pixels)
    if not (pixels == pixels[..., :1]).all() or set(values.tolist()) not in ({0}, {0, 1}, {0, 255}, {1}, {255}):
        raise BadInput(f"{path} is not binary: a mask holds 0 and 255 alone (white is private)")
    return pixels[..., 0] > 0


def size_of(path: Path | str) -> tuple[int, int]:
    """(width, height) of a photo's file, upright.

    Raises:
        SemcastError: as :func:`read_photo`.
    """
    return _read(Path(path), LONGEST_SIDE)[1]


def resize(photo: Photo, size: int) -> Photo:
    """A photo resized to a square ``[size, size, 3]`` (Lanczos, low-pass when it shrinks)."""
    if photo.shape[:2] == (size, size):
        return photo
    return np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS))


def _read(path: Path, longest: int) -> tuple[Photo, tuple[int, int]]:
    """The photo, and the (width, height) that its file has (upright)."""
    _check_input(path)
    # The file and not its name, which Pillow would map into memory: turned TIFFs come out of that with wrong rows.
    with path.open("rb") as file:
        return _decode_or_mend(path, file, longest)


def _decode_or_mend(path: Path, file: BinaryIO, longest: int) -> tuple[Photo, tuple[int, int]]:
    try:
        return _decode(path, file, longest)
    except SemcastError:
        file.seek(0)
        photo = _decode_mended(path, file.read(), longest)
        if photo is None:
            raise
        return photo


def _decode_mended(path: Path, data: bytes, longest: int) -> tuple[Photo, tuple[int, int]] | None:
    """A photo all of whose pixels are there though Pillow refuses its file; None where it is none of those."""
    if is_png(data):
        plain = without_extras(data)
        return None if plain == data else _decode(path, io.BytesIO(plain), longest)
    if is_jpeg(data) and not parse(data).ends:
        ended = data + b"\xff\xd9"
        photo = _decode(path, io.BytesIO(ended), longest, sure=True)
        return photo if not lacks_scans(parse(ended)) and _is_all_there(path, ended, photo[0], longest) else None
    return None


def _is_all_there(path: Path, data: bytes, photo: Photo, longest: int) -> bool:
    """Whether a JPEG that shows as that photo holds all of its pixels."""

    def shows_it(other: bytes) -> bool:
        return np.array_equal(_decode(path, io.BytesIO(other), longest, sure=True)[0], photo)

    jpeg = parse(data)
    if lacks_restarts(jpeg) or not all(map(shows_it, probes(jpeg))):
        return False
    hollow = hollow_probes(jpeg)
    if hollow is None:
        return True
    return not lacks_scans(jpeg) and (not shows_it(hollow[0]) or shows_it(hollow[1]))


@contextlib.contextmanager
def _opened(path: Path, file: BinaryIO) -> Iterator[Image.Image]:
    """The image in a file that ``path`` names, its pixels not decoded."""
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow warns from 89 megapixels on; the limit below is ours
            image = Image.open(file, formats=formats())
    except Image.DecompressionBombError:
        raise BadInput(f"{path} claims to be over {MAX_PIXELS // 10**6} megapixels, too many to open") from None
    except UnidentifiedImageError:
        if is_cut_off(file):
            raise Damaged(f"{path} is a truncated or damaged image (what says where its pixels are is not in it)") from None
        raise BadInput(f"{path} is not an image that can be read here ({', '.join(formats())})") from None
    except Exception as error:  # noqa: BLE001 - decoders raise anything at all on a bad header
        raise Damaged(f"{path} is a damaged image ({reason_of(error)})") from None
    with image:
        width, height = image.size
        if width < 1 or height < 1:
            raise BadInput(f"{path} is an image of {width} x {height} pixels")
        if width * height > MAX_PIXELS:
            raise BadInput(f"{path} is over {MAX_PIXELS // 10**6} megapixels, too many to open")
        yield image


def _decode(path: Path, file: BinaryIO, longest: int, sure: bool = False) -> tuple[Photo, tuple[int, int]]:
    """The photo and its size; ``sure`` takes a JPEG as it is, whether or not all of it is there."""
    with _opened(path, file) as image:
        width, height = image.size
        scale = min(1.0, longest / max(width, height))
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
        try:
            with warnings.catch_warnings(), hushed():
                warnings.simplefilter("ignore")  # odd metadata is not the user's concern when the pixels are fine
                samples = check_before(str(path), image, file)
                image.draft(None, target)  # JPEG: decodes 1/2, 1/4 or 1/8 of the size, still at least the target
                image.load()
                check_after(str(path), image, file)
                turn = _orientation(image)
                if image.size == (height, width) and width != height:  # TIFF turns itself when it is loaded
                    width, height, target = height, width, target[::-1]
                upright = to_srgb(image, target, samples)
        except SemcastError:
            raise
        except Exception as error:  # noqa: BLE001 - as above: a truncated or damaged file
            raise Damaged(f"{path} is a truncated or damaged image ({reason_of(error)})") from None
        of_blocks = image.format in ("JPEG", "MPO")
        grey_corner = of_blocks and has_grey_corner(image)
    if turn is not None:
        upright = upright.transpose(turn)
        if turn in (_UPRIGHT[5], _UPRIGHT[6], _UPRIGHT[7], _UPRIGHT[8]):
            width, height = height, width
    photo = np.asarray(upright)
    if of_blocks and not sure:
        file.seek(0)
        data = file.read()
        if is_doubtful(parse(data), grey_corner) and not _is_all_there(path, data, photo, longest):
            raise Damaged(f"{path} is a truncated image (its lower part is missing, or its last scans are)")
    return photo, (width, height)


def _check_input(path: Path) -> None:
    try:
        if path.is_dir():
            raise BadInput(f"{path} is a folder, not a photo")
        if not path.exists():
            raise Missing(f"{path} does not exist")
        if not path.is_file():
            raise BadInput(f"{path} is not a file")
        if path.stat().st_size == 0:
            raise Damaged(f"{path} is empty")
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise Missing(f"{path} cannot be read ({reason_of(error)})") from None


def formats() -> list[str]:
    """What can be opened here; HEIC where the optional pillow-heif is installed."""
    names = list(_READS)
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        names.append("HEIF")
    Image.init()
    return [name for name in names if name in Image.OPEN]


def _orientation(image: Image.Image) -> Image.Transpose | None:
    """The turn that makes the photo upright, if EXIF asks for one; unreadable EXIF asks for none."""
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - damaged metadata beside good pixels
        return None


def check_output(path: Path | str, force: bool = False, *, marked: bool = False) -> None:
    """Whether a picture can be written there, asked before any work is done.

    Args:
        marked: the picture will carry a mark (:class:`~semcast.mark.Mark`), which a BMP cannot.

    Raises:
        SemcastError: the name has no known image extension, it is a folder, its folder is missing or not writable, the file
            exists and ``force`` is false, or it cannot carry the mark.
    """
    path = Path(path)
    check_place(path, WRITES, force, f"the extension of an image: {', '.join(WRITES)}")
    if marked:
        _check_markable(path)


def write_image(path: Path | str, image: NDArray[np.uint8] | Tensor, mark: Mark | None = None) -> None:
    """Write a picture, uint8 ``[H, W, 3]`` or a tensor in [0, 1] ``[(1,) 3, H, W]``; whole or not at all.

    An existing file is replaced only when the new one is complete (:func:`check_output` asks whether it may be).

    Args:
        mark: what the file says of the network that painted the picture: XMP, and text in a PNG.

    Raises:
        SemcastError: unknown extension, a kind of file that cannot carry the mark, or the file cannot be written.
    """
    path = Path(path)
    pixels = to_uint8(image) if isinstance(image, Tensor) else image
    kind = WRITES.get(path.suffix.lower())
    if kind is None:
        raise BadInput(f"{path} needs the extension of an image: {', '.join(WRITES)}")
    options: dict[str, object] = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    if kind == "WEBP":
        options = {"quality": 95}
    if mark is not None:
        _check_markable(path)
        options |= mark_options(mark, kind)
    with whole(path) as file:
        Image.fromarray(pixels).save(file, kind, **options)


def read_mark(path: Path | str) -> Mark | None:
    """What a picture's file says of the network that painted it; None where it says nothing that is a mark.

    Raises:
        SemcastError: missing, a folder, empty, or not an image.
    """
    path = Path(path)
    _check_input(path)
    try:
        with warnings.catch_warnings(action="ignore"), path.open("rb") as file, _opened(path, file) as image:
            if image.format == "PNG" and image.width * image.height <= 2**24:
                with contextlib.suppress(Exception):  # other software writes its XMP after the pixels
                    image.load()
            packet, line = image.info.get("xmp"), image.info.get("semcast")
    except SemcastError:
        _read(path, 1)  # it says what is wrong, unless that is the texts alone: no mark of ours is so long
        return None
    mark = read_xmp(packet.encode() if isinstance(packet, str) else packet) if isinstance(packet, str | bytes) else None
    return read_text(line) if mark is None and isinstance(line, str) else mark


def _check_markable(path: Path) -> None:
    if WRITES.get(path.suffix.lower()) == "BMP":
        raise BadInput(f"{path}: a BMP cannot say that a network painted it; write a PNG, JPEG, WebP or TIFF")


def mark_options(mark: Mark, kind: str) -> dict[str, object]:
    """What Pillow is told so that a file of that kind (``PNG``, ``JPEG``, ``WEBP``, ``TIFF``) carries the mark."""
    packet = write_xmp(mark)
    if kind == "TIFF":
        return {"tiffinfo": {_XMP: packet}}
    if kind != "PNG":
        return {"xmp": packet}
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", packet.decode())
    texts.add_text("Software", f"semcast {mark.version}".strip())
    texts.add_itxt("Description", mark.sentence)
    texts.add_itxt("semcast", write_text(mark))
    return {"pnginfo": texts}


def to_tensor(photo: Photo) -> Tensor:
    """uint8 ``[H, W, 3]`` → float ``[1, 3, H, W]`` in [0, 1]."""
    return torch.tensor(photo).permute(2, 0, 1)[None].float() / 255.0


def to_uint8(image: Tensor) -> Photo:
    """A tensor ``[(1,) 3, H, W]`` in [0, 1] → uint8 ``[H, W, 3]``, rounded; values outside are clipped.

    Raises:
        SemcastError: a batch of several images.
    """
    if image.ndim == 4:
        if image.shape[0] != 1:
            raise BadInput(f"expected one image, not {image.shape[0]}")
        image = image[0]
    levels = torch.nan_to_num(image.detach().float()).clamp(0, 1) * 255
    return np.ascontiguousarray(levels.round().to(torch.uint8).permute(1, 2, 0).cpu().numpy())
