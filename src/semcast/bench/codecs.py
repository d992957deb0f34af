"""Codecs at equal true bytes: photos x codecs x budgets, one line of JSONL each, resumable at any line.

What a codec shows is labelled by the judge (:class:`~semcast.networks.segmenter.Judge`) and compared with the photo's own labels:
those of its shard, or, for a photo without, what the judge sees in the original. The line ``original`` is the photo itself: its
mIoU is the ceiling that the judge sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor

from semcast.bench.records import Line, appender, mean, resume
from semcast.bench.statistics import LEVEL, Interval
from semcast.codec.criterion import Criterion
from semcast.domains import Domain, domain_named
from semcast.errors import SemcastError
from semcast.link import BitCodec
from semcast.metrics.perceptual import Lpips, missing
from semcast.metrics.pixel import psnr_db
from semcast.metrics.semantic import counted_mean_iou
from semcast.networks.segmenter import Judge
from semcast.photos import Photo, to_tensor
from semcast.rivals.bit_codecs import ALLOCATIONS, load_bit_codec
from semcast.rivals.photo_codecs import PhotoCodec
from semcast.sources import SIZE, Source

RAW_BYTES = 3 * SIZE * SIZE
_GREY = 128


@dataclass(frozen=True)
class CodecRecord(Line):
    """One photo, one codec, one budget: what was asked for, then what was measured.

    ``care`` is what the user cared for (``person=4,car=2``; None: nothing, or a codec that knows no categories).
    ``version`` changes with what the codec computes with, ``judge`` fingerprints the judge, ``reference`` says whose labels
    the photo has (``mask`` or ``judge``). ``bytes`` is what was really made, all of it. ``rsp`` is J of
    :mod:`semcast.codec.criterion`. ``hit``, ``truth`` and ``shown`` count pixels of each category that are right, in the
    reference and in the picture: the mIoU of a set is that of their sums. Where a codec cannot code the photo in so many bytes,
    ``ok`` is false and the picture is grey.
    """

    KEY: ClassVar[tuple[str, ...]] = ("image", "codec", "domain", "max_bytes", "care")
    REQUIRED: ClassVar[frozenset[str]] = frozenset(KEY) - {"care"} | {"bytes", "hit", "truth", "shown"}

    image: str
    codec: str
    domain: str
    max_bytes: int
    version: str
    judge: str
    reference: str
    ok: bool
    bytes: int
    bpp: float
    miou: float | None
    lpips_squeeze: float | None
    psnr_db: float
    rsp: float | None
    encode_s: float
    decode_s: float
    hit: list[int]
    truth: list[int]
    shown: list[int]
    care: str | None = None


class Original:
    """The photo itself, not coded at all."""

    name = "original"
    version = "raw"

    def compress(self, image: Photo, max_bytes: int) -> bytes:
        """Its pixels."""
        return image.tobytes()

    def decompress(self, stream: bytes) -> Photo:
        """The photo again."""
        return np.frombuffer(stream, np.uint8).reshape(SIZE, SIZE, 3)


@dataclass(frozen=True)
class Bench:
    """What the photos meet: codecs under their names, budgets in bytes, and who judges.

    Raises:
        SemcastError: a budget is not positive.
    """

    domain: Domain
    codecs: dict[str, BitCodec]
    max_bytes: tuple[int, ...]
    judge: Judge
    lpips: Lpips | None
    cares: Mapping[str, str] = field(default_factory=dict)
    """What the user cares for, by the codecs that can."""

    def __post_init__(self) -> None:
        if any(most < 1 for most in self.max_bytes):
            raise SemcastError(f"a photo needs at least 1 byte, not {min(self.max_bytes)}")

    @property
    def points(self) -> list[tuple[str, int]]:
        """(codec, budget) of each line of a photo, the original first."""
        return [(Original.name, RAW_BYTES), *((name, most) for most in self.max_bytes for name in self.codecs)]

    def codec(self, name: str) -> BitCodec:
        """The codec of that name."""
        return Original() if name == Original.name else self.codecs[name]


def load(
    domain: str, codecs: Sequence[str], max_bytes: Sequence[int], care: str | None = None
) -> tuple[Bench, str | None]:
    """A bench by names, with what ships; and the line that says so where LPIPS is not available.

    Args:
        care: ``person,car=2``, for the semantic codec.

    Raises:
        SemcastError: a name is unknown, a budget is not positive, nobody can care, or weights or a library are missing.
    """
    kind = domain_named(domain)
    cares = kind.cares(care)
    if cares and not set(codecs) & set(ALLOCATIONS):
        raise SemcastError(f"--care is for {', '.join(ALLOCATIONS)}, not for {', '.join(codecs)}")
    said = ",".join(f"{kind.classes[category]}={factor}" for category, factor in sorted(cares.items()))
    coders = {name: load_bit_codec(name, domain, cares) for name in codecs}
    caring = {name: said for name in codecs if said and name in ALLOCATIONS}
    bench = Bench(kind, coders, tuple(dict.fromkeys(max_bytes)), Judge.load(domain), Lpips.load("squeeze"), caring)
    return bench, missing("squeeze")


@dataclass
class Outcome:
    """Every record of the bench (those of earlier runs too), how many are new, and why photos were skipped."""

    records: list[CodecRecord] = field(default_factory=list)
    measured: int = 0
    refused: list[str] = field(default_factory=list)


def run(
    bench: Bench, sources: Sequence[Source], out: Path, *, force: bool = False, progress: Callable[[int], None] | None = None
) -> Outcome:
    """Measure every photo at every point; each record is in the file as soon as it is here.

    Args:
        out: JSONL; where it exists it is resumed.
        force: start the file afresh.
        progress: told how many more records there are.

    Raises:
        SemcastError: ``out`` holds other results, or no photo can be used, or a codec makes more bytes than it may.
    """
    done = {record.key: record for record in (resume(out, CodecRecord) if out.exists() and not force else [])}
    _check(bench, list(done.values()))
    outcome, step, warm = Outcome(), progress or (lambda count: None), set[tuple[str, int]]()
    with appender(out, afresh=force) as write:
        for source in sources:
            keys = {
                (source.name, name, bench.domain.name, most, bench.cares.get(name)): (name, most) for name, most in bench.points
            }
            there = [done[key] for key in keys if key in done]
            outcome.records += there
            step(len(there))
            wanted = [point for key, point in keys.items() if key not in done]
            try:
                for record in _measured(bench, source, wanted, warm) if wanted else ():
                    write(record)
                    outcome.records.append(record)
                    outcome.measured += 1
                    step(1)
            except Unusable as error:
                outcome.refused.append(str(error))
                step(len(wanted))
    if not outcome.records:
        raise SemcastError(outcome.refused[0] if outcome.refused else "there is no photo to measure")
    return outcome


class Unusable(Exception):
    """A photo that cannot be used, in one sentence."""


def _measured(
    bench: Bench, source: Source, points: Sequence[tuple[str, int]], warm: set[tuple[str, int]]
) -> Iterator[CodecRecord]:
    """The records of one photo at those points."""
    try:
        photo, labels = source.scene(bench.domain), source.labels(bench.domain)
    except SemcastError as error:
        raise Unusable(str(error)) from None
    image = to_tensor(photo)
    truth = torch.from_numpy(labels)[None] if labels is not None else bench.judge.labels(image)
    criterion = Criterion(bench.judge.labels, bench.lpips, len(bench.domain.classes))
    for name, most in points:
        codec = bench.codec(name)
        if (name, most) not in warm:  # the first call allocates and fills tables: not what a photo takes
            warm.add((name, most))
            coded(codec, photo, most)
        stream, shown, encode_s, decode_s = coded(codec, photo, most)
        received = to_tensor(shown)
        rsp = criterion.measure(image, truth, received, torch.tensor([float(len(stream))]))
        hit, there, seen = rsp.counts[0].tolist()
        yield CodecRecord(
            image=source.name,
            codec=name,
            domain=bench.domain.name,
            max_bytes=most,
            version=codec.version,
            judge=bench.judge.fingerprint,
            reference="judge" if labels is None else "mask",
            ok=bool(stream),
            bytes=len(stream),
            bpp=round(float(rsp.bpp), 6),
            miou=_number(rsp.miou),
            lpips_squeeze=_number(rsp.lpips),
            psnr_db=round(float(psnr_db(image, received)), 4),
            rsp=_number(rsp.score),
            encode_s=round(encode_s, 5),
            decode_s=round(decode_s, 5),
            hit=hit,
            truth=there,
            shown=seen,
            care=bench.cares.get(name),
        )


def coded(codec: BitCodec, photo: Photo, max_bytes: int) -> tuple[bytes, Photo, float, float]:
    """The stream, the picture it gives, and the seconds that both took; no bytes and grey where nothing fits."""
    if isinstance(codec, PhotoCodec):
        codec.forget()
    begun = perf_counter()
    try:
        stream = codec.compress(photo, max_bytes)
    except SemcastError:
        return b"", np.full_like(photo, _GREY), perf_counter() - begun, 0.0
    made = perf_counter()
    if len(stream) > max_bytes:
        raise SemcastError(f"{codec.name} made {len(stream)} bytes where {max_bytes} are allowed")
    shown = codec.decompress(stream)
    return stream, shown, made - begun, perf_counter() - made


def _number(value: Tensor | None) -> float | None:
    """A value of a single picture, rounded; None where it was not measured or is not a number."""
    return None if value is None or not bool(value.isfinite()) else round(float(value), 5)


def _check(bench: Bench, earlier: Sequence[CodecRecord]) -> None:
    """One file, one judge and one version of each codec: otherwise its lines cannot be compared."""
    for record in earlier:
        if record.domain != bench.domain.name:
            raise SemcastError(f"the results there are of the domain {record.domain} (-f starts afresh)")
        if record.judge != bench.judge.fingerprint:
            raise SemcastError("the results there were measured with another judge (-f starts afresh)")
        same = record.codec in bench.codecs and record.care == bench.cares.get(record.codec)
        if same and record.version != bench.codecs[record.codec].version:
            raise SemcastError(f"the results there are of another version of {record.codec} (-f starts afresh)")


class Counted(Protocol):
    """Whatever counts pixels of each category as :class:`CodecRecord` does."""

    @property
    def hit(self) -> list[int]: ...
    @property
    def truth(self) -> list[int]: ...
    @property
    def shown(self) -> list[int]: ...


def set_miou(records: Sequence[Counted], *, draws: int = 1000, seed: int = 0) -> Interval:
    """mIoU of all pixels of a set together, over the categories in either map; its interval resamples the photos.

    A category that no photo of a resampled set has does not count there.
    """
    whole, resampled = resampled_miou(records, draws, seed)
    low, high = np.nanquantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(whole, float(low), float(high), len(records))


def resampled_miou(records: Sequence[Counted], draws: int, seed: int) -> tuple[float, NDArray[np.float64]]:
    """mIoU of the set, and of ``draws`` resampled ones; two codecs over the same photos meet the same ones."""
    counted = torch.tensor([[r.hit, r.truth, r.shown] for r in records], dtype=torch.float64)
    resampled = torch.einsum("dn,nkc->dkc", torch.from_numpy(resampling(len(records), draws, seed)).double(), counted)
    return float(counted_mean_iou(counted.sum(0))), counted_mean_iou(resampled).numpy()


def resampling(count: int, draws: int, seed: int) -> NDArray[np.int64]:
    """How often each of ``count`` photos is in each resampled set, ``[draws, count]``."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)


