"""I/Q recordings: SigMF (https://sigmf.org, version 1.2), by its own library."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semcast.errors import BadInput, Damaged, Missing
from semcast.files import check_place, quote, reason_of, whole
from semcast.onair.samples import check_frames, check_shape, checked
from semcast.stopping import unbroken

IQ = (".sigmf-meta", ".sigmf-data")
SPACING, DATASET = "semcast:spacing_hz", "core:dataset"
DATATYPES = tuple(f"c{kind}{end}" for kind in ("f32", "f64", "i16", "i32", "u16", "u32") for end in ("_le", "_be")) + (
    "ci8", "cu8",
)  # fmt: skip
MAX_META = 1 << 24
"""Bytes of metadata that are read."""


@dataclass(frozen=True)
class Annotation:
    """A burst in an I/Q recording.

    Args:
        start: its first sample.
        count: its samples.
        low_hz: the lower edge of its band, from the middle of the recording's.
        high_hz: the upper one.
        label: what it is.
    """

    start: int
    count: int
    low_hz: float
    high_hz: float
    label: str = "semcast"


class Iq:
    """I/Q samples of a SigMF recording, read in blocks.

    Args:
        path: its ``.sigmf-meta`` or ``.sigmf-data``; the other one lies beside it.

    Raises:
        Missing: one of both is not there, or the library is not installed.
        Damaged: the metadata are not SigMF, contradict themselves, or there are no samples.
        BadInput: the samples are real, or their type is not one of :data:`DATATYPES`.
    """

    is_complex = True

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).with_suffix(IQ[0])
        self.name = str(path)
        self.notes: list[str] = []
        given = self._read()
        self.datatype, self.spacing_hz = given.get("core:datatype"), given.get(SPACING)
        rate: Any = given.get("core:sample_rate")
        channels = given.get("core:num_channels", 1)
        if self.datatype not in DATATYPES:
            raise BadInput(f"{self.name} holds samples of the type {quote(self.datatype)}; I/Q is one of {', '.join(DATATYPES)}")
        if not _is_number(rate) or not (self.spacing_hz is None or _is_number(self.spacing_hz)):
            raise Damaged(f"{self.name} does not say core:sample_rate, or says {SPACING}, as no number over 0")
        if type(channels) is not int:
            raise Damaged(f"{self.name} does not say core:num_channels as a number")
        check_shape(self.name, rate, channels)
        self.rate, self.channels = float(rate), channels
        self._file = self._load(given)
        self.frames: int | None = int(self._file.sample_count)
        if not self.frames:
            raise Damaged(f"{self.name} holds no samples")

    def _read(self) -> dict[str, Any]:
        """The global part of the metadata. It may name no other file of samples: a stranger must not choose what is read."""
        for one in (self.path, self.path.with_suffix(IQ[1])):
            if not one.is_file():
                raise Missing(f"{one} does not exist: I/Q is a pair of .sigmf-meta and .sigmf-data")
        try:
            with self.path.open("rb") as file:
                text = file.read(MAX_META + 1)
            told = json.loads(text) if len(text) <= MAX_META else {}
            given = told["global"]
            self._beside = {name: told[name] for name in ("captures", "annotations") if name in told}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            given = None
        if not isinstance(given, dict):
            raise Damaged(f"{self.path} cannot be read as the metadata of SigMF")
        data = self.path.with_suffix(IQ[1])
        if given.get(DATASET) not in (None, data.name):
            raise BadInput(f"{self.path} says that its samples lie in another file than {data.name}, which is not read")
        return given

    def _load(self, given: dict[str, Any]) -> Any:
        sigmf = _sigmf()
        metadata = {"captures": [], **self._beside, "global": {key: value for key, value in given.items() if key != DATASET}}
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                # Of what is here alone, not by the library's own search; the checksum would read all of it.
                file = sigmf.SigMFFile(metadata=metadata, data_file=self.path.with_suffix(IQ[1]), skip_checksum=True)
                file.read_samples(0, 1)
        except Exception as error:  # noqa: BLE001 - whatever the library makes of metadata that lie
            raise Damaged(f"{self.name} cannot be read as SigMF ({reason_of(error)})") from None
        odd = [entry.message for entry in said if isinstance(entry.message, UserWarning)]
        self.notes += [f"{self.name}: {reason_of(warning)}" for warning in odd]
        return file

    def blocks(self, frames: int) -> Iterator[NDArray[np.complex64]]:
        """So many frames at a time from the beginning, complex64 ``[frames, channels]``, full scale 1; the last may be shorter.

        Raises:
            BadInput: ``frames`` is under 1.
            Damaged: a sample is no number, or there is none.
        """
        check_frames(frames)
        return checked(self._blocks(frames), self.name)

    def _blocks(self, frames: int) -> Iterator[NDArray[np.complex64]]:
        assert self.frames is not None
        for start in range(0, self.frames, frames):
            try:
                block = self._file.read_samples(start, min(frames, self.frames - start))
            except Exception as error:  # noqa: BLE001 - the file was cut while it was read
                raise Damaged(f"{self.name} cannot be read on from {start / self.rate:.1f} s ({reason_of(error)})") from None
            yield np.ascontiguousarray(block, np.complex64).reshape(-1, self.channels)


def _is_number(value: object) -> bool:
    """Over 0, and no larger than a float can be: whole numbers of JSON may be."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= sys.float_info.max


