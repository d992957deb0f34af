"""The receiver: what was sent comes out of whatever was recorded, with a true word on how sure that is, and nothing else does."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from on_air import Array, at_rate, error_db, gauss, header_of, hear, in_blocks, sound_of, truth

from semcast.onair.demodulate import Capture
from semcast.onair.foreign import Foreign
from semcast.onair.header import to_cells
from semcast.onair.receiver import LONGEST, Receiver, Tape, receive_all
from semcast.onair.simulate import Simulator
from semcast.onair.transmitter import to_iq, to_sound, to_wave
from semcast.onair.waveform import POSTAMBLE, PREAMBLE, ROW, SPACING_HZ, USEFUL, build_frame, modulate, qpsk, rows_of, seconds_of

INF = float("inf")


def one(captures: list[Capture]) -> Capture:
    assert len(captures) == 1, captures
    return captures[0]


# ---- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [48_000, 44_100, 24_000, 22_050, 12_000, 11_025, 8_000])
@pytest.mark.parametrize("k", [1, 40, 41, 640])
def test_the_loop_without_noise_and_clipping(rate: int, k: int) -> None:
    """Within -45 dB at every rate; it ends when it began, with no offset."""
    sent = gauss(k)
    capture = one(hear(sound_of(sent, rate=rate, headroom_db=INF), rate))
    assert capture.header == header_of(k) and capture.share == 1
    assert error_db(capture.symbols, sent) < -45 and (capture.noise_var < 10**-4).all()
    assert abs(capture.offset_hz) < 0.05 and abs(capture.clock_ppm) < 10
    assert capture.start_s == pytest.approx(0.055, abs=0.0005) and capture.seconds == pytest.approx(seconds_of(k) - 0.01)
    assert capture.snr_db > 40 and 0.5 < capture.rho <= 1


@pytest.mark.parametrize("k", [1025, 2500, pytest.param(5000, marks=pytest.mark.slow)])
def test_long_bursts(k: int) -> None:
    """Several blocks are spread apart; over 80 rows the channel is looked at in windows, and offsets grow from the anchor."""
    sent = gauss(k)
    assert rows_of(k) > (80 if k > 2700 else 0)
    capture = one(hear(sound_of(sent, headroom_db=INF)))
    assert error_db(capture.symbols, sent) < -45
    paths = (("awgn", 5, -14), ("watterson-good", 40, -8))  # an echo that fades looks like a clock
    for channel, ppm, decibels in paths if k == 5000 else paths[:1]:
        path = Simulator(snr_db=15, offset_hz=-53, ppm=90, channel=channel, seed=1)
        heard = one(hear(path.apply(sound_of(sent), 12_000)))
        assert heard.clock_ppm == pytest.approx(90, abs=ppm) and heard.offset_hz == pytest.approx(-53.1, abs=0.5)
        assert error_db(heard.symbols, sent) < decibels and 0.7 < truth(heard, sent) < 1.4


def test_what_does_not_matter_changes_nothing() -> None:
    """Sign, level, other channels, silence before and after, and the other 12 kHz of another rate."""
    sent = gauss(120)
    sound = Simulator(snr_db=12, seed=3).apply(sound_of(sent, rate=24_000), 24_000)
    reference = one(hear(sound, 24_000))
    assert 0.5 < truth(reference, sent) < 1.6
    stereo = np.stack((0.1 * sound[::-1], sound, 0 * sound), 1)
    long = np.concatenate((np.zeros(30_001, np.float32), sound, np.zeros(50_000, np.float32)))
    for name, (samples, rate) in {
        "sign": (-sound, 24_000), "soft": (1e-4 * sound, 24_000), "loud": (1e4 * sound, 24_000), "stereo": (stereo, 24_000),
        "late": (long, 24_000), "12k": (at_rate(sound, 24_000, 12_000), 12_000), "48k": (at_rate(sound, 24_000, 48_000), 48_000),
        "44.1k": (at_rate(sound, 24_000, 44_100), 44_100),
    }.items():  # fmt: skip
        other = one(hear(samples, rate))
        assert other.header == reference.header, name
        assert error_db(other.symbols, reference.symbols) < -25, name
        assert np.median(other.noise_var / reference.noise_var) == pytest.approx(1, rel=0.1), name


@pytest.mark.parametrize("lead", [0, 1, 777])
def test_blocks_of_any_length_give_the_same(lead: int) -> None:
    sent = gauss(80)
    sound = Simulator(snr_db=10, offset_hz=20, seed=2).apply(sound_of(sent), 12_000)
    recording = np.concatenate((1e-3 * gauss(lead).real.astype(np.float32), sound))
    reference = one(hear(recording, block=len(recording)))
    for block in (97, 1000, 4096, 11_111):
        other = one(hear(recording, block=block))
        assert error_db(other.symbols, reference.symbols) < -50, block
        assert other.start_s == pytest.approx(reference.start_s, abs=1e-4)


def test_bursts_across_the_blocks_of_the_detector() -> None:
    """Wherever a burst begins in a block of 8192 less 456 samples of baseband, it is received once."""
    sent = gauss(40)
    sound = sound_of(sent, headroom_db=INF)
    for lead in [*range(0, 2 * 7736, 1103), *range(2 * (7736 - 330) - 6, 2 * (7736 - 330) + 7)]:
        capture = one(hear(np.concatenate((np.zeros(lead, np.float32), sound))))
        assert error_db(capture.symbols, sent) < -45, lead


def test_several_bursts_in_one_recording() -> None:
    """In the order of time, each with its own level; of different length, one hard on the other."""
    bursts = [gauss(40), 0.5 * gauss(300), gauss(64, 5), 1.4 * gauss(40, 9)]
    sounds = [level * sound_of(one) for level, one in zip((1, 0.3, 1, 0.1), bursts, strict=True)]
    captures = hear(np.concatenate(sounds).astype(np.float32))
    assert [len(one.symbols) for one in captures] == [40, 300, 64, 40]
    for capture, sent in zip(captures, bursts, strict=True):
        assert error_db(capture.symbols, sent) < -20
    starts = np.cumsum([0, *map(len, sounds)])[:-1] / 12_000 + 0.055
    assert np.allclose([one.start_s for one in captures], starts, atol=0.002)


def test_the_same_burst_twice_is_two_bursts() -> None:
    sound = sound_of(gauss(40), gauss(40), gauss(40))
    assert len(hear(sound)) == 3


# ---- what a path does ------------------------------------------------------------------------------------------------

PATHS: dict[str, Callable[[np.random.Generator], Simulator]] = {
    "awgn": lambda r: Simulator(snr_db=r.uniform(2, 14)),
    "offsets": lambda r: Simulator(snr_db=r.uniform(2, 12), offset_hz=r.uniform(-100, 100), ppm=r.uniform(-150, 150)),
    "echo": lambda r: Simulator(snr_db=r.uniform(4, 12), echo=(r.uniform(0.2, 3), r.uniform(-9, -2)), ppm=r.uniform(-50, 50)),
    "moderate": lambda r: Simulator(snr_db=r.uniform(6, 12), channel="watterson-moderate", offset_hz=r.uniform(-50, 50)),
    "poor": lambda r: Simulator(snr_db=r.uniform(8, 12), channel="watterson-poor", ppm=r.uniform(-100, 100)),
    "recorder": lambda r: Simulator(snr_db=r.uniform(5, 10), bits=int(r.integers(6, 16)), band=(300, 2700)),
}  # fmt: skip


@pytest.mark.parametrize("name", PATHS)
def test_the_receiver_knows_how_sure_it_is(name: str) -> None:
    """Mean e² / noise_var over bursts of chance: 1, and the tolerance is that of a few bursts."""
    random, ratios = np.random.default_rng(3), []
    for trial in range(10):
        sent = gauss(320, trial)
        path = PATHS[name](random)
        captures = hear(replace(path, seed=trial).apply(sound_of(sent), 12_000))
        assert len(captures) <= 1
        if captures:
            ratios.append(truth(captures[0], sent))
    assert len(ratios) >= 8
    assert 0.8 < np.mean(ratios) < 1.25, ratios


@pytest.mark.slow
@pytest.mark.parametrize("name", PATHS)
def test_the_receiver_knows_how_sure_it_is_over_many_bursts(name: str) -> None:
    random, ratios = np.random.default_rng(4), []
    for trial in range(40):
        sent = gauss(640, trial)
        captures = hear(replace(PATHS[name](random), seed=1000 + trial).apply(sound_of(sent), 12_000))
        ratios += [truth(capture, sent) for capture in captures]
    assert len(ratios) >= 38 and 0.85 < np.mean(ratios) < 1.2


def test_offset_and_clock_are_said() -> None:
    for hz, ppm in ((100.0, 0.0), (-100.0, 200.0), (7.0, -200.0), (0.0, 40.0)):
        path = Simulator(snr_db=15, offset_hz=hz, ppm=ppm)
        capture = one(hear(path.apply(sound_of(gauss(640)), 12_000)))
        # a clock that is too fast lowers what it records: 1500 Hz by 0.0015 Hz a ppm
        assert capture.offset_hz == pytest.approx(hz - 1500e-6 * ppm, abs=0.3)
        assert capture.clock_ppm == pytest.approx(ppm, abs=30)


def test_the_snr_that_is_said_is_that_of_the_cells() -> None:
    """Es/N0 = SNR in 2.4 kHz + 0.28 dB, where nothing is clipped."""
    for snr_db in (0.0, 6.0, 12.0):
        said = [
            one(hear(Simulator(snr_db=snr_db, seed=seed).apply(sound_of(gauss(640, seed), headroom_db=INF), 12_000))).snr_db
            for seed in range(4)
        ]
        assert np.mean(said) == pytest.approx(snr_db + 0.28, abs=0.35)


def test_a_header_is_read_at_0_db() -> None:
    found = [hear(Simulator(snr_db=0, seed=seed).apply(sound_of(gauss(40, seed)), 12_000)) for seed in range(20)]
    assert all(len(captures) == 1 and captures[0].header == header_of(40) for captures in found)


def test_a_telephone_a_whistle_and_clipping() -> None:
    sent = gauss(320)
    for path in (
        Simulator(snr_db=12, band=(300, 2700)), Simulator(snr_db=12, whistle=(1210, -3)), Simulator(snr_db=12, clip=0.5),
        Simulator(snr_db=12, wobble=(0.3, 1.0)), Simulator(snr_db=12, bits=6),
    ):  # fmt: skip
        capture = one(hear(path.apply(sound_of(sent), 12_000)))
        assert error_db(capture.symbols, sent) < -5 and 0.5 < truth(capture, sent) < 2, path


def test_a_constant_and_hum_do_no_harm() -> None:
    """A cheap sound card's, 20 dB over the burst, with frequencies off so that rows do not have it by the whole turn."""
    sent = gauss(320)
    sound = Simulator(snr_db=15, offset_hz=37).apply(sound_of(sent), 12_000)
    reference, level = error_db(one(hear(sound)).symbols, sent), np.sqrt(np.mean(sound**2))
    hum = np.cos(2 * np.pi * 50 / 12_000 * np.arange(len(sound)))
    for added in (10 * level, -10 * level, 3 * level * hum):
        assert error_db(one(hear((sound + added).astype(np.float32))).symbols, sent) < reference + 0.6


