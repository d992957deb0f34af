"""``rl-asc``, ``jpeg``, ``jpeg2000``, ``webp``, ``avif``, ``hevc``: source and channel coding apart, as Shannon separates them.

photo → codec → bytes → CRC, 5G LDPC, QAM → channel → soft demapping, LDPC decoder, CRC → bytes → codec → photo
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.domains import domain_named
from semcast.errors import BadInput, SemcastError
from semcast.linear.system import load_sketch
from semcast.link import Budget, Burst, Received, Reception, System
from semcast.photos import Photo, to_tensor, to_uint8
from semcast.rivals.bit_codecs import load_bit_codec
from semcast.rivals.modem import TABLE, Modem, Scheme, map_bits, scheme_for, scheme_named
from semcast.source_coding import BitCodec

SIDE = 256
"""Of the photos of codecs that take one size alone."""

_END = b"\x80"  # closes the stream: what follows it in the payload is zeros (the bit padding of ISO/IEC 7816-4)


class DigitalSystem(System):
    """A codec and a modem, with the modulation and code rate of the SNR that both ends expect, or with a fixed one.

    Under fading that is the average SNR, so a burst in a fade is lost: outage. A burst that is lost, or that had room for no
    photo at all, shows the mean picture of its domain with ``ok`` false and a ``reason``. Symbols come from a
    constellation of mean energy 1 and all of them are used: the power of a burst is 1 on average, not exactly.

    Photos keep their size where the codec keeps it: both ends agree on it beforehand (``budget.size``), so that a picture of
    that size is shown where none arrives. Bytes are coded, mapped and decoded on the processor, wherever the photo is.

    Args:
        codec: source coding.
        scheme: modulation and code rate; None: the best one for the SNR (:func:`~semcast.rivals.modem.scheme_for`).
        mean: the picture shown where none arrives, ``[3, 256, 256]``.
    """

    power = "mean"  # each point of a constellation has its own
    mean: Tensor
    made_with: Tensor

    def __init__(self, codec: BitCodec, scheme: Scheme | None, mean: Tensor) -> None:
        super().__init__()
        self.codec, self.fixed = codec, scheme
        self.name = codec.name + (f":{scheme.name}" if scheme else "")
        self.image_size = getattr(codec, "image_size", SIDE)
        self.register_buffer("mean", mean)
        # Part of the state, so that results of another codec version or table are not taken for these.
        digest = hashlib.sha256(codec.version.encode() + TABLE.read_bytes()).digest()
        self.register_buffer("made_with", torch.tensor(list(digest), dtype=torch.uint8))

    @classmethod
    def load(cls, codec: str, scheme: str | None = None, domain: str = "face") -> DigitalSystem:
        """Load by the names of a codec and, for a fixed one, of a modulation and code rate (``16qam-1/2``).

        Args:
            domain: of the photos: ``rl-asc`` has networks for each, and each has its own picture where none arrives.

        Raises:
            SemcastError: a name is unknown, a library is missing, or there are no weights.
        """
        fixed = scheme_named(scheme) if scheme is not None else None
        system = cls(load_bit_codec(codec, domain), fixed, mean_picture(domain))
        system.modem(Budget(64, 0.0))  # says now, not in the middle of a sweep, if Sionna is missing
        return system

    @property
    def paints(self) -> bool:
        """Whether the codec's picture is one that a network painted."""
        return bool(getattr(self.codec, "paints", False))

    def modem(self, budget: Budget) -> Modem | None:
        """The modem that both ends derive from the budget; None where k symbols carry nothing."""
        scheme = self.fixed or scheme_for(budget.snr_db, budget.symbols)
        modem = Modem(scheme) if scheme else None
        return modem if modem and modem.payload_bytes(budget.symbols) else None

    def encode(self, image: Tensor, budget: Budget) -> Burst:
        """Compress into what the modem carries; where nothing fits, an empty payload."""
        self.check(budget)
        modem, k = self.modem(budget), budget.symbols
        if modem is None:
            bits = torch.randint(0, 2, (len(image), 2 * k), generator=torch.Generator().manual_seed(0))
            return Burst(map_bits(bits.float(), 2).to(image.device), budget)
        room = modem.payload_bytes(k)
        symbols = modem.modulate([self._payload(to_uint8(photo), room) for photo in image], k)
        return Burst(symbols.to(image.device), budget)

    def decode(self, received: Received) -> Reception:
        """Demodulate, check the CRC, decompress; the mean picture where that fails."""
        received.check()
        modem, budget = self.modem(received.budget), received.budget
        if modem is None:
            pictures: list[Tensor | str] = [f"{budget.symbols} symbols are too few for a 5G code block"] * len(received.symbols)
        else:
            payloads = modem.demodulate(received.symbols.cpu(), received.noise_var.cpu())
            pictures = [self._open(payload) for payload in payloads]
        nothing = self._empty(budget).to(received.symbols.device)
        shown = [nothing if isinstance(picture, str) else picture.to(nothing.device) for picture in pictures]
        reasons = [picture if isinstance(picture, str) else "" for picture in pictures]
        ok = torch.tensor([not reason for reason in reasons], device=nothing.device)
        return Reception(torch.stack(shown), ok, "; ".join(dict.fromkeys(filter(None, reasons))))

    def _payload(self, photo: Photo, room: int) -> bytes:
        """The stream, its end and zeros; zeros alone where the codec has nothing that fits."""
        try:
            stream = self.codec.compress(photo, room - len(_END)) + _END
        except BadInput:
            raise
        except SemcastError:
            stream = b""
        return stream.ljust(room, b"\0")

    def _open(self, payload: bytes | None) -> Tensor | str:
        """The picture ``[3, H, W]`` of a payload, or why there is none."""
        if payload is None:
            return "the burst was lost: its CRC fails"
        stream = payload.rstrip(b"\0")
        if not stream:
            return f"{self.codec.name} cannot code a photo in the {len(payload)} bytes that fit"
        try:
            return to_tensor(self.codec.decompress(stream.removesuffix(_END)))[0]
        except SemcastError as error:  # a CRC of 16 bits misses one damaged block in 65,536
            return str(error)

    def _empty(self, budget: Budget) -> Tensor:
        """What is shown where no picture arrives, at the size that both ends agreed on."""
        if budget.size is None or budget.size == tuple(self.mean.shape[-2:]):
            return self.mean
        return F.interpolate(self.mean[None], budget.size, mode="bilinear", antialias=True)[0].clamp(0, 1)


