"""Deep JSCC: shapes, power, the noise convention (a popular implementation is 3.01 dB off), gradients."""

from __future__ import annotations

import pytest
import skimage.data
import torch

from semcast.api import load
from semcast.channels import make_channel
from semcast.errors import DoesNotFit, SemcastError
from semcast.face import align
from semcast.linear.sketch import allocate
from semcast.link import Budget, Received
from semcast.metrics.pixel import psnr_db
from semcast.networks.segmenter import FaceParser
from semcast.photos import to_tensor
from semcast.rivals.deepjscc import DeepJscc
from semcast.rivals.jscc import GDN, Jscc, JsccConfig, SnrAttention, principal
from semcast.train.deepjscc import CONFIGS, cross
from semcast.train.recipes import run


def small(channels: int = 4) -> Jscc:
    torch.manual_seed(0)
    return Jscc(JsccConfig(channels=channels, filters=8))


@pytest.mark.parametrize("symbols", CONFIGS)
def test_each_bandwidth_has_as_many_symbols_as_its_name_says(symbols: int) -> None:
    assert CONFIGS[symbols].symbols(256) == symbols
    assert CONFIGS[symbols].filters == 128


@pytest.mark.parametrize("layers", [((9, 2), (5, 2), (5, 1), (5, 1)), ((9, 4), (5, 2), (5, 2), (3, 2), (3, 1))])
def test_synthesis_mirrors_analysis(layers: tuple[tuple[int, int], ...]) -> None:
    config = JsccConfig(channels=6, filters=8, layers=layers, block=32)
    network, image = Jscc(config), torch.rand(2, 3, 64, 64)
    sent = network.analyse(image, torch.tensor([0.0, 10.0]))
    side = 64 // config.stride
    assert sent.shape == (2, 6, side, side)
    assert network.synthesise(sent, torch.tensor([0.0, 10.0])).shape == image.shape


def test_inverse_gdn_undoes_the_gain_of_a_constant() -> None:
    x = torch.randn(2, 8, 4, 4)
    forward, back = GDN(8), GDN(8, inverse=True)
    gain = x / forward(x)
    torch.testing.assert_close(back(x) / x, gain, rtol=1e-4, atol=1e-5)
    naive = x / torch.sqrt(
        forward.beta.square()[None, :, None, None] + 1e-6
        + torch.einsum("ij,bjhw->bihw", forward.gamma.square(), x.square())
    )  # fmt: skip
    torch.testing.assert_close(forward(x), naive, rtol=1e-4, atol=1e-5)


def test_attention_hears_the_snr() -> None:
    module, x = SnrAttention(16), torch.rand(1, 16, 4, 4)
    assert not torch.allclose(module(x, torch.tensor([[0.0]])), module(x, torch.tensor([[2.0]])))