# ---- what is missing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [{"cut": 0.3}, {"cut_start": 0.3}, {"cut": 0.5}, {"cut_start": 0.5}])
def test_a_recording_that_lacks_an_end(missing: dict[str, float]) -> None:
    """What came is there, the rest is said not to be; one end is enough to read the header."""
    sent = gauss(640) * np.sqrt(np.linspace(2, 0, 640))
    path = Simulator(snr_db=15, offset_hz=11, ppm=30, **missing)
    capture = one(hear(path.apply(sound_of(sent), 12_000)))
    assert capture.header == header_of(640)
    gone = sum(missing.values())
    assert capture.share == pytest.approx(1 - (gone * 28 - 6) / 16, abs=0.07)
    assert np.isinf(capture.variance).mean() == pytest.approx(1 - capture.share)
    power = np.abs(sent) ** 2
    wiener = capture.symbols / (1 + capture.noise_var)
    assert np.mean(np.abs(wiener - sent) ** 2) < 0.75 * power.mean()
    assert np.isfinite(capture.symbols).all() and capture.noise_var.max() <= 1e6 and capture.start_s < 0.06


@pytest.mark.parametrize("end", ["preamble", "postamble"])
def test_one_bookend_is_enough(end: str) -> None:
    """A squelch that opens late, a recorder that stops early: the other one and its header are silence."""
    sent, rate = gauss(200), 12_000
    sound = sound_of(sent, headroom_db=INF)
    edge = round(0.055 * rate) + 6 * ROW * 2
    if end == "preamble":
        sound[-edge:] = 0
    else:
        sound[:edge] = 0
    noisy = sound + 1e-3 * gauss(len(sound)).real.astype(np.float32)
    capture = one(hear(noisy))
    assert capture.share == 1 and error_db(capture.symbols, sent) < -25
    assert capture.start_s == pytest.approx(0.055, abs=0.001)


