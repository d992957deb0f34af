"""Any system behind a transmitter that protects parts of the face; the receiver is the system's own.

::

    blind    photo → mask → photo without its private pixels → inversion of the rest → knowledge base's private codes ─┐
               generative: flow, channel encoder ←─────────────────────────────────────────────────────────────────────┤
               any other system ← photo, its private pixels painted from these codes ←─ generator ←────────────────────┘
    filter   photo → inversion → L → privacy filter, pull-back → P → flow, channel encoder      (generative alone)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from semcast.errors import BadInput
from semcast.generative.system import Generative
from semcast.given import check_kind
from semcast.link import Budget, Burst, Received, Reception, System
from semcast.networks.precision import mixed
from semcast.networks.segmenter import FaceParser
from semcast.privacy.blind import Blind, Region, blend, hide
from semcast.privacy.filter import Filter, Filtered
from semcast.privacy.knowledge import KnowledgeBase

Protection = Blind | Filter
"""What is private and how it is protected."""


@dataclass(frozen=True)
class Protected:
    """What a protecting transmitter made of photos, and all that it sends from.

    Args:
        codes: P ``[B, 28, code]``.
        image: the photos without anything private, ``[B, 3, S, S]``; None where the codes alone are sent.
        regions: what ``blind`` hid of each photo; of ``filter``, none.
        filtered: what ``filter`` did to each photo's codes; of ``blind``, none.
    """

    codes: Tensor
    image: Tensor | None = None
    regions: tuple[Region, ...] = ()
    filtered: tuple[Filtered, ...] = ()


@dataclass(frozen=True)
class ProtectedBurst(Burst):
    """A burst that also tells its sender, and nobody else, what was protected: no receiver gets more than the symbols."""

    protected: Protected | None = None


def check_together(system: System, protection: Protection) -> None:
    """Raise BadInput where the system cannot be protected that way."""
    check_kind("what is protected", system, System, "a System, as load makes it")
    check_kind("what protects", protection, (Blind, Filter), "Blind(...) or Filter(...)")
    if isinstance(protection, Blind):
        return
    if not isinstance(system, Generative):
        raise BadInput(f"filter works on the codes that generative sends, not on {system.name}: take blind")
    if system.refinement:
        raise BadInput("refinement fits the symbols to the photo, which undoes filter: take blind, or do not refine")


class Private(System):
    """A system whose transmitter protects parts of the photo.

    Args:
        system: any system.
        link: inverts and paints for ``blind``; the same object where ``system`` is generative.
        knowledge: what the private parts become.
        protection: what is private, and how it is protected: :class:`Blind` or :class:`Filter`.
        repeatable: a number from which, and from the photo, the filter's direction follows, so that a measurement can be
            repeated; None draws it from the operating system's entropy, which nobody can.

    Raises:
        BadInput: ``filter`` with a system that sends no codes, or that refines its symbols.
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
        self.name, self.image_size, self.power = system.name, link.image_size, system.power
        self.min_symbols, self.max_symbols = system.min_symbols, system.max_symbols
        self.private_codes = protection.choice.codes

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
        """Raise BadInput where the system cannot work with the budget."""
        self.system.check(budget)

    def encode(self, image: Tensor, budget: Budget) -> ProtectedBurst:
        """Protect, then transmit; what was protected comes with the burst, for the receipt."""
        self.check(budget)
        protected = self.protect(image)
        burst = self.send(protected, budget)
        return ProtectedBurst(burst.symbols, burst.budget, burst.side_bytes, protected=protected)

    def decode(self, received: Received) -> Reception:
        """The system's own receiver: it does not know that anything was protected."""
        return self.system.decode(received)

    def protect(self, image: Tensor) -> Protected:
        """Make of photos ``[B, 3, S, S]`` what may be sent of them.

        Raises:
            BadInput: nothing of a photo would be left, or λ1 asks for too much on it.
        """
        return self._blind(image, self.protection) if isinstance(self.protection, Blind) else self._filter(image, self.protection)

    def send(self, protected: Protected, budget: Budget) -> Burst:
        """Transmit what may be sent; nothing else of the photo is at hand here."""
        if not isinstance(self.system, Generative):
            assert protected.image is not None
            return self.system.encode(protected.image, budget)
        burst = self.system.send(protected.codes, budget)
        if self.system.refinement and protected.image is not None:
            return self.system.refinement(self.system, protected.image, burst)
        return burst

    def natural(self, rest: Tensor, mask: Tensor) -> Tensor:
        """Codes ``[B, 28, code]`` of a photo without private pixels, the private parts' from the knowledge base.

        Where only the private parts are painted from them the encoder's guess will do: the rest of the photo stays what it is.
        """
        neutral = blend(rest, self.neutral.to(rest.device), mask)
        sent = isinstance(self.system, Generative)
        codes = self.link.invert(neutral, ~mask) if sent else self.link.guess(neutral)
        return self.knowledge.replace(codes, self.private_codes)

    def paint(self, rest: Tensor, mask: Tensor, codes: Tensor) -> Tensor:
        """Put the generator's private parts into the photo in place of its own."""
        return blend(rest, self.link.render(codes).clamp(0, 1), mask)

    def label(self, image: Tensor) -> Tensor:
        """Parts ``[B, S, S]`` as the parser sees them."""
        with mixed(image.device):
            return self.parser.to(image.device).labels(image)

    def _blind(self, image: Tensor, asked: Blind) -> Protected:
        regions = tuple(asked.find(photo[None], self.label) for photo in image)
        mask = torch.cat([region.mask for region in regions])
        rest = hide(image, mask)  # from here on nothing has seen a private pixel
        codes = self.natural(rest, mask)
        wanted = not isinstance(self.system, Generative) or self.system.refinement is not None
        return Protected(codes, self.paint(rest, mask, codes) if wanted else None, regions)

    def _filter(self, image: Tensor, asked: Filter) -> Protected:
        codes = self.link.invert(image)
        natural, filtered = self.knowledge.replace(codes, self.private_codes), []
        for photo, code, near in zip(image, codes, natural, strict=True):
            random = self._direction(photo)
            filtered.append(asked.move(code, near, random, self.knowledge.draw(random)))
        return Protected(torch.stack([one.codes for one in filtered]), filtered=tuple(filtered))

    def _direction(self, photo: Tensor) -> np.random.Generator:
        """A generator for this photo alone (of torch's own, 32 bits of the seed count: too few to be a secret)."""
        if self.repeatable is None:
            return np.random.default_rng()
        seen = hashlib.sha256(f"{self.repeatable}".encode() + photo.cpu().contiguous().numpy().tobytes()).digest()
        return np.random.default_rng(int.from_bytes(seen[:16], "big"))


def protect_all(
    systems: Sequence[System], protection: Protection | None, repeatable: int | None = None
) -> list[System]:
    """Put each system behind a transmitter that protects; they share one link that inverts and paints.

    Args:
        protection: None: they stay as they are.
        repeatable: as of :class:`Private`.

    Raises:
        SemcastError: ``filter`` with a system that sends no codes.
    """
    if protection is None:
        return list(systems)
    link = next((system for system in systems if isinstance(system, Generative)), None)
    if link is None and isinstance(protection, Blind):
        link = Generative.load()
    return [Private.around(system, protection, repeatable, link).to(system.device) for system in systems]
