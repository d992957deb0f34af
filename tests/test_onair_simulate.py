"""The radio path: nothing where nothing is asked for, its own inverse, and the statistics that it promises."""

from __future__ import annotations

import dataclasses
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from semcast.errors import BadInput
from semcast.onair.foreign import KINDS, Foreign, make
from semcast.onair.samples import Samples, read_all
from semcast.onair.simulate import Simulator, active_parts, active_power, stretch
from semcast.onair.watterson import CONDITIONS, Condition, Tap

RATES = (8000, 11025, 44100, 48000)
PAUSE, LENGTH = 0.05, 0.7
both = pytest.mark.parametrize("kind", ["sound", "iq"])


def burst(rate: float, kind: str = "sound", seed: int = 0, silence: float = PAUSE) -> NDArray[Any]:
    """Band-limited noise of 2.3 kHz and of 0.7 s, with a pause on each side; its ends are raised cosines of 5 ms."""
    count, pause = round(LENGTH * rate), round(silence * rate)
    hz = np.fft.fftfreq(count, 1 / rate)
    spectrum = np.fft.fft(np.random.default_rng(seed).standard_normal((count, 2)) @ [1, 1j]) * (np.abs(hz) < 1150)
    values = np.fft.ifft(spectrum)
    ramp = np.sin(np.linspace(0, np.pi / 2, round(0.005 * rate))) ** 2
    values[: len(ramp)] *= ramp
    values[-len(ramp) :] *= ramp[::-1]
    values = np.pad(0.1 * values / np.sqrt(np.mean(np.abs(values) ** 2)), pause)
    return values if kind == "iq" else np.sqrt(2) * (values * np.exp(2j * np.pi * 1500 / rate * np.arange(len(values)))).real


def error_db(a: NDArray[Any], b: NDArray[Any]) -> float:
    assert len(a) == len(b)
    return float(10 * np.log10(np.mean(np.abs(a - b) ** 2) / np.mean(np.abs(b) ** 2) + 1e-30))


# ---- its own noise-free loop -----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("rate", RATES)
def test_nothing_asked_for_is_nothing_done(rate: int, kind: str) -> None:
    given = burst(rate, kind)
    before = given.copy()
    assert error_db(Simulator().apply(given, rate), given) < -130
    assert error_db(Simulator(snr_db=120, echo=(1, -120), bits=24, clip=1, wobble=(0, 1)).apply(given, rate), given) < -90
    assert np.array_equal(given, before)


@both
@pytest.mark.parametrize("rate", RATES)
def test_an_offset_and_its_opposite(rate: int, kind: str) -> None:
    given = burst(rate, kind)
    there = Simulator(offset_hz=37.5).apply(given, rate)
    assert error_db(there, given) > -1
    assert error_db(Simulator(offset_hz=-37.5).apply(there, rate), given) < -55


@both
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("ppm", [40, -200, 5000])
def test_a_clock_and_its_opposite(rate: int, kind: str, ppm: float) -> None:
    given = burst(rate, kind)
    there = Simulator(ppm=ppm).apply(given, rate)
    assert there.dtype == (np.complex64 if kind == "iq" else np.float32)
    assert len(there) == round(len(given) * (1 + ppm * 1e-6))
    back = stretch(there, 1 / (1 + ppm * 1e-6))
    short = min(len(back), len(given))
    assert error_db(back[:short], given[:short]) < -55


def test_signs() -> None:
    """A dial that is too low lets frequencies rise; a clock that is too fast lets them fall and the recording grow."""
    rate, at = 8000, np.arange(8000)
    tone = np.cos(2 * np.pi * 1000 / rate * at)

    def peak(values: NDArray[Any]) -> float:
        spectrum = np.abs(np.fft.fft(values * np.hanning(len(values)), 1 << 20))
        half = spectrum[: 1 << 19]
        return float(np.argmax(half) * rate / (1 << 20))

    assert peak(Simulator(offset_hz=37).apply(tone, rate)) == pytest.approx(1037, abs=0.1)
    assert peak(Simulator(ppm=5000).apply(tone, rate)) == pytest.approx(1000 / 1.005, abs=0.1)
    assert peak(Simulator(offset_hz=37).apply(np.exp(2j * np.pi * 0.125 * at), rate)) == pytest.approx(1037, abs=0.1)


def test_pieces_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    given = burst(8000)
    simulator = Simulator(channel="watterson-poor", offset_hz=10, ppm=100, wobble=(0.3, 2), echo=(2, -3), whistle=(700, 0))
    whole = simulator.apply(given, 8000)
    monkeypatch.setattr("semcast.onair.simulate.CHUNK", 1000)
    assert error_db(simulator.apply(given, 8000), whole) < -100


