"""Links: photos x systems x channels x SNR x k x draws, each a :class:`~semcast.bench.records.Record`."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from inspect import signature
from itertools import product
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from torch import Tensor

from semcast.api import without_face
from semcast.bench import engine
from semcast.bench.engine import Measure, Outcome, Refused, Task, Work
from semcast.bench.records import METRICS, Record, pick
from semcast.bench.settings import Settings, describe_channel, describe_system
from semcast.crossing import cross
from semcast.domains import domain_named
from semcast.errors import BadInput, SemcastError
from semcast.face import NoFace
from semcast.files import quote
from semcast.given import check_flag, check_seed, whole_of
from semcast.hashes import generator_for
from semcast.link import Budget, Channel, System
from semcast.metrics.identity import Identity, Kind
from semcast.metrics.looks import Looks
from semcast.metrics.report import Metrics
from semcast.networks.segmenter import FaceParser
from semcast.photos import to_tensor
from semcast.sources import Source

FACE, PHOTO = "face", "photo"
"""Domains of a plan that frame a photo in their own ways: found and aligned, or as it is."""
ENOUGH = 30
"""Bursts from which on their own spread says how sure their mean power is."""
SPREAD = 0.8
"""The standard deviation that fewer of them are granted (0.6 is the largest that ``linear-gan`` has on faces)."""
SLACK = 0.1
"""How far the mean power over other photos than those of training may be off (0.08 of ``linear-gan`` on test photos)."""


@dataclass(frozen=True)
class Plan:
    """What is measured on every photo.

    Args:
        snr_db: Es/N0 of the channel at each point in dB.
        symbols: k of each point, the symbols that carry data.
        draws: independent channels a point.
        seed: every draw follows from it, the photo's name and the draw's number.
        aligned: faces are cropped already: they are not looked for.
        domain: what the photos show, ``face`` or ``street``; or ``photo``: each is sent as it is.
        design_snr_db: what the transmitter expects at every point; None: the channel's own SNR.

    Raises:
        BadInput: a value is out of range.
    """

    snr_db: tuple[float, ...]
    symbols: tuple[int, ...]
    draws: int = 1
    seed: int = 0
    aligned: bool = False
    domain: str = FACE
    design_snr_db: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= (whole_of(self.draws) or 0) < 2**31:
            raise BadInput(f"draws must be at least 1, not {quote(self.draws)}")
        check_flag("aligned", self.aligned)
        check_seed(self.seed)
        if self.domain != PHOTO:
            domain_named(self.domain)
        for symbols, snr in product(self.symbols, (*self.snr_db, self.design_snr_db)):
            Budget(symbols, 0.0 if snr is None else snr)


@dataclass(frozen=True)
class Point:
    """One measurement of a photo; ``asked`` is the part of its record that says what was asked for."""

    system: System
    channel: Channel
    budget: Budget
    snr_db: float
    draw: int
    asked: Settings


def fingerprint(system: System) -> str:
    """Take the system's own fingerprint; of a class that does not ship, what it was made with (``Repeat(times=3)``) counts too.

    That is read off the attributes that are called like the arguments of ``__init__``.
    """
    own = system.fingerprint()
    if type(system).__module__.startswith("semcast."):
        return own
    given = {name: getattr(system, name, None) for name in sorted(signature(type(system).__init__).parameters)}
    plain = {name: value for name, value in given.items() if isinstance(value, (str, int, float, tuple))}
    return hashlib.sha256(f"{own} {plain}".encode()).hexdigest()[:12] if plain else own


class Sweep(Work[Record]):
    """One plan over given systems and channels.

    A point that a system cannot work with is left out; ``skipped`` has a line for each system that has such points.

    Args:
        plan: what is measured on every photo.
        systems, channels: what the photos meet.
        metrics: what is measured of what arrives.
        parser: loads what finds faces, when it is first needed; None: what ships.

    Raises:
        BadInput: two systems cannot be told apart in the results.
        SemcastError: no system can work with any point.
    """

    kind = Record

    def __init__(
        self, plan: Plan, systems: Sequence[System], channels: Sequence[Channel], metrics: Metrics,
        parser: Callable[[], FaceParser] | None = None,
    ) -> None:  # fmt: skip
        self.plan, self.metrics, self.parser = plan, metrics, parser
        self.weights: dict[tuple[object, ...], str] = {}
        for system in systems:
            who = tuple(describe_system(system).values())
            if who in self.weights:
                raise BadInput(f"two systems are called {system.name}: give one of them another name")
            self.weights[who] = fingerprint(system)
        points = (
            self._point(*choice)
            for choice in product(range(plan.draws), channels, plan.symbols, plan.snr_db, systems)
        )
        self.points, self.skipped = _possible(list(points), plan.domain != PHOTO)
        self._warm: set[tuple[str, int]] = set()
        self._powers: dict[tuple[object, ...], dict[str, float]] = defaultdict(dict)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the metrics at home where another computer can load the same: face recognisers cannot be pickled."""
        state, metrics = dict(self.__dict__), self.metrics
        state.pop("_measurable", None)  # what can be measured there is asked there
        if type(metrics) is Metrics:
            recognisers = [(each.path.absolute(), each.kind) for each in metrics.identity.values()]
            vgg, judges = "vgg" in metrics.lpips, metrics.judge is not None
            state["metrics"] = partial(_load_metrics, recognisers, vgg, judges, metrics.ssimulacra2)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.metrics, partial):
            self.metrics = self.metrics()

    def _point(self, draw: int, channel: Channel, symbols: int, snr: float, system: System) -> Point:
        design = self.plan.design_snr_db
        asked: Settings = {
            **describe_system(system), **describe_channel(channel), "snr_db": snr, "symbols": symbols, "seed": self.plan.seed,
            "draw": draw, "domain": self.plan.domain, "design_snr_db": None if design == snr else design,
        }  # fmt: skip
        return Point(system, channel, Budget(symbols, snr if design is None else design), snr, draw, asked)

    def run(
        self, sources: Sequence[Source], out: Path | None, *, force: bool = False,
        progress: Callable[[int], None] | None = None, measure: Measure | None = None,
    ) -> Outcome[Record]:  # fmt: skip
        """Measure with the engine; see :func:`semcast.bench.engine.run`."""
        return engine.run(self, sources, out, force=force, progress=progress, measure=measure)

    def keys(self, source: Any) -> list[tuple[object, ...]]:
        """List the key of each point."""
        return [tuple({"image": source.name, **point.asked}[name] for name in Record.KEY) for point in self.points]

    def terms(self) -> dict[str, str]:
        """Points, metrics and weights."""
        settings = repr([sorted(point.asked.items()) for point in self.points]).encode()
        weights = {f"weights of {who[0]}": digits for who, digits in self.weights.items()}
        metrics = {"metrics": ", ".join(sorted(self._measurable)) or "PSNR and MS-SSIM alone"}
        return metrics | {"points": hashlib.sha256(settings).hexdigest()[:12]} | weights

    def lacks(self, record: Record) -> bool:
        """Tell whether LPIPS or identity, say, was not available when it was measured, and is now.

        PSNR always is: a line without it is of a picture that holds no numbers, and nothing else can be measured of that.
        """
        wanted = self._measurable - set(record.without or ())
        return record.psnr_db is not None and any(getattr(record, name) is None for name in wanted)

    @cached_property
    def _measurable(self) -> frozenset[str]:
        """Metrics that need files, and are here."""
        names = {f"lpips_{net}" for net in self.metrics.lpips} | set(self.metrics.identity)
        names |= {"efficientnet"} if getattr(self.metrics, "judge", None) is not None else set()
        names |= {"ssimulacra2"} if getattr(self.metrics, "ssimulacra2", False) else set()
        return frozenset(names & set(METRICS))

    def check(self, earlier: Sequence[Record]) -> None:
        """One file, one kind of photo and one set of weights: otherwise its lines cannot be compared.

        Raises:
            BadInput: they are of another domain, framing or code, or of other weights.
        """
        for record in earlier:
            if record.domain != self.plan.domain:
                raise BadInput(f"the results there are of the domain {record.domain} (force starts afresh)")
            if record.aligned != self.plan.aligned:
                was, now = ("with", "without") if record.aligned else ("without", "with")
                raise BadInput(f"the results there were made {was} aligned faces, these are {now} (force starts afresh)")
            known = self.weights.get(_who(record))
            if known is not None and record.weights != known:
                other = f"other weights of {record.system}, or of other code"
                raise BadInput(f"the results there are of {other} (force starts afresh)")
        self._powers.clear()
        for record in earlier:
            self._heard(record)

    def accept(self, record: Record) -> None:
        """Hold a system to its mean power over photos; that of every burst is held by :func:`~semcast.crossing.cross`.

        A photo counts once, however often and over whatever it is sent: its bursts have one power.

        Raises:
            BadInput: the mean over the photos of a point is above 1 by more than chance, or other photos than those of
                training, explain.
        """
        powers = self._heard(record)
        if powers and (average := fmean(powers)) > (most := _most_power(powers)):
            raise BadInput(
                f"{record.system} promises mean power 1 over photos and sends {average:.3g} over {len(powers)} "
                f"(k = {record.symbols}, {record.snr_db:g} dB; {most:.3g} would be chance): SNR would be had for nothing"
            )

    def _heard(self, record: Record) -> list[float]:
        """The powers of the photos of this record's point so far; none where every burst has its own promise."""
        system = self._mean_power.get(_who(record))
        if system is None or record.power is None:
            return []
        powers = self._powers[_who(record), record.symbols, record.snr_db, record.design_snr_db]
        powers[record.image] = record.power
        return list(powers.values())

    @cached_property
    def _mean_power(self) -> dict[tuple[object, ...], System]:
        systems = {tuple(describe_system(point.system).values()): point.system for point in self.points}
        return {who: system for who, system in systems.items() if system.power == "mean"}

    def measure(self, tasks: Iterable[Task]) -> Iterator[Record | Refused]:
        """Frame each task's photo once and send it over each of its points."""
        for task in tasks:
            try:
                image = self._image(task.source)
            except NoFace as error:
                yield Refused(task, str(without_face(error, [point.system for point in self.points])))
                continue
            except SemcastError as error:
                yield Refused(task, str(error))
                continue
            yield from self._points(task, image, Looks(image, self._parser if self.plan.domain == FACE else None))

    def _points(self, task: Task, image: Tensor, looks: Looks) -> Iterator[Record | Refused]:
        for done, i in enumerate(task.points):
            point = self.points[i]
            try:
                point.system.check_image(image)
                if point.system.image_size is None:  # which k it serves may follow from the size
                    point.system.check(replace(point.budget, size=(image.shape[-2], image.shape[-1])))
            except SemcastError as error:
                yield Refused(replace(task, points=(i,)), str(error))
                continue
            try:
                yield self._record(task.source, image, point, looks)
            except SemcastError as error:
                if point.asked["private"] is None:
                    raise
                left = replace(task, points=task.points[done:])
                yield Refused(left, f"{task.source.name}: {error}")  # nothing but private parts in this photo, say
                break

    def _image(self, source: Source) -> Tensor:
        """The photo, ``[1, 3, H, W]``."""
        if self.plan.domain == PHOTO:
            return source.whole()
        if self.plan.domain == FACE:
            return to_tensor(source.face(None if self.plan.aligned else self._parser)[0])
        return to_tensor(source.scene(domain_named(self.plan.domain)))

    @cached_property
    def _parser(self) -> FaceParser:
        return (self.parser or FaceParser.load)()

    def _record(self, source: Source, image: Tensor, point: Point, looks: Looks) -> Record:
        def send(generator: Any) -> Any:
            return cross(point.system, point.channel, image, point.budget, generator, snr_db=point.snr_db)

        shape = (point.system.name, point.budget.symbols)
        if shape not in self._warm:  # the first call of a shape allocates and tunes: not what a burst takes
            self._warm.add(shape)
            send(generator_for(0, "warm"))
        crossing = send(generator_for(self.plan.seed, source.name, point.draw))
        picture = crossing.reception.image.to(image.device)
        values = self.metrics.measure(image, picture)
        return Record(
            image=source.name,
            **point.asked,  # type: ignore[arg-type]
            uses=point.channel.uses(point.budget.symbols),
            power=round(float(crossing.burst.power.mean()), 6),
            aligned=self.plan.aligned,
            weights=self.weights[tuple(describe_system(point.system).values())],
            **pick(values),  # type: ignore[arg-type]
            **looks.measure(picture),
            without=sorted(self._measurable - {name for name, value in values.items() if math.isfinite(value)}) or None,
            side_bytes=crossing.burst.side_bytes,
            encode_s=round(crossing.encode_s, 5),
            decode_s=round(crossing.decode_s, 5),
            ok=bool(crossing.reception.ok.all()),
        )


