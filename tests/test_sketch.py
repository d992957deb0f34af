"""``sketch``: it starts as the best linear code, keeps its power whatever it learns, and paints windows as the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from semcast.channels import make_channel
from semcast.linear.learned import SNRS_DB, SYMBOLS, Correction, LearnedSketch, power_of
from semcast.linear.repainter import RepainterConfig, SmoothRepainter
from semcast.linear.system import Linear, load_sketch
from semcast.link import Budget
from semcast.metrics.texture import measure_texture
from semcast.networks.blocks import MARGIN

SMALL = RepainterConfig(widths=(16, 16, 16, 16), fine=(16, 16))


def system(correction: Correction | None = None) -> LearnedSketch:
    torch.manual_seed(0)
    return LearnedSketch(load_sketch("face"), SmoothRepainter(SMALL), correction or Correction()).eval()


def stir(module: nn.Module, size: float = 0.05) -> None:
    """Give every parameter something, the last layers that start at zero among them."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += size * torch.randn(parameter.shape, generator=random)


@pytest.fixture
def faces() -> Tensor:
    coarse = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, (256, 256), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("k", [64, 640])
def test_it_starts_as_the_linear_sketch(faces: Tensor, k: int) -> None:
    budget = Budget(k, 5.0)
    torch.testing.assert_close(system().encode(faces, budget).symbols, Linear(load_sketch("face")).encode(faces, budget).symbols)


def test_whatever_it_learns_it_sends_no_more_power(faces: Tensor) -> None:
    """The loudness takes off what the correction adds, also between the points at which it was measured."""
    loud = system()
    stir(loud.correction)
    loud.requires_grad_(False)
    for budget in (Budget(64, 10.0), Budget(256, 0.0), Budget(90, 7.0)):
        more = power_of(loud.modulate(faces, budget)) - power_of(loud.modulate(faces, budget, corrected=False))
        assert float(more.mean()) > 0.05, "the correction is loud"
    loud.calibrate(faces)
    measured = (Budget(64, 10.0), Budget(256, 0.0), Budget(2048, 20.0))
    for budget in (*measured, Budget(90, 7.0)):
        plain = power_of(loud.modulate(faces, budget, corrected=False)).mean()
        corrected = power_of(loud.modulate(faces, budget)).mean()
        sent = loud.encode(faces, budget).symbols.abs().square().mean()
        # these few faces stand for all: the power that they have uncorrected counts as 1
        assert float(sent) == pytest.approx(float(corrected / (1 + corrected - plain)), rel=1e-3 if budget in measured else 0.05)


def test_loudness_is_that_of_its_points_and_lies_between_them() -> None:
    loud = system()
    loud.loudness.copy_(torch.arange(48.0).reshape(len(SYMBOLS), len(SNRS_DB)) + 1)
    for i, k in enumerate(SYMBOLS):
        for j, snr in enumerate(SNRS_DB):
            assert float(loud.loudness_at(Budget(k, snr))) == pytest.approx(float(loud.loudness[i, j]))
    assert float(loud.loudness_at(Budget(8, -20.0))) == 1 and float(loud.loudness_at(Budget(4096, 40.0))) == 48
    assert 13 < float(loud.loudness_at(Budget(90, -5.0))) < 19 and float(loud.loudness_at(Budget(16, -2.5))) == pytest.approx(1.5)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (128, 128), (64, 20), (2, 126)])
def test_a_window_is_painted_as_the_whole_is(top: int, left: int) -> None:
    repainter = SmoothRepainter(SMALL)
    stir(repainter)
    given = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64), torch.rand(2, 2)
    with torch.no_grad():
        whole, (half, window) = repainter(*given), repainter.paint_window(*given, top, left)
        torch.testing.assert_close(window, whole[..., top : top + 128, left : left + 128], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(half, repainter(*given, octaves=1))
    assert MARGIN < 128  # a window that had to be as large as the face would save nothing


def test_no_octave_makes_a_grid() -> None:
    """Of noise with no period the repainter, whatever its weights, makes pictures with none; PixelShuffle would."""
    repainter = SmoothRepainter(SMALL)
    stir(repainter, 0.1)
    with torch.no_grad():
        pictures = [repainter(torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64), torch.rand(1, 2)) for _ in range(8)]
    spread = torch.cat(pictures)
    pictures = list(((spread - spread.mean()) / spread.std() * 0.15 + 0.5).clamp(0, 1).split(1))
    found = measure_texture(pictures)
    assert max(found["grid_8_db"], found["grid_4_db"]) < 1.5, found


def test_both_ends_learn(faces: Tensor) -> None:
    link = system().train()
    stir(link, 0.01)
    budget = Budget(64, 5.0)
    received = make_channel("awgn").draw(6, 64, 5.0, torch.Generator().manual_seed(0))(link.encode(faces, budget))
    half, window = link.paint_window(received, 0, 0)
    (half.square().mean() + window.square().mean()).backward()
    silent = [name for name, p in link.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert not silent


def test_what_ships_loads_with_its_loudness() -> None:
    shipped = LearnedSketch.load()
    assert shipped.loudness.shape == (len(SYMBOLS), len(SNRS_DB))
    assert bool(((shipped.loudness > 0.5) & (shipped.loudness < 2)).all())
    assert not any(isinstance(module, nn.PixelShuffle) for module in shipped.modules())


def test_weights_file_without_the_networks_is_refused(tmp_path: Path) -> None:
    from semcast.errors import SemcastError
    from semcast.weights import load, save

    save(tmp_path / "sketch.safetensors", {"x": torch.zeros(2)}, kind="another", config={})
    with pytest.raises(SemcastError):
        LearnedSketch.of(load(str(tmp_path / "sketch.safetensors"), kind="learned-sketch"))


def test_a_file_without_its_loudness_is_refused(tmp_path: Path) -> None:
    from semcast.errors import Damaged
    from semcast.weights import load, save

    shipped = load("sketch", kind="learned-sketch")
    tensors = {name: tensor for name, tensor in shipped.tensors.items() if name != "loudness"}
    save(tmp_path / "sketch.safetensors", tensors, kind="learned-sketch", config=shipped.config)
    with pytest.raises(Damaged, match="how loud"):
        LearnedSketch.of(load(str(tmp_path / "sketch.safetensors"), kind="learned-sketch"))


def test_a_file_of_an_unknown_klt_is_refused(tmp_path: Path) -> None:
    from semcast.errors import Damaged
    from semcast.weights import load, save

    shipped = load("sketch", kind="learned-sketch")
    save(tmp_path / "sketch.safetensors", shipped.tensors, kind="learned-sketch", config={**shipped.config, "care": ["face"]})
    with pytest.raises(Damaged, match="unknown sketch"):
        LearnedSketch.of(load(str(tmp_path / "sketch.safetensors"), kind="learned-sketch"))