# ---- noise -----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("silence", [0.05, 10.0])
def test_snr_is_the_burst_s(rate: int, kind: str, silence: float) -> None:
    """Measured in 2.4 kHz of the noise that came: it is what was asked, however long the silence about the burst is."""
    given = burst(rate, kind, silence=silence)
    noise = Simulator(snr_db=6.0, seed=3).apply(given, rate) - given
    start = round(silence * rate)
    power = np.mean(np.abs(given[start : start + round(LENGTH * rate)]) ** 2)
    density = np.mean(np.abs(noise) ** 2) / (rate if kind == "iq" else rate / 2)
    assert 10 * np.log10(power / (2400 * density)) == pytest.approx(6.0, abs=0.15)
    spectrum = np.abs(np.fft.fft(noise)) ** 2
    parts = [part.mean() for part in np.array_split(spectrum[1:], 8)]
    assert max(parts) / min(parts) < 1.3  # white


def test_snr_in_another_bandwidth() -> None:
    given = burst(48000, "iq")
    narrow, wide = (Simulator(snr_db=6, bandwidth_hz=hz).apply(given, 48000) - given for hz in (2400, 19200))
    assert error_db(narrow, wide * np.sqrt(8)) < -100


def test_a_seed_decides_everything_and_fading_is_apart_from_noise() -> None:
    given = burst(8000)
    one = Simulator(snr_db=10, channel="watterson-poor", seed=1)
    assert np.array_equal(one.apply(given, 8000), one.apply(given, 8000))
    assert np.array_equal(one.apply(given, 8000), one.apply(given, 8000, np.random.default_rng(1)))
    other = dataclasses.replace(one, seed=2).apply(given, 8000)
    assert error_db(other, one.apply(given, 8000)) > -10
    loud, soft, none = (dataclasses.replace(one, snr_db=snr).apply(given, 8000) for snr in (0, 20, None))
    assert error_db(loud - none, 10 * (soft - none)) < -80


def test_where_the_bursts_are() -> None:
    for rate in RATES:
        given = np.concatenate([burst(rate, seed=seed, silence=0.1) * level for seed, level in ((0, 1), (1, 0.3), (2, 2))])
        parts = active_parts(given, rate)
        assert len(parts) == 3
        for number, (start, stop) in enumerate(parts):
            assert start / rate == pytest.approx(number * 0.9 + 0.1025, abs=0.009)
            assert stop / rate == pytest.approx(number * 0.9 + 0.7975, abs=0.009)
        short = burst(rate, silence=1.0)
        power = np.mean(short[rate : rate + round(LENGTH * rate)] ** 2)
        assert 10 * np.log10(active_power(short, active_parts(short, rate)) / power) == pytest.approx(0, abs=0.08)
    assert active_parts(np.zeros(100), 8000) == []
    assert active_parts(np.ones(100), 8000) == [(0, 100)]


# ---- Watterson -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0])
def test_a_tap_has_the_spectrum_and_the_power_of_its_ensemble(spread: float) -> None:
    """E|h|² = 1, E[h(t + τ) h*(t)] = exp(-2π²σ²τ²), no mean, no part that is not circular; at every moment."""
    generator = np.random.default_rng(0)
    lags = np.array([0, 0.2, 0.5, 1.0]) / spread
    gains = np.stack([Tap(2.0 / spread, spread, generator).gains(0.9 / spread + lags) for _ in range(4000)])
    expected = np.exp(-2 * np.pi**2 * (spread / 2) ** 2 * lags**2)
    np.testing.assert_allclose(np.mean(gains * gains[:, :1].conj(), 0), expected, atol=0.06)
    assert abs(np.mean(gains)) < 0.05 and abs(np.mean(gains**2)) < 0.05
    assert np.mean(np.abs(gains) ** 4) == pytest.approx(2, abs=0.25)  # Rayleigh
    ends = np.stack([Tap(0.5 / spread, spread, generator).gains(np.array([0, 0.5 / spread])) for _ in range(4000)])
    np.testing.assert_allclose(np.mean(np.abs(ends) ** 2, 0), 1, atol=0.08)


