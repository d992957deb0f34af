"""Names for the arrays of this part, by what they hold."""

from typing import Any

from numpy.typing import NDArray

Complex = NDArray[Any]
"""Complex numbers: samples of baseband, cells, symbols."""
Real = NDArray[Any]
"""Real numbers: samples of sound, variances, times."""
Whole = NDArray[Any]
"""Whole numbers: bits, rows, columns."""
