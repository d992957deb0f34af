"""Down to baseband: in blocks of any length, at any rate, to 1500 Hz and no further."""

from __future__ import annotations

import numpy as np
import pytest
from on_air import error_db, gauss, in_blocks

from semcast.errors import BadInput
from semcast.onair.baseband import Downconverter, one_channel

RATES = [8_000, 11_025, 12_000, 16_000, 22_050, 44_100, 48_000, 96_000]


def convert(samples: np.ndarray, rate: float, block: int, **options: object) -> tuple[np.ndarray, float]:
    converter = Downconverter(rate, **options)
    out = [converter.feed(one) for one in in_blocks(samples, block)]
    return np.concatenate([*out, converter.finish()]), converter.delay()


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_comes_down_with_its_phase_and_level(rate: int) -> None:
    """cos(2π (1500 + f) t) → exp(2πi f t), for frequencies in the band; nothing is left of those that would fold into it."""
    times, hz = np.arange(2 * rate) / rate, 700.0
    out, delay = convert(np.cos(2 * np.pi * (1500 + hz) * times).astype(np.float32), rate, 4096)
    at = np.arange(2000, 10_000)
    # a lag of the filter that is no whole quarter turn of 1500 Hz leaves a fixed phase: any receiver takes it for the channel's
    ratio = out[at] / np.exp(2j * np.pi * hz * (at - delay) / 6000)
    assert np.abs(ratio).mean() == pytest.approx(1, abs=0.02)
    assert error_db(ratio, np.full(len(at), ratio.mean())) < -50
    for far in (0.0, 3310.0, 3400.0, 3900.0):
        quiet, _ = convert(np.cos(2 * np.pi * far * times).astype(np.float32), rate, 4096)
        assert np.abs(quiet[at]).max() < 1e-3, far


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("is_complex", [False, True])
def test_blocks_of_any_length_give_the_same(rate: int, is_complex: bool) -> None:
    samples = gauss(rate) if is_complex else gauss(rate).real
    samples = samples.astype(np.complex64 if is_complex else np.float32)
    samples -= samples.mean()
    whole, _ = convert(samples, rate, len(samples), is_complex=is_complex)
    for block in (1, 7, 480, 1000, 65_536) if rate == 8_000 else (333, 65_536):
        if is_complex and block < 65_536:
            continue  # the mean that is taken off follows the stream
        parts, _ = convert(samples, rate, block, is_complex=is_complex)
        short = min(len(parts), len(whole))
        assert short > 0.99 * 6000 and np.abs(parts[:short] - whole[:short]).max() < 1e-4, block


def test_samples_are_where_their_times_are() -> None:
    """A click at a known time is where it should be: none is lost between blocks."""
    for rate in (8_000, 44_100, 48_000):
        for block in (1000, 1024, 44_099):
            samples = np.zeros(3 * rate, np.float32)
            samples[2 * rate] = 1
            out, delay = convert(samples, rate, block)
            assert abs(int(np.abs(out).argmax()) - delay - 12_000) <= 1.01, (rate, block)


@pytest.mark.parametrize("scale", [1, 8, 64])
def test_a_software_radio_loses_the_line_of_its_oscillator(scale: int) -> None:
    spacing, rate = 46.875 * scale, 46.875 * scale * 512
    samples = (gauss(100_000) * 0.1 + 0.5j).astype(np.complex64)
    out, _ = convert(samples, rate, 8192, is_complex=True, spacing_hz=spacing)
    assert abs(out[5000:-5000].mean()) < 0.02


@pytest.mark.parametrize("rate", [5499, 0, -1, float("nan")])
def test_too_low_a_rate_is_refused(rate: float) -> None:
    with pytest.raises(BadInput, match=r"hold no band of 2\.4 kHz"):
        Downconverter(rate)
    with pytest.raises(BadInput, match=r"hold no band of 19\.2 kHz"):
        Downconverter(min(rate, 8000), spacing_hz=375.0, is_complex=True)


def test_what_is_no_number_is_silence() -> None:
    samples = np.zeros(20_000, np.float32)
    samples[5000], samples[6000], samples[7000] = np.nan, np.inf, -np.inf
    out, _ = convert(samples, 8000, 4096)
    assert np.isfinite(out).all()


def test_the_louder_channel_is_heard() -> None:
    left, right = 0.1 * gauss(1000).real, gauss(1000, 1).real
    stereo = np.stack((left, right), 1).astype(np.float32)
    assert np.array_equal(np.concatenate(list(one_channel(in_blocks(stereo, 300)))), stereo[:, 1])
    mono = stereo[:, 0]
    assert np.array_equal(np.concatenate(list(one_channel(in_blocks(mono, 300)))), mono)
    broken = stereo.copy()
    broken[:, 0] = np.nan
    assert np.array_equal(np.concatenate(list(one_channel([broken]))), stereo[:, 1])


@pytest.mark.parametrize(("rate", "spacing"), [(30e6, 46.875), (61.44e6, 46.875), (1e300, 46.875), (48_000, 1e-280)])
def test_too_high_a_rate_is_refused(rate: float, spacing: float) -> None:
    """Its ratio to the band is none that a filter is made for: nothing would be found, or there would be no filter."""
    with pytest.raises(BadInput, match="too many"):
        Downconverter(rate, spacing_hz=spacing, is_complex=True)
    assert Downconverter(24e6, is_complex=True).up == 1 and Downconverter(61.44e6, spacing_hz=750.0, is_complex=True).up >= 1
