"""The one training loop: progress, a log, checkpoints often, resume from the last, validation of the averaged copy."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from semcast.errors import BadInput, Damaged, Unfinished
from semcast.files import reason_of, whole, write_text
from semcast.photos import to_uint8, write_image
from semcast.pictures import grid
from semcast.stopping import unbroken
from semcast.train.schedule import average
from semcast.train.settings import note

if TYPE_CHECKING:
    from semcast.train.recipe import Recipe

console = Console(stderr=True, markup=False, emoji=False)  # a path may hold brackets
CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"


class Means:
    """Means of what steps reported; not every step reports everything."""

    def __init__(self, sums: dict[str, float] | None = None, counts: dict[str, int] | None = None) -> None:
        self.sums, self.counts = dict(sums or {}), dict(counts or {})

    def add(self, step: int, values: dict[str, float]) -> None:
        """Take in what a step reported.

        Raises:
            Unfinished: a value is not finite.
        """
        for key, value in values.items():
            if not math.isfinite(value):
                raise Unfinished(f"training diverged at step {step}: {key} is {value}")
            self.sums[key] = self.sums.get(key, 0.0) + value
            self.counts[key] = self.counts.get(key, 0) + 1

    def take(self) -> dict[str, float]:
        """The means since the last time."""
        found = {key: round(total / self.counts[key], 5) for key, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return found


class Trainer:
    """Runs a recipe from where its last run stopped to its last step or minute.

    The run's folder gets ``log.jsonl`` (one line a report and a validation), ``settings.json``, ``checkpoint.pt``, the weights,
    and ``sheets/STEP.png`` where the recipe has pictures to show.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.out, self.ranks = recipe, recipe.job.out, recipe.ranks
        self.first, self.reported, self.seconds = 0, 0, 0.0
        self.begun, self.means = time.monotonic(), Means()
        path = self.out / CHECKPOINT
        saved = torch.load(path, weights_only=True, map_location=recipe.device) if path.exists() else None
        if saved is None:
            recipe.start()
        self.ranks.copy(recipe.network)
        self.average = average(recipe.network, recipe.decay)
        if saved is not None:
            self._restore(saved)
        self._validated = 0
        if self.ranks.leads:
            try:
                self.out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadInput(f"the folder {self.out} cannot be made ({reason_of(error)})") from None
            self._trim_log()
            note(self.out, recipe.list_settings(), self.first)

    def _trim_log(self) -> None:
        """Take off what a killed run logged after its last checkpoint: those steps are taken again."""
        path, kept = self.out / LOG, []
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if path.exists() else []
        except OSError as error:
            raise BadInput(f"{path} cannot be read ({reason_of(error)})") from None
        for line in lines:
            try:
                step, validated = int(json.loads(line)["step"]), "seconds" not in line
            except (ValueError, KeyError, TypeError):  # cut short
                continue
            if step <= self.first:
                kept.append(line)
                self._validated = max(self._validated, step * validated)
        if kept != lines:
            write_text(path, "".join(kept))

    def _things(self) -> dict[str, Any]:
        """What survives an interruption, by name."""
        recipe = self.recipe
        things = {"network": recipe.network, "optimiser": recipe.optimiser, "average": self.average, **recipe.state()}
        return things if recipe.adversary is None else {**things, "adversary": recipe.adversary}

    def _restore(self, saved: dict[str, Any]) -> None:
        try:
            for name, thing in self._things().items():
                thing.load_state_dict(saved["state"][name])
            self.recipe.random.set_state(saved["random"].cpu())
            self.first, self.seconds = int(saved["step"]), float(saved["seconds"])
            unsaid = saved.get("unsaid", {"since": self.first, "sums": {}, "counts": {}})
            self.reported, self.means = int(unsaid["since"]), Means(unsaid["sums"], unsaid["counts"])
        except (KeyError, RuntimeError, ValueError, TypeError):
            raise Damaged(f"{self.out / CHECKPOINT} is of another recipe or version; name another folder") from None

    def save(self, step: int) -> None:
        """Write the checkpoint; it appears whole or not at all."""
        state = {name: thing.state_dict() for name, thing in self._things().items()}
        seconds = self.seconds + time.monotonic() - self.begun
        unsaid = {"since": self.reported, "sums": self.means.sums, "counts": self.means.counts}
        kept = {"state": state, "random": self.recipe.random.get_state(), "step": step, "seconds": seconds, "unsaid": unsaid}
        with whole(self.out / CHECKPOINT) as file:
            torch.save(kept, file)

    def spent(self) -> float:
        """Share of the minutes that is over; 0 where there is no limit."""
        minutes = self.recipe.job.minutes
        return 0.0 if minutes is None else self.ranks.agree((time.monotonic() - self.begun) / (60 * minutes))

    def run(self) -> None:
        """Train; Ctrl-C saves and leaves."""
        recipe, steps = self.recipe, int(self.recipe.settings.steps)
        schedule = recipe.settings.schedule
        stream = recipe.batches(self.first)
        busy, saved_at, i = 0.0, time.monotonic(), self.first
        validated = self._validated
        try:
            if i > self.reported and i % recipe.report_every == 0:  # stopped between a step and its line
                self.report(i, busy)
            while i < steps and (spent := self.spent()) < 1:
                began = time.monotonic()
                with unbroken():  # half a step cannot be gone on with
                    recipe.i = i
                    self.means.add(i, recipe.advance(next(stream), schedule(i, steps, spent)))
                    self.average.update_parameters(recipe.network)
                    i += 1
                busy += time.monotonic() - began
                if i % recipe.report_every == 0:
                    self.report(i, busy)
                    busy = 0.0
                if time.monotonic() - saved_at > recipe.every_s and i < steps:
                    self.validate(i)
                    saved_at, validated = time.monotonic(), i
            if i > self.reported:
                self.report(i, busy)
            if i > validated:
                self.validate(i)
        except KeyboardInterrupt:
            if self.ranks.leads:
                self.save(i)
            raise Unfinished(f"stopped at step {i}; go on with --resume") from None

    def report(self, step: int, busy: float) -> None:
        """One line of the log: means since the last, and how many photos a second all processes see.

        Args:
            step: of the last step.
            busy: seconds that the steps of this run since the last line took.
        """
        photos_per_s = self.recipe.whole * (step - max(self.reported, self.first)) / busy if busy else 0.0
        with unbroken():  # the line is there, or its means are still to be told
            self._report(step, photos_per_s)

    def _report(self, step: int, photos_per_s: float) -> None:
        found, seconds = self.means.take(), self.seconds + time.monotonic() - self.begun
        self.reported = step
        line = {"step": step, "seconds": round(seconds, 1), "photos_per_s": round(photos_per_s, 2), **found}
        left = (int(self.recipe.settings.steps) - step) * self.recipe.whole / max(photos_per_s, 1e-9) / 60
        if self.recipe.job.minutes is not None:
            left = min(left, self.recipe.job.minutes - (time.monotonic() - self.begun) / 60)
        shown = "  ".join(f"{key} {value:.4g}" for key, value in found.items())
        self._log(line, f"{step}/{self.recipe.settings.steps}  {left:.1f} min left  {photos_per_s:.1f} photos/s  {shown}")

    def validate(self, step: int) -> None:
        """Save, write the averaged weights, measure them on val, and show pictures of them."""
        if not self.ranks.leads:
            return
        self.save(step)
        network = self.average.module
        self.recipe.ship(network)
        line = {"step": step, **self.recipe.validate(network)}
        rows = [[to_uint8(tile) for tile in row] for row in self.recipe.sheet(network)]
        if rows:
            (self.out / "sheets").mkdir(exist_ok=True)
            write_image(self.out / "sheets" / f"{step:07d}.png", grid(rows))
        self._log(line, f"val {json.dumps(line)}")  # last: it says that all of this is there

    def _log(self, line: dict[str, Any], shown: str) -> None:
        if not self.ranks.leads:
            return
        path = self.out / LOG
        try:
            with path.open("a") as log:
                log.write(json.dumps(line) + "\n")
        except OSError as error:
            raise BadInput(f"{path} cannot be written ({reason_of(error)})") from None
        console.print(shown, highlight=False)

