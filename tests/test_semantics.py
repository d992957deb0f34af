"""Laws of the semantic networks, with random weights at small sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from semcast.domains import NUM_CODES, NUM_PARTS, PARTS, parts_of, shape_code, texture_code
from semcast.errors import SemcastError
from semcast.generative.channel_codec import ChannelCodec, CodecConfig
from semcast.generative.encoder import BOUND, EncoderConfig, FaceEncoder
from semcast.generative.flow import CodeFlow, FlowConfig
from semcast.generative.generator import GeneratorConfig, Modulated, SemanticGenerator, swap_part
from semcast.generative.inversion import INVERSIONS, Descent, Guess, Newton, Tangent, correct, inversion_named
from semcast.generative.refinement import Refine
from semcast.generative.system import Generative
from semcast.linear.repainter import Repainter, RepainterConfig
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


def lively_link() -> Generative:
    """All four networks, small and untrained."""
    generator = lively_generator()
    encoder = FaceEncoder(EncoderConfig(code=8, size=64, widths=(8, 8, 16, 16), flat=4, rank=8, sketch=16))
    dims = NUM_CODES * 8
    return Generative(encoder, generator, CodeFlow(FlowConfig(dims, width=8)), ChannelCodec(CodecConfig(dims, 16))).eval()


def test_paper_inversion_lowers_the_error() -> None:
    link, errors = lively_link(), []
    photo = link.generator(0.5 * torch.randn(1, NUM_CODES, 8)).image
    codes = Descent(steps=15, rate=0.05, report=lambda _, e: errors.append(e))(link, photo)
    after = float((link.generator(codes).image - photo).square().mean())
    assert after < 0.9 * errors[0]
    assert len(errors) == 16


def test_a_link_inverts_as_the_object_that_it_holds_says() -> None:
    link, photo = lively_link(), torch.rand(2, 3, 64, 64)
    seen = torch.rand(2, 1, 64, 64) > 0.5
    with torch.no_grad():
        guess = link.guess(photo)
        assert link.inversion == Newton(2)
        assert torch.equal(link.invert(photo, seen), correct(link.generator, guess, photo, seen=seen, steps=2))
        assert not torch.equal(link.invert(photo, seen), link.invert(photo))
        link.inversion = Guess()
        assert torch.equal(link.invert(photo, seen), guess)
        link.inversion = Newton(1)
        assert torch.equal(link.invert(photo), correct(link.generator, guess, photo, steps=1))


def test_inversions_by_name_and_those_that_cannot_be() -> None:
    assert {name: inversion_named(name) for name in INVERSIONS} == {
        "newton": Newton(steps=2), "encoder": Guess(), "paper": Descent(steps=400)
    }  # fmt: skip
    with pytest.raises(SemcastError, match="unknown inversion 'hope'; known: newton, encoder, paper"):
        inversion_named("hope")
    for make in (Newton, Descent, Refine):
        for steps in (0, -1, 10**6, 2.0, True):
            with pytest.raises(SemcastError, match="steps, not"):
                make(steps=steps)


def test_fewer_octaves_paint_a_smaller_picture() -> None:
    link, codes = lively_link(), torch.randn(2, NUM_CODES, 8)
    with torch.no_grad():
        assert [link.render(codes, octaves).shape[-1] for octaves in (1, 2, 3, None)] == [16, 32, 64, 64]
        repainter = Repainter(RepainterConfig(side=32, widths=(8, 8, 16, 16), fine=(8, 8)))
        given = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32), torch.zeros(1, 2)
        assert [repainter(*given, octaves).shape[-1] for octaves in (1, 2, None)] == [64, 128, 128]


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
    codes = correct(generator, start, photo)
    after = (generator.render(generator.local(codes), 1).image - photo).square().mean()
    assert float(after) < 0.3 * float(before)
    assert correct(generator, start, photo, steps=0) is start


@pytest.mark.parametrize("size", [64, 100])
def test_parser_labels_any_size(size: int) -> None:
    parser = FaceParser(ParserConfig(size=64, widths=(8, 8, 16))).eval()
    labels = parser.labels(torch.rand(2, 3, size, size))
    assert labels.shape == (2, size, size)
    assert labels.dtype == torch.uint8


def test_untrained_repainter_gives_the_estimate_back() -> None:
    repainter = Repainter(RepainterConfig(side=32, widths=(8, 8, 16, 16), fine=(8, 8)))
    estimate = torch.rand(2, 3, 32, 32)
    painted = repainter(estimate, torch.ones(2, 1, 32, 32), torch.zeros(2, 2))
    expected = torch.nn.functional.interpolate(estimate, (128, 128), mode="bicubic")
    torch.testing.assert_close(painted, expected)
