"""Laws, references and refusals of the metrics."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.errors import SemcastError
from semcast.metrics import perceptual
from semcast.metrics.identity import ALIGNED_POINTS, ARCFACE_POINTS, Identity, arcface_crop, similarity_transform
from semcast.metrics.perceptual import Lpips, find_weights, missing
from semcast.metrics.pixel import ms_ssim, psnr_db
from semcast.metrics.report import Metrics
from semcast.metrics.semantic import confusion, iou, mean_iou


def pictures(batch: int = 2, side: int = 192, seed: int = 0) -> Tensor:
    """Smooth random pictures in [0, 1]."""
    coarse = torch.rand(batch, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


def noisy(image: Tensor, level: float, seed: int = 1) -> Tensor:
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    return (image + level * noise).clamp(0, 1)


def squeeze() -> Lpips:
    lpips = Lpips.load("squeeze")
    if lpips is None:
        pytest.skip(str(missing("squeeze")))
    return lpips


# --- pixel


def test_psnr_is_the_formula_on_bytes() -> None:
    a, b = pictures(3, 32), noisy(pictures(3, 32), 0.1)
    for i, value in enumerate(psnr_db(a, b)):
        left = np.rint(a[i].numpy().astype(np.float64) * 255)
        right = np.rint(b[i].numpy().astype(np.float64) * 255)
        assert float(value) == pytest.approx(10 * math.log10(255**2 / np.mean((left - right) ** 2)), abs=1e-4)


def test_psnr_of_one_grey_level() -> None:
    a = torch.full((1, 3, 8, 8), 100 / 255)
    assert float(psnr_db(a, a + 1 / 255)) == pytest.approx(20 * math.log10(255), abs=1e-4)
    assert float(psnr_db(a, a + 0.4 / 255)) == 100.0  # the same bytes
    assert float(psnr_db(a, a)) == 100.0


@pytest.mark.parametrize("metric", [psnr_db, ms_ssim])
def test_pixel_metrics_are_symmetric_and_fall_with_noise(metric: Callable[[Tensor, Tensor], Tensor]) -> None:
    image = pictures()
    values = [metric(image, noisy(image, level)) for level in (0.0, 0.02, 0.1, 0.3)]
    assert all(bool((higher > lower).all()) for higher, lower in zip(values, values[1:], strict=False))
    torch.testing.assert_close(metric(image, noisy(image, 0.1)), metric(noisy(image, 0.1), image))
    assert values[0].shape == (2,)


def test_ms_ssim_of_identical_images_is_one() -> None:
    for side in (64, 128, 192):
        torch.testing.assert_close(ms_ssim(pictures(1, side), pictures(1, side)), torch.ones(1))


@pytest.mark.parametrize(("side", "scales"), [(256, 5), (177, 5), (128, 4), (64, 3)])
def test_ms_ssim_agrees_with_torchmetrics(side: int, scales: int) -> None:
    """Up to the border of the coarsest scale, which torchmetrics pads by reflection and the paper leaves out."""
    reference = pytest.importorskip("torchmetrics.functional.image")
    a = pictures(3, side)
    b = noisy(a, 0.1)
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)[:scales]
    expected = reference.multiscale_structural_similarity_index_measure(
        a, b, data_range=1.0, reduction="none", betas=tuple(w / sum(weights) for w in weights)
    )
    torch.testing.assert_close(ms_ssim(a, b), expected, atol=1e-3, rtol=0)


def test_ms_ssim_against_a_naive_loop() -> None:
    a = pictures(1, 24)
    b = noisy(a, 0.1)
    offset = np.arange(11) - 5
    window = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def means(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        similarity, contrast = [], []
        for channel in range(3):
            for top in range(x.shape[1] - 10):
                for left in range(x.shape[2] - 10):
                    p, q = (z[channel, top : top + 11, left : left + 11] for z in (x, y))
                    mp, mq = (window * p).sum(), (window * q).sum()
                    vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
                    covariance = (window * (p - mp) * (q - mq)).sum()
                    contrast.append((2 * covariance + 0.03**2) / (vp + vq + 0.03**2))
                    similarity.append(contrast[-1] * (2 * mp * mq + 0.01**2) / (mp**2 + mq**2 + 0.01**2))
        return float(np.mean(similarity)), float(np.mean(contrast))

    fine = means(a[0].double().numpy(), b[0].double().numpy())[1]
    coarse = means(F.avg_pool2d(a, 2)[0].double().numpy(), F.avg_pool2d(b, 2)[0].double().numpy())[0]
    first, second = 0.0448 / (0.0448 + 0.2856), 0.2856 / (0.0448 + 0.2856)
    assert float(ms_ssim(a, b)) == pytest.approx(fine**first * coarse**second, abs=1e-4)


def test_ms_ssim_refuses_images_below_one_window() -> None:
    a = pictures(1, 64)
    b = noisy(a, 0.1)
    with pytest.raises(SemcastError, match="at least 11"):
        ms_ssim(a[..., :10], b[..., :10])


# --- perceptual


def test_lpips_squeeze_reference() -> None:
    """torchmetrics' documented example, its inputs in [-1, 1]."""
    lpips = squeeze()
    torch.manual_seed(123)
    a, b = torch.rand(10, 3, 100, 100), torch.rand(10, 3, 100, 100)
    assert float(lpips(a, b).mean()) == pytest.approx(0.1008, abs=5e-5)
    assert float(lpips(a, a).abs().max()) == 0.0


