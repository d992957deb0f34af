"""A recipe: what is built, what is lowered, what is measured, what ships. The loop around it is :mod:`semcast.train.loop`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from semcast.channels.draw import image_seeds
from semcast.errors import BadInput
from semcast.link import Burst, Channel, Received
from semcast.train.adversary import Adversary
from semcast.train.loop import CHECKPOINT, Trainer
from semcast.train.ranks import Ranks


@dataclass(frozen=True)
class Job:
    """Where a run finds its photos and leaves its files, on what it computes, and as which of how many processes.

    Args:
        data: the folder that holds ``faces256``, ``faces160-unlabelled`` and ``street256``.
        out: the run's folder.
        resume: go on from its last checkpoint.
        minutes: of this call, at most; none: as many as its steps take.
    """

    data: Path
    out: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    ranks: Ranks = field(default_factory=Ranks)
    resume: bool = False
    minutes: float | None = None


class Task:
    """Anything with a name, settings and a run: :class:`Recipe` is iterated, the others are closed forms.

    Raises:
        SemcastError: the folder holds a run already and is not to be resumed.
    """

    name: ClassVar[str]
    defaults: ClassVar[Any]
    """Its settings, a frozen dataclass."""

    def __init__(self, settings: Any, job: Job) -> None:
        self.settings, self.job, self.device, self.ranks = settings, job, job.device, job.ranks

    def run(self) -> None:
        """Do all of it and write the weights."""
        raise NotImplementedError


class Recipe(Task):
    """One model's training.

    ``build`` sets ``network`` (trained, averaged and shipped) and ``optimiser``, and ``adversary`` where there is a
    discriminator. A parameter group may have a ``share`` of the learning rate. Its settings have at least ``steps``, ``batch``,
    ``rate``, ``seed`` and ``schedule``. What is random is drawn from ``random``, which is the same in every process and survives
    an interruption: what concerns one photo is drawn for the whole batch (:meth:`rows`, :meth:`cross`).

    Class variables: ``decay`` of the average, ``clip`` of the gradient's norm, ``report_every`` so many steps and validation
    ``every_s`` so many seconds.
    """

    decay: ClassVar[float] = 0.999
    clip: ClassVar[float] = 1.0
    report_every: ClassVar[int] = 50
    every_s: ClassVar[float] = 240.0

    network: nn.Module
    optimiser: torch.optim.Optimizer
    adversary: Adversary | None = None

    def __init__(self, settings: Any, job: Job) -> None:
        super().__init__(settings, job)
        if (job.out / CHECKPOINT).exists() and not job.resume:
            raise BadInput(f"{job.out} already holds a run; go on with --resume or name another folder")
        self.i = 0
        self.random = torch.Generator().manual_seed(settings.seed)
        torch.manual_seed(settings.seed)
        self.build()

    # ---- what a recipe says ------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the networks and read the photos."""
        raise NotImplementedError

    def start(self) -> None:
        """What happens once, before the first step of a run."""

    def batches(self, first: int) -> Iterator[tuple[Tensor, ...]]:
        """Whole batches from step ``first`` on, photos first."""
        raise NotImplementedError

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What this step lowers, and what is logged of it."""
        raise NotImplementedError

    def ship(self, network: Any) -> None:
        """Write the weights file of the averaged network."""
        raise NotImplementedError

    def validate(self, network: Any) -> dict[str, float]:
        """What the averaged network does on val."""
        return {}

    def sheet(self, network: Any) -> Sequence[Sequence[Tensor]]:
        """Rows of pictures ``[3, H, W]`` of always the same val photos, for the eye; none: no sheet."""
        return ()

    def state(self) -> dict[str, Any]:
        """Further modules and optimisers that must survive an interruption, by name."""
        return {}

    def configuration(self) -> dict[str, Any]:
        """Written beside the log, with the settings."""
        return {}

    # ---- what all recipes do -----------------------------------------------------------------------------------------

    @property
    def whole(self) -> int:
        """Photos in the batches of all processes together."""
        return int(self.settings.batch) * self.ranks.count

    def rows(self, draw: Callable[[int], Tensor], count: int) -> Tensor:
        """What is drawn for each photo of the whole batch, of that the rows of this process, on its device.

        Args:
            draw: how many photos → so many rows, out of ``self.random``.
            count: photos of this process.
        """
        return self.ranks.share(draw(count * self.ranks.count)).to(self.device)

    def cross(self, channel: Channel, burst: Burst) -> Received:
        """The burst through the channel, each photo with the noise that it meets in the whole batch."""
        count, (symbols, snr) = len(burst.symbols), (burst.symbols.shape[1], burst.budget.snr_db)
        image_seeds(self.ranks.rank * count, self.random)
        realisation = channel.draw(count, symbols, snr, self.random)
        image_seeds((self.ranks.count - 1 - self.ranks.rank) * count, self.random)
        return realisation(burst)

    def coin(self, chance: float) -> bool:
        """Heads, the same in every process."""
        return float(torch.rand((), generator=self.random)) < chance

    def place(self, thing: Tensor) -> Tensor:
        """This process's rows of a whole batch, on its device, photos in channels_last order."""
        mine = self.ranks.share(thing).to(self.device, non_blocking=True)
        return mine.contiguous(memory_format=torch.channels_last) if mine.ndim == 4 else mine

    def parameters(self) -> list[list[nn.Parameter]]:
        """Those whose gradients are clipped together."""
        return [[p for group in self.optimiser.param_groups for p in group["params"]]]

    def advance(self, batch: tuple[Tensor, ...], factor: float) -> dict[str, float]:
        """One step of networks and discriminator, at a share of the learning rate; what is logged of it."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate * group.get("share", 1.0) * factor
        total, losses = self.loss(*map(self.place, batch))
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        for parameters in self.parameters():
            self.ranks.average(parameters)
            nn.utils.clip_grad_norm_(parameters, self.clip)
        self.optimiser.step()
        if self.adversary is not None:
            losses = losses | self.adversary.step(self.ranks)
        return {name: float(value.detach()) for name, value in losses.items()}

    def run(self) -> None:
        """Train to the last step or minute."""
        Trainer(self).run()

    def list_settings(self) -> dict[str, Any]:
        """Name, settings and configuration, for the run's folder.

        The networks' own fields stand apart: ``correction`` of ``sketch`` is a share of the learning rate and a network too.
        """
        return {"recipe": self.name, **asdict(self.settings), "networks": self.configuration()}
