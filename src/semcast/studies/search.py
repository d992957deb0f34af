"""Allocations against search: what each chose, how long it took, and J; few concepts make every combination affordable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from statistics import median
from time import perf_counter
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semcast.bench.records import Line
from semcast.bench.statistics import paired
from semcast.bench.tables import markdown
from semcast.codec.allocation import PLAIN
from semcast.codec.choice import Choice, Options, Side
from semcast.codec.codec import Networks
from semcast.codec.concepts import SIDES, at_64
from semcast.codec.score import preview
from semcast.errors import SemcastError
from semcast.networks.precision import mixed
from semcast.sources import Source
from semcast.studies.codec_run import CodecRun
from semcast.studies.run import Point
from semcast.studies.targets import ALLOCATIONS


@dataclass(frozen=True)
class OracleRecord(Line):
    """One photo, one allocation, one budget: what it chose, how long it took, and J.

    ``case`` is ``photo``, or ``small``: few concepts at the coarsest side, so that every combination can be tried. ``score`` is J
    by the codec's own parser and the labels that it sees in the photo, which is what searches maximise; ``judged`` is J by the
    judge. ``decision_s`` is the allocation alone, without parser and encoder.
    """

    KEY: ClassVar[tuple[str, ...]] = ("image", "case", "allocation", "domain", "max_bytes")
    REQUIRED: ClassVar[frozenset[str]] = frozenset(KEY) | {"version", "score", "decision_s"}

    image: str
    case: str
    allocation: str
    domain: str
    max_bytes: int
    version: str
    bytes: int
    side: int
    levels: list[int]
    decision_s: float
    score: float
    judged: float | None


def search(run: CodecRun) -> list[OracleRecord]:
    """Set the allocations against greedy search on photos and exhaustive search on small cases."""
    if not run.searches:
        run.say("the oracles are left out: they need LPIPS")
        return []
    size, domain = run.size, run.domain
    names = (*ALLOCATIONS, "greedy")
    whole = [("photo", name, domain, most) for most, name in product(size.oracle_budgets, names)]
    small = [("small", name, domain, most) for most, name in product(size.small_budgets, (*names, "exhaustive"))]
    records = run.make("oracle.jsonl", OracleRecord, size.oracle_photos, whole, Searcher(run))
    records += run.make("oracle.jsonl", OracleRecord, size.small_photos, small, Searcher(run))
    notes = [
        "J by the codec's own parser, which the searches maximise; *judged*: by the judge and the photo's labels. Differences "
        "are taken photo by photo; in %: of the mean J of the search. Times: the median decision, without parser and encoder.",
        f"small: the {size.small_concepts} largest concepts alone, at {SIDES[0]} x {SIDES[0]}; every combination was tried.",
    ]
    run.write("oracle.md", "\n\n".join([markdown(oracle_rows(records)), *notes]) + "\n")
    return records


@dataclass
class Searcher:
    """Makes the records of a photo: each allocation decides once, and the decision is timed."""

    run: CodecRun
    warm: set[str] = field(default_factory=set)

    def __call__(self, source: Source, points: Sequence[Point]) -> Iterator[OracleRecord]:
        run, networks = self.run, self.run.networks
        _, image, truth = run.photo(source)
        labels, cases = networks.labels(image), dict[str, Mapping[int, Side]]()
        for case, name, domain, most in points:
            if case not in cases:
                cases[case] = networks.sides(image) if case == "photo" else small_case(networks, image, run.size.small_concepts)
            sides = cases[case]
            try:
                choice, seconds = self._decide(name, sides, image, labels, most)
            except SemcastError:  # not even the layout fits, or too many combinations
                continue
            (score,) = networks.score(image, labels, sides)([choice])
            size = sides[choice.side].sizes.at_most(choice.levels)
            picture = preview(networks.codec, sides, [choice])
            judged = run.criterion().measure(image, truth, picture, torch.tensor([float(size)]))
            yield OracleRecord(
                image=source.name, case=case, allocation=name, domain=domain, max_bytes=most, version=run.version,
                bytes=size, side=choice.side, levels=list(choice.levels), decision_s=round(seconds, 6), score=round(score, 6),
                judged=None if judged.score is None else round(float(judged.score), 6),
            )  # fmt: skip

    def _decide(self, name: str, sides: Mapping[int, Side], image: Tensor, labels: Tensor, most: int) -> tuple[Choice, float]:
        """What an allocation chooses, and the seconds that it took."""
        allocation = self.run.allocations.get(name) or PLAIN[name]

        def decide() -> Choice:
            return allocation(Options(sides, self.run.networks.score(image, labels, sides)), most)  # it remembers: new each time

        if name in self.run.allocations and name not in self.warm:
            self.warm.add(name)
            decide()  # the first call allocates: not what a decision takes
        begun = perf_counter()
        choice = decide()
        return choice, perf_counter() - begun


def small_case(networks: Networks, image: Tensor, concepts: int) -> dict[int, Side]:
    """A photo at the coarsest side with its largest categories alone; each other place has that of the nearest of theirs."""
    described = min(networks.describe(image), key=lambda pair: len(pair[0]))
    layout = reduce(described[0], concepts)
    with torch.no_grad(), mixed(image.device):
        features = networks.codec.encoder(image, torch.from_numpy(at_64(layout)[None]).to(image.device)).cpu().numpy()[0]
    return {len(layout): networks.side(layout, features)}


def reduce(layout: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """A layout of at most ``count`` categories, the largest; ties to the lower number and to the earlier place.

    >>> reduce(np.array([[1, 1, 2], [1, 3, 3], [1, 3, 3]], np.uint8), 2)[0].tolist()
    [1, 1, 1]
    """
    counts = np.bincount(layout.reshape(-1), minlength=256)
    kept = np.argsort(-counts, kind="stable")[:count]
    places = np.argwhere(np.isin(layout, kept))
    made = layout.copy()
    for y, x in np.argwhere(~np.isin(layout, kept)):
        nearest = places[np.square(places - (y, x)).sum(1).argmin()]
        made[y, x] = layout[tuple(nearest)]
    return made


def oracle_rows(records: Sequence[OracleRecord]) -> list[list[str]]:
    """A row for each case, budget and allocation, against the best search of the case."""
    rows = [["case", "budget", "allocation", "J", "judged", "bytes", "J less the search's", "in %", "decision ms", "photos"]]
    for case, most in sorted({(r.case, r.max_bytes) for r in records}):
        mine = [r for r in records if (r.case, r.max_bytes) == (case, most)]
        search = "exhaustive" if case == "small" else "greedy"
        best = {r.image: r.score for r in mine if r.allocation == search}
        for name in dict.fromkeys(r.allocation for r in mine):
            own = [r for r in mine if r.allocation == name]
            scores = {r.image: r.score for r in own}
            gap = paired(scores, best) if scores.keys() & best.keys() else None
            judged = [r.judged for r in own if r.judged is not None]
            rows.append([
                case, str(most), name, f"{np.mean([r.score for r in own]):.4f}", f"{np.mean(judged):.4f}" if judged else "-",
                f"{np.mean([r.bytes for r in own]):.0f}", gap.text(4) if gap else "-",
                f"{100 * gap.mean / abs(float(np.mean(list(best.values())))):.2f}" if gap else "-",
                f"{1000 * median(r.decision_s for r in own):.1f}", str(len(own)),
            ])  # fmt: skip
    return rows
