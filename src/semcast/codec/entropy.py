"""Exact entropy coding: whole-number frequencies on a range coder, and as few bytes at the end as the message allows.

The coder is constriction's (Bamler 2022, arXiv 2201.01741; range coding after Martin 1979) with 32-bit words. It takes
floating-point probabilities, but where they are f - 1 for whole numbers f >= 1 that sum to 2^24, its own rounding has nothing
to round, and the model it uses *is* f / 2^24. So every machine decodes what any machine wrote: nothing here depends on rounding.

Bytes are big-endian. A message ends with the shortest byte string that lies in its final interval when zeros follow, so a
message of b bits takes at most ceil(b / 8) bytes and a decoder never needs to know where it ends.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from semcast.errors import Damaged, Missing

TOTAL = 1 << 24
"""What the frequencies of one symbol's alphabet sum to."""

Frequencies = NDArray[np.int64]
"""Whole numbers >= 1, ``[n, alphabet]``, each row's sum is :data:`TOTAL`."""

_WORD = 4


def normalise(weights: NDArray[np.int64]) -> Frequencies:
    """Scale to frequencies in proportion to weights ``[n, alphabet]`` (whole numbers >= 0, no row all 0, sums below 2^39).

    f_i = 1 + floor(w_i (2^24 - alphabet) / Σ w); what rounding left goes to the first of the largest.

    >>> normalise(np.array([[1, 3, 0]])).tolist()
    [[4194304, 12582911, 1]]
    """
    rows, alphabet = weights.shape
    frequencies: Frequencies = 1 + weights * (TOTAL - alphabet) // weights.sum(1, keepdims=True)
    frequencies[np.arange(rows), weights.argmax(1)] += TOTAL - frequencies.sum(1)
    return frequencies


def uniform(alphabet: int) -> Frequencies:
    """Give one row in which every symbol is as likely."""
    return normalise(np.ones((1, alphabet), np.int64))


def cost_bits(symbols: NDArray[np.integer], frequencies: Frequencies) -> float:
    """Count Σ log2(2^24 / f): what :meth:`Encoder.put` will add to the message, in bits."""
    chosen = np.take_along_axis(frequencies, np.asarray(symbols, np.int64)[:, None], 1)
    return float(np.log2(TOTAL / chosen).sum())


class Encoder:
    """Symbols → bytes, first in first out."""

    def __init__(self) -> None:
        library = _constriction()
        self._coder = library.stream.queue.RangeEncoder()
        self._family = library.stream.model.Categorical(perfect=False)

    def put(self, symbols: NDArray[np.integer], frequencies: Frequencies) -> None:
        """Append symbols ``[n]``, each with its row of frequencies ``[n, alphabet]``."""
        if len(symbols):
            self._coder.encode(np.asarray(symbols, np.int32), self._family, (frequencies - 1).astype(np.float64))

    def finish(self) -> bytes:
        """Give the shortest bytes that decode to what was put, whatever follows being read as zeros."""
        if self._coder.is_empty():
            return b""
        # The final interval is found from outside: a sure symbol at its bottom and one at its top cost 2^-72 of it each.
        low, high = self._edge(0), self._edge(1)
        size = max(len(low), len(high))
        bottom, top = (int.from_bytes(edge.ljust(size, b"\0"), "big") for edge in (low, high))
        for length in range(size + 1):
            unit = 1 << 8 * (size - length)
            first = -(-bottom // unit)
            if first * unit <= top:
                return first.to_bytes(length, "big")
        return low

    def _edge(self, symbol: int) -> bytes:
        coder = self._coder.clone()
        rows = np.array([[1, TOTAL - 1], [TOTAL - 1, 1]][symbol : symbol + 1] * 3, np.int64)
        coder.encode(np.full(3, symbol, np.int32), self._family, (rows - 1).astype(np.float64))
        return bytes(coder.get_compressed().astype(">u4").tobytes())


class Decoder:
    """Bytes → symbols, given the same frequencies as the encoder had.

    Args:
        data: what :meth:`Encoder.finish` gave, or any bytes at all.
        fill: the byte read after their end. What decodes alike with 0 and with 255 is decided by ``data`` alone.
    """

    def __init__(self, data: bytes, fill: int = 0) -> None:
        library = _constriction()
        padded = data + bytes([fill]) * (-len(data) % _WORD + 4 * _WORD)
        self._coder = library.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
        self._family = library.stream.model.Categorical(perfect=False)

    def get(self, frequencies: Frequencies) -> NDArray[np.int64]:
        """Read the next symbols, one for each row of frequencies.

        Raises:
            Damaged: no message begins with these bytes.
        """
        if not len(frequencies):
            return np.zeros(0, np.int64)
        try:
            return np.asarray(self._coder.decode(self._family, (frequencies - 1).astype(np.float64)), np.int64)
        except AssertionError:
            raise Damaged("the entropy-coded data is damaged") from None


def _constriction() -> ModuleType:
    try:
        import constriction
    except ImportError:
        raise Missing(".sem files need the constriction package: pip install 'semcast[codec]'") from None
    return constriction  # type: ignore[no-any-return]
