"""The modem: laws, closed forms of uncoded QAM, what the literature says of 5G LDPC, and the measured table."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("sionna")

import semcast.rivals.modem as modem_module
from semcast.channels import make_channel
from semcast.errors import SemcastError
from semcast.link import Budget, Burst, noise_var
from semcast.rivals.modem import SCHEMES, TABLE, Modem, Scheme, map_bits, scheme_for, scheme_named, soft_bits, threshold_db
from semcast.rivals.modem_table import BURSTS, LOST, count_lost

ORDERS = (1, 2, 4, 6, 8)
QPSK_THIRD, QPSK_HALF = Scheme(2, Fraction(1, 3)), Scheme(2, Fraction(1, 2))


def payload(modem: Modem, k: int, seed: int = 0) -> bytes:
    generator = torch.Generator().manual_seed(seed)
    return bytes(torch.randint(256, (modem.payload_bytes(k),), generator=generator).tolist())


def noisy(symbols: Tensor, snr_db: float, seed: int = 0) -> Tensor:
    pairs = torch.randn(*symbols.shape, 2, generator=torch.Generator().manual_seed(seed))
    return symbols + torch.view_as_complex(pairs) * math.sqrt(noise_var(snr_db) / 2)


# ---- constellations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", ORDERS)
def test_constellations_have_unit_energy_and_gray_labels(bits: int) -> None:
    labels = torch.tensor([[label >> i & 1 for i in range(bits - 1, -1, -1)] for label in range(1 << bits)])
    points = map_bits(labels.float(), bits)[:, 0]
    assert float(points.abs().square().mean()) == pytest.approx(1, abs=1e-5)
    distance = (points[:, None] - points[None]).abs() + 9 * torch.eye(len(points))
    neighbours = distance < distance.min() * 1.01
    differing = (labels[:, None] != labels[None]).sum(-1)
    assert bool((differing[neighbours] == 1).all())


def q(x: float) -> float:
    """Q(x) = P(N(0, 1) > x)."""
    return 0.5 * math.erfc(x / math.sqrt(2))


@pytest.mark.parametrize(
    ("bits", "snr_db"), [(1, 0.0), (1, 5.0), (2, 3.0), (2, 8.0), (4, 8.0), (4, 14.0)], ids=lambda value: f"{value:g}"
)
def test_uncoded_bit_error_rate_is_its_closed_form(bits: int, snr_db: float) -> None:
    snr, count = 10 ** (snr_db / 10), 600_000
    expected = {
        1: q(math.sqrt(2 * snr)),
        2: q(math.sqrt(snr)),
        4: sum(weight * q(i * math.sqrt(snr / 5)) for weight, i in ((0.75, 1), (0.5, 3), (-0.25, 5))),  # Gray, exact
    }[bits]
    sent = torch.randint(0, 2, (1, count), generator=torch.Generator().manual_seed(1)).float()
    arrived = noisy(map_bits(sent, bits), snr_db)
    decided = soft_bits(arrived, torch.full(arrived.shape, noise_var(snr_db)), bits) > 0
    measured = float((decided != (sent > 0)).float().mean())
    assert abs(measured - expected) < 4 * math.sqrt(expected * (1 - expected) / count)


def test_soft_bits_are_the_posterior_of_bpsk() -> None:
    arrived = noisy(map_bits(torch.tensor([[0.0, 1.0] * 50]), 1), 3.0)
    n0 = torch.linspace(0.1, 3.0, 100)[None]
    sign = map_bits(torch.ones(1, 1), 1).real
    assert torch.allclose(soft_bits(arrived, n0, 1), 4 * sign * arrived.real / n0, atol=1e-4)


# ---- the whole modem -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_round_trip_fills_every_symbol(scheme: Scheme) -> None:
    modem = Modem(scheme)
    for k in (64, 601):
        data = [payload(modem, k, seed) for seed in range(2)]
        assert 0 < len(data[0]) <= k * scheme.bits_per_symbol * float(scheme.rate) / 8 * 1.1 + 2
        symbols = modem.modulate(data, k)
        assert symbols.shape == (2, k) and symbols.dtype == torch.complex64
        assert float(symbols.abs().min()) > 0
        assert modem.demodulate(symbols, torch.zeros(2, k)) == data  # no noise at all


def test_long_bursts_of_several_code_blocks() -> None:
    modem = Modem(scheme_named("64qam-3/4"))
    data = [payload(modem, 8192)]
    assert len(data[0]) > 8448 / 8
    assert modem.demodulate(modem.modulate(data, 8192), torch.full((1, 8192), 1e-3)) == data


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_measured_snr_is_its_label(snr_db: float) -> None:
    modem, k = Modem(scheme_named("16qam-1/2")), 640
    symbols = modem.modulate([payload(modem, k, seed) for seed in range(160)], k)  # over 10^5 symbols
    budget = Budget(k, snr_db)
    arrived = make_channel("awgn").draw(len(symbols), k, snr_db, torch.Generator().manual_seed(0))(Burst(symbols, budget))
    error = (arrived.symbols - symbols).abs().square().mean()
    assert abs(10 * math.log10(float(symbols.abs().square().mean() / error)) - snr_db) < 0.05


def test_constant_payloads_are_scrambled() -> None:
    modem = Modem(scheme_named("256qam-3/4"))
    power = modem.modulate([bytes(modem.payload_bytes(4096))], 4096).abs().square().mean()
    assert float(power) == pytest.approx(1, abs=0.05)


def test_the_crc_catches_damage() -> None:
    modem, k = Modem(QPSK_HALF), 640
    data = [payload(modem, k)] * 2
    symbols = modem.modulate(data, k)
    symbols[1, :200] *= -1
    assert modem.demodulate(symbols, torch.full((2, k), 0.1)) == [data[0], None]
    noise = noisy(torch.zeros(20, k), 0.0)
    assert modem.demodulate(noise, torch.ones(20, k)) == [None] * 20


def test_the_noise_on_each_symbol_counts() -> None:
    """A receiver that knows which symbols are useless decodes without them; one that does not is lost."""
    modem, k = Modem(QPSK_THIRD), 640
    symbols = modem.modulate([payload(modem, k)], k)
    jammed = torch.arange(k) % 4 == 0
    arrived = torch.where(jammed, noisy(torch.zeros(1, k), -15.0), noisy(symbols, 6.0))
    n0 = torch.where(jammed, 1e5, noise_var(6.0))[None]
    assert modem.demodulate(arrived, n0)[0] is not None
    assert modem.demodulate(arrived, torch.full((1, k), noise_var(6.0)))[0] is None


def test_ldpc_gains_what_the_literature_says() -> None:
    """5G LDPC of rate 1/2 (base graph 1, 8192 bits) with QPSK decodes at 1.5 dB Es/N0, 1.5 dB from Shannon, not at 0.5.

    Reference: the waterfall at a block error rate of 1e-2 lies at about 1 dB Eb/N0 = Es/N0 (Richardson & Kudekar, IEEE
    Communications Magazine 2018; 20 iterations cost a little).
    """
    modem = Modem(QPSK_HALF)
    assert modem.payload_bytes(8192) == 1024
    assert count_lost(modem, 8192, 1.5, 4) == 0
    assert count_lost(modem, 8192, 0.5, 4) > 0


@pytest.mark.slow
def test_import_changes_nothing_global() -> None:
    code = (
        "import torch; torch.manual_seed(7); before = torch.get_num_threads(), torch.get_default_dtype(), torch.rand(1)\n"
        "torch.manual_seed(7)\n"
        "from semcast.rivals.modem import Modem, SCHEMES; Modem(SCHEMES[0]).payload_bytes(640)\n"
        "assert before == (torch.get_num_threads(), torch.get_default_dtype(), torch.rand(1))"
    )
    source = Path(modem_module.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# ---- the table -------------------------------------------------------------------------------------------------------


def test_the_table_is_complete_and_physical() -> None:
    """No scheme beats the Shannon limit, none is 5 dB from it at 640 symbols, and longer bursts never need more."""
    table = json.loads(TABLE.read_text())
    assert table["lost_at_most"] == LOST and list(table["symbols"]) == [str(k) for k in BURSTS]
    for length, row in table["symbols"].items():
        k = int(length)
        assert set(row["snr_db"]) == {scheme.name for scheme in SCHEMES}
        for scheme in SCHEMES:
            needed = row["snr_db"][scheme.name]
            assert row["payload_bytes"][scheme.name] == Modem(scheme).payload_bytes(k)
            gap = needed - 10 * math.log10(2 ** (8 * Modem(scheme).payload_bytes(k) / k) - 1)
            assert 0.25 < gap < {64: 9.0, 640: 5.0, 8192: 4.0}[k], (k, scheme)
            assert needed == threshold_db(scheme, k)
            assert threshold_db(scheme, 8192) <= threshold_db(scheme, 2000) <= threshold_db(scheme, 640) + 1e-9
            assert threshold_db(scheme, 640) < threshold_db(scheme, 64)


@pytest.mark.parametrize("k", [64, 640, 2000, 8192])
def test_better_channels_carry_more(k: int) -> None:
    chosen = [scheme_for(snr, k) for snr in range(-10, 35)]
    carried = [Modem(scheme).payload_bytes(k) for scheme in chosen if scheme]
    assert carried == sorted(carried) and len(set(carried)) > 8
    assert all(c <= k * math.log2(1 + 10 ** (snr / 10)) / 8 for c, snr in zip(carried, range(-10, 35), strict=True) if snr > 5)
    assert scheme_for(60.0, k) == SCHEMES[-1]


def test_the_table_holds() -> None:
    for snr_db in (2.0, 9.0, 16.0):
        scheme = scheme_for(snr_db, 640)
        assert scheme and count_lost(Modem(scheme), 640, snr_db, 20, seed=5) <= 1


def test_too_few_symbols() -> None:
    assert scheme_for(10.0, 4) is None
    assert Modem(QPSK_HALF).payload_bytes(16) == 0
    with pytest.raises(SemcastError, match="16 symbols are too few"):
        Modem(QPSK_HALF).modulate([b""], 16)
    with pytest.raises(SemcastError, match="16 symbols are too few"):
        Modem(QPSK_HALF).demodulate(torch.ones(1, 16) + 0j, torch.ones(1, 16))


def test_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scheme_named("16qam-1/2") == Scheme(4, Fraction(1, 2))
    for name in ("", "16qam", "32qam-1/2", "qpsk-7/8"):
        with pytest.raises(SemcastError, match="unknown modulation.*qpsk-1/3.*256qam-5/6"):
            scheme_named(name)
    with pytest.raises(SemcastError, match="exactly 80 bytes"):
        Modem(QPSK_HALF).modulate([b"short"], 640)
    monkeypatch.setitem(sys.modules, "sionna", None)
    modem_module._sionna.cache_clear()
    with pytest.raises(SemcastError, match=r"semcast\[digital\]"):
        Modem(QPSK_HALF)
    modem_module._sionna.cache_clear()
