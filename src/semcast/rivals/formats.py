"""The file formats in use, and what of a file a link would send: JPEG, JPEG 2000, WebP, AVIF, and HEVC intra (BPG's codec).

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

Both ends need the same codec library, as they need the same weights of a network.
"""

from __future__ import annotations

import io
import math
import struct
from functools import lru_cache
from typing import ClassVar

from PIL import Image, features

from semcast.errors import Missing

Size = tuple[int, int]
"""Width and height in pixels, as Pillow has them."""

_GREY = (128, 128, 128)


def leb128(number: int) -> bytes:
    """Seven bits a byte, the lowest first, the high bit on all but the last."""
    groups = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([group | 128 for group in groups[:-1]] + groups[-1:])


def read_leb128(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where what follows it begins.

    >>> read_leb128(b"?" + leb128(768) + b"!", 1)
    (768, 3)
    """
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return number, at


class Format:
    """One file format: encode, decode, and what of a file is worth sending."""

    name: ClassVar[str]

    def qualities(self, size: Size) -> range | tuple[int, ...]:
        """The qualities that a picture may be encoded with, ascending, from the smallest files to the largest."""
        return range(101)

    def version(self) -> str:
        """The library and its version; raises Missing where it is not there."""
        raise NotImplementedError

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """An RGB picture → a whole file."""
        raise NotImplementedError

    def decode(self, file: bytes) -> Image.Image:
        """A whole file → the picture."""
        image = Image.open(io.BytesIO(file), formats=[self.name.upper()])
        image.load()
        return image

    def strip(self, file: bytes, quality: int) -> bytes:
        """What of the file depends on the photo."""
        raise NotImplementedError

    def restore(self, sent: bytes, size: Size) -> bytes:
        """The file again; whatever it raises, the stream was damaged."""
        raise NotImplementedError

    @lru_cache(maxsize=256)  # noqa: B019 - one instance a format lives as long as the program
    def template(self, size: Size, quality: int) -> bytes:
        """The file of a grey picture."""
        return self.encode(Image.new("RGB", size, _GREY), quality)


class Jpeg(Format):
    """Baseline, 4:2:0, the Huffman tables of the standard (their own tables cost short files more than they save)."""

    name = "jpeg"

    def qualities(self, size: Size) -> range:
        """Beyond 95 files grow and photos do not."""
        return range(1, 96)

    def version(self) -> str:
        """The libjpeg that Pillow carries."""
        return f"libjpeg {features.version('libjpeg_turbo') or features.version('jpg')}"

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """A JFIF file."""
        return _save(image, "JPEG", quality=quality)

    def strip(self, file: bytes, quality: int) -> bytes:
        """The quality, then what lies between the header of the scan and the end marker."""
        return bytes([quality]) + file[_scan(file) : -2]

    def restore(self, sent: bytes, size: Size) -> bytes:
        """The header of the grey picture with the same quality, which decides the tables, around the scan."""
        grey = self.template(size, sent[0])
        return grey[: _scan(grey)] + sent[1:] + b"\xff\xd9"


def _scan(file: bytes) -> int:
    """Where the entropy-coded data of a JPEG begins: after the start-of-scan segment."""
    marker = file.index(b"\xff\xda")
    return marker + 2 + int(struct.unpack_from(">H", file, marker + 2)[0])


class Jpeg2000(Format):
    """One layer, 9/7 wavelet on 5 scales, YCbCr; the quality is the size that the encoder is asked for."""

    name = "jpeg2000"

    def qualities(self, size: Size) -> tuple[int, ...]:
        """168 bytes up to a sixth of what the picture takes uncoded (32 KiB at least), 16 steps an octave."""
        octaves = 12 + max(0, math.ceil(math.log2(size[0] * size[1] / 65536)))
        return tuple(round(160 + 8 * 2 ** (step / 16)) for step in range(octaves * 16))

    def version(self) -> str:
        """The OpenJPEG that Pillow carries."""
        return f"openjpeg {_need('jpg_2000', 'JPEG 2000')}"

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """A raw codestream."""
        ratio = 3 * image.width * image.height / quality
        return _save(
            image, "JPEG2000", no_jp2=True, irreversible=True, mct=1, num_resolutions=5, quality_mode="rates",
            quality_layers=[ratio],
        )  # fmt: skip

    def strip(self, file: bytes, quality: int) -> bytes:
        """The packets: after start-of-data, before the end marker."""
        return file[_tile(file) + 14 : -2]

    def restore(self, sent: bytes, size: Size) -> bytes:
        """Main header, tile header with the length of these packets, packets."""
        grey = self.template(size, self.qualities(size)[0])
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
        return _save(image, "WEBP", quality=quality, method=6)

    def strip(self, file: bytes, quality: int) -> bytes:
        """The frame tag and what follows the start code and the size."""
        length = int(struct.unpack_from("<I", file, 16)[0])
        return file[20:23] + file[30 : 20 + length]

    def restore(self, sent: bytes, size: Size) -> bytes:
        """The key frame with its start code and size, in a RIFF chunk of even length."""
        frame = sent[:3] + b"\x9d\x01\x2a" + struct.pack("<HH", *size) + sent[3:]
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

    def restore(self, sent: bytes, size: Size) -> bytes:
        """The boxes of the grey picture, the two lengths in them (``iloc``, ``mdat``) set to those of this frame."""
        grey = self.template(size, self.qualities(size)[len(self.qualities(size)) // 2])
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
        return _save(
            image, "AVIF", quality=quality, speed=6, subsampling="4:2:0", max_threads=1, advanced={"tune": "psnr"}
        )

    def frame(self, payload: bytes) -> bytes:
        """The body of the last OBU, which is the frame."""
        _, body = _frame_obu(payload)
        return payload[body:]

    def payload(self, frame: bytes, grey: bytes) -> bytes:
        """Temporal delimiter and sequence header of the grey picture, then the frame with its length (LEB128)."""
        header, _ = _frame_obu(grey)
        return grey[: header + 1] + leb128(len(frame)) + frame


def _frame_obu(payload: bytes) -> tuple[int, int]:
    """Where the OBU of the frame has its header and its body (AV1 §5.3; each OBU here carries its length)."""
    at = 0
    while True:
        kind = payload[at] >> 3 & 15
        length, body = read_leb128(payload, at + 1)
        if kind == 6:
            return at, body
        at = body + length


class Hevc(Boxed):
    """HEVC main still picture, 4:2:0, by x265, tuned for PSNR."""

    name = "hevc"
    _options: ClassVar[dict[str, str]] = {"tune": "psnr", "x265:pools": "none", "x265:frame-threads": "1"}

    def version(self) -> str:
        """The libheif and x265 of pillow-heif."""
        try:
            import pillow_heif
        except ImportError:
            raise Missing("hevc needs pillow-heif: pip install 'semcast[digital]'") from None
        info = pillow_heif.libheif_info()
        if not info["HEIF"]:
            raise Missing("this pillow-heif was built without an HEVC encoder")
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


FORMATS: dict[str, Format] = {kind.name: kind() for kind in (Jpeg, Jpeg2000, WebP, Avif, Hevc)}


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _need(feature: str, name: str) -> str:
    """The version of a library of Pillow, or Missing where this Pillow was built without."""
    if not features.check(feature):
        raise Missing(f"this Pillow cannot write {name}: pip install 'pillow>=11.3'")
    return str(features.version(feature))