def test_lpips_laws() -> None:
    lpips, image = squeeze(), pictures()
    near, far = noisy(image, 0.05), noisy(image, 0.3)
    assert bool((lpips(image, near) < lpips(image, far)).all())
    torch.testing.assert_close(lpips(image, far), lpips(far, image))
    torch.testing.assert_close(lpips.distance(lpips.features(image), lpips.features(far)), lpips(image, far))
    for tap in lpips.features(image):
        length = tap.square().sum(1)
        torch.testing.assert_close(length, torch.ones_like(length), atol=1e-4, rtol=0)


def test_lpips_is_frozen_and_differentiable() -> None:
    lpips = squeeze()
    image = pictures(1, 64).requires_grad_()
    lpips(image, noisy(pictures(1, 64), 0.1)).sum().backward()
    assert image.grad is not None and bool(torch.isfinite(image.grad).all()) and float(image.grad.abs().sum()) > 0
    assert not any(parameter.requires_grad for parameter in lpips.parameters())


def test_lpips_in_bfloat16_and_channels_last() -> None:
    lpips, image = squeeze(), pictures(2, 64)
    expected = lpips(image, noisy(image, 0.1))
    torch.nn.Module.to(lpips, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = lpips(image.contiguous(memory_format=torch.channels_last), noisy(image, 0.1))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=0.03, atol=0)


def random_vgg() -> dict[str, Tensor]:
    """VGG16 as torchvision saves it: with the `features.` prefix and a classifier."""
    generator = torch.Generator().manual_seed(0)
    weights = {"classifier.0.weight": torch.zeros(1)}
    channels = 3
    widths = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256}
    for index, width in (widths | dict.fromkeys((17, 19, 21, 24, 26, 28), 512)).items():
        gain = math.sqrt(2 / (9 * channels))
        weights[f"features.{index}.weight"] = gain * torch.randn(width, channels, 3, 3, generator=generator)
        weights[f"features.{index}.bias"] = 0.1 * torch.randn(width, generator=generator)
        channels = width
    return weights


def test_lpips_vgg_taps_the_five_last_relus_before_pooling() -> None:
    weights = random_vgg()
    heads = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate((64, 128, 256, 512, 512))}
    lpips = Lpips("vgg", weights, heads)
    image = pictures(1, 64)
    x = 2 * image - 1 - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
    x = x / torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    naive = []
    for index in range(30):  # torchvision's features: pools at 4, 9, 16, 23; every convolution has its ReLU next
        if index in (4, 9, 16, 23):
            naive.append(F.normalize(x, dim=1))
            x = F.max_pool2d(x, 2)
        elif f"features.{index}.weight" in weights:
            x = F.relu(F.conv2d(x, weights[f"features.{index}.weight"], weights[f"features.{index}.bias"], padding=1))
    naive.append(F.normalize(x, dim=1))
    for ours, expected in zip(lpips.features(image), naive, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-3)


def test_backbone_is_found_in_the_torch_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "_folders", list)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert Lpips.load("squeeze") is None and "squeezenet1_1" in str(missing("squeeze"))
    assert Lpips.load("vgg") is None and "vgg16" in str(missing("vgg"))
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "vgg16-397923af.pth"
    torch.save(random_vgg(), file)
    assert find_weights("vgg16-*.pth") == file
    pytest.importorskip("torchmetrics")  # ships the heads
    assert missing("vgg") is None
    lpips = Lpips.load("vgg")
    assert lpips is not None and float(lpips(pictures(1, 64), noisy(pictures(1, 64), 0.2))) > 0
    file.write_bytes(b"not weights")
    with pytest.raises(SemcastError, match="not a readable"):
        Lpips.load("vgg")
    torch.save({"features.0.weight": torch.zeros(1)}, file)
    with pytest.raises(SemcastError, match="do not fit"):
        Lpips.load("vgg")


