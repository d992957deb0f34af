"""Image → symbols → channel → symbols → image: who sends, what lies between, and one photo's way through both.

The types of what travels, and the conventions for SNR, power and bandwidth, are those of :mod:`semcast.signals`; they are
imported from here as well.
"""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, wraps
from time import perf_counter
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from semcast.errors import BadInput, DoesNotFit
from semcast.mark import Mark
from semcast.photos import Photo
from semcast.signals import (
    MAX_SYMBOLS,
    Budget,
    Burst,
    Received,
    Reception,
    noise_var,
    snr_db,
    source_samples,
    to_complex,
    to_real,
    unit_power,
)

__all__ = [
    "MAX_SYMBOLS", "OVER_POWER", "BitCodec", "Budget", "Burst", "Channel", "Crossing", "Realisation", "Received", "Reception",
    "System", "check_power", "cross", "generator_for", "noise_var", "snr_db", "source_samples", "to_complex", "to_real",
    "unit_power",
]  # fmt: skip

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
        return _source_hash(type(self), System)

    @property
    def paints(self) -> bool:
        """Whether a network makes the picture that it shows, which its file then says; by default, whether it has parameters."""
        return next(self.parameters(), None) is not None

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with any number the system computes with, but for what it derives from others.

        The version counts too where there are no such numbers, and for every class that does not ship with semcast: its code
        may change between two runs.
        """
        sha, state = hashlib.sha256(), self.state_dict()
        for name, tensor in sorted(state.items()):
            if self.derived and name.startswith(self.derived):
                continue
            sha.update(name.encode())
            sha.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
        if not state or not type(self).__module__.startswith("semcast."):
            sha.update(self.version.encode())
        return sha.hexdigest()[:12]

    def check(self, budget: Budget) -> None:
        """Raises DoesNotFit where this system cannot work with the budget."""
        if not self.min_symbols <= budget.symbols <= self.max_symbols:
            raise DoesNotFit(f"{self.name} works with {self.min_symbols} to {self.max_symbols} symbols, not {budget.symbols}")

    def check_image(self, image: Tensor) -> None:
        """Raises BadInput where the image is not ``[batch, 3, H, W]``, or not of this system's size (in train mode any is)."""
        if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
            what = f"{image.dtype} of shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
            raise BadInput(f"{self.name} sends images [batch, 3, height, width] of floats in [0, 1], not {what}")
        height, width = image.shape[-2:]
        if self.image_size is not None and not self.training and (height, width) != (self.image_size, self.image_size):
            side = self.image_size
            raise BadInput(f"{self.name} sends photos of {side} x {side} pixels, not {width} x {height}")

    def encode(self, image: Tensor, budget: Budget) -> Burst:
        """Transmitter: image ``[batch, 3, H, W]`` in [0, 1] → Burst of ``budget.symbols`` symbols."""
        raise NotImplementedError(f"{type(self).__name__} has no encode(image, budget)")

    def decode(self, received: Received) -> Reception:
        """Receiver: equalised symbols → image in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} has no decode(received)")

    def forward(self, image: Tensor, channel: Realisation, budget: Budget) -> Reception:
        """The whole link for one channel draw; with gradients in train mode."""
        return self.decode(channel(self.encode(image, budget)))


def _encode_door(own: Callable[[Any, Tensor, Budget], Burst]) -> Callable[[Any, Tensor, Budget], Burst]:
    """``encode`` of a class behind its checks."""

    @wraps(own)
    def encode(self: System, image: Tensor, budget: Budget) -> Burst:
        self.check_image(image)
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
        symbols, device = received.checked().symbols, self.device
        if symbols.device != device:
            received = replace(received, symbols=symbols.to(device), noise_var=received.noise_var.to(device))
        with torch.set_grad_enabled(torch.is_grad_enabled() and (self.training or symbols.requires_grad)):
            reception = own(self, received)
        return replace(reception, mark=partial(_mark, self, received.budget)) if self.paints else reception

    return decode


def _mark(system: System, budget: Budget, channel: str = "", snr_db: float | None = None) -> Mark:
    """What a file says of a picture that this system painted."""
    met = float(budget.snr_db if snr_db is None else snr_db)
    return Mark(system.name, budget.symbols, met, channel, system.fingerprint())


def _source_hash(cls: type, base: type) -> str:
    """Twelve hexadecimal digits of the source of a class and of its bases above ``base``; of their code where none is kept."""
    sha = hashlib.sha256()
    for part in cls.__mro__[: cls.__mro__.index(base)]:
        try:
            sha.update(inspect.getsource(part).encode())
        except (OSError, TypeError):  # typed into a console
            for name, member in sorted(vars(part).items()):
                code = getattr(inspect.unwrap(member) if callable(member) else member, "__code__", None)
                sha.update(f"{name} {code.co_code if code else ''!r} {code.co_names if code else ''!r}".encode())
    return sha.hexdigest()[:12]


class Channel(ABC):
    """y = h x + n: a law of h and n from which one channel at a time is drawn.

    To bring one, subclass it and write ``draw`` (and ``uses``, where it has pilots).
    """

    name: ClassVar[str] = "channel"

    def uses(self, symbols: int) -> int:
        """How many channel uses k = ``symbols`` symbols of data take, pilots included. Raises BadInput: k is not in 1..2^20."""
        return Budget(symbols, 0.0).symbols

    @abstractmethod
    def draw(self, batch: int, symbols: int, snr_db: float | Tensor, generator: torch.Generator) -> Realisation:
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
        budget = burst.budget
        met = budget.snr_db if snr_db is None else snr_db
        return self.draw(len(burst.symbols), budget.symbols, met, generator_for(seed, burst.name))(burst)


class BitCodec(Protocol):
    """Source coding: a photo as at most so many bytes, and back.

    To bring one, subclass it (or have the same members) and write ``compress`` and ``decompress``.
    """

    @property
    def name(self) -> str:
        """The name of the codec."""
        return type(self).__name__.lower()

    @property
    def version(self) -> str:
        """Changes with the bytes that it makes: by default a hash of the class's source."""
        return _source_hash(type(self), BitCodec)

    @abstractmethod
    def compress(self, image: Photo, max_bytes: int) -> bytes:
        """uint8 ``[height, width, 3]`` → at most ``max_bytes``. Raises DoesNotFit where nothing fits."""
        ...

    @abstractmethod
    def decompress(self, stream: bytes) -> Photo:
        """Bytes → uint8 ``[height, width, 3]``. Raises Damaged where the stream is."""
        ...


