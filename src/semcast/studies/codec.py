"""``semcast reproduce rl-asc``: the semantic codec against the codecs in use, its allocations against each other, and noise.

A folder gets ``codecs.jsonl`` (rates), ``branches.jsonl`` (the painter's branches), ``oracle.jsonl`` (allocations against greedy
and exhaustive search) and ``noise.jsonl``; figures as PNG and SVG, Markdown tables, contact sheets, ``targets.json`` and
``run.json``. A study that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semcast.bench import codecs as bench
from semcast.bench import plots
from semcast.bench.codecs import Bench, CodecRecord, Original, set_miou
from semcast.bench.plots import Axis, Curve, Page, Panel
from semcast.bench.records import Line, appender, finite, resume
from semcast.bench.statistics import Interval, bootstrap
from semcast.bench.tables import markdown
from semcast.codec.allocation import PLAIN
from semcast.codec.bitstream import unpack
from semcast.codec.choice import Allocation, Choice, Options, Side
from semcast.codec.codec import POLICY, Networks, RlAsc
from semcast.codec.concepts import SIDES
from semcast.codec.criterion import Criterion
from semcast.codec.painter import BRANCHES, paint
from semcast.codec.policy import Policy
from semcast.codec.score import preview
from semcast.domains import domain_named
from semcast.errors import SemcastError
from semcast.link import BitCodec
from semcast.metrics.perceptual import Lpips, missing
from semcast.networks.segmenter import Judge
from semcast.photos import Photo, to_tensor, to_uint8, write_image
from semcast.pictures import enlarged, grid
from semcast.rivals.photo_codecs import load_codec
from semcast.sources import SIZE, Source
from semcast.studies.figures import about_run, ready_folder, write_text
from semcast.studies.noise import (
    BITS,
    SAFE,
    UNSAFE,
    NoiseRecord,
    generator_of,
    pooled,
    with_bit_errors,
    with_index_errors,
)
from semcast.studies.search import OracleRecord, oracle_rows, small_case
from semcast.studies.targets import RIVALS, STANDARD, Target, against_bytes, all_targets, best_standard, difference

STUDY = "rl-asc"
IN_NOISE = ("jpeg2000", "avif", "hevc")
CONVENTIONS = (
    "Bytes: everything that is sent (for the standard codecs without their container). mIoU: of all pixels of the set together, "
    "labels of the judge against those of the photo; LPIPS: SqueezeNet at 256 px; PSNR per image, then averaged."
)
_GREY = 128


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Args:
        photos: at most, unless the user says another number.
        named: budgets in bytes of tables and contact sheets; ``main`` is the one that the aims are about.
        budgets: of the semantic codec; ``standard``: of the codecs in use, far enough to reach its mIoU.
        oracle_photos: that greedy search allocates too, at ``oracle_budgets``.
        small_photos: that exhaustive search allocates too, with ``small_concepts`` concepts, at ``small_budgets``.
        noise_photos, rates, draws: of the noise test, at ``main``.
        sheet_photos: on the contact sheet.
    """

    photos: int
    named: tuple[int, ...]
    main: int
    budgets: tuple[int, ...]
    standard: tuple[int, ...]
    oracle_photos: int
    oracle_budgets: tuple[int, ...]
    small_photos: int
    small_concepts: int
    small_budgets: tuple[int, ...]
    noise_photos: int
    rates: tuple[float, ...]
    draws: int
    sheet_photos: int


TIMED = 12
"""Photos that are timed."""

FULL = Size(
    photos=50, named=(300, 500, 1000), main=500, budgets=(300, 400, 500, 700, 1000),
    standard=(300, 500, 700, 1000, 1500, 2000, 3000, 4500), oracle_photos=6, oracle_budgets=(300, 500),
    small_photos=5, small_concepts=3, small_budgets=(150, 300), noise_photos=15, rates=(1e-4, 1e-3, 1e-2, 1e-1), draws=2,
    sheet_photos=6,
)  # fmt: skip
QUICK = replace(
    FULL, photos=4, budgets=(300, 500, 1000), standard=(300, 500, 1000, 3000), oracle_photos=1, oracle_budgets=(500,),
    small_photos=2, small_concepts=2, small_budgets=(150,), noise_photos=2, draws=1, sheet_photos=3,
)  # fmt: skip


