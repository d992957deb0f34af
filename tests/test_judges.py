"""The judges that training never sees, what each recogniser accepts, skin tone, and metrics of images of any kind."""

from __future__ import annotations

import hashlib
import io
import math
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from test_metrics import noisy, pictures, tiny_onnx
from torch import Tensor

from semcast.errors import SemcastError
from semcast.metrics import efficientnet, fetch, perceptual, ssimulacra
from semcast.metrics.efficientnet import EfficientNet
from semcast.metrics.identity import KINDS, Identity, Kind, dlib_crop, kind_of
from semcast.metrics.kid import features, kid
from semcast.metrics.perceptual import Lpips, find_weights, missing
from semcast.metrics.pixel import ms_ssim, psnr_db
from semcast.metrics.report import NAMES, TRAINED_ON, Metrics
from semcast.metrics.ssimulacra import ssimulacra2
from semcast.metrics.tone import find_skin, ita, tabulate, thirds, to_lab, tone_error
from semcast.networks.segmenter import FaceParser


def judge() -> EfficientNet:
    found = EfficientNet.load()
    if found is None:
        pytest.skip(str(efficientnet.missing()))
    return found


# --- recognisers


def test_a_distance_is_measured_as_dlib_does(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    dlib = Identity(tiny_onnx(tmp_path / "dlib_resnet_tiny.onnx", side=150))
    a, b = pictures(3, 256), noisy(pictures(3, 256), 0.001)
    crop = dlib_crop(a)
    assert crop.shape == (3, 3, 150, 150) and torch.equal(crop, a[..., 80:230, 53:203])
    torch.testing.assert_close(dlib.embed(a), 255 * crop.flatten(1))
    distance = (dlib.embed(a) - dlib.embed(b)).norm(dim=1)
    torch.testing.assert_close(dlib.similarity(a, b), 1 - distance)
    torch.testing.assert_close(dlib.scores(dlib.embed(a), dlib.embed(b)).diag(), 1 - distance, rtol=1e-4, atol=1e-3)
    assert dlib.threshold == pytest.approx(0.4)
    assert dlib.verify(torch.tensor([1.0, 0.41, 0.39])).tolist() == [True, True, False]
    torch.testing.assert_close(dlib.features(a).norm(dim=1), torch.full((3,), crop[0].numel() ** 0.5))


def test_kinds_go_by_the_name_and_thresholds_belong_to_weights(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    expected = {"mobilefacenet_delldu": 0.40, "mobileface_v2": 0.47, "dlib_resnet_v1_face150": 0.60, "other": None}
    assert {name: kind_of(f"{name}.onnx").threshold for name in expected} == expected
    unknown = Identity(tiny_onnx(tmp_path / "other.onnx"))
    assert unknown.threshold is None and "no known threshold" in unknown.note
    with pytest.raises(SemcastError, match="no known threshold"):
        unknown.verify(torch.ones(1))
    told = Identity(tmp_path / "other.onnx", kind=Kind(112, KINDS["mobilefacenet"].crop, "cosine", 0.3))
    assert told.verify(torch.tensor([0.3, 0.29])).tolist() == [True, False]


def test_the_report_counts_who_is_accepted(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    names = ["mobilefacenet_tiny.onnx", "mobileface_v2_tiny.onnx", "dlib_resnet_tiny.onnx"]
    sides = (112, 112, 150)
    metrics = Metrics.load([tiny_onnx(tmp_path / name, side=side) for name, side in zip(names, sides, strict=True)], vgg=False)
    photo = pictures(2, 256)
    received = torch.cat((photo[:1], 1 - photo[1:]))
    values = metrics.measure(photo, received)
    assert list(values)[-6:] == ["identity", "identity_2", "identity_3", "verified", "verified_2", "verified_3"]
    assert values["verified_3"] == 0.5
    assert set(values) <= set(NAMES)
    assert metrics.notes[-1] == "dlib_resnet_tiny.onnx takes two faces for one person at a distance under 0.60 " \
        "(similarity is 1 - distance)"  # fmt: skip


def faces(shared: Path, count: int) -> Tensor:
    with tarfile.open(shared / "data" / "faces256" / "val-000.tar") as tar:
        names = sorted(name for name in tar.getnames() if name.endswith(".jpg"))[:count]
        found = [np.asarray(Image.open(io.BytesIO(tar.extractfile(n).read())).convert("RGB")) for n in names]  # type: ignore[union-attr]
    return torch.tensor(np.stack(found)).permute(0, 3, 1, 2).float() / 255


def test_dlib_accepts_the_same_face_and_few_strangers(shared: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = find_weights("dlib_resnet_v1_face150.onnx")
    if path is None:
        pytest.skip("dlib_resnet_v1_face150.onnx was not found")
    dlib, photos = Identity(path), faces(shared, 16)
    small = F.interpolate(F.avg_pool2d(photos, 4), (256, 256), mode="bilinear")
    assert float(dlib.verify(dlib.similarity(photos, small)).float().mean()) > 0.9
    embedded = dlib.embed(photos)
    strangers = dlib.scores(embedded, embedded)[~torch.eye(16, dtype=torch.bool)]
    assert float(dlib.verify(strangers).float().mean()) < 0.06


# --- EfficientNet


def test_the_distance_is_its_definition() -> None:
    net, a = judge(), pictures(2, 128)
    b = noisy(a, 0.1)
    assert [stage.shape[1] for stage in net.stages(a)] == [24, 40, 112, 320]
    assert [stage.shape[-1] for stage in net.stages(a)] == [32, 16, 8, 4]
    naive = [F.normalize(x, dim=1) - F.normalize(y, dim=1) for x, y in zip(net._run(a)[0], net._run(b)[0], strict=True)]
    expected = torch.stack([d.square().sum(1).mean((1, 2)) for d in naive]).mean(0)
    torch.testing.assert_close(net(a, b), expected, rtol=1e-4, atol=1e-5)
    assert float(net(a, a).abs().max()) == 0.0


def test_the_distance_rises_with_noise_and_blur_and_knows_colours_of_grey() -> None:
    net, a = judge(), pictures(2, 128)
    distances = [net(a, noisy(a, level)).mean() for level in (0.02, 0.1, 0.3)]
    assert distances[0] < distances[1] < distances[2]
    torch.testing.assert_close(net.features(a[:, :1]), net.features(a[:, :1].expand(-1, 3, -1, -1)))
    assert net.features(torch.rand(1, 3, 32, 45)).shape == (1, 1280)
    with pytest.raises(SemcastError, match="at least 32"):
        net.features(torch.rand(1, 3, 31, 45))
    assert not net.train().training and not any(p.requires_grad for p in net.parameters())


def test_it_is_the_published_network() -> None:
    """A cup of coffee is an espresso to ImageNet, as long as weights, normalisation and padding are right."""
    net, data = judge(), pytest.importorskip("skimage.data")
    photo = torch.from_numpy(data.coffee()[:400, 100:500]).permute(2, 0, 1)[None].float() / 255
    classes = net.network._fc(net.features(F.interpolate(photo, (224, 224), mode="area")))
    assert int(classes.argmax()) == 967 and float(classes.softmax(1).max()) > 0.8


def test_kid_takes_any_features() -> None:
    net = judge()
    photos, others = pictures(12, 64), pictures(12, 64, seed=3)
    x, y, z = (features(net, each.split(1)) for each in (photos, others, noisy(others, 0.3)))
    assert x.shape == (12, 1280) and kid(x, z) > kid(x, y) and kid(x, z) > 0


def test_absent_judges_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    assert EfficientNet.load() is None
    notes = Metrics.load(vgg=False, judges=True, ssimulacra2=True).notes
    assert sum("semcast[judges]" in note for note in notes) == 2
    with pytest.raises(SemcastError, match="judges"):
        ssimulacra2(torch.zeros(1, 3, 256, 256), torch.zeros(1, 3, 256, 256))


def test_ssimulacra2_falls_with_the_quality() -> None:
    pytest.importorskip("ssimulacra2")
    photo = torch.from_numpy(pytest.importorskip("skimage.data").astronaut()).permute(2, 0, 1)[None, :, :232, 130:370] / 255
    scores = [float(ssimulacra2(photo, noisy(photo, level))) for level in (0.0, 0.02, 0.1)]
    assert scores[0] == 100.0 and 100 > scores[1] > scores[2]
    with pytest.raises(SemcastError, match="225"):
        ssimulacra2(photo[..., :200], photo[..., :200])
    with pytest.raises(SemcastError, match="shape"):
        ssimulacra2(photo, photo[..., :230])


# --- skin tone


def test_lab_agrees_with_scikit_image() -> None:
    colour = pytest.importorskip("skimage.color")
    image = pictures(1, 24)
    expected = colour.rgb2lab(image[0].permute(1, 2, 0).double().numpy())
    np.testing.assert_allclose(to_lab(image)[0].permute(1, 2, 0).numpy(), expected, atol=0.02)


def test_ita_is_its_formula_and_the_error_is_an_angle() -> None:
    colour = pytest.importorskip("skimage.color")
    skin = torch.tensor([[0.87, 0.72, 0.62], [0.45, 0.30, 0.22]]).view(2, 3, 1, 1).expand(2, 3, 16, 16)
    mask = torch.ones(2, 16, 16, dtype=torch.bool)
    for angle, tone in zip(ita(skin, mask), skin[:, :, 0, 0], strict=True):
        lightness, _, yellow = colour.rgb2lab(tone.numpy())
        assert float(angle) == pytest.approx(math.degrees(math.atan2(lightness - 50, yellow)), abs=0.05)
    assert float(ita(skin, mask)[0]) > 41 and float(ita(skin, mask)[1]) < 10
    lighter = (skin * 1.1).clamp(0, 1)
    error = tone_error(skin, lighter, mask)
    torch.testing.assert_close(error, (ita(lighter, mask) - ita(skin, mask)).abs())
    assert float(tone_error(skin, skin, mask).max()) == 0.0
    mask[1, 4:] = False
    mask[1, :, 15:] = False
    assert bool(ita(skin, mask).isnan()[1]) and not bool(ita(skin, mask).isnan()[0])
    with pytest.raises(SemcastError, match="mask"):
        ita(skin, mask[:1])
    with pytest.raises(SemcastError, match="colour"):
        ita(skin[:, :1], mask)


def test_only_the_skin_counts() -> None:
    photo, skin = pictures(1, 32), torch.zeros(1, 32, 32, dtype=torch.bool)
    skin[:, 8:24, 8:24] = True
    changed = photo.clone()
    changed[..., :8, :] = 0.0
    assert float(tone_error(photo, changed, skin)) == 0.0


def test_thirds_and_their_ratio() -> None:
    tone = [50.0, 10.0, 30.0, float("nan"), 55.0, 12.0, 33.0]
    assert thirds(tone).tolist() == [2, 0, 1, -1, 2, 0, 1]
    rows = tabulate(tone, {"tone_error": [2, 6, 3, 9, 2, 6, 3], "identity": [0.6, 0.3, 0.6, 0.9, 0.6, float("nan"), 0.6]})
    assert rows[0].means == (6.0, 3.0, 2.0) and rows[0].ratio == 3.0 and rows[0].worst == "darkest third"
    assert rows[1].means == pytest.approx((0.3, 0.6, 0.6)) and rows[1].ratio == pytest.approx(2.0)
    assert rows[1].worst == "darkest third"
    assert math.isnan(tabulate(tone, {"identity": [-0.1] * 7})[0].ratio)
    with pytest.raises(SemcastError, match="three photos"):
        tabulate([1.0, float("nan"), 2.0], {})
    with pytest.raises(SemcastError, match="one number a photo"):
        tabulate(tone, {"identity": [1.0]})


def test_the_parser_finds_skin_on_faces(shared: Path) -> None:
    photos = faces(shared, 6)
    skin = find_skin(photos, FaceParser.load())
    assert bool((skin.float().mean((1, 2)) > 0.1).all())
    assert bool(torch.isfinite(ita(photos, skin)).all())
    assert float(tone_error(photos, (photos * 1.15).clamp(0, 1), skin).mean()) > 2


# --- any image


def test_small_grey_and_odd_images_get_what_fits_and_one_sentence_each(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    metrics = Metrics.load([tiny_onnx(tmp_path / "tiny.onnx")], vgg=False, judges=True, ssimulacra2=True)
    sizes = [(1, 8, 9), (1, 32, 32), (3, 100, 64), (3, 240, 226)]
    for channels, height, width in sizes:
        image = pictures(1, 256)[0, :channels, :height, :width]
        for _ in range(2):
            values = metrics.measure(image, noisy(image, 0.1))
        assert all(isinstance(value, float) and math.isfinite(value) for value in values.values())
        assert ("ms_ssim" in values) == (min(height, width) >= 11)
        assert "identity" not in values
    assert len(metrics.notes) == len(set(metrics.notes))
    said = "\n".join(metrics.notes)
    assert "MS-SSIM is left out of images with a side of 8 px: it needs 11 px" in said
    assert "sides of 32 px get fewer" in said and "226" in said
    if missing("squeeze") is None:
        assert TRAINED_ON in metrics.notes and "lpips_squeeze" in values
        with pytest.raises(SemcastError, match="at least 32"):
            lpips = Lpips.load("squeeze")
            assert lpips is not None
            lpips(torch.zeros(1, 3, 20, 40), torch.zeros(1, 3, 20, 40))
    if ssimulacra.missing() is None:
        assert "ssimulacra2" in values
    grey = pictures(1, 64)[:, :1]
    assert metrics.measure(grey, grey.expand(-1, 3, -1, -1))["psnr_db"] == 100.0
    with pytest.raises(SemcastError, match="one channel"):
        metrics.measure(torch.zeros(2, 64, 64), torch.zeros(2, 64, 64))


def test_nothing_is_made_on_another_device() -> None:
    """On torch's meta device an operation with a tensor made elsewhere raises."""
    a, b = (torch.rand(2, 3, 192, 192, device="meta") for _ in range(2))
    assert psnr_db(a, b).device.type == ms_ssim(a, b).device.type == "meta"
    assert to_lab(a).device.type == ita(a, torch.ones(2, 192, 192, device="meta").bool()).device.type == "meta"
    if (net := EfficientNet.load()) is not None:
        assert net.to("meta")(a, b).device.type == "meta"
    if (lpips := Lpips.load("squeeze")) is not None:
        assert lpips.to("meta")(a, b).device.type == "meta"


# --- fetching


class Answer(io.BytesIO):
    headers: dict[str, str] = {}


def published(content: dict[str, Tensor], prefix: str = "", **changed: Any) -> tuple[bytes, fetch.Source]:
    """A .pth file as a publisher makes it, and what semcast would know of it."""
    file = io.BytesIO()
    torch.save(content, file)
    data = file.getvalue()
    kept = {name.removeprefix(prefix): value for name, value in content.items() if name.startswith(prefix)}
    known = {
        "name": "tiny.safetensors", "url": "https://example.org/tiny.pth", "sha256": hashlib.sha256(data).hexdigest()[:8],
        "tensors": fetch.fingerprint(kept), "prefix": prefix,
    }  # fmt: skip
    return data, fetch.Source(**(known | changed))


def test_fetch_keeps_what_was_published_and_does_not_fetch_it_twice(tmp_path: Path) -> None:
    data, source = published({"features.0.weight": torch.ones(2, 2), "classifier.weight": torch.zeros(3)}, "features.")
    asked, seen, said = [], [], []

    def opener(url: str, timeout: float) -> Answer:
        asked.append(url)
        return Answer(data)

    def track(name: str, done: int, total: int | None) -> None:
        seen.append(done)

    for _ in range(2):
        paths = fetch.fetch(tmp_path / "new", say=said.append, track=track, opener=opener, sources=(source,))
    assert asked == [source.url] and seen == [len(data)] and len(said) == 2 and "there already" in said[1]
    kept = perceptual._read(paths[0])
    assert list(kept) == ["0.weight"] and torch.equal(kept["0.weight"], torch.ones(2, 2))
    paths[0].write_bytes(b"damaged")
    fetch.fetch(tmp_path / "new", say=said.append, opener=opener, sources=(source,))
    assert len(asked) == 2 and list(perceptual._read(paths[0])) == ["0.weight"]


def test_fetch_works_with_real_openers_on_local_files(tmp_path: Path) -> None:
    data, source = published({"a": torch.arange(4.0)})
    (tmp_path / "tiny.pth").write_bytes(data)
    local = fetch.Source(source.name, (tmp_path / "tiny.pth").as_uri(), source.sha256, source.tensors)
    assert fetch.fetch(tmp_path, say=lambda _: None, sources=(local,)) == [tmp_path / "tiny.safetensors"]
    gone = fetch.Source("other.safetensors", (tmp_path / "absent.pth").as_uri(), "", "")
    with pytest.raises(SemcastError, match=r"absent.pth cannot be fetched \(.*\): is there a network\?"):
        fetch.fetch(tmp_path, sources=(gone,))


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harmed"),))


def test_fetch_refuses_what_is_not_what_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = io.BytesIO()
    torch.save({"a": Harmful()}, file)
    harmful, tensors = file.getvalue(), {"a": torch.ones(2)}
    data, source = published(tensors)
    cases = {
        "another SHA-256": (b"something else", source),
        "tensors alone": (harmful, published(tensors, sha256=hashlib.sha256(harmful).hexdigest())[1]),
        "other weights": (data, published(tensors, tensors="0" * 64)[1]),
        "larger than": (data, published(tensors, limit=100)[1]),
    }
    for message, (content, known) in cases.items():
        with pytest.raises(SemcastError, match=message):
            fetch.fetch(tmp_path / "weights", opener=lambda url, timeout, content=content: Answer(content), sources=(known,))
    assert not list((tmp_path / "weights").iterdir()) and not Path("harmed").exists()

    def no_network(url: str, timeout: float) -> Answer:
        from urllib.error import URLError

        raise URLError(OSError(-2, "Name or service not known"))

    with pytest.raises(SemcastError, match=r"\(Name or service not known\): is there a network"):
        fetch.fetch(tmp_path / "weights", opener=no_network)
    (tmp_path / "file").touch()
    with pytest.raises(SemcastError, match="cannot be made"):
        fetch.fetch(tmp_path / "file")


def test_what_is_known_of_the_published_files_is_so() -> None:
    """The tensors of the files that semcast's numbers were made with, and torchmetrics' copy of the heads."""
    for source in fetch.SOURCES:
        if path := find_weights(source.name):
            assert fetch.fingerprint(perceptual._read(path)) == source.tensors
    copies = pytest.importorskip("torchmetrics").__path__
    heads = Path(copies[0]) / "functional" / "image" / "lpips_models" / "squeeze.pth"
    assert hashlib.sha256(heads.read_bytes()).hexdigest() == fetch.SOURCES[1].sha256
    assert fetch.fingerprint(perceptual._read(heads)) == fetch.SOURCES[1].tensors


def test_what_was_fetched_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fetch.default_folder().mkdir(parents=True)
    (fetch.default_folder() / "fetched-only.safetensors").touch()
    assert find_weights("fetched-only.safetensors") == tmp_path / "semcast" / "weights" / "fetched-only.safetensors"
