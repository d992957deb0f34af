"""What the page takes in: how large, how many, and the sentence that refuses."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from semcast.errors import BadInput, Damaged
from semcast.onair.files import SOUNDS, open_samples
from semcast.onair.samples import read_all
from semcast.photos import Photo, formats, read_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BYTES = 25_000_000
"""Of an upload: the longest recording that is taken, with room to spare."""
MOST_MEGAPIXELS = 50
MOST_SECONDS = 120
"""Of a recording."""
MOST_SEM = 64_000
"""Bytes of a ``.sem`` file."""
MOST_UPLOADS, IN_SECONDS = 30, 300.0
"""Of one visitor in so long."""
MOST_VISITORS = 24
"""At once: what each holds is small, but the processor is one."""


class Pace:
    """How often a visitor uploads."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def count(self, now: float) -> None:
        """Count one upload at a time in seconds.

        Raises:
            BadInput: there were too many of late.
        """
        while self._times and now - self._times[0] > IN_SECONDS:
            self._times.popleft()
        if len(self._times) >= MOST_UPLOADS:
            raise BadInput(f"that were {MOST_UPLOADS} files in {IN_SECONDS / 60:.0f} minutes: wait a little before the next one")
        self._times.append(now)


def clean_name(name: str) -> str:
    """The name of an upload as it may be shown: its last part, what can be printed of it, 60 characters.

    >>> clean_name("../../me.jpg"), clean_name("\\0")
    ('me.jpg', 'the file')
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:60].strip() or "the file"


def sentence(reason: str) -> str:
    """A reason as a sentence of its own.

    >>> sentence("there is no face")
    'There is no face.'
    """
    return f"{reason[:1].upper()}{reason[1:]}."


def read_photo(data: bytes, name: str) -> Photo:
    """An upload as a photo, uint8 ``[H, W, 3]``; it is read in memory and never written.

    Raises:
        SemcastError: it is empty, too large, no image, or damaged.
    """
    shown = clean_name(name)
    check_size(data, shown)
    pixels = _pixels(data)
    if pixels is None or pixels > MOST_MEGAPIXELS * 1e6:
        many = "more than can be opened" if pixels is None else f"{pixels / 1e6:.0f} megapixels"
        raise BadInput(f"{shown} is {many}: a photo here has at most {MOST_MEGAPIXELS} megapixels")
    return read_bytes(data, shown)


def read_recording(data: bytes, name: str) -> tuple[NDArray[np.float32], int]:
    """An upload as a sound, float32 ``[frames]``, and its samples a second.

    Its file is gone when this returns: readers of sounds want one.

    Raises:
        SemcastError: it is empty, too long, no sound, or damaged.
    """
    shown = clean_name(name)
    check_size(data, shown)
    suffix = Path(shown).suffix.lower()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"recording{suffix if suffix in SOUNDS else '.wav'}"
        path.write_bytes(data)
        try:
            sound = open_samples(path)
            samples = read_all(sound, round(MOST_SECONDS * sound.rate))
        except (BadInput, Damaged) as error:
            raise type(error)(str(error).replace(str(path), shown)) from None
    return np.asarray(samples, np.float32), round(sound.rate)


def check_size(data: bytes, shown: str, most: int = MOST_BYTES) -> None:
    """Raise a SemcastError where an upload is empty or too large."""
    if not data:
        raise Damaged(f"{shown} is empty")
    if len(data) > most:
        size = f"{most / 1e6:.0f} MB" if most >= 1e6 else f"{most / 1e3:.0f} kB"
        raise BadInput(f"{shown} is larger than {size}, the most that is taken here")


def _pixels(data: bytes) -> int | None:
    """How many pixels the header promises; None: more than Pillow opens; 0 where that cannot be read (the reader says why)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=formats()) as image:
                return image.width * image.height
    except Image.DecompressionBombError:
        return None
    except Exception:  # noqa: BLE001 - decoders raise anything at all
        return 0