def test_training_meets_the_noise_that_its_label_says() -> None:
    """Es/N0 = label within 0.05 dB, measured where training adds its noise."""

    class Ears(Jscc):
        def synthesise(self, received: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
            return received

    torch.manual_seed(0)
    network, image = Ears(JsccConfig(channels=4, filters=8)), torch.rand(4, 3, 256, 256)
    with torch.no_grad():
        clean = cross(network, image, torch.full((4,), 300.0), torch.Generator().manual_seed(0))
        for label in (0.0, 10.0):
            snr = torch.full((4,), label)
            # what was sent depends on the SNR that it was told, so it is heard without noise at the same label
            sent = network.analyse(image, snr)
            sent = sent * torch.rsqrt(2 * sent.square().mean((1, 2, 3), keepdim=True))
            noise = cross(network, image, snr, torch.Generator().manual_seed(1)) - sent
            power = 2 * sent.square().mean()  # of a complex symbol
            measured = 10 * torch.log10(power / (2 * noise.square().mean()))
            assert float(power) == pytest.approx(1, abs=1e-3)
            assert float(measured) == pytest.approx(label, abs=0.05)
    assert float(2 * clean.square().mean()) == pytest.approx(1, abs=1e-3)


def test_bursts_have_unit_power_and_other_budgets_are_refused() -> None:
    system = DeepJscc({8192: small()})
    with torch.no_grad():
        burst = system.encode(torch.rand(2, 3, 256, 256), Budget(8192, 5.0))
        assert burst.symbols.shape == (2, 8192)
        torch.testing.assert_close(burst.symbols.abs().square().mean(1), torch.ones(2))
        image = system.decode(Received(burst.symbols, torch.full((2, 8192), 0.1), burst.budget)).image
    assert image.shape == (2, 3, 256, 256)
    with pytest.raises(SemcastError, match="works with 8192 symbols, not 640"):
        system.encode(torch.rand(1, 3, 256, 256), Budget(640, 5.0))


@pytest.mark.parametrize(("height", "width"), [(512, 768), (64, 96), (32, 32)])
def test_photos_of_other_sizes_take_symbols_in_proportion(height: int, width: int) -> None:
    system, k = DeepJscc({8192: small()}).eval(), 8192 * height * width // 65536
    photo = torch.rand(2, 3, height, width)
    burst = system.encode(photo, Budget(k, 5.0))
    assert burst.symbols.shape == (2, k) and burst.budget.size == (height, width)
    assert system.decode(Received(burst.symbols, torch.full((2, k), 0.1), burst.budget)).image.shape == photo.shape
    with pytest.raises(DoesNotFit, match=f"works with {k} symbols for a photo of {width} x {height}, not 640"):
        system.encode(photo, Budget(640, 5.0))
    with pytest.raises(DoesNotFit, match=f"sides are multiples of 16 pixels, not {width} x {height - 4}"):
        system.encode(photo[:, :, 4:], Budget(k, 5.0))


def test_training_starts_at_the_best_linear_code_of_blocks() -> None:
    """Against the model: with A of n blocks' components, MSE = Σ λ_i σ² / (p_i + σ²) over those sent + Σ λ_i of the others."""
    face = to_tensor(align(skimage.data.astronaut(), FaceParser.load(), name="the astronaut")[0])
    tiles = face[0].unfold(1, 16, 16).unfold(2, 16, 16).permute(1, 2, 0, 3, 4).reshape(-1, 3, 16, 16)
    network = small()
    assert network.blocks is not None
    network.blocks.start(tiles)
    values, _, mean = principal(tiles.flatten(1), 768)
    flat = float(mean.view(3, -1).var(1, correction=0).mean())  # a bias has one value a colour: the mean block's pattern is lost
    for snr in (0.0, 10.0):
        noise = 10 ** (-snr / 10) / 2
        power = allocate(values[:63], 63, noise)
        model = float((values[:63] * noise / (power + noise)).sum() + values[63:].sum()) / 768 + flat
        with torch.no_grad():
            made = [cross(network, face, torch.tensor([snr]), torch.Generator().manual_seed(i)) for i in range(8)]
        error = float(torch.cat(made).sub(face).square().mean())
        assert error == pytest.approx(model, rel=0.1), snr


def test_the_pilot_tells_the_scale_of_a_burst() -> None:
    network, image, snr = small(), torch.rand(1, 3, 64, 64), torch.tensor([10.0])
    sent = network.analyse(image, snr)
    torch.testing.assert_close(network.synthesise(0.6 * sent, snr), network.synthesise(sent, snr), rtol=1e-3, atol=1e-4)


def test_a_block_that_no_grid_fits_is_refused() -> None:
    with pytest.raises(SemcastError, match="no multiple of the stride"):
        JsccConfig(block=6)


def test_gradients_reach_every_parameter() -> None:
    network = small()
    for silent in (network.symbols, network.up[0]):  # at zero, where training starts, nothing flows
        torch.nn.init.normal_(silent.weight, std=0.1)  # type: ignore[arg-type]
    made = cross(network, torch.rand(2, 3, 32, 32), torch.tensor([0.0, 9.0]), torch.Generator().manual_seed(0))
    made.square().mean().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def test_a_bandwidth_that_has_no_network_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SemcastError, match="trained for 8192, 640, 64"):
        run("deepjscc", tmp_path, tmp_path / "run", overrides=["symbols=100"])


def test_what_ships_shows_the_face_better_with_a_better_channel() -> None:
    system = load("deepjscc", device="cpu")
    face = to_tensor(align(skimage.data.astronaut(), FaceParser.load(), name="the astronaut")[0])
    quality = []
    for snr in (-5.0, 5.0, 20.0):
        draw = make_channel("awgn").draw(1, 8192, snr, torch.Generator().manual_seed(0))
        with torch.no_grad():
            quality.append(float(psnr_db(face, system(face, draw, Budget(8192, snr)).image)))
    assert quality == sorted(quality)
    assert quality[-1] > 27
