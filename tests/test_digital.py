"""Codecs over 5G LDPC and QAM: real bytes that decode, the cliff, and what happens when nothing fits or arrives."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, features
from torch import Tensor

pytest.importorskip("sionna")

from semcast.api import SYSTEMS, load
from semcast.bench.sweep import fingerprint
from semcast.channels import make_channel
from semcast.cli import main
from semcast.errors import BadInput, DoesNotFit, SemcastError
from semcast.link import Budget, Received, Reception
from semcast.metrics.pixel import psnr_db
from semcast.photos import Photo, to_tensor, to_uint8
from semcast.rivals.digital import DigitalSystem, at_capacity, capacity_bytes, mean_face
from semcast.rivals.formats import FORMATS
from semcast.rivals.modem import Modem, scheme_named, threshold_db
from semcast.rivals.photo_codecs import CODECS, SIDES, PhotoCodec, load_codec


@pytest.fixture(scope="module")
def photo() -> Photo:
    return np.ascontiguousarray(skimage.data.astronaut()[:256, 90:346])


@pytest.fixture(scope="module")
def face(photo: Photo) -> Tensor:
    return to_tensor(photo)


@pytest.fixture(scope="module", params=CODECS)
def codec(request: pytest.FixtureRequest) -> PhotoCodec:
    if request.param == "hevc":
        pytest.importorskip("pillow_heif")
    if request.param == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    return load_codec(request.param)


@pytest.fixture(scope="module")
def webp() -> DigitalSystem:
    system = load("webp", device="cpu")
    assert isinstance(system, DigitalSystem)
    return system


def error(one: Photo, two: Photo) -> float:
    return float(np.square(one.astype(float) - two).mean())


def send(system: DigitalSystem, face: Tensor, k: int, snr: float, seed: int = 0, expected: float | None = None) -> Reception:
    draw = make_channel("awgn").draw(len(face), k, snr, torch.Generator().manual_seed(seed))
    return system(face, draw, Budget(k, snr if expected is None else expected))


# ---- codecs ----------------------------------------------------------------------------------------------------------


def test_the_very_file_is_restored(codec: PhotoCodec, photo: Photo) -> None:
    form = FORMATS[codec.name]
    for size in ((256, 256), (96, 96), (352, 240), (71, 33), (32, 32)):
        picture = Image.fromarray(photo).resize(size)
        qualities = form.qualities(size)
        for quality in qualities[:: len(qualities) // 3]:
            file = form.encode(picture, quality)
            sent = form.strip(file, quality)
            assert form.restore(sent, size) == file
            assert len(file) - len(sent) >= 27  # WebP has the least to leave out
    if codec.name != "hevc":
        assert Image.open(io.BytesIO(file)).size == (32, 32)


@pytest.mark.parametrize("size", [(352, 240), (71, 133), (32, 32)])
def test_photos_of_any_size_keep_it(codec: PhotoCodec, photo: Photo, size: tuple[int, int]) -> None:
    given = np.asarray(Image.fromarray(photo).resize(size))
    stream = codec.compress(given, 1500)
    shown = codec.decompress(stream)
    assert len(stream) <= 1500 and shown.shape == given.shape and error(given, shown) < 400
    assert codec.compress(photo, 1500)[0] < len(SIDES)  # of the usual size nothing is said
    with pytest.raises(DoesNotFit, match="cannot code a photo in 6 bytes, not even at"):
        codec.compress(given, 6)


def test_kodak(shared: Path, photo: Photo) -> None:
    for name in ("kodim01.png", "kodim04.png"):  # a wide one and a tall one; all 24 through all five codecs take an hour
        path = shared / "data" / "kodak" / name
        if not path.exists():
            pytest.skip("needs Kodak's photos")
        given = np.asarray(Image.open(path).convert("RGB"))
        for codec in map(load_codec, ("jpeg", "webp")):
            stream = codec.compress(given, 6000)
            assert len(stream) <= 6000 and codec.decompress(stream).shape == given.shape


def test_more_bytes_show_more(codec: PhotoCodec, photo: Photo) -> None:
    errors = []
    for room in (150, 2000):
        stream = codec.compress(photo, room)
        assert room * 0.7 < len(stream) <= room
        shown = codec.decompress(stream)
        assert shown.shape == photo.shape and shown.dtype == np.uint8
        errors.append(error(photo, shown))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 150 < errors[0]


def test_photos_are_coded_smaller_where_the_full_size_cannot_fit(photo: Photo) -> None:
    jpeg = load_codec("jpeg")
    assert [SIDES[jpeg.compress(photo, room)[0]] for room in (100, 5000)] == [32, 192]


def test_where_nothing_fits(codec: PhotoCodec, photo: Photo) -> None:
    with pytest.raises(SemcastError, match=f"{codec.name} cannot code a photo in 10 bytes, not even at 32 x 32"):
        codec.compress(photo, 10)
    for wrong in (photo[..., 0], photo.astype(float), photo[:0]):
        with pytest.raises(BadInput, match="uint8 .height, width, 3."):
            codec.compress(wrong, 1000)
    with pytest.raises(BadInput, match="up to 16 megapixels here, not 8192 x 4096 pixels"):
        codec.compress(np.broadcast_to(photo[:1, :1], (4096, 8192, 3)), 1000)


def test_damaged_streams_never_crash(codec: PhotoCodec, photo: Photo) -> None:
    whole = codec.compress(photo, 400)
    random = np.random.default_rng(0)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x55
    damaged = [b"", whole[:1], whole[:2], whole[:40], bytes(flipped), bytes([200]) + whole[1:]]
    damaged += [bytes([random.integers(len(SIDES))]) + random.bytes(60) for _ in range(10)]
    damaged += [b"\x80" + size + whole[1:] for size in (b"\x00\x00", b"\xff", b"\xff\xff\xff\x7f" * 2)]
    for stream in damaged:
        try:
            assert codec.decompress(stream).shape == photo.shape
        except SemcastError as refusal:
            assert "damaged" in str(refusal)


# ---- systems ---------------------------------------------------------------------------------------------------------


def test_photos_arrive(codec: PhotoCodec, face: Tensor) -> None:
    system = load(codec.name, device="cpu")
    assert codec.name in SYSTEMS and system.name == codec.name
    few, many = (send(system, face, 640, snr) for snr in (8.0, 18.0))
    assert bool(few.ok.all()) and few.reason == ""
    assert few.image.shape == face.shape and few.image.dtype == torch.float32
    assert float(psnr_db(face, mean_face()[None])) < float(psnr_db(face, few.image)) < float(psnr_db(face, many.image))


def test_bursts_are_full_and_have_unit_power(webp: DigitalSystem, face: Tensor) -> None:
    for k, snr in ((4, 5.0), (64, 0.0), (64, 20.0), (640, 5.0), (2000, 15.0)):
        burst = webp.encode(face, Budget(k, snr))
        assert burst.symbols.shape == (1, k) and burst.side_bytes == 0
        assert float(burst.symbols.abs().min()) > 0
        assert float(burst.symbols.abs().square().mean()) == pytest.approx(1, abs=4 * 0.6 / k**0.5)


def test_the_cliff(webp: DigitalSystem, photo: Photo, face: Tensor) -> None:
    """A fixed scheme shows exactly what was coded above its threshold and nothing below; what it shows never improves."""
    system = load("webp:16qam-1/2", device="cpu")
    assert system.name == "webp:16qam-1/2"
    edge = threshold_db(scheme_named("16qam-1/2"), 640)
    above, far, below = (send(system, face, 640, snr) for snr in (edge + 1, edge + 20, edge - 3))
    room = Modem(scheme_named("16qam-1/2")).payload_bytes(640)
    coded = webp.codec.decompress(webp.codec.compress(photo, room - 1))
    assert bool(above.ok.all()) and np.array_equal(to_uint8(above.image), coded)
    assert torch.equal(above.image, far.image)
    assert not below.ok.any() and torch.equal(below.image[0], mean_face())
    assert "CRC" in below.reason
    assert above.reason == ""
    modem = system.modem(Budget(640, edge + 1))
    assert modem is not None and modem.scheme.name == "16qam-1/2"


def test_where_no_photo_fits_it_says_so(webp: DigitalSystem, face: Tensor) -> None:
    shown = send(webp, face, 64, 10.0)
    assert not shown.ok.any() and torch.equal(shown.image[0], mean_face())
    assert shown.reason == "webp cannot code a photo in the 16 bytes that fit"
    shown = send(webp, face, 4, 10.0)
    assert not shown.ok.any() and "too few" in shown.reason


def test_each_photo_of_a_batch_stands_alone(webp: DigitalSystem, face: Tensor) -> None:
    both = torch.cat((face, face.flip(-1)))
    budget = Budget(640, 10.0)
    burst = webp.encode(both, budget)
    noise = torch.full(burst.symbols.shape, 0.05)
    burst.symbols[1, :300] *= -1
    shown = webp.decode(Received(burst.symbols, noise, budget))
    assert shown.ok.tolist() == [True, False]
    assert torch.equal(shown.image[0], send(webp, face, 640, 10.0).image[0])
    assert torch.equal(shown.image[1], mean_face())


def test_another_size_is_agreed_on(webp: DigitalSystem, face: Tensor) -> None:
    wide = face[:, :, 40:200].contiguous()
    arrived, lost = (send(webp, wide, k, 10.0) for k in (640, 64))
    assert arrived.ok.all() and arrived.image.shape == wide.shape
    assert float(psnr_db(wide, arrived.image)) > 20
    assert not lost.ok.any() and lost.image.shape == wide.shape
    with pytest.raises(BadInput, match="256 x 256 pixels, not 256 x 160"):
        load("rl-asc", device="cpu").encode(wide, Budget(640, 10.0))


def test_fading_is_outage(face: Tensor) -> None:
    """One scheme for the average SNR: block Rayleigh loses the bursts in a fade, P(|h|² < edge / SNR) of them."""
    system = load("jpeg:qpsk-1/2", device="cpu")
    over = make_channel("rayleigh", pilots=8)
    budget = Budget(632, 10.0)
    assert over.uses(632) == 640
    draw = over.draw(60, 632, 10.0, torch.Generator().manual_seed(0))
    burst = system.encode(face, budget)
    many = type(burst)(burst.symbols.expand(60, -1), budget)
    shown = system.decode(draw(many))
    edge = 10 ** ((threshold_db(scheme_named("qpsk-1/2"), budget.symbols) - 10.0) / 10)
    outage = 1 - np.exp(-edge)
    assert abs(float((~shown.ok).float().mean()) - outage) < 4 * (outage * (1 - outage) / 60) ** 0.5


def test_capacity_is_a_bound(webp: DigitalSystem, photo: Photo, face: Tensor) -> None:
    assert capacity_bytes(640, 10.0) == 276
    bound = at_capacity(webp.codec, photo, 640, 10.0)
    assert error(photo, bound) <= error(photo, to_uint8(send(webp, face, 640, 10.0).image))
    with pytest.raises(SemcastError, match="cannot code a photo"):
        at_capacity(webp.codec, photo, 64, 0.0)


def test_names() -> None:
    for name, words in (
        ("bpg", "unknown system 'bpg'; known: .*avif"),
        ("linear:16qam-1/2", "unknown system"),
        ("jpeg:", "unknown modulation.*16qam-1/2"),
        ("jpeg:16qam-9/8", "unknown modulation and code rate '16qam-9/8'; the known are bpsk-1/5"),
    ):
        with pytest.raises(SemcastError, match=words):
            load(name, device="cpu")
    with pytest.raises(SemcastError, match="care belongs to linear-gan, not to jpeg"):
        load("jpeg", care="face", device="cpu")
    with pytest.raises(SemcastError, match="unknown codec"):
        load_codec("bpg")


def test_results_tell_codecs_apart(webp: DigitalSystem) -> None:
    assert fingerprint(webp) == fingerprint(load("webp", device="cpu")) != fingerprint(load("jpeg", device="cpu"))


def test_from_the_command_line(tmp_path: Path, photo: Photo, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(photo).save(tmp_path / "me.png")
    common = [str(tmp_path / "me.png"), "--aligned"]
    with pytest.raises(SystemExit) as end:
        main(["transmit", *common, "--system", "webp", "--symbols", "64", "-o", str(tmp_path / "r.png"), "--json"])
    out, err = capsys.readouterr()
    values = json.loads(out)
    assert end.value.code == 0 and not values["ok"] and "cannot code a photo" in values["reason"] in err
    with pytest.raises(SystemExit) as end:
        main(["evaluate", *common, "--systems", "webp,jpeg:qpsk-1/2", "--symbols", "640", "--snr", "-5,10", "-o",
              str(tmp_path / "r.jsonl")])  # fmt: skip
    records = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert end.value.code == 0
    assert [(r["system"], r["snr_db"], r["ok"]) for r in records] == [
        ("webp", -5.0, False), ("jpeg:qpsk-1/2", -5.0, False), ("webp", 10.0, True), ("jpeg:qpsk-1/2", 10.0, True),
    ]  # fmt: skip
    assert records[0]["weights"] != records[1]["weights"]
    with pytest.raises(SystemExit) as end:
        main(["evaluate", *common, "--systems", "webp:64qam", "-o", str(tmp_path / "x.jsonl")])
    assert end.value.code == 2 and "16qam-1/2" in capsys.readouterr().err
