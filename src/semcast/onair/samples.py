"""What a recording is, whichever file it lies in: a rate, channels, and blocks of samples that are read one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semcast.errors import BadInput, Damaged
from semcast.given import check_whole

MAX_CHANNELS = 64
LOUDEST = 1e9
"""What a sample may be at most: full scale is 1, files of floats that hold integers go to 2^31."""

Block = NDArray[Any]
"""float32 or complex64, ``[frames, channels]``."""


class Samples(Protocol):
    """A recording: :class:`~semcast.onair.files.Sound` and :class:`~semcast.onair.iq.Iq` are two."""

    @property
    def name(self) -> str:
        """What sentences call it."""

    @property
    def is_complex(self) -> bool:
        """Whether its samples are I/Q, complex64, and not a sound, float32."""

    @property
    def rate(self) -> float:
        """Frames a second, in Hz."""

    @property
    def channels(self) -> int:
        """Samples of a frame."""

    @property
    def frames(self) -> int | None:
        """How many frames it holds by its own word; None where it does not say."""

    @property
    def spacing_hz(self) -> float | None:
        """The carrier spacing Δf of the bursts that were written there; None where it does not say."""

    @property
    def notes(self) -> list[str]:
        """What was odd, a sentence each; it grows while blocks are read."""

    def blocks(self, frames: int) -> Iterator[Block]:
        """So many frames at a time from the beginning, ``[frames, channels]``; the last block may be shorter.

        Raises:
            BadInput: ``frames`` is under 1, or a stream is read twice.
            Damaged: there are no samples, or one of them is no number.
        """


def checked(blocks: Iterator[Block], name: str) -> Iterator[Block]:
    """The blocks as they come, once they hold something and nothing that is no number.

    Raises:
        Damaged: no block came, or a sample is not finite or over :data:`LOUDEST`.
    """
    came = False
    for block in blocks:
        if not len(block):
            continue
        # A NaN is neither larger nor smaller than anything: it fails this as well.
        if not (np.max(np.abs(block)) <= LOUDEST):
            raise Damaged(f"{name} holds samples that are no numbers, or far beyond full scale")
        came = True
        yield block
    if not came:
        raise Damaged(f"{name} holds no samples")


def check_shape(name: str, rate: float, channels: int) -> None:
    """Whether a file's rate and number of channels can be those of a recording.

    Raises:
        Damaged: no channel, or a rate that is not over 0.
        BadInput: more than :data:`MAX_CHANNELS` channels.
    """
    if channels < 1:
        raise Damaged(f"{name} says that it has {channels} channels")
    if channels > MAX_CHANNELS:
        raise BadInput(f"{name} says that it has {channels} channels: at most {MAX_CHANNELS} are read")
    if not 0 < rate < float("inf"):
        raise Damaged(f"{name} says that it has {rate:g} samples a second")


def check_frames(frames: int) -> None:
    """Raise BadInput where a block would hold nothing."""
    check_whole("the frames of a block", frames, 1)


def read_all(source: Samples, most: int) -> NDArray[Any]:
    """All of a recording in one array, the louder channel of several: float32 or complex64, ``[frames]``.

    Args:
        most: frames that may come.

    Raises:
        BadInput: more come.
        Damaged: as :meth:`Samples.blocks`.
    """
    blocks, frames = [], 0
    for block in source.blocks(1 << 16):
        frames += len(block)
        if frames > most:
            longest = f"at most {most / source.rate:.0f} s of {source.rate:g} Hz"
            raise BadInput(f"{source.name} is too long to be held at once: {longest}")
        blocks.append(block)
    power = np.sum([np.sum(np.abs(block) ** 2, axis=0, dtype=np.float64) for block in blocks], axis=0)
    channel = int(np.argmax(power))
    return np.concatenate([block[:, channel] for block in blocks])