def test_a_tap_has_the_doppler_spread_that_is_asked() -> None:
    """The spectrum of a long one is Gaussian: its standard deviation is half the spread, its kurtosis 3."""
    tap, rate = Tap(4000.0, 1.0, np.random.default_rng(0)), 20
    spectrum = np.abs(np.fft.fft(tap.gains(np.arange(4000 * rate) / rate))) ** 2
    hz = np.fft.fftfreq(4000 * rate, 1 / rate)
    mean = np.average(hz, weights=spectrum)
    variance = np.average((hz - mean) ** 2, weights=spectrum)
    assert 2 * np.sqrt(variance) == pytest.approx(1.0, rel=0.03) and abs(mean) < 0.03
    assert np.average((hz - mean) ** 4, weights=spectrum) / variance**2 == pytest.approx(3, rel=0.1)


@both
def test_fading_keeps_the_mean_power_of_the_ensemble_and_not_of_each_burst(kind: str) -> None:
    given = burst(8000, kind)
    powers = np.array([
        np.mean(np.abs(Simulator(channel="watterson-moderate", seed=seed).apply(given, 8000)) ** 2) for seed in range(400)
    ]) / np.mean(np.abs(given) ** 2)  # fmt: skip
    assert np.mean(powers) == pytest.approx(1, abs=0.1)
    assert np.std(powers) > 0.4 and powers.min() < 0.15  # two paths in a slow fade: near the 0.71 of two that stand still


@both
@pytest.mark.parametrize("rate", RATES)
def test_the_second_path_comes_as_late_as_it_should(rate: int, kind: str) -> None:
    """Over many fades the impulse response has two places, as far apart as the condition says, of the same power."""
    given = burst(rate, kind)
    size = 1 << 17
    inverse = np.conj(np.fft.fft(given, size))
    hz = np.fft.fftfreq(size, 1 / rate)
    profile = np.zeros(size)
    for seed in range(60):
        there = Simulator(channel="watterson-poor", seed=seed).apply(given, rate)
        cross = np.fft.fft(there, size) * inverse
        if kind == "sound":
            cross[hz <= 0] = 0
        profile += np.abs(np.fft.ifft(cross)) ** 2
    late = np.arange(round(0.01 * rate)) / rate * 1000
    profile = profile[: len(late)]
    first, second = profile[late < 0.8].max(), profile[late > 1.2].max()
    assert late[late > 1.2][np.argmax(profile[late > 1.2])] == pytest.approx(2.0, abs=500 / rate + 0.01)
    assert late[np.argmax(profile * (late < 0.8))] == pytest.approx(0.0, abs=0.01)
    assert 0.5 < first / second < 2


def test_delays_that_are_no_whole_number_of_samples() -> None:
    rate = 11025  # half a millisecond are 5.5 samples
    given = burst(rate, "iq")
    alone = Simulator(echo=(0.5, 0.0)).apply(given, rate)
    hz = np.fft.fftfreq(len(given), 1 / rate)
    expected = np.fft.ifft(np.fft.fft(given) * (1 + np.exp(-2j * np.pi * hz * 0.5e-3)) / np.sqrt(2))
    assert error_db(alone, expected) < -60


def test_the_conditions_are_those_of_the_recommendation() -> None:
    assert CONDITIONS["watterson-good"] == CONDITIONS["mid-quiet"] == Condition(0.5, 0.1)
    assert CONDITIONS["watterson-moderate"] == CONDITIONS["mid-moderate"] == Condition(1.0, 0.5)
    assert CONDITIONS["watterson-poor"] == CONDITIONS["mid-disturbed"] == Condition(2.0, 1.0)
    for name in CONDITIONS:
        given = burst(8000)
        assert (error_db(Simulator(channel=name).apply(given, 8000), given) > -20) == (name != "awgn")


# ---- what else happens -----------------------------------------------------------------------------------------------


@both
def test_cuts(kind: str) -> None:
    rate = 12000
    given = burst(rate, kind, silence=0.5)
    start, stop = active_parts(given, rate)[0]
    length = stop - start
    end = Simulator(cut=0.3).apply(given, rate)
    assert len(end) == pytest.approx(start + 0.7 * length, abs=1) and np.array_equal(end, given.astype(end.dtype)[: len(end)])
    begin = Simulator(cut_start=0.3).apply(given, rate)
    assert len(begin) == pytest.approx(len(given) - start - 0.3 * length, abs=1)
    assert np.array_equal(begin, given.astype(begin.dtype)[-len(begin) :])
    middle = Simulator(cut=0.3, cut_start=0.3, ppm=10000).apply(given, rate)
    assert len(middle) == pytest.approx(0.4 * length * 1.01, abs=2)


