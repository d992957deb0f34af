"""Bytes ↔ complex symbols as 5G sends them: CRC, segmentation, LDPC, rate matching, scrambling, QAM, and soft demapping back.

payload → CRC → code blocks → LDPC → rate matching to exactly k · m bits → interleaver, scrambler → Gray QAM → k symbols

One transport block of 3GPP TS 38.212 (§6.2: CRC, segmentation, LDPC, rate matching) with the size of TS 38.214 (§5.1.3.2)
and the constellations of TS 38.211 (§5.1), all from Sionna (``pip install 'semcast[digital]'``). The constellation has mean
energy 1, so SNR = Es/N0 and N0 = 10^(-SNR/10) as everywhere (``semcast.link``).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semcast.errors import BadInput, DoesNotFit, Missing
from semcast.files import quote

ITERATIONS = 20
"""Of belief propagation in the LDPC decoder."""

TABLE = Path(__file__).with_name("modem_table.json")
"""What ``python -m semcast.rivals.modem_table`` measured."""

_MODULATIONS = {1: "bpsk", 2: "qpsk", 4: "16qam", 6: "64qam", 8: "256qam"}
# The base graphs end at rates 1/5 and 1/3, and rounding the size of a block must not fall under them: 3 % more.
_LEAST = {Fraction(1, 5): 0.206, Fraction(1, 3): 0.343}
_LOWEST_RATE, _HIGHEST_RATE = 0.2, 0.95  # of a code block with its CRC: what the 5G codes can do


@dataclass(frozen=True)
class Scheme:
    """Modulation and nominal code rate: m coded bits a symbol, of which m · rate are payload (TS 38.214 then rounds).

    >>> Scheme(4, Fraction(1, 2)).name
    '16qam-1/2'
    """

    bits_per_symbol: int
    rate: Fraction

    @property
    def name(self) -> str:
        """As the command line knows it: ``qpsk-1/3``, ``16qam-1/2``, ..."""
        return f"{_MODULATIONS[self.bits_per_symbol]}-{self.rate}"


def _schemes() -> tuple[Scheme, ...]:
    third, half, *high = (Fraction(*r) for r in ((1, 3), (1, 2), (2, 3), (3, 4), (5, 6)))
    rates = {
        1: (Fraction(1, 5), third, half),
        2: (third, half, *high),
        4: (third, half, *high),
        6: (half, *high),
        8: tuple(high),
    }
    return tuple(Scheme(bits, rate) for bits, some in rates.items() for rate in some)


SCHEMES = _schemes()
"""Every modulation and code rate there is; what is left out carries no more, at any SNR, than one that is here."""


def scheme_named(name: str) -> Scheme:
    """The scheme of a name such as ``16qam-1/2``.

    Raises:
        BadInput: there is none of that name; the sentence lists those there are.
    """
    for scheme in SCHEMES:
        if isinstance(name, str) and scheme.name == name:
            return scheme
    raise BadInput(f"unknown modulation and code rate {quote(name)}; the known are {', '.join(s.name for s in SCHEMES)}")


class Modem:
    """One scheme: payload bytes → k symbols, and k noisy symbols → payload or None.

    Raises:
        Missing: Sionna is not installed.
    """

    def __init__(self, scheme: Scheme) -> None:
        _sionna()
        self.scheme = scheme

    def payload_bytes(self, k: int) -> int:
        """Bytes that k symbols carry beside the CRC (16 bits up to 478 bytes, above 24 and as many a code block); 0: none."""
        return _payload_bits(self.scheme, k) // 8

    def modulate(self, payloads: Sequence[bytes], k: int) -> Tensor:
        """Payloads of ``payload_bytes(k)`` each → symbols complex64 ``[batch, k]``, mean energy 1 on average.

        Raises:
            DoesNotFit: k symbols carry nothing with this scheme; BadInput: a payload has another length.
        """
        length = self.payload_bytes(k)
        if not length:
            raise DoesNotFit(f"{k} symbols are too few for a 5G code block with {self.scheme.name}")
        if any(len(payload) != length for payload in payloads):
            raise BadInput(f"{k} symbols of {self.scheme.name} carry payloads of exactly {length} bytes")
        octets = np.frombuffer(b"".join(payloads), np.uint8).reshape(len(payloads), length)
        bits = torch.from_numpy(np.unpackbits(octets, axis=1)).float()
        return map_bits(_code(self.scheme, k)[0](bits), self.scheme.bits_per_symbol)

    def demodulate(self, symbols: Tensor, noise_var: Tensor) -> list[bytes | None]:
        """Equalised symbols and their noise variances, both ``[batch, k]`` → payloads; None where the CRC fails.

        Raises:
            DoesNotFit: k symbols carry nothing with this scheme.
        """
        k = symbols.shape[1]
        if not self.payload_bytes(k):
            raise DoesNotFit(f"{k} symbols are too few for a 5G code block with {self.scheme.name}")
        bits, passed = _code(self.scheme, k)[1](soft_bits(symbols, noise_var, self.scheme.bits_per_symbol))
        octets = np.packbits(bits.numpy().astype(np.uint8), axis=1)
        return [row.tobytes() if ok else None for row, ok in zip(octets, passed.tolist(), strict=True)]


def map_bits(bits: Tensor, bits_per_symbol: int) -> Tensor:
    """Bits ``[batch, k · m]`` → Gray-labelled BPSK or square QAM symbols ``[batch, k]`` of mean energy 1."""
    symbols: Tensor = _mapping(bits_per_symbol)[0](bits)
    return symbols


def soft_bits(symbols: Tensor, noise_var: Tensor, bits_per_symbol: int) -> Tensor:
    """Log-likelihood ratios ln P(1) / P(0) of all bits ``[batch, k · m]`` (a posteriori, not max-log).

    Args:
        symbols: y ``[batch, k]``.
        noise_var: variance of the complex noise on each, ``[batch, k]``; 0 is taken for very little.
    """
    # Beyond 60 dB nothing changes any more, and float32 would overflow where there is no noise at all.
    ratios: Tensor = _mapping(bits_per_symbol)[1](symbols, noise_var.clamp_min(1e-6))
    return ratios


def threshold_db(scheme: Scheme, k: int) -> float:
    """Es/N0 in dB from which fewer than 1 % of bursts of k symbols are lost over AWGN, from the measured table.

    Between the measured lengths it is linear in 1 / sqrt(k), as the gap to capacity of the best short codes is (Polyanskiy,
    Poor & Verdú, IEEE Trans. IT 2010); beyond them it is that of the nearest. Infinite where nothing was measured.
    """
    measured = [(int(length) ** -0.5, row["snr_db"][scheme.name]) for length, row in _table().items()
                if scheme.name in row["snr_db"]]  # fmt: skip
    if not measured:
        return float("inf")
    at, values = zip(*sorted(measured), strict=True)
    return float(np.interp(k**-0.5, at, values))


def scheme_for(snr_db: float, k: int) -> Scheme | None:
    """The scheme that carries most among those that lose fewer than 1 % of bursts at this SNR (adaptive modulation).

    Where none does, the most robust one; None where k symbols are too few for any.
    """
    able = [(scheme, threshold_db(scheme, k)) for scheme in SCHEMES if _payload_bits(scheme, k)]
    reached = [(scheme, needed) for scheme, needed in able if needed <= snr_db]
    if reached:
        return max(reached, key=lambda pair: (_payload_bits(pair[0], k), -pair[1]))[0]
    return min(able, key=lambda pair: pair[1])[0] if able else None


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    """Symbols → what was measured with bursts of that length."""
    lengths: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))["symbols"]
    return lengths


@lru_cache(maxsize=1)
def _sionna() -> Any:
    """Sionna's physical layer; importing it reseeds torch, which is undone."""
    try:
        with torch.random.fork_rng():
            from sionna import phy
    except ImportError:
        raise Missing("5G LDPC and QAM need Sionna: pip install 'semcast[digital]'") from None
    return phy


