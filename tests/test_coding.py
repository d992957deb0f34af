"""Laws of the codings: the linear sketch, the flow and the channel codec."""

from __future__ import annotations

import math

import pytest
import torch

from semcast.channels import make_channel
from semcast.generative.channel_codec import ChannelCodec, CodecConfig
from semcast.generative.flow import CodeFlow, FlowConfig
from semcast.linear.sketch import Sketch, SketchConfig, allocate, to_image, to_vector, weight_vector
from semcast.linear.system import Linear
from semcast.link import Budget, Burst
from semcast.train.linear import recalibrate, transform

DIMS = 28 * 4


def tiny_sketch(components: int = 24) -> Sketch:
    """A sketch with a random orthonormal basis and falling eigenvalues at side 8."""
    torch.manual_seed(0)
    sketch = Sketch(SketchConfig(side=8, components=components))
    dims = 96
    basis = torch.linalg.qr(torch.randn(dims, components)).Q.T
    weight = torch.rand(dims) + 0.5
    sketch.load_state_dict(
        {"mean": torch.rand(dims), "weight": weight, "basis": basis, "eigenvalues": 2.0 ** -torch.arange(components)}
    )
    return sketch


@pytest.fixture(scope="module")
def flow() -> CodeFlow:
    torch.manual_seed(0)
    flow = CodeFlow(FlowConfig(dims=DIMS, width=32))
    codes = torch.randn(4000, DIMS) @ torch.randn(DIMS, DIMS) * 0.1 + 0.3
    root = torch.randn(DIMS, DIMS)
    flow.set_whitening(codes.mean(0), torch.cov(codes.T), (root @ root.T).double())
    for coupling in flow.couplings:  # away from the identity that training starts from
        torch.nn.init.normal_(coupling.hyper[-1].weight, std=0.05)
    return flow


def test_vector_and_image_are_inverse_for_smooth_photos() -> None:
    colour = torch.rand(2, 3, 1, 1).expand(2, 3, 64, 64)
    torch.testing.assert_close(to_image(to_vector(colour)), colour, atol=1e-5, rtol=0)


def test_weights_of_flat_pixels_are_flat() -> None:
    torch.testing.assert_close(weight_vector(torch.full((8, 8), 2.5)), torch.full((96,), 2.5))


@pytest.mark.parametrize("uses", [4, 24, 200])
@pytest.mark.parametrize("snr", [-5.0, 10.0, 30.0])
def test_allocation_spends_the_power_and_beats_random_allocations(uses: int, snr: float) -> None:
    eigenvalues, noise = 2.0 ** -torch.arange(24.0), 10 ** (-snr / 10) / 2
    power = allocate(eigenvalues, uses, noise).double()
    assert power.min() >= 0
    assert float(power.sum()) == pytest.approx(uses / 2, rel=1e-5)

    def distortion(p: torch.Tensor) -> torch.Tensor:
        return (eigenvalues[: len(power)] * noise / (p + noise)).sum(-1) + eigenvalues[len(power) :].sum()

    random = torch.rand(2000, len(power), dtype=torch.float64, generator=torch.Generator().manual_seed(1)) ** 3
    random = random / random.sum(-1, keepdim=True) * uses / 2
    assert distortion(power) <= distortion(random).min() + 1e-6


def test_mean_power_of_the_sketch_is_one_over_photos() -> None:
    sketch = tiny_sketch()
    components = torch.randn(40000, 24) * sketch.eigenvalues.sqrt()
    sent = sketch.modulate(components, 16, 5.0)
    assert float(sent.square().sum(1).mean() / 16) == pytest.approx(1.0, abs=0.03)


def test_recalibrated_eigenvalues_are_the_variances_that_photos_have() -> None:
    """A KLT whose eigenvalues are those of other, softer photos: 0.7 of what they should be."""
    generator = torch.Generator().manual_seed(4)
    images = (torch.rand(400, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3) * 255).to(torch.uint8)
    sketch = tiny_sketch()
    vectors = torch.cat([to_vector(view.float() / 255, 8) for view in (images, images.flip(-1))])
    weighted = (vectors - vectors.mean(0)) * sketch.weight
    values, basis = torch.linalg.eigh(weighted.T @ weighted / len(weighted))
    right = values.flip(0)[:24]
    sketch.mean.copy_(vectors.mean(0))
    sketch.basis.copy_(basis.flip(1)[:, :24].T)
    sketch.eigenvalues.copy_(0.7 * right)
    recalibrate(sketch, images)
    torch.testing.assert_close(sketch.eigenvalues, right, rtol=0.02, atol=0)


