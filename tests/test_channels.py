"""Laws that every channel keeps, and the physics each one claims."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from semcast.channels import AWGN, CHANNELS, FADE_FLOOR, Draw, Rayleigh, Rician, make_channel
from semcast.errors import DoesNotFit, SemcastError
from semcast.hashes import generator_for
from semcast.link import Budget, Burst, Channel, Received, noise_var, to_complex, to_real, unit_power

EVERY: list[Channel] = [
    AWGN(),
    Rayleigh(),
    Rayleigh(block=1),
    Rayleigh(block=16, pilots=4),
    Rician(k_factor_db=3.0),
    Rician(k_factor_db=3.0, block=1),
    Rician(k_factor_db=10.0, block=16, pilots=2),
]
every = pytest.mark.parametrize("channel", EVERY, ids=str)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian_burst(channel: Channel, batch: int, symbols: int, seed: int = 9) -> Burst:
    budget = Budget(symbols, 10.0)
    return Burst(unit_power(torch.randn(batch, budget.symbols, dtype=torch.complex64, generator=seeded(seed))), budget)


def send(channel: Channel, batch: int, symbols: int, snr_db: float | Tensor, seed: int = 0) -> tuple[Burst, Received]:
    burst = gaussian_burst(channel, batch, symbols)
    return burst, channel.draw(batch, symbols, snr_db, seeded(seed))(burst)


def measured_snr_db(sent: Tensor, noise: Tensor) -> float:
    return 10.0 * math.log10(float(sent.abs().square().mean() / noise.abs().square().mean()))


# --- laws ---------------------------------------------------------------------------------------------------------


@every
def test_mean_gain_and_noise_are_one(channel: Channel) -> None:
    draw = channel.draw(5000, 32, 10.0, seeded())
    assert float(draw.h.abs().square().mean()) == pytest.approx(1.0, abs=0.05)
    assert float(draw.noise.real.var()) == pytest.approx(0.5, rel=0.02)
    assert float(draw.noise.imag.var()) == pytest.approx(0.5, rel=0.02)
    assert abs(complex(draw.noise.mean())) < 0.01
    assert abs(complex((draw.h.conj() * draw.noise).mean())) < 0.01


@every
def test_high_snr_is_the_identity(channel: Channel) -> None:
    burst, received = send(channel, 64, 64, 60.0)
    error = (received.symbols - burst.symbols).abs()
    assert float(error.median()) < 2e-3
    assert received.check().budget is burst.budget


@every
@pytest.mark.parametrize("snr_db", [-30.0, 0.0, 60.0])
def test_received_is_finite_and_positive(channel: Channel, snr_db: float) -> None:
    burst, received = send(channel, 500, 32, snr_db)
    assert received.check().symbols.shape == received.noise_var.shape == burst.symbols.shape
    assert float(received.noise_var.min()) > 0


@every
def test_gradients_reach_every_symbol(channel: Channel) -> None:
    burst = gaussian_burst(channel, 3, 32)
    symbols = burst.symbols.clone().requires_grad_()
    received = channel.draw(3, 32, 5.0, seeded())(Burst(symbols, burst.budget))
    received.symbols.abs().square().sum().backward()
    assert symbols.grad is not None
    assert bool((symbols.grad.abs() > 0).all() & torch.isfinite(torch.view_as_real(symbols.grad)).all())


@every
def test_draw_and_apply_are_apart(channel: Channel) -> None:
    draw, again, other = (channel.draw(2, 32, 5.0, seeded(seed)) for seed in (1, 1, 2))
    first, second = gaussian_burst(channel, 2, 32, seed=3), gaussian_burst(channel, 2, 32, seed=4)
    assert torch.equal(draw(first).symbols, draw(first).symbols)
    assert torch.equal(draw(first).symbols, again(first).symbols)
    assert not torch.equal(draw(first).symbols, other(first).symbols)
    # A fixed draw is linear up to its noise: what it adds to two bursts is the same.
    silence = Burst(torch.zeros_like(first.symbols), first.budget)
    both = Burst(first.symbols + second.symbols, first.budget)
    sum_of_parts = draw(first).symbols + draw(second).symbols - draw(silence).symbols
    torch.testing.assert_close(draw(both).symbols, sum_of_parts, rtol=1e-4, atol=1e-4)


@every
def test_draws_leave_the_global_generator_alone(channel: Channel) -> None:
    before = torch.get_rng_state()
    send(channel, 2, 32, 5.0)
    assert torch.equal(torch.get_rng_state(), before)


@every
def test_the_same_noise_at_every_snr(channel: Channel) -> None:
    low, high = channel.draw(3, 32, 0.0, seeded()), channel.draw(3, 32, 20.0, seeded())
    assert torch.equal(low.h, high.h) and torch.equal(low.noise, high.noise)


@every
def test_a_shorter_burst_meets_the_beginning_of_a_longer_one(channel: Channel) -> None:
    long_generator = seeded()
    long = channel.draw(3, 1280, 5.0, long_generator)
    for symbols in (17, 31, 32, 64, 640):
        generator = seeded()
        short = channel.draw(3, symbols, 5.0, generator)
        uses = channel.uses(symbols)
        assert torch.equal(short.h, long.h[:, :uses]) and torch.equal(short.noise, long.noise[:, :uses])
        assert torch.equal(generator.get_state(), long_generator.get_state())


@every
def test_an_image_meets_the_same_channel_in_any_batch(channel: Channel) -> None:
    one, many = channel.draw(1, 32, 5.0, seeded()), channel.draw(7, 32, 5.0, seeded())
    assert torch.equal(one.h[0], many.h[0]) and torch.equal(one.noise[0], many.noise[0])


def test_every_channel_adds_the_same_noise() -> None:
    noises = [channel.draw(3, 32, 5.0, seeded()).noise for channel in EVERY]
    assert all(torch.equal(noise[:, :32], noises[0]) for noise in noises)


@every
def test_one_snr_for_each_image(channel: Channel) -> None:
    snrs = torch.tensor([-5.0, 5.0, 20.0])
    burst = gaussian_burst(channel, 3, 32)
    together = channel.draw(3, 32, snrs, seeded())(burst)
    for image, snr_db in enumerate(snrs.tolist()):
        alone = channel.draw(3, 32, snr_db, seeded())(burst)
        torch.testing.assert_close(together.symbols[image], alone.symbols[image])
        torch.testing.assert_close(together.noise_var[image], alone.noise_var[image])


# --- physics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", [AWGN(), Rayleigh(block=1), Rician(block=1)], ids=str)
@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0])
def test_measured_snr_is_the_label(channel: Channel, snr_db: float) -> None:
    burst, received = send(channel, 500, 1000, snr_db)
    h = channel.draw(500, 1000, snr_db, seeded()).h
    assert measured_snr_db(h * burst.symbols, h * (received.symbols - burst.symbols)) == pytest.approx(snr_db, abs=0.05)


def test_the_popular_convention_is_caught_3_db_off() -> None:
    """Unit power per *real* with N0/2 noise per real: what much public DeepJSCC code calls 10 dB is 13.01 dB."""
    reals = torch.randn(1, 400_000, generator=seeded())
    reals = reals * reals.square().mean().rsqrt()
    noisy = reals + math.sqrt(noise_var(10.0) / 2) * torch.randn(reals.shape, generator=seeded(1))
    assert measured_snr_db(reals, noisy - reals) - 10.0 == pytest.approx(3.01, abs=0.05)
    # The same burst on our channel is as far off, and unit_power is what puts it right.
    budget = Budget(200_000, 10.0)
    draw = AWGN().draw(1, budget.symbols, 10.0, seeded())
    for symbols, off in ((to_complex(reals), 3.01), (unit_power(to_complex(reals)), 0.0)):
        noise = draw(Burst(symbols, budget)).symbols - symbols
        assert measured_snr_db(symbols, noise) - 10.0 == pytest.approx(off, abs=0.05)
        assert float(to_real(noise).var()) == pytest.approx(noise_var(10.0) / 2, rel=0.02)


def test_rayleigh_power_is_exponential() -> None:
    power = Rayleigh(block=1).draw(100, 1000, 0.0, seeded()).h.abs().square().flatten()
    for level in (0.01, 0.1, 0.5, 1.0, 2.0, 4.0):
        expected = 1 - math.exp(-level)
        spread = math.sqrt(expected * (1 - expected) / len(power))
        assert float((power < level).float().mean()) == pytest.approx(expected, abs=4 * spread)


@pytest.mark.parametrize("k_factor_db", [-10.0, 0.0, 6.0, 15.0])
def test_rician_k_factor(k_factor_db: float) -> None:
    """K from the moments: 2 - E|h|⁴ / (E|h|²)² = (K / (K + 1))²."""
    h = Rician(k_factor_db, block=1).draw(400, 1000, 0.0, seeded()).h
    power = h.abs().double().square()
    k_factor = 10 ** (k_factor_db / 10)
    fourth_moment = float(power.square().mean() / power.mean().square())
    assert 2 - fourth_moment == pytest.approx((k_factor / (k_factor + 1)) ** 2, abs=0.03)
    assert abs(complex(h.mean())) < 0.01  # the phase of the path is uniform


def test_rician_between_rayleigh_and_awgn() -> None:
    rayleigh, weak, strong = (
        channel.draw(50, 100, 0.0, seeded()).h for channel in (Rayleigh(block=1), Rician(-40.0, block=1), Rician(40.0))
    )
    torch.testing.assert_close(weak, rayleigh, atol=0.02, rtol=0)
    torch.testing.assert_close(strong.abs(), torch.ones(50, 100), atol=0.05, rtol=0)


@pytest.mark.parametrize("block", [1, 5, 16, None])
def test_a_block_shares_one_gain(block: int | None) -> None:
    h = Rayleigh(block=block).draw(4, 64, 0.0, seeded()).h
    assert [len(set(image.tolist())) for image in h] == [math.ceil(64 / (block or 64))] * 4
    assert torch.equal(h[:, : block or 64], h[:, :1].expand(4, block or 64))


@pytest.mark.parametrize("snr_db", [-5.0, 5.0, 20.0])
@pytest.mark.parametrize(
    "channel",
    [
        AWGN(),
        Rayleigh(block=8),
        Rician(3.0, block=8),
        *(Rayleigh(block=8, pilots=pilots) for pilots in (1, 4)),
        *(Rician(k_factor_db, block=8, pilots=pilots) for k_factor_db in (0.0, 6.0, 15.0) for pilots in (1, 4)),
    ],
    ids=str,
)
def test_reported_noise_variance_is_the_error_variance(channel: Channel, snr_db: float) -> None:
    """Not only on average: in each quarter of the blocks from the deepest fades to the strongest gains."""
    burst, received = send(channel, 3000, 64, snr_db)
    error = received.symbols - burst.symbols
    ratio = (error.abs().square() / received.noise_var).flatten()
    bias = (error / received.noise_var.sqrt()).flatten()
    for part in received.noise_var.flatten().argsort().chunk(4):
        assert float(ratio[part].mean()) == pytest.approx(1.0, abs=0.04)
        assert abs(complex(bias[part].mean())) < 0.02


def test_known_gain_leaves_n0_over_its_power() -> None:
    draw = Rayleigh(block=1).draw(3, 64, 5.0, seeded())
    received = draw(gaussian_burst(Rayleigh(block=1), 3, 64))
    torch.testing.assert_close(received.noise_var, noise_var(5.0) / draw.h.abs().square())


def test_rayleigh_pilots_give_the_lmmse_estimate() -> None:
    channel = Rayleigh(block=8, pilots=4)
    draw = channel.draw(10_000, 4, 5.0, seeded())
    s = float(noise_var(5.0)) / 4
    torch.testing.assert_close(draw.uncertainty, torch.full((10_000, 8), s / (1 + s)))
    assert float((draw.h - draw.estimate)[:, 0].abs().square().mean()) == pytest.approx(s / (1 + s), rel=0.03)


def test_more_pilots_estimate_better_and_all_of_them_count() -> None:
    known, few, many = (Rayleigh(block=32, pilots=pilots) for pilots in (0, 1, 8))
    assert [channel.uses(k) for channel, k in ((known, 64), (few, 62), (many, 48))] == [64, 64, 64]
    variances = [float(channel.draw(500, 64, 5.0, seeded()).uncertainty.mean()) for channel in (known, few, many)]
    assert variances[0] == 0 and variances[1] > variances[2] > 0


@pytest.mark.parametrize(("symbols", "uses"), [(1, 3), (6, 8), (7, 11), (12, 16), (480, 640)])
def test_pilots_come_on_top_of_the_data(symbols: int, uses: int) -> None:
    channel = Rayleigh(block=8, pilots=2)
    burst, received = send(channel, 2, symbols, 5.0)
    draw = channel.draw(2, symbols, 5.0, seeded())
    assert channel.uses(symbols) == uses == draw.h.shape[1] == draw.noise.shape[1]
    assert burst.symbols.shape[1] == symbols == sum(t % 8 >= 2 for t in range(uses)) == int(draw.data.sum())
    assert received.symbols.shape == burst.symbols.shape


def test_a_deep_fade_stays_finite_and_honest() -> None:
    h = torch.tensor([[0.0, 1e-8, 1e-4, 1e-3, 1.0]], dtype=torch.complex64).repeat(20_000, 1)
    noise = torch.randn(h.shape, dtype=torch.complex64, generator=seeded())
    draw = Draw(h, noise, torch.full((20_000, 1), 0.1), h, torch.zeros(h.shape), torch.ones(5, dtype=torch.bool))
    burst = gaussian_burst(AWGN(), 20_000, 5)
    received = draw(burst)
    error = (received.symbols - burst.symbols).abs().square().mean(0)
    torch.testing.assert_close(error, received.check().noise_var[0], rtol=0.03, atol=0)
    assert float(received.noise_var.max()) <= 0.1 / FADE_FLOOR * 1.001


@pytest.mark.parametrize(
    "channel", [AWGN(), Rayleigh(), Rayleigh(block=7), Rayleigh(block=7, pilots=2), Rician(3.0, block=7)], ids=str
)
def test_vectorised_equals_a_naive_loop(channel: Channel) -> None:
    uses, n0 = 24, float(noise_var(4.0))
    block, pilots = getattr(channel, "block", None) or uses, getattr(channel, "pilots", 0)
    symbols = sum(t % block >= pilots for t in range(uses))
    assert channel.uses(symbols) == uses
    burst = gaussian_burst(channel, 2, symbols)
    draw = channel.draw(2, symbols, 4.0, seeded())
    received = draw(burst)
    for image in range(2):
        waiting = iter(burst.symbols[image].tolist())
        found = iter(zip(received.symbols[image].tolist(), received.noise_var[image].tolist(), strict=True))
        for start in range(0, uses, block):
            seen: list[complex] = []
            for t in range(start, min(start + block, uses)):
                h, n = complex(draw.h[image, t]), complex(draw.noise[image, t])
                if t - start < pilots:
                    seen.append(h * 1 + math.sqrt(n0) * n)
                    continue
                x = next(waiting)
                y = h * x + math.sqrt(n0) * n
                s = n0 / pilots if pilots else 0.0
                estimate = sum(seen, 0j) / len(seen) / (1 + s) if pilots else h
                symbol, variance = next(found)
                assert symbol == pytest.approx(y / estimate, rel=1e-4)
                assert variance == pytest.approx((n0 + s / (1 + s)) / abs(estimate) ** 2, rel=1e-4)
        assert not [*waiting, *found]


# --- the door, and bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHANNELS)
def test_every_name_makes_its_channel(name: str) -> None:
    assert make_channel(name).name == name
    assert make_channel(name).uses(640) == 640


def test_options_reach_the_channel() -> None:
    assert make_channel("rayleigh", block=8, pilots=2) == Rayleigh(block=8, pilots=2)
    assert make_channel("rician", k_factor_db=3.0) == Rician(3.0)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("cable", {}, "awgn, rayleigh, rician"),
        ("awgn", {"pilots": 2}, "no option 'pilots'"),
        ("rayleigh", {"k_factor_db": 2.0}, "block, pilots"),
        ("rayleigh", {"block": 1, "pilots": 1}, "fast fading"),
        ("rayleigh", {"block": 4, "pilots": 4}, "no room for data"),
        ("rayleigh", {"block": 0}, "at least 1"),
        ("rician", {"pilots": -1}, "negative"),
        ("rician", {"k_factor_db": math.nan}, "K-factor"),
    ],
)
def test_bad_options_say_why(name: str, options: dict[str, float], says: str) -> None:
    with pytest.raises(SemcastError, match=says):
        make_channel(name, **options)


@every
@pytest.mark.parametrize("symbols", [0, -1, 10**9])
def test_impossible_symbols_are_refused(channel: Channel, symbols: int) -> None:
    with pytest.raises(SemcastError, match="symbols must be a whole number between"):
        channel.uses(symbols)
    with pytest.raises(SemcastError, match="symbols must be a whole number between"):
        channel.draw(1, symbols, 5.0, seeded())


@every
@pytest.mark.parametrize("snr_db", [math.nan, math.inf, -100.0, torch.tensor([5.0, math.nan])])
def test_impossible_snrs_are_refused(channel: Channel, snr_db: float | Tensor) -> None:
    with pytest.raises(SemcastError, match="SNR"):
        channel.draw(2, 32, snr_db, seeded())


@every
def test_mismatched_shapes_are_refused(channel: Channel) -> None:
    with pytest.raises(SemcastError, match="one SNR or one for each image"):
        channel.draw(3, 32, torch.tensor([5.0, 6.0]), seeded())
    with pytest.raises(SemcastError, match="data symbols"):
        channel.draw(3, 32, 5.0, seeded())(gaussian_burst(channel, 3, 31))


def test_pilots_without_end_are_refused() -> None:
    with pytest.raises(DoesNotFit, match="4 symbols and their pilots take 1048577 channel uses, more than the 1048576"):
        Rayleigh(pilots=2**20 - 3).uses(4)
    with pytest.raises(DoesNotFit, match="more than the 1048576 of a burst"):
        Rayleigh(block=8, pilots=7).draw(1, 2**18, 5.0, seeded())


# --- a channel is called ------------------------------------------------------------------------------------------


@every
def test_calling_a_channel_draws_and_sends(channel: Channel) -> None:
    burst = replace(gaussian_burst(channel, 2, 32), name="me.jpg")
    received, again, other = (channel(burst, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(received.symbols, again.symbols) and not torch.equal(received.symbols, other.symbols)
    assert torch.equal(received.symbols, channel.draw(2, 32, 10.0, generator_for(3, "me.jpg"))(burst).symbols)
    assert not torch.equal(received.symbols, channel(replace(burst, name="you.jpg"), seed=3).symbols)


@every
def test_the_channel_may_be_worse_than_expected(channel: Channel) -> None:
    burst = gaussian_burst(channel, 2, 32)
    expected, met = channel(burst), channel(burst, snr_db=0.0)
    assert met.budget.snr_db == 10.0, "the receiver knows what both ends agreed on, and measures the noise"
    assert torch.equal(met.symbols, channel.draw(2, 32, 0.0, generator_for(0, ""))(burst).symbols)
    assert float(met.noise_var.mean()) > float(expected.noise_var.mean())
