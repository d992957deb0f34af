"""Photos for training: tar shards of ``<id>.jpg`` beside ``<id>.mask.png``, decoded once into memory."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from semcast.domains import IGNORED, Domain, parts_of
from semcast.errors import BadInput, Missing
from semcast.shards import shard_members

Relabel = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Faces:
    """Photos ``images`` uint8 [N, 3, S, S] and, where labelled, part masks ``masks`` uint8 [N, S, S]."""

    images: Tensor
    masks: Tensor | None
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> Tensor:
        """The masks of a labelled set.

        Raises:
            SemcastError: the set has none.
        """
        if self.masks is None:
            raise BadInput("these photos have no part masks")
        return self.masks

    def batch(self, index: Tensor) -> Tensor:
        """Float photos in [0, 1] for these indices."""
        return self.images[index].float().div_(255)


@dataclass(frozen=True)
class Scenes:
    """Photos ``images`` uint8 [N, 3, S, S] and the dataset's own labels ``masks`` uint8 [N, S, S], 255 = ignored."""

    images: Tensor
    masks: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: Tensor) -> Tensor:
        """Float photos in [0, 1] for these indices."""
        return self.images[index].float().div_(255)


def find_shards(folder: Path, split: str) -> list[Path]:
    """The files ``folder/split-*.tar``, in order.

    Raises:
        Missing: there is none.
    """
    shards = sorted(folder.glob(f"{split}-*.tar"))
    if not shards:
        raise Missing(f"no {split}-*.tar in {folder}")
    return shards


def load_faces(folder: Path, split: str, size: int, *, labelled: bool = True, limit: int | None = None) -> Faces:
    """Read ``folder/split-*.tar`` and resize to ``size``.

    Raises:
        SemcastError: there is no such shard.
    """
    return Faces(*_decoded(find_shards(folder, split), size, parts_of if labelled else None, limit))


def has_more_faces(data: Path) -> bool:
    """Whether there are unlabelled training photos."""
    return any((data / "faces160-unlabelled").glob("train-*.tar"))


def load_more_faces(data: Path, size: int) -> Faces:
    """The unlabelled training photos of ``data``, or the labelled ones again where there are none.

    Raises:
        SemcastError: there is no shard of either.
    """
    more = has_more_faces(data)
    return load_faces(data / ("faces160-unlabelled" if more else "faces256"), "train", size, labelled=not more)


def load_all_faces(data: Path, size: int) -> Faces:
    """The labelled training photos of ``data`` and, where there are any, the unlabelled ones; theirs are masks of 255.

    Raises:
        SemcastError: there is no labelled shard.
    """
    labelled = load_faces(data / "faces256", "train", size)
    if not has_more_faces(data):
        return labelled
    more = load_faces(data / "faces160-unlabelled", "train", size, labelled=False)
    images = torch.cat((labelled.images, more.images)).contiguous(memory_format=torch.channels_last)
    unknown = torch.full((len(more), size, size), IGNORED, dtype=torch.uint8)
    return Faces(images, torch.cat((labelled.labels, unknown)), (*labelled.names, *more.names))


def load_shard(path: Path, size: int, limit: int | None = None) -> Faces:
    """The labelled photos of one shard.

    Raises:
        SemcastError: the file is missing, no tar, or holds no labelled photo.
    """
    try:
        faces = Faces(*_decoded([path], size, parts_of, limit))
    except (OSError, tarfile.TarError) as error:
        raise BadInput(f"{path} cannot be read ({error})") from None
    if not len(faces):
        raise Missing(f"{path} holds no photo with a mask")
    return faces


def load_scenes(data: Path, domain: Domain, split: str, size: int = 256, limit: int | None = None) -> Scenes:
    """The labelled photos of ``data/<the domain's folder>/split-*.tar`` with the categories of the domain.

    Raises:
        SemcastError: there is no such shard, or none of its photos has a mask.
    """
    folder = data / domain.folder
    shards = find_shards(folder, split)
    classes = len(domain.classes)
    images, masks, names = _decoded(shards, size, lambda mask: np.where(mask < classes, mask, IGNORED), limit)
    if masks is None or not names:
        raise Missing(f"{split}-*.tar in {folder} hold no photo with a mask")
    return Scenes(images, masks, names)


