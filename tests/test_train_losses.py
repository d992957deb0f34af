"""Losses of pictures: laws that each must obey, and the embedder against onnxruntime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from semcast.errors import SemcastError
from semcast.metrics.identity import Identity
from semcast.metrics.perceptual import find_weights, missing
from semcast.networks.embedder import Embedder
from semcast.train.losses import (
    TRAINED_ON,
    IdentityLoss,
    View,
    block_spectra,
    perceptual,
    random_square,
    spectrum_loss,
    view_loss,
)

onnx = pytest.importorskip("onnx")


def photos(count: int = 2, side: int = 64, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures."""
    small = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, (side, side), mode="bicubic").clamp(0, 1)


def small_embedder(path: Path, operator: str = "Relu") -> Path:
    """Convolution, normalisation, an operator, mean pooling by a convolution, flatten, matrix."""
    from onnx import TensorProto, helper, numpy_helper

    random = torch.Generator().manual_seed(0)

    def constant(name: str, *shape: int, positive: bool = False):
        value = torch.randn(shape, generator=random)
        return numpy_helper.from_array((value.abs() + 0.5 if positive else value).numpy(), name)

    constants = [
        constant("w", 4, 3, 3, 3), constant("scale", 4), constant("bias", 4), constant("mean", 4),
        constant("variance", 4, positive=True), constant("v", 4, 1, 56, 56), constant("m", 6, 4),
    ]  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["a", "scale", "bias", "mean", "variance"], ["b"], epsilon=1e-3),
        helper.make_node(operator, ["b"], ["c"]),
        helper.make_node("Conv", ["c", "v"], ["d"], group=4, kernel_shape=[56, 56]),
        helper.make_node("Flatten", ["d"], ["e"], axis=1),
        helper.make_node("Gemm", ["e", "m"], ["embedding"], transB=1),
    ]
    sides = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 112, 112])]
    ends = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 6])]
    model = helper.make_model(helper.make_graph(nodes, "g", sides, ends, constants), opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def agrees_with_onnxruntime(path: Path, faces: torch.Tensor) -> None:
    pytest.importorskip("onnxruntime")
    loss = IdentityLoss(Embedder(path))
    torch.testing.assert_close(loss.embed(faces), Identity(path).embed(faces), atol=2e-4, rtol=1e-3)


def test_an_embedder_is_what_its_file_says(tmp_path: Path) -> None:
    path = small_embedder(tmp_path / "small.onnx")
    embedder = Embedder(path)
    assert [step.operator for step in embedder.steps].count("BatchNormalization") == 0 and not embedder.state_dict()
    agrees_with_onnxruntime(path, photos(3, 256))


def test_an_embedder_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(SemcastError, match="there is no face embedder"):
        Embedder(tmp_path / "none.onnx")
    (tmp_path / "noise.onnx").write_bytes(b"\x00noise" * 9)
    with pytest.raises(SemcastError, match="noise.onnx"):
        Embedder(tmp_path / "noise.onnx")
    with pytest.raises(SemcastError, match="Erf"):
        Embedder(small_embedder(tmp_path / "strange.onnx", "Erf"))


@pytest.mark.skipif(find_weights(TRAINED_ON) is None, reason="needs the embedder")
def test_the_embedder_of_the_loss_agrees_with_onnxruntime() -> None:
    path = find_weights(TRAINED_ON)
    assert path is not None
    agrees_with_onnxruntime(path, photos(2, 256))


def test_identity_loss_is_zero_for_the_same_face_and_has_gradients(tmp_path: Path) -> None:
    loss = IdentityLoss(Embedder(small_embedder(tmp_path / "small.onnx")))
    face, other = photos(2, 128), photos(2, 128, 1).requires_grad_(True)
    assert float(loss(face, face)) == pytest.approx(0, abs=1e-5)
    away = loss(face, other)
    away.backward()
    assert float(away.detach()) > 1e-4 and float(other.grad.abs().sum()) > 0


def test_a_view_moves_pixels_and_loses_none_that_it_does_not_cut() -> None:
    image = photos()
    assert torch.equal(View()(image), image)
    mirrored = View(mirror=True)
    assert torch.equal(mirrored(mirrored(image)), image)
    assert torch.equal(View(transpose=True)(image), image.transpose(-1, -2))
    assert View(top=3, left=1, reduction=2)(image).shape == (2, 3, 30, 31)
    torch.testing.assert_close(View(reduction=4)(image).mean(), image.mean())
    assert torch.equal(View(colour=(1.0, 0.5, 1.0))(image)[:, 1], image[:, 1] * 0.5)


def test_views_are_as_often_reduced_as_said_and_never_too_small() -> None:
    random = torch.Generator().manual_seed(0)
    many = [View.draw(random, 256) for _ in range(600)]
    share = [sum(view.reduction == r for view in many) / 600 for r in (1, 2, 3, 4)]
    assert share == sorted(share, reverse=True) and share[0] == pytest.approx(8 / 15, abs=0.07) and share[3] > 0
    assert {replace(view, colour=(1.0, 1.0, 1.0)) for view in many} > {replace(view, colour=(1.0, 1.0, 1.0)) for view in many[:9]}
    assert all(View.draw(random, 64).reduction == 1 for _ in range(50))


@pytest.mark.skipif(missing("squeeze") is not None, reason="needs LPIPS")
def test_view_loss_is_zero_only_for_the_same_picture() -> None:
    lpips, random = perceptual(), torch.Generator().manual_seed(0)
    image, other = photos(2, 80), photos(2, 80, 1).requires_grad_(True)
    assert float(view_loss(lpips, image, image, random)) == pytest.approx(0, abs=1e-6)
    loss = view_loss(lpips, image, other, random)
    loss.backward()
    assert float(loss.detach()) > 0.05 and bool(torch.isfinite(other.grad).all())


def test_spectra_see_texture_and_not_its_phase() -> None:
    x = torch.arange(64.0)
    wave = (0.5 + 0.3 * torch.sin(2 * torch.pi * x / 4)).expand(1, 3, 64, 64)
    moved = wave.roll(2, -1)
    assert block_spectra(wave, 8).shape == (1, 3, 15, 15, 8, 5)
    random = torch.Generator().manual_seed(0)
    assert float(spectrum_loss(wave, moved, random)) < 0.02
    assert float(spectrum_loss(wave, torch.full_like(wave, 0.5), random)) > 0.1
    peak = block_spectra(wave, 16)[0, 0, 0, 0]
    assert divmod(int(peak.argmax()), 9) == (0, 4)  # a period of 4 pixels is the fourth line of 16


def test_spectra_have_finite_gradients_where_nothing_is() -> None:
    flat = torch.full((1, 3, 40, 40), 0.5, requires_grad=True)
    spectrum_loss(photos(1, 40), flat, torch.Generator().manual_seed(0)).backward()
    assert bool(torch.isfinite(flat.grad).all())


def test_a_square_lies_inside_and_on_its_grid() -> None:
    random = torch.Generator().manual_seed(0)
    corners = set()
    for _ in range(60):
        _, rows, columns = random_square(random, 256, 160, 4)
        assert rows.start >= 0 and rows.stop <= 256 and rows.stop - rows.start == 160 and columns.start % 4 == 0
        corners.add(rows.start)
    assert {min(corners), max(corners)} <= {*range(0, 97, 4)} and len(corners) > 15
