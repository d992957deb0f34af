"""``link``: what the generative link can do at best and at least, on labelled photos.

Reference lines (a curve that is flat because it sits on its floor is not robust), masks of received faces, locality of
part swaps, the gain of refinement, and speed against the paper's inversion.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from semcast.bench.records import Line
from semcast.bench.sweep import fingerprint
from semcast.channels import make_channel
from semcast.domains import NUM_PARTS, PARTS, parts_of
from semcast.errors import BadInput
from semcast.generative.generator import swap_part
from semcast.generative.inversion import Descent
from semcast.generative.refinement import Refine
from semcast.generative.system import Generative
from semcast.generative.variants import variant
from semcast.hashes import generator_for
from semcast.link import Budget, Reception, System
from semcast.metrics.report import Metrics
from semcast.metrics.semantic import counts, mean_iou_of_counts
from semcast.networks.segmenter import FaceParser
from semcast.photos import to_tensor
from semcast.sources import SIZE, Source
from semcast.studies.run import Point, Points, Run

SWAPPED = ("skin", "eyes", "brows", "mouth", "nose", "hair")
CLOSED = {f"closed-form code, k {k}, {how}": (name, k) for k in (64, 640)
          for name, how in (("code-flow", "with couplings"), ("code-whitened", "without couplings"))}  # fmt: skip
REFERENCES = ("ceiling", "encoder alone", "floor", "bottleneck 64", "bottleneck 640")
REFINEMENTS = {"refine 0": 0, "refine 50": 50}
FEW = 12
"""Photos that are refined."""


@dataclass(frozen=True)
class LinkRecord(Line):
    """One photo in one view: metrics by name, or sums; for masks the pixel counts of each system's picture."""

    KEY: ClassVar[tuple[str, ...]] = ("image", "view")
    REQUIRED: ClassVar[frozenset[str]] = frozenset(KEY) | {"version", "values"}

    image: str
    view: str
    version: str
    values: dict[str, float]
    counted: dict[str, list[list[int]]] = field(default_factory=dict)


@dataclass(kw_only=True)
class LinkRun(Run):
    """A run over photos with masks.

    Args:
        link: the generative link.
        others: systems whose masks are measured too.
        parser: labels what arrives.
        metrics: what is measured.
    """

    link: Generative
    others: tuple[System, ...]
    parser: FaceParser
    metrics: Metrics

    @property
    def version(self) -> str:
        """Changes with the weights."""
        return " ".join(fingerprint(system) for system in (self.link, *self.others))

    def photo(self, source: Source) -> Tensor:
        """Give a photo, ``[1, 3, 256, 256]``."""
        return to_tensor(source.face(None)[0]).contiguous()

    def parts(self, source: Source) -> Tensor:
        """Give the parts of a photo by its mask, uint8 ``[1, 256, 256]``.

        Raises:
            BadInput: it has no mask.
        """
        if source.mask is None:
            raise BadInput(f"{source.name} has no mask: the study of the link needs a shard of labelled photos")
        with Image.open(io.BytesIO(source.mask), formats=["PNG"]) as image:
            found = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.NEAREST))
        return torch.from_numpy(parts_of(found))[None]

    def cross(self, system: System, photo: Tensor, name: str, symbols: int, snr_db: float) -> Tensor:
        """Send a photo over AWGN; the same noise for every system."""
        channel = make_channel("awgn").draw(1, symbols, snr_db, generator_for(self.seed, name))
        reception: Reception = system(photo, channel, Budget(symbols, snr_db))
        return reception.image

    def next_after(self, name: str) -> Source:
        """Give the photo after that one."""
        names = [source.name for source in self.sources]
        return self.sources[(names.index(name) + 1) % len(names)]


