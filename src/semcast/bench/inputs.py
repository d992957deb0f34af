"""Whatever photos a caller has, as the sources that the engine takes: paths, or pictures that are in memory already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from semcast.domains import Domain
from semcast.errors import BadInput
from semcast.face import align
from semcast.networks.segmenter import FaceParser
from semcast.photos import Photo, resize, to_tensor, to_uint8
from semcast.sources import SIZE, Source, find_photos


@dataclass(frozen=True, eq=False)
class Given:
    """A picture in memory, with the methods of :class:`~semcast.sources.Source`.

    Args:
        name: in the results.
        image: float in [0, 1], ``[1, 3, H, W]``.
    """

    name: str
    image: Tensor

    def carry(self) -> Given:
        """Give itself: it has no file that another computer might lack."""
        return self

    def whole(self) -> Tensor:
        """Give the picture as it is."""
        return self.image

    def face(self, parser: FaceParser | None) -> tuple[Photo, int]:
        """Align the face, uint8 ``[256, 256, 3]``, and count the faces; no parser: it is aligned already.

        Raises:
            SemcastError: there is no face, or an aligned one is not square.
        """
        if parser is None:
            return self._square(), 1
        face, alignment = align(to_uint8(self.image), parser, SIZE, name=self.name)
        return face, alignment.faces_found

    def scene(self, domain: Domain) -> Photo:
        """Squeeze it into a square, uint8 ``[256, 256, 3]``.

        Raises:
            BadInput: the domain wants a square already, and it is none.
        """
        return self._square() if domain.aspect == 1.0 else resize(to_uint8(self.image), SIZE)

    def labels(self, domain: Domain) -> NDArray[np.uint8] | None:
        """Give none: it has no labels."""
        return None

    def _square(self) -> Photo:
        height, width = self.image.shape[-2:]
        if height != width:
            raise BadInput(f"{self.name} is {width} x {height} pixels: an aligned photo must be square")
        return resize(to_uint8(self.image), SIZE)


def gather(photos: Any, limit: int | None = None) -> Sequence[Source | Given]:
    """Make sources of a folder, a tar shard, a file, a list of those, or an iterable of pictures.

    Args:
        photos: paths; or arrays (uint8, or float in [0, 1]; ``[H, W]`` or ``[H, W, 3]``), tensors (``[3, H, W]`` or
            ``[1, 3, H, W]``, grey ones with one channel), PIL images, or objects that have such a ``tensor`` and a ``name``.
        limit: the first ones alone.

    Raises:
        BadInput: there is none, or one is nothing of that.
        SemcastError: a path cannot be read.
    """
    if isinstance(photos, (str, PathLike)):
        return find_photos([Path(photos)], limit)
    if _is_picture(photos):
        photos = [photos]
    if not isinstance(photos, Iterable):
        raise BadInput(f"photos are paths or pictures, not {type(photos).__name__}")
    given = list(islice(photos, limit))
    if not given:
        raise BadInput("there is no photo in what was given")
    if all(isinstance(each, (Source, Given)) for each in given):
        return given
    if all(isinstance(each, (str, PathLike)) for each in given):
        return find_photos([Path(each) for each in given], limit)
    return [_given(each, i) for i, each in enumerate(given)]


def _is_picture(thing: Any) -> bool:
    one = isinstance(thing, (np.ndarray, Tensor)) and thing.ndim <= 3  # of a batch each is one
    return one or isinstance(thing, Image.Image) or hasattr(thing, "tensor")


def _given(thing: Any, number: int) -> Given:
    """A picture under its own name, or under its number and what it shows, so that a file of other pictures is noticed."""
    name = getattr(thing, "name", None)
    image = _image(getattr(thing, "tensor", thing), number)
    if not isinstance(name, str) or not name:
        digest = hashlib.sha256(image.contiguous().numpy().tobytes() + f"{tuple(image.shape)}".encode()).hexdigest()[:8]
        name = f"{number:05d}-{digest}"
    return Given(name, image)


def _image(thing: Any, number: int) -> Tensor:
    """Float in [0, 1], ``[1, 3, H, W]``."""
    if isinstance(thing, Image.Image):
        return to_tensor(np.asarray(ImageOps.exif_transpose(thing).convert("RGB")))
    if isinstance(thing, np.ndarray):
        flat = thing if thing.ndim == 3 else thing[..., None]
        thing = torch.tensor(np.ascontiguousarray(flat)).permute(2, 0, 1) if flat.ndim == 3 else torch.tensor(0)
    if not isinstance(thing, Tensor):
        raise BadInput(f"photo {number} is a {type(thing).__name__}: give a path, an array, a tensor or a PIL image")
    image = thing.detach().cpu()
    image = image[None] if image.ndim == 3 else image
    if image.ndim != 4 or len(image) != 1 or image.shape[1] not in (1, 3) or not image.numel():
        raise BadInput(f"photo {number} has shape {[*thing.shape]}: a picture is [H, W, 3] as an array, [3, H, W] as a tensor")
    scaled = image.float() / 255 if image.dtype == torch.uint8 else image.float()
    if not (image.is_floating_point() or image.dtype == torch.uint8) or not bool(((scaled >= 0) & (scaled <= 1)).all()):
        raise BadInput(f"photo {number} holds {image.dtype}: pixels are uint8, or floats from 0 to 1")
    return scaled.expand(-1, 3, -1, -1).contiguous()
