"""Codecs at equal true bytes: photos x codecs x budgets, each a :class:`CodecRecord`.

What a codec shows is labelled by the judge (:class:`~semcast.networks.segmenter.Judge`) and compared with the photo's own labels:
those of its shard, or, for a photo without, what the judge sees in the original. The line ``original`` is the photo itself: its
mIoU is the ceiling that the judge sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semcast.api import load_codec
from semcast.bench import engine
from semcast.bench.engine import Measure, Outcome, Refused, Task, Work
from semcast.bench.records import Line
from semcast.bench.statistics import LEVEL, Interval
from semcast.bench.strangers import Strangers
from semcast.bench.sweep import PHOTO
from semcast.codec.criterion import Criterion, bits_per_pixel
from semcast.domains import FACE, Domain, domain_named
from semcast.errors import BadInput, SemcastError
from semcast.metrics.perceptual import Lpips, missing
from semcast.metrics.pixel import psnr_db
from semcast.metrics.semantic import mean_iou_of_counts
from semcast.networks.precision import choose_device
from semcast.networks.segmenter import Judge
from semcast.photos import Photo, to_tensor, to_uint8
from semcast.rivals.bit_codecs import ALLOCATIONS, BIT_CODECS, load_bit_codec
from semcast.rivals.photo_codecs import PhotoCodec
from semcast.source_coding import BitCodec
from semcast.sources import SIZE, Source

RAW_BYTES = 3 * SIZE * SIZE
GREY = 128
"""What stands for a picture where nothing arrived."""


@dataclass(frozen=True)
class CodecRecord(Line):
    """One photo, one codec, one budget: what was asked for, then what was measured.

    ``care`` is what the user cared for (``person=4,car=2``; None: nothing, or a codec that knows no categories).
    ``version`` changes with what the codec computes with, ``judge`` fingerprints the judge, ``reference`` says whose labels
    the photo has (``mask`` or ``judge``). ``bytes`` is what was really made, all of it. ``rsp`` is J of
    :mod:`semcast.codec.criterion`. ``hit``, ``truth`` and ``shown`` count pixels of each category that are right, in the
    reference and in the picture: the mIoU of a set is that of their sums. Where a codec cannot code the photo in so many bytes,
    ``ok`` is false and the picture is grey. ``strangers`` names judges that nothing here was made with: a second segmenter's
    counts and mIoU, EfficientNet's distance, a third recogniser's similarity.
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
    strangers: str | None = None
    miou_2: float | None = None
    hit_2: list[int] | None = None
    shown_2: list[int] | None = None
    efficientnet: float | None = None
    identity_3: float | None = None


class Original:
    """The photo itself, not coded at all."""

    name = "original"
    version = "raw"

    def compress(self, image: Photo, max_bytes: int) -> bytes:
        """Take its pixels."""
        return image.tobytes()

    def decompress(self, stream: bytes) -> Photo:
        """Give the photo again."""
        return np.frombuffer(stream, np.uint8).reshape(SIZE, SIZE, 3)


