"""Bounds, intervals, KID and ablations: laws, closed forms and naive loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from semcast.bench.statistics import bootstrap, subtract
from semcast.errors import SemcastError
from semcast.generative import variants
from semcast.generative.flow import CodeFlow, FlowConfig
from semcast.linear.sketch import Sketch, SketchConfig, allocate
from semcast.link import Budget, System
from semcast.metrics.kid import kid, kid_interval
from semcast.studies import bounds

LAMBDA = torch.logspace(1, -3, 40)


# ---- the Gaussian model ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [0.0, 0.3, 7.0, 60.0, 900.0])
def test_water_filling_spends_exactly_the_bits(bits: float) -> None:
    shuffled = LAMBDA[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    distortion = bounds.reverse_water_filling(shuffled, bits)
    spent = 0.5 * (shuffled.double() / distortion).log2()
    assert float(spent.sum()) == pytest.approx(bits, abs=1e-6)
    wet = distortion[spent > 1e-9]
    assert bool((spent >= -1e-12).all()) and (len(wet) == 0 or float(wet.max() - wet.min()) < 1e-9)


def test_white_source_with_one_use_a_number_meets_analog_transmission() -> None:
    # a Gaussian source matched to the channel: sending it as it is is optimal (Goblick 1965), D = λ / (1 + SNR)
    d = bounds.reverse_water_filling(torch.full((64,), 3.0), bounds.capacity_bits(32, 7.0))
    assert torch.allclose(d, torch.full((64,), 3 / (1 + 10**0.7), dtype=torch.float64))


@pytest.mark.parametrize("snr", [-5.0, 5.0, 20.0])
@pytest.mark.parametrize("k", [4, 16, 60])
def test_no_linear_code_is_below_opta(k: int, snr: float) -> None:
    noise = 10 ** (-snr / 10) / 2
    power = allocate(LAMBDA, 2 * k, noise).double()
    power = torch.nn.functional.pad(power, (0, 40 - len(power)))
    linear = float((LAMBDA * noise / (power + noise)).sum())
    assert float(bounds.reverse_water_filling(LAMBDA, bounds.capacity_bits(k, snr)).sum()) <= linear * (1 + 1e-9)


def test_water_filling_refuses() -> None:
    with pytest.raises(SemcastError):
        bounds.reverse_water_filling(torch.tensor([1.0, 0.0]), 3.0)
    with pytest.raises(SemcastError):
        bounds.reverse_water_filling(LAMBDA, float("nan"))


def test_opta_of_a_sketch() -> None:
    sketch = Sketch(SketchConfig(side=8, components=12))
    sketch.basis.copy_(torch.linalg.qr(torch.randn(96, 12, generator=torch.Generator().manual_seed(1))).Q.T)
    sketch.eigenvalues.copy_(torch.linspace(2, 0.1, 12))
    assert bounds.opta_mse(sketch, 4, -30.0) == pytest.approx(float(sketch.eigenvalues.sum()), rel=0.01)
    variances = bounds.rgb_variances(sketch)
    # the same total as errors of the components, one by one, make in the picture
    pictures = sketch.restore(torch.eye(12)) - sketch.restore(torch.zeros(1, 12))
    total = float((pictures.flatten(1).square().sum(1) * sketch.eigenvalues).sum())
    assert float(variances.sum()) == pytest.approx(total, rel=1e-4)
    better = [bounds.opta_psnr_db(variances, 8, 4, snr) for snr in (-5.0, 5.0, 20.0)]
    assert better == sorted(better) and better[0] > -10 * math.log10(total / 192) - 1e-3


# ---- the digital twin ------------------------------------------------------------------------------------------------


def test_entropy_of_the_quantised_gaussian() -> None:
    step = torch.tensor([0.3, 0.499999, 0.500001, 1.0, 3.0, 9.0], dtype=torch.float64)
    edges = np.arange(-400, 401) + 0.5
    for each, ours in zip(step.tolist(), bounds.entropy_bits(step).tolist(), strict=True):
        below = np.array([0.5 * math.erfc(-edge * each / math.sqrt(2)) for edge in edges])
        mass = np.diff(below)
        assert ours == pytest.approx(-sum(p * math.log2(p) for p in mass if p > 1e-14), abs=1e-6)


def test_steps_fit_the_bits_and_no_finer_ones_do() -> None:
    for bits in (3.0, 40.0, 400.0):
        step = bounds.fitting_steps(LAMBDA, bits)
        assert bits * 0.999 < float(bounds.entropy_bits(step).sum()) <= bits
        assert torch.allclose(step * LAMBDA.double().sqrt(), step[0] * LAMBDA[0].double().sqrt())


def test_quantised_code_costs_what_was_promised_and_errs_as_theory_says() -> None:
    normal = torch.randn(4000, 40, generator=torch.Generator().manual_seed(2))
    step = bounds.fitting_steps(LAMBDA, 60.0)
    index = bounds.quantise(normal, step)
    length = bounds.code_length_bits(index, step)
    assert float(length.mean()) == pytest.approx(60.0, rel=0.01)
    error = (bounds.dequantise(index, step) - normal).square().mean(0) * LAMBDA
    bound = bounds.reverse_water_filling(LAMBDA, 60.0)
    assert float(bound.sum()) < float(error.sum()) < 1.6 * float(bound.sum())  # 0.25 bit a number: a factor of 1.42
    at_middle = (index * step - normal).square().mean(0) * LAMBDA
    assert float(error.sum()) <= float(at_middle.sum())  # the centroid is the better reconstruction
    assert bool((bounds.dequantise(index, step).sign() == index.sign()).all())


@pytest.mark.parametrize("width", [0.7, 1.0, 1.6])
def test_every_photo_of_the_twin_fits_whatever_its_spread(width: float) -> None:
    errors = {}
    for bits in (25.0, 60.0):
        nominal = bounds.fitting_steps(LAMBDA, bits)
        coded = [
            bounds.code(width * torch.randn(40, generator=torch.Generator().manual_seed(i)), nominal, bits) for i in range(40)
        ]
        assert all(each is not None and each.bits <= bits for each in coded)
        each = coded[0]
        assert each is not None
        spent = float(bounds.code_length_bits(each.index, each.step / each.spread)) + bounds.SIDE_BITS
        assert spent == pytest.approx(each.bits)
        normal = width * torch.randn(40, generator=torch.Generator().manual_seed(0))
        errors[bits] = float(((each.decode() - normal).square() * LAMBDA).sum())
    assert errors[60.0] < errors[25.0] < width**2 * 3 * float(LAMBDA.sum())
    assert bounds.code(torch.ones(40), nominal, 5.0) is None


def test_codec_at_capacity_says_what_is_missing() -> None:
    with pytest.raises(SemcastError):
        bounds.AtCapacity("no-such-codec")


def test_codec_at_capacity_shows_what_fits_and_the_mean_where_nothing_does(monkeypatch: pytest.MonkeyPatch) -> None:
    class Digital(System):
        codec = "a codec"
        mean = torch.full((3, 8, 8), 0.25)

    def code(codec: str, photo: np.ndarray, k: int, snr_db: float) -> np.ndarray:
        assert codec == "a codec" and photo.dtype == np.uint8 and photo.shape == (8, 8, 3)
        if k < 100:
            raise SemcastError("it does not fit")
        return photo // 2

    monkeypatch.setattr(bounds, "load", lambda name, **_: Digital())
    monkeypatch.setattr(bounds, "at_capacity", code)
    system = bounds.AtCapacity("avif")
    image = torch.ones(1, 3, 8, 8)
    shown, ok = system.show(image, Budget(640, 5.0))
    assert system.name == "avif-capacity" and ok and float(shown.mean()) == pytest.approx(127 / 255)
    shown, ok = system.show(image, Budget(64, 5.0))
    assert not ok and shown.shape == image.shape and float(shown.mean()) == 0.25


# ---- intervals -------------------------------------------------------------------------------------------------------


def test_bootstrap_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(3.0, 2.0, (200, 40))
    found = [bootstrap(sample.tolist(), draws=400) for sample in samples]
    assert 0.88 < np.mean([each.low <= 3.0 <= each.high for each in found]) < 0.99
    width = np.mean([each.high - each.low for each in found])
    assert width == pytest.approx(2 * 1.96 * 2 / math.sqrt(40), rel=0.1)


def test_paired_differences_cancel_what_photos_share() -> None:
    rng = np.random.default_rng(1)
    hard = {str(i): float(x) for i, x in enumerate(rng.normal(0, 10, 50))}
    better = {name: value + 1 + rng.normal(0, 0.1) for name, value in hard.items()} | {"alone": 99.0}
    difference = subtract(better, hard)
    assert 0.9 < difference.low < 1.0 < difference.high < 1.1 and difference.count == 50
    with pytest.raises(SemcastError):
        subtract({"a": 1.0}, {"b": 1.0})
    for bad in ([], [1.0, math.nan]):
        with pytest.raises(SemcastError):
            bootstrap(bad)


# ---- KID -------------------------------------------------------------------------------------------------------------


def gaussian(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)) + shift


def test_kid_is_the_double_loop() -> None:
    x, y = gaussian(7, 0), gaussian(7, 1)

    def kernel(a: Tensor, b: Tensor) -> float:
        return (float(a.double() @ b.double()) / 16 + 1) ** 3

    total = sum(
        kernel(x[i], x[j]) + kernel(y[i], y[j]) - kernel(x[i], y[j]) - kernel(x[j], y[i])
        for i in range(7) for j in range(7) if i != j
    )  # fmt: skip
    assert kid(x, y) == pytest.approx(total / 42, rel=1e-9)


def test_kid_of_one_distribution_covers_0_and_of_a_shifted_one_does_not() -> None:
    covered = 0
    for seed in range(20):
        _, low, high = kid_interval(gaussian(60, 2 * seed), gaussian(60, 2 * seed + 1), draws=200)
        covered += low <= 0 <= high
    assert covered >= 17
    value, low, high = kid_interval(gaussian(60, 0), gaussian(60, 1, 0.5), draws=200)
    assert 0 < low < value < high
    assert kid(gaussian(60, 0), gaussian(60, 0)) == 0


def test_kid_is_unbiased_for_pairs_too() -> None:
    # y_i close to x_i (a received photo), the distributions the same: the cross terms i = j must not count
    values = []
    for seed in range(60):
        x, noise = gaussian(30, seed), gaussian(30, 1000 + seed)
        values.append(kid(x, 0.8 * x + 0.6 * noise))
    assert abs(float(np.mean(values))) < 3 * float(np.std(values)) / math.sqrt(len(values))


def test_kid_refuses() -> None:
    with pytest.raises(SemcastError):
        kid(gaussian(5, 0), gaussian(4, 0))
    with pytest.raises(SemcastError):
        kid_interval(gaussian(3, 0), gaussian(3, 1))


# ---- ablations -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flow() -> CodeFlow:
    """28 codes of 2 numbers with a covariance of their own; the couplings are the identity."""
    generator = torch.Generator().manual_seed(3)
    flow = CodeFlow(FlowConfig(dims=56, couplings=2, layers=2, width=8))
    for weight in flow.couplings.parameters():
        torch.nn.init.zeros_(weight)
    mixing, metric = (torch.randn(56, 56, generator=generator).double() / 7 + torch.eye(56) for _ in range(2))
    flow.set_whitening(torch.randn(56, generator=generator), mixing @ mixing.T, metric @ metric.T)
    return flow


@pytest.mark.parametrize("kind", [variants.whiten, variants.standardise, variants.decorrelate])
def test_coordinates_are_invertible_and_of_unit_variance(kind, flow: CodeFlow) -> None:
    coordinates = kind(flow)
    codes = torch.randn(5, 28, 2, generator=torch.Generator().manual_seed(4))
    assert torch.allclose(coordinates.to_codes(coordinates.to_normal(codes)), codes, atol=1e-3)
    a = coordinates.forward_matrix.double()
    covariance = a @ variants.code_covariance(flow) @ a.T
    assert torch.allclose(covariance.diagonal(), torch.ones(56, dtype=torch.float64), atol=1e-3)
    if kind is not variants.standardise:
        assert torch.allclose(covariance, torch.eye(56, dtype=torch.float64), atol=1e-3)
    assert bool((coordinates.importance.diff() <= 1e-6).all())


def test_whitening_alone_is_the_flow_whose_couplings_do_nothing(flow: CodeFlow) -> None:
    codes = torch.randn(3, 28, 2, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(variants.whiten(flow).to_normal(codes), flow.to_normal(codes), atol=1e-3)


def test_ideal_links_show_what_they_decide() -> None:
    class Half(bounds.Ideal):
        def show(self, image: Tensor, budget: Budget) -> tuple[Tensor, bool]:
            return image / 2, False

    image, budget = torch.rand(1, 3, 8, 8), Budget(16, 5.0)
    burst = Half().encode(image, budget)
    system = Half()
    reception = system(image, lambda sent: _noiseless(sent), budget)
    assert float(burst.symbols.abs().square().mean()) == 1.0
    assert torch.equal(reception.image, image / 2) and not bool(reception.ok.any())


def _noiseless(burst):
    from semcast.link import Received

    return Received(burst.symbols, torch.zeros(burst.symbols.shape), burst.budget)
