"""One burst, whose place and header are known: baseband → symbols, and the noise that is left on each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from semcast.onair.arrays import Complex, Real, Whole
from semcast.onair.estimate import EARLY, Channel, Sync, estimate_channel, extract, refine_offsets
from semcast.onair.header import Header, soften, to_cells
from semcast.onair.spread import despread, take
from semcast.onair.waveform import (
    EDGE,
    GUARD,
    POSTAMBLE,
    PREAMBLE,
    SPACING_HZ,
    USEFUL,
    WIDTH,
    data_places,
    data_rows,
    pilot_columns,
    pilots,
    rows_of,
)

WHOLE_ROWS, WINDOW_ROWS, AROUND = 80, 48, 12
"""A burst of so many rows is looked at as a whole; a longer one in windows, each with so many rows more on either side."""
SILENT = 1e-3
"""Of the usual power: a row with a piece of less did not come."""


@dataclass
class Capture:
    """A burst out of a recording.

    Args:
        header: what it says of itself.
        symbols: estimates of the symbols, complex ``[k]``, without bias.
        noise_var: variance of the noise on each, ``[k]``; 10^6 where nothing came.
        snr_db: Es/N0 of the cells that came, channel and clipping together, the mean over them.
        offset_hz, clock_ppm: of the carriers, and of the sample clock.
        share: of the data cells that came, 0 to 1.
        spread_ms, doppler_hz: of the law of channels that explains the burst best (in sound's measures).
        cells, variance: the equalised data cells and their noise, ``[40 · rows]``; NaN and infinite where nothing came.
        start_s, seconds: when it begins in the recording, and how long it is.
        rho: of the bookend that it was found by.
    """

    header: Header
    symbols: Complex
    noise_var: Real
    snr_db: float
    offset_hz: float
    clock_ppm: float
    share: float
    spread_ms: float
    doppler_hz: float
    cells: Complex = field(repr=False)
    variance: Real = field(repr=False)
    start_s: float = 0.0
    seconds: float = 0.0
    rho: float = 0.0


def known_cells(rows: int, header: Complex | None = None) -> Complex:
    """All cells of a burst that a receiver knows, ``[R, 48]``; NaN where the data are.

    Args:
        rows: R.
        header: its cells ``[3, 48]``, once it is read.
    """
    cells = np.full((rows, WIDTH), np.nan, complex)
    cells[:EDGE], cells[-EDGE:] = PREAMBLE, POSTAMBLE
    for row in range(rows - 4 * EDGE):
        columns = pilot_columns(row)
        cells[2 * EDGE + row, columns] = pilots(row)
    if header is not None:
        cells[EDGE : 2 * EDGE], cells[-2 * EDGE : -EDGE] = header, np.roll(header, WIDTH // 2, axis=1)
    return cells


def soften_header(baseband: Complex, first: int, rows: int, sync: Sync) -> Real:
    """The soft bits of both copies of a header ``[288]``, where both ends of a burst were found and it is not read yet.

    All pilots between them are known then: offsets and channel are estimated from the whole burst, and not from three rows.

    Args:
        baseband: samples around the burst.
        first: the number of the first of them.
        rows: R, as the two bookends say.
        sync: counts from the burst's first row, and was found there.
    """
    known = known_cells(rows)
    sync = _refine(baseband, first, known, sync, 1)
    cells = extract(baseband, first, sync, np.arange(rows))
    points, variance = _equalise(cells, _channel(_ratios(cells, known), sync.strongest))
    soft = np.zeros(6 * WIDTH)
    for at, turn in ((slice(EDGE, 2 * EDGE), 0), (slice(rows - 2 * EDGE, rows - EDGE), -WIDTH // 2)):
        came = np.isfinite(variance[at])
        own, noise = np.where(came, points[at], 0), np.where(came, variance[at], 1e9)
        soft += soften(np.roll(own, turn, axis=1), np.roll(noise, turn, axis=1))
    return soft


def demodulate(baseband: Complex, first: int, header: Header, sync: Sync, anchor: int, power: Real | None) -> Capture:
    """Offsets and clock, channel, cells, symbols.

    Args:
        baseband: samples around the burst, as many as came.
        first: the number of the first of them.
        header: of the burst.
        sync: counts from the burst's first row.
        anchor: the row at which ``sync`` was found.
        power: mean |x|² of the symbols, where it is known.
    """
    known = known_cells(rows_of(header.symbols), to_cells(header))
    sync = _refine(baseband, first, known, sync, anchor)
    cells = extract(baseband, first, sync, np.arange(len(known)))
    cells[_silent(baseband, first, sync, np.arange(len(known)))] = np.nan
    channel = _channel(_ratios(cells, known), sync.strongest)
    equalised, variance = _equalise(cells, channel)
    rows = data_rows(header.symbols)
    places = data_places(rows)
    data, noise = equalised[2 * EDGE : 2 * EDGE + rows][places], variance[2 * EDGE : 2 * EDGE + rows][places]
    came = np.isfinite(noise)
    if not came.any():
        symbols, left = np.zeros(header.symbols, complex), np.full(header.symbols, 1e6)
    elif header.analog:
        symbols, left = despread(np.where(came, data, 0), noise, header.symbols, power)
    else:
        symbols, left = take(np.where(came, data, 0), noise, header.symbols)
    snr = 10 * np.log10(np.mean(1 / noise[came])) if came.any() else -np.inf
    offset = sync.offset * SPACING_HZ
    return Capture(
        header, symbols, left, float(snr), offset, 1e6 * sync.clock, float(came.mean()), channel.spread_ms, channel.doppler_hz,
        data, noise,
    )  # fmt: skip


def _silent(baseband: Complex, first: int, sync: Sync, rows: Whole) -> Whole:
    """Whether a squelch or a recorder left 16 samples or more of a row silent: taken for a fade, they make all look wild."""
    begin = np.floor(sync.row_start(rows) + GUARD - EARLY - first).astype(np.int64)
    index = np.clip(begin[:, None] + np.arange(USEFUL), 0, max(0, len(baseband) - 1))
    power = (np.abs(baseband[index]) ** 2).reshape(len(rows), -1, 16).mean(2) if len(baseband) else np.zeros((len(rows), 1))
    return np.asarray(power.min(1) <= SILENT * np.median(power))


def _ratios(cells: Complex, known: Complex) -> Complex:
    """Y / X of the known cells, |X| = 1; NaN where nothing is known or nothing came."""
    return np.asarray(cells * known.conj())


def _refine(baseband: Complex, first: int, known: Complex, sync: Sync, anchor: int) -> Sync:
    """Offsets from the known cells; of a long burst first from 40 rows about the anchor, then from twice as many, and so on."""
    rows, reach, count = len(known), 1.0, 40
    if rows <= WHOLE_ROWS:
        count = rows
    while True:
        low = int(np.clip(anchor - count // 2, 0, max(0, rows - count)))
        some = np.arange(low, min(rows, low + count))
        ratios = _ratios(extract(baseband, first, sync, some), known[some])
        if not np.isnan(ratios).all():
            sync = refine_offsets(ratios, some.astype(float), sync, anchor, reach)
        if count >= rows:
            return sync
        reach, count = max(reach / 2, 1e-3), 2 * count


def _channel(ratios: Complex, strongest: float) -> Channel:
    """The channel of all rows; of a long burst window by window."""
    rows = len(ratios)
    if rows <= WHOLE_ROWS:
        return _estimate(ratios, strongest, slice(0, rows), slice(0, rows))
    parts = []
    for low in range(0, rows, WINDOW_ROWS):
        own = slice(low, min(low + WINDOW_ROWS, rows))
        around = slice(max(0, low - AROUND), min(rows, own.stop + AROUND))
        parts.append(_estimate(ratios, strongest, own, around))
    h, variance, noise = (np.concatenate([getattr(part, name) for part in parts]) for name in ("h", "variance", "noise"))
    middle = parts[len(parts) // 2]
    return Channel(h, variance, noise, middle.spread_ms, middle.doppler_hz)


def _estimate(ratios: Complex, strongest: float, own: slice, around: slice) -> Channel:
    """The channel of some rows from those around them."""
    seen, shape = ratios[around], (own.stop - own.start, WIDTH)
    if np.isnan(seen).all():
        return Channel(np.zeros(shape, complex), np.zeros(shape), np.ones(shape), 0.0, 0.0)
    data = range(2 * EDGE - around.start, len(ratios) - 2 * EDGE - around.start)
    channel = estimate_channel(seen, strongest, measured=lambda row: row in data)
    inner = slice(own.start - around.start, own.stop - around.start)
    return Channel(
        channel.h[inner], channel.variance[inner], channel.noise[inner], channel.spread_ms, channel.doppler_hz
    )  # fmt: skip


def _equalise(cells: Complex, channel: Channel) -> tuple[Complex, Real]:
    """Y h* / |h|² and (N0 + v) / |h|²; infinite where nothing came."""
    gain = np.abs(channel.h) ** 2
    heard = ~np.isnan(cells) & (gain > 1e-12)
    gain = np.where(heard, gain, 1.0)
    equalised = np.where(heard, cells * channel.h.conj() / gain, np.nan)
    return equalised, np.where(heard, (channel.noise + channel.variance) / gain, np.inf)


__all__ = ["Capture", "demodulate", "known_cells", "soften_header"]