@dataclass
class CodecSweep(Work[CodecRecord]):
    """Codecs under their names, budgets in bytes, and who judges.

    Args:
        domain: what the photos show; None: anything, each photo as it is, and nobody judges.
        codecs: by name.
        max_bytes: the budgets.
        judge: labels what is shown; None: mIoU and J are left out.
        lpips: the perceptual distance; None: LPIPS and J are left out.
        cares: what the user cares for, by the codecs that can.
        device: where judge and LPIPS are.
        strangers: who judges besides; None: nobody.

    Raises:
        BadInput: a budget is not positive, or a codec does not say which version it is.
    """

    domain: Domain | None
    codecs: dict[str, BitCodec]
    max_bytes: tuple[int, ...]
    judge: Judge | None
    lpips: Lpips | None
    cares: Mapping[str, str] = field(default_factory=dict)
    device: torch.device = torch.device("cpu")
    strangers: Strangers | None = None
    _warm: set[tuple[str, int]] = field(default_factory=set, repr=False)

    kind = CodecRecord

    def __post_init__(self) -> None:
        if any(most < 1 for most in self.max_bytes):
            raise BadInput(f"a photo needs at least 1 byte, not {min(self.max_bytes)}")
        for name, codec in self.codecs.items():
            if not isinstance(getattr(codec, "version", None), str):
                raise BadInput(f"the codec {name} needs a version, or to be a subclass of BitCodec")

    @property
    def points(self) -> list[tuple[str, int]]:
        """List the codec and the budget of each line of a photo, the original first where its size is known."""
        coded = [(name, most) for most in self.max_bytes for name in self.codecs]
        return coded if self.domain is None else [(Original.name, RAW_BYTES), *coded]

    @property
    def domain_name(self) -> str:
        """What records call the domain."""
        return PHOTO if self.domain is None else self.domain.name

    def run(
        self, sources: Sequence[Source], out: Path | None, *, force: bool = False,
        progress: Callable[[int], None] | None = None, measure: Measure | None = None,
    ) -> Outcome[CodecRecord]:  # fmt: skip
        """Measure with the engine; see :func:`semcast.bench.engine.run`."""
        return engine.run(self, sources, out, force=force, progress=progress, measure=measure)

    def keys(self, source: Any) -> list[tuple[object, ...]]:
        """List the key of each point."""
        return [(source.name, name, self.domain_name, most, self.cares.get(name)) for name, most in self.points]

    def terms(self) -> dict[str, str]:
        """Codecs, points, judge and metrics."""
        return {
            "judge": "none" if self.judge is None else self.judge.fingerprint,
            "points": str(self.points), "cares": str(self.cares),
            "metrics": "LPIPS" if self.lpips is not None else "no LPIPS",
            **({"strangers": self.strangers.names} if self.strangers else {}),
        } | {f"version of {name}": codec.version for name, codec in self.codecs.items()}  # fmt: skip

    def lacks(self, record: CodecRecord) -> bool:
        """Tell whether LPIPS or the strangers were not there when it was measured, and are now."""
        return (self.lpips is not None and record.lpips_squeeze is None) or bool(self.strangers and not record.strangers)

    def check(self, earlier: Sequence[CodecRecord]) -> None:
        """One file, one judge and one version of each codec: otherwise its lines cannot be compared.

        Raises:
            BadInput: they are of others.
        """
        for record in earlier:
            if record.domain != self.domain_name:
                raise BadInput(f"the results there are of the domain {record.domain} (force starts afresh)")
            if record.judge != (self.judge.fingerprint if self.judge else ""):
                raise BadInput("the results there were measured with another judge (force starts afresh)")
            same = record.codec in self.codecs and record.care == self.cares.get(record.codec)
            if same and record.version != self.codecs[record.codec].version:
                raise BadInput(f"the results there are of another version of {record.codec} (force starts afresh)")

    def measure(self, tasks: Iterable[Task]) -> Iterator[CodecRecord | Refused]:
        """Frame each task's photo once and code it at each of its points."""
        for task in tasks:
            try:
                yield from self._photo(task.source, [self.points[i] for i in task.points])
            except Unusable as error:
                yield Refused(task, str(error))

    def _photo(self, source: Source, points: Sequence[tuple[str, int]]) -> Iterator[CodecRecord]:
        try:
            photo = to_uint8(source.whole()) if self.domain is None else source.scene(self.domain)
            labels = None if self.domain is None else source.labels(self.domain)
        except SemcastError as error:
            raise Unusable(str(error)) from None
        image = to_tensor(photo).to(self.device)
        truth = None
        if self.judge is not None:
            truth = torch.from_numpy(labels)[None].to(self.device) if labels is not None else self.judge.labels(image)
        for name, most in points:
            codec = Original() if name == Original.name else self.codecs[name]
            if (name, most) not in self._warm:  # the first call allocates and fills tables: not what a photo takes
                self._warm.add((name, most))
                code(codec, photo, most)
            stream, shown, encode_s, decode_s = code(codec, photo, most)
            received = to_tensor(shown).to(self.device)
            besides = self.strangers.compare(image, truth, received) if self.strangers else {}
            yield CodecRecord(
                image=source.name, codec=name, domain=self.domain_name, max_bytes=most, version=codec.version,
                judge=self.judge.fingerprint if self.judge else "",
                reference="none" if truth is None else "judge" if labels is None else "mask",
                ok=bool(stream), bytes=len(stream), **self._compare(image, truth, received, len(stream)),
                encode_s=round(encode_s, 5), decode_s=round(decode_s, 5), care=self.cares.get(name),
                strangers=self.strangers.names if self.strangers else None, **besides,
            )  # fmt: skip

    def _compare(self, image: Tensor, truth: Tensor | None, received: Tensor, size: int) -> dict[str, Any]:
        """What a record says of the picture."""
        psnr = round(float(psnr_db(image, received)), 4)
        if self.judge is None or self.domain is None or truth is None:
            lpips = None if self.lpips is None else self.lpips(image, received)
            bpp = round(size * bits_per_pixel(1, image.shape[-1] * image.shape[-2]), 6)
            return {"bpp": bpp, "miou": None, "lpips_squeeze": number(lpips), "psnr_db": psnr, "rsp": None,
                    "hit": [], "truth": [], "shown": []}  # fmt: skip
        criterion = Criterion(self.judge.labels, self.lpips, len(self.domain.classes))
        rsp = criterion.measure(image, truth, received, torch.tensor([float(size)], device=self.device))
        hit, there, seen = rsp.counts[0].tolist()
        return {"bpp": round(float(rsp.bpp), 6), "miou": number(rsp.miou), "lpips_squeeze": number(rsp.lpips), "psnr_db": psnr,
                "rsp": number(rsp.score), "hit": hit, "truth": there, "shown": seen}  # fmt: skip


