"""The hyperprior as a codec: a photo → at most so many bytes → a picture.

A stream is the quality (one byte, 16ths of a level), with 128 added where the photo is not 256 x 256 and its width and height
behind it (LEB128), and one message of the range coder: z channel by channel, then the symbols of y in the order of their σ, so
that each is coded with no larger an alphabet than its σ asks for. What is beyond an alphabet is cut off by the encoder.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import ndtr
from torch import Tensor

from semcast.codec.entropy import Decoder, Encoder, Frequencies, normalise
from semcast.errors import BadInput, Damaged, DoesNotFit
from semcast.photos import Photo, to_tensor, to_uint8
from semcast.rivals.formats import leb128, read_leb128
from semcast.rivals.hyperprior import SCALES, STRIDE, Z_MOST, Hyperprior, HyperpriorConfig
from semcast.source_coding import BitCodec
from semcast.weights import Checkpoint, load

STEPS = 16
"""Qualities a level."""
_USUAL, _OTHER_SIZE, _MOST_PIXELS = 256, 128, 1 << 22


def reach(index: int) -> int:
    """The largest symbol of a Gaussian of :data:`~semcast.rivals.hyperprior.SCALES`: what is beyond has a chance of 1e-9."""
    return max(1, min(255, int(np.ceil(6.2 * SCALES[index]))))


def y_tables() -> list[Frequencies]:
    """Frequencies ``[1, 2 reach + 1]`` of each Gaussian, rounded to whole numbers."""
    tables = []
    for index, scale in enumerate(SCALES):
        edge = np.arange(-reach(index), reach(index) + 1)
        chance = ndtr((edge + 0.5) / scale) - ndtr((edge - 0.5) / scale)
        tables.append(normalise(np.maximum(1, np.round(chance * 2**30)).astype(np.int64)[None]))
    return tables


def z_table(logits: Tensor) -> Frequencies:
    """Frequencies of z, one row a channel."""
    return normalise(np.maximum(1, np.round(logits.double().softmax(1).numpy() * 2**30)).astype(np.int64))


@dataclass(frozen=True)
class Tables:
    """All frequencies, as they are stored with the weights.

    Args:
        y: of each σ, one row.
        z: a row for each channel.
    """

    y: list[Frequencies]
    z: Frequencies

    def pack(self) -> dict[str, Tensor]:
        """As tensors for a weights file."""
        flat = np.concatenate([table[0] for table in self.y]).astype(np.int32)
        return {"tables.y": torch.from_numpy(flat), "tables.z": torch.from_numpy(self.z.astype(np.int32))}

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Tables:
        """From a weights file.

        Raises:
            Damaged: it has none, or they are of another size.
        """
        try:
            flat, z = (checkpoint.tensors[name].numpy().astype(np.int64) for name in ("tables.y", "tables.z"))
        except KeyError:
            raise Damaged(f"{checkpoint.path} lacks the tables of a hyperprior") from None
        sizes = [2 * reach(index) + 1 for index in range(len(SCALES))]
        if len(flat) != sum(sizes) or z.shape[1:] != (2 * Z_MOST + 1,):
            raise Damaged(f"{checkpoint.path} has tables of another size")
        return cls([row[None] for row in np.split(flat, np.cumsum(sizes)[:-1])], z)


class HyperpriorCodec(BitCodec):
    """A trained hyperprior as a :class:`~semcast.link.BitCodec`, for photos of any size up to 4 megapixels.

    Args:
        network: in eval mode.
        tables: of its entropy coder.
        name: ``hyperprior``, or ``hyperprior-perceptual``.
    """

    paints = True
    image_size: int | None = None

    def __init__(self, network: Hyperprior, tables: Tables, name: str = "hyperprior") -> None:
        self.network, self.tables, self._name = network.eval().requires_grad_(False), tables, name
        parts = [value.cpu().numpy().tobytes() for value in (*network.state_dict().values(), *tables.pack().values())]
        self._version = hashlib.sha256(b"".join(parts)).hexdigest()[:12]

    @property
    def name(self) -> str:
        """Of the weights."""
        return self._name

    @property
    def version(self) -> str:
        """Changes with the bytes that it makes."""
        return self._version

    @classmethod
    def load(cls, name: str = "hyperprior", domain: str = "face") -> HyperpriorCodec:
        """Load the weights of a name and a domain.

        Raises:
            SemcastError: there are none.
        """
        checkpoint = load(f"{name}-{domain}", kind="hyperprior")
        own = {key: value for key, value in checkpoint.tensors.items() if not key.startswith("tables.")}
        network = checkpoint.build(Hyperprior, HyperpriorConfig, tensors=own)
        return cls(network, Tables.of(checkpoint), name)

    @torch.no_grad()
    def compress(self, image: Photo, max_bytes: int) -> bytes:
        """At the highest quality that fits (bisection on real bytes).

        Raises:
            BadInput: the photo is too large.
            DoesNotFit: not even the lowest does.
        """
        height, width = image.shape[:2]
        if height * width > _MOST_PIXELS:
            raise BadInput(f"{self.name} codes photos of up to 4 megapixels, not {width} x {height}")
        photo = _pad(to_tensor(image))
        y = self.network.analyse(photo)
        low, high, best = 0, STEPS * (self.network.config.levels - 1), b""
        while low <= high:
            middle = (low + high) // 2
            stream = self._head(middle, height, width) + self._code(y, middle)
            if len(stream) <= max_bytes:
                best, low = stream, middle + 1
            else:
                high = middle - 1
        if not best:
            raise DoesNotFit(f"{self.name} codes nothing of this photo in {max_bytes} bytes")
        return best

    @torch.no_grad()
    def decompress(self, stream: bytes) -> Photo:
        """Show what the bytes say.

        Raises:
            Damaged: they are no stream of this codec.
        """
        quality, height, width, message = self._read_head(stream)
        rows, columns = (-(-side // STRIDE) for side in (height, width))
        decoder = Decoder(message)
        z = np.stack([decoder.get(np.repeat(row[None], rows * columns, 0)) for row in self.tables.z]) - Z_MOST
        whole = torch.from_numpy(z.astype(np.float32)).view(1, -1, rows, columns)
        mean, index = self.network.describe(whole)
        symbols = self._get(decoder, index)
        shown = self.network.synthesise((symbols + mean) / self._gain(quality))
        return to_uint8(shown[..., :height, :width].clamp(0, 1))

    # ---- the message -------------------------------------------------------------------------------------------------

    def _gain(self, quality: int) -> Tensor:
        return self.network.gain(torch.tensor([quality / STEPS]))

    def _code(self, y: Tensor, quality: int) -> bytes:
        y = y * self._gain(quality)
        z = torch.floor(self.network.hyper_analysis(y) + 0.5).clamp(-Z_MOST, Z_MOST)
        mean, index = self.network.describe(z)
        encoder = Encoder()
        for row, values in zip(self.tables.z, z[0].flatten(1).numpy().astype(np.int64) + Z_MOST, strict=True):
            encoder.put(values, np.repeat(row[None], len(values), 0))
        symbols, which = torch.floor(y - mean + 0.5).flatten().numpy(), index.flatten().numpy().astype(np.int64)
        for scale in np.unique(which):
            most = reach(int(scale))
            values = np.clip(symbols[which == scale], -most, most).astype(np.int64) + most
            encoder.put(values, np.repeat(self.tables.y[scale], len(values), 0))
        return encoder.finish()

    def _get(self, decoder: Decoder, index: Tensor) -> Tensor:
        which = index.flatten().numpy().astype(np.int64)
        symbols = np.zeros(len(which), np.float32)
        for scale in np.unique(which):
            own = which == scale
            symbols[own] = decoder.get(np.repeat(self.tables.y[scale], int(own.sum()), 0)) - reach(int(scale))
        return torch.from_numpy(symbols).view_as(index)

    # ---- the head ----------------------------------------------------------------------------------------------------

    def _head(self, quality: int, height: int, width: int) -> bytes:
        if height == width == _USUAL:
            return bytes([quality])
        return bytes([quality + _OTHER_SIZE]) + leb128(width) + leb128(height)

    def _read_head(self, stream: bytes) -> tuple[int, int, int, bytes]:
        if not stream:
            raise Damaged("an empty stream holds no photo")
        quality, width, height, rest = stream[0] & 127, _USUAL, _USUAL, stream[1:]
        if stream[0] & _OTHER_SIZE:
            try:
                width, at = read_leb128(stream, 1)
                height, at = read_leb128(stream, at)
            except IndexError:
                raise Damaged("the stream ends before it says the photo's size") from None
            rest = stream[at:]
        if quality > STEPS * (self.network.config.levels - 1) or not (0 < width * height <= _MOST_PIXELS):
            raise Damaged("the stream says a quality or a size that there is not")
        return quality, height, width, rest


def _pad(photo: Tensor) -> Tensor:
    height, width = photo.shape[-2:]
    return F.pad(photo, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
