"""The one training loop: progress, a log, checkpoints often, resume from the last, an averaged copy to ship."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from semcast.errors import SemcastError

console = Console(stderr=True)
CHECKPOINT = "checkpoint.pt"


class Averaged:
    """Exponential moving average of a module's parameters, warmed up so that early steps do not linger."""

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        self.module, self.decay, self.updates = module, decay, 0
        self.values = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the current parameters."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for key, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.values[key].lerp_(value.detach(), 1 - decay)
            else:
                self.values[key].copy_(value)


def warm_cosine(step: int, steps: int, *, warm: int = 100, floor: float = 0.05) -> float:
    """Learning-rate factor: linear warm-up, then a cosine from 1 down to ``floor``."""
    if step < warm:
        return (step + 1) / warm
    progress = min(1.0, (step - warm) / max(1, steps - warm))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def descend(loss: Tensor, optimiser: torch.optim.Optimizer, average: Averaged, *, clip: float = 1.0) -> None:
    """One step down the loss, the norm of the gradient of all that is optimised at most ``clip``; the average follows."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip)
    optimiser.step()
    average.update()


class Trainer:
    """Runs ``step(i) -> {name: value}`` from where the last run stopped, and saves what ``state`` holds.

    Args:
        out: the run's folder; it gets ``log.jsonl``, ``settings.json`` and ``checkpoint.pt``.
        state: everything that must survive an interruption, by name: modules, optimisers, :class:`Averaged`.
        settings: written beside the log, so that a run explains itself.
        resume: go on from ``out/checkpoint.pt``; without it, a folder that holds one is refused.
    """

    def __init__(
        self, out: Path, state: dict[str, object], settings: dict[str, object], *, resume: bool, every_s: float = 90.0
    ) -> None:
        self.out, self.state, self.every_s, self.first, self.seconds = out, state, every_s, 0, 0.0
        out.mkdir(parents=True, exist_ok=True)
        path = out / CHECKPOINT
        if path.exists() and not resume:
            raise SemcastError(f"{out} already holds a run; go on with --resume or name another folder")
        if path.exists():
            self._restore(path)
        (out / "settings.json").write_text(json.dumps(settings, indent=1, default=str) + "\n")

    def _restore(self, path: Path) -> None:
        saved = torch.load(path, weights_only=True, map_location="cpu")
        for name, thing in self.state.items():
            if name not in saved["state"]:
                continue
            if isinstance(thing, Averaged):
                thing.values, thing.updates = saved["state"][name], int(saved["step"])
            else:
                thing.load_state_dict(saved["state"][name])  # type: ignore[attr-defined]
        self.first, self.seconds = int(saved["step"]), float(saved["seconds"])

    def save(self, step: int, seconds: float) -> None:
        """Write the checkpoint after ``seconds`` of this run; it appears whole or not at all."""
        state = {
            k: (v.values if isinstance(v, Averaged) else v.state_dict())  # type: ignore[attr-defined]
            for k, v in self.state.items()
        }
        part = self.out / (CHECKPOINT + ".part")
        torch.save({"state": state, "step": step, "seconds": self.seconds + seconds}, part)
        part.replace(self.out / CHECKPOINT)

    def run(
        self,
        steps: int,
        step: Callable[[int], dict[str, float]],
        *,
        report_every: int = 50,
        after_save: Callable[[int], dict[str, float]] | None = None,
    ) -> None:
        """Train to ``steps``; Ctrl-C saves and leaves. ``after_save`` measures on val and its numbers are logged."""
        sums: dict[str, float] = {}
        count, saved_at, begun = 0, time.monotonic(), time.monotonic()
        i = self.first
        with (self.out / "log.jsonl").open("a") as log:
            try:
                for i in range(self.first, steps):
                    for key, value in step(i).items():
                        if not math.isfinite(value):
                            raise SemcastError(f"training diverged at step {i}: {key} is {value}")
                        sums[key] = sums.get(key, 0.0) + value
                    count += 1
                    now = time.monotonic()
                    if (i + 1) % report_every == 0 or i + 1 == steps:
                        means = {k: round(v / count, 5) for k, v in sums.items()}
                        rate = (now - begun) / max(1, i + 1 - self.first)
                        line = {"step": i + 1, "seconds": round(self.seconds + now - begun, 1), **means}
                        log.write(json.dumps(line) + "\n")
                        log.flush()
                        left = rate * (steps - i - 1)
                        shown = "  ".join(f"{k} {v:.4g}" for k, v in means.items())
                        console.print(f"{i + 1}/{steps}  {left / 60:.1f} min left  {shown}", highlight=False)
                        sums, count = {}, 0
                    if now - saved_at > self.every_s or i + 1 == steps:
                        self.save(i + 1, now - begun)
                        if after_save is not None:
                            line = {"step": i + 1, **after_save(i + 1)}
                            log.write(json.dumps(line) + "\n")
                            log.flush()
                            console.print("val", json.dumps(line), highlight=False)
                        saved_at = time.monotonic()
            except KeyboardInterrupt:
                self.save(i, time.monotonic() - begun)
                raise SemcastError(f"stopped at step {i}; go on with --resume") from None
