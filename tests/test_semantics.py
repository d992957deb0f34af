"""Laws of the semantic networks, with random weights at small sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from semcast.domains import NUM_CODES, NUM_PARTS, PARTS, parts_of, shape_code, texture_code
from semcast.generative.encoder import BOUND, EncoderConfig, FaceEncoder
from semcast.generative.generator import GeneratorConfig, Modulated, SemanticGenerator, swap_part
from semcast.generative.inversion import paper_inversion
from semcast.generative.tangent import Tangent, newton
from semcast.linear.repainter import Painter, PainterConfig
from semcast.networks.segmenter import FaceParser, ParserConfig

SMALL = GeneratorConfig(
    code=8, grid=8, local=16, place=8, features=16, render=(16, 16, 16), octaves=3,
    boxes=((0, 16, 0, 16), (2, 14, 1, 15)) * 6 + ((0, 16, 0, 16),),
)  # fmt: skip


def small_generator() -> SemanticGenerator:
    torch.manual_seed(0)
    generator = SemanticGenerator(SMALL)
    for layer in (*generator.to_rgb, generator.to_mask):
        torch.nn.init.normal_(layer.weight, std=0.1)
    torch.nn.init.normal_(generator.depth, std=0.3)
    for basis in (*generator.eigen_depth.basis, *generator.eigen_colour.basis):
        torch.nn.init.normal_(basis, std=0.3)
    return generator.eval()


def test_thirteen_parts_and_twenty_eight_codes() -> None:
    assert (NUM_PARTS, NUM_CODES) == (13, 28)
    used = [c for p in range(NUM_PARTS) for c in (shape_code(p), texture_code(p))]
    assert sorted(used) == list(range(2, 28))
    labels = parts_of(np.arange(19, dtype=np.uint8))
    assert PARTS[labels[4]] == PARTS[labels[5]] == "eyes"
    assert PARTS[labels[16]] == "neck"
    assert set(labels) == set(range(13))


def test_modulated_layer_is_the_naive_one() -> None:
    torch.manual_seed(0)
    layer = Modulated(5, 6, 4)
    code, own, shared = torch.randn(NUM_PARTS, 3, 5), torch.randn(NUM_PARTS * 3, 4, 9), torch.randn(NUM_PARTS, 2, 9)
    got = layer(code, own, shared).view(NUM_PARTS, 3, 4, 9)
    for p in (0, 7):
        for b in range(3):
            style = code[p, b] @ layer.style[p] + layer.style_bias[p, 0]
            weight = layer.weight[p] * style
            weight = weight / weight.norm(dim=1, keepdim=True)
            x = torch.cat((own.view(NUM_PARTS, 3, 4, 9)[p, b], shared[p]))
            expected = torch.nn.functional.leaky_relu(weight @ x + layer.bias[p], 0.2)
            torch.testing.assert_close(got[p, b], expected, atol=1e-4, rtol=1e-4)


def test_generator_shapes_and_independence_of_the_batch() -> None:
    generator, codes = small_generator(), torch.randn(3, NUM_CODES, 8)
    with torch.no_grad():
        made = generator(codes)
        alone = generator(codes[1:2])
    assert made.image.shape == (3, 3, 64, 64)
    assert made.coarse.shape == (3, NUM_PARTS, 16, 16)
    torch.testing.assert_close(alone.image[0], made.image[1], atol=1e-4, rtol=1e-3)


def test_background_ignores_the_base_codes() -> None:
    generator, codes = small_generator(), torch.randn(1, NUM_CODES, 8)
    other = codes.clone()
    other[:, :2] = torch.randn(1, 2, 8)
    with torch.no_grad():
        one = generator.local(codes)
        two = generator.local(other)
    torch.testing.assert_close(one.depth[0], two.depth[0])
    assert not torch.allclose(one.features[1:], two.features[1:])


def test_swap_touches_only_its_two_codes() -> None:
    a, b = torch.zeros(2, NUM_CODES, 8), torch.ones(2, NUM_CODES, 8)
    for part in range(NUM_PARTS):
        changed = (swap_part(a, b, part) != a).any(-1)[0].nonzero().flatten().tolist()
        assert changed == [shape_code(part), texture_code(part)]


def test_gradients_reach_every_generator_and_encoder_parameter() -> None:
    torch.manual_seed(0)
    encoder = FaceEncoder(EncoderConfig(code=8, size=64, widths=(8, 8, 16, 16), flat=4, rank=8, sketch=16))
    generator = small_generator().train()
    made = generator(encoder(torch.rand(2, 3, 64, 64)))
    (made.image.square().mean() + made.mask.square().mean() + made.coarse.square().mean()).backward()
    dead = [n for m in (encoder, generator) for n, p in m.named_parameters() if p.grad is None]
    assert not dead


def test_codes_are_bounded() -> None:
    encoder = FaceEncoder(EncoderConfig(code=8, size=64, widths=(8, 8, 16, 16), flat=4, rank=8, sketch=16))
    torch.nn.init.normal_(encoder.linear.weight, std=100.0)
    assert float(encoder(torch.rand(2, 3, 64, 64)).abs().max()) <= BOUND


def lively_generator() -> SemanticGenerator:
    """One whose eigen-parts show something."""
    torch.manual_seed(1)
    generator = small_generator()
    for parts in (generator.eigen_depth, generator.eigen_colour):
        for basis in parts.basis:
            torch.nn.init.normal_(basis, std=0.2)
    return generator.requires_grad_(False)


def test_paper_inversion_lowers_the_error() -> None:
    generator = lively_generator()
    photo = generator(0.5 * torch.randn(1, NUM_CODES, 8)).image
    errors: list[float] = []
    start = torch.zeros(NUM_CODES, 8)
    codes = paper_inversion(generator, photo, start, steps=15, rate=0.05, report=lambda _, e: errors.append(e))
    after = float((generator(codes).image - photo).square().mean())
    assert after < 0.9 * errors[0]
    assert len(errors) == 16


def test_tangent_is_the_derivative_of_the_eigen_parts_picture() -> None:
    generator, codes, change = lively_generator(), torch.randn(2, NUM_CODES, 8), torch.randn(2, NUM_CODES, 8)

    def picture(moved: torch.Tensor) -> torch.Tensor:
        parts = generator.local(moved)
        # the local networks are held still: J is that of the eigen-parts alone
        depth = generator.eigen_depth.whole(generator.eigen_depth(moved.transpose(0, 1)[2::2]))[:, :, 0]
        return Tangent(generator, replace(parts, depth=parts.depth.detach() * 0 + depth)).picture

    base = generator.local(codes)
    depth = generator.eigen_depth.whole(generator.eigen_depth(codes.transpose(0, 1)[2::2]))[:, :, 0]
    tangent = Tangent(generator, replace(base, depth=depth))
    step = 1e-3
    difference = (picture(codes + step * change) - picture(codes - step * change)) / (2 * step)
    torch.testing.assert_close(tangent(change), difference, atol=2e-3, rtol=2e-3)


def test_adjoint_is_the_transpose() -> None:
    generator = lively_generator()
    tangent = Tangent(generator, generator.local(torch.randn(2, NUM_CODES, 8)))
    change, picture = torch.randn(2, NUM_CODES, 8), torch.randn(2, 3, 16, 16)
    left = (tangent(change) * picture).sum((1, 2, 3))
    right = (change * tangent.adjoint(picture)).sum((1, 2))
    torch.testing.assert_close(left, right, atol=1e-3, rtol=1e-4)


def test_newton_steps_bring_the_picture_closer() -> None:
    generator = lively_generator()
    true = 0.5 * torch.randn(2, NUM_CODES, 8)
    photo, start = generator.render(generator.local(true), 1).image, torch.zeros(2, NUM_CODES, 8)
    before = (generator.render(generator.local(start), 1).image - photo).square().mean()
    codes = newton(generator, start, photo)
    after = (generator.render(generator.local(codes), 1).image - photo).square().mean()
    assert float(after) < 0.3 * float(before)
    assert newton(generator, start, photo, steps=0) is start


@pytest.mark.parametrize("size", [64, 100])
def test_parser_labels_any_size(size: int) -> None:
    parser = FaceParser(ParserConfig(size=64, widths=(8, 8, 16))).eval()
    labels = parser.labels(torch.rand(2, 3, size, size))
    assert labels.shape == (2, size, size)
    assert labels.dtype == torch.uint8


def test_untrained_painter_gives_the_estimate_back() -> None:
    painter = Painter(PainterConfig(side=32, widths=(8, 8, 16, 16), fine=(8, 8)))
    estimate = torch.rand(2, 3, 32, 32)
    painted = painter(estimate, torch.ones(2, 1, 32, 32), torch.zeros(2, 2))
    expected = torch.nn.functional.interpolate(estimate, (128, 128), mode="bicubic")
    torch.testing.assert_close(painted, expected)
