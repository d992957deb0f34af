"""Image → symbols → channel → symbols → image: the core types and the one convention for SNR, power and bandwidth.

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
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import torch
from torch import Tensor, nn

from semcast.errors import BadInput, Damaged, DoesNotFit
from semcast.files import quote
from semcast.given import check_kind, check_levels, check_number, check_path, check_whole, whole_of
from semcast.hashes import generator_for, hash_numbers, hash_source
from semcast.mark import Mark
from semcast.photos import write_image

if TYPE_CHECKING:
    from jaxtyping import Bool, Complex, Float, Num

MAX_SYMBOLS = 1 << 20
LOUDEST = 1e15
"""Of a received symbol, sent ones being of power 1: squares of what is larger come near the end of float32."""


@overload
def noise_var(snr_db: float) -> float: ...
@overload
def noise_var(snr_db: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]: ...
def noise_var(snr_db: float | Float[Tensor, "*shape"]) -> float | Float[Tensor, "*shape"]:
    """N0 = 10^(-SNR/10): noise variance per complex symbol of unit mean power (N0/2 per real dimension)."""
    return 10.0 ** (-snr_db / 10.0)


@overload
def snr_db(noise_variance: float) -> float: ...
@overload
def snr_db(noise_variance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]: ...
def snr_db(noise_variance: float | Float[Tensor, "*shape"]) -> float | Float[Tensor, "*shape"]:
    """SNR = -10 log10(N0) in dB, the inverse of :func:`noise_var`."""
    if isinstance(noise_variance, Tensor):
        return -10.0 * torch.log10(noise_variance)
    return -10.0 * math.log10(noise_variance)


def source_samples(image: Num[Tensor, "batch channels height width"]) -> int:
    """n = 3 · height · width, the real numbers in one image of a batch."""
    return math.prod(image.shape[1:])


def to_complex(real: Float[Tensor, "*batch reals"]) -> Complex[Tensor, "*batch reals//2"]:
    """Pair reals ``[batch, 2k]`` into complex symbols ``[batch, k]``: (r0 + j r1), (r2 + j r3), ..."""
    return torch.view_as_complex(real.float().reshape(*real.shape[:-1], -1, 2).contiguous())


def to_real(symbols: Complex[Tensor, "*batch k"]) -> Float[Tensor, "*batch 2*k"]:
    """Unpair complex symbols ``[batch, k]`` into reals ``[batch, 2k]``; the inverse of :func:`to_complex`."""
    return torch.view_as_real(symbols).flatten(-2)


def unit_power(symbols: Complex[Tensor, "*batch k"]) -> Complex[Tensor, "*batch k"]:
    """x = sqrt(k) z / ||z||: mean power 1 over each burst ``[batch, k]``.

    Raises:
        BadInput: they are no tensor of complex numbers or floats.
    """
    if not isinstance(symbols, Tensor) or not (symbols.is_complex() or symbols.is_floating_point()):
        raise BadInput(f"symbols are a complex tensor [batch, k], not {quote(symbols)}")
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
        # Numbers of numpy and torch become Python's own: what is written in records and headers is of these.
        object.__setattr__(self, "symbols", check_whole("symbols", self.symbols, 1, MAX_SYMBOLS))
        object.__setattr__(self, "snr_db", check_number("SNR", self.snr_db, -30.0, 60.0, "dB"))
        if self.size is not None and not (
            isinstance(self.size, Sequence) and len(self.size) == 2 and all((whole_of(side) or 0) > 0 for side in self.size)
        ):
            raise BadInput(f"the size of photos is (height, width) in pixels, not {quote(self.size)}")


@dataclass(frozen=True)
class Burst:
    """What a transmitter sends.

    Args:
        symbols: complex ``[batch, k]`` of mean power 1.
        budget: what it was made for.
        side_bytes: per image, what the receiver must be told beside the symbols (ideally 0).
        name: of the photo; with a seed, the channel's randomness follows from it.
    """

    symbols: Complex[Tensor, "batch k"]
    budget: Budget
    side_bytes: int = 0
    name: str = ""

    @property
    def power(self) -> Float[Tensor, " batch"]:
        """The mean of |x|² over each image's symbols, ``[batch]``."""
        return self.symbols.abs().square().mean(-1)