@lru_cache(maxsize=4096)
def _payload_bits(scheme: Scheme, k: int) -> int:
    """Size of the transport block (TS 38.214 §5.1.3.2), 0 where the 5G codes have none that is as short."""
    size, block, _, _, _, lengths = _sionna().nr.utils.calculate_tb_size(
        modulation_order=scheme.bits_per_symbol,
        target_coderate=_nominal(scheme),
        num_coded_bits=k * scheme.bits_per_symbol,
        device="cpu",
    )
    shortest, longest = int(lengths[lengths > 0].min()), int(lengths.max())
    if shortest < 1 or int(block) / shortest > _HIGHEST_RATE or int(block) / longest < _LOWEST_RATE:
        return 0
    return int(size)


@lru_cache(maxsize=8)
def _code(scheme: Scheme, k: int) -> tuple[Any, Any]:
    """Encoder bits ``[batch, payload]`` → ``[batch, k · m]``, and decoder LLRs → (bits, did the CRC pass)."""
    nr = _sionna().nr
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")  # a short block with its CRC is at a rate that networks would not choose
        encoder = nr.TBEncoder(
            _payload_bits(scheme, k), k * scheme.bits_per_symbol, _nominal(scheme), scheme.bits_per_symbol, device="cpu"
        )
    return encoder, nr.TBDecoder(encoder, num_bp_iter=ITERATIONS, device="cpu")


@lru_cache(maxsize=len(_MODULATIONS))
def _mapping(bits_per_symbol: int) -> tuple[Any, Any]:
    mapping = _sionna().mapping
    points = mapping.Constellation("pam" if bits_per_symbol == 1 else "qam", bits_per_symbol, device="cpu")
    return mapping.Mapper(constellation=points, device="cpu"), mapping.Demapper("app", constellation=points, device="cpu")


def _nominal(scheme: Scheme) -> float:
    return _LEAST.get(scheme.rate, float(scheme.rate))