def _load_metrics(recognisers: Sequence[tuple[Path, Kind]], vgg: bool, judges: bool, ssimulacra2: bool) -> Metrics:
    """The metrics of another computer again."""
    faces = [Identity(path, kind=kind) for path, kind in recognisers]
    return Metrics.load(faces, vgg, judges=judges, ssimulacra2=ssimulacra2)


def _who(record: Record) -> tuple[object, ...]:
    """The system of a record as :func:`describe_system` names it."""
    return (record.system, record.care, record.refine, record.inversion, record.private)


def _most_power(powers: Sequence[float]) -> float:
    """What the mean of so many bursts may be: three standard errors above 1 and what other photos may add."""
    spread = pstdev(powers) if len(powers) >= ENOUGH else SPREAD
    return 1 + SLACK + 3 * spread / math.sqrt(len(powers))


def _possible(points: Sequence[Point], one_size: bool) -> tuple[list[Point], list[str]]:
    """The points that their systems can work with, and for each system one line about those that it cannot.

    Of photos of many sizes a system that takes any size can only tell when a photo is there.
    """
    possible, impossible = [], defaultdict(list)
    for point in points:
        try:
            point.channel.uses(point.budget.symbols)
            if one_size or point.system.image_size is not None:
                point.system.check(point.budget)
        except SemcastError as error:
            impossible[point.system.name].append((point.budget.symbols, error))
        else:
            possible.append(point)
    if not possible:
        if not impossible:
            raise BadInput("there is nothing to measure: name a system, a channel, an SNR and a k at least")
        raise next(iter(impossible.values()))[0][1]
    lines = []
    for name, refused in impossible.items():
        symbols = ", ".join(map(str, sorted({k for k, _ in refused})))
        lines.append(f"{name} at k = {symbols} ({len(refused)} points a photo): {refused[0][1]}")
    return possible, lines
