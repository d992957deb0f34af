"""Results: one photo x system x point is one line of JSONL, and a file of them can be resumed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, TextIO, TypeVar, overload

from semcast.errors import SemcastError

KEY = ("image", "system", "channel", "snr_db", "symbols", "seed", "draw", "care", "refine", "fading", "pilots", "private",
       "domain")  # fmt: skip


class Line:
    """One result, one line of JSONL. Subclasses are frozen dataclasses that begin with ``image``.

    ``KEY`` names what was asked for, ``REQUIRED`` what a line must hold to be one.
    """

    KEY: ClassVar[tuple[str, ...]]
    REQUIRED: ClassVar[frozenset[str]]

    @property
    def key(self) -> tuple[object, ...]:
        """What it is a result of: two lines with one key are the same measurement."""
        return tuple(getattr(self, name) for name in self.KEY)

    def line(self) -> str:
        """One line of JSON with its newline; a value that JSON cannot hold (an infinite PSNR) is null."""
        return json.dumps(finite(asdict(self)), allow_nan=False) + "\n"  # type: ignore[call-overload]


L = TypeVar("L", bound=Line)


@dataclass(frozen=True)
class Record(Line):
    """One photo, one system, one point: what was asked for, then what was measured.

    ``symbols`` is k with pilots; ``snr_db`` is Es/N0; ``care`` and ``refine`` are None and 0 for systems without them,
    ``fading`` is None for AWGN; ``private`` is what was protected and how (None: nothing); ``domain`` is None for faces;
    ``weights`` fingerprints what the system computed with. A metric that was not available is None (null in the file).
    """

    KEY: ClassVar[tuple[str, ...]] = KEY
    # lines from before parts could be private, or photos streets, lack them
    REQUIRED: ClassVar[frozenset[str]] = frozenset(KEY) - {"private", "domain"} | {"aligned", "ok"}

    image: str
    system: str
    channel: str
    snr_db: float
    symbols: int
    seed: int
    draw: int
    care: str | None
    refine: int
    fading: str | None
    pilots: int
    aligned: bool
    weights: str
    psnr_db: float | None
    ms_ssim: float | None
    lpips_squeeze: float | None
    lpips_vgg: float | None
    identity: float | None
    identity_2: float | None
    side_bytes: int
    encode_s: float
    decode_s: float
    ok: bool
    private: str | None = None
    domain: str | None = None


METRICS = ("psnr_db", "ms_ssim", "lpips_squeeze", "lpips_vgg", "identity", "identity_2")
HEADINGS = {
    "psnr_db": "PSNR dB", "ms_ssim": "MS-SSIM", "lpips_squeeze": "LPIPS-squeeze", "lpips_vgg": "LPIPS-VGG",
    "identity": "identity", "identity_2": "identity 2",
}  # fmt: skip
_FIRST = '{"image": '


def finite(values: dict[str, Any]) -> dict[str, Any]:
    """The same with NaN and infinity as None, which JSON can hold."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def rounded(metrics: dict[str, float]) -> dict[str, float | None]:
    """Every metric of a record: five decimals, None where it was not measured."""
    return {name: round(metrics[name], 5) if name in metrics else None for name in METRICS}


def mean(values: Sequence[float | None], digits: int) -> str:
    """The mean of those that were measured, for a table; a dash where none was."""
    known = [value for value in values if value is not None]
    return f"{fmean(known):.{digits}f}" if known else "-"


def parse(line: str, kind: type[Any] = Record) -> Any:
    """The record (of a subclass of :class:`Line`) that a line holds, or None if it holds none."""
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        return None
    names = {field.name for field in fields(kind)}
    if not isinstance(values, dict) or not values.keys() <= names or not values.keys() >= kind.REQUIRED:
        return None
    return kind(**{name: values.get(name) for name in names})  # a line of an older version may lack some


@overload
def read(path: Path) -> list[Record]: ...
@overload
def read(path: Path, kind: type[L]) -> list[L]: ...
def read(path: Path, kind: type[Any] = Record) -> list[Any]:
    """The records of a file.

    Raises:
        SemcastError: it cannot be read or a line of it is not a record.
    """
    return _split(path, kind)[0]


@overload
def resume(path: Path) -> list[Record]: ...
@overload
def resume(path: Path, kind: type[L]) -> list[L]: ...
def resume(path: Path, kind: type[Any] = Record) -> list[Any]:
    """The records of an unfinished file, which can be appended to from here on.

    A run that was killed leaves a last line cut short: it is taken off. Nothing else is ever changed.

    Raises:
        SemcastError: the file holds something else.
    """
    records, good, size = _split(path, kind)
    if good < size:
        os.truncate(path, good)
    elif good:
        with path.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # the last line is whole, only its end is missing
                file.write(b"\n")
    return records


@contextmanager
def appender(path: Path, *, afresh: bool) -> Iterator[Callable[[Line], None]]:
    """Gives a function that puts a record into the file, as a whole line, at once.

    The file is opened by the first record: until then an old one is untouched, even if it is to be started ``afresh``.
    """
    with ExitStack() as stack:
        file: TextIO | None = None

        def write(record: Line) -> None:
            nonlocal file
            file = file or stack.enter_context(path.open("w" if afresh else "a", encoding="utf-8"))
            file.write(record.line())
            file.flush()

        yield write


def _split(path: Path, kind: type[Any]) -> tuple[list[Any], int, int]:
    """Its records, how many bytes they take, and the size of the file; the rest is one line cut short."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SemcastError(f"{path} cannot be read ({error.strerror})") from None
    records, good = [], 0
    lines = data.splitlines(keepends=True)
    for number, raw in enumerate(lines, 1):
        text = raw.decode("utf-8", "replace")
        record = parse(text, kind)
        if record is None:
            cut_short = number == len(lines) and not text.endswith("\n")
            if cut_short and (text.startswith(_FIRST) or _FIRST.startswith(text)):
                break
            raise SemcastError(f"line {number} of {path} is not a semcast result (-f starts the file afresh)")
        records.append(record)
        good += len(raw)
    return records, good, len(data)
