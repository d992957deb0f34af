"""OnAir and Recording are channels like any other: same types, same laws, same bench; and AWGN is what OnAir comes close to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Mosaic
from on_air import gauss, header_of

import semcast as sc
from semcast.api import photo as open_photo
from semcast.bench.settings import describe_channel
from semcast.channels import AWGN
from semcast.errors import BadInput, Damaged, Missing
from semcast.link import Budget, Burst, Channel
from semcast.metrics.report import Metrics
from semcast.onair.channel import CELLS_TO_2400_HZ, MOST_NOISE, OnAir, Recording, to_received
from semcast.onair.files import write_iq, write_sound
from semcast.onair.simulate import Simulator
from semcast.onair.transmitter import to_iq, to_sound, to_wave
from semcast.onair.waveform import WIDTH, rows_of
from semcast.testing import check_system


def burst_of(batch: int, k: int, snr_db: float = 10.0, name: str = "") -> Burst:
    symbols = np.stack([gauss(k, seed) for seed in range(batch)]).astype(np.complex64)
    return Burst(torch.from_numpy(symbols), Budget(k, snr_db), name=name)


def recording(path: Path, *bursts: np.ndarray, snr_db: float = 20.0, **fields: int) -> Path:
    sound = to_sound([to_wave(one, header_of(len(one), **fields)) for one in bursts])
    write_sound(path, 0.5 * Simulator(snr_db=snr_db).apply(sound, 48_000), 48_000)
    return path


# ---- OnAir -----------------------------------------------------------------------------------------------------------


def test_it_is_a_channel() -> None:
    channel, burst = OnAir(), burst_of(3, 80)
    assert isinstance(channel, Channel) and channel.name == "on-air"
    received = channel(burst, seed=1).check()
    assert received.symbols.shape == (3, 80) and received.symbols.dtype == torch.complex64 and received.budget == burst.budget
    assert received.noise_var.dtype == torch.float32 and bool((received.noise_var > 0).all())
    assert not received.symbols.requires_grad
    again = channel(burst, seed=1)
    assert torch.equal(again.symbols, received.symbols), "the draw follows from the seed"
    assert not torch.equal(channel(burst, seed=2).symbols, received.symbols)
    assert not torch.equal(channel(burst_of(3, 80, name="she"), seed=1).symbols, received.symbols)


def test_a_photo_meets_the_same_channel_in_any_batch() -> None:
    channel = OnAir(path=Simulator(channel="watterson-good"))
    whole, alone = burst_of(3, 40), burst_of(1, 40)
    assert torch.allclose(channel(whole, seed=5).symbols[:1], channel(alone, seed=5).symbols)


def test_a_realisation_is_for_what_it_was_drawn_for() -> None:
    send = OnAir().draw(2, 40, 10.0, torch.Generator().manual_seed(0))
    assert torch.equal(send(burst_of(2, 40)).symbols, send(burst_of(2, 40)).symbols)
    with pytest.raises(BadInput, match="was drawn for"):
        send(burst_of(1, 40))


def test_each_image_has_its_own_snr() -> None:
    send = OnAir().draw(2, 320, torch.tensor([0.0, 20.0]), torch.Generator().manual_seed(0))
    noise = send(burst_of(2, 320)).noise_var.mean(1)
    assert noise[0] > 20 * noise[1]


@pytest.mark.parametrize("snr_db", [0.0, 5.0, 10.0])
@pytest.mark.parametrize("level", [0.7, 1.4])
def test_its_snr_is_that_of_awgn(snr_db: float, level: float) -> None:
    """Es/N0 of cells of unit energy, however strong the burst is: the loss over WAV is under 0.3 dB."""
    k, errors = 640, {}
    for channel in (OnAir(), AWGN()):
        burst = burst_of(4, k, snr_db)
        sent = level * burst.symbols
        received = channel(Burst(sent, burst.budget), seed=3)
        errors[channel.name] = float((received.symbols - sent).abs().square().mean())
        assert float(received.noise_var.mean()) == pytest.approx(errors[channel.name], rel=0.25)
    assert abs(10 * np.log10(errors["on-air"] / errors["awgn"])) < 0.45  # 0.3 and what 2560 symbols leave to chance


def test_spare_cells_are_used() -> None:
    """64 symbols have 80 cells: 1 dB."""
    received = OnAir()(burst_of(6, 64, 6.0), seed=0)
    assert float(received.noise_var.mean()) == pytest.approx(10**-0.6 * 64 / 80, rel=0.12)


def test_uses_are_all_cells() -> None:
    assert OnAir().uses(640) == WIDTH * rows_of(640) == 48 * 28 == Recording.uses(OnAir(), 640)
    for k in (0, (1 << 20) + 1):
        with pytest.raises(BadInput):
            OnAir().uses(k)


def test_what_nobody_can_read_says_nothing() -> None:
    received = OnAir()(burst_of(2, 40, -25.0), seed=0).check()
    assert not received.symbols.any() and bool((received.noise_var == MOST_NOISE).all())


def test_a_burst_of_zeros_and_one_of_much_power() -> None:
    quiet = OnAir()(Burst(torch.zeros(1, 40, dtype=torch.complex64), Budget(40, 10.0)))
    assert float(quiet.symbols.abs().square().mean()) < 0.3
    loud = burst_of(1, 40)
    received = OnAir()(Burst(30 * loud.symbols, loud.budget))
    assert float((received.symbols / 30 - loud.symbols).abs().square().mean()) < 0.1


@pytest.mark.parametrize("rate", [6_000, 8_000, 44_100, 0])
def test_a_rate_that_the_grid_does_not_have_is_refused(rate: int) -> None:
    with pytest.raises(BadInput, match="multiple of 6000"):
        OnAir(rate=rate)


def test_the_bandwidth_of_the_cells() -> None:
    assert pytest.approx(0.28, abs=0.005) == CELLS_TO_2400_HZ


def test_a_system_keeps_its_laws_over_it() -> None:
    check_system(sc.load("linear"), channel=OnAir(), symbols=[64])


# ---- Recording -------------------------------------------------------------------------------------------------------


def test_a_recording_is_a_channel(tmp_path: Path) -> None:
    """Bursts are found by what they carry, in whatever order they were sent."""
    bursts = [gauss(80, seed) for seed in range(3)]
    channel = sc.Recording(recording(tmp_path / "a.wav", *bursts[::-1]))
    assert isinstance(channel, Channel) and "a.wav" in repr(channel) and len(channel.captures) == 3
    received = channel(burst_of(3, 80)).check()
    assert float((received.symbols - burst_of(3, 80).symbols).abs().square().mean()) < 0.03
    assert float(received.noise_var.mean()) < 0.03
    assert channel.uses(80) == OnAir().uses(80)


def test_what_a_recording_does_not_hold_did_not_come(tmp_path: Path) -> None:
    channel = Recording(recording(tmp_path / "a.wav", gauss(80, 0)))
    for symbols in (gauss(80, 7), -gauss(80, 0), gauss(40, 0)):  # another, its negative, another k
        received = channel(Burst(torch.from_numpy(symbols.astype(np.complex64))[None], Budget(len(symbols), 10.0)))
        assert not received.symbols.any() and bool((received.noise_var == MOST_NOISE).all())


def test_a_recording_of_a_software_radio(tmp_path: Path) -> None:
    pytest.importorskip("sigmf")
    samples, rate, _ = to_iq([to_wave(gauss(80), header_of(80), oversampling=4)], spacing_hz=375.0, oversampling=4)
    noisy = samples + 1e-2 * gauss(len(samples))
    write_iq(tmp_path / "said.sigmf-meta", noisy, rate, spacing_hz=375.0)
    write_iq(tmp_path / "unsaid.sigmf-meta", noisy, rate)
    sent = burst_of(1, 80)
    for channel in (Recording(tmp_path / "said.sigmf-meta"), Recording(tmp_path / "unsaid.sigmf-meta", spacing_hz=375.0)):
        assert float((channel(sent).symbols - sent.symbols).abs().square().mean()) < 0.02
    assert not Recording(tmp_path / "unsaid.sigmf-meta").captures


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="cannot be read"):
        Recording(tmp_path / "nowhere.wav")
    (tmp_path / "text.wav").write_text("no sound at all, but some text")
    with pytest.raises(Damaged, match="is not a sound"):
        Recording(tmp_path / "text.wav")


def test_symbols_that_say_nothing_are_zero() -> None:
    """An estimate with more noise than it is worth would mislead whoever averages variances."""
    from on_air import hear, sound_of

    (capture,) = hear(sound_of(gauss(40)))
    capture.noise_var[:10] = 1e6
    received = to_received(capture, Budget(40, 10.0))
    assert not received.symbols[0, :10].any() and bool((received.noise_var[0, :10] == MOST_NOISE).all())
    assert bool(received.symbols[0, 10:].all())


def test_results_know_one_recording_from_another(tmp_path: Path) -> None:
    """Before and after it was read, by where it is."""
    path = recording(tmp_path / "a.wav", gauss(40))
    channel = Recording(path)
    before = describe_channel(channel)
    assert len(channel.captures) == 1 and describe_channel(channel) == before
    assert before == {"channel": "recording", "fading": f"path={path}", "pilots": 0}
    faded = describe_channel(OnAir(path=Simulator(channel="watterson-poor")))
    assert faded == {"channel": "on-air:watterson-poor", "fading": None, "pilots": 0}
    assert describe_channel(OnAir(headroom_db=5))["fading"] == "headroom_db=5"


# ---- the bench -------------------------------------------------------------------------------------------------------


def test_the_bench_runs_on_both(tmp_path: Path) -> None:
    """What a system measures over a recording of its own bursts is what it measures over the air."""
    system, metrics = Mosaic(), Metrics({}, None, [])
    photos = [np.random.default_rng(seed).integers(0, 255, (256, 256, 3), np.uint8) for seed in range(2)]
    for seed, photo in enumerate(photos):
        photo[: 128 * seed] //= 3
    pictures = [open_photo(photo, f"photo {i}").whole() for i, photo in enumerate(photos)]
    sent = [system.encode(picture, Budget(64, 20.0)).symbols[0].detach() for picture in pictures]
    bursts = [symbols.numpy().astype(complex) for symbols in sent]
    heard = Recording(recording(tmp_path / "a.wav", *bursts))
    channels, out = [OnAir(), AWGN(), heard], tmp_path / "r.jsonl"
    table = sc.evaluate(system, pictures, channels=channels, snr_db=[20.0], symbols=[64], metrics=metrics, out=out)
    values: dict[str, list[float]] = {}
    for record in table.records:
        values.setdefault(record.channel, []).append(record.psnr_db)
    assert set(values) == {"on-air", "awgn", "recording"}
    for channel in ("on-air", "recording"):
        assert np.mean(values[channel]) == pytest.approx(np.mean(values["awgn"]), abs=0.5)
