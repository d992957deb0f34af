"""What attackers do with what they have: restore private codes by regression, and look up faces by a recogniser."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.metrics.identity import Identity
from semcast.metrics.kid import EMBEDDER, kid
from semcast.metrics.report import Metrics

RIDGES = (1e-1, 1.0, 10.0, 100.0, 1e3, 1e4)


@dataclass
class Evidence:
    """What attackers have of one photo.

    Attributes:
        seen: inputs ``[D]`` of each burst, by (choice of parts, view).
        truth: the private codes ``[P]`` that each of them is to give away.
        embeddings: of faces, by (view, recogniser).
        numbers: other measurements by name.
        pictures: by view.
    """

    seen: dict[tuple[str, str], list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    truth: dict[tuple[str, str], list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    embeddings: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, Tensor] = field(default_factory=dict)

    def add(self, text: str, view: str, seen: Tensor, truth: Tensor) -> None:
        """Add one more burst."""
        self.seen[text, view].append(seen.flatten().float())
        self.truth[text, view].append(truth.flatten().float())

    def pack(self) -> dict[str, Tensor]:
        """Flatten it into tensors by name, for a file."""
        tensors = {f"{kind}|{text}|{view}": torch.stack(rows) for kind, found in (("seen", self.seen), ("truth", self.truth))
                   for (text, view), rows in found.items()}  # fmt: skip
        tensors |= {f"embedding|{view}|{name}": value for (view, name), value in self.embeddings.items()}
        tensors |= {f"number|{name}|": torch.tensor(value, dtype=torch.float64) for name, value in self.numbers.items()}
        tensors |= {f"picture|{view}|": value for view, value in self.pictures.items()}
        return {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}

    @classmethod
    def unpack(cls, tensors: dict[str, Tensor]) -> Evidence:
        """Make it again of what :meth:`pack` gave."""
        found = cls()
        for name, tensor in tensors.items():
            kind, first, second = name.split("|")
            if kind in ("seen", "truth"):
                getattr(found, kind)[first, second].extend(tensor)
            elif kind == "embedding":
                found.embeddings[first, second] = tensor
            elif kind == "number":
                found.numbers[first] = float(tensor)
            else:
                found.pictures[first] = tensor
        return found


def join(evidence: Sequence[Evidence], key: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """Give the inputs ``[N, D]`` and private codes ``[N, P]`` of several photos, a row a burst."""
    seen, truth = [row for each in evidence for row in each.seen[key]], [row for each in evidence for row in each.truth[key]]
    return torch.stack(seen), torch.stack(truth)


def attack(learnt: Sequence[Evidence], tested: Sequence[Evidence]) -> dict[str, dict[str, float]]:
    """R² of the private codes (weighted by how visible they are) on photos not learnt on, by ridge regression and MLP.

    1 is perfect restoration, 0 what the mean of the learnt photos achieves; below 0 is worse than that.
    """
    results = {}
    for text, view in tested[0].seen:
        x, y = join(learnt, (text, view))
        x_new, y_new = join(tested, (text, view))
        found = {"ridge": ridge(x, y)(x_new), "mlp": mlp(x, y)(x_new)}
        results[f"{text}: {view}"] = {name: round(r_squared(guess, y_new, y.mean(0)), 4) for name, guess in found.items()}
    return results


def r_squared(guess: Tensor, truth: Tensor, mean: Tensor) -> float:
    """1 - Σ (guess - truth)² / Σ (mean - truth)², over all numbers of all photos."""
    return 1 - float((guess - truth).square().sum() / (mean - truth).square().sum().clamp_min(1e-12))


Guess = Callable[[Tensor], Tensor]


def ridge(x: Tensor, y: Tensor) -> Guess:
    """Ridge regression ``[N, D]`` → ``[N, P]``, its penalty chosen on the last fifth of the rows."""
    cut = max(1, len(x) * 4 // 5)
    errors = [float((_ridge(x[:cut], y[:cut], penalty)(x[cut:]) - y[cut:]).square().mean()) for penalty in RIDGES]
    return _ridge(x, y, RIDGES[int(np.argmin(errors))])


def _ridge(x: Tensor, y: Tensor, penalty: float) -> Guess:
    middle, level, scale = x.mean(0), y.mean(0), x.std(0).mean().clamp_min(1e-6)
    z = ((x - middle) / scale).double()
    dual = torch.linalg.solve(z @ z.T + penalty * torch.eye(len(z), dtype=torch.float64), (y - level).double())
    weights = (z.T @ dual).float()
    return lambda new: (new - middle) / scale @ weights + level


def mlp(x: Tensor, y: Tensor, steps: int = 300, width: int = 256) -> Guess:
    """A network of one hidden layer beside a linear path; of 300 Adam steps the best one on the last fifth of the rows."""
    cut = max(1, len(x) * 4 // 5)
    middle, level, scale, size = x[:cut].mean(0), y[:cut].mean(0), x.std(0).mean().clamp_min(1e-6), y.std().clamp_min(1e-6)
    z, t = (x - middle) / scale, (y - level) / size
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(x.shape[1], width), nn.SiLU(), nn.Dropout(0.5), nn.Linear(width, y.shape[1]))
        nn.init.zeros_(net[3].weight)  # type: ignore[arg-type]
        optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.1)
        best, kept = torch.inf, {k: v.clone() for k, v in net.state_dict().items()}
        for step in range(steps):
            index = torch.randint(cut, (min(64, cut),))
            optimiser.zero_grad()
            F.mse_loss(net(z[index]), t[index]).backward()
            optimiser.step()
            if step % 10 == 9:
                with torch.no_grad():
                    error = float(F.mse_loss(net.eval()(z[cut:]), t[cut:]))
                if error < best:
                    best, kept = error, {k: v.clone() for k, v in net.state_dict().items()}
                net.train()
    net.load_state_dict(kept)
    net.eval().requires_grad_(False)
    return lambda new: net((new - middle) / scale) * size + level


def identify(tested: Sequence[Evidence], recognisers: Mapping[str, Identity]) -> dict[str, dict[str, float]]:
    """Look faces up among the photos, each recogniser by its own similarity: rank-1 rate, mean score of matches and of others."""
    results = {}
    for view, name in tested[0].embeddings:
        if name not in recognisers:
            continue
        photos, received = (torch.cat([each.embeddings[v, name] for each in tested]) for v in ("photo", view))
        scores = recognisers[name].scores(received, photos)
        count = len(scores)
        different = scores[~torch.eye(count, dtype=torch.bool)]
        results[f"{view}, {name}"] = {
            "rank-1": round(float((scores.argmax(1) == torch.arange(count)).float().mean()), 4),
            "match": round(float(scores.diag().mean()), 4),
            "different persons": round(float(different.mean()), 4),
            "chance": round(1 / count, 4),
        }
    return results


def compare_sets(tested: Sequence[Evidence], metrics: Metrics) -> dict[str, Any]:
    """KID of the faces that arrive against the photos, in mobileface_v2's features; ``bare`` has no knowledge base."""
    names = [name for name, embedder in metrics.identity.items() if embedder.path.name == EMBEDDER]
    if not names:
        return {"left out": f"needs --identity {EMBEDDER}"}
    results: dict[str, Any] = {}
    for view, name in tested[0].embeddings:
        if name == names[0] and view != "photo":
            photos, received = (torch.cat([each.embeddings[v, name] for each in tested]) for v in ("photo", view))
            size = photos.shape[1] ** 0.5
            results[view] = round(kid(size * received, size * photos), 5)
    return results