def _decoded(
    shards: list[Path], size: int, relabel: Relabel | None, limit: int | None
) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
    """Photos uint8 [N, 3, S, S], labels uint8 [N, S, S] (None without ``relabel``), names."""
    labelled = relabel is not None
    members = [m for shard in shards for m in shard_members(shard) if m[2] is not None or not labelled][:limit]

    def decode(member: tuple[str, bytes, bytes | None]) -> tuple[np.ndarray, np.ndarray | None]:
        _, data, mask = member
        photo: Image.Image = Image.open(io.BytesIO(data)).convert("RGB")
        if photo.size != (size, size):
            photo = photo.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=None)
        if relabel is None or mask is None:
            return np.asarray(photo), None
        labels: Image.Image = Image.open(io.BytesIO(mask))
        if labels.size != (size, size):
            labels = labels.resize((size, size), Image.Resampling.NEAREST)
        return np.asarray(photo), relabel(np.asarray(labels))

    images = np.empty((len(members), size, size, 3), np.uint8)
    masks = np.empty((len(members), size, size), np.uint8) if labelled else None
    with ThreadPoolExecutor(2) as pool:
        for i, (photo, labels) in enumerate(pool.map(decode, members)):
            images[i] = photo
            if masks is not None and labels is not None:
                masks[i] = labels
    # channels_last storage: NCHW view over NHWC bytes, so a batch is channels_last without a copy
    return (
        torch.from_numpy(images).permute(0, 3, 1, 2),
        None if masks is None else torch.from_numpy(masks),
        tuple(m[0] for m in members),
    )


def shuffled(count: int, batch: int, seed: int, start: int = 0) -> Iterator[Tensor]:
    """Endless batches of indices; the same sequence for the same seed, and resumable at batch number ``start``.

    Raises:
        SemcastError: there are fewer than a batch.
    """
    per_epoch = count // batch
    if per_epoch == 0:
        raise BadInput(f"{count} photos are fewer than a batch of {batch}: take a smaller one")
    step = start
    while True:
        epoch, offset = divmod(step, per_epoch)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 100003 + epoch))
        for i in range(offset, per_epoch):
            yield order[i * batch : (i + 1) * batch]
            step += 1


@overload
def random_flip(image: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]: ...
@overload
def random_flip(image: Tensor, mask: None, generator: torch.Generator) -> tuple[Tensor, None]: ...
def random_flip(image: Tensor, mask: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Flip each photo (and its mask) left-right with probability one half."""
    flip = torch.rand(len(image), generator=generator) < 0.5
    image = torch.where(flip[:, None, None, None], image.flip(-1), image)
    if mask is not None:
        mask = torch.where(flip[:, None, None], mask.flip(-1), mask)
    return image, mask


def random_mirror(image: Tensor, mask: Tensor, domain: Domain, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flip each photo with probability one half; in its mask what is left and right of somebody then trades places."""
    flip = torch.rand(len(image), generator=generator) < 0.5
    partner = torch.arange(256, dtype=torch.uint8)
    partner[: len(domain.classes)] = torch.tensor(domain.flipped, dtype=torch.uint8)
    image = torch.where(flip[:, None, None, None], image.flip(-1), image)
    return image, torch.where(flip[:, None, None], partner[mask.flip(-1).long()], mask)


def random_crop(
    image: Tensor, mask: Tensor, generator: torch.Generator, *, side: int, zoom: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """A square of ``side`` pixels from each photo and its mask, at a scale within ``zoom`` and never beyond the border.

    Args:
        zoom: smallest and largest factor (log-uniform) by which the photo is enlarged before it is cut.
    """
    n, size = len(image), image.shape[-1]
    u = torch.rand(n, 3, generator=generator)
    low, high = torch.tensor(zoom).clamp_min(side / size).log()
    share = side / size / torch.exp(low + u[:, 0] * (high - low))  # of the photo's side, at most 1
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = share
    theta[:, :, 2] = (1 - share[:, None]) * (u[:, 1:] * 2 - 1)
    grid = F.affine_grid(theta, [n, image.shape[1], side, side], align_corners=False)
    photo = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    labels = F.grid_sample(mask[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    return photo, labels[:, 0].to(torch.uint8)


def random_affine(
    image: Tensor, mask: Tensor, generator: torch.Generator, *, scale: float, degrees: float, shift: float
) -> tuple[Tensor, Tensor]:
    """Zoom by up to ``scale`` either way, rotate and shift (fraction of the side); border pixels are repeated.

    Mask pixels that come from outside the photo are labelled 255 (ignored by the loss).
    """
    n = len(image)
    u = torch.rand(n, 4, generator=generator) * 2 - 1
    zoom = torch.exp(u[:, 0] * torch.log(torch.tensor(scale)))
    angle = u[:, 1] * degrees * torch.pi / 180
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.cos(angle) * zoom
    theta[:, 0, 1] = -torch.sin(angle) * zoom
    theta[:, 1, 0] = torch.sin(angle) * zoom
    theta[:, :, 2] = u[:, 2:] * 2 * shift
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    photo = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    labels = F.grid_sample(mask[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    outside = (grid.abs() > 1).any(-1)
    return photo, labels[:, 0].to(torch.uint8).masked_fill(outside, 255)