def mean_face() -> Tensor:
    """The mean of the training photos, ``[3, 256, 256]``: what a receiver knows before anything arrives."""
    sketch = load_sketch("plain")
    small = sketch.restore(torch.zeros(1, sketch.config.components))
    return F.interpolate(small, (SIDE, SIDE), mode="bicubic").clamp(0, 1)[0]


def mean_picture(domain: str) -> Tensor:
    """What a receiver shows before anything arrives, ``[3, 256, 256]``: the mean face, or grey for a domain that is not aligned.

    The mean of streets is a grey haze too, and not worth a file of its own.

    Raises:
        SemcastError: there is no such domain.
    """
    return mean_face() if domain_named(domain).name == "face" else torch.full((3, SIDE, SIDE), 0.5)


def capacity_bytes(k: int, snr_db: float) -> int:
    """floor(k log2(1 + SNR) / 8): whole bytes that k complex symbols carry without error at the capacity of AWGN.

    >>> capacity_bytes(640, 10.0)
    276
    """
    return int(np.floor(k * math.log2(1 + 10 ** (snr_db / 10)) / 8))


def at_capacity(codec: BitCodec, image: Photo, k: int, snr_db: float) -> Photo:
    """What the codec would show if bytes crossed at capacity and without error: a bound on every modem under it.

    Args:
        codec: source coding.
        image: uint8 ``[256, 256, 3]``.
        k: complex symbols.
        snr_db: Es/N0 in dB.

    Raises:
        SemcastError: not even so many bytes hold a photo.
    """
    return codec.decompress(codec.compress(image, capacity_bytes(k, snr_db)))


__all__ = ["DigitalSystem", "at_capacity", "capacity_bytes", "mean_face", "mean_picture"]