Track = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
L = TypeVar("L", bound=Line)


def _untracked(what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda count: None)


@dataclass
class Study:
    """Photos, codecs and the folder of one run.

    Args:
        sources: photos, of a shard with its labels.
        out: the folder.
        size: how much is measured.
        networks, policy: of the domain.
        standard: codecs in use by name.
        judge, lpips: who measures; without LPIPS there is no J and no greedy search.
        say: hears one line at a time.
        track: a progress bar for (what, how many).
        force: start each JSONL afresh.
        seed: of the errors.
        command: what the user typed.
    """

    sources: Sequence[Source]
    out: Path
    size: Size
    networks: Networks
    policy: Policy
    standard: Mapping[str, BitCodec]
    judge: Judge
    lpips: Lpips | None
    say: Callable[[str], None] = lambda text: None
    track: Track = _untracked
    force: bool = False
    seed: int = 0
    command: str = ""
    written: list[Path] = field(default_factory=list)
    _begun: set[Path] = field(default_factory=set)

    @property
    def domain(self) -> str:
        """The name of the domain."""
        return self.networks.domain.name

    @property
    def version(self) -> str:
        """Changes with the networks, the policy and the judge."""
        text = f"{self.networks.version} {self.policy.fingerprint} {self.judge.fingerprint}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def allocations(self) -> dict[str, Allocation]:
        """The learned policy and the plain ones that do not search."""
        return {POLICY: self.policy.allocate, **{name: PLAIN[name] for name in RIVALS}}

    @property
    def semantic(self) -> dict[str, BitCodec]:
        """The semantic codec with each allocation that does not search; alike those of ``evaluate-codec``."""
        return {name: self.codec(name) for name in self.allocations}

    def codec(self, name: str = POLICY, branch: str = "fused") -> RlAsc:
        """The semantic codec with an allocation of :attr:`allocations`."""
        version = self.policy.fingerprint if name == POLICY else ""
        return RlAsc(self.networks, self.allocations[name], name, version=version, branch=branch)

    def photo(self, source: Source) -> tuple[Photo, Tensor, Tensor]:
        """A photo, the same as a tensor ``[1, 3, 256, 256]``, and its labels ``[1, 256, 256]`` (its own, or the judge's)."""
        pixels, labels = source.scene(self.networks.domain), source.labels(self.networks.domain)
        image = to_tensor(pixels).contiguous(memory_format=torch.channels_last)
        return pixels, image, torch.from_numpy(labels)[None] if labels is not None else self.judge.labels(image)

    def criterion(self) -> Criterion:
        """J by the judge."""
        return Criterion(self.judge.labels, self.lpips, len(self.networks.domain.classes))

    def afresh(self, path: Path) -> bool:
        """Whether a file is to be started anew; asked once a run."""
        first = path not in self._begun
        self._begun.add(path)
        return self.force and first

    def write(self, name: str, text: str) -> None:
        """A text file in the folder."""
        write_text(self.out / name, text)
        self.written.append(self.out / name)

    def draw(self, name: str, panels: Sequence[Panel], page: Page) -> None:
        """A figure, without the panels of which nothing was measured."""
        found = [panel for panel in panels if panel.curves]
        if found:
            self.written += plots.draw(found, page, self.out / name)

    def measure(self, file: str, codecs: Mapping[str, BitCodec], budgets: Sequence[int]) -> list[CodecRecord]:
        """Rates, through :mod:`semcast.bench.codecs`."""
        tested = Bench(self.networks.domain, dict(codecs), tuple(budgets), self.judge, self.lpips)
        path = self.out / file
        with self.track(f"{path.stem}: {', '.join(codecs)}", len(self.sources) * len(tested.points)) as step:
            outcome = bench.run(tested, self.sources, path, force=self.afresh(path), progress=step)
        for reason in outcome.refused:
            self.say(f"skipped: {reason}")
        return outcome.records

    def lines(
        self, file: str, kind: type[L], sources: Sequence[Source], points: Sequence[tuple[object, ...]],
        make: Callable[[Source, Sequence[tuple[object, ...]]], Iterator[L]],
    ) -> list[L]:
        """Every point of every photo, out of the file or made into it.

        Args:
            points: the rest of a record's key after image (and without the domain, which is put into its place).
            make: the records of a photo at the points that are missing; it may leave some out.

        Raises:
            SemcastError: the file holds results of other networks or of another domain.
        """
        path = self.out / file
        afresh = self.afresh(path)
        done = {record.key: record for record in (resume(path, kind) if path.exists() and not afresh else [])}
        if any(getattr(record, "version") != self.version for record in done.values()):  # noqa: B009 - not of every Line
            raise SemcastError(f"{path} holds results of other networks (-f starts afresh)")
        place, found = kind.KEY.index("domain"), []
        with appender(path, afresh=afresh) as write, self.track(path.stem, len(sources) * len(points)) as step:
            for source in sources:
                keys = {(source.name, *point[: place - 1], self.domain, *point[place - 1 :]): point for point in points}
                found += [done[key] for key in keys if key in done]
                wanted = [point for key, point in keys.items() if key not in done]
                step(len(points) - len(wanted))
                for record in make(source, wanted) if wanted else ():
                    write(record)
                    found.append(record)
                    step(1)
        return found