def test_weights_are_found_in_the_named_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "some.onnx").touch()
    monkeypatch.setenv("SEMCAST_SHARED", str(tmp_path))
    assert find_weights("some.onnx") == tmp_path / "weights" / "some.onnx"
    assert find_weights("absent.onnx") is None


def test_unknown_lpips_net_is_refused() -> None:
    with pytest.raises(SemcastError, match="squeeze, vgg"):
        Lpips.load("resnet")


# --- semantic


def test_confusion_and_iou_against_naive_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 4, (2, 9, 7), generator=generator)
    predicted = torch.randint(0, 4, (2, 9, 7), generator=generator)
    truth[0, :2] = 255
    matrix = confusion(predicted, truth, classes=5)
    naive = np.zeros((5, 5), dtype=int)
    for t, p in zip(truth.flatten().tolist(), predicted.flatten().tolist(), strict=True):
        if t != 255:
            naive[t, p] += 1
    assert matrix.tolist() == naive.tolist()
    scores = []
    for c in range(5):
        union = naive[c].sum() + naive[:, c].sum() - naive[c, c]
        if union:
            scores.append(naive[c, c] / union)
            assert float(iou(matrix)[c]) == pytest.approx(scores[-1])
        else:
            assert math.isnan(float(iou(matrix)[c]))
    assert len(scores) == 4 and mean_iou(matrix) == pytest.approx(np.mean(scores))


def test_mean_iou_bounds() -> None:
    truth = torch.tensor([[0, 0, 1], [1, 2, 2]])
    assert mean_iou(confusion(truth, truth, 3)) == 1.0
    assert mean_iou(confusion((truth + 1) % 3, truth, 3)) == 0.0


def test_confusions_add_up() -> None:
    generator = torch.Generator().manual_seed(1)
    truth, predicted = (torch.randint(0, 3, (4, 8, 8), generator=generator) for _ in range(2))
    parts = sum(confusion(predicted[i], truth[i], 3) for i in range(4))
    assert torch.equal(confusion(predicted, truth, 3), torch.as_tensor(parts))


# --- identity


