"""J of any choice looked up instead of decoded: a table of what each photo's concepts cost and err, and the true decodes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semcast.codec.choice import Choice, Options, Side
from semcast.codec.codec import Networks
from semcast.codec.concepts import CATEGORIES, GRID, SIDES, SIZE
from semcast.codec.criterion import PLAIN_TASK, Task, bits_per_pixel, lpips_cells, score
from semcast.codec.score import preview
from semcast.domains import IGNORED
from semcast.errors import Missing
from semcast.files import whole
from semcast.metrics.perceptual import Lpips
from semcast.networks.precision import mixed
from semcast.train.data import Scenes
from semcast.train.loop import console

_KEPT = 25
"""After so many photos a table is kept."""


class Photo(Protocol):
    """The number of a photo, and what it is for → what there is to choose from."""

    def __call__(self, i: int, task: Task = PLAIN_TASK) -> Options: ...


@dataclass(frozen=True, eq=False)
class PhotoTable:
    """What J of any choice is made of, to a first approximation: the errors of uniform allocations, concept by concept.

    Each photo is decoded with all concepts at the same level, at each level and side. The error of a cell is then taken to
    depend on its own level alone, so that for any levels

        LPIPS ≈ Σ_concepts lpips[side, level, concept],      counts ≈ Σ_concepts counts[side, level, concept],

    exact for uniform levels; mIoU follows from the counts. What it leaves out is what a concept's features do to others: the
    painter sees beyond a cell, and GroupNorm sees everything. Arrays, N photos:

    Args:
        layouts: by side, uint8 ``[N, side, side]``.
        features: by side, float32 ``[N, channels, GRID, GRID]``.
        lpips: ``[N, SIDES, levels, CATEGORIES]``, each concept's share of LPIPS.
        counts: hit and shown pixels ``[N, SIDES, levels, CATEGORIES, 2, CATEGORIES]``.
        truth: pixels of each category ``[N, CATEGORIES]``.
    """

    layouts: dict[int, NDArray[np.uint8]]
    features: dict[int, NDArray[np.float32]]
    lpips: NDArray[np.float32]
    counts: NDArray[np.int32]
    truth: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.truth)

    @classmethod
    def of(cls, networks: Networks, scenes: Scenes, photos: Iterable[int] | None = None) -> PhotoTable:
        """Decode every photo, or those of these numbers, at every level and side."""
        which = range(len(scenes)) if photos is None else photos
        rows = [_row(networks, scenes.batch(torch.tensor([i])), scenes.masks[i : i + 1]) for i in which]
        return cls(
            {side: np.stack([row.sides[side].layout for row in rows]) for side in SIDES},
            {side: np.stack([row.sides[side].features for row in rows]) for side in SIDES},
            np.stack([row.lpips for row in rows]), np.stack([row.counts for row in rows]), np.stack([row.truth for row in rows]),
        )  # fmt: skip

    def __add__(self, other: PhotoTable) -> PhotoTable:
        """The photos of one after those of the other."""
        return PhotoTable(
            {side: np.concatenate((self.layouts[side], other.layouts[side])) for side in SIDES},
            {side: np.concatenate((self.features[side], other.features[side])) for side in SIDES},
            np.concatenate((self.lpips, other.lpips)), np.concatenate((self.counts, other.counts)),
            np.concatenate((self.truth, other.truth)),
        )  # fmt: skip

    def save(self, path: Path, of: str = "") -> None:
        """As .npz, with what it is ``of``."""
        named: dict[str, NDArray[Any]] = {f"layouts_{side}": value for side, value in self.layouts.items()}
        named |= {f"features_{side}": value for side, value in self.features.items()}
        with whole(path) as file:
            named |= {"lpips": self.lpips, "counts": self.counts, "truth": self.truth, "of": np.array(of)}
            np.savez_compressed(file, **named)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path, of: str = "") -> PhotoTable | None:
        """From .npz; None where it is of something else, or no table."""
        try:
            with np.load(path) as file:
                if str(file["of"]) != of:
                    return None
                layouts = {side: file[f"layouts_{side}"] for side in SIDES}
                features = {side: file[f"features_{side}"] for side in SIDES}
                return cls(layouts, features, file["lpips"], file["counts"], file["truth"])
        except (OSError, KeyError, ValueError, BadZipFile):
            return None

    def options(self, networks: Networks, i: int, task: Task = PLAIN_TASK) -> Options:
        """Photo i to choose from, with J of a task looked up."""
        return self.told({side: networks.side(self.layouts[side][i], self.features[side][i]) for side in SIDES}, i, task)

    def told(self, sides: Mapping[int, Side], i: int, task: Task) -> Options:
        """Photo i where this is what it is for, out of its sides where nothing is."""
        options = Options(order(sides, task), lambda choices: [self.score(options, i, choice) for choice in choices], task)
        return options

    def score(self, options: Options, i: int, choice: Choice) -> float:
        """The approximation of J of photo i."""
        side = options.sides[choice.side]
        k, levels = SIDES.index(choice.side), np.array(choice.levels)
        categories = np.array([concept.category for concept in side.concepts])
        factors = options.task.factors(CATEGORIES).numpy()
        shares = np.array([len(concept.cells) for concept in side.concepts]) / GRID**2
        weights = factors[categories] / (factors[categories] @ shares)
        lpips = float(self.lpips[i, k, levels, categories] @ weights)
        hit, seen = self.counts[i, k, levels, categories].sum(0)
        union = self.truth[i] + seen - hit
        there = union > 0
        miou = float(np.average(hit[there] / union[there], weights=factors[there])) if there.any() else 1.0
        return score(bits_per_pixel(options.size(choice)), miou, lpips, options.task.weights)


def order(sides: Mapping[int, Side], task: Task) -> Mapping[int, Side]:
    """The sides as the sender of a task codes them: what is cared for goes first."""
    care = {category: round(factor) for category, factor in task.care}
    return {name: side.told(care) for name, side in sides.items()} if care else sides


class _Row(NamedTuple):
    """What the table holds of one photo."""

    sides: dict[int, Side]
    lpips: NDArray[np.float32]
    counts: NDArray[np.int32]
    truth: NDArray[np.int64]


def _row(networks: Networks, photo: Tensor, mask: Tensor) -> _Row:
    """One photo ``[1, 3, 256, 256]`` with its labels ``[1, 256, 256]``."""
    lpips = _lpips_of(networks)
    photo = photo.contiguous(memory_format=torch.channels_last)
    sides, count = networks.sides(photo), networks.codec.ladder.levels
    errors = np.zeros((len(SIDES), count, CATEGORIES), np.float32)
    counts = np.zeros((len(SIDES), count, CATEGORIES, 2, CATEGORIES), np.int32)
    truth = mask[0].numpy()
    known = truth != IGNORED
    with torch.no_grad(), mixed():
        target = lpips.features(photo)
    for k, side in enumerate(SIDES):
        concepts = sides[side].concepts
        pictures = preview(networks.codec, sides, [Choice(side, (level,) * len(concepts)) for level in range(count)])
        with torch.no_grad(), mixed():
            maps = lpips_cells(lpips, target, lpips.features(pictures)).numpy()
        labels = networks.labels(pictures).numpy()
        owner = np.zeros(GRID * GRID, np.int64)
        for concept in concepts:
            owner[concept.cells] = concept.category
        pixels = owner.reshape(GRID, GRID).repeat(SIZE // GRID, 0).repeat(SIZE // GRID, 1)
        for level in range(count):
            errors[k, level] = np.bincount(owner, maps[level].reshape(-1), CATEGORIES)
            seen = pixels * CATEGORIES + labels[level]
            right = known & (labels[level] == truth)
            for row, where in enumerate((right, known)):
                found = np.bincount(seen[where], minlength=CATEGORIES**2)
                counts[k, level, :, row] = found.reshape(CATEGORIES, CATEGORIES)
    return _Row(sides, errors, counts, np.bincount(truth[known], minlength=CATEGORIES).astype(np.int64))


def _lpips_of(networks: Networks) -> Lpips:
    if networks.lpips is None:
        raise Missing("the recipe allocation needs LPIPS: set SEMCAST_SHARED to the folder whose weights/ has it")
    return networks.lpips


class Exact:
    """Photos with J by true decodes against the labels of the dataset."""

    def __init__(self, networks: Networks, scenes: Scenes, table: PhotoTable) -> None:
        self.networks, self.scenes, self.table = networks, scenes, table

    def __call__(self, i: int, task: Task = PLAIN_TASK) -> Options:
        """Photo i."""
        sides = self.table.options(self.networks, i, task).sides
        photo = self.scenes.batch(torch.tensor([i])).contiguous(memory_format=torch.channels_last)
        return Options(sides, self.networks.score(photo, self.scenes.masks[i : i + 1], sides, task), task)


def kept_table(path: Path, networks: Networks, scenes: Scenes, resume: bool) -> PhotoTable:
    """The table of these photos, made once a run; a run that was stopped goes on after the photos that it had.

    One of other photos or other networks, or a damaged one, is made anew.
    """
    of = hashlib.sha256(f"{networks.version} {scenes.names}".encode() + scenes.images.numpy().tobytes()).hexdigest()
    table = PhotoTable.load(path, of) if resume else None
    if resume and path.exists() and table is None:
        console.print(f"{path} is of other photos or networks, or damaged: it is made anew")
    for first in range(len(table) if table else 0, len(scenes), _KEPT):
        more = PhotoTable.of(networks, scenes, range(first, min(first + _KEPT, len(scenes))))
        table = table + more if table else more
        table.save(path, of)
        console.print(f"table: {len(table)} of {len(scenes)} photos", highlight=False)
    if table is None:
        raise Missing("the recipe allocation needs photos")
    return table


def look_up(networks: Networks, table: PhotoTable) -> Photo:
    """Photos of a table; their options are kept, for what they know of sizes is asked again and again."""
    kept: dict[int, Options] = {}

    def photo(i: int, task: Task = PLAIN_TASK) -> Options:
        if i not in kept:
            kept[i] = table.options(networks, i)
        return kept[i] if task == kept[i].task else table.told(kept[i].sides, i, task)

    return photo