@dataclass
class Viewer:
    """Makes the records of a photo: one for each view."""

    run: LinkRun

    def __call__(self, source: Source, points: Sequence[Point]) -> Iterator[LinkRecord]:
        photo = self.run.photo(source)
        for (view,) in points:
            if view == "masks":
                values, counted = {}, self._masks(source, photo)
            else:
                values, counted = self._swaps(source, photo) if view == "swaps" else self._measure(source, photo, view), {}
            yield LinkRecord(source.name, view, self.run.version, values, counted)

    def _measure(self, source: Source, photo: Tensor, view: str) -> dict[str, float]:
        return self.run.metrics.measure(photo, self._show(source, photo, view).clamp(0, 1))

    def _show(self, source: Source, photo: Tensor, view: str) -> Tensor:
        """The picture of a reference, of a closed-form code, or of refined symbols."""
        run, link = self.run, self.run.link
        pictures = {
            "ceiling": lambda: link.render(link.invert(photo)), "encoder alone": lambda: link.render(link.guess(photo)),
            "floor": lambda: link.render(link.mean_code[None]),
            "bottleneck 64": lambda: run.cross(link, photo, source.name, 64, 60.0),
            "bottleneck 640": lambda: run.cross(link, photo, source.name, 640, 60.0),
        }  # fmt: skip
        if view in pictures:
            return pictures[view]()
        if view in CLOSED:
            name, symbols = CLOSED[view]
            return run.cross(variant(name, link), photo, source.name, symbols, 10.0)
        before, steps = link.refinement, REFINEMENTS[view]
        link.refinement = Refine(steps) if steps else None
        try:
            return run.cross(link, photo, source.name, 640, 10.0).detach()
        finally:
            link.refinement = before

    def _masks(self, source: Source, photo: Tensor) -> dict[str, list[list[int]]]:
        """Pixel counts of our parser's labels, of the photo and of received faces (640 symbols, 10 dB), against the mask."""
        run, truth = self.run, self.run.parts(source)
        pictures = {"photo": photo}
        pictures |= {s.name: run.cross(s, photo, source.name, 640, 10.0) for s in (run.link, *run.others)}
        return {name: counts(run.parser.labels(picture, truth.shape[-1]), truth, NUM_PARTS)[0].tolist()
                for name, picture in pictures.items()}  # fmt: skip

    def _swaps(self, source: Source, photo: Tensor) -> dict[str, float]:
        """The squared change that each part's swap with the next photo makes, all of it and inside the two masks."""
        run, other = self.run, self.run.next_after(source.name)
        code, following = run.link.invert(photo), run.link.invert(run.photo(other))
        before, values = run.link.render(code).clamp(0, 1), dict[str, float]()
        own, theirs = run.parts(source)[0], run.parts(other)[0]
        for name in SWAPPED:
            part = PARTS.index(name)
            change = (run.link.render(swap_part(code, following, part)).clamp(0, 1) - before).square().sum((0, 1))
            values[f"{name} inside"] = float(change[(own == part) | (theirs == part)].sum())
            values[name] = float(change.sum())
        return values


def measure_link(run: LinkRun) -> dict[str, Any]:
    """Measure every view into ``link.jsonl`` and write ``link-report.json``; returns the report."""
    views = [(view,) for view in (*REFERENCES, *CLOSED, "masks", "swaps")]
    viewer = Viewer(run)
    records = run.measure("link.jsonl", Points(LinkRecord, views, viewer, run.version))
    few = Points(LinkRecord, [(view,) for view in REFINEMENTS], viewer, run.version)
    refined = replace(run.first(FEW)).measure("link.jsonl", few, what="link: refinement")
    run.say("measuring: speed")
    report = {"photos": len(run.sources), "speed": time_link(run)} | summarise(records, refined)
    run.write("link-report.json", json.dumps(report, indent=1) + "\n")
    return report


def summarise(records: Sequence[LinkRecord], refined: Sequence[LinkRecord]) -> dict[str, Any]:
    """Average the views over photos: means of metrics, mIoU over all pixels of the set, shares of changes."""
    return {
        "references": {view: _mean(records, view) for view in REFERENCES},
        "flow_or_not": {view: _mean(records, view) for view in CLOSED},
        "masks": _pool_masks([record.counted for record in records if record.view == "masks"]),
        "swaps": _share_swaps([record.values for record in records if record.view == "swaps"]),
        "refinement": {view: _mean(refined, view) for view in REFINEMENTS},
    }


def _mean(records: Sequence[LinkRecord], view: str) -> dict[str, float]:
    found = [record.values for record in records if record.view == view]
    return {name: round(float(np.mean([each[name] for each in found])), 4) for name in found[0]} | {"photos": len(found)}


def _pool_masks(counted: Sequence[dict[str, list[list[int]]]]) -> dict[str, float]:
    totals = {name: torch.tensor([each[name] for each in counted]).sum(0) for name in counted[0]}
    return {name: round(float(mean_iou_of_counts(total)), 4) for name, total in totals.items()}


def _share_swaps(values: Sequence[dict[str, float]]) -> dict[str, float]:
    sums = {name: sum(each[name] for each in values) for name in values[0]}
    shares = {name: round(sums[f"{name} inside"] / max(sums[name], 1e-12), 4) for name in SWAPPED}
    return shares | {"mean": round(sum(shares.values()) / len(shares), 4)}


@torch.no_grad()
def time_link(run: LinkRun, repeats: int = 20) -> dict[str, float]:
    """Take the milliseconds of encode + decode of one face (median), and of one run of the paper's 400-step inversion."""
    link, photo, budget = run.link, run.photo(run.sources[0]), Budget(640, 10.0)
    draw = make_channel("awgn").draw(1, 640, 10.0, torch.Generator().manual_seed(0))
    times = []
    for i in range(repeats + 3):
        begun = perf_counter()
        link.decode(draw(link.encode(photo, budget)))
        if i >= 3:
            times.append(perf_counter() - begun)
    begun = perf_counter()
    paper = Descent()(link, photo)
    seconds = perf_counter() - begun
    ours = float(F.mse_loss(link.render(link.invert(photo)), photo))
    fast = sorted(times)[len(times) // 2]
    return {
        "encode_decode_ms": round(1000 * fast, 1), "paper_inversion_s": round(seconds, 2),
        "times_faster": round(seconds / fast, 1), "mse_newton": round(ours, 5),
        "mse_paper_inversion": round(float(F.mse_loss(link.render(paper), photo)), 5), "threads": torch.get_num_threads(),
    }  # fmt: skip