@dataclass(frozen=True)
class Received:
    """What a receiver gets: equalised symbols ``[batch, k]`` and the noise variance left on each (same shape).

    A recording from a real radio satisfies this type as well as a simulated channel does.
    """

    symbols: Complex[Tensor, "batch k"]
    noise_var: Float[Tensor, "batch k"]
    budget: Budget

    def check(self) -> Received:
        """Itself, or an error if it is not what its budget says or a value is not finite.

        Raises:
            BadInput: the shape or the type is another one.
            Damaged: a value is not finite or beyond all reason, or a variance negative.
        """
        for tensor in (self.symbols, self.noise_var):
            check_kind("what was received", tensor, Tensor, "a tensor of symbols and one of noise variances")
        check_kind("the budget", self.budget, Budget, "a Budget")
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
        if bool((self.symbols.abs() > LOUDEST).any()) or bool((self.noise_var > LOUDEST**2).any()):
            raise Damaged(f"received symbols are of power 1, these go over {LOUDEST:g}: a picture of them would be no numbers")
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

    image: Float[Tensor, "batch 3 height width"]
    ok: Bool[Tensor, " batch"]
    reason: str = ""
    codes: Float[Tensor, "batch codes code"] | None = None
    mark: Callable[[], Mark] | None = field(default=None, compare=False, repr=False)

    def save(self, path: Path | str) -> None:
        """Write the picture; the extension says how (PNG, JPEG, WebP, TIFF; BMP where no network painted it).

        The file says which network painted it. One that exists is overwritten.

        Raises:
            SemcastError: there are several pictures, the extension is unknown, or the file cannot be written.
        """
        write_image(check_path("a picture's file", path), self.image, mark=self.mark() if self.mark else None)


Realisation = Callable[[Burst], Received]
"""One fixed draw of a channel: a differentiable map from what was sent to what arrives."""


