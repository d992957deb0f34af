"""Records: one measurement is one line of JSONL, its types checked when it is read; lines of older forms are still read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, TypeVar, overload

import msgspec

from semcast.errors import Damaged, Missing


class Line:
    """One measurement, one line of JSONL. Subclasses are frozen dataclasses that begin with ``image``.

    ``KEY`` names what was asked for, ``REQUIRED`` what a line must hold to be one, ``METRICS`` what may be missing because
    this computer lacks a file.
    """

    KEY: ClassVar[tuple[str, ...]]
    REQUIRED: ClassVar[frozenset[str]]
    METRICS: ClassVar[tuple[str, ...]] = ()

    image: str

    @property
    def key(self) -> tuple[object, ...]:
        """What it is a result of: two lines with one key are the same measurement."""
        return tuple(getattr(self, name) for name in self.KEY)

    def line(self) -> str:
        """Write it as one line of JSON with its newline; a value that JSON cannot hold (an infinite PSNR) is null."""
        return json.dumps(finite(asdict(self)), allow_nan=False) + "\n"  # type: ignore[call-overload]

    @classmethod
    def upgrade(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Bring the values of a line of an older form into the present one; here nothing has changed."""
        return values


L = TypeVar("L", bound=Line)


@dataclass(frozen=True, kw_only=True)
class Record(Line):
    """One photo, one system, one point: what was asked for, then what was measured.

    ``symbols`` is k, the symbols that carry data, and ``uses`` all channel uses, pilots among them. ``snr_db`` is the channel's
    Es/N0; ``design_snr_db`` is what the transmitter expected where that was another one (None: the same). ``care``,
    ``refine``, ``inversion`` and ``private`` are what differs from the system as it ships (None or 0: nothing); ``fading`` is
    ``block`` (one gain a burst), ``fast``, or the channel's own words, and None for AWGN. ``weights`` fingerprints what the
    system computed with. ``power`` is the burst's mean |x|². A metric that was not available is None (null in the file);
    ``without`` names those that were and gave nothing for this photo (too small, say). ``grid_*_db``, ``directions``, ``tone``
    and ``tone_error`` are of :class:`~semcast.metrics.looks.Looks`, over the photo's own; lines of earlier versions have none.

    Older lines are read as what they meant: without ``uses``, ``symbols`` counted the pilots too; ``domain: null`` was a face.
    """

    KEY: ClassVar[tuple[str, ...]] = (
        "image", "system", "channel", "snr_db", "symbols", "seed", "draw", "care", "refine", "fading", "pilots", "private",
        "domain", "design_snr_db", "inversion",
    )  # fmt: skip
    REQUIRED: ClassVar[frozenset[str]] = frozenset(
        ["image", "system", "channel", "snr_db", "symbols", "seed", "draw", "care", "refine", "fading", "pilots", "aligned", "ok"]
    )
    METRICS: ClassVar[tuple[str, ...]] = (
        "psnr_db", "ms_ssim", "lpips_squeeze", "lpips_vgg", "efficientnet", "ssimulacra2", "identity", "identity_2", "identity_3",
        "verified", "verified_2", "verified_3",
    )  # fmt: skip

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
    domain: str = "face"
    uses: int | None = None
    power: float | None = None
    design_snr_db: float | None = None
    inversion: str | None = None
    efficientnet: float | None = None
    ssimulacra2: float | None = None
    identity_3: float | None = None
    verified: float | None = None
    verified_2: float | None = None
    verified_3: float | None = None
    grid_8_db: float | None = None
    grid_4_db: float | None = None
    grid_2_db: float | None = None
    tone_error: float | None = None
    tone: float | None = None
    directions: list[int] | None = None
    without: list[str] | None = None

    @classmethod
    def upgrade(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Read an older line as what it meant."""
        new = dict.fromkeys(cls.METRICS) | values
        new["domain"] = values.get("domain") or "face"
        if values.get("uses") is None:
            new["uses"], new["symbols"] = values["symbols"], values["symbols"] - values["pilots"]
        if values["system"] == "generative-paper" and "inversion" not in values:
            new["inversion"] = "paper"
        return new


KEY, METRICS = Record.KEY, Record.METRICS
HEADINGS = {
    "psnr_db": "PSNR dB", "ms_ssim": "MS-SSIM", "lpips_squeeze": "LPIPS-squeeze", "lpips_vgg": "LPIPS-VGG",
    "efficientnet": "EfficientNet distance", "ssimulacra2": "SSIMULACRA2", "identity": "identity", "identity_2": "identity 2",
    "identity_3": "identity 3", "verified": "verified", "verified_2": "verified 2", "verified_3": "verified 3",
}  # fmt: skip
_NEXT = re.compile(', "')
_VALUE = re.compile(r'(?:[^"\\]|\\.)*(?:\\|",? ?)?')
"""The rest of a line that breaks off within its first value or before the second name."""
_FIRST, _LONGEST = '{"image": "', 1 << 16


def finite(values: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN and infinity, which JSON cannot hold, by None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def pick(metrics: dict[str, float]) -> dict[str, float | None]:
    """Take every metric of a record: five decimals, None where it was not measured."""
    return {name: round(metrics[name], 5) if name in metrics else None for name in METRICS}


def mean(values: Sequence[float | None], digits: int) -> str:
    """Average those that were measured, for a table; a dash where none was."""
    known = [value for value in values if value is not None]
    return f"{fmean(known):.{digits}f}" if known else "-"


def parse(line: str, kind: type[Any] = Record) -> Any:
    """Read the record (of a subclass of :class:`Line`) that a line holds; None if it holds none."""
    try:
        return _record(line, kind)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


@overload
def read(path: Path) -> list[Record]: ...
@overload
def read(path: Path, kind: type[L]) -> list[L]: ...
def read(path: Path, kind: type[Any] = Record) -> list[Any]:
    """Read the records of a file; of two with one key the later one counts.

    Raises:
        Missing: it cannot be read.
        Damaged: a line of it is not a record.
    """
    return list({record.key: record for record in split(path, kind)[0]}.values())


def split(path: Path, kind: type[Any]) -> tuple[list[Any], int, int]:
    """Read its records, how many bytes they take, and the size of the file; the rest is one line cut short.

    Raises:
        Missing: it cannot be read.
        Damaged: a line of it is not a record, and not the beginning of a last one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Missing(f"{path} cannot be read ({error.strerror})") from None
    records, good = [], 0
    lines = data.splitlines(keepends=True)
    for number, raw in enumerate(lines, 1):
        text = raw.decode("utf-8", "replace")
        try:
            records.append(_record(text, kind))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if number == len(lines) and not text.endswith("\n") and _is_cut(text, kind):
                break
            why = f": {error}" if isinstance(error, msgspec.ValidationError) else ""
            raise Damaged(f"line {number} of {path} is not a semcast result{why} (force starts the file afresh)") from None
        good += len(raw)
    return records, good, len(data)


def _is_cut(text: str, kind: type[Any]) -> bool:
    """Whether a line that is no record is the beginning of one, as a killed run leaves it, and not somebody's own data.

    It begins as a record does, it is no whole JSON, and what it names until it breaks off are fields of a record.
    """
    if not text.startswith(_FIRST):
        return _FIRST.startswith(text)
    names = {field.name for field in fields(kind)}
    if len(text) > _LONGEST or _decoded(text) is not None:
        return False
    for match in reversed(list(_NEXT.finditer(text))):
        found = _decoded(text[: match.start()] + "}")
        if found is not None:
            name, quoted, _ = text[match.end() :].partition('"')
            known = name in names if quoted else any(each.startswith(name) for each in names)
            return known and isinstance(found, dict) and found.keys() <= names
    return _VALUE.fullmatch(text, len(_FIRST)) is not None


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None


def _record(text: str, kind: type[Any]) -> Any:
    """The record of a line.

    Raises:
        ValueError: it holds none; of a value of the wrong type ``msgspec.ValidationError`` says which.
    """
    values = msgspec.json.decode(text)
    names = {field.name for field in fields(kind)}
    if not isinstance(values, dict) or not values.keys() <= names or not values.keys() >= kind.REQUIRED:
        raise ValueError("no record")
    return msgspec.convert(kind.upgrade(values), kind)
