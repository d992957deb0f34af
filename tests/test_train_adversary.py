"""Discriminators and their one step: laws of the losses, the penalty against its closed form, who gets gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from semcast.train.adversary import (
    Adversary,
    DualDiscriminator,
    PatchDiscriminator,
    Smooth,
    fool,
    gradient_penalty,
    hinge,
    pairs,
)
from semcast.train.ranks import Ranks
from semcast.train.scene_parts import SceneDiscriminator


class Plane(nn.Module):
    """D(x) = <w, x>, whose gradient is w."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)))

    def forward(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """One score a picture, and the picture as its feature."""
        return [(self.w * image).sum((1, 2, 3))[:, None]], [image]


def test_hinge_is_zero_for_a_discriminator_that_is_sure() -> None:
    assert float(hinge(torch.full((4, 1), 1.5), torch.full((4, 1), -2.0))) == 0
    assert float(hinge(torch.zeros(4, 1), torch.zeros(4, 1))) == 2
    assert float(fool(torch.full((4, 1), 3.0))) == -3


def test_pairs_are_relative() -> None:
    real, fake = torch.randn(5, 1), torch.randn(5, 1)
    torch.testing.assert_close(pairs(real + 7, fake + 7), pairs(real, fake))
    assert float(pairs(fake + 50, fake)) == pytest.approx(0, abs=1e-6)


def test_the_penalty_is_the_squared_gradient_and_learns() -> None:
    plane = Plane()
    found = gradient_penalty(plane, (torch.rand(4, 3, 8, 8),))
    torch.testing.assert_close(found, plane.w.square().sum())
    found.backward()
    torch.testing.assert_close(plane.w.grad, 2 * plane.w.detach())


def test_a_smooth_layer_halves_and_sees_no_alternation() -> None:
    x = torch.ones(1, 2, 8, 8)
    assert torch.allclose(Smooth()(x)[..., 1:-1, 1:-1], torch.ones(1, 2, 2, 2))
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 2, 8, 8)
    assert float(Smooth()(stripes)[..., 1:-1, 1:-1].abs().max()) < 1e-6


@pytest.mark.parametrize("smooth", [False, True])
def test_features_halve_step_by_step(smooth: bool) -> None:
    image = torch.rand(2, 3, 64, 64)
    scores, features = PatchDiscriminator((4, 8, 8, 8), smooth=smooth)(image)
    assert [score.shape for score in scores] == [(2, 1, 4, 4)]
    assert [feature.shape[-1] for feature in features] == [32, 16, 8, 4]
    scores, features = DualDiscriminator(5, (4, 4, 4, 8, 8), smooth=smooth)(image, torch.rand(2, 5, 16, 16))
    assert [score.shape[-1] for score in scores] == [4, 2] and len(features) == 5


def test_a_scene_is_judged_at_two_scales() -> None:
    scores, features = SceneDiscriminator(19)(torch.rand(1, 3, 64, 64), torch.rand(1, 19, 16, 16))
    assert len(scores) == 3 and len(features) == 9


@pytest.mark.parametrize("relativistic", [False, True])
def test_the_painters_losses_leave_the_discriminator_alone_and_its_step_the_painter(relativistic: bool) -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator((4, 4, 4, 4), normalised=False)
    adversary = Adversary(network, adversarial=1.0, matching=1.0, penalty=0.1, relativistic=relativistic)
    assert adversary.step(Ranks()) == {}  # nothing was shown
    real, fake = torch.rand(3, 3, 32, 32), torch.rand(5, 3, 32, 32, requires_grad=True)
    total, losses = adversary.losses((real,), (fake,))
    total.backward()
    assert set(losses) == {"adversarial", "matching"} and float(fake.grad[:3].abs().sum()) > 0
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    given, before = fake.grad.clone(), network.head.weight.detach().clone()
    assert set(adversary.step(Ranks())) == {"discriminator", "penalty"}
    assert torch.equal(fake.grad, given) and not torch.equal(network.head.weight, before)
    assert adversary.step(Ranks()) == {}
    assert float(adversary.losses((real,), (fake,), strength=0.0)[0].detach()) == 0


def test_a_discriminator_learns_to_tell() -> None:
    torch.manual_seed(0)
    adversary = Adversary(PatchDiscriminator((8, 8, 8, 8), smooth=True), adversarial=1.0, matching=0.0, rate=5e-3)
    found = []
    for _ in range(40):
        adversary.losses((torch.rand(8, 3, 32, 32) * 0.2,), (torch.rand(8, 3, 32, 32),))
        found.append(float(adversary.step(Ranks())["discriminator"]))
    assert found[-1] < 0.7 * found[0]
