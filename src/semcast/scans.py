"""Whether the scans of a JPEG hold all of its pixels: decoders fill in what is missing and say nothing.

Nothing is decoded here. Where marks alone do not tell, a decoder must be asked twice, of the same file with other bits at the
place where it ends (:func:`probes`): where pixels are missing, those bits are shown in their place.
"""

from __future__ import annotations

import contextlib
import re
import struct
from dataclasses import dataclass, field

_MARK = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""The mark that ends a scan: neither a stuffed byte nor one of the marks within it."""
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_END, _SCAN, _INTERVAL = 0xD9, 0xDA, 0xDD
_FRAMES = frozenset([0xC0, 0xC1, 0xC2, 0xC9, 0xCA])
_PROGRESSIVE, _ARITHMETIC = (0xC2, 0xCA), (0xC9, 0xCA)
_BITS = (b"\0\0" * 32, b"\x95\x6a" * 32)
_TAIL = 64
"""Zero bytes at the end of a scan from which on they may be a hole in the file; an encoder rarely writes so many."""


@dataclass(frozen=True)
class Scan:
    """One scan: the parts of the frame in it, which coefficients down to which bit, and where its bits are in the file."""

    parts: tuple[int, ...]
    first: int
    last: int
    low: int
    start: int
    end: int
    every: int
    """Blocks from one restart mark to the next; 0 where there are none."""


@dataclass
class Jpeg:
    """The frame of a JPEG and its scans, as far as it goes."""

    data: bytes = field(repr=False)
    kind: int = 0
    size: tuple[int, int] = (0, 0)
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    scans: list[Scan] = field(default_factory=list)
    ends: bool = False
    """Whether it has its end mark."""


def parse(data: bytes) -> Jpeg:
    """The frame and the scans of a JPEG's bytes; none where they are not such as Pillow reads."""
    jpeg, at, every = Jpeg(data), 2, 0
    with contextlib.suppress(IndexError, ValueError, struct.error):  # it ends early, or its marks are bent
        while found := _MARK.search(data, at):
            mark, at = data[found.end() - 1], found.end()
            if mark == _END:
                jpeg.ends = True
                break
            length = int.from_bytes(data[at : at + 2], "big")
            body, at = data[at + 2 : at + length], at + length
            if mark in _FRAMES:
                _, height, width, count = struct.unpack(">BHHB", body[:6])
                jpeg.kind, jpeg.size = mark, (width, height)
                jpeg.sampling = {body[6 + 3 * i]: divmod(body[7 + 3 * i], 16) for i in range(count)}
            elif mark == _INTERVAL:
                every = int.from_bytes(body[:2], "big")
            elif mark == _SCAN:
                jpeg.scans.append(_scan(jpeg, body, at, every))
                at = jpeg.scans[-1].end
    return jpeg


def _scan(jpeg: Jpeg, body: bytes, start: int, every: int) -> Scan:
    """The scan whose header that is and whose bits start there."""
    count, data = body[0], jpeg.data
    first, last, bits = body[1 + 2 * count : 4 + 2 * count]
    parts = tuple(body[1 : 1 + 2 * count : 2])
    if jpeg.kind in _PROGRESSIVE or len(parts) < len(jpeg.sampling):
        found = _MARK.search(data, start)
        end = found.start() if found else -1
    else:  # the only scan, of all there is: what follows is the end mark, which is found much faster
        end = data.find(b"\xff\xd9", start)
    end = len(data) if end < 0 else end
    while data[end - 1] == 0xFF:  # fill bytes
        end -= 1
    return Scan(parts, first, last, bits & 15, start, end, every)


def lacks_scans(jpeg: Jpeg) -> bool:
    """Whether there are coefficients that no scan has brought down to their last bit."""
    wanted = {(part, at) for part in jpeg.sampling for at in range(64)}
    for scan in jpeg.scans:
        if scan.low == 0:
            wanted -= {(part, at) for part in scan.parts for at in range(scan.first, scan.last + 1)}
    return bool(wanted)


def lacks_restarts(jpeg: Jpeg) -> bool:
    """Whether a scan has fewer restart marks than its blocks ask for: bits behind the last one are then passed over."""
    for scan in jpeg.scans:
        if scan.every:
            needed = -(-_blocks(jpeg, scan) // scan.every) - 1
            if sum(1 for _ in _RESTART.finditer(jpeg.data, scan.start, scan.end)) < needed:
                return True
    return False


def _blocks(jpeg: Jpeg, scan: Scan) -> int:
    """How many units a scan codes: blocks of its only part, or blocks of all its parts together."""
    width, height = jpeg.size
    wide, high = (max(each[axis] for each in jpeg.sampling.values()) for axis in (0, 1))
    across, down = jpeg.sampling[scan.parts[0]] if len(scan.parts) == 1 else (1, 1)
    return _blocks_in(width * across, wide) * _blocks_in(height * down, high)


def _blocks_in(pixels: int, share: int) -> int:
    return -(-pixels // (8 * share))


def is_doubtful(jpeg: Jpeg, grey_corner: bool) -> bool:
    """Whether a JPEG that was decoded without complaint may lack pixels all the same.

    Args:
        grey_corner: the last pixel is of the middle grey that a decoder makes of a block without bits.
    """
    if not jpeg.scans:
        return False
    if lacks_scans(jpeg) or _has_hollow_end(jpeg):
        return True
    if jpeg.kind == _PROGRESSIVE[0]:  # what its last scan lacks leaves no grey, but a last byte that is not filled up with ones
        end = jpeg.scans[-1].end
        return jpeg.data[end - 1] % 2 == 0 and jpeg.data[end - 2 : end] != b"\xff\0"
    return grey_corner or len(jpeg.scans) > 1 or jpeg.kind in _ARITHMETIC


def _has_hollow_end(jpeg: Jpeg) -> bool:
    end = jpeg.scans[-1].end
    return jpeg.data[max(0, end - _TAIL) : end] == bytes(_TAIL)


def probes(jpeg: Jpeg) -> tuple[bytes, bytes]:
    """The file with other bits at its end, twice: where pixels are missing, the two do not look alike."""
    end = jpeg.scans[-1].end
    one, other = (jpeg.data[:end] + bits + jpeg.data[end:] for bits in _BITS)
    return one, other


def hollow_probes(jpeg: Jpeg) -> tuple[bytes, bytes] | None:
    """Of a scan that ends in many zeros, the file with some of them fewer and with none of them; None of other scans.

    Pixels are missing where the first looks like the file and the second does not: the zeros are shown as pixels, and they are
    more than an encoder would have written.
    """
    if not _has_hollow_end(jpeg):
        return None
    end = jpeg.scans[-1].end
    filled = jpeg.data[:end].rstrip(b"\0") + b"\0"  # the zero of a stuffed byte belongs to it
    return jpeg.data[: end - _TAIL // 2] + _BITS[1] + jpeg.data[end:], filled + _BITS[1] + jpeg.data[end:]
