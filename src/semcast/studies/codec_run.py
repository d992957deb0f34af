"""A run of the studies of the semantic codec: photos with labels, codecs, allocations, and who judges."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from semcast.bench.codecs import CodecRecord, CodecSweep, code
from semcast.bench.records import Line
from semcast.codec.allocation import PLAIN
from semcast.codec.choice import Allocation
from semcast.codec.codec import POLICY, Networks, RlAsc
from semcast.codec.criterion import PLAIN_TASK, Criterion, Task
from semcast.codec.ladder import BUDGETS, Ladder
from semcast.codec.painter import BRANCHES
from semcast.codec.policy import Policy
from semcast.domains import Domain, domain_named
from semcast.errors import SemcastError
from semcast.metrics.perceptual import Lpips, missing
from semcast.networks.segmenter import Judge
from semcast.photos import Photo, to_tensor
from semcast.rivals.photo_codecs import load_codec
from semcast.source_coding import BitCodec
from semcast.sources import Source
from semcast.studies.run import Make, Point, Points, Run
from semcast.studies.targets import RIVALS, STANDARD

TIMED = 12
"""Photos that are timed."""
L = TypeVar("L", bound=Line)


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Args:
        photos: at most, unless the user says another number.
        named: budgets in bytes of tables and contact sheets; ``main`` is the one that the aims are about.
        budgets: of the semantic codec; ``standard``: of the codecs in use, far enough to reach its mIoU.
        oracle_photos: that greedy search allocates too, at ``oracle_budgets``.
        small_photos: that exhaustive search allocates too, with ``small_concepts`` concepts, at ``small_budgets``.
        noise_photos, rates, draws: of the noise test, at ``main``.
        sheet_photos: on the contact sheet.
        task_photos: that are coded for each task of the domain, at ``main``.
    """

    photos: int
    named: tuple[int, ...]
    main: int
    budgets: tuple[int, ...]
    standard: tuple[int, ...]
    oracle_photos: int
    oracle_budgets: tuple[int, ...]
    small_photos: int
    small_concepts: int
    small_budgets: tuple[int, ...]
    noise_photos: int
    rates: tuple[float, ...]
    draws: int
    sheet_photos: int
    task_photos: int = 50

    def of(self, ladder: Ladder) -> Size:
        """The same without budgets that are of no use to a version of the format."""
        most = BUDGETS[ladder.version][-1]
        named, budgets = (tuple(size for size in sizes if size <= most) for sizes in (self.named, self.budgets))
        return replace(self, named=named, budgets=budgets)


FULL = Size(
    photos=50, named=(300, 500, 1000, 2000), main=500, budgets=(300, 400, 500, 700, 1000, 1400, 2000),
    standard=(300, 500, 700, 1000, 1500, 2000, 3000, 4500), oracle_photos=6, oracle_budgets=(300, 500),
    small_photos=5, small_concepts=3, small_budgets=(150, 300), noise_photos=15, rates=(1e-4, 1e-3, 1e-2, 1e-1), draws=2,
    sheet_photos=6,
)  # fmt: skip
QUICK = replace(
    FULL, photos=4, budgets=(300, 500, 1000, 2000), standard=(300, 500, 1000, 3000), oracle_photos=1, oracle_budgets=(500,),
    small_photos=2, small_concepts=2, small_budgets=(150,), noise_photos=2, draws=1, sheet_photos=3,
    task_photos=2,
)  # fmt: skip


