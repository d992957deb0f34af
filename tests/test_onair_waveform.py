"""The waveform: a grid of cells that never changes within a version, and samples of it that a plain FFT takes apart again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from on_air import Array, error_db, gauss, header_of
from scipy.io import wavfile

from semcast.errors import BadInput
from semcast.onair.header import Header, from_soft, soften, to_cells
from semcast.onair.receiver import Receiver, receive_all
from semcast.onair.spread import spread
from semcast.onair.transmitter import to_iq, to_sound, to_wave
from semcast.onair.waveform import (
    CARRIERS,
    POSTAMBLE,
    PREAMBLE,
    RAMP_S,
    WIDTH,
    build_frame,
    data_places,
    limit_peaks,
    modulate,
    papr_db,
    pilot_columns,
    pilots,
    rows_of,
    seconds_of,
)  # fmt: skip

GOLDEN = Path(__file__).parent / "data" / "onair"
HASHES = {
    "version-1.json": "85dd09021d9ef07b9c76748f26ee72d41c33a5a1b4c743b046446709623b0cb0",
    "burst-40.wav": "5e614893a067b5235e50ac27a5700107f8af98d801b0c973c0ebab6e31253ddd",
}


def golden() -> dict[str, object]:
    return json.loads((GOLDEN / "version-1.json").read_text())


def phases_of(cells: Array) -> str:
    """In 256ths of a turn, as hexadecimal."""
    return (np.rint(np.angle(cells).reshape(-1) * 128 / np.pi).astype(int) % 256).astype(np.uint8).tobytes().hex()


def as_complex(numbers: object) -> Array:
    return np.array(numbers, float).reshape(-1, 2) @ [1, 1j]


# ---- golden vectors --------------------------------------------------------------------------------------------------


def test_version_1_does_not_change() -> None:
    """The files are what they were when the first burst was sent: a new waveform gets another version, and files of its own."""
    for name, known in HASHES.items():
        assert hashlib.sha256((GOLDEN / name).read_bytes()).hexdigest() == known, name


def test_the_bookends_are_those_of_version_1() -> None:
    known = golden()
    for cells, name in ((PREAMBLE, "preamble"), (POSTAMBLE, "postamble")):
        assert cells.shape == (3, 48) and np.allclose(np.abs(cells), 1)
        assert phases_of(cells) == known[name], name


def test_the_pilots_are_those_of_version_1() -> None:
    known = golden()["pilots"]
    for row, (columns, phases) in enumerate(known):
        assert pilot_columns(row).tolist() == columns and phases_of(pilots(row)) == phases
    assert len(known) == 12


def test_the_header_is_that_of_version_1() -> None:
    known = golden()["header"]
    header = Header(**known["fields"])
    assert header.pack().hex() == known["bytes"]
    assert phases_of(to_cells(header)) == known["cells"]
    read = from_soft(soften(np.exp(2j * np.pi / 256 * np.frombuffer(bytes.fromhex(known["cells"]), np.uint8).reshape(3, 48)),
                            np.ones((3, 48))))  # fmt: skip
    assert read is not None and Header.unpack(read) == header


def test_the_burst_is_that_of_version_1() -> None:
    """Cells within rounding, samples within one step of 16 bits."""
    known = golden()["burst"]
    symbols, header = as_complex(known["symbols"]), Header(**known["fields"])
    cells = spread(symbols, 40)
    assert np.abs(cells - as_complex(known["data_cells"])).max() < 1e-6
    rate, samples = wavfile.read(GOLDEN / "burst-40.wav")
    made = to_sound([to_wave(symbols, header)])
    assert rate == 48_000 and samples.dtype == np.int16 and made.shape == samples.shape
    assert np.abs(np.rint(made * 32767) - samples).max() <= 1


def test_the_stored_burst_is_received() -> None:
    known = golden()["burst"]
    rate, samples = wavfile.read(GOLDEN / "burst-40.wav")
    (capture,) = receive_all(Receiver(rate), [samples.astype(np.float32) / 32768])
    assert capture.header == Header(**known["fields"])
    assert error_db(capture.symbols, as_complex(known["symbols"])) < -25  # what clipping leaves
    assert capture.start_s == pytest.approx(0.05 + RAMP_S, abs=0.001)


def test_a_plain_fft_takes_the_stored_burst_apart() -> None:
    """As the document says it: rows of 192 + 1024 samples behind 50 ms of silence and 5 ms of ramp, carriers at bins 32 + c."""
    known = golden()["burst"]
    _, samples = wavfile.read(GOLDEN / "burst-40.wav")
    first = round(0.055 * 48_000)
    rows = rows_of(40)
    frame = samples[first : first + rows * 1216].reshape(rows, 1216)[:, 192:].astype(float)
    cells = np.fft.fft(frame, axis=1)[:, 32 + CARRIERS]
    wanted = build_frame(to_cells(Header(**known["fields"])), as_complex(known["data_cells"]))
    gain = np.vdot(wanted, cells) / np.vdot(wanted, wanted)
    assert abs(gain.imag) < 0.01 * abs(gain)  # the middle carrier turns 7.5 times in the ramp and 4 times in the guard
    assert error_db(cells / gain, wanted) < -20
    assert error_db(cells[:3] / gain, PREAMBLE) < -28


# ---- the grid --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 40, 41, 640, 1025])
def test_every_cell_of_a_burst_has_one_meaning(k: int) -> None:
    rows = -(-k // 40)
    places = set(zip(*map(list, data_places(rows)), strict=True))
    sounded = {(row, int(column)) for row in range(rows) for column in pilot_columns(row)}
    assert len(places) == 40 * rows and not places & sounded and len(places | sounded) == 48 * rows
    frame = build_frame(to_cells(header_of(k)), np.full(40 * rows, 2.0 + 0j))
    assert frame.shape == (rows_of(k), WIDTH) and np.abs(frame).min() > 0.99
    assert int((np.abs(frame) > 1.5).sum()) == 40 * rows


def test_six_rows_sound_every_carrier_once() -> None:
    for first in (0, 7):
        assert sorted(np.concatenate([pilot_columns(row) for row in range(first, first + 6)]).tolist()) == list(range(48))


def test_bookends_look_like_nothing_else() -> None:
    """Neither moved in time or frequency, nor the one like the other; and their peaks are low."""
    waves = [modulate(cells, 1, ramp=False) for cells in (PREAMBLE, POSTAMBLE)]
    size = len(waves[0])
    for a in range(2):
        assert papr_db(modulate((PREAMBLE, POSTAMBLE)[a], 8, ramp=False)) < 2.3
        for b in range(2):
            for shift in np.arange(-3, 3.01, 0.25):
                turned = waves[b] * np.exp(2j * np.pi * shift / 128 * np.arange(size))
                peaks = np.abs(np.correlate(waves[a], turned, "full")) ** 2 / size**2
                if a == b and abs(shift) < 1:
                    peaks[size - 40 : size + 40] = 0  # itself
                assert peaks.max() < 0.06, (a, b, shift)


def test_seconds_on_the_air() -> None:
    """The targets: 0.85 s for k = 640, 0.45 s for k = 64; a wider band is faster."""
    assert seconds_of(640) < 0.72 and seconds_of(64) < 0.37
    assert seconds_of(640, 64 * 46.875) == pytest.approx(seconds_of(640) / 64)
    for k in (1, 640):
        wave = to_wave(gauss(k), header_of(k), oversampling=2)
        assert len(wave) / 12_000 == pytest.approx(seconds_of(k))


# ---- samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("oversampling", [1, 2, 8])
def test_modulation_is_an_fft_and_keeps_the_power(oversampling: int) -> None:
    frame = gauss(20 * WIDTH).reshape(20, WIDTH)
    wave = modulate(frame, oversampling, ramp=False)
    useful, guard = 128 * oversampling, 24 * oversampling
    rows = wave.reshape(20, guard + useful)
    assert np.allclose(rows[:, :guard], rows[:, -guard:])
    cells = np.fft.fft(rows[:, guard:], axis=1)[:, CARRIERS] / useful * WIDTH**0.5
    assert np.allclose(cells, frame)
    assert np.mean(np.abs(rows[:, guard:]) ** 2) == pytest.approx(np.mean(np.abs(frame) ** 2))


def test_ramps_go_on_with_the_rows_outside() -> None:
    frame = gauss(4 * WIDTH).reshape(4, WIDTH)
    plain, ramped = modulate(frame, 8, ramp=False), modulate(frame, 8)
    edge = round(RAMP_S * 48_000)
    assert np.allclose(ramped[edge:-edge], plain) and abs(ramped[0]) < 1e-2 * np.abs(plain).max() > abs(ramped[-1])
    # no step where the ramp ends: the periodic row goes on
    assert np.allclose(ramped[edge - 1], plain[1023] * (0.5 - 0.5 * np.cos(np.pi * (edge - 0.5) / edge)))


@pytest.mark.parametrize("headroom_db", [4.0, 6.0, 7.0])
def test_clipping_lowers_peaks_keeps_the_band_and_the_level(headroom_db: float) -> None:
    header, symbols = header_of(640), 1.4 * gauss(640)
    plain = to_wave(symbols, header, headroom_db=float("inf"))
    made = to_wave(symbols, header, headroom_db=headroom_db)
    assert papr_db(made) < min(papr_db(plain) - 0.5, headroom_db + 2.5)
    assert np.array_equal(limit_peaks(plain, float("inf"), 8), plain)
    edge = round(RAMP_S * 48_000) + 3 * 1216
    assert np.vdot(plain[edge:-edge], made[edge:-edge]).real == pytest.approx(np.vdot(plain[edge:-edge], plain[edge:-edge]).real)
    hz = np.abs(np.fft.fftfreq(len(made), 1 / 48_000))
    power = np.abs(np.fft.fft(made)) ** 2
    assert power[hz > 1400].sum() < 1e-4 * power.sum()


@pytest.mark.parametrize("headroom_db", [2.9, 0, -1, float("nan")])
def test_too_little_headroom_is_refused(headroom_db: float) -> None:
    with pytest.raises(BadInput, match="headroom of at least 3 dB"):
        to_wave(gauss(40), header_of(40), headroom_db=headroom_db)


def test_what_cannot_be_sent_is_refused() -> None:
    with pytest.raises(BadInput, match="says 41 symbols"):
        to_wave(gauss(40), header_of(41))
    for broken in (np.nan, np.inf, 1j * np.inf):
        with pytest.raises(BadInput, match="NaN or infinite"):
            to_wave(np.full(40, broken), header_of(40))


def test_a_sound_has_its_peak_and_its_silence() -> None:
    sound = to_sound([to_wave(gauss(40, seed), header_of(40)) for seed in range(2)])
    assert np.abs(sound).max() == pytest.approx(10 ** (-3 / 20)) and np.isrealobj(sound)
    silent = round(0.05 * 48_000)
    assert not sound[:silent].any() and not sound[-silent:].any()
    assert len(sound) / 48_000 == pytest.approx(2 * seconds_of(40) + 0.2)
    samples, rate, starts = to_iq([to_wave(gauss(40), header_of(40), oversampling=4)] * 2, spacing_hz=375.0, oversampling=4)
    assert rate == 128 * 375 * 4 and samples.dtype == np.complex64 and np.abs(samples).max() == pytest.approx(10 ** (-3 / 20))
    assert [bool(samples[start - 1]) for start in starts] == [False, False] and samples[starts].all()


def test_a_burst_of_zeros_can_be_sent() -> None:
    """Some photo may be the mean face: all its symbols 0. The bookends are there nevertheless."""
    (capture,) = receive_all(Receiver(48_000), [to_sound([to_wave(np.zeros(40, complex), header_of(40))])])
    assert np.abs(capture.symbols).max() < 0.05
