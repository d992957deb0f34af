"""The detector: bookends are found under noise, and nothing else is taken for one, however loud, tonal or like OFDM."""

from __future__ import annotations

import numpy as np
import pytest
from on_air import gauss, hear, in_blocks, sound_of

from semcast.onair.baseband import Downconverter
from semcast.onair.detect import BLOCK, LENGTH, THRESHOLD, Detector, correlate, find_candidates, templates, whiten
from semcast.onair.foreign import KINDS, Foreign
from semcast.onair.receiver import Receiver
from semcast.onair.waveform import ROW, modulate

HOUR = 3600.0


def noise(count: int, seed: int = 0) -> np.ndarray:
    return gauss(count, seed).astype(np.complex64)


def baseband_of(kind: str, seconds: float, seed: int = 0) -> np.ndarray:
    source = Foreign(kind, seconds, 12_000, seed)
    converter = Downconverter(source.rate)
    return np.concatenate([*(converter.feed(block[:, 0]) for block in source.blocks(1 << 16)), converter.finish()])


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("snr_db", [0.0, 10.0, 100.0])
@pytest.mark.parametrize("hz", [0.0, -100.0, 43.0])
def test_a_bookend_is_found_where_it_is(kind: int, snr_db: float, hz: float) -> None:
    """rho is about g / (1 + g); time within two samples, frequency within a step, the right bookend."""
    for at in (0, 3000, BLOCK - LENGTH - 1):
        samples = 10 ** (-snr_db / 20) * noise(BLOCK, at)
        samples[at : at + LENGTH] += templates()[kind] * np.exp(2j * np.pi * hz / 6000 * np.arange(LENGTH))
        found, _ = find_candidates(samples, 1000)
        assert len(found) == 1 and found[0].kind == kind
        assert abs(found[0].start - 1000 - at) <= 2 and abs(found[0].offset_hz - hz) <= 4
        assert found[0].rho > (0.25 if snr_db == 0 else 0.5)


def test_level_and_phase_change_nothing() -> None:
    samples = noise(BLOCK)
    samples[2000 : 2000 + LENGTH] += templates()[0]
    reference = correlate(samples)
    for factor in (1e-5, 1e4, -1, 1j):
        assert np.abs(correlate((factor * samples).astype(np.complex64)) - reference).max() < 1e-3


def test_rho_is_a_share() -> None:
    for samples in (noise(BLOCK), np.ones(BLOCK, np.complex64), np.eye(1, BLOCK, 4000, dtype=np.complex64)[0]):
        rho = correlate(samples)
        assert rho.shape == (2, 37, BLOCK - LENGTH) and rho.min() >= 0 and rho.max() <= 1.001
    assert not correlate(np.zeros(BLOCK, np.complex64)).any() and find_candidates(np.zeros(BLOCK, np.complex64), 0) == ([], 0.0)


def test_white_noise_follows_the_law_that_sets_the_threshold() -> None:
    """P(rho > t) = (1 - t)^(N - 1) with N about 200: at t = 0.04 that is 3e-4."""
    shares = [float((correlate(noise(BLOCK, seed)) > 0.04).mean()) for seed in range(6)]
    assert 3e-5 < np.mean(shares) < 1.2e-3


def test_whitening_flattens_a_whistle() -> None:
    samples = noise(BLOCK) + 30 * np.exp(2j * np.pi * 0.1 * np.arange(BLOCK)).astype(np.complex64)
    power = np.abs(whiten(samples)) ** 2
    inside = power[power > 0]
    assert 3300 < len(inside) < 3500 and power.max() < 100 * np.median(inside)


def test_blocks_of_any_length_find_the_same() -> None:
    samples = noise(40_000)
    places = (100, BLOCK - LENGTH - 100, 2 * BLOCK - LENGTH, 3 * BLOCK - LENGTH, 39_000)
    for number, at in enumerate(places):
        samples[at : at + LENGTH] += 2 * templates()[number % 2]
    for size in (37, 500, 8192, 40_000):
        detector, found = Detector(), []
        for block in in_blocks(samples, size):
            found += detector.feed(block)
        found += detector.finish()
        assert [(one.kind, round(one.start / 10)) for one in sorted(found, key=lambda one: one.start)] == [
            (number % 2, round(at / 10)) for number, at in enumerate(places)
        ], size


def test_a_bookend_is_found_once() -> None:
    """Echoes within a row are the same burst; where two blocks meet each may see it, and the receiver takes them for one."""
    wave = templates()[0]
    for at in range(BLOCK - LENGTH - 3, BLOCK - LENGTH + 4):
        samples = 0.1 * noise(3 * BLOCK)
        samples[at : at + LENGTH] += wave
        samples[at + 18 : at + 18 + LENGTH] += 0.7 * wave
        detector = Detector()
        found = detector.feed(samples) + detector.finish()
        assert 1 <= len(found) <= 2 and all(at - 2 <= one.start <= at + 20 for one in found), at


def test_part_of_a_bookend_at_the_edges_of_a_recording() -> None:
    """Two thirds of one are enough; what is left of a third is not looked at."""
    wave = modulate(np.array([[1.0] * 48]), 1, ramp=False)
    assert len(wave) == ROW
    samples = 0.01 * noise(3000)
    samples[-ROW * 2 :] += templates()[0][: 2 * ROW]
    detector = Detector()
    assert [one.kind for one in detector.feed(samples) + detector.finish()] == [0]


@pytest.mark.parametrize("kind", KINDS)
def test_foreign_signals_are_not_taken_for_bookends(kind: str) -> None:
    """Ten seconds of each."""
    samples = baseband_of(kind, 10.0)
    step = BLOCK - LENGTH
    highest = max(float(correlate(samples[at : at + BLOCK]).max()) for at in range(0, len(samples) - BLOCK, step))
    assert 0.01 < highest < THRESHOLD


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_hour_of_each_foreign_signal(kind: str) -> None:
    """No burst, no candidate: nothing is said, and nothing waits."""
    source = Foreign(kind, HOUR, 12_000, seed=7)
    receiver, found = Receiver(source.rate), []
    candidates: list[object] = []
    feed = receiver.detector.feed
    receiver.detector.feed = lambda block: [candidates.append(one) or one for one in feed(block)]
    for block in source.blocks(1 << 16):
        found += receiver.feed(block[:, 0])
    found += receiver.finish()
    assert not found and not receiver.refused and not candidates


@pytest.mark.parametrize("kind", ["ofdm", "music", "tones"])
def test_a_burst_in_the_middle_of_other_signals_is_heard(kind: str) -> None:
    """Before and after it, as loud as it is."""
    sent, rate = gauss(80), 12_000
    other = next(iter(Foreign(kind, 4.0, rate).blocks(4 * rate)))[:, 0]
    sound = sound_of(sent, rate=rate)
    level = np.sqrt(np.mean(sound**2)) / 0.1
    recording = np.concatenate((level * other[: 2 * rate], sound, level * other[2 * rate :]))
    (capture,) = hear(recording)
    assert capture.header.symbols == 80 and capture.start_s == pytest.approx(2.05, abs=0.02)
