"""Several processes that train as one: ``torchrun --nproc-per-node N -m semcast train ...``.

Every process has the same networks and the same random generator, takes its share of each batch, and averages its gradients with
the others'. So N processes with batches of B take the steps that one takes with batches of N B. The first process alone logs,
saves and validates.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from semcast.networks.precision import choose_device

PATIENCE = datetime.timedelta(hours=4)
"""How long the others wait while the first inverts photos or validates."""


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is; by itself the only one."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that logs, saves and validates."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's rows of a whole batch.

        >>> Ranks(1, 2).share(torch.arange(6)).tolist()
        [3, 4, 5]
        """
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        for gradient, mean in zip(gradients, (flat / self.count).split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def agree(self, value: float) -> float:
        """The first process's value, for all."""
        if self.count == 1:
            return value
        both = torch.tensor(value, dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.broadcast(both, 0)
        return float(both)

    def copy(self, module: nn.Module) -> None:
        """Give every process the first one's parameters and buffers."""
        if self.count > 1:
            for tensor in module.state_dict().values():
                sent = tensor.detach().contiguous()
                dist.broadcast(sent, 0)
                tensor.copy_(sent)

    @contextlib.contextmanager
    def first(self) -> Iterator[None]:
        """A block that the first process goes through before the others do: they find the files that it wrote there."""
        if not self.leads:
            self.agree(0.0)
        yield
        if self.leads:
            self.agree(0.0)


@contextlib.contextmanager
def join(device: str = "auto") -> Iterator[tuple[Ranks, torch.device]]:
    """This process among those that torchrun started, and its device; without torchrun the only one.

    Raises:
        SemcastError: there is no such device.
    """
    if not dist.is_torchelastic_launched():
        yield Ranks(), choose_device(device)
        return
    chosen = choose_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size()), chosen
    finally:
        dist.destroy_process_group()