HEADING = (
    "budget", "codec", "labels", "bytes", "mIoU", "95 %", "mIoU a photo", "LPIPS-squeeze", "PSNR dB", "J", "encode ms",
    "decode ms", "photos", "failed",
)  # fmt: skip


def rows(records: Sequence[CodecRecord]) -> list[list[str]]:
    """Cells under :data:`HEADING`, a row for each budget x codec, best mIoU first; the original above all."""
    groups: dict[tuple[int, str, str], list[CodecRecord]] = {}
    for record in records:
        name = record.codec + (f", {record.care}" if record.care else "")
        groups.setdefault((record.max_bytes, name, record.reference), []).append(record)
    found = []
    for (most, codec, reference), members in groups.items():
        miou = set_miou(members)
        raw = codec == Original.name
        cells = [
            "-" if raw else str(most), codec, reference,
            mean([m.bytes for m in members], 0), f"{miou.mean:.3f}", f"{miou.low:.3f}-{miou.high:.3f}",
            mean([m.miou for m in members], 3), mean([m.lpips_squeeze for m in members], 3),
            "-" if raw else mean([m.psnr_db for m in members], 2), "-" if raw else mean([m.rsp for m in members], 3),
            *("-" if raw else mean([1000 * seconds for seconds in times], 1)
              for times in ([m.encode_s for m in members], [m.decode_s for m in members])),
            str(len(members)), str(sum(not m.ok for m in members)),
        ]  # fmt: skip
        found.append(((not raw, most, reference, -miou.mean), cells))
    return [cells for _, cells in sorted(found, key=lambda pair: pair[0])]


def summary(records: Sequence[CodecRecord]) -> Table:
    """The rows as a table for reading."""
    table = Table(caption="mIoU: of all photos together; everything else: means over photos (of PSNR: of the dB); budgets: bytes")
    for heading in HEADING:
        table.add_column(heading, justify="left" if heading in ("codec", "labels") else "right", no_wrap=True)
    for cells in rows(records):
        table.add_row(*cells)
    return table