def load_study(domain: str, sources: Sequence[Source], out: Path, size: Size, **options: object) -> Study:
    """A study with what ships; codecs whose library is missing are left out, and it says so.

    Args:
        options: the last fields of :class:`Study`.

    Raises:
        SemcastError: the domain is unknown, or there are no weights of its codec, policy or judge.
    """
    kind = domain_named(domain)
    networks = Networks.load(kind)
    study = Study(sources, out, size, networks, Policy.load(kind), {}, Judge.load(domain), networks.lpips, **options)  # type: ignore[arg-type]
    standard: dict[str, BitCodec] = {}
    for name in STANDARD:
        try:
            standard[name] = load_codec(name)
        except SemcastError as error:
            study.say(f"{name} is left out: {error}")
    if note := missing("squeeze"):
        study.say(note)
    return replace(study, standard=standard)


def reproduce(study: Study) -> list[Path]:
    """Measure, draw and write everything; returns what was written.

    Raises:
        SemcastError: the folder cannot be made, its results are of other networks, or no photo works.
    """
    ready_folder(study.out, STUDY)
    with torch.no_grad():
        records = rates(study)
        branches = ablation(study)
        searched = oracle(study)
        noise(study)
        sheet(study, records)
        targets(study, records, branches, searched)
    study.write("run.json", about_run(study.out / "run.json", [STUDY], study.command, study.size, study.sources))
    return study.written


# ---- rates -----------------------------------------------------------------------------------------------------------


