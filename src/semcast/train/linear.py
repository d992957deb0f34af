"""Recipe ``linear``: the covariance of aligned faces and its KLT, plain, weighted by semantic part, and by who it is.

What a face recogniser tells people apart by is little of a photo's energy: in the metric of pixels, whatever their weights, most
of it is left out of a small sketch. The preset ``person`` therefore adds the recogniser's own metric, E[JᵀJ] of its embedding,
to that of the pixels (:mod:`semcast.linear.sketch`).
"""
from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semcast.domains import PARTS
from semcast.linear.sketch import HEAD, Sketch, SketchConfig, to_image, to_vector, weight_vector
from semcast.metrics.perceptual import find_weights
from semcast.train.data import Faces, load_all_faces, load_faces
from semcast.train.loop import console
from semcast.train.losses import TRAINED_ON, IdentityLoss, pull_back
from semcast.train.recipe import Task
from semcast.weights import save

# weight = 1 + a · (how often a pixel is eye, brow, nose or mouth) + b · (how often it is skin); see method 1b
PRESETS = {"plain": (0.0, 0.0), "face": (12.0, 2.5), "identity": (15.0, 3.0), "person": (12.0, 2.5)}


@dataclass(frozen=True)
class Settings:
    """``steps`` is the number of presets done (there is nothing to iterate).

    Of the preset ``person``: ``directions`` are kept of what ``probes`` photos show of the recogniser, whose loss 1 - cos counts
    ``person`` times, beside a weighted MSE over the photo that counts ``pixel`` times.
    """

    steps: int = len(PRESETS)
    components: int = 1024
    directions: int = 192
    probes: int = 4096
    person: float = 0.1
    pixel: float = 12.0
    seed: int = 0


def pixel_weight(masks: Tensor, a: float, b: float, side: int) -> Tensor:
    """Pixel weights ``[side, side]`` of a preset from part masks ``[N, S, S]``, symmetric left to right."""
    features = torch.zeros(masks.shape[1:])
    for part in ("eyes", "brows", "nose", "mouth"):
        features += (masks == PARTS.index(part)).float().mean(0)
    skin = (masks == PARTS.index("skin")).float().mean(0)
    weight = 1 + a * features + b * skin
    weight = (weight + weight.flip(-1)) / 2
    return F.interpolate(weight[None, None], (side, side), mode="area")[0, 0]


@torch.no_grad()
def recalibrate(sketch: Sketch, images: Tensor) -> None:
    """Set λ to the variances that these uint8 photos have along the basis, smoothed over neighbours and kept descending.

    The eigenvectors come from all photos, the unlabelled ones among them, which are softer: with those eigenvalues the sketches
    that care for the face would send sharp photos 0.3 dB above unit power.
    """
    views = [
        sketch.project(view).square().sum(0)
        for index in torch.arange(len(images)).split(250)
        for photo in [images[index].float().div_(255)]
        for view in (photo, photo.flip(-1))
    ]
    found = torch.stack(views).sum(0) / (2 * len(images))
    ratio = (found / sketch.eigenvalues).double()
    total = torch.cat((torch.zeros(1, dtype=torch.float64), ratio.cumsum(0)))
    place = torch.arange(len(ratio))
    first, last = (place / 1.3).long(), (place * 1.3).long().clamp(max=len(ratio) - 1) + 1
    smooth = (total[last] - total[first]) / (last - first)
    sketch.eigenvalues.copy_((sketch.eigenvalues * smooth).cummin(0).values)


