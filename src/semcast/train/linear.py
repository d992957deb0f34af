"""Recipe ``linear``: the covariance of aligned faces and its KLT, plain and weighted by semantic part."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semcast.domains import PARTS
from semcast.linear.sketch import HEAD, Sketch, SketchConfig, to_vector, weight_vector
from semcast.train.data import Faces, load_all_faces, load_faces
from semcast.train.loop import console
from semcast.train.recipe import Task
from semcast.weights import save

# weight = 1 + a · (how often a pixel is eye, brow, nose or mouth) + b · (how often it is skin); see method 1b
PRESETS = {"plain": (0.0, 0.0), "face": (12.0, 2.5), "identity": (15.0, 3.0)}


@dataclass(frozen=True)
class Settings:
    """``steps`` is the number of presets done (there is nothing to iterate)."""

    steps: int = len(PRESETS)
    components: int = 1024


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
            weight = weight_vector(pixel_weight(labelled.labels, a, b, config.side))
            sketch = transform(mean, covariance, weight, config)
            if a or b:
                recalibrate(sketch, load_faces(data / "faces256", "train", 256).images)
            settings_ = {**asdict(config), "a": a, "b": b}
            save(path, sketch.state_dict(), kind="sketch", config=settings_, int8=("basis",), int4={"basis": HEAD})
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


def transform(mean: Tensor, covariance: NDArray[np.float32], weight: Tensor, config: SketchConfig) -> Sketch:
    """The Karhunen-Loève transform of the weighted photos."""
    weighted = covariance * np.outer(weight.numpy(), weight.numpy())
    last = len(weighted) - 1
    values, vectors = scipy.linalg.eigh(
        weighted, subset_by_index=(last - config.components + 1, last), overwrite_a=True, check_finite=False
    )
    sketch = Sketch(config)
    sketch.load_state_dict({
        "mean": mean, "weight": weight,
        "basis": torch.from_numpy(vectors[:, ::-1].T.copy()), "eigenvalues": torch.from_numpy(values[::-1].copy()),
    })  # fmt: skip
    return sketch