def test_reported_error_of_the_sketch_is_the_measured_one() -> None:
    sketch = tiny_sketch()
    components = torch.randn(20000, 24, generator=torch.Generator().manual_seed(0)) * sketch.eigenvalues.sqrt()
    noise = torch.full((1, 32), 10**-0.5 / 2)
    reals = sketch.modulate(components, 16, 5.0)
    received = reals + noise.sqrt() * torch.randn(reals.shape, generator=torch.Generator().manual_seed(1))
    estimate = sketch.demodulate(received, noise.expand_as(received), 16, 5.0)
    measured = (estimate - components).square().mean(0)
    torch.testing.assert_close(measured, sketch.error(noise, 16, 5.0)[0], rtol=0.06, atol=1e-7)


def test_a_sketch_with_directions_is_the_best_in_their_metric() -> None:
    """Against another basis, in G = W (I + E diag(σ²) Eᵀ) W: nothing of its rank leaves less, and pixels alone do not say so."""
    random = torch.Generator().manual_seed(0)
    root = torch.randn(96, 96, generator=random) * 2.0 ** -torch.arange(0, 12, 0.125)
    covariance, mean = root @ root.T / 96, torch.rand(96, generator=random)
    weight = torch.rand(96, generator=random) + 0.5
    directions = torch.linalg.qr(torch.randn(96, 3, generator=random)).Q.T
    length = torch.tensor([6.0, 4.0, 2.0])
    config = SketchConfig(side=8, components=12)
    plain, person = (transform(mean, covariance.numpy(), weight, config, each) for each in (None, (directions, length)))
    metric = (torch.eye(96) + directions.T @ torch.diag(length**2 - 1) @ directions) * weight * weight[:, None]

    def left(sketch: Sketch, metric: torch.Tensor) -> float:
        """Tr(G C') of what is left of the covariance."""
        keep = (sketch.shorten(sketch.basis) / weight).T @ (sketch.lengthen(torch.diag(weight)) @ sketch.basis.T).T
        rest = torch.eye(96) - keep
        return float(torch.trace(metric @ rest @ covariance @ rest.T))

    assert left(person, metric) < 0.9 * left(plain, metric)
    assert left(plain, torch.diag(weight**2)) < left(person, torch.diag(weight**2))
    whole = float(torch.trace(metric @ covariance))
    assert float(person.eigenvalues.sum()) + left(person, metric) == pytest.approx(whole, rel=1e-3)
    vectors = torch.randn(5, 96, generator=random)
    torch.testing.assert_close(person.shorten(person.lengthen(vectors)), vectors, atol=1e-4, rtol=0)


def test_more_symbols_and_less_noise_help_linear() -> None:
    system = Linear(tiny_sketch())
    photo = torch.rand(64, 3, 16, 16).repeat_interleave(16, 2).repeat_interleave(16, 3)
    errors = []
    for k, snr in ((4, 0.0), (4, 15.0), (12, 15.0)):
        received = make_channel("awgn").draw(64, k, snr, torch.Generator().manual_seed(3))(system.encode(photo, Budget(k, snr)))
        components = system.sketch.project(photo)
        noise = (received.noise_var / 2).repeat_interleave(2, -1)
        estimate = system.sketch.demodulate(torch.view_as_real(received.symbols).flatten(1), noise, k, snr)
        errors.append(float((estimate - components).square().sum(1).mean()))
    assert errors[0] > errors[1] > errors[2]


def test_flow_round_trip(flow: CodeFlow) -> None:
    codes = torch.randn(64, 28, 4)
    normal = flow.to_normal(codes)
    assert float((flow.to_codes(normal) - codes).abs().max()) < 1e-4
    assert float((flow.to_normal(flow.to_codes(normal)) - normal).abs().max()) < 1e-3


def test_flow_log_determinant_is_that_of_its_jacobian(flow: CodeFlow) -> None:
    codes = torch.randn(1, 28, 4)
    jacobian = torch.autograd.functional.jacobian(lambda c: flow.to_normal(c.view(1, 28, 4))[0], codes.flatten())
    expected = torch.linalg.slogdet(jacobian.double())[1] - torch.linalg.slogdet(flow.forward_matrix.double())[1]
    assert float(flow.normalise(codes)[1]) == pytest.approx(float(expected), abs=1e-2)


