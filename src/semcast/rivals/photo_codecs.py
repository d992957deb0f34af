"""Photo ↔ bytes with the codecs in use: JPEG, JPEG 2000, WebP, AVIF, and HEVC intra (the codec of BPG).

What an encoder writes is mostly container where a photo has a hundred bytes to go through. A link would not send what both
ends know, so here it is taken off and put back: :meth:`Format.strip` leaves what depends on the photo, :meth:`Format.restore`
rebuilds the very file (byte by byte, checked at each encoding) around it, from the file of a grey picture of the same size.

====================  =================================================================  =============================
codec                 not sent                                                           sent
====================  =================================================================  =============================
jpeg                  markers, tables (standard Huffman; quantisation follows quality)   1 byte quality, entropy data
jpeg2000              main header, tile header                                           packets
webp                  RIFF header, start code, size                                      VP8 frame tag and partitions
avif                  boxes, temporal delimiter, sequence header, frame OBU header       AV1 frame
hevc                  boxes with VPS, SPS and PPS, length of the slice                   slice NAL unit
====================  =================================================================  =============================

Before it all goes 1 byte that says at which of :data:`SIDES` the photo was coded. Both ends need the same codec library, as
they need the same weights of a network.
"""

from __future__ import annotations

import hashlib
import io
import struct
from functools import lru_cache
from typing import ClassVar

import numpy as np
from PIL import Image, features

from semcast.errors import SemcastError
from semcast.photos import Photo, resize

SIDES = (256, 192, 128, 96, 64, 48, 32)
"""A photo that does not fit, or looks worse (PSNR), at its own side is coded smaller and enlarged by the receiver."""

_GREY = (128, 128, 128)


class Format:
    """One file format: encode, decode, and what of a file is worth sending.

    Subclasses set ``qualities``, ascending, from the smallest files to the largest.
    """

    name: ClassVar[str]
    qualities: ClassVar[tuple[int, ...]] = tuple(range(101))

    def version(self) -> str:
        """The library and its version; a SemcastError where it is missing."""
        raise NotImplementedError

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """A square RGB picture → a whole file."""
        raise NotImplementedError

    def decode(self, file: bytes) -> Image.Image:
        """A whole file → the picture."""
        image = Image.open(io.BytesIO(file), formats=[self.name.upper()])
        image.load()
        return image

    def strip(self, file: bytes, quality: int) -> bytes:
        """What of the file depends on the photo."""
        raise NotImplementedError

    def restore(self, sent: bytes, side: int) -> bytes:
        """The file again; whatever it raises, the stream was damaged."""
        raise NotImplementedError

    @lru_cache(maxsize=256)  # noqa: B019 - one instance a format lives as long as the program
    def template(self, side: int, quality: int) -> bytes:
        """The file of a grey picture."""
        return self.encode(Image.new("RGB", (side, side), _GREY), quality)


class Jpeg(Format):
    """Baseline, 4:2:0, the Huffman tables of the standard (their own tables cost short files more than they save)."""

    name = "jpeg"
    qualities = tuple(range(1, 96))

    def version(self) -> str:
        """The libjpeg that Pillow carries."""
        return f"libjpeg {features.version('libjpeg_turbo') or features.version('jpg')}"

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """A JFIF file."""
        return _saved(image, "JPEG", quality=quality)

    def strip(self, file: bytes, quality: int) -> bytes:
        """The quality, then what lies between the header of the scan and the end marker."""
        return bytes([quality]) + file[_scan(file) : -2]

    def restore(self, sent: bytes, side: int) -> bytes:
        """The header of the grey picture with the same quality, which decides the tables, around the scan."""
        grey = self.template(side, sent[0])
        return grey[: _scan(grey)] + sent[1:] + b"\xff\xd9"


def _scan(file: bytes) -> int:
    """Where the entropy-coded data of a JPEG begins: after the start-of-scan segment."""
    marker = file.index(b"\xff\xda")
    return marker + 2 + int(struct.unpack_from(">H", file, marker + 2)[0])


class Jpeg2000(Format):
    """One layer, 9/7 wavelet on 5 scales, YCbCr; the quality is the size that the encoder is asked for."""

    name = "jpeg2000"
    qualities = tuple(round(160 + 8 * 2 ** (step / 16)) for step in range(12 * 16))

    def version(self) -> str:
        """The OpenJPEG that Pillow carries."""
        return f"openjpeg {_need('jpg_2000', 'JPEG 2000')}"

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """A raw codestream."""
        ratio = 3 * image.width * image.height / quality
        return _saved(
            image, "JPEG2000", no_jp2=True, irreversible=True, mct=1, num_resolutions=5, quality_mode="rates",
            quality_layers=[ratio],
        )  # fmt: skip

    def strip(self, file: bytes, quality: int) -> bytes:
        """The packets: after start-of-data, before the end marker."""
        return file[_tile(file) + 14 : -2]

    def restore(self, sent: bytes, side: int) -> bytes:
        """Main header, tile header with the length of these packets, packets."""
        grey = self.template(side, self.qualities[0])
        tile = _tile(grey)
        length = struct.pack(">I", 14 + len(sent))
        return grey[: tile + 6] + length + grey[tile + 10 : tile + 14] + sent + b"\xff\xd9"


