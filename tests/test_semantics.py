"""Laws of the semantic networks, with random weights at small sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semcast.semantics.encoder import BOUND, EncoderConfig, FaceEncoder
from semcast.semantics.generator import GeneratorConfig, Modulated, SemanticGenerator, swap_part
from semcast.semantics.inversion import refine
from semcast.semantics.painter import Painter, PainterConfig
from semcast.semantics.parser import FaceParser, ParserConfig
from semcast.semantics.parts import NUM_CODES, NUM_PARTS, PARTS, parts_of, shape_code, texture_code

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
        depth, features, _ = generator.local(codes)
        depth2, features2, _ = generator.local(other)
    torch.testing.assert_close(depth[0], depth2[0])
    assert not torch.allclose(features[1:], features2[1:] if features2.ndim == 4 else features2)


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


def test_refinement_lowers_the_error_and_zero_steps_change_nothing() -> None:
    generator = small_generator()
    generator.requires_grad_(False)
    start = torch.zeros(1, NUM_CODES, 8)
    with torch.no_grad():
        photo = generator(0.5 * torch.randn(1, NUM_CODES, 8)).image
    assert refine(generator, photo, start, 0) is start
    errors: list[float] = []
    codes = refine(generator, photo, start, 15, rate=0.05, report=lambda _, e: errors.append(e))
    with torch.no_grad():
        after = float((generator(codes).image - photo).square().mean())
    assert after < 0.9 * errors[0]
    assert len(errors) == 16


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
