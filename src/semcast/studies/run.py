"""One run of a study: its photos, its folder, and everything that measures into it and writes there.

A folder holds a JSONL for each set of measurements, figures as PNG and SVG, Markdown tables, and ``run.json``: what made it.
A run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import torch
from safetensors import safe_open

from semcast.bench import cluster, engine, plots
from semcast.bench.engine import Named, Refused, Task, Work
from semcast.bench.plots import Page, Panel
from semcast.bench.records import Line
from semcast.errors import BadInput, SemcastError
from semcast.files import reason_of, write_text
from semcast.sources import Source
from semcast.weights import available

Track = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Opens a progress bar for (what, how many); what it gives is told how many more are done."""
L = TypeVar("L", bound=Line)
Point = tuple[Any, ...]


def untracked(what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    """Open no progress bar."""
    return nullcontext(lambda count: None)


@dataclass(kw_only=True)
class Run:
    """Photos, a folder, and who listens.

    Args:
        sources: photos.
        out: the folder.
        say: hears one line at a time.
        track: a progress bar.
        force: start each JSONL afresh.
        seed: of all that is drawn.
        workers: processes of this computer, or the address of a dask scheduler.
        command: what the user typed, for ``run.json``.
        written: every file that was written.
    """

    sources: Sequence[Source]
    out: Path
    say: Callable[[str], None] = lambda text: None
    track: Track = untracked
    force: bool = False
    seed: int = 0
    workers: int | str = 1
    command: str = ""
    written: list[Path] = field(default_factory=list)
    _begun: set[Path] = field(default_factory=set)
    _said: set[str] = field(default_factory=set)

    def once(self, text: str) -> None:
        """Say it, but never twice."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    def first(self, count: int) -> Self:
        """Take at most ``count`` photos; what was loaded and written is shared."""
        return replace(self, sources=self.sources[:count])

    def measure(self, file: str, work: Work[L], *, what: str = "", sources: Sequence[Named] | None = None) -> list[L]:
        """Measure into a file of the folder, or take what it holds.

        Args:
            what: for the progress bar.
            sources: other photos than those of the run.

        Raises:
            SemcastError: the file holds results that cannot be compared with these.
        """
        photos: Sequence[Named] = self.sources if sources is None else sources
        path, total = self.out / file, sum(len(work.keys(source)) for source in photos)
        force = self.force and path not in self._begun
        self._begun.add(path)
        with cluster.measuring(self.workers, work) as measure, self.track(what or path.stem, total) as step:
            outcome = engine.run(work, photos, path, force=force, progress=step, measure=measure)
        for reason in outcome.refused:
            self.once(f"skipped: {reason}")
        return outcome.records

    def write(self, name: str, text: str) -> None:
        """Write a text file into the folder, whole or not at all."""
        write_text(self.out / name, text)
        self.written.append(self.out / name)

    def draw(self, name: str, panels: Sequence[Panel], page: Page) -> None:
        """Draw a figure, without the panels of which nothing was measured."""
        shown = [panel for panel in panels if panel.curves]
        if not shown:
            self.say(f"{name} is not drawn: nothing of it was measured")
            return
        self.written += plots.draw(shown, page, self.out / name)


Make = Callable[[Any, Sequence[Point]], Iterable[L]]


@dataclass
class Points(Work[L], Generic[L]):
    """Work of a study of its own: a record for each point of a photo, made by a function.

    Args:
        kind: of the records; they have a ``version``.
        points: the rest of a record's key, after the image.
        make: the records of a photo at the points that are missing; it may leave some out.
        version: of the networks that make them.
    """

    kind: type[L]
    points: Sequence[Point]
    make: Make[L]
    version: str

    def keys(self, source: Any) -> list[Hashable]:
        """List the key of each point."""
        return [(source.name, *point) for point in self.points]

    def check(self, earlier: Sequence[L]) -> None:
        """Raise BadInput where the file holds results of other networks."""
        if any(getattr(record, "version") != self.version for record in earlier):  # noqa: B009 - not of every Line
            raise BadInput("the results there are of other networks (-f starts afresh)")

    def terms(self) -> dict[str, str]:
        """Networks and points."""
        return {"networks": self.version, "points": str(list(self.points))}

    def measure(self, tasks: Iterable[Task]) -> Iterator[L | Refused]:
        """Make the missing records of each photo."""
        for task in tasks:
            try:
                with torch.no_grad():
                    yield from self.make(task.source, [self.points[i] for i in task.points])
            except SemcastError as error:
                yield Refused(task, f"{task.source.name}: {error}")


def ready_folder(out: Path, study: str) -> None:
    """Make the folder of a study where there is none.

    Raises:
        BadInput: it is a file, or cannot be made or written.
    """
    if out.suffix in (".json", ".jsonl") or out.is_file():
        raise BadInput(f"{study} writes several files: name a folder, not {out}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out} cannot be made ({reason_of(error)})") from None
    if not os.access(out, os.W_OK):
        raise BadInput(f"{out} cannot be written: no permission")


def describe_run(path: Path, studies: Sequence[str], command: str, size: Any, sources: Sequence[Source]) -> str:
    """Make ``run.json``: for each study the command, the versions, the fingerprint of each weights file, and the photos.

    Args:
        path: the file as it is, whose other studies are kept.
        size: a dataclass that says how much was measured.
    """
    try:
        runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError):
        runs = {}
    about = {
        "command": command,
        "versions": {name: _version(name) for name in ("semcast", "torch", "numpy", "matplotlib")}
        | {"python": platform.python_version()},
        "weights": {path.stem: _stored_fingerprint(path) for path in available()},
        "size": asdict(size),
        "photos": [source.name for source in sources],
    }
    return json.dumps((runs if isinstance(runs, dict) else {}) | {study: about for study in studies}, indent=1) + "\n"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _stored_fingerprint(path: Path) -> str:
    with safe_open(path, framework="np") as file:
        told: dict[str, str] = file.metadata() or {}
    return told.get("sha256", "")[:12]
