"""The header of a burst: 64 bits and a CRC behind a convolutional code, as 144 QPSK cells.

64 bits + CRC-24C + 8 zeros → convolutional code, K = 9, rate 1/3 (octal 557, 663, 711) → 288 bits, scrambled and permuted →
144 cells of QPSK. It needs no library, and the soft bits of both copies of a burst add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from semcast.errors import BadInput, Damaged
from semcast.onair.arrays import Complex, Real, Whole
from semcast.onair.waveform import EDGE, WIDTH, fixed_bits, qpsk

VERSION = 1
"""Of the waveform. What it writes stays readable."""

_FIELDS = (("version", 3), ("analog", 1), ("k_less_1", 24), ("system", 5), ("model", 16), ("snr", 7), ("scheme", 5), ("flags", 3))
_GENERATORS, _STATES, _CRC24C = (0o557, 0o663, 0o711), 256, 0xB2B117
_CODED = 3 * (64 + 24 + 8)
_ORDER = (np.arange(_CODED) * 179) % _CODED  # 179 is about 0.618 of 288 and coprime to it
_SCRAMBLER = fixed_bits(7, _CODED)


@dataclass(frozen=True)
class Header:
    """What a burst says of itself.

    Args:
        symbols: k, 1 to 2^20.
        system: its number in the table of systems, 1 to 31.
        model: the first 16 bits of the system's fingerprint: its weights.
        snr_db: that the transmitter designed for, in halves of a dB from -10 to 53.5.
        scheme: modulation and code rate of bytes, 1 to 31; 0: analog symbols.
        flags: 3 bits; the first says that parts of the face were replaced before anything was sent.

    Raises:
        BadInput: a field is out of range.
    """

    symbols: int
    system: int
    model: int
    snr_db: float
    scheme: int = 0
    flags: int = 0
    version: int = VERSION

    def __post_init__(self) -> None:
        fits = (
            1 <= self.symbols <= 1 << 20 and 1 <= self.system < 32 and 0 <= self.model < 1 << 16
            and -10 <= self.snr_db <= 53.5 and 0 <= self.scheme < 32 and 0 <= self.flags < 8 and 0 <= self.version < 8
        )  # fmt: skip
        if not fits:
            raise BadInput(f"a header holds k of 1 to 2^20, a system of 1 to 31 and an SNR of -10 to 53.5 dB, not {self}")

    @property
    def analog(self) -> bool:
        """Whether its symbols are numbers, spread over all cells, and not points of a constellation."""
        return self.scheme == 0

    @property
    def replaced(self) -> bool:
        """Whether parts of the face were replaced for privacy before anything was sent."""
        return bool(self.flags & 1)

    def pack(self) -> bytes:
        """As eight bytes, the most significant bit first."""
        values = {
            "version": self.version, "analog": int(self.analog), "k_less_1": self.symbols - 1, "system": self.system,
            "model": self.model, "snr": round(2 * (self.snr_db + 10)), "scheme": self.scheme, "flags": self.flags,
        }  # fmt: skip
        word = 0
        for name, width in _FIELDS:
            word = word << width | values[name]
        return word.to_bytes(8, "big")

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        """From eight bytes whose CRC is right.

        Raises:
            Damaged: they say what no transmitter says, or come from a version that this one does not know.
        """
        word, values = int.from_bytes(data, "big"), {}
        for name, width in reversed(_FIELDS):
            values[name] = word & ((1 << width) - 1)
            word >>= width
        if values["version"] != VERSION:
            raise Damaged(f"a burst of version {values['version']} of the waveform; this semcast reads version {VERSION}")
        if values["analog"] != (values["scheme"] == 0):
            raise Damaged("a burst whose header contradicts itself")
        try:
            snr_db = values["snr"] / 2 - 10
            return cls(values["k_less_1"] + 1, values["system"], values["model"], snr_db, values["scheme"], values["flags"])
        except BadInput as error:
            raise Damaged(f"a burst with an impossible header: {error}") from None


# ---- code ------------------------------------------------------------------------------------------------------------


def crc24c(bits: Whole) -> int:
    """CRC-24C of 3GPP TS 38.212 (§5.1) over bits.

    >>> crc24c(np.array([1]))
    11710743
    """
    register = 0
    for bit in bits.tolist():
        high = (register >> 23) ^ int(bit)
        register = (register << 1) & 0xFFFFFF
        if high:
            register ^= _CRC24C
    return register


@lru_cache(maxsize=1)
def _trellis() -> tuple[Whole, Real]:
    """For each new state and both of its predecessors: which that is, ``[256, 2]``, and the signs sent, ``[256, 2, 3]``."""
    state = np.arange(_STATES)
    before = np.stack(((state << 1) & 0xFF, ((state << 1) & 0xFF) | 1), 1)  # the newest bit is the highest of eight
    register = (state >> 7)[:, None] << 8 | before
    signs = np.stack([1 - 2 * (_parity(register & generator)) for generator in _GENERATORS], -1)
    return before, signs.astype(float)


def _parity(values: Whole) -> Whole:
    for shift in (8, 4, 2, 1):
        values = values ^ (values >> shift)
    return values & 1


def encode(bits: Whole) -> Whole:
    """Convolutional code: bits that end in eight zeros → three times as many."""
    register, coded = 0, []
    for bit in bits.tolist():
        register = register >> 1 | int(bit) << 8
        coded += [bin(register & generator).count("1") & 1 for generator in _GENERATORS]
    return np.array(coded, np.uint8)


def decode(soft: Real) -> Whole:
    """Viterbi: log-likelihood ratios ``[3 n]`` (positive: 0) → the likeliest n bits that end in the zero state."""
    before, signs = _trellis()
    steps = soft.reshape(-1, 3)
    metric = np.full(_STATES, -np.inf)
    metric[0] = 0.0
    choice = np.empty((len(steps), _STATES), bool)
    for i, step in enumerate(steps):
        both = metric[before] + signs @ step
        choice[i] = both[:, 1] > both[:, 0]
        metric = np.where(choice[i], both[:, 1], both[:, 0])
    state, bits = 0, np.empty(len(steps), np.uint8)
    for i in range(len(steps) - 1, -1, -1):
        bits[i] = state >> 7
        state = int(before[state, int(choice[i, state])])
    return bits


# ---- cells -----------------------------------------------------------------------------------------------------------


def to_cells(header: Header) -> Complex:
    """The cells of a header ``[3, 48]``."""
    bits = np.unpackbits(np.frombuffer(header.pack(), np.uint8))
    check = np.array([crc24c(bits) >> shift & 1 for shift in range(23, -1, -1)])
    coded = encode(np.concatenate((bits, check, np.zeros(8, int))))
    sent = np.empty(_CODED, np.uint8)
    sent[_ORDER] = coded ^ _SCRAMBLER
    return qpsk(sent).reshape(EDGE, WIDTH)


def soften(cells: Complex, variance: Real) -> Real:
    """Equalised cells ``[3, 48]`` and their noise variances → log-likelihood ratios ``[288]``, in the order of the code.

    2 sqrt(2) Re(cell) / variance, and the same of the imaginary part; copies of a header add theirs.
    """
    weighted = 2 * np.sqrt(2) * cells.reshape(-1) / variance.reshape(-1)
    soft = np.stack((weighted.real, weighted.imag), 1).reshape(-1)
    return np.asarray(soft[_ORDER] * (1 - 2.0 * _SCRAMBLER))


def from_soft(soft: Real) -> bytes | None:
    """The eight bytes of a header; None where the CRC fails, or all bits are zero (silence would pass it)."""
    bits = decode(soft)
    check = int("".join(map(str, bits[64:88].tolist())), 2)
    if not bits[:88].any() or crc24c(bits[:64]) != check:
        return None
    return np.packbits(bits[:64]).tobytes()
