"""``--private``: any system behind a transmitter that protects parts of the face; the receiver is the system's own.

::

    blind    photo → mask → photo without its private pixels → inversion of the rest → knowledge base's private codes ─┐
               generative: flow, channel encoder ←─────────────────────────────────────────────────────────────────────┤
               any other system ← photo, its private pixels painted from these codes ←─ generator ←────────────────────┘
    filter   photo → inversion → L → privacy filter, pull-back → P → flow, channel encoder      (generative alone)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from semcast.errors import SemcastError
from semcast.generative.system import Generative
from semcast.link import Budget, Burst, Received, Reception, System
from semcast.networks.precision import mixed
from semcast.networks.segmenter import FaceParser
from semcast.privacy.filter import (
    FilterConfig,
    Filtered,
    PartChoice,
    Region,
    coarse_region,
    filter_codes,
    found_region,
    given_region,
    hidden,
    seamless,
)
from semcast.privacy.knowledge import KnowledgeBase

MODES = ("blind", "filter")


@dataclass(frozen=True)
class Protection:
    """What is private and how it is protected.

    Args:
        choice: the parts.
        mode: ``blind`` or ``filter``.
        strength: λ1 and λ2 of ``filter``.
        mask: the private pixels as the user gives them, bool ``[H, H]`` over the aligned photo, instead of the parser's.
        coarse: fixed boxes instead of the parser's mask.

    Raises:
        SemcastError: an unknown mode, or options that do not go together.
    """

    choice: PartChoice
    mode: str = "blind"
    strength: FilterConfig = field(default_factory=FilterConfig)
    mask: Tensor | None = field(default=None, compare=False)
    coarse: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise SemcastError(f"--privacy is {' or '.join(MODES)}, not {self.mode!r}")
        if self.mode == "filter" and (self.coarse or self.mask is not None):
            raise SemcastError("--private-mask and --coarse-mask are for --privacy blind: filter works on codes, not on pixels")
        if self.coarse and self.mask is not None:
            raise SemcastError("--coarse-mask and --private-mask exclude each other")
        if self.mode == "blind" and self.strength != FilterConfig():
            raise SemcastError("--lambda1 and --lambda2 are for --privacy filter")
        if self.coarse:
            coarse_region(self.choice, 64)

    @property
    def name(self) -> str:
        """All of it in one word, for results: ``blind:eyes+hair``, ``filter(1,0.9):all-but-eyes``."""
        how = f"filter({self.strength.lambda1:g},{self.strength.lambda2:g})" if self.mode == "filter" else self.mode
        if self.mask is not None:
            shape = np.packbits(self.mask.numpy()).tobytes()
            how += "-mask-" + hashlib.sha256(f"{self.mask.shape}".encode() + shape).hexdigest()[:8]
        return how + ("-coarse" if self.coarse else "") + ":" + self.choice.name


def check_together(system: System, protection: Protection) -> None:
    """Raises SemcastError where the system cannot be protected that way."""
    if protection.mode != "filter":
        return
    if not isinstance(system, Generative):
        raise SemcastError(f"--privacy filter works on the codes that generative sends, not on {system.name}: take blind")
    if system.refine_steps:
        raise SemcastError("--refine fits the symbols to the photo, which undoes --privacy filter: take blind")


class Private(System):
    """A system whose transmitter protects parts of the photo.

    Args:
        system: any system.
        link: inverts and paints for ``blind``; the same object where ``system`` is generative.
        knowledge: what the private parts become.
        protection: what is private.
        repeatable: a number from which, and from the photo, the filter's direction follows, so that a measurement can be
            repeated; None draws it from the operating system's entropy, which nobody can.

    ``region`` is of the last photo, ``filtered`` too.

    Raises:
        SemcastError: ``filter`` with a system that sends no codes, or that refines its symbols.
    """

    def __init__(
        self, system: System, link: Generative, knowledge: KnowledgeBase, protection: Protection, repeatable: int | None = None
    ) -> None:
        super().__init__()
        check_together(system, protection)
        knowledge.check(link.generator.config.code)
        self.system, self.knowledge, self.protection, self.repeatable = system, knowledge, protection, repeatable
        if link is not system:
            self.painter = link
        self.name, self.image_size = system.name, system.image_size
        self.min_symbols, self.max_symbols = system.min_symbols, system.max_symbols
        self.private_codes = protection.choice.codes
        self.region: Region | None = None
        self.filtered: Filtered | None = None

    @classmethod
    def around(
        cls, system: System, protection: Protection, repeatable: int | None = None, link: Generative | None = None
    ) -> Private:
        """With the shipped knowledge base (and the shipped link, where the system is another and none is given)."""
        check_together(system, protection)
        link = system if isinstance(system, Generative) else link or Generative.load()
        return cls(system, link, KnowledgeBase.load(), protection, repeatable).eval()

    @property
    def link(self) -> Generative:
        """The generative link that inverts and paints."""
        return self.system if isinstance(self.system, Generative) else self.painter

    @cached_property
    def parser(self) -> FaceParser:
        """Finds the parts; loaded when it is first needed (and no submodule: the fingerprint is of what computes symbols)."""
        return FaceParser.load()

    @cached_property
    def neutral(self) -> Tensor:
        """The mean face ``[1, 3, S, S]``: what stands for private pixels while the rest is inverted."""
        with torch.no_grad():
            return self.link.render(self.knowledge.mean[None]).clamp(0, 1)

    def check(self, budget: Budget) -> None:
        """Raises SemcastError where the system cannot work with the budget."""
        self.system.check(budget)

    def encode(self, image: Tensor, budget: Budget) -> Burst:
        """Protect, then transmit."""
        self.check(budget)
        return self._filter(image, budget) if self.protection.mode == "filter" else self._blind(image, budget)

    def decode(self, received: Received) -> Reception:
        """The system's own receiver: it does not know that anything was protected."""
        return self.system.decode(received)

    def find(self, image: Tensor) -> Region:
        """The private pixels of one photo: the user's, the boxes, or what the parser sees."""
        side, asked = image.shape[-1], self.protection
        if asked.mask is not None:
            return given_region(asked.mask, side)
        if asked.coarse:
            return coarse_region(asked.choice, side)
        with mixed():
            labels = self.parser.labels(image)
        return found_region(labels, asked.choice)

    def natural(self, rest: Tensor, mask: Tensor) -> Tensor:
        """Codes ``[B, 28, code]`` of a photo without private pixels, the private parts' from the knowledge base.

        Where only the private parts are painted from them the encoder's guess will do: the rest of the photo stays what it is.
        """
        neutral = seamless(rest, self.neutral, mask)
        sent = isinstance(self.system, Generative)
        codes = self.link.invert(neutral, ~mask) if sent else self.link.guess(neutral)
        return self.knowledge.replace(codes, self.private_codes)

    def painted(self, rest: Tensor, mask: Tensor, codes: Tensor) -> Tensor:
        """The photo with the generator's private parts in place of its own."""
        return seamless(rest, self.link.render(codes).clamp(0, 1), mask)

    def _blind(self, image: Tensor, budget: Budget) -> Burst:
        regions = [self.find(photo[None]) for photo in image]
        self.region, mask = regions[-1], torch.cat([region.mask for region in regions])
        rest = hidden(image, mask)  # from here on nothing has seen a private pixel
        codes = self.natural(rest, mask)
        if not isinstance(self.system, Generative):
            return self.system.encode(self.painted(rest, mask, codes), budget)
        burst = self.system.send(codes, budget)
        return self.system.refine(self.painted(rest, mask, codes), burst) if self.system.refine_steps else burst

    def _filter(self, image: Tensor, budget: Budget) -> Burst:
        codes = self.link.invert(image)
        moved = []
        natural = self.knowledge.replace(codes, self.private_codes)
        for photo, code, near in zip(image, codes, natural, strict=True):
            random = self._direction(photo)
            self.filtered = filter_codes(
                code, near, self.private_codes, self.protection.strength, random, self.knowledge.draw(random)
            )
            moved.append(self.filtered.codes)
        return self.link.send(torch.stack(moved), budget)

    def _direction(self, photo: Tensor) -> np.random.Generator:
        """A generator for this photo alone (of torch's own, 32 bits of the seed count: too few to be a secret)."""
        if self.repeatable is None:
            return np.random.default_rng()
        seen = hashlib.sha256(f"{self.repeatable}".encode() + photo.contiguous().numpy().tobytes()).digest()
        return np.random.default_rng(int.from_bytes(seen[:16], "big"))
