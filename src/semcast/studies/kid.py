"""KID of the links, a record for each system, k and SNR over one set of photos: a set is what the engine calls a photo here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from semcast.bench.engine import Refused, Task, Work
from semcast.bench.plots import Curve
from semcast.bench.records import Line
from semcast.bench.statistics import Interval
from semcast.bench.sweep import fingerprint
from semcast.channels import make_channel
from semcast.crossing import cross
from semcast.errors import BadInput
from semcast.hashes import generator_for
from semcast.link import Budget, System
from semcast.metrics.identity import Identity
from semcast.metrics.kid import features, kid_interval
from semcast.photos import to_tensor
from semcast.sources import Source


@dataclass(frozen=True)
class KidRecord(Line):
    """KID of what a link makes of a set of photos over AWGN, with its interval; ``image`` names the set, by its photos' names."""

    KEY: ClassVar[tuple[str, ...]] = ("image", "system", "symbols", "snr_db", "seed")
    REQUIRED: ClassVar[frozenset[str]] = frozenset(KEY) | {"weights", "photos", "kid", "low", "high"}

    image: str
    system: str
    symbols: int
    snr_db: float
    seed: int
    weights: str
    photos: int
    kid: float
    low: float
    high: float


@dataclass(frozen=True)
class PhotoSet:
    """Photos that are measured together."""

    sources: Sequence[Source]

    @property
    def name(self) -> str:
        """Name the set by its photos."""
        return name_set([source.name for source in self.sources])

    def carry(self) -> PhotoSet:
        """Give the same with the bytes of each photo, for another computer."""
        return PhotoSet([source.carry() for source in self.sources])


def name_set(names: Sequence[str]) -> str:
    """Name a set of photos by theirs: twelve hexadecimal digits."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]


@dataclass
class Distances(Work[KidRecord]):
    """KID of each of ``points`` (k, system and SNR), over AWGN.

    Args:
        systems: by name.
        embedder: an ONNX recogniser that no system was trained with.
        seed: of the noise.
    """

    points: Sequence[tuple[Curve, float]]
    systems: dict[str, System]
    embedder: Any
    seed: int = 0

    kind = KidRecord

    def keys(self, source: Any) -> list[tuple[object, ...]]:
        """List the key of each point."""
        return [(source.name, curve.system, curve.symbols, snr, self.seed) for curve, snr in self.points]

    def terms(self) -> dict[str, str]:
        """Systems and points."""
        return {name: fingerprint(system) for name, system in self.systems.items()} | {"points": str(self.points)}

    def check(self, earlier: Sequence[KidRecord]) -> None:
        """Raise BadInput where the file holds results of other weights."""
        for record in earlier:
            system = self.systems.get(record.system)
            if system is not None and fingerprint(system) != record.weights:
                raise BadInput(f"the results there are of other weights of {record.system} (-f starts afresh)")

    def measure(self, tasks: Iterable[Task]) -> Iterator[KidRecord | Refused]:
        """Send the whole set for each point."""
        recogniser = Identity(self.embedder)
        for task in tasks:
            sources = task.source.sources
            images = [to_tensor(source.face(None)[0]) for source in sources]
            originals = features(recogniser, images)
            for curve, snr in (self.points[i] for i in task.points):
                system = self.systems[curve.system]
                received = [self._received(system, source.name, image, Budget(curve.symbols, snr))
                            for source, image in zip(sources, images, strict=True)]  # fmt: skip
                whole, low, high = kid_interval(originals, features(recogniser, received))
                yield KidRecord(task.source.name, curve.system, curve.symbols, snr, self.seed, fingerprint(system), len(images),
                                whole, low, high)  # fmt: skip

    @torch.no_grad()
    def _received(self, system: System, name: str, image: Tensor, budget: Budget) -> Tensor:
        return cross(system, make_channel("awgn"), image, budget, generator_for(self.seed, name)).reception.image


def as_curves(records: Iterable[KidRecord]) -> dict[Curve, dict[float, Interval]]:
    """Order them by curve and SNR, for a panel."""
    curves: dict[Curve, dict[float, Interval]] = {}
    for record in records:
        found = Interval(record.kid, record.low, record.high, record.photos)
        curves.setdefault(Curve(record.symbols, record.system), {})[record.snr_db] = found
    return curves