@both
def test_whistles_wobbles_clipping_bits_and_filters(kind: str) -> None:
    rate = 8000
    given = burst(rate, kind)
    power = active_power(given, active_parts(given, rate))
    whistle = Simulator(whistle=(-700 if kind == "iq" else 700, 10)).apply(given, rate) - given
    assert np.mean(np.abs(whistle) ** 2) == pytest.approx(10 * power, rel=0.02)
    assert abs(np.fft.fftfreq(len(given), 1 / rate)[np.argmax(np.abs(np.fft.fft(whistle)))]) == pytest.approx(700, abs=2)
    clipped = Simulator(clip=0.5).apply(given, rate)
    assert np.abs(clipped).max() == pytest.approx(0.5 * np.abs(given).max(), rel=1e-5)
    few = Simulator(bits=6).apply(given, rate)
    assert len(np.unique(few.real)) <= 64 and -35 < error_db(few, given) < -20
    wobbling = Simulator(wobble=(0.5, 1.5)).apply(given, rate)
    ratio = np.abs(wobbling)[given != 0] / np.abs(given)[given != 0]
    assert ratio.max() == pytest.approx(1.5, abs=0.01) and ratio.min() == pytest.approx(0.5, abs=0.01)
    low = -500.0 if kind == "iq" else 1000.0
    spectrum = np.abs(np.fft.fft(Simulator(band=(low, low + 1000)).apply(given, rate))) ** 2
    hz = np.fft.fftfreq(len(given), 1 / rate)
    hz = hz if kind == "iq" else np.abs(hz)
    inside, outside = spectrum[(hz > low + 100) & (hz < low + 900)].mean(), spectrum[(hz < low - 100) | (hz > low + 1100)].mean()
    assert 10 * np.log10(outside / inside) < -40
    wide = Simulator(band=(-1300, 1300) if kind == "iq" else (200, 2800)).apply(given, rate)
    assert error_db(wide, given) < -35


@pytest.mark.parametrize(
    "given",
    [{"channel": "nothing"}, {"snr_db": float("nan")}, {"snr_db": float("inf")}, {"ppm": 1e5}, {"cut": 1}, {"cut": -0.1},
     {"cut": 0.6, "cut_start": 0.6}, {"cut": 0.5, "cut_start": -0.5}, {"echo": (-1, 0)}, {"echo": (1, float("nan"))}, {"clip": 0},
     {"bits": 1}, {"bits": 99}, {"wobble": (2, 1)}, {"whistle": (1, 1000)}, {"bandwidth_hz": 0}, {"offset_hz": float("nan")}],
)  # fmt: skip
def test_what_cannot_be_simulated(given: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as error:
        Simulator(**given)
    assert "\n" not in str(error.value)


def test_recordings_that_cannot_be_sent_through() -> None:
    good = burst(8000)
    for values, rate in ((np.zeros(100), 8000), ([], 8000), ([[1.0]], 8000), ([np.nan], 8000), (good, 0), (good, float("nan"))):
        with pytest.raises(BadInput):
            Simulator().apply(np.array(values), rate)
    for given in ({"offset_hz": 5000}, {"whistle": (5000, 0)}, {"whistle": (-1, 0)}, {"band": (300, 5000)}, {"band": (9, 8)}):
        with pytest.raises(BadInput):
            Simulator(**given).apply(good, 8000)  # type: ignore[arg-type]


# ---- foreign signals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [8000, 12000])
def test_foreign_signals(kind: str, rate: int) -> None:
    values = make(kind, 20, rate, seed=1)
    assert values.dtype == np.float32 and len(values) == 20 * rate and np.abs(values).max() <= 1
    assert 0.05 < np.std(values) < 0.12
    power = np.abs(np.fft.rfft(values)) ** 2
    hz = np.fft.rfftfreq(len(values), 1 / rate)
    assert power[(hz > 375) & (hz < 2625)].sum() / power.sum() > 0.2  # it disturbs
    foreign = Foreign(kind, 25, rate, 1)
    assert np.array_equal(np.concatenate(list(foreign.blocks(777)))[: len(values), 0], values)
    assert not np.array_equal(make(kind, 20, rate, seed=2), values)


def test_an_hour_takes_no_more_memory_than_a_minute() -> None:
    source: Samples = Foreign("fsk", 600, 8000)
    tracemalloc.start()
    count = sum(len(block) for block in source.blocks(1 << 14))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == source.frames == 600 * 8000 and peak < 1e7
    assert read_all(Foreign("white", 1, 8000), 8000).shape == (8000,)


def test_foreign_signals_that_are_not_known() -> None:
    for kind, seconds, rate in (("polka", 1, 8000), ("white", 0, 8000), ("white", float("inf"), 8000), ("white", 1, 4000)):
        with pytest.raises(BadInput):
            Foreign(kind, seconds, rate)
