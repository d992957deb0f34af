"""Errors in what a codec sends: in the indices of the semantic codec (its layout safe or not), and in the bits of files.

Index errors are those of a link without entropy coding, as the digital semantic links of the literature assume: every index and
every place of the layout is a symbol of its own, and a wrong one is any other value of its alphabet. Each feature stays in its
cell, so a wrong layout says a wrong category and no more. Bit errors hit whole files as they are stored, header and checks too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from semcast.bench.codecs import GREY, number, set_miou
from semcast.bench.plots import Axis, Curve, Page, Panel
from semcast.bench.records import Line
from semcast.bench.statistics import Interval, bootstrap, group
from semcast.bench.tables import markdown
from semcast.codec.bitstream import Stream, unpack
from semcast.codec.codec import POLICY
from semcast.codec.concepts import Concept
from semcast.codec.ladder import Ladder
from semcast.codec.painter import paint
from semcast.errors import SemcastError
from semcast.photos import to_tensor, to_uint8
from semcast.sources import Source
from semcast.studies.codec_run import CodecRun
from semcast.studies.run import Point

SAFE, UNSAFE, BITS = "indices", "indices and layout", "bits"
TESTS = (SAFE, UNSAFE, BITS)
IN_NOISE = ("jpeg2000", "avif", "hevc")
CONVENTIONS = (
    "Bytes: everything that is sent (for the standard codecs without their container). mIoU: of all pixels of the set together, "
    "labels of the judge against those of the photo; LPIPS: SqueezeNet at 256 px; PSNR per image, then averaged."
)


@dataclass(frozen=True)
class NoiseRecord(Line):
    """One photo, one codec, one rate of errors, one draw of them.

    ``test`` is one of :data:`TESTS`; ``errors`` are those that happened; ``decoded`` says whether the receiver shows anything
    (else the picture is grey); ``hit``, ``truth`` and ``shown`` are as in :class:`~semcast.bench.codecs.CodecRecord`.
    """

    KEY: ClassVar[tuple[str, ...]] = ("image", "test", "codec", "domain", "max_bytes", "rate", "draw")
    REQUIRED: ClassVar[frozenset[str]] = frozenset(KEY) | {"version", "decoded", "hit", "truth", "shown"}

    image: str
    test: str
    codec: str
    domain: str
    max_bytes: int
    rate: float
    draw: int
    version: str
    bytes: int
    errors: int
    decoded: bool
    miou: float | None
    lpips_squeeze: float | None
    hit: list[int]
    truth: list[int]
    shown: list[int]


def spoil(run: CodecRun) -> list[NoiseRecord]:
    """Measure errors in indices, the layout safe or not, and in the bits of whole files."""
    size = run.size
    coders = [(SAFE, POLICY), (UNSAFE, POLICY)]
    coders += [(BITS, name) for name in (POLICY, *(name for name in IN_NOISE if name in run.in_use))]
    points = [
        (test, codec, run.domain, size.main, rate, draw)
        for (test, codec), rate in product(coders, (0.0, *size.rates))
        for draw in range(size.draws if rate else 1)
    ]
    records = run.make("noise.jsonl", NoiseRecord, size.noise_photos, points, Spoiler(run))
    rows, panels = tabulate_noise(records)
    notes = [
        f"{size.main} bytes a photo, {size.draws} draws of the errors each; what shows nothing counts as grey.",
        "Index errors: every index (and place of the layout, where it is not safe) on its own another value of its alphabet.",
    ]
    page = Page(f"Errors, {run.domain}", notes, axis=Axis("error rate", size.rates, 10), conventions=CONVENTIONS)
    run.draw("noise", panels, page)
    run.write("noise.md", "\n\n".join([markdown(rows), *notes]) + "\n")
    return records


def tabulate_noise(records: Sequence[NoiseRecord]) -> tuple[list[list[str]], list[Panel]]:
    """Make rows of a table and panels of a figure."""
    groups = group(records, lambda record: (record.test, record.codec, record.rate))
    rows = [["errors in", "codec", "rate", "files that show anything", "mIoU", "LPIPS-squeeze", "errors a file"]]
    curves: dict[str, dict[str, dict[Curve, dict[float, Interval]]]] = {}
    for (test, codec, rate), members in groups.items():
        values = average(members)
        errors = np.mean([r.errors for r in members])
        cells = [values[name].text(3) if name in values else "-" for name in ("decoded", "miou", "lpips_squeeze")]
        rows.append([test, codec, f"{rate:g}", *cells, f"{errors:.1f}"])
        for name, value in values.items():
            if rate:
                label = {SAFE: "layout safe", UNSAFE: "layout not safe"}.get(test, codec)
                of_test = curves.setdefault(BITS if test == BITS else SAFE, {}).setdefault(name, {})
                of_test.setdefault(Curve(0, label), {})[rate] = value
    titles = {SAFE: "errors in indices", BITS: "errors in the bits of files"}
    panels = [
        Panel(titles[test], metric, curves[test].get(metric, {}))
        for test, metrics in ((SAFE, ("miou", "lpips_squeeze")), (BITS, ("decoded", "miou", "lpips_squeeze")))
        for metric in metrics
        if test in curves
    ]
    return rows, panels


def average(records: Sequence[NoiseRecord]) -> dict[str, Interval]:
    """Give the share that shows anything, mIoU of the set and LPIPS, with intervals over photos."""
    photos = pool(records)
    found = {"decoded": bootstrap([p.decoded for p in photos]), "miou": set_miou(photos)}
    lpips = [p.lpips for p in photos if p.lpips is not None]
    return found | ({"lpips_squeeze": bootstrap(lpips)} if lpips else {})


@dataclass
class Spoiler:
    """Makes the records of a photo: its file once, spoilt at each point."""

    run: CodecRun

    def __call__(self, source: Source, points: Sequence[Point]) -> Iterator[NoiseRecord]:
        run, networks = self.run, self.run.networks
        pixels, image, truth = run.photo(source)
        criterion, files = run.criterion(), dict[str, bytes]()
        for test, name, domain, most, rate, draw in points:
            codec = run.codec(name)
            try:
                file = files[name] = files.get(name) or codec.compress(pixels, most)
            except SemcastError:  # nothing to spoil
                continue
            rng = generator_of(run.seed, source.name, test, name, rate, draw)
            decoded = True
            if test == BITS:
                data, errors = flip_bits(file, rate, rng)
                try:
                    picture = codec.decompress(data)
                except SemcastError:
                    picture, decoded = np.full_like(pixels, GREY), False
            else:
                classes, read = len(networks.domain.classes), unpack(file, networks.tables)
                layout, concepts, errors = flip_indices(
                    read, rate, rng, networks.tables.ladder, layout=test == UNSAFE, classes=classes
                )
                picture = to_uint8(paint(networks.codec, [layout], [concepts]).cpu())
            measured = criterion.measure(image, truth, to_tensor(picture), torch.tensor([float(len(file))]))
            hit, there, seen = measured.counts[0].tolist()
            yield NoiseRecord(
                image=source.name, test=test, codec=name, domain=domain, max_bytes=most, rate=rate, draw=draw,
                version=run.version, bytes=len(file), errors=errors, decoded=decoded, miou=number(measured.miou),
                lpips_squeeze=number(measured.lpips), hit=hit, truth=there, shown=seen,
            )  # fmt: skip


@dataclass(frozen=True)
class Pooled:
    """The draws of one photo together: counts summed, the rest averaged."""

    hit: list[int]
    truth: list[int]
    shown: list[int]
    decoded: float
    lpips: float | None


def pool(records: Sequence[NoiseRecord]) -> list[Pooled]:
    """Make one of each photo: the draws of a photo are not independent measurements."""
    made = []
    for _, draws in sorted(group(records, lambda record: record.image).items()):
        hit, truth, shown = np.sum([[r.hit, r.truth, r.shown] for r in draws], 0).tolist()
        lpips = [r.lpips_squeeze for r in draws if r.lpips_squeeze is not None]
        decoded = float(np.mean([r.decoded for r in draws]))
        made.append(Pooled(hit, truth, shown, decoded, float(np.mean(lpips)) if lpips else None))
    return made


def generator_of(*what: object) -> np.random.Generator:
    """Draw the same errors for the same photo, test, codec, rate and draw."""
    digest = hashlib.sha256("\n".join(map(str, what)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def flip_bits(data: bytes, rate: float, rng: np.random.Generator) -> tuple[bytes, int]:
    """Turn over each bit of a file with that probability; and say how many were."""
    wrong = rng.random(8 * len(data)) < rate
    return (np.frombuffer(data, np.uint8) ^ np.packbits(wrong)).tobytes(), int(wrong.sum())


def flip_indices(
    read: Stream, rate: float, rng: np.random.Generator, ladder: Ladder, *, layout: bool, classes: int = 19
) -> tuple[NDArray[np.uint8], tuple[Concept, ...], int]:
    """Make each index another one of its level with that probability, and each place of the layout where it is not safe.

    Returns:
        layout, the concepts with those indices (each in the cell it was made for), and how many are wrong.
    """
    errors = 0

    def strike(values: NDArray[np.uint8], alphabet: int | NDArray[np.int64]) -> NDArray[np.uint8]:
        nonlocal errors
        wrong = (rng.random(values.shape) < rate) & (np.asarray(alphabet) > 1)
        errors += int(wrong.sum())
        other = (values.astype(np.int64) + rng.integers(1, np.maximum(alphabet, 2), values.shape)) % alphabet
        return np.where(wrong, other, values).astype(np.uint8)

    spoilt = {}
    for concept in sorted(read.concepts, key=lambda concept: concept.category):
        indices = concept.indices if concept.indices is None else strike(concept.indices, ladder.alphabet(concept.level))
        spoilt[concept.category] = replace(concept, indices=indices)
    wrong = strike(read.layout, classes) if layout else read.layout
    return wrong, tuple(spoilt[concept.category] for concept in read.concepts), errors
