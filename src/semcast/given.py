"""What a caller gave, looked at at the door: numbers, texts, paths and kinds of things, each refused in one sentence."""

from __future__ import annotations

import os
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semcast.errors import BadInput
from semcast.files import quote

if TYPE_CHECKING:
    from torch import Tensor

SLACK = 1e-3
"""What a value may be outside [0, 1]: rounding and half precision stay below it."""


def whole_of(value: Any) -> int | None:
    """A whole number of Python, numpy or torch as Python's own; None where it is none (``True`` and 64.0 are none).

    >>> import numpy as np
    >>> whole_of(np.int64(64)), whole_of(True), whole_of("64")
    (64, None, None)
    """
    value = _scalar(value)
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None


def number_of(value: Any) -> float | None:
    """A real number of Python, numpy or torch as Python's own, whole ones as they are; None where it is none or beyond a float.

    >>> import numpy as np
    >>> number_of(5), number_of(np.float32(0.5)), number_of("5"), number_of(10**400)
    (5, 0.5, None, None)
    """
    value = _scalar(value)
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError, TypeError):
        return None
    return int(value) if isinstance(value, int) else number


def _scalar(value: Any) -> Any:
    """What an array or a tensor of one number and no dimensions holds; everything else as it is."""
    try:
        return value.item() if getattr(value, "ndim", None) == 0 else value
    except (AttributeError, RuntimeError, TypeError, ValueError):  # a tensor without values has a shape alone
        return value


def check_whole(what: str, value: Any, low: int, high: int | None = None) -> int:
    """A whole number in its range, as Python's own.

    Raises:
        BadInput: it is none, or out of range.
    """
    number = whole_of(value)
    if number is None or number < low or (high is not None and number > high):
        span = f"of at least {low}" if high is None else f"between {low} and {high}"
        raise BadInput(f"{what} must be a whole number {span}, not {quote(value if number is None else number)}")
    return number


def check_seed(value: Any) -> int:
    """A whole number of any size, as Python's own.

    Raises:
        BadInput: it is none.
    """
    number = whole_of(value)
    if number is None:
        raise BadInput(f"seed must be a whole number, not {quote(value)}")
    return number


def check_number(what: str, value: Any, low: float, high: float, unit: str = "") -> float:
    """A number in its range, as Python's own; NaN is in none.

    Raises:
        BadInput: it is none, or out of range.
    """
    number = number_of(value)
    if number is None or not low <= number <= high:
        told = quote(value if number is None else number)
        raise BadInput(f"{what} must be a number between {low:g} and {high:g}".rstrip() + f" {unit}".rstrip() + f", not {told}")
    return number


def check_flag(what: str, value: Any) -> bool:
    """Yes or no, as Python's own.

    Raises:
        BadInput: it is neither ``True`` nor ``False``.
    """
    flag = _scalar(value)
    if not isinstance(flag, bool):
        raise BadInput(f"{what} is True or False, not {quote(value)}")
    return flag


def check_text(what: str, value: Any) -> str:
    """A text as it is.

    Raises:
        BadInput: it is none.
    """
    if not isinstance(value, str):
        raise BadInput(f"{what} is a text, not {quote(value)}")
    return value


def check_path(what: str, value: Any) -> Path:
    """A text or a path as a path.

    Raises:
        BadInput: it is neither (bytes are not taken for a name).
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise BadInput(f"{what} is named by a text or a path, not by {quote(value)}")
    return Path(value)


def check_kind(what: str, value: Any, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Raise BadInput where a thing is of another kind.

    Args:
        what: it is, for the sentence.
        wanted: the kinds in words.
    """
    if not isinstance(value, kinds):
        given = f"the class {value.__name__}" if isinstance(value, type) else quote(value)
        raise BadInput(f"{what} is {wanted}, not {given}")


def check_levels(what: str, image: Tensor) -> None:
    """Raise BadInput where an image's numbers are not those of a picture in [0, 1]; one without values is not looked at.

    Args:
        what: it is, for the sentence.
    """
    if image.is_meta or not image.numel():
        return
    try:
        low, high = (float(end) for end in image.detach().aminmax())
    except (NotImplementedError, RuntimeError, TypeError):
        raise BadInput(f"{what} is a plain tensor of floats, not {image.layout} of {image.dtype}") from None
    if not (low >= -SLACK and high <= 1 + SLACK):
        raise BadInput(f"{what} holds numbers between 0 and 1, not {low:g} to {high:g}")