class LinearTask(Task):
    """From all training photos (labelled, unlabelled, and both mirrored); writes ``sketch-<preset>.safetensors``."""

    name, defaults = "linear", Settings()

    def run(self) -> None:
        """One covariance, an eigenvalue problem a preset."""
        if not self.ranks.leads:
            return
        data, out, settings = self.job.data, self.job.out, self.settings
        config = SketchConfig(components=settings.components)
        labelled = load_faces(data / "faces256", "train", 128)
        mean, covariance = moments(load_all_faces(data, 128), config)
        out.mkdir(parents=True, exist_ok=True)
        for name, (a, b) in list(PRESETS.items())[: settings.steps]:
            path = out / f"sketch-{name}.safetensors"
            if self.job.resume and path.exists():
                continue
            if name == "person" and find_weights(TRAINED_ON) is None:
                console.print(f"{path.name} is left out: {TRAINED_ON} is not here (set SEMCAST_SHARED)")
                continue
            weight = weight_vector(pixel_weight(labelled.labels, a, b, config.side))
            person = person_directions(labelled, weight, settings) if name == "person" else None
            sketch = transform(mean, covariance, weight, config, person)
            if a or b:
                recalibrate(sketch, load_faces(data / "faces256", "train", 256).images)
            settings_ = {**asdict(sketch.config), "a": a, "b": b}
            save(path, sketch.state_dict(), kind="sketch", config=settings_, int8=("basis", "directions"), int4={"basis": HEAD})
            console.print(f"{path} written")


def moments(faces: Faces, config: SketchConfig) -> tuple[Tensor, NDArray[np.float32]]:
    """Mean and covariance of photos and their mirror images, as the sketch sees them."""
    vectors = []
    for index in torch.arange(len(faces)).split(500):
        photos = faces.batch(index)
        vectors += [to_vector(photos, config.side), to_vector(photos.flip(-1), config.side)]
    stacked = torch.cat(vectors)
    mean = stacked.mean(0)
    centred = stacked - mean
    console.print(f"covariance of {len(centred)} photos ready")
    return mean, (centred.T @ centred / len(centred)).numpy()


def person_directions(faces: Faces, weight: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """E ``[directions, D]`` and √(1 + σ²) ``[directions]`` of the recogniser, from random projections of its embedding.

    One backward pass a photo (:func:`~semcast.train.losses.pull_back`), with respect to the weighted photo. Of embeddings that
    are δ apart 1 - cos is ½ ‖δ‖²; the MSE weighted by w² is ‖u‖² / Σ w² for a weighted luma off by u.
    """
    person, random = IdentityLoss.load(), torch.Generator().manual_seed(settings.seed)
    side = round((len(weight) / 1.5) ** 0.5)
    share = settings.person / 2 / settings.pixel * float(weight[: side * side].square().sum())
    total = torch.zeros(len(weight), len(weight))
    chosen = torch.randperm(len(faces), generator=random)[: settings.probes]
    for index in chosen.split(32):
        photo = faces.batch(index)
        change = torch.zeros(len(photo), len(weight), requires_grad=True)
        moved = photo + F.interpolate(to_image(change / weight, side), photo.shape[-2:], mode="bilinear")
        gradient = pull_back([person.embed(moved)], change, random)
        total.addmm_(gradient.T, gradient, alpha=share / len(chosen))
    start = np.ones(len(weight), np.float32)
    values, vectors = scipy.sparse.linalg.eigsh(total.numpy(), settings.directions, v0=start)
    return torch.from_numpy(vectors.T.copy()), (1 + torch.from_numpy(values).clamp_min(0)).sqrt()


def transform(
    mean: Tensor, covariance: NDArray[np.float32], weight: Tensor, config: SketchConfig,
    person: tuple[Tensor, Tensor] | None = None,
) -> Sketch:  # fmt: skip
    """The Karhunen-Loève transform of the weighted photos, along some directions longer."""
    sketch = Sketch(config if person is None else replace(config, directions=len(person[0])))
    weighted = covariance * np.outer(weight.numpy(), weight.numpy())
    if person is not None:
        sketch.directions.copy_(person[0])
        sketch.length.copy_(person[1])
        weighted = sketch.lengthen(sketch.lengthen(torch.from_numpy(weighted)).T).numpy()
    last = len(weighted) - 1
    values, vectors = scipy.linalg.eigh(
        weighted, subset_by_index=(last - config.components + 1, last), overwrite_a=True, check_finite=False
    )
    found = {"basis": torch.from_numpy(vectors[:, ::-1].T.copy()), "eigenvalues": torch.from_numpy(values[::-1].copy())}
    sketch.load_state_dict(sketch.state_dict() | {"mean": mean, "weight": weight} | found)
    return sketch