def _tile(file: bytes) -> int:
    """Where the start-of-tile marker stands: ``FF90``, length 10, tile 0."""
    return file.index(b"\xff\x90\x00\x0a\x00\x00")


class WebP(Format):
    """VP8, the slowest and best search."""

    name = "webp"

    def version(self) -> str:
        """The libwebp that Pillow carries."""
        return f"libwebp {_need('webp', 'WebP')}"

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """A RIFF file of one lossy frame."""
        return _saved(image, "WEBP", quality=quality, method=6)

    def strip(self, file: bytes, quality: int) -> bytes:
        """The frame tag and what follows the start code and the size."""
        length = int(struct.unpack_from("<I", file, 16)[0])
        return file[20:23] + file[30 : 20 + length]

    def restore(self, sent: bytes, side: int) -> bytes:
        """The key frame with its start code and size, in a RIFF chunk of even length."""
        frame = sent[:3] + b"\x9d\x01\x2a" + struct.pack("<HH", side, side) + sent[3:]
        chunk = b"VP8 " + struct.pack("<I", len(frame)) + frame + b"\0" * (len(frame) % 2)
        return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


class Boxed(Format):
    """What AVIF and HEIC share: ISO boxes, then ``mdat`` with one coded frame as the end of the file."""

    def frame(self, payload: bytes) -> bytes:
        """What of the contents of ``mdat`` depends on the photo."""
        raise NotImplementedError

    def payload(self, frame: bytes, grey: bytes) -> bytes:
        """The contents of ``mdat`` again; ``grey`` are those of the grey picture."""
        raise NotImplementedError

    def strip(self, file: bytes, quality: int) -> bytes:
        """The frame alone."""
        return self.frame(file[_contents(file) :])

    def restore(self, sent: bytes, side: int) -> bytes:
        """The boxes of the grey picture, the two lengths in them (``iloc``, ``mdat``) set to those of this frame."""
        grey = self.template(side, self.qualities[len(self.qualities) // 2])
        start = _contents(grey)
        payload = self.payload(sent, grey[start:])
        boxes = bytearray(grey[: start - 8])
        extent = boxes.index(struct.pack(">I", len(grey) - start), boxes.index(b"iloc"))
        boxes[extent : extent + 4] = struct.pack(">I", len(payload))
        return bytes(boxes) + struct.pack(">I", 8 + len(payload)) + b"mdat" + payload


def _contents(file: bytes) -> int:
    """Where the contents of the last box, ``mdat``, begin."""
    at = 0
    while file[at + 4 : at + 8] != b"mdat":
        at += int(struct.unpack_from(">I", file, at)[0])
    return at + 8


class Avif(Boxed):
    """AV1, 4:2:0, tuned for PSNR, speed 6 (slower ones take several times as long for few per cent)."""

    name = "avif"

    def version(self) -> str:
        """The libavif that Pillow carries."""
        return f"libavif {_need('avif', 'AVIF')}"

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """An AVIF file of one still picture."""
        return _saved(
            image, "AVIF", quality=quality, speed=6, subsampling="4:2:0", max_threads=1, advanced={"tune": "psnr"}
        )

    def frame(self, payload: bytes) -> bytes:
        """The body of the last OBU, which is the frame."""
        _, body = _frame_obu(payload)
        return payload[body:]

    def payload(self, frame: bytes, grey: bytes) -> bytes:
        """Temporal delimiter and sequence header of the grey picture, then the frame with its length (LEB128)."""
        header, _ = _frame_obu(grey)
        return grey[: header + 1] + _leb128(len(frame)) + frame


def _frame_obu(payload: bytes) -> tuple[int, int]:
    """Where the OBU of the frame has its header and its body (AV1 §5.3; each OBU here carries its length)."""
    at = 0
    while True:
        kind, length, shift, body = payload[at] >> 3 & 15, 0, 0, at + 1
        while True:
            length |= (payload[body] & 127) << shift
            body, shift = body + 1, shift + 7
            if payload[body - 1] < 128:
                break
        if kind == 6:
            return at, body
        at = body + length


def _leb128(number: int) -> bytes:
    """Seven bits a byte, the lowest first, the high bit on all but the last."""
    groups = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([group | 128 for group in groups[:-1]] + groups[-1:])


class Hevc(Boxed):
    """HEVC main still picture, 4:2:0, by x265, tuned for PSNR."""

    name = "hevc"
    _options: ClassVar[dict[str, str]] = {"tune": "psnr", "x265:pools": "none", "x265:frame-threads": "1"}

    def version(self) -> str:
        """The libheif and x265 of pillow-heif."""
        try:
            import pillow_heif
        except ImportError:
            raise SemcastError("hevc needs pillow-heif: pip install 'semcast[digital]'") from None
        info = pillow_heif.libheif_info()
        if not info["HEIF"]:
            raise SemcastError("this pillow-heif was built without an HEVC encoder")
        return f"libheif {info['libheif']}, {info['HEIF']}"

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """A HEIC file of one picture."""
        import pillow_heif

        buffer = io.BytesIO()
        pillow_heif.from_pillow(image).save(buffer, quality=quality, chroma=420, enc_params=dict(self._options))
        return buffer.getvalue()

    def decode(self, file: bytes) -> Image.Image:
        """A HEIC file → the picture."""
        import pillow_heif

        return pillow_heif.read_heif(file).to_pillow().convert("RGB")

    def frame(self, payload: bytes) -> bytes:
        """The only NAL unit, without its length."""
        return payload[4:]

    def payload(self, frame: bytes, grey: bytes) -> bytes:
        """The NAL unit after its length."""
        return struct.pack(">I", len(frame)) + frame


_FORMATS: dict[str, Format] = {kind.name: kind() for kind in (Jpeg, Jpeg2000, WebP, Avif, Hevc)}

CODECS = tuple(_FORMATS)
"""The names that :func:`load_codec` knows."""


class PhotoCodec:
    """A format as a :class:`BitCodec`: the largest quality whose bytes fit, at the side that shows most of the photo.

    What was encoded of the last photo is kept: a sweep asks for the same photo at many budgets.
    """

    def __init__(self, form: Format) -> None:
        self.form = form
        self.name = form.name
        self.version = form.version()
        self._photo = b""
        self._made: dict[tuple[int, int], bytes | None] = {}

    def compress(self, image: Photo, max_bytes: int) -> bytes:
        """At each of :data:`SIDES` the largest quality that fits (bisection on real bytes); of these the best by PSNR.

        Raises:
            SemcastError: the photo is not 256 x 256, or even 32 x 32 pixels at the lowest quality do not fit.
        """
        if image.shape != (SIDES[0], SIDES[0], 3):
            raise SemcastError(f"{self.name} codes photos of {SIDES[0]} x {SIDES[0]} pixels here, not {image.shape}")
        self._remember(image)
        best, least = b"", float("inf")
        for index, side in enumerate(SIDES):
            sent = self._largest(image, side, max_bytes - 1)
            if sent is None:
                continue
            stream = bytes([index]) + sent
            error = float(np.square(self.decompress(stream).astype(np.float32) - image).mean())
            if error < least:
                best, least = stream, error
        if not best:
            raise SemcastError(f"{self.name} cannot code a photo in {max_bytes} bytes, not even at {SIDES[-1]} x {SIDES[-1]}")
        return best

    def decompress(self, stream: bytes) -> Photo:
        """The photo, enlarged to 256 x 256 where it was coded smaller.

        Raises:
            SemcastError: the stream is damaged.
        """
        try:
            side = SIDES[stream[0]]
            image = self.form.decode(self.form.restore(stream[1:], side))
            if image.size != (side, side):
                raise ValueError("another size")
            return resize(np.array(image.convert("RGB")), SIDES[0])
        except Exception as error:  # noqa: BLE001 - decoders raise anything at all on a damaged stream
            raise SemcastError(f"the {self.name} stream is damaged ({type(error).__name__})") from None

    def forget(self) -> None:
        """Drop what was encoded of the last photo: a measurement of time must not find it there."""
        self._photo, self._made = b"", {}

    def _remember(self, image: Photo) -> None:
        digest = hashlib.sha256(image.tobytes()).digest()
        if digest != self._photo:
            self._photo, self._made = digest, {}

    def _largest(self, image: Photo, side: int, most: int) -> bytes | None:
        """What is sent at the largest quality that fits; None where the lowest does not."""
        best, low, high = None, 0, len(self.form.qualities) - 1
        middle = 0  # the lowest first: often nothing fits at this side
        while low <= high:
            sent = self._sent(image, side, self.form.qualities[middle])
            if sent is not None and len(sent) <= most:
                best, low = sent, middle + 1
            elif middle == 0:
                return None
            else:
                high = middle - 1
            middle = (low + high + 1) // 2
        return best

    def _sent(self, image: Photo, side: int, quality: int) -> bytes | None:
        """What is sent of the photo; None where the file is not the one that the receiver would rebuild."""
        if (side, quality) not in self._made:
            file = self.form.encode(Image.fromarray(resize(image, side)), quality)
            sent = self.form.strip(file, quality)
            self._made[side, quality] = sent if self.form.restore(sent, side) == file else None
        return self._made[side, quality]


def load_codec(name: str) -> PhotoCodec:
    """A codec by name.

    Raises:
        SemcastError: the name is unknown, or its library is missing.
    """
    if name not in _FORMATS:
        raise SemcastError(f"unknown codec {name!r}; the known are {', '.join(CODECS)}")
    return PhotoCodec(_FORMATS[name])


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _need(feature: str, name: str) -> str:
    """The version of a library of Pillow, or a SemcastError where this Pillow was built without."""
    if not features.check(feature):
        raise SemcastError(f"this Pillow cannot write {name}: pip install 'pillow>=11.3'")
    return str(features.version(feature))