@dataclass(frozen=True)
class Crossing:
    """What was sent, what came out, and the seconds that the transmitter and the receiver took."""

    burst: Burst
    reception: Reception
    encode_s: float
    decode_s: float


def generator_for(seed: int, name: str, draw: int = 0) -> torch.Generator:
    """The channel's randomness for one photo: the same for every system, SNR and k, another per photo and draw."""
    digest = hashlib.sha256(f"{seed}\n{name}\n{draw}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


OVER_POWER = 1.001
"""What a burst's mean power may be where every burst promises 1: rounding of half precision stays below it."""


def check_power(system: System, burst: Burst) -> None:
    """Raises BadInput where a burst is louder than its system promises: SNR would be had for nothing.

    A system that promises its power in the mean over photos cannot be judged by one burst.
    """
    most = float(burst.power.max())
    if system.power == "burst" and not most <= OVER_POWER:
        raise BadInput(f"{system.name} sends bursts of mean power {most:.3g} where it promises 1: scale them (unit_power)")


@torch.no_grad()
def cross(
    system: System, channel: Channel, image: Tensor, budget: Budget, generator: torch.Generator, *, snr_db: float | None = None
) -> Crossing:
    """Send an image ``[1, 3, H, W]`` in [0, 1] as ``budget.symbols`` symbols; the channel's pilots come on top.

    Args:
        snr_db: the channel's Es/N0 in dB, where it is not the one that the budget expects.

    Raises:
        SemcastError: the system does not work with this budget, sends too much power, or something that is not finite arrived.
    """
    met = budget.snr_db if snr_db is None else snr_db
    realisation = channel.draw(len(image), budget.symbols, met, generator)
    begun = perf_counter()
    burst = system.encode(image, budget)
    encoded = perf_counter()
    check_power(system, burst)
    received = realisation(burst).checked()
    arrived = perf_counter()
    reception = system.decode(received)
    decoded = perf_counter()
    if reception.mark:
        reception = replace(reception, mark=partial(_mark, system, budget, channel.name, met))
    return Crossing(burst, reception, encoded - begun, decoded - arrived)
