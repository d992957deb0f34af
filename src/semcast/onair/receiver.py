"""The receiver: baseband in, bursts out, with bounded memory.

Bookends are found (:mod:`~semcast.onair.detect`), refined, and their headers read: a preamble and a postamble that are a whole
number of rows apart add their soft bits, and each is tried alone. A header says how long its burst is; once that much is there,
offsets, clock and channel are estimated from everything that is known of it, decoded headers included, and its cells become
symbols with the noise that is left on each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from semcast.errors import Damaged
from semcast.onair.arrays import Complex, Real
from semcast.onair.baseband import Downconverter, one_channel
from semcast.onair.demodulate import Capture, demodulate, soften_header
from semcast.onair.detect import THRESHOLD, Candidate, Detector, templates
from semcast.onair.estimate import Sync, estimate_channel, extract, refine
from semcast.onair.header import Header, from_soft, soften
from semcast.onair.samples import Block
from semcast.onair.threads import one_thread
from semcast.onair.waveform import BASE_RATE, EDGE, POSTAMBLE, PREAMBLE, ROW, SPACING_HZ, USEFUL, WIDTH, data_rows, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LONGEST = rows_of(1 << 20) * ROW
"""Samples of the longest burst there is, eleven minutes of sound: what is kept of a recording, 33 MB."""
REVISION = 2
"""Of what the receiver computes: results of another one are not compared with these."""
LEAST_SHARE = 0.1
"""Of a burst's data cells that must have come."""
MOST_PENDING = 64
"""Bookends whose header could not be read and that wait for their other end: each new one is tried with each."""


class Tape:
    """The last samples of a stream, by their number."""

    def __init__(self, limit: int = LONGEST) -> None:
        self.limit, self.first = limit, 0
        self._store, self._low, self._high = np.empty(1 << 16, np.complex64), 0, 0

    @property
    def end(self) -> int:
        """The number of the sample that comes next."""
        return self.first + self._high - self._low

    def append(self, block: Complex) -> None:
        """Add samples; those beyond the limit are forgotten."""
        if self._high + len(block) > len(self._store):
            kept = self._store[max(self._low, self._high - self.limit) : self._high].copy()
            self.first += self._high - self._low - len(kept)
            size = max(len(self._store), 2 * (len(kept) + len(block)))
            self._store = np.empty(min(size, self.limit + (1 << 20) + len(block)), np.complex64)
            self._store[: len(kept)] = kept
            self._low, self._high = 0, len(kept)
        self._store[self._high : self._high + len(block)] = block
        self._high += len(block)

    def cut(self, begin: int, end: int) -> tuple[Complex, int]:
        """Samples of a span, as many as there are, and the number of the first."""
        low, high = max(begin, self.first), max(min(end, self.end), self.first)
        at = self._low - self.first
        return self._store[low + at : max(low, high) + at], low


@dataclass
class _Bookend:
    """A bookend that was found; ``sync`` counts from its first row."""

    found: Candidate
    sync: Sync
    soft: Real | None


@dataclass
class _Burst:
    """A burst whose header was read; ``sync`` counts from its first row, and was found at row ``anchor``."""

    header: Header
    sync: Sync
    anchor: int
    rho: float
    begins: bool

    @property
    def span(self) -> tuple[float, float]:
        """First and last sample."""
        return self.sync.start, self.sync.start + rows_of(self.header.symbols) * ROW

    def ends_at(self, start: int) -> bool:
        """Whether a bookend that begins there is one of this burst's own."""
        low, high = self.span
        return abs(start - low) < ROW or abs(start - (high - EDGE * ROW)) < ROW + 300e-6 * (high - low)


