"""Allocations against search: what each chose, how long it took, and J; few concepts make every combination affordable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semcast.bench.records import Line
from semcast.bench.statistics import paired
from semcast.codec.choice import Side
from semcast.codec.codec import Networks
from semcast.codec.concepts import at_64
from semcast.networks.precision import mixed


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


def small_case(networks: Networks, image: Tensor, concepts: int) -> dict[int, Side]:
    """A photo at the coarsest side with its largest categories alone; each other place has that of the nearest of theirs."""
    described = min(networks.describe(image), key=lambda pair: len(pair[0]))
    layout = reduced(described[0], concepts)
    with torch.no_grad(), mixed(image.device):
        features = networks.codec.encoder(image, torch.from_numpy(at_64(layout)[None]).to(image.device)).cpu().numpy()[0]
    return {len(layout): networks.side(layout, features)}


def reduced(layout: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """A layout of at most ``count`` categories, the largest; ties to the lower number and to the earlier place.

    >>> reduced(np.array([[1, 1, 2], [1, 3, 3], [1, 3, 3]], np.uint8), 2)[0].tolist()
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
