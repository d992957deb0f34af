"""What travels over a link, and the one convention for SNR, power and bandwidth.

Conventions (every module, every plot):

* images are float in [0, 1], ``[batch, 3, height, width]``; n = 3 · height · width real source samples;
* k = complex symbols per image that carry data, so 2k real dimensions; the bandwidth ratio is k / n
  (256 x 256: k = 64 is 1/3072, k = 640 is 10/3072, k = 8192 is 1/24). Pilots are the channel's and come on top:
  :meth:`Channel.uses` says how many channel uses k symbols take;
* the mean symbol power is 1, so SNR = Es/N0 per complex symbol and N0 = 10^(-SNR/10), half of it per real dimension.
  Under fading SNR is the average one (E|h|² = 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import torch
from torch import Tensor

from semcast.errors import BadInput, Damaged
from semcast.mark import Mark
from semcast.photos import write_image

MAX_SYMBOLS = 1 << 20


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
    """What transmitter and receiver agree on before the burst: k symbols of data, and the SNR that they design for.

    >>> Budget(640, snr_db=5).symbols
    640

    Args:
        symbols: k, complex symbols that carry data (a channel's pilots come on top: :meth:`Channel.uses`).
        snr_db: the Es/N0 in dB that the transmitter expects; the channel's own may differ.
        size: (height, width) of the photos, for systems that take any; :meth:`System.encode` fills it in. None where the
            system has one size.

    Raises:
        BadInput: k is not in 1..2^20 or the SNR is not a number in -30..60 dB.
    """

    symbols: int
    snr_db: float
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if type(self.symbols) is not int or not 1 <= self.symbols <= MAX_SYMBOLS:
            raise BadInput(f"symbols must be a whole number between 1 and {MAX_SYMBOLS}, not {self.symbols}")
        if not (math.isfinite(self.snr_db) and -30.0 <= self.snr_db <= 60.0):
            raise BadInput(f"SNR must be a number between -30 and 60 dB, not {self.snr_db}")


@dataclass(frozen=True)
class Burst:
    """What a transmitter sends.

    Args:
        symbols: complex ``[batch, k]`` of mean power 1.
        budget: what it was made for.
        side_bytes: per image, what the receiver must be told beside the symbols (ideally 0).
        name: of the photo; with a seed, the channel's randomness follows from it.
    """

    symbols: Tensor
    budget: Budget
    side_bytes: int = 0
    name: str = ""

    @property
    def power(self) -> Tensor:
        """The mean of |x|² over each image's symbols, ``[batch]``."""
        return self.symbols.abs().square().mean(-1)


@dataclass(frozen=True)
class Received:
    """What a receiver gets: equalised symbols ``[batch, k]`` and the noise variance left on each (same shape).

    A recording from a real radio satisfies this type as well as a simulated channel does.
    """

    symbols: Tensor
    noise_var: Tensor
    budget: Budget

    def checked(self) -> Received:
        """Itself, or an error if it is not what its budget says or a value is not finite.

        Raises:
            BadInput: the shape or the type is another one.
            Damaged: a value is not finite, or a variance negative.
        """
        if self.symbols.ndim != 2 or self.symbols.shape[1] != self.budget.symbols:
            raise BadInput(f"expected {self.budget.symbols} symbols, got shape {tuple(self.symbols.shape)}")
        if not self.symbols.is_complex():
            raise BadInput(f"received symbols must be complex numbers, not {self.symbols.dtype}")
        if self.noise_var.shape != self.symbols.shape:
            raise BadInput("there must be one noise variance for each received symbol")
        if not bool(torch.isfinite(torch.view_as_real(self.symbols)).all()):
            raise Damaged("the received symbols contain NaN or infinite values")
        if not bool(torch.isfinite(self.noise_var).all()):
            raise Damaged("the noise variances contain NaN or infinite values")
        if bool((self.noise_var < 0).any()):
            raise Damaged("the noise variances must not be negative")
        return self


@dataclass(frozen=True)
class Reception:
    """What a receiver makes of what arrived.

    Args:
        image: float in [0, 1], ``[batch, 3, H, W]``.
        ok: which of them can be trusted, bool ``[batch]``.
        reason: why not, in a sentence; "" where all can.
        codes: what the receiver understood, for systems that send codes (``generative``: L̂ ``[batch, 28, code]``).
        mark: makes what a file of the picture says of the network that painted it; None where none did.
    """

    image: Tensor
    ok: Tensor
    reason: str = ""
    codes: Tensor | None = None
    mark: Callable[[], Mark] | None = field(default=None, compare=False, repr=False)

    def save(self, path: Path | str) -> None:
        """Write the picture; the extension says how (PNG, JPEG, WebP, TIFF; BMP where no network painted it).

        The file says which network painted it. One that exists is overwritten.

        Raises:
            SemcastError: there are several pictures, the extension is unknown, or the file cannot be written.
        """
        write_image(path, self.image, mark=self.mark() if self.mark else None)