def test_whitening_orders_by_what_the_picture_shows(flow: CodeFlow) -> None:
    assert bool((flow.importance.diff() <= 0).all())
    fresh = CodeFlow(FlowConfig(dims=DIMS, width=8))
    spread = torch.logspace(-1, 1, DIMS)[:, None]  # a known condition: that of a square of noise is anything, and so is its error
    codes = torch.randn(5000, DIMS) @ (spread * torch.linalg.qr(torch.randn(DIMS, DIMS))[0])
    fresh.set_whitening(codes.mean(0), torch.cov(codes.T), torch.eye(DIMS).double())
    z = (codes - fresh.mean) @ fresh.forward_matrix.T
    torch.testing.assert_close(torch.cov(z.T), torch.eye(DIMS), atol=1e-3, rtol=0)


def test_every_flow_parameter_gets_a_gradient(flow: CodeFlow) -> None:
    flow.zero_grad()
    flow.nll(torch.randn(8, 28, 4)).mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in flow.couplings.parameters())


def tiny_codec(max_symbols: int = 160) -> ChannelCodec:
    torch.manual_seed(0)
    codec = ChannelCodec(CodecConfig(dims=DIMS, width=16, max_symbols=max_symbols))
    codec.importance.copy_(0.9 ** torch.arange(DIMS))
    return codec


@pytest.mark.parametrize("k", [1, 16, 56, 57, 160])
def test_codec_sends_unit_power_and_undoes_itself_without_noise(k: int) -> None:
    codec = tiny_codec()
    normal, budget = torch.randn(6, DIMS), Budget(k, 40.0)
    symbols = codec.encode(normal, budget)
    assert symbols.shape == (6, k)
    torch.testing.assert_close(symbols.abs().square().mean(1), torch.ones(6))
    received = make_channel("awgn").draw(6, k, 40.0, torch.Generator().manual_seed(0))(Burst(symbols, budget))
    estimate = codec.decode(received)
    if 2 * k >= DIMS:  # up to the burst's own power, which the linear part does not know
        cosine = torch.nn.functional.cosine_similarity(estimate, normal)
        assert float(cosine.min()) > 0.99


def test_half_a_burst_is_enough_for_the_first_coordinates() -> None:
    from semcast.generative.system import prefix

    codec = tiny_codec()
    normal, budget = torch.randn(200, DIMS), Budget(48, 15.0)
    sent = Burst(codec.encode(normal, budget), budget)
    received = make_channel("awgn").draw(200, 48, 15.0, torch.Generator().manual_seed(0))(sent)
    half = codec.decode(prefix(received, 24))
    error = (half - normal).square().mean(0)
    assert float(error[:40].mean()) < 0.5
    torch.testing.assert_close(half[:, 48:], torch.zeros(200, DIMS - 48))


def test_repeated_coordinates_are_combined_by_their_reliability() -> None:
    codec = tiny_codec()
    normal, budget = torch.randn(2000, DIMS), Budget(DIMS, 0.0)  # 2k = 2 dims: each coordinate twice
    received = make_channel("awgn").draw(2000, DIMS, 0.0, torch.Generator().manual_seed(0))(
        Burst(codec.encode(normal, budget), budget)
    )
    twice = (codec.decode(received) - normal).square().mean()
    once_budget = Budget(DIMS // 2, 10 * math.log10(2.0))  # the same energy per coordinate in half the uses
    once_received = make_channel("awgn").draw(2000, DIMS // 2, once_budget.snr_db, torch.Generator().manual_seed(1))(
        Burst(codec.encode(normal, once_budget), once_budget)
    )
    once = (codec.decode(once_received) - normal).square().mean()
    assert float(twice) == pytest.approx(float(once), rel=0.05)


def test_gradients_reach_every_codec_parameter() -> None:
    codec = tiny_codec()
    for layers in (codec.encoder, codec.decoder):
        torch.nn.init.normal_(layers[2].weight, std=0.1)
    normal, budget = torch.randn(4, DIMS), Budget(60, 5.0)
    received = make_channel("awgn").draw(4, 60, 5.0, torch.Generator().manual_seed(0))(
        Burst(codec.encode(normal, budget), budget)
    )
    (codec.decode(received) - normal).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in codec.parameters())
