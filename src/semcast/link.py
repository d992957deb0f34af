"""Image → symbols → channel → symbols → image: the core types and the one convention for SNR, power and bandwidth.

Conventions (every module, every plot):

* images are float in [0, 1], ``[batch, 3, height, width]``; n = 3 · height · width real source samples;
* k = complex channel uses per image, so 2k real dimensions; the bandwidth ratio is k / n
  (256 x 256: k = 64 is 1/3072, k = 640 is 10/3072, k = 8192 is 1/24);
* the mean symbol power is 1, so SNR = Es/N0 per complex symbol and N0 = 10^(-SNR/10), half of it per real dimension.
  Under fading SNR is the average one (E|h|² = 1). Pilots count in k.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Protocol, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semcast.errors import SemcastError

MAX_SYMBOLS = 1 << 20
Photo = NDArray[np.uint8]


@overload
def noise_var(snr_db: float) -> float: ...
@overload
def noise_var(snr_db: Tensor) -> Tensor: ...
def noise_var(snr_db: float | Tensor) -> float | Tensor:
    """N0 = 10^(-SNR/10): noise variance per complex symbol of unit mean power (N0/2 per real dimension)."""
    return 10.0 ** (-snr_db / 10.0)


@overload
def snr_db(noise_variance: float) -> float: ...
@overload
def snr_db(noise_variance: Tensor) -> Tensor: ...
def snr_db(noise_variance: float | Tensor) -> float | Tensor:
    """SNR = -10 log10(N0) in dB, the inverse of :func:`noise_var`."""
    if isinstance(noise_variance, Tensor):
        return -10.0 * torch.log10(noise_variance)
    return -10.0 * math.log10(noise_variance)


def source_samples(image: Tensor) -> int:
    """n = 3 · height · width, the real numbers in one image of a batch."""
    return math.prod(image.shape[1:])


def to_complex(real: Tensor) -> Tensor:
    """Pair reals ``[batch, 2k]`` into complex symbols ``[batch, k]``: (r0 + j r1), (r2 + j r3), ..."""
    return torch.view_as_complex(real.float().reshape(*real.shape[:-1], -1, 2).contiguous())


def to_real(symbols: Tensor) -> Tensor:
    """Unpair complex symbols ``[batch, k]`` into reals ``[batch, 2k]``; the inverse of :func:`to_complex`."""
    return torch.view_as_real(symbols).flatten(-2)


def unit_power(symbols: Tensor) -> Tensor:
    """x = sqrt(k) z / ||z||: mean power 1 over each burst ``[batch, k]``."""
    power = symbols.abs().square().mean(-1, keepdim=True)
    return symbols * torch.rsqrt(power.clamp_min(1e-20))


@dataclass(frozen=True)
class Budget:
    """What transmitter and receiver agree on before the burst: k complex symbols and the SNR they design for.

    Args:
        symbols: k, complex channel uses that carry data (pilots are taken off before).
        snr_db: the Es/N0 in dB that the transmitter expects.

    Raises:
        SemcastError: k is not in 1..2^20 or the SNR is not a number in -30..60 dB.
    """

    symbols: int
    snr_db: float

    def __post_init__(self) -> None:
        if type(self.symbols) is not int or not 1 <= self.symbols <= MAX_SYMBOLS:
            raise SemcastError(f"symbols must be a whole number between 1 and {MAX_SYMBOLS}, not {self.symbols}")
        if not (math.isfinite(self.snr_db) and -30.0 <= self.snr_db <= 60.0):
            raise SemcastError(f"SNR must be a number between -30 and 60 dB, not {self.snr_db}")


@dataclass(frozen=True)
class Burst:
    """What a transmitter sends: complex symbols ``[batch, k]`` of mean power 1, and side bytes per image (ideally 0)."""

    symbols: Tensor
    budget: Budget
    side_bytes: int = 0


@dataclass(frozen=True)
class Received:
    """What a receiver gets: equalised symbols ``[batch, k]`` and the noise variance left on each (same shape).

    A recording from a real radio satisfies this type as well as a simulated channel does.
    """

    symbols: Tensor
    noise_var: Tensor
    budget: Budget

    def checked(self) -> Received:
        """Itself, or a SemcastError if it is not what its budget says or a value is not finite."""
        if self.symbols.ndim != 2 or self.symbols.shape[1] != self.budget.symbols:
            raise SemcastError(f"expected {self.budget.symbols} symbols, got shape {tuple(self.symbols.shape)}")
        if not self.symbols.is_complex():
            raise SemcastError(f"received symbols must be complex numbers, not {self.symbols.dtype}")
        if self.noise_var.shape != self.symbols.shape:
            raise SemcastError("there must be one noise variance for each received symbol")
        if not bool(torch.isfinite(torch.view_as_real(self.symbols)).all()):
            raise SemcastError("the received symbols contain NaN or infinite values")
        if not bool(torch.isfinite(self.noise_var).all()):
            raise SemcastError("the noise variances contain NaN or infinite values")
        if bool((self.noise_var < 0).any()):
            raise SemcastError("the noise variances must not be negative")
        return self


@dataclass(frozen=True)
class Reception:
    """What a receiver makes of it: images ``[batch, 3, H, W]``, whether each can be trusted, and what is worth saying."""

    image: Tensor
    ok: Tensor
    notes: dict[str, object] = field(default_factory=dict)


Realisation = Callable[[Burst], Received]
"""One fixed draw of a channel: a differentiable map from what was sent to what arrives."""


class System(nn.Module):
    """A transmitter and a receiver: ``decode(channel(encode(image, budget)))``.

    ``decode`` never sees the image. Subclasses set ``name``, ``image_size`` and the range of k they serve, and name in
    ``derived`` the beginnings of those entries of their state that are computed from the others when they are made (their last
    bits differ from machine to machine, and no fingerprint should).
    """

    name = "system"
    image_size = 256
    min_symbols = 1
    max_symbols = MAX_SYMBOLS
    derived: tuple[str, ...] = ()

    def check(self, budget: Budget) -> None:
        """Raises SemcastError where this system cannot work with the budget."""
        if not self.min_symbols <= budget.symbols <= self.max_symbols:
            raise SemcastError(
                f"{self.name} works with {self.min_symbols} to {self.max_symbols} symbols, not {budget.symbols}"
            )

    def encode(self, image: Tensor, budget: Budget) -> Burst:
        """Transmitter: image ``[batch, 3, H, W]`` in [0, 1] → Burst of ``budget.symbols`` symbols."""
        raise NotImplementedError

    def decode(self, received: Received) -> Reception:
        """Receiver: equalised symbols → image in [0, 1]."""
        raise NotImplementedError

    def forward(self, image: Tensor, channel: Realisation, budget: Budget) -> Reception:
        """The whole link for one channel draw."""
        return self.decode(channel(self.encode(image, budget)))


def with_symbols(budget: Budget, symbols: int) -> Budget:
    """The same budget with another k (pilots taken off, a prefix kept)."""
    return replace(budget, symbols=symbols)


class Channel(Protocol):
    """y = h x + n: a law of h and n from which one channel at a time is drawn."""

    @property
    def name(self) -> str:
        """The name that :func:`make_channel` knows it by."""
        ...

    def data_symbols(self, symbols: int) -> int:
        """How many of k channel uses carry data; the others are pilots. Raises SemcastError if none is left."""
        ...

    def draw(self, batch: int, symbols: int, snr_db: float | Tensor, generator: torch.Generator) -> Realisation:
        """One channel for each of ``batch`` images: a map from a Burst ``[batch, data_symbols(k)]`` to Received.

        Common random numbers: from the same generator state, image i of any batch meets the same unit noise at every
        SNR, on every channel, and in a shorter burst the beginning of what a longer one meets.

        Args:
            batch: images.
            symbols: k, all channel uses of an image, pilots among them.
            snr_db: average Es/N0 in dB, one for all or ``[batch]``.
            generator: the only source of randomness; two integers an image are taken from it.

        Raises:
            SemcastError: k or the SNR is out of range, or the pilots leave nothing for data.
        """
        ...


class BitCodec(Protocol):
    """Source coding: a photo as at most so many bytes, and back."""

    @property
    def name(self) -> str:
        """The name of the codec."""
        ...

    @property
    def version(self) -> str:
        """Changes with the bytes that it makes."""
        ...

    def compress(self, image: Photo, max_bytes: int) -> bytes:
        """uint8 ``[256, 256, 3]`` → at most ``max_bytes``. Raises SemcastError where nothing fits."""
        ...

    def decompress(self, stream: bytes) -> Photo:
        """Bytes → uint8 ``[256, 256, 3]``. Raises SemcastError where the stream is damaged."""
        ...


@dataclass(frozen=True)
class Crossing:
    """What was sent, what came out, and the seconds that the transmitter and the receiver took."""

    burst: Burst
    reception: Reception
    encode_s: float
    decode_s: float


def data_budget(system: System, channel: Channel, budget: Budget) -> Budget:
    """What is left for data once the channel's pilots are taken off.

    Raises:
        SemcastError: nothing is left, or the system does not work with it.
    """
    left = replace(budget, symbols=channel.data_symbols(budget.symbols))
    system.check(left)
    return left


def generator_for(seed: int, name: str, draw: int = 0) -> torch.Generator:
    """The channel's randomness for one photo: the same for every system, SNR and k, another per photo and draw."""
    digest = hashlib.sha256(f"{seed}\n{name}\n{draw}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@torch.no_grad()
def cross(
    system: System, channel: Channel, image: Tensor, budget: Budget, generator: torch.Generator
) -> Crossing:
    """Send an image ``[1, 3, H, W]`` in [0, 1] with all k of ``budget``, pilots among them.

    Raises:
        SemcastError: the system does not work with this budget, or something that is not finite arrived.
    """
    realisation = channel.draw(len(image), budget.symbols, budget.snr_db, generator)
    begun = perf_counter()
    burst = system.encode(image, data_budget(system, channel, budget))
    encoded = perf_counter()
    received = realisation(burst).checked()
    arrived = perf_counter()
    reception = system.decode(received)
    return Crossing(burst, reception, encoded - begun, perf_counter() - arrived)