def protobuf(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A protocol-buffer message of (field number, integer or bytes); numbers under 2^14."""

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])

    message = b""
    for number, value in fields:
        if isinstance(value, int):
            message += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            message += varint(number << 3 | 2) + varint(len(data)) + data
    return message


def tiny_onnx(path: Path, operator: str = "Flatten", side: int = 112, batch: int | str = "n") -> Path:
    """An ONNX file of one operator; Flatten makes the crop itself the embedding."""

    def value_info(name: str, dims: list[int | str]) -> bytes:
        shape = protobuf(*((1, protobuf((1 if isinstance(dim, int) else 2, dim))) for dim in dims))
        return protobuf((1, name), (2, protobuf((1, protobuf((1, 1), (2, shape))))))

    node = protobuf((1, "x"), (2, "y"), (4, operator))
    output: list[int | str] = ["a", "b"] if operator == "Flatten" else ["a", "b", "c", "d"]
    graph = protobuf((1, node), (2, "g"), (11, value_info("x", [batch, 3, side, side])), (12, value_info("y", output)))
    path.write_bytes(protobuf((1, 8), (7, graph), (8, protobuf((2, 13)))))
    return path


def test_the_fixed_transform_meets_the_template() -> None:
    source, target = np.array(ALIGNED_POINTS), np.array(ARCFACE_POINTS)
    matrix = similarity_transform(source, target)
    mapped = source @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(mapped - target).max() < 1.5
    moved = similarity_transform(source, source @ np.array([[0.0, -2.0], [2.0, 0.0]]) + 5.0)
    np.testing.assert_allclose(moved, [[0.0, 2.0, 5.0], [-2.0, 0.0, 5.0]], atol=1e-9)


@pytest.mark.parametrize("size", [256, 512])
def test_eyes_and_mouth_land_on_the_template(size: int) -> None:
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) * 256 / size - 0.5] * 2, indexing="ij")
    for point, target in zip(ALIGNED_POINTS, ARCFACE_POINTS, strict=True):
        spot = torch.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * 3.0**2))
        crop = arcface_crop(spot.expand(1, 3, -1, -1))[0, 0]
        row, column = torch.meshgrid(torch.arange(112.0), torch.arange(112.0), indexing="ij")
        centre = [float((crop * axis).sum() / crop.sum()) for axis in (column, row)]
        assert math.dist(centre, target) < 1.5


def test_identity_through_a_tiny_network(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    image = pictures(3, 256)
    identity = Identity(tiny_onnx(tmp_path / "tiny.onnx"))
    torch.testing.assert_close(identity.embed(image), F.normalize(arcface_crop(image).flatten(1), dim=1))
    torch.testing.assert_close(identity.similarity(image, image), torch.ones(3))
    assert bool((identity.similarity(image, noisy(image, 0.3)) < 0.999).all())
    one_by_one = Identity(tiny_onnx(tmp_path / "one.onnx", batch=1))
    torch.testing.assert_close(one_by_one.embed(image), identity.embed(image))
    with pytest.raises(SemcastError, match="square"):
        identity.embed(image[..., :200])


def test_unusable_identity_models_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    cases = {
        "no identity model": tmp_path / "absent.onnx",
        "not an ONNX model": broken,
        "face crops": tiny_onnx(tmp_path / "size.onnx", side=96),
        "one embedding": tiny_onnx(tmp_path / "map.onnx", operator="Relu"),
        "batches of 4": tiny_onnx(tmp_path / "four.onnx", batch=4),
    }
    for message, path in cases.items():
        with pytest.raises(SemcastError, match=message):
            Identity(path)


def test_identity_without_onnxruntime_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SemcastError, match="onnxruntime"):
        Identity(tmp_path / "any.onnx")


@pytest.mark.parametrize("name", ["mobilefacenet_delldu.onnx", "mobileface_v2.onnx"])
def test_real_embedders_know_the_astronaut(name: str) -> None:
    pytest.importorskip("onnxruntime")
    data = pytest.importorskip("skimage.data")
    path = find_weights(name)
    if path is None:
        pytest.skip(f"{name} was not found; set SEMCAST_SHARED to the folder whose weights/ has it")
    # the astronaut's eyes lie near (204, 101) and (247, 102), her mouth near (223, 145)
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    top, left, side = 16, 136, 180
    face = F.interpolate(photo[..., top : top + side, left : left + side], (256, 256), mode="bicubic").clamp(0, 1)
    identity = Identity(path)
    assert float(identity.similarity(face, face)) == pytest.approx(1.0, abs=1e-5)
    blurred = F.interpolate(F.avg_pool2d(face, 2), (256, 256), mode="bilinear")
    assert float(identity.similarity(face, blurred)) > 0.8
    assert float(identity.similarity(face, pictures(1, 256))) < 0.4


# --- report


def test_measure_gives_what_is_available(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    image = pictures(1, 256)[0]
    tiny = tiny_onnx(tmp_path / "tiny.onnx")
    metrics = Metrics.load([tiny, tiny], vgg=False)
    assert metrics.notes[-2:] == ["identity is by tiny.onnx", "identity 2 is by tiny.onnx"]
    values = metrics.measure(image, noisy(image, 0.1))
    expected = ["psnr_db", "ms_ssim", "lpips_squeeze", "identity", "identity_2"]
    assert list(values) == [key for key in expected if key != "lpips_squeeze" or missing("squeeze") is None]
    assert values["psnr_db"] == pytest.approx(float(psnr_db(image[None], noisy(image, 0.1)[None])))
    assert all(isinstance(value, float) and math.isfinite(value) for value in values.values())
    assert values["identity_2"] == values["identity"]
    assert list(Metrics.load([tiny], vgg=False).measure(image, image))[-1] == "identity"
    assert list(Metrics.load([tiny] * 3, vgg=False).measure(image, image))[-1] == "identity_3"
    with pytest.raises(SemcastError, match="at most three"):
        Metrics.load([tiny] * 4, vgg=False)
    with pytest.raises(SemcastError, match="shape"):
        metrics.measure(image, image[..., :200])


def test_notes_say_what_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(perceptual, "_folders", list)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    metrics = Metrics.load()
    assert [note.split(" is left out")[0] for note in metrics.notes] == [
        "LPIPS (squeeze)",
        "LPIPS (vgg)",
        "identity similarity",
    ]
    assert set(metrics.measure(pictures(1), pictures(1))) == {"psnr_db", "ms_ssim"}
