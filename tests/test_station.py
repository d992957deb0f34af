"""A station: any system's photo goes on the air and comes back as a picture that says what it is worth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from conftest import Mosaic
from on_air import hear, sound_of

import semcast as sc
from semcast.link import Budget, Burst, Received, Reception, System
from semcast.onair.files import write_sound
from semcast.onair.header import Header
from semcast.onair.iq import Iq
from semcast.onair.simulate import Simulator
from semcast.privacy.parts import PartChoice
from semcast.rivals.modem import SCHEMES
from semcast.station import NUMBERS, REPLACED, Station, header_of, spacing_of
from semcast.station.maps import draw_map, received_share
from semcast.station.numbers import model_of, replaced_of
from semcast.station.receiving import TRUSTED_SHARE
from semcast.trust import Trust

SCHEMES_OF_VERSION_1 = [
    "bpsk-1/5", "bpsk-1/3", "bpsk-1/2", "qpsk-1/3", "qpsk-1/2", "qpsk-2/3", "qpsk-3/4", "qpsk-5/6", "16qam-1/3", "16qam-1/2",
    "16qam-2/3", "16qam-3/4", "16qam-5/6", "64qam-1/2", "64qam-2/3", "64qam-3/4", "64qam-5/6", "256qam-2/3", "256qam-3/4",
    "256qam-5/6",
]  # fmt: skip


@pytest.fixture(scope="module")
def face() -> sc.Picture:
    return sc.photo(skimage.data.astronaut(), "astronaut").face()


@pytest.fixture(scope="module")
def linear() -> System:
    return sc.load("linear")


@pytest.fixture(scope="module")
def station(linear: System) -> Station:
    return Station("cpu", {"linear": linear})


@pytest.fixture(scope="module")
def safe(linear: System) -> System:
    return sc.protect(linear, sc.Blind("eyes"))


class Played:
    """Samples in memory, as a recording."""

    name, is_complex, channels, spacing_hz = "what was played", False, 1, None

    def __init__(self, samples: np.ndarray, rate: float = 48_000) -> None:
        self.samples, self.rate, self.frames = np.asarray(samples, np.float32), rate, len(samples)
        self.notes: list[str] = []

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        for at in range(0, len(self.samples), frames):
            yield self.samples[at : at + frames, None]


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_numbers_on_the_air_do_not_change() -> None:
    """Headers of bursts that were recorded carry them: one may be added at the end, none may move."""
    assert list(NUMBERS.items()) == [
        ("generative", 1), ("linear", 2), ("linear-gan", 3), ("sketch", 4), ("deepjscc", 5), ("deepjscc-perceptual", 6),
        ("rl-asc", 16), ("rl-asc:street", 17), ("jpeg", 18), ("jpeg2000", 19), ("webp", 20), ("avif", 21), ("hevc", 22),
    ]  # fmt: skip
    assert len(set(NUMBERS.values())) == len(NUMBERS) and all(0 < number < 32 for number in NUMBERS.values())
    assert REPLACED == ((), ("eyes",), ("hair",), ("eyes", "hair"), ("mouth",), ("glasses",), ("background",))


def test_schemes_on_the_air_do_not_change() -> None:
    """A header carries 1 + their index."""
    assert [scheme.name for scheme in SCHEMES] == SCHEMES_OF_VERSION_1
    assert len(SCHEMES) < 32


@pytest.mark.parametrize("name", ["generative", "linear", "linear-gan", "sketch"])
def test_a_header_names_the_system_and_its_weights(name: str) -> None:
    system = sc.load(name)
    header = header_of(system, Budget(64, 7.3))
    assert (header.system, header.symbols, header.snr_db, header.analog) == (NUMBERS[name], 64, 7.5, True)
    assert f"{header.model:04x}" == system.fingerprint()[:4] and header.flags == 0


def test_what_was_replaced_is_in_the_header(safe: System) -> None:
    header = header_of(safe, Budget(64, 10.0))
    assert header.flags == 1 and header.replaced and replaced_of(header) == ("eyes",)
    assert replaced_of(replace(header, flags=7)) == ("others",) and replaced_of(replace(header, flags=0)) == ()
    for parts in REPLACED[1:]:  # as they are written in whatever order
        assert PartChoice.parse(",".join(parts[::-1])).parts == parts


class Nobody(System):
    """Has no number."""

    image_size = 256

    def encode(self, image, budget):
        return Burst(torch.ones(len(image), budget.symbols, dtype=torch.complex64), budget)

    def decode(self, received):
        return Reception(torch.full((1, 3, 256, 256), 0.5), torch.ones(1, dtype=torch.bool))


def test_who_has_no_number_cannot_send(face: sc.Picture) -> None:
    with pytest.raises(sc.BadInput, match="nobody has no number on the air: the known are generative"):
        sc.send(Nobody(), face, Budget(64, 10.0))


def test_bandwidths() -> None:
    assert [spacing_of(name) / spacing_of("2.4k") for name in ("4.8k", "19.2k", "153.6k")] == [2, 8, 64]
    for wrong in ("2k", "2.4", "", "2.4K", "-2.4k"):
        with pytest.raises(sc.BadInput, match=r"a bandwidth is one of 2\.4k, 4\.8k"):
            spacing_of(wrong)


# ---- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [64, 640])
def test_a_face_crosses_as_over_a_simulated_channel(face: sc.Picture, linear: System, station: Station, k: int) -> None:
    budget = Budget(k, 10.0)
    signal = sc.send(linear, face, budget)
    assert isinstance(signal, sc.Signal) and signal.seconds < {64: 0.45, 640: 0.85}[k] and signal.papr_db < 10
    assert signal.sound().dtype == np.float32 and np.abs(signal.sound()).max() == pytest.approx(10**-0.15, abs=1e-4)
    heard_sound = Simulator(snr_db=10, offset_hz=31, ppm=-60, seed=1).apply(signal.sound(), 48_000)
    (heard,) = sc.receive(Played(heard_sound), station)
    assert isinstance(heard, sc.Heard) and heard.ok and heard.name == "linear" and heard.budget.symbols == k
    ideal = linear.decode(sc.AWGN()(linear.encode(face, budget), seed=1))
    assert psnr(heard.reception.image, face.tensor) > psnr(ideal.image, face.tensor) - 0.6
    said = heard.describe()
    assert said["system"] == "linear" and said["symbols"] == k and said["ok"] and said["reason"] == "" and said["share"] == 1
    assert said["offset_hz"] == pytest.approx(31, abs=0.5) and said["clock_ppm"] == pytest.approx(-60, abs=40)
    assert said["replaced"] == [] and said["scheme"] is None and said["design_snr_db"] == 10


def test_several_photos_are_several_bursts(face: sc.Picture, linear: System, station: Station) -> None:
    first, second = sc.send(linear, face, Budget(64, 10.0)), sc.send(linear, 1 - face.tensor, Budget(100, 10.0))
    signal = first + second
    assert signal.seconds == pytest.approx(first.seconds + second.seconds)
    one, two = sc.receive(Played(signal.sound()), station)
    assert (one.budget.symbols, two.budget.symbols) == (64, 100)
    assert psnr(one.reception.image, face.tensor) > 14 and psnr(two.reception.image, 1 - face.tensor) > 10


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.sigmf-meta", "b.sigmf-meta"])
def test_files(face: sc.Picture, linear: System, station: Station, name: str, tmp_path: Path) -> None:
    if name.endswith(".flac"):
        pytest.importorskip("soundfile")
    if name.endswith("meta"):
        pytest.importorskip("sigmf")
    signal, path = sc.send(linear, face, Budget(64, 10.0)), tmp_path / name
    signal.save(path, spacing_hz=spacing_of("19.2k") if name == "b.sigmf-meta" else None)
    (heard,) = sc.receive(path, station)
    assert psnr(heard.reception.image, face.tensor) > 14
    if name == "b.sigmf-meta":
        iq = Iq(path)
        assert iq.spacing_hz == spacing_of("19.2k") and heard.capture.seconds < 0.05
        (note,) = iq._file.get_annotations()
        assert note["core:label"] == "semcast" and note["core:freq_upper_edge"] - note["core:freq_lower_edge"] == 49 * 375
        assert note["core:sample_count"] / iq.rate == pytest.approx(signal.seconds / 8, rel=0.01)
    with pytest.raises(sc.BadInput, match=r"sound has 2\.4 kHz"):
        signal.save(tmp_path / "c.wav", spacing_hz=375.0)


def test_bytes_cross_too(face: sc.Picture) -> None:
    """The scheme comes from the header; a burst that is lost says so and shows no face that it did not receive."""
    pytest.importorskip("sionna")
    link = sc.load("avif")
    signal, station = sc.send(link, face, Budget(1024, 12.0)), Station("cpu")
    (header,) = signal.headers
    assert header.scheme and not header.analog and header.model == 0
    (heard,) = sc.receive(Played(Simulator(snr_db=14).apply(signal.sound(), 48_000)), station)
    assert heard.ok and heard.name == "avif" and heard.describe()["scheme"] == SCHEMES[header.scheme - 1].name
    sent = link.decode(Received(link.encode(face, Budget(1024, header.snr_db)).symbols, torch.full((1, 1024), 0.01),
                                Budget(1024, header.snr_db, (256, 256))))  # fmt: skip
    assert torch.equal(heard.reception.image, sent.image)
    (lost,) = sc.receive(Played(Simulator(snr_db=0, seed=2).apply(signal.sound(), 48_000)), station)
    assert not lost.ok and "CRC" in lost.reason
    share = received_share(heard.system, heard_received(heard))
    assert share.shape == (1, 1, 256, 256) and bool((share == 1).all())
    assert not received_share(lost.system, heard_received(lost)).any()


def heard_received(heard: sc.Heard) -> Received:
    from semcast.onair.channel import to_received

    return to_received(heard.capture, heard.budget)


def test_what_is_not_256_pixels_is_refused(linear: System) -> None:
    for shape in ((1, 3, 128, 128), (2, 3, 256, 256), (3, 256, 256)):
        with pytest.raises(sc.BadInput, match=r"on the air photos are \[1, 3, 256, 256\]"):
            sc.send(linear, torch.rand(shape), Budget(64, 10.0))
    with pytest.raises(sc.DoesNotFit):
        sc.send(linear, torch.rand(1, 3, 256, 256), Budget(10_000, 10.0))


def test_the_design_snr_is_that_of_the_header(face: sc.Picture, linear: System) -> None:
    """A receiver knows halves of a dB: the transmitter designs for what the header can say."""
    for given, said in ((7.3, 7.5), (-30.0, -10.0), (60.0, 53.5)):
        (header,) = sc.send(linear, face, Budget(64, given)).headers
        assert header.snr_db == said


# ---- what cannot be trusted ------------------------------------------------------------------------------------------


def made_of(header: Header, station: Station) -> sc.Heard:
    """What a station makes of a burst that says this of itself."""
    (capture,) = hear(sound_of(np.ones(40, complex)))
    symbols, noise = np.ones(header.symbols, complex), np.full(header.symbols, 0.01)
    return station.show(replace(capture, header=header, symbols=symbols, noise_var=noise))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"system": 31}, "a burst of system 31, which this semcast does not know: a newer one may"),
        ({"system": 21, "scheme": 31}, "a burst of modulation 31, which this semcast does not know"),
        ({"system": 2, "scheme": 3}, "a burst of linear whose symbols are of the wrong kind"),
        ({"system": 21, "scheme": 0}, "a burst of avif whose symbols are of the wrong kind"),
        ({"system": 2, "model": 0xDEAD}, "a burst made by other weights of linear: dead, here are"),
        ({"system": 2, "symbols": 1 << 20}, "linear works with"),
    ],
)
def test_what_a_header_asks_in_vain_is_a_sentence(fields: dict[str, int], says: str, linear: System, station: Station) -> None:
    header = Header(**({"symbols": 64, "system": 2, "model": model_of(linear), "snr_db": 10.0} | fields))
    heard = made_of(header, station)
    assert heard.reception is None and heard.system is None and not heard.ok and heard.mark() is None
    assert says in heard.reason and "\n" not in heard.reason and heard.describe()["reason"] == heard.reason


def test_a_system_that_is_not_installed_is_a_sentence(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **options: object) -> System:
        raise sc.Missing("5G LDPC and QAM need Sionna: pip install 'semcast[digital]'")

    monkeypatch.setattr("semcast.api.load", missing)
    heard = made_of(Header(64, NUMBERS["avif"], 0, 10.0, scheme=3), Station("cpu"))
    assert heard.reception is None and "pip install" in heard.reason


def test_a_bad_burst_is_shown_and_marked(
    face: sc.Picture, linear: System, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semcast.trust.find_trust", lambda system: Trust(700.0, ""))
    signal = sc.send(linear, face, Budget(640, 10.0)).sound()
    (noisy,) = sc.receive(Played(Simulator(snr_db=-2, seed=4).apply(signal, 48_000)), station)
    assert noisy.reception is not None and not noisy.ok and "bits came" in noisy.reason
    (cut,) = sc.receive(Played(Simulator(snr_db=20, cut=0.6).apply(signal, 48_000)), station)
    assert cut.capture.share < TRUSTED_SHARE and "came" in cut.reason and not cut.ok
    (half,) = sc.receive(Played(Simulator(snr_db=20, cut=0.3).apply(signal, 48_000)), station)
    assert half.ok and psnr(half.reception.image, face.tensor) > psnr(cut.reception.image, face.tensor)


def test_half_a_burst_still_shows_a_face(face: sc.Picture, linear: System, station: Station) -> None:
    signal = sc.send(linear, face, Budget(640, 10.0)).sound()
    (whole,) = sc.receive(Played(Simulator(snr_db=10, seed=1).apply(signal, 48_000)), station)
    for cut in ({"cut": 0.3}, {"cut_start": 0.3}):
        (heard,) = sc.receive(Played(Simulator(snr_db=10, seed=1, **cut).apply(signal, 48_000)), station)
        assert psnr(heard.reception.image, face.tensor) > psnr(whole.reception.image, face.tensor) - 1.5, cut


def test_the_powers_of_the_symbols_are_known(linear: System, station: Station) -> None:
    header = header_of(linear, Budget(640, 10.0))
    powers = station.powers(header)
    assert powers.shape == (640,) and (powers >= 0).all() and powers.mean() == pytest.approx(1, abs=0.05)
    assert powers[:64].sum() > powers[-64:].sum()
    assert station.powers(replace(header, system=31)) is None


def test_a_station_loads_a_system_once(monkeypatch: pytest.MonkeyPatch, linear: System) -> None:
    loaded = []
    monkeypatch.setattr("semcast.api.load", lambda name, **options: loaded.append(name) or linear)
    station = Station("cpu")
    for _ in range(3):
        assert station.system(header_of(linear, Budget(64, 10.0))) is linear
    assert loaded == ["linear"]


# ---- marks and maps --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def painted(face: sc.Picture) -> tuple[System, sc.Heard]:
    system = sc.load("linear-gan")
    signal = sc.send(system, face, Budget(640, 10.0)).sound()
    (heard,) = sc.receive(Played(Simulator(snr_db=10).apply(signal, 48_000)), Station("cpu", {"linear-gan": system}))
    return system, heard


def test_a_picture_that_was_painted_says_so(painted: tuple[System, sc.Heard]) -> None:
    system, heard = painted
    mark = heard.mark()
    assert mark is not None and (mark.system, mark.symbols, mark.channel) == ("linear-gan", 640, "on-air")
    assert mark.snr_db == pytest.approx(10, abs=1) and mark.fingerprint == system.fingerprint()


def test_the_map_says_less_where_less_came(painted: tuple[System, sc.Heard]) -> None:
    """More was received of a whole burst than of a noisy one, and of that more than of nothing."""
    system, heard = painted
    received = heard_received(heard)
    whole = received_share(system, received)
    assert whole.shape == (1, 1, 256, 256) and whole.min() >= 0 and whole.max() <= 1 and 0.1 < whole.mean() < 1
    noisy = received_share(system, replace(received, noise_var=torch.full_like(received.noise_var, 2.0)))
    nothing = received_share(system, replace(received, noise_var=torch.full_like(received.noise_var, 10.0)))
    assert whole.mean() > noisy.mean() + 0.02 and noisy.mean() > nothing.mean() + 0.02
    assert nothing.mean() < 0.15


def test_the_map_of_a_learned_decoder(face: sc.Picture) -> None:
    system = Mosaic()
    with torch.no_grad():
        burst = system.encode(face, Budget(64, 10.0))
    good = Received(burst.symbols, torch.full((1, 64), 0.02), burst.budget)
    bad = Received(burst.symbols, torch.full((1, 64), 1.0), burst.budget)
    shares = [float(received_share(system, one).mean()) for one in (good, bad)]
    assert shares[0] > 0.8 and shares[1] < 0.35
    assert torch.equal(received_share(system, good), received_share(system, good)), "the map does not depend on luck"


def test_the_map_is_drawn_and_shows_what_was_replaced(face: sc.Picture, station: Station, safe: System) -> None:
    (heard,) = sc.receive(Played(sc.send(safe, face, Budget(640, 10.0)).sound()), station)
    assert replaced_of(heard.capture.header) == ("eyes",) and heard.describe()["replaced"] == ["eyes"]
    drawn = draw_map(heard)
    assert drawn.dtype == np.uint8 and drawn.shape[1] >= 512
    plain = draw_map(replace(heard, capture=replace(heard.capture, header=replace(heard.capture.header, flags=0))))
    violet = lambda picture: ((picture[..., 2] > picture[..., 1] + 40) & (picture[..., 0] > picture[..., 1] + 15)).sum()  # noqa: E731
    assert violet(drawn) > violet(plain) + 100
    others = draw_map(replace(heard, capture=replace(heard.capture, header=replace(heard.capture.header, flags=7))))
    assert others.shape == drawn.shape


def test_nothing_comes_of_what_holds_no_burst(station: Station, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    assert list(sc.receive(Played(0.1 * noise), station)) == []
    write_sound(tmp_path / "noise.wav", 0.1 * noise, 48_000)
    assert list(sc.receive(tmp_path / "noise.wav", station)) == []
    assert len(hear(sound_of(np.ones(40, complex)))) == 1