def _sigmf() -> Any:
    try:
        import sigmf
    except ImportError:
        raise Missing("I/Q recordings need sigmf: pip install 'semcast[iq]'") from None
    return sigmf


def check_iq(path: Path, force: bool) -> None:
    """Whether a pair of I/Q files can be written there, asked before any work is done.

    Raises:
        SemcastError: as :func:`semcast.files.check_place` of either, or the library is not installed.
    """
    check_place(path, IQ, force, "the extension .sigmf-meta (or .sigmf-data)")
    for suffix in IQ:
        check_place(path.with_suffix(suffix), IQ, force, f"the extension {suffix}")
    _sigmf()


def write_iq(
    path: Path,
    samples: ArrayLike,
    sample_rate: float,
    annotations: Sequence[Annotation] = (),
    spacing_hz: float | None = None,
    centre_hz: float = 0.0,
) -> None:
    """Write I/Q as a SigMF pair of ``cf32_le``, each file whole or not at all.

    Args:
        path: of either file; what is there is replaced: ask :func:`check_iq` before.
        samples: complex, ``[frames]``.
        sample_rate: samples a second.
        annotations: one a burst.
        spacing_hz: the carrier spacing Δf of the bursts.
        centre_hz: the radio frequency in the middle of the band, 0 where it is not known yet.

    Raises:
        BadInput: samples that are not finite, none at all, or a rate that is not over 0.
        Missing: the library is not installed.
        SemcastError: a file cannot be written; what was there is then as it was.
    """
    values = np.ascontiguousarray(samples, "<c8")
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise BadInput("I/Q is complex numbers, [frames], at least one and all of them finite")
    if not _is_number(sample_rate):
        raise BadInput(f"a sample rate is a number over 0, not {sample_rate}")
    text = _describe(values, sample_rate, annotations, spacing_hz, centre_hz)
    # The metadata are put in place last: where one of the two fails, no new description stands beside old samples.
    with unbroken(), whole(path.with_suffix(IQ[0])) as meta:
        meta.write(text.encode())
        with whole(path.with_suffix(IQ[1])) as data:
            data.write(values.data)


def _describe(
    values: NDArray[np.complex64], rate: float, annotations: Sequence[Annotation], spacing_hz: float | None, centre_hz: float
) -> str:
    """The metadata, as the library holds them to be valid."""
    sigmf = _sigmf()
    given = {
        "core:datatype": "cf32_le",
        "core:sample_rate": float(rate),
        "core:recorder": "semcast",
        "core:sha512": hashlib.sha512(values.data).hexdigest(),
        "core:extensions": [{"name": "semcast", "version": "1.0.0", "optional": True}],
    }
    if spacing_hz is not None:
        given[SPACING] = float(spacing_hz)
    file = sigmf.SigMFFile(global_info=given)
    file.add_capture(0, {"core:frequency": float(centre_hz)} if centre_hz else {})
    for burst in annotations:
        edges = {"core:freq_lower_edge": centre_hz + burst.low_hz, "core:freq_upper_edge": centre_hz + burst.high_hz}
        file.add_annotation(burst.start, burst.count, {**edges, "core:label": burst.label})
    file.validate()
    return str(file.dumps()) + "\n"
