"""Whatever photos a caller has, as the sources that the engine takes: paths, or pictures that are in memory already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from semcast.errors import BadInput
from semcast.framing import as_pixels
from semcast.photos import to_tensor
from semcast.sources import Found, Source, find_photos


def gather(photos: Any, limit: int | None = None) -> Sequence[Source]:
    """Make sources of a folder, a tar shard, a file, a list of those, or an iterable of pictures.

    Args:
        photos: paths; or arrays (uint8, or float in [0, 1]; ``[H, W]`` or ``[H, W, 3]``), tensors (``[3, H, W]`` or
            ``[1, 3, H, W]``, grey ones with one channel), PIL images, or objects that have such a ``tensor`` and a ``name``.
            Pictures are taken as :func:`~semcast.sources.photo` takes them: 8 bits a colour, the longest side at most 2048 px.
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
    if isinstance(photos, Found) and limit is None:  # with what it has to say
        return photos
    given = list(islice(photos, limit))
    if not given:
        raise BadInput("there is no photo in what was given")
    if all(isinstance(each, Source) for each in given):
        return given
    if all(isinstance(each, (str, PathLike)) for each in given):
        return find_photos([Path(each) for each in given], limit)
    return [_source(each, i) for i, each in enumerate(given)]


def found_notes(sources: Sequence[Source]) -> list[str]:
    """What was left out where they were found, a sentence each."""
    return sources.notes if isinstance(sources, Found) else []


def _is_picture(thing: Any) -> bool:
    one = isinstance(thing, (np.ndarray, Tensor)) and thing.ndim <= 3  # of a batch each is one
    return one or isinstance(thing, Image.Image) or hasattr(thing, "tensor")


def _source(thing: Any, number: int) -> Source:
    """A picture under its own name, or under its number and what it shows, so that a file of other pictures is noticed."""
    name = getattr(thing, "name", None)
    try:
        pixels = as_pixels(getattr(thing, "tensor", thing))
    except BadInput as error:
        raise BadInput(f"photo {number}: {error}") from None
    if not isinstance(name, str) or not name:
        image = to_tensor(pixels)
        digest = hashlib.sha256(image.contiguous().numpy().tobytes() + f"{tuple(image.shape)}".encode()).hexdigest()[:8]
        name = f"{number:05d}-{digest}"
    return Source(name, pixels=pixels)