class Unusable(Exception):
    """A photo that cannot be used, in one sentence."""


def load(
    domain: str, codecs: Sequence[str | BitCodec], max_bytes: Sequence[int], care: str | None = None, *,
    device: str | torch.device = "cpu", strangers: bool = False,
) -> tuple[CodecSweep, list[str]]:
    """Make a sweep by names (or of codecs), with what ships; and what it lacks, a line each.

    Args:
        domain: ``street``, ``face``, or ``photo`` for photos as they are.
        care: ``person,car=2``, for the semantic codec.
        device: where codecs that are loaded here, the judge and LPIPS compute.
        strangers: judge by :class:`~semcast.bench.strangers.Strangers` as well.

    Raises:
        SemcastError: a name or the device is unknown, a budget is not positive, nobody can care, or weights or a library are
            missing.
    """
    kind, where = None if domain == PHOTO else domain_named(domain), choose_device(device)
    cares = kind.cares(care) if kind else {}
    names = [each if isinstance(each, str) else each.name for each in codecs]
    if len(set(names)) < len(names):
        raise BadInput(f"two codecs have one name: {', '.join(names)}")
    if (cares or (care and kind is None)) and not set(codecs) & set(ALLOCATIONS):
        raise BadInput(f"care is for {', '.join(ALLOCATIONS)}, not for {', '.join(names)}")
    said = ",".join(f"{kind.classes[category]}={factor}" for category, factor in sorted(cares.items())) if kind else ""
    coders = {}
    for name, each in zip(names, codecs, strict=True):
        if isinstance(each, str) and kind is None and each in ALLOCATIONS:
            raise BadInput(f"{each} codes streets or faces, not any photo: name the domain")
        coders[name] = _named(each, domain if kind else FACE.name, cares, where) if isinstance(each, str) else each
    caring = {name: said for name in names if said and name in ALLOCATIONS}
    judge = Judge.load(domain).to(where) if kind else None
    lpips = Lpips.load("squeeze")
    lpips = lpips.to(where) if lpips is not None else None
    others, notes = Strangers.load(kind, where) if strangers else (None, [])
    sweep = CodecSweep(kind, coders, tuple(dict.fromkeys(max_bytes)), judge, lpips, caring, where, others)
    lacking = missing("squeeze")
    return sweep, [*([lacking] if lacking else []), *notes]


def _named(name: str, domain: str, cares: Mapping[int, int], device: torch.device) -> BitCodec:
    """One that ships, or one of an entry point or a file of Python."""
    ships = name in BIT_CODECS
    return load_bit_codec(name, domain, cares, device=device) if ships else load_codec(name, domain=domain).coder


def code(codec: BitCodec | Original, photo: Photo, max_bytes: int) -> tuple[bytes, Photo, float, float]:
    """Give the stream, the picture it shows, and the seconds that both took; no bytes and grey where nothing fits.

    Raises:
        BadInput: the codec makes more bytes than it may, or a picture of another size.
    """
    if isinstance(codec, PhotoCodec):
        codec.forget()
    begun = perf_counter()
    try:
        stream = codec.compress(photo, max_bytes)
    except SemcastError:
        return b"", np.full_like(photo, GREY), perf_counter() - begun, 0.0
    made = perf_counter()
    if len(stream) > max_bytes:
        raise BadInput(f"{codec.name} made {len(stream)} bytes where {max_bytes} are allowed")
    shown = codec.decompress(stream)
    if shown.shape != photo.shape:
        raise BadInput(f"{codec.name} gives {[*shown.shape]} for a photo of {[*photo.shape]}")
    return stream, shown, made - begun, perf_counter() - made


def number(value: Tensor | None) -> float | None:
    """Round a value of a single picture; None where it was not measured or is not a number."""
    return None if value is None or not bool(value.isfinite().all()) else round(float(value), 5)


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
    whole, resampled = resample_miou(records, draws, seed)
    low, high = np.nanquantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(whole, float(low), float(high), len(records))


def resample_miou(records: Sequence[Counted], draws: int, seed: int) -> tuple[float, NDArray[np.float64]]:
    """mIoU of the set, and of ``draws`` resampled ones; two codecs over the same photos meet the same ones."""
    counted = torch.tensor([[r.hit, r.truth, r.shown] for r in records], dtype=torch.float64)
    resampled = torch.einsum("dn,nkc->dkc", torch.from_numpy(draw_sets(len(records), draws, seed)).double(), counted)
    return float(mean_iou_of_counts(counted.sum(0))), mean_iou_of_counts(resampled).numpy()


def draw_sets(count: int, draws: int, seed: int) -> NDArray[np.int64]:
    """How often each of ``count`` photos is in each resampled set, ``[draws, count]``."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)
