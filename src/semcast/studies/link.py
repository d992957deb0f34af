"""What the generative link can do at best and at least, measured on labelled photos (``semcast reproduce link``).

Reference lines (a curve that is flat because it sits on its floor is not robust), masks of received faces, locality of
part swaps, the gain of refinement, and speed against the paper's inversion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.channels import make_channel
from semcast.domains import NUM_PARTS, PARTS
from semcast.generative.generator import swap_part
from semcast.generative.inversion import Descent
from semcast.generative.refinement import Refine
from semcast.generative.system import Generative
from semcast.generative.variants import variant
from semcast.link import Budget, System, generator_for
from semcast.metrics.report import Metrics
from semcast.metrics.semantic import confusion, mean_iou
from semcast.networks.segmenter import FaceParser
from semcast.train.data import Faces, load_shard

SWAPPED = ("skin", "eyes", "brows", "mouth", "nose", "hair")


@dataclass(frozen=True)
class Study:
    """Photos with masks, the link, the other systems to measure masks of, and the tools."""

    faces: Faces
    link: Generative
    others: tuple[System, ...]
    parser: FaceParser
    metrics: Metrics
    seed: int = 0

    def photo(self, i: int) -> Tensor:
        """Photo i, ``[1, 3, 256, 256]``."""
        return self.faces.batch(torch.tensor([i])).contiguous()

    def mean(self, picture: Callable[[Tensor, int], Tensor], count: int | None = None) -> dict[str, float]:
        """Mean metrics of ``picture(photo, i)`` against the photos."""
        sums: dict[str, float] = {}
        count = min(count or len(self.faces), len(self.faces))
        for i in range(count):
            photo = self.photo(i)
            for name, value in self.metrics.measure(photo, picture(photo, i).clamp(0, 1)).items():
                sums[name] = sums.get(name, 0.0) + value / count
        return {name: round(value, 4) for name, value in sums.items()} | {"photos": count}

    def cross(self, system: System, photo: Tensor, i: int, symbols: int, snr_db: float) -> Tensor:
        """The photo after AWGN; the same noise for every system."""
        channel = make_channel("awgn").draw(1, symbols, snr_db, generator_for(self.seed, self.faces.names[i]))
        return system(photo, channel, Budget(symbols, snr_db)).image


def load_study(shard: Path, systems: tuple[System, ...], parser: FaceParser, metrics: Metrics, limit: int | None) -> Study:
    """A study of the first ``limit`` photos of a labelled shard; the first system is the generative link."""
    link = systems[0]
    assert isinstance(link, Generative)
    return Study(load_shard(shard, 256, limit), link, systems[1:], parser, metrics)


@torch.no_grad()
def references(study: Study) -> dict[str, dict[str, float]]:
    """Generator ceiling (with the guess alone as well), noiseless bottleneck at both budgets, zero-information floor."""
    link = study.link
    lines = {
        "ceiling": study.mean(lambda photo, _: link.render(link.invert(photo))),
        "encoder alone": study.mean(lambda photo, _: link.render(link.guess(photo))),
        "floor": study.mean(lambda photo, _: link.render(link.mean_code[None])),
    }
    for k in (64, 640):
        lines[f"bottleneck {k}"] = study.mean(lambda photo, i, k=k: study.cross(link, photo, i, k, 60.0))  # type: ignore[misc]
    return lines


@torch.no_grad()
def flow_or_not(study: Study) -> dict[str, dict[str, float]]:
    """The closed-form analog code of N (flow) and of the whitened codes alone (no couplings), nothing learned but the flow.

    This isolates what the couplings change: both use the same importance, powers and Wiener estimate.
    """
    lines = {}
    for k in (64, 640):
        for name, couplings in (("code-flow", "with couplings"), ("code-whitened", "without couplings")):
            system = variant(name, study.link)
            lines[f"closed-form code, k {k}, {couplings}"] = study.mean(
                lambda photo, i, k=k, system=system: study.cross(system, photo, i, k, 10.0)  # type: ignore[misc]
            )
    return lines


@torch.no_grad()
def masks(study: Study, symbols: int = 640, snr_db: float = 10.0) -> dict[str, float]:
    """mIoU over 13 parts, one confusion matrix over the set: our parser on photos and on received faces, against the labels."""
    totals: dict[str, Tensor] = {}
    for i in range(len(study.faces)):
        photo, truth = study.photo(i), study.faces.labels[i : i + 1]
        pictures = {"photo": photo} | {s.name: study.cross(s, photo, i, symbols, snr_db) for s in (study.link, *study.others)}
        for name, picture in pictures.items():
            found = confusion(study.parser.labels(picture, truth.shape[-1]), truth, NUM_PARTS)
            totals[name] = totals.get(name, torch.zeros_like(found)) + found
    return {name: round(mean_iou(total), 4) for name, total in totals.items()}


@torch.no_grad()
def swaps(study: Study) -> dict[str, float]:
    """Share of the squared change that lies inside the union of the part's two masks, photo i against photo i + 1."""
    inside = dict.fromkeys(SWAPPED, 0.0)
    whole = dict.fromkeys(SWAPPED, 0.0)
    codes = [study.link.invert(study.photo(i)) for i in range(len(study.faces))]
    for i, code in enumerate(codes):
        j = (i + 1) % len(codes)
        before = study.link.render(code).clamp(0, 1)
        for name in SWAPPED:
            part = PARTS.index(name)
            after = study.link.render(swap_part(code, codes[j], part)).clamp(0, 1)
            change = (after - before).square().sum((0, 1))
            union = (study.faces.labels[i] == part) | (study.faces.labels[j] == part)
            inside[name] += float(change[union].sum())
            whole[name] += float(change.sum())
    shares = {name: round(inside[name] / max(whole[name], 1e-12), 4) for name in SWAPPED}
    return shares | {"mean": round(sum(shares.values()) / len(shares), 4)}


def refinement(study: Study, steps: int = 50, photos: int = 12) -> dict[str, dict[str, float]]:
    """``--refine``: the gain through the channel at 640 symbols and 10 dB."""
    lines = {}
    for count in (0, steps):
        study.link.refinement = Refine(count) if count else None
        lines[f"refine {count}"] = study.mean(lambda photo, i: study.cross(study.link, photo, i, 640, 10.0).detach(), photos)
    study.link.refinement = None
    return lines


@torch.no_grad()
def speed(study: Study, repeats: int = 20) -> dict[str, float]:
    """Milliseconds of encode + decode of one face (median), and of one run of the paper's 400-step inversion."""
    link, photo, budget = study.link, study.photo(0), Budget(640, 10.0)
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


def study_link(study: Study, say: Callable[[str], None]) -> dict[str, object]:
    """Everything above, by name; ``say`` hears what is being measured."""
    report: dict[str, object] = {"photos": len(study.faces)}
    for measure in (speed, references, flow_or_not, masks, swaps, refinement):
        say(f"measuring: {measure.__name__.replace('_', ' ')}")
        report[measure.__name__] = measure(study)  # type: ignore[operator]
    return report
