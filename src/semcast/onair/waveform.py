"""The waveform: a burst is a grid of cells, 48 carriers by R rows of OFDM, between two bookends that every receiver knows.

::

    3 rows preamble | 3 rows header | ceil(k / 40) rows of data and scattered pilots | 3 rows header, again | 3 rows postamble

A row is a guard of 24 samples and 128 samples of sum_c X_c exp(2 pi i c n / 128), at 128 carrier spacings a second. In sound the
spacing is 46.875 Hz: 25.3 ms a row, 375 to 2625 Hz around 1500 Hz, which itself stays empty. Cells have mean energy 1, so the SNR
is Es/N0 of a cell. Everything that both ends must know is here, stored as integers, and never changes within a version.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.signal import firwin, oaconvolve

from semcast.errors import BadInput
from semcast.files import quote
from semcast.given import number_of
from semcast.onair.arrays import Complex, Real, Whole

USEFUL, GUARD = 128, 24
"""Samples of a row at the baseband rate (128 carrier spacings a second): what is looked at, and its cyclic prefix before it."""
ROW = USEFUL + GUARD
SPACING_HZ = 46.875
"""Of the carriers of sound; Digital Radio Mondiale has the same."""
BASE_RATE = USEFUL * SPACING_HZ
"""6000 samples a second of complex baseband."""
CENTRE_HZ = 1500.0
"""Of sound: 38 turns a row, so the phase of the empty middle carrier is the same at the start of each row."""
CARRIERS = np.r_[np.arange(-24, 0), np.arange(1, 25)]
WIDTH = len(CARRIERS)
EDGE = 3
"""Rows of a bookend, and of a header."""
DATA_CELLS = 40
"""Of the 48 cells of a data row; the others are pilots."""
RAMP_S = 0.005
"""Of the raised cosine at each end of a burst of sound; it scales as rows do."""

_FIRST_PILOT = (0, 3, 1, 4, 2, 5)

_PREAMBLE = (
    "c292d308e40490f827ad0da5f00bd4c12611f9426fb19df14499c9a672f49f39d43a9d68294199192132ceeab9b19842"
    "af43bbec70fd8d21ce0b0dfd89f88fabea6b757cdd8985255a37d5dcb36ebb13287834bdc3b780d2d3f4e35b8706fab6"
    "861859dced35100ca8aeed49ac566f4c98418c13c19033adb0ff057fece7b549ca9882d0eff4d0be5d558107cb81a9bb"
)
_POSTAMBLE = (
    "1bed9882685f286a2507b114e1e518ed21dc1740fd5a73feb501166e1575963de885c9440970f67f7cd0162d7fc8b527"
    "6ef679b047d995f05ee3246e1a25b454400f6404ba90dcabfaf5f2966f7b8cfee8292d16dbcaea3e51aef9205aee021d"
    "c5236115b0959e51fad2a152ad52e16a52949e60a4f6822d5e6793257fa401599f69e2e7d6ddd1b28a0d4d564ecf0f42"
)


def turns(phases: Whole) -> Complex:
    """exp(2 pi i p / 256) of phases that are whole 256ths of a turn."""
    return np.asarray(np.exp(2j * np.pi * phases / 256))


def _bookend(phases: str) -> Complex:
    return turns(np.frombuffer(bytes.fromhex(phases), np.uint8).reshape(EDGE, WIDTH).astype(int))


PREAMBLE, POSTAMBLE = _bookend(_PREAMBLE), _bookend(_POSTAMBLE)
"""Unit cells ``[3, 48]``, phases in 256ths of a turn: peaks below 1.9 dB a row, so that no transmitter clips them, and no shift
in time and frequency, of one or onto the other, brings back more than a twentieth of the energy."""


def fixed_bits(key: int, count: int) -> Whole:
    """``count`` bits that depend on ``key`` alone: the raw words of Philox, which numpy promises to keep.

    >>> fixed_bits(0, 8).tolist()
    [1, 1, 0, 1, 1, 0, 0, 1]
    """
    words = np.random.Philox(key=key).random_raw(-(-count // 64)).astype("<u8")
    return np.unpackbits(words.view(np.uint8), bitorder="little")[:count]


def qpsk(bits: Whole) -> Complex:
    """Pairs of bits → (±1 ± i) / sqrt(2), a bit 0 being +; ``[..., 2 n]`` → ``[..., n]``."""
    levels = (1 - 2 * bits.astype(float)) / np.sqrt(2)
    return np.asarray(levels[..., 0::2] + 1j * levels[..., 1::2])


def pilot_columns(row: int) -> Whole:
    """Where the pilots of a data row are, ``[8]``: every sixth column; in six rows each column is sounded once."""
    return np.arange(_FIRST_PILOT[row % 6], WIDTH, 6)


def pilots(row: int) -> Complex:
    """The pilots of a data row, ``[8]`` QPSK; its number alone decides."""
    return qpsk(fixed_bits(1000 + row, 16))


def data_rows(symbols: int) -> int:
    """Rows that k symbols take: ceil(k / 40)."""
    return -(-symbols // DATA_CELLS)


def rows_of(symbols: int) -> int:
    """R, the rows of a burst: those of its data and 12 more."""
    return data_rows(symbols) + 4 * EDGE


def seconds_of(symbols: int, spacing_hz: float = SPACING_HZ) -> float:
    """How long a burst is on the air, ramps included.

    >>> round(seconds_of(640), 3), round(seconds_of(64), 3)
    (0.719, 0.365)
    """
    return rows_of(symbols) * ROW / (USEFUL * spacing_hz) + 2 * RAMP_S * SPACING_HZ / spacing_hz


@lru_cache(maxsize=8)
def data_places(rows: int) -> tuple[Whole, Whole]:
    """Rows and columns of the 40 · ``rows`` data cells, row by row, counted from the first data row."""
    free = np.ones((rows, WIDTH), bool)
    for row in range(rows):
        free[row, pilot_columns(row)] = False
    at, column = np.nonzero(free)
    return at, column


def build_frame(header: Complex, data: Complex) -> Complex:
    """The cells of a burst ``[R, 48]``.

    Args:
        header: its cells ``[3, 48]``; the second copy has its columns turned by half the width, so that no bit lies twice in
            the same fade.
        data: cells ``[40 · rows]`` in the order of :func:`data_places`.
    """
    rows = len(data) // DATA_CELLS
    body = np.zeros((rows, WIDTH), complex)
    body[data_places(rows)] = data
    for row in range(rows):
        body[row, pilot_columns(row)] = pilots(row)
    return np.concatenate((PREAMBLE, header, body, np.roll(header, WIDTH // 2, axis=1), POSTAMBLE))


def modulate(frame: Complex, oversampling: int, ramp: bool = True) -> Complex:
    """Cells ``[R, 48]`` → complex baseband at ``oversampling`` · 128 spacings a second.

    Scaled so that a row of unit cells has mean power 1. With ``ramp`` the first row's guard and the last row go on for
    :data:`RAMP_S` outside, faded by a raised cosine.
    """
    useful, guard = USEFUL * oversampling, GUARD * oversampling
    spectrum = np.zeros((len(frame), useful), complex)
    spectrum[:, CARRIERS % useful] = frame
    rows = np.fft.ifft(spectrum, axis=1) * (useful / np.sqrt(WIDTH))
    wave = np.concatenate((rows[:, -guard:], rows), axis=1).reshape(-1)
    if not ramp:
        return wave
    length = round(RAMP_S * BASE_RATE) * oversampling
    fade = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / length)
    before, after = rows[0, -guard - length : -guard] * fade, rows[-1, :length] * fade[::-1]
    return np.concatenate((before, wave, after))


# ---- peaks -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _band_filter(oversampling: int) -> Real:
    """Flat to 1170 Hz from the middle, nothing over 1250 Hz (in sound's measures)."""
    half = 60 * oversampling * 4
    return np.asarray(firwin(2 * half + 1, 1210, window=("kaiser", 6.0), fs=BASE_RATE * oversampling))


def check_headroom(headroom_db: float) -> float:
    """What is allowed over the mean power, as Python's own number.

    Raises:
        BadInput: it is no number, or under 3 dB.
    """
    number = number_of(headroom_db)
    if number is None or not number >= 3:
        raise BadInput(f"a headroom of at least 3 dB leaves a picture, not {quote(headroom_db if number is None else number)}")
    return number


def limit_peaks(wave: Complex, headroom_db: float, oversampling: int, *, rounds: int = 2) -> Complex:
    """Clip the envelope and filter, so many times; then the data rows are made as loud as they were.

    Clipping shrinks what it clips, data by up to 8 % and bookends not at all; the receiver takes its scale from the bookends,
    so the rows between them are multiplied by <s, s> / Re <s, y>, s before and y after.

    Args:
        wave: of :func:`modulate`, with ramps.
        headroom_db: what is allowed over the mean power of the rows between the headers; ``inf`` leaves the wave as it is.
        oversampling: that it was made with.
        rounds: of clipping and filtering.

    Raises:
        BadInput: less than 3 dB, where little of the picture would be left.
    """
    headroom_db = check_headroom(headroom_db)
    if np.isinf(headroom_db):
        return wave
    edge = round(RAMP_S * BASE_RATE) * oversampling
    data = slice(edge + 2 * EDGE * ROW * oversampling, len(wave) - edge - 2 * EDGE * ROW * oversampling)
    inner = slice(edge + EDGE * ROW * oversampling, len(wave) - edge - EDGE * ROW * oversampling)
    level = np.sqrt(np.mean(np.abs(wave[data]) ** 2)) * 10 ** (headroom_db / 20)
    limited, taps = wave, _band_filter(oversampling)
    for _ in range(rounds):
        size = np.abs(limited)
        clipped = np.where(size > level, limited * (level / np.maximum(size, 1e-12)), limited)
        limited = oaconvolve(clipped, taps, mode="same")
    limited = limited.copy()
    sent = wave[inner]
    limited[inner] *= np.vdot(sent, sent).real / np.vdot(sent, limited[inner]).real
    return limited


def papr_db(wave: Complex) -> float:
    """Peak over mean power of an envelope, in dB."""
    power = np.abs(wave) ** 2
    return float(10 * np.log10(power.max() / power.mean()))
