"""Laws of the core types: budget, power, pairing, and the one noise convention."""

import dataclasses
import math

import pytest
import torch

from semcast.errors import SemcastError
from semcast.link import (
    MAX_SYMBOLS,
    Budget,
    Burst,
    Received,
    Reception,
    System,
    noise_var,
    snr_db,
    source_samples,
    to_complex,
    to_real,
    unit_power,
)


def symbols_of(batch: int, k: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, k, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("symbols", [1, 64, 640, 8192, MAX_SYMBOLS])
@pytest.mark.parametrize("snr", [-30.0, 0.0, 60.0])
def test_budgets_in_range_are_accepted(symbols: int, snr: float) -> None:
    budget = Budget(symbols, snr)
    assert (budget.symbols, budget.snr_db) == (symbols, snr)
    assert dataclasses.replace(budget, symbols=1) == Budget(1, snr)
    with pytest.raises(dataclasses.FrozenInstanceError):
        budget.symbols = 2  # type: ignore[misc]


@pytest.mark.parametrize("symbols", [0, -1, MAX_SYMBOLS + 1, 10**9])
def test_impossible_symbols_are_refused(symbols: int) -> None:
    with pytest.raises(SemcastError, match=f"not {symbols}"):
        Budget(symbols, 10.0)
    with pytest.raises(SemcastError):
        dataclasses.replace(Budget(64, 10.0), symbols=symbols)


@pytest.mark.parametrize("snr", [math.nan, math.inf, -math.inf, -30.1, 60.1])
def test_impossible_snrs_are_refused(snr: float) -> None:
    with pytest.raises(SemcastError, match="SNR"):
        Budget(64, snr)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_unit_power_holds_for_each_burst(scale: float) -> None:
    z = scale * symbols_of(5, 33) * torch.arange(1, 6)[:, None]
    x = unit_power(z)
    torch.testing.assert_close(x.abs().square().mean(-1), torch.ones(5))
    torch.testing.assert_close(x, math.sqrt(33) * z / z.norm(dim=-1, keepdim=True))
    torch.testing.assert_close(unit_power(x), x)


def test_unit_power_of_silence_is_finite() -> None:
    z = torch.zeros(1, 4, dtype=torch.complex64, requires_grad=True)
    unit_power(z).abs().sum().backward()
    assert z.grad is not None and bool(torch.isfinite(torch.view_as_real(z.grad)).all())


def test_pairing_is_inverted() -> None:
    z = symbols_of(3, 10)
    reals = to_real(z)
    assert reals.shape == (3, 20)
    assert torch.equal(to_complex(reals), z)
    assert torch.equal(to_real(to_complex(reals)), reals)
    assert torch.equal(to_complex(torch.tensor([[1.0, 2.0, 3.0, 4.0]])), torch.tensor([[1 + 2j, 3 + 4j]]))
    torch.testing.assert_close(reals.square().sum(-1), z.abs().square().sum(-1))


@pytest.mark.parametrize("snr", [-30.0, -3.0, 0.0, 10.0, 60.0])
def test_noise_var_and_snr_are_inverse(snr: float) -> None:
    assert snr_db(noise_var(snr)) == pytest.approx(snr)
    torch.testing.assert_close(snr_db(noise_var(torch.tensor([snr]))), torch.tensor([snr]), rtol=1e-5, atol=1e-5)


def test_noise_var_by_hand() -> None:
    assert (noise_var(0.0), noise_var(10.0), noise_var(-20.0)) == pytest.approx((1.0, 0.1, 100.0))


def test_bandwidth_ratios() -> None:
    n = source_samples(torch.zeros(2, 3, 256, 256))
    assert n == 196_608
    assert [n / k for k in (64, 640, 8192)] == [3072, 307.2, 24]


@pytest.mark.parametrize("bad", [math.nan, math.inf, complex(0, math.nan)])
def test_received_refuses_what_is_not_finite(bad: complex) -> None:
    budget = Budget(4, 10.0)
    good = Received(symbols_of(2, 4), torch.full((2, 4), 0.1), budget)
    assert good.check() is good
    symbols = good.symbols.clone()
    symbols[1, 2] = torch.tensor(bad)
    with pytest.raises(SemcastError, match="NaN or infinite"):
        Received(symbols, good.noise_var, budget).check()
    if isinstance(bad, float):
        with pytest.raises(SemcastError, match="NaN or infinite"):
            Received(good.symbols, torch.full((2, 4), bad), budget).check()


@pytest.mark.parametrize("shape", [(2, 5), (4,), (1, 2, 4)])
def test_received_refuses_another_shape(shape: tuple[int, ...]) -> None:
    received = Received(torch.zeros(shape, dtype=torch.complex64), torch.ones(shape), Budget(4, 10.0))
    with pytest.raises(SemcastError, match="expected 4 symbols"):
        received.check()


class Repeater(System):
    """The smallest system: mean grey, sent once on every symbol."""

    name = "repeater"
    max_symbols = 8

    def encode(self, image: torch.Tensor, budget: Budget) -> Burst:
        return Burst(unit_power(torch.ones(len(image), budget.symbols, dtype=torch.complex64)), budget)

    def decode(self, received: Received) -> Reception:
        grey = received.symbols.real.mean(-1).clamp(0, 1)[:, None, None, None]
        return Reception(grey.expand(-1, 3, 4, 4), torch.ones(len(grey), dtype=torch.bool))


def test_a_system_is_encode_channel_decode() -> None:
    def noiseless(burst: Burst) -> Received:
        return Received(burst.symbols, torch.zeros(burst.symbols.shape), burst.budget)

    reception = Repeater()(torch.rand(2, 3, 4, 4), noiseless, Budget(4, 10.0))
    assert reception.image.shape == (2, 3, 4, 4) and bool(reception.ok.all())
    with pytest.raises(SemcastError, match="repeater works with 1 to 8 symbols, not 9"):
        Repeater().check(Budget(9, 10.0))


@pytest.mark.parametrize(("symbol", "noise"), [(1e30, 1.0), (1.0, 1e35), (2e15, 1.0)])
def test_received_refuses_what_no_picture_can_be_made_of(symbol: float, noise: float) -> None:
    budget = Budget(32, 0.0)
    good = torch.ones(1, 32, dtype=torch.complex64), torch.ones(1, 32)
    Received(*good, budget).check()
    with pytest.raises(SemcastError, match="no numbers"):
        Received(good[0] * symbol, good[1] * noise, budget).check()