@dataclass(kw_only=True)
class CodecRun(Run):
    """A run over photos of a domain, of a shard with its labels.

    Args:
        size: how much is measured.
        networks, policy: of the domain.
        standard: codecs in use by name.
        judge, lpips: who measures; without LPIPS there is no J and no greedy search.
    """

    size: Size
    networks: Networks
    policy: Policy
    standard: Mapping[str, BitCodec]
    judge: Judge
    lpips: Lpips | None

    @property
    def domain(self) -> str:
        """The name of the domain."""
        return self.networks.domain.name

    @property
    def labels(self) -> Domain:
        """The domain, with its categories and tasks."""
        return domain_named(self.domain)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of its tasks."""
        return tuple(name for name, _ in self.labels.tasks)

    @property
    def in_use(self) -> tuple[str, ...]:
        """The names of the codecs in use that are here."""
        return tuple(self.standard)

    @property
    def searches(self) -> bool:
        """Whether allocations can be searched for: J needs LPIPS."""
        return self.lpips is not None

    @property
    def threads(self) -> int:
        """How many threads compute, for times."""
        return torch.get_num_threads()

    @property
    def version(self) -> str:
        """Changes with the networks, the policy and the judge."""
        text = f"{self.networks.version} {self.policy.fingerprint} {self.judge.fingerprint}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def allocations(self) -> dict[str, Allocation]:
        """The learned policy and the plain ones that do not search."""
        return {POLICY: self.policy.allocate, **{name: PLAIN[name] for name in RIVALS}}

    def codec(self, name: str = POLICY, branch: str = "fused", care: Mapping[int, int] | None = None) -> BitCodec:
        """Give a codec in use, or the semantic one with an allocation, alike that of ``evaluate-codec``."""
        if name in self.standard:
            return self.standard[name]
        version = self.policy.fingerprint if name == POLICY else ""
        return RlAsc(self.networks, self.allocations[name], name, version=version, branch=branch, care=care)

    def photo(self, source: Source) -> tuple[Photo, Tensor, Tensor]:
        """Give a photo, the same as a tensor ``[1, 3, 256, 256]``, and its labels ``[1, 256, 256]`` (its own, or the judge's)."""
        pixels, labels = source.scene(self.networks.domain), source.labels(self.networks.domain)
        image = to_tensor(pixels).contiguous(memory_format=torch.channels_last)
        return pixels, image, torch.from_numpy(labels)[None] if labels is not None else self.judge.labels(image)

    def criterion(self, task: Task = PLAIN_TASK) -> Criterion:
        """Give J of a task by the judge."""
        return Criterion(self.judge.labels, self.lpips, len(self.networks.domain.classes), task)

    def rate(self, file: str, names: Sequence[str], budgets: Sequence[int]) -> list[CodecRecord]:
        """Measure codecs, or branches of the painter, at each budget, into a file."""
        codecs = {name: self.codec(branch=name) if name in BRANCHES else self.codec(name) for name in names}
        sweep = CodecSweep(self.networks.domain, codecs, tuple(budgets), self.judge, self.lpips)
        return self.measure(file, sweep, what=f"{file.removesuffix('.jsonl')}: {', '.join(names)}")

    def make(self, file: str, kind: type[L], count: int, points: Sequence[Point], make: Make[L]) -> list[L]:
        """Measure every point of the first ``count`` photos into a file."""
        work = Points(kind, points, make, self.version)
        return self.measure(file, work, sources=self.sources[:count])

    def time(self) -> dict[str, list[float]]:
        """Take the seconds to ``encode`` and ``decode`` the first photos at the main budget.

        Taken anew at the end of each run: its records may come from several machines, or from one that was busy.
        """
        codec, seconds = self.codec(), dict[str, list[float]](encode=[], decode=[])
        for i, source in enumerate(self.sources[: TIMED + 1]):
            photo = source.scene(self.networks.domain)
            stream, _, encode, decode = code(codec, photo, self.size.main)
            if stream and (i or len(self.sources) == 1):  # the first call allocates
                seconds["encode"].append(encode)
                seconds["decode"].append(decode)
        return seconds


def load_run(domain: str, sources: Sequence[Source], out: Path, size: Size, **options: Any) -> CodecRun:
    """Make a run with what ships; codecs whose library is missing are left out, and it says so.

    Args:
        options: the other fields of :class:`~semcast.studies.run.Run`.

    Raises:
        SemcastError: the domain is unknown, or there are no weights of its codec, policy or judge.
    """
    kind = domain_named(domain)
    networks, policy = Networks.load(kind), Policy.load(kind)
    networks.check(policy)
    run = CodecRun(sources=sources, out=out, size=size.of(networks.codec.ladder), networks=networks, policy=policy, standard={},
                   judge=Judge.load(domain), lpips=networks.lpips, **options)  # fmt: skip
    standard: dict[str, BitCodec] = {}
    for name in STANDARD:
        try:
            standard[name] = load_codec(name)
        except SemcastError as error:
            run.say(f"{name} is left out: {error}")
    if note := missing("squeeze"):
        run.say(note)
    return replace(run, standard=standard)
