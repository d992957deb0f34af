"""WAV as recorders write it: read as a stream, with headers that promise too much, too little or nothing.

``scipy.io.wavfile`` wants a whole file that keeps its word, and the ``wave`` of Python's library no floats. A recording of hours
comes through a pipe, or from a program that was stopped before it could write how long it is; so the header is read here.
Chunks: "Multimedia Programming Interface and Data Specifications 1.0" (IBM, Microsoft 1991); RF64 and BW64: ITU-R BS.2088.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from semcast.errors import Damaged

MAGIC = (b"RIFF", b"RIFX", b"RF64", b"BW64")
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
UNKNOWN = 0x7FFF0000
"""Sizes from here on are what streaming writers put there for want of a better one (0x7FFFFFFF, 0xFFFFFFFF, 2^31 - 2^12)."""
LONGEST_HEADER = 1 << 26
"""Bytes: more than that before the samples is no header."""


@dataclass(frozen=True)
class Layout:
    """What a header says of the samples that follow it.

    Args:
        rate: frames a second.
        channels: samples of a frame.
        code: of the samples: PCM, FLOAT, or something that is not plain.
        width: bytes of a sample.
        order: ``<`` or ``>``.
        size: bytes of samples; None where its writer did not know.
    """

    rate: int
    channels: int
    code: int
    width: int
    order: str
    size: int | None = None

    @property
    def plain(self) -> bool:
        """Whether :func:`decode` can read the samples."""
        return (self.code == PCM and self.width in (1, 2, 3, 4)) or (self.code == FLOAT and self.width in (4, 8))

    @property
    def frame(self) -> int:
        """Bytes of a frame."""
        return self.channels * self.width

    @property
    def frames(self) -> int | None:
        """How many frames the header promises."""
        return None if self.size is None else self.size // self.frame


def read_layout(file: BinaryIO, head: bytes, name: str) -> Layout:
    """Read a header up to the first sample.

    Args:
        file: which is left at the first sample.
        head: its first 12 bytes, read already.
        name: what sentences call it.

    Raises:
        Damaged: it is no WAV, or its header is cut off or contradicts itself.
    """
    if len(head) < 12 or head[:4] not in MAGIC or head[8:12] != b"WAVE":
        raise Damaged(f"{name} is not a WAV file")
    order = ">" if head[:4] == b"RIFX" else "<"
    whole = struct.unpack(order + "I", head[4:8])[0] + 8
    long_size, position = None, 12
    form: bytes | None = None
    while position < LONGEST_HEADER:
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        kind, size = chunk[:4], struct.unpack(order + "I", chunk[4:])[0]
        position += 8
        if kind == b"data":
            if form is None:
                raise Damaged(f"{name} does not say what its samples are")
            return _layout(form, order, _size(size, long_size, position, whole), name)
        body = file.read(min(size, 64))
        if kind == b"fmt ":
            form = body
        elif kind == b"ds64" and len(body) >= 16:
            long_size = struct.unpack("<Q", body[8:16])[0]
        size += size % 2  # chunks begin at even places
        if not _skip(file, size - len(body)):
            break
        position += size
    raise Damaged(f"{name} ends before its sound begins")


def _skip(file: BinaryIO, count: int) -> bool:
    """Read past so many bytes of a file that may be a pipe; false where it ends before."""
    while 0 < count <= LONGEST_HEADER:
        read = len(file.read(min(count, 1 << 16)))
        if not read:
            return False
        count -= read
    return count == 0


def _size(size: int, long_size: int | None, position: int, whole: int) -> int | None:
    """Bytes of samples, or None: what a writer that was stopped, or that wrote to a pipe, could not say."""
    if size == 0xFFFFFFFF and long_size is not None:
        return long_size or None
    # Nothing, in a file that by its own word ends here: a header that was never filled in. Nothing before more chunks is nothing.
    unfilled = size == 0 and (whole <= position or whole >= UNKNOWN)
    return None if unfilled or size >= UNKNOWN else size


def _layout(form: bytes, order: str, size: int | None, name: str) -> Layout:
    if len(form) < 16:
        raise Damaged(f"{name} does not say what its samples are")
    code, channels, rate, _, frame, bits = struct.unpack(order + "HHIIHH", form[:16])
    if code == EXTENSIBLE and len(form) >= 26:
        code = struct.unpack(order + "H", form[24:26])[0]
    if channels < 1:
        raise Damaged(f"{name} says that it has no channels")
    # The container counts: 12 bits in two bytes stand at its upper end. Writers that leave the frame out are forgiven.
    width = frame // channels if frame else -(-bits // 8)
    layout = Layout(rate, channels, code, width, order, size)
    if code in (PCM, FLOAT) and (not layout.plain or frame not in (0, layout.frame) or not 0 < bits <= 8 * width):
        raise Damaged(f"{name} says that a sample of its {channels} channels has {bits} bits and a frame {frame} bytes")
    return layout


def read_blocks(file: BinaryIO, layout: Layout, begun: bytes, frames: int) -> Iterator[NDArray[np.float32]]:
    """Samples in [-1, 1], float32 ``[frames, channels]``, as many at a time; what is no whole frame in the end is dropped.

    Args:
        file: behind its header and ``begun``.
        begun: bytes of the first samples, read already.
    """
    left = layout.size
    while True:
        count = frames * layout.frame
        if left is not None:
            count = min(count, left)
        data = begun[:count] + file.read(max(0, count - len(begun)))
        begun = begun[count:]
        usable = len(data) - len(data) % layout.frame
        if not usable:
            return
        yield decode(data[:usable], layout)
        if left is not None:
            left -= len(data)
        if len(data) < count:
            return


def decode(data: bytes, layout: Layout) -> NDArray[np.float32]:
    """Bytes of whole frames as samples, float32 ``[frames, channels]``, full scale 1.

    >>> decode(bytes([0, 0x40, 0, 0x80]), Layout(8000, 2, PCM, 2, "<"))
    array([[ 0.5, -1. ]], dtype=float32)
    """
    if layout.code == FLOAT:
        with np.errstate(over="ignore"):  # a double beyond float32 becomes an infinity, which is refused
            values = np.frombuffer(data, f"{layout.order}f{layout.width}").astype(np.float32)
    elif layout.width == 1:
        values = (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    elif layout.width == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        place = slice(0, 3) if layout.order == ">" else slice(1, 4)
        wide[:, place] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        values = wide.view(f"{layout.order}i4")[:, 0].astype(np.float32) / np.float32(2**31)
    else:
        full = np.float32(2 ** (8 * layout.width - 1))
        values = np.frombuffer(data, f"{layout.order}i{layout.width}").astype(np.float32) / full
    return values.reshape(-1, layout.channels)