def rates(study: Study) -> list[CodecRecord]:
    """Bytes against mIoU, LPIPS and PSNR; paired differences of the allocations."""
    file = "codecs.jsonl"
    found = study.measure(file, study.semantic, study.size.budgets)
    if study.standard:
        found += study.measure(file, study.standard, study.size.standard)
    records = list({record.key: record for record in found}.values())
    ceiling = set_miou([r for r in records if r.codec == Original.name]).mean
    panels = [
        Panel("what can still be seen", "miou", against_bytes(records, "miou"), levels={"judge on the originals": ceiling}),
        Panel("how it looks", "lpips_squeeze", against_bytes(records, "lpips_squeeze")),
        Panel("pixels", "psnr_db", against_bytes(records, "psnr_db")),
    ]
    ticks = tuple(float(most) for most in sorted({*study.size.budgets, *study.size.standard}))
    notes = ["x: mean bytes of the photos that could be coded; one that could not is shown as grey and counts."]
    axis = Axis("bytes a photo of 256 x 256", ticks[:: max(1, len(ticks) // 6)])
    study.draw("rates", panels, Page(f"Rates, {study.domain}", notes, axis=axis, conventions=CONVENTIONS))
    named = [r for r in records if r.max_bytes in study.size.named or r.codec == Original.name]
    study.write("rates.md", markdown([bench.HEADING, *bench.rows(named)]) + "\n")
    study.write("paired.md", markdown(paired_rows(study, records)) + "\n")
    return records


def paired_rows(study: Study, records: Sequence[CodecRecord]) -> list[list[str]]:
    """The learned allocation less each plain one, at each budget and over all."""
    rows = [["budget", "rl-asc less", "J", "mIoU a photo", "LPIPS-squeeze", "photos"]]
    for most, rival in product((*study.size.budgets, None), RIVALS):
        found = [difference(records, POLICY, rival, most, metric) for metric in ("rsp", "miou", "lpips_squeeze")]
        count = max((each.count for each in found if each), default=0)
        rows.append([str(most or "all"), rival, *(each.text(4) if each else "-" for each in found), str(count)])
    return rows


# ---- the painter's branches ------------------------------------------------------------------------------------------


def ablation(study: Study) -> list[CodecRecord]:
    """The same files shown by both branches together and by either alone."""
    codecs = {branch: study.codec(branch=branch) for branch in BRANCHES}
    records = study.measure("branches.jsonl", codecs, study.size.named)
    rows = [["budget", "fused less", "mIoU a photo", "LPIPS-squeeze", "PSNR dB"]]
    for most, branch in product(study.size.named, BRANCHES[1:]):
        found = [difference(records, BRANCHES[0], branch, most, metric) for metric in ("miou", "lpips_squeeze", "psnr_db")]
        rows.append([str(most), branch, *(each.text(4) if each else "-" for each in found)])
    study.write("branches.md", f"{markdown([bench.HEADING, *bench.rows(records)])}\n\n{markdown(rows)}\n")
    return records


# ---- allocations against search --------------------------------------------------------------------------------------


def oracle(study: Study) -> list[OracleRecord]:
    """Greedy search on photos, exhaustive search on small cases, and how long everybody takes to decide."""
    if study.lpips is None:
        study.say("the oracles are left out: they need LPIPS")
        return []
    size = study.size
    names = (*study.allocations, "greedy")
    whole: list[tuple[object, ...]] = [("photo", name, most) for most, name in product(size.oracle_budgets, names)]
    tried = (*names, "exhaustive")
    small: list[tuple[object, ...]] = [("small", name, most) for most, name in product(size.small_budgets, tried)]
    records = study.lines("oracle.jsonl", OracleRecord, study.sources[: size.oracle_photos], whole, _searcher(study))
    records += study.lines("oracle.jsonl", OracleRecord, study.sources[: size.small_photos], small, _searcher(study))
    notes = [
        "J by the codec's own parser, which the searches maximise; *judged*: by the judge and the photo's labels. Differences "
        "are taken photo by photo; in %: of the mean J of the search. Times: the median decision, without parser and encoder.",
        f"small: the {size.small_concepts} largest concepts alone, at {SIDES[0]} x {SIDES[0]}; every combination was tried.",
    ]
    study.write("oracle.md", "\n\n".join([markdown(oracle_rows(records)), *notes]) + "\n")
    return records


def _searcher(study: Study) -> Callable[[Source, Sequence[tuple[object, ...]]], Iterator[OracleRecord]]:
    warm: set[str] = set()

    def make(source: Source, points: Sequence[tuple[object, ...]]) -> Iterator[OracleRecord]:
        networks = study.networks
        _, image, truth = study.photo(source)
        labels = networks.labels(image)
        cases: dict[str, Mapping[int, Side]] = {}
        for case, name, most in points:
            assert isinstance(case, str) and isinstance(name, str) and isinstance(most, int)
            if case not in cases:
                cases[case] = networks.sides(image) if case == "photo" else small_case(networks, image, study.size.small_concepts)
            sides = cases[case]
            allocation = study.allocations.get(name) or PLAIN[name]

            def decided(sides: Mapping[int, Side] = sides, allocation: Allocation = allocation, most: int = most) -> Choice:
                return allocation(Options(sides, networks.score(image, labels, sides)), most)  # it remembers: new each time

            try:
                if name in study.allocations and name not in warm:
                    warm.add(name)
                    decided()  # the first call allocates: not what a decision takes
                begun = perf_counter()
                choice = decided()
            except SemcastError:  # not even the layout fits, or too many combinations
                continue
            seconds = perf_counter() - begun
            (score,) = networks.score(image, labels, sides)([choice])
            size = sides[choice.side].sizes.at_most(choice.levels)
            picture = preview(networks.codec, sides, [choice])
            judged = study.criterion().measure(image, truth, picture, torch.tensor([float(size)]))
            yield OracleRecord(
                image=source.name, case=case, allocation=name, domain=study.domain, max_bytes=most, version=study.version,
                bytes=size, side=choice.side, levels=list(choice.levels), decision_s=round(seconds, 6), score=round(score, 6),
                judged=None if judged.score is None else round(float(judged.score), 6),
            )  # fmt: skip

    return make


# ---- noise -----------------------------------------------------------------------------------------------------------


def noise(study: Study) -> list[NoiseRecord]:
    """Errors in indices, the layout safe or not, and in the bits of whole files."""
    size = study.size
    coders: list[tuple[str, str]] = [(SAFE, POLICY), (UNSAFE, POLICY)]
    coders += [(BITS, name) for name in (POLICY, *(name for name in IN_NOISE if name in study.standard))]
    rates = (0.0, *size.rates)
    points: list[tuple[object, ...]] = [
        (test, codec, size.main, rate, draw)
        for (test, codec), rate in product(coders, rates)
        for draw in range(size.draws if rate else 1)
    ]
    records = study.lines("noise.jsonl", NoiseRecord, study.sources[: size.noise_photos], points, _spoiler(study))
    groups: dict[tuple[str, str, float], list[NoiseRecord]] = {}
    for record in records:
        groups.setdefault((record.test, record.codec, record.rate), []).append(record)
    rows = [["errors in", "codec", "rate", "files that show anything", "mIoU", "LPIPS-squeeze", "errors a file"]]
    curves: dict[str, dict[str, dict[Curve, dict[float, Interval]]]] = {}
    for (test, codec, rate), members in groups.items():
        values = noisy(members)
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
    notes = [
        f"{size.main} bytes a photo, {size.draws} draws of the errors each; what shows nothing counts as grey.",
        "Index errors: every index (and place of the layout, where it is not safe) on its own another value of its alphabet.",
    ]
    page = Page(f"Errors, {study.domain}", notes, axis=Axis("error rate", size.rates, 10), conventions=CONVENTIONS)
    study.draw("noise", panels, page)
    study.write("noise.md", "\n\n".join([markdown(rows), *notes]) + "\n")
    return records


def noisy(records: Sequence[NoiseRecord]) -> dict[str, Interval]:
    """Share that shows anything, mIoU of the set and LPIPS, with intervals over photos."""
    photos = pooled(records)
    found = {"decoded": bootstrap([p.decoded for p in photos]), "miou": set_miou(photos)}
    lpips = [p.lpips for p in photos if p.lpips is not None]
    return found | ({"lpips_squeeze": bootstrap(lpips)} if lpips else {})


def _spoiler(study: Study) -> Callable[[Source, Sequence[tuple[object, ...]]], Iterator[NoiseRecord]]:
    def make(source: Source, points: Sequence[tuple[object, ...]]) -> Iterator[NoiseRecord]:
        networks, semantic = study.networks, study.codec()
        pixels, image, truth = study.photo(source)
        criterion, files = study.criterion(), dict[str, bytes]()
        for test, name, most, rate, draw in points:
            assert isinstance(test, str) and isinstance(name, str) and isinstance(most, int) and isinstance(rate, float)
            codec = semantic if name == POLICY else study.standard[name]
            try:
                file = files[name] = files.get(name) or codec.compress(pixels, most)
            except SemcastError:  # nothing to spoil
                continue
            rng = generator_of(study.seed, source.name, test, name, rate, draw)
            decoded = True
            if test == BITS:
                data, errors = with_bit_errors(file, rate, rng)
                try:
                    picture = codec.decompress(data)
                except SemcastError:
                    picture, decoded = np.full_like(pixels, _GREY), False
            else:
                read = unpack(file, networks.tables)
                layout, concepts, errors = with_index_errors(
                    read, rate, rng, layout=test == UNSAFE, classes=len(networks.domain.classes)
                )
                picture = to_uint8(paint(networks.codec, [layout], [concepts]).cpu())
            measured = criterion.measure(image, truth, to_tensor(picture), torch.tensor([float(len(file))]))
            hit, there, seen = measured.counts[0].tolist()
            yield NoiseRecord(
                image=source.name, test=test, codec=name, domain=study.domain, max_bytes=most, rate=rate, draw=int(str(draw)),
                version=study.version, bytes=len(file), errors=errors, decoded=decoded, miou=_rounded(measured.miou),
                lpips_squeeze=_rounded(measured.lpips), hit=hit, truth=there, shown=seen,
            )  # fmt: skip

    return make


def _rounded(value: Tensor | None) -> float | None:
    return None if value is None or not bool(value.isfinite()) else round(float(value), 5)


# ---- contact sheets --------------------------------------------------------------------------------------------------


def sheet(study: Study, records: Sequence[CodecRecord]) -> None:
    """``sheet.png``: photos, their layouts as sent, what arrives at each budget, the best standard codec at the same bytes.

    ``made.png`` holds of it only what the painter made: most sets of photos may not be shown to others, nor may copies of them.
    """
    ours, rows = study.codec(), []
    rivals = {most: best_standard(records, most) for most in study.size.named}
    for source in study.sources[: study.size.sheet_photos]:
        pixels = source.scene(study.networks.domain)
        layout = np.full_like(pixels, 255)
        mine, theirs = [], []
        for most in study.size.named:
            data, picture = _sent(ours, pixels, most)
            mine.append(picture)
            if data and (most == study.size.main or most == study.size.named[-1] and (layout == 255).all()):
                layout = _painted_layout(study, data)
            rival = rivals[most]
            if rival is not None:
                theirs.append(_sent(study.standard[rival], pixels, most)[1])
        rows.append([_proportioned(tile, study.networks.domain.aspect) for tile in (pixels, layout, *mine, *theirs)])
    columns = ["photo", f"layout at {study.size.main}", *(f"{POLICY}, {most} bytes" for most in study.size.named)]
    columns += [f"{rival}, {most} bytes" for most, rival in rivals.items() if rival is not None]
    own = slice(1, 2 + len(study.size.named))
    for name, part in (("sheet.png", slice(None)), ("made.png", own)):
        write_image(study.out / name, grid([row[part] for row in rows], columns=columns[part]))
        study.written.append(study.out / name)


def _painted_layout(study: Study, data: bytes) -> Photo:
    return enlarged(study.networks.domain.painted(unpack(data, study.networks.tables).layout), SIZE)


def _sent(codec: BitCodec, photo: Photo, most: int) -> tuple[bytes, Photo]:
    """The file and its picture; no bytes and grey where nothing fits."""
    try:
        data = codec.compress(photo, most)
        return data, codec.decompress(data)
    except SemcastError:
        return b"", np.full_like(photo, _GREY)


def _proportioned(tile: Photo, aspect: float) -> Photo:
    """A square picture with the proportions that its photo had."""
    size = (SIZE, round(SIZE / aspect))
    return tile if aspect == 1 else np.asarray(Image.fromarray(tile).resize(size, Image.Resampling.LANCZOS))


# ---- what it must show -----------------------------------------------------------------------------------------------


def timed(study: Study) -> dict[str, list[float]]:
    """Seconds to ``encode`` and ``decode`` the first photos at the main budget.

    Taken anew at the end of each run: its records may come from several machines, or from one that was busy.
    """
    codec, seconds = study.codec(), dict[str, list[float]](encode=[], decode=[])
    for i, source in enumerate(study.sources[: TIMED + 1]):
        photo = source.scene(study.networks.domain)
        stream, _, encode, decode = bench.coded(codec, photo, study.size.main)
        if stream and (i or len(study.sources) == 1):  # the first call allocates
            seconds["encode"].append(encode)
            seconds["decode"].append(decode)
    return seconds


def targets(
    study: Study, records: Sequence[CodecRecord], branches: Sequence[CodecRecord], searched: Sequence[OracleRecord]
) -> list[Target]:
    """``targets.md`` and ``targets.json``: the ratios that the codec is held to, at the main budget."""
    main = study.size.main
    found = all_targets(records, branches, searched, timed(study), main)
    rows = [["what", "measured [95 %]", "must be", "aim", "met", ""], *(target.cells() for target in found)]
    study.write("targets.md", f"{study.domain}, {main} bytes where no budget is named\n\n{markdown(rows)}\n")
    named = [finite(asdict(target)) | {"verdict": target.verdict} for target in found]
    study.write("targets.json", json.dumps(named, indent=1, allow_nan=False) + "\n")
    return found