class System(nn.Module):
    """A transmitter and a receiver: ``decode(channel(encode(image, budget)))``.

    To bring one, subclass it and write ``encode`` and ``decode``; ``decode`` never sees the image. Both are put behind one
    door when the class is made. Before ``encode`` the image is checked and moved to the system's device, and budget and
    range of k are checked; before ``decode`` what arrived is. Neither keeps gradients unless somebody asked for them, by
    putting the system in train mode or by handing in a tensor that requires them: a result that is looked at holds no graph.

    >>> class Grey(System):
    ...     name = "grey"
    ...     def encode(self, image, budget):
    ...         level = image.mean((1, 2, 3))[:, None].expand(-1, budget.symbols)
    ...         return Burst(torch.polar(torch.ones_like(level), level), budget)
    ...     def decode(self, received):
    ...         level = received.symbols.mean(-1).angle().clamp(0, 1)
    ...         image = level[:, None, None, None].expand(-1, 3, *received.budget.size)
    ...         return Reception(image, torch.ones(len(image), dtype=torch.bool))
    >>> burst = Grey().encode(torch.full((1, 3, 8, 8), 0.25), Budget(4, snr_db=10.0))
    >>> Grey().decode(Received(burst.symbols, torch.full((1, 4), 0.1), burst.budget)).image.shape
    torch.Size([1, 3, 8, 8])

    Attributes:
        name: what results and the command line call it; the class's own in small letters where nothing else is said.
        image_size: side of the square photos that it takes; None: photos of any size, which ``budget.size`` then tells.
        min_symbols, max_symbols: the range of k that it serves.
        power: what it promises: mean power 1 of every ``burst``, or in the ``mean`` over photos.
        derived: the beginnings of those entries of its state that are computed from the others when they are made (their
            last bits differ from machine to machine, and no fingerprint should).
    """

    name: str = "system"
    image_size: int | None = None
    min_symbols: int = 1
    max_symbols: int = MAX_SYMBOLS
    power: Literal["burst", "mean"] = "burst"
    derived: tuple[str, ...] = ()
    _is_named: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._is_named = cls._is_named or "name" in cls.__dict__
        if not cls._is_named:
            cls.name = cls.__name__.lower()
        for name, door in (("encode", _encode_door), ("decode", _decode_door)):
            if name in cls.__dict__:
                setattr(cls, name, door(cls.__dict__[name]))

    @property
    def device(self) -> torch.device:
        """Where its tensors are; the CPU where it has none."""
        return next((t.device for own in (self.parameters(), self.buffers()) for t in own), torch.device("cpu"))

    @property
    def version(self) -> str:
        """Changes with what the class computes: by default a hash of its source. Subclasses may set a string instead."""
        return hash_source(type(self), System)

    @property
    def paints(self) -> bool:
        """Whether a network makes the picture that it shows, which its file then says; by default, whether it has parameters."""
        return next(self.parameters(), None) is not None

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with any number the system computes with, but for what it derives from others.

        The version counts too where there are no such numbers, and for every class that does not ship with semcast: its code
        may change between two runs.
        """
        state = self.state_dict()
        code = "" if state and type(self).__module__.startswith("semcast.") else self.version
        return hash_numbers(state, but=self.derived, code=code)

    def check(self, budget: Budget) -> None:
        """Raises DoesNotFit where this system cannot work with the budget."""
        check_kind("the budget", budget, Budget, "a Budget")
        if not self.min_symbols <= budget.symbols <= self.max_symbols:
            raise DoesNotFit(f"{self.name} works with {self.min_symbols} to {self.max_symbols} symbols, not {budget.symbols}")

    def check_image(self, image: Tensor) -> None:
        """Raises BadInput where the image is not ``[batch, 3, H, W]`` in [0, 1], or (but to train) not of this system's size."""
        if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
            what = f"{image.dtype} of shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
            raise BadInput(f"{self.name} sends images [batch, 3, height, width] of floats in [0, 1], not {what}")
        check_levels(f"an image that {self.name} sends", image)
        height, width = image.shape[-2:]
        if self.image_size is not None and not self.training and (height, width) != (self.image_size, self.image_size):
            side = self.image_size
            raise BadInput(f"{self.name} sends photos of {side} x {side} pixels, not {width} x {height}")

    def encode(self, image: Float[Tensor, "batch 3 height width"], budget: Budget) -> Burst:
        """Transmitter: image ``[batch, 3, H, W]`` in [0, 1] → Burst of ``budget.symbols`` symbols."""
        raise NotImplementedError(f"{type(self).__name__} has no encode(image, budget)")

    def decode(self, received: Received) -> Reception:
        """Receiver: equalised symbols → image in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} has no decode(received)")

    def forward(self, image: Float[Tensor, "batch 3 height width"], channel: Realisation, budget: Budget) -> Reception:
        """The whole link for one channel draw; with gradients in train mode."""
        return self.decode(channel(self.encode(image, budget)))


def _encode_door(own: Callable[[Any, Tensor, Budget], Burst]) -> Callable[[Any, Tensor, Budget], Burst]:
    """``encode`` of a class behind its checks."""

    @wraps(own)
    def encode(self: System, image: Tensor, budget: Budget) -> Burst:
        self.check_image(image)
        check_kind("the budget", budget, Budget, "a Budget")
        if self.image_size is None:
            budget = replace(budget, size=(image.shape[-2], image.shape[-1]))
        self.check(budget)
        name = getattr(image, "name", None)  # a Picture's; that of any other tensor is None
        with torch.set_grad_enabled(torch.is_grad_enabled() and (self.training or image.requires_grad)):
            burst = own(self, image.to(self.device), budget)
        return replace(burst, name=name) if name else burst

    return encode


def _decode_door(own: Callable[[Any, Received], Reception]) -> Callable[[Any, Received], Reception]:
    """``decode`` of a class behind its checks."""

    @wraps(own)
    def decode(self: System, received: Received) -> Reception:
        check_kind("what is decoded", received, Received, "a Received")
        symbols, device = received.check().symbols, self.device
        if symbols.device != device:
            received = replace(received, symbols=symbols.to(device), noise_var=received.noise_var.to(device))
        with torch.set_grad_enabled(torch.is_grad_enabled() and (self.training or symbols.requires_grad)):
            reception = own(self, received)
        return replace(reception, mark=partial(mark_of, self, received.budget)) if self.paints else reception

    return decode


def mark_of(system: System, budget: Budget, channel: str = "", snr_db: float | None = None) -> Mark:
    """What a file says of a picture that this system painted."""
    met = float(budget.snr_db if snr_db is None else snr_db)
    return Mark(system.name, budget.symbols, met, channel, system.fingerprint())


class Channel(ABC):
    """y = h x + n: a law of h and n from which one channel at a time is drawn.

    To bring one, subclass it and write ``draw`` (and ``uses``, where it has pilots).
    """

    name: ClassVar[str] = "channel"

    def uses(self, symbols: int) -> int:
        """How many channel uses k = ``symbols`` symbols of data take, pilots included. Raises BadInput: k is not in 1..2^20."""
        return Budget(symbols, 0.0).symbols

    @abstractmethod
    def draw(
        self, batch: int, symbols: int, snr_db: float | Float[Tensor, " snrs"], generator: torch.Generator
    ) -> Realisation:
        """One channel for each of ``batch`` images: a map from a Burst ``[batch, k]`` to Received.

        Common random numbers: from the same generator state, image i of any batch meets the same unit noise at every
        SNR, on every channel, and in a shorter burst the beginning of what a longer one meets.

        Args:
            batch: images.
            symbols: k, the symbols that carry data.
            snr_db: average Es/N0 in dB, one for all or ``[batch]``.
            generator: the only source of randomness, on the CPU; two integers an image are taken from it.

        Raises:
            BadInput: k or the SNR is out of range.
        """

    def __call__(self, burst: Burst, *, seed: int = 0, snr_db: float | None = None) -> Received:
        """Send a burst over one draw.

        Args:
            burst: what :meth:`System.encode` made.
            seed: the draw follows from it and from the name of the photo.
            snr_db: the channel's Es/N0 in dB, where it is not the one that the budget expects.
        """
        check_kind("what is sent", burst, Burst, "a Burst")
        check_kind("symbols", burst.symbols, Tensor, "a complex tensor [batch, k]")
        check_kind("the budget", burst.budget, Budget, "a Budget")
        budget = burst.budget
        met = budget.snr_db if snr_db is None else snr_db
        return self.draw(len(burst.symbols), budget.symbols, met, generator_for(seed, burst.name))(burst)