class Receiver:
    """Samples in blocks of any length → :class:`Capture` of each burst.

    Args:
        rate: samples a second of the input.
        spacing_hz: of the carriers.
        is_complex: samples of a software radio, not sound.
        powers: mean |x|² of the symbols that a header announces, ``[k]``, or None where nobody knows.
        threshold: of the detector.

    Attributes:
        refused: what was heard and could not be taken for a burst of ours, each as (seconds, sentence).
    """

    def __init__(
        self, rate: float, *, spacing_hz: float = SPACING_HZ, is_complex: bool = False,
        powers: Callable[[Header], Real | None] | None = None, threshold: float = THRESHOLD,
    ) -> None:  # fmt: skip
        self.converter = Downconverter(rate, spacing_hz=spacing_hz, is_complex=is_complex)
        self.base_rate, self.powers = USEFUL * spacing_hz, powers
        self.detector, self.tape = Detector(threshold), Tape()
        self.waiting: list[Candidate] = []
        self.pending: list[_Bookend] = []
        self.bursts: list[_Burst] = []
        self.done: list[_Burst] = []
        self.refused: list[tuple[float, str]] = []

    def feed(self, block: Block) -> list[Capture]:
        """The next samples ``[n]`` → the bursts that they complete."""
        return self._take(self.converter.feed(block), over=False)

    def finish(self) -> list[Capture]:
        """The recording ends: bursts that it cut off too."""
        return self._take(self.converter.finish(), over=True)

    def seconds(self, sample: float) -> float:
        """When in the recording a sample of the baseband was."""
        return (sample - self.converter.delay()) / self.base_rate

    def _take(self, fresh: Complex, over: bool) -> list[Capture]:
        with one_thread():
            return self._work(fresh, over)

    def _work(self, fresh: Complex, over: bool) -> list[Capture]:
        self.tape.append(fresh)
        found = self.detector.feed(fresh)
        if over:
            found += self.detector.finish()
        self.waiting += found
        ready = [c for c in self.waiting if over or self.tape.end >= c.start + (2 * EDGE + 1) * ROW]
        self.waiting = [c for c in self.waiting if c not in ready]
        for candidate in sorted(ready, key=lambda c: -c.rho if over else c.start):
            self._consider(candidate)
        self.pending = [b for b in self.pending if b.sync.start >= self.tape.first][-MOST_PENDING:]
        captures = []
        for burst in sorted(self.bursts, key=lambda b: b.span):
            if over or self.tape.end >= burst.span[1] + ROW:
                self.bursts.remove(burst)
                captures += self._capture(burst)
        return captures

    # ---- headers ---------------------------------------------------------------------------------------------------

    def _consider(self, candidate: Candidate) -> None:
        """Read what header belongs to a bookend, alone or with the one at the other end."""
        if any(burst.ends_at(candidate.start) for burst in (*self.bursts, *self.done)):
            return  # within a burst it may be another's: a transmitter was stopped and began again
        bookend = self._look(candidate)
        if bookend is None or bookend.soft is None:
            return
        for other in self.pending:
            if other.found.kind != candidate.kind and other.soft is not None:
                first, last = (other, bookend) if candidate.kind else (bookend, other)
                rows = self._rows_between(first, last)
                if rows and self._try_both(first, last, rows):
                    self.pending.remove(other)
                    return
        if not self._try(bookend.soft, bookend, candidate.kind, None):
            self.pending.append(bookend)

    def _look(self, candidate: Candidate) -> _Bookend | None:
        """Refine a bookend, and soften the header beside it."""
        samples, first = self.tape.cut(candidate.start - 5 * ROW, candidate.start + 8 * ROW)
        known = (PREAMBLE, POSTAMBLE)[candidate.kind]
        rough = Sync(float(candidate.start), candidate.offset_hz / SPACING_HZ)
        sync = refine(samples, first, rough, known, templates()[candidate.kind])
        if sync is None:
            return None
        rows = np.arange(-EDGE, EDGE) if candidate.kind else np.arange(2 * EDGE)
        cells = extract(samples, first, sync, rows)
        beside = slice(0, EDGE) if candidate.kind else slice(EDGE, None)
        ratios = np.full((2 * EDGE, WIDTH), np.nan, complex)
        at = slice(EDGE, None) if candidate.kind else slice(0, EDGE)
        ratios[at] = cells[at] / known
        if np.isnan(ratios).all() or np.isnan(cells[beside]).all():
            return _Bookend(candidate, sync, None)
        channel = estimate_channel(ratios, sync.strongest)
        gain = np.maximum(np.abs(channel.h[beside]) ** 2, 1e-12)
        points = np.nan_to_num(cells[beside] * channel.h[beside].conj() / gain)
        variance = (channel.noise[beside] + channel.variance[beside]) / gain
        if candidate.kind:
            points, variance = np.roll(points, -WIDTH // 2, axis=1), np.roll(variance, -WIDTH // 2, axis=1)
        return _Bookend(candidate, sync, soften(points, variance))

    def _rows_between(self, first: _Bookend, last: _Bookend) -> int:
        """R, where a preamble and a postamble may be the ends of one burst; 0 where they cannot."""
        apart = (last.sync.start - first.sync.start) / ROW
        rows = round(apart)
        near = abs(apart - rows) <= 0.12 + 200e-6 * max(rows, 0)
        agree = abs(first.sync.offset - last.sync.offset) * SPACING_HZ <= 8
        return rows + EDGE if near and agree and rows_of(1) - EDGE <= rows <= rows_of(1 << 20) else 0

    def _try_both(self, first: _Bookend, last: _Bookend, rows: int) -> bool:
        """Whether a header can be read from both of its copies together; if need be with all pilots that lie between them."""
        assert first.soft is not None and last.soft is not None
        if self._try(first.soft + last.soft, first, 0, rows):
            return True
        begin = int(first.sync.start)
        samples, at = self.tape.cut(begin - ROW, begin + (rows + 2) * ROW)
        return self._try(soften_header(samples, at, rows, first.sync), first, 0, rows)

    def _try(self, soft: Real, bookend: _Bookend, kind: int, rows: int | None) -> bool:
        """Whether a header can be read; its burst is then awaited."""
        data = from_soft(soft)
        if data is None:
            return False
        try:
            header = Header.unpack(data)
        except Damaged as error:
            self.refused.append((self.seconds(bookend.sync.start), str(error)))
            return True
        count = rows_of(header.symbols)
        if rows is not None and rows != count:
            return False
        sync = bookend.sync.moved(-(count - EDGE)) if kind else bookend.sync
        self.bursts.append(_Burst(header, sync, count - 2 if kind else 1, bookend.found.rho, begins=not kind))
        return True

    def _share(self, burst: _Burst, end: int) -> float:
        """Of a burst's data rows that lie on the tape, before ``end``."""
        rows = data_rows(burst.header.symbols)
        first = burst.sync.start + 2 * EDGE * ROW
        came = (min(first + rows * ROW, end) - max(first, self.tape.first)) / ROW
        return max(0, int(came)) / rows

    # ---- bursts ----------------------------------------------------------------------------------------------------

    def _capture(self, burst: _Burst) -> list[Capture]:
        """Demodulate, if enough of it is there."""
        low, high = burst.span
        others = [other.span[0] for other in (*self.bursts, *self.done) if other.begins]
        end = int(min([at for at in others if at > low + ROW], default=self.tape.end))
        self.done = [*self.done[-64:], burst]
        share = self._share(burst, end)
        if share < LEAST_SHARE:  # a header may promise 2^20 symbols: asked before anything is made for them
            self.refused.append((self.seconds(low), f"a burst of which {share:.0%} came"))
            return []
        slack = 2 * ROW + int(300e-6 * (high - low))
        samples, first = self.tape.cut(int(low) - slack, min(int(high) + slack, end))
        power = self.powers(burst.header) if self.powers else None
        capture = demodulate(samples, first, burst.header, burst.sync, burst.anchor, power)
        if not np.isfinite(capture.snr_db):  # its place lies on the tape, and no cell of it could be told from nothing
            self.refused.append((self.seconds(low), "a burst of whose symbols none came"))
            return []
        capture.start_s, capture.rho = self.seconds(low), burst.rho
        capture.seconds = (high - low) / self.base_rate
        capture.offset_hz *= self.base_rate / BASE_RATE
        return [capture]


def receive_all(receiver: Receiver, blocks: Iterable[Block]) -> Iterator[Capture]:
    """All bursts of a recording, each as soon as it is over; of several channels the louder one is heard."""
    for block in one_channel(blocks):
        yield from receiver.feed(block)
    yield from receiver.finish()