def test_a_hole_in_the_middle() -> None:
    """What a recorder filled with silence did not come, and the rest is what it was."""
    sent = gauss(640)
    sound = Simulator(snr_db=15).apply(sound_of(sent), 12_000)
    whole = one(hear(sound))
    sound[3000:4500] = 0
    capture = one(hear(sound))
    assert capture.header == header_of(640) and capture.share == pytest.approx(1 - 5.5 / 16, abs=0.04)
    kept = np.isfinite(capture.variance)
    assert np.median(capture.variance[kept] / whole.variance[kept]) == pytest.approx(1, abs=0.15)
    assert 0.7 < truth(capture, sent) < 1.4


def test_nothing_is_shown_of_what_did_not_come() -> None:
    """Under a tenth of the cells there is a sentence and no burst."""
    sound = sound_of(gauss(5000), headroom_db=INF)
    short = sound[: round(0.055 * 12_000) + 2 * ROW * (6 + 8)]
    receiver = Receiver(12_000)
    assert not list(receive_all(receiver, [short]))
    assert [sentence for _, sentence in receiver.refused] == ["a burst of which 6% came"]


@pytest.mark.parametrize("k", [1 << 20, 500_000])
@pytest.mark.parametrize("end", ["preamble", "postamble"])
def test_a_header_that_promises_too_much_costs_nothing(k: int, end: str) -> None:
    """2^20 symbols in a recording of a second: little memory, one sentence, no burst."""
    frame = build_frame(to_cells(header_of(k)), gauss(40))
    part = frame[:7] if end == "preamble" else frame[-7:]
    sound = to_sound([modulate(part, 2)], rate=12_000)
    recording = np.concatenate((sound, 1e-3 * gauss(12_000).real)).astype(np.float32)
    hear(sound_of(gauss(40)))  # what is made once
    receiver = Receiver(12_000)
    tracemalloc.start()
    try:
        assert not list(receive_all(receiver, in_blocks(recording, 4096)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(receiver.refused) == 1 and "of which 0% came" in receiver.refused[0][1]
    assert peak < 60e6


@pytest.mark.parametrize("block", [1000, 1 << 16])
def test_a_transmitter_that_was_stopped_and_began_again(block: int) -> None:
    """The second burst lies wholly where the first should have been: both are there, the first as far as it went."""
    long, short = gauss(2000, 1), gauss(80, 2)
    sound_a, sound_b = sound_of(long, headroom_db=INF), sound_of(short, headroom_db=INF)
    stopped = sound_a[: round(0.055 * 12_000) + 2 * ROW * (6 + 15)]
    recording = np.concatenate((stopped, sound_b, np.zeros(30_000, np.float32)))
    first, second = hear(recording, block=block)
    assert second.header.symbols == 80 and error_db(second.symbols, short) < -40
    assert first.header.symbols == 2000 and first.share == pytest.approx(0.3, abs=0.03)
    assert np.vdot(long, first.symbols / (1 + first.noise_var)).real > 0


def test_a_header_that_promises_too_much_hides_no_other() -> None:
    frame = build_frame(to_cells(header_of(1 << 20)), gauss(40))
    liar = to_sound([modulate(frame[:7], 2)], rate=12_000)
    sent = gauss(80)
    recording = np.concatenate((liar, sound_of(sent), np.zeros(12_000))).astype(np.float32)
    assert error_db(one(hear(recording, block=3000)).symbols, sent) < -20


# ---- what is no burst ------------------------------------------------------------------------------------------------


def test_a_header_whose_crc_fails_gives_nothing() -> None:
    """Bookends are there and loud, between them are random cells: nothing, and no sentence either."""
    random = np.random.default_rng(0)
    for _ in range(20):
        cells = qpsk(random.integers(0, 2, 2 * 48 * 22)).reshape(22, 48)
        sound = to_sound([modulate(np.concatenate((PREAMBLE, cells, POSTAMBLE)), 2)], rate=12_000)
        receiver = Receiver(12_000)
        assert not list(receive_all(receiver, [sound.astype(np.float32)])) and not receiver.refused


def test_a_preamble_and_a_stranger_postamble_are_not_paired() -> None:
    """The beginning of one burst and the end of another, a whole number of rows later, are two bursts, each cut off."""
    first, last = gauss(160, 1), gauss(640, 2)
    sound_a, sound_b = sound_of(first, headroom_db=INF), sound_of(last, headroom_db=INF)
    edge = round(0.055 * 12_000)
    a = sound_a[: edge + 2 * ROW * (6 + 3)]
    b = sound_b[-(edge + 2 * ROW * (6 + 10)) :]
    captures = hear(np.concatenate((a, b)).astype(np.float32))
    assert {len(one.symbols) for one in captures} <= {160, 640}
    for capture in captures:
        sent = first if len(capture.symbols) == 160 else last
        assert np.vdot(sent, capture.symbols / (1 + capture.noise_var)).real > 0


@pytest.mark.parametrize(
    "samples",
    [np.zeros(0, np.float32), np.zeros(1, np.float32), np.zeros(50_000, np.float32), np.ones(50_000, np.float32),
     np.full(50_000, np.nan, np.float32), np.full(50_000, 1e9, np.float32), np.eye(1, 50_000, 9000, dtype=np.float32)[0],
     np.random.default_rng(0).standard_normal(300).astype(np.float32)],
    ids=["nothing", "one", "silence", "constant", "nan", "huge", "click", "short"],
)  # fmt: skip
def test_odd_recordings_hold_no_burst(samples: Array) -> None:
    assert not hear(samples) and not hear(samples, block=333)


# ---- memory ----------------------------------------------------------------------------------------------------------


def listen(seconds: float, kept_s: float | None = None) -> float:
    """Peak of traced memory in MB while noise is heard."""
    source, receiver = Foreign("white", seconds, 12_000), Receiver(12_000)
    receiver.tape.limit = LONGEST if kept_s is None else round(6000 * kept_s)
    tracemalloc.start()
    try:
        for block in source.blocks(1 << 16):
            assert not receiver.feed(block[:, 0])
        receiver.finish()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_recording() -> None:
    """Where a minute is kept, three need no more than one and a half."""
    assert listen(180, kept_s=60) < listen(90, kept_s=60) + 1


@pytest.mark.slow
def test_two_hours_need_as_much_as_twenty_minutes() -> None:
    """Of both eleven minutes are kept, 33 MB; the design allows 300."""
    short, long = listen(20 * 60), listen(2 * 3600)
    assert long < short + 1 < 251


def test_a_tape_forgets() -> None:
    tape, random = Tape(limit=1000), np.random.default_rng(0)
    everything = np.zeros(0, np.complex64)
    for _ in range(3000):
        block = gauss(int(random.integers(1, 300)), int(random.integers(1 << 30))).astype(np.complex64)
        tape.append(block)
        everything = np.concatenate((everything, block))[-5000:]
        begin = tape.end - int(random.integers(1, 1000))
        cut, first = tape.cut(begin, begin + 200)
        offset = len(everything) - tape.end
        assert first == max(begin, tape.first) and np.array_equal(cut, everything[first + offset : first + offset + len(cut)])
    assert tape.end - tape.first < 1 << 18 and len(tape._store) < 1 << 21
    assert not len(tape.cut(-500, 0)[0]) and not len(tape.cut(tape.end + 5, tape.end + 9)[0])
    assert LONGEST * 8 < 33e6


# ---- points of a constellation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [40, 1000])
def test_points_of_a_constellation(k: int) -> None:
    points = qpsk(np.random.default_rng(0).integers(0, 2, 2 * k))
    capture = one(hear(sound_of(points, headroom_db=INF, scheme=4)))
    assert capture.header.scheme == 4 and not capture.header.analog
    assert error_db(capture.symbols, points) < -40
    noisy = one(hear(Simulator(snr_db=10, channel="watterson-moderate", seed=5).apply(sound_of(points, scheme=4), 12_000)))
    assert 0.6 < truth(noisy, points) < 1.5 and np.ptp(np.log(noisy.noise_var)) > 0.5


# ---- software radio --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 8, 64])
@pytest.mark.parametrize("shift", [0.0, 1.4, -2.0])
def test_samples_of_a_software_radio(scale: int, shift: float) -> None:
    """2.4, 19.2 and 153.6 kHz: offset by carriers, with the line of the oscillator, at a rate of the recorder's own."""
    spacing, sent = SPACING_HZ * scale, gauss(200)
    wave = to_wave(sent, header_of(200), headroom_db=INF, oversampling=4)
    samples, rate, _ = to_iq([wave], spacing_hz=spacing, oversampling=4)
    samples = np.pad(samples, 4000)
    samples = samples * np.exp(2j * np.pi * shift * spacing / rate * np.arange(len(samples)))
    burst = samples[np.abs(samples) > 0]
    samples = samples + 0.5 * np.sqrt(np.mean(np.abs(burst) ** 2)) * np.exp(0.7j)  # a leakage of -6 dB
    samples += 1e-3 * gauss(len(samples))
    capture = one(hear(samples.astype(np.complex64), rate, spacing_hz=spacing, is_complex=True))
    assert error_db(capture.symbols, sent) < -18
    assert capture.offset_hz == pytest.approx(shift * spacing, abs=0.02 * spacing)
    assert capture.seconds == pytest.approx(rows_of(200) * ROW / (USEFUL * spacing))
    assert capture.start_s == pytest.approx((4000 / rate) + 0.055 / scale, abs=0.001 / scale)


def test_the_wrong_spacing_hears_nothing() -> None:
    wave = to_wave(gauss(200), header_of(200), oversampling=4)
    samples, rate, _ = to_iq([wave], spacing_hz=8 * SPACING_HZ, oversampling=4)
    assert not hear(samples, rate, is_complex=True)
    assert len(hear(samples, rate, spacing_hz=8 * SPACING_HZ, is_complex=True)) == 1
