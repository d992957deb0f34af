"""Recipe ``allocation``: the policy that spends the bytes, by reinforcement learning (MaskablePPO) in a gymnasium environment.

An episode is a photo and a budget: the side of the layout, then a level for each concept in the order of the file. The reward
is the increase of J (:mod:`semcast.codec.criterion`) after each step, and the last one is reduced by what ``uniform`` would have
got; with γ = 1 they add up to J of the file less that of uniform, times the budget, so that all budgets count. What is taken off
depends on photo and budget alone, so it changes no preference, but without it most of a return is how difficult the photo is,
which the policy cannot see. What does not fit is masked.

Decoding after every step is slow, so most of the training looks J up in a :class:`PhotoTable`; ``exact_from`` goes on with true
decodes. The validation compares with the other allocations, and the first says how well the table agrees with true decodes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semcast.codec.allocation import PLAIN, uniform
from semcast.codec.choice import Allocation, Choice, Options, Side
from semcast.codec.codec import Networks
from semcast.codec.concepts import CATEGORIES, GRID, LEVELS, SIDES, SIZE
from semcast.codec.criterion import bits_per_pixel, score
from semcast.codec.policy import OBSERVED, Policy, PolicyConfig, Walk
from semcast.codec.score import preview
from semcast.domains import IGNORED, domain_named
from semcast.errors import SemcastError
from semcast.metrics.perceptual import Lpips
from semcast.networks.precision import mixed
from semcast.train.data import Scenes, load_scenes
from semcast.train.loop import Trainer, console, warm_cosine
from semcast.weights import save

if TYPE_CHECKING:
    import gymnasium

COMPARED = ("uniform", "random", "area", "greedy")


@dataclass(frozen=True)
class Settings:
    """``steps`` updates of ``envs`` x ``horizon`` steps each, on ``photos`` of train, measured on ``val_photos`` of val.

    Args:
        low, high: budgets in bytes, drawn log-uniformly between them; half of them are those of interest.
        scale: of the reward at the smallest budget of interest, so that a return is about 1. It grows with the budget: the more
            fits, the less a choice changes J (on training photos returns spread by .037 at 300 bytes, .016 at 500, .008 at
            1,000), and all budgets are to count alike.
        exact_from: the update from which J is decoded instead of looked up; at or above ``steps``: never.
        checked: random choices a val photo by which table and true J are correlated.
    """

    domain: str = "street"
    steps: int = 300
    photos: int = 400
    val_photos: int = 40
    envs: int = 8
    horizon: int = 256
    batch: int = 256
    epochs: int = 6
    rate: float = 4e-4
    entropy: float = 0.005
    clip: float = 0.2
    low: int = 250
    high: int = 1100
    scale: float = 10.0
    exact_from: int = 10**9
    checked: int = 8
    seed: int = 0


BUDGETS = (300, 500, 1000)
"""Those of interest, in bytes."""


# ---- a table in place of decoding ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PhotoTable:
    """What J of any choice is made of, to a first approximation: the errors of uniform allocations, concept by concept.

    Each photo is decoded with all concepts at the same level, at each level and side. The error of a cell is then taken to
    depend on its own level alone, so that for any levels

        LPIPS ≈ Σ_concepts lpips[side, level, concept],      counts ≈ Σ_concepts counts[side, level, concept],

    exact for uniform levels; mIoU follows from the counts. What it leaves out is what a concept's features do to others: the
    painter sees beyond a cell, and GroupNorm sees everything. Arrays, N photos:

    Args:
        layouts: by side, uint8 ``[N, side, side]``.
        features: by side, float32 ``[N, CHANNELS, GRID, GRID]``.
        lpips: ``[N, SIDES, LEVELS, CATEGORIES]``, each concept's share of LPIPS.
        counts: hit and shown pixels ``[N, SIDES, LEVELS, CATEGORIES, 2, CATEGORIES]``.
        truth: pixels of each category ``[N, CATEGORIES]``.
    """

    layouts: dict[int, NDArray[np.uint8]]
    features: dict[int, NDArray[np.float32]]
    lpips: NDArray[np.float32]
    counts: NDArray[np.int32]
    truth: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.truth)

    @classmethod
    def of(cls, networks: Networks, scenes: Scenes) -> PhotoTable:
        """Decode every photo at every level and side (18 pictures each)."""
        rows: list[_Row] = []
        for i in range(len(scenes)):
            rows.append(_row(networks, scenes.batch(torch.tensor([i])), scenes.masks[i : i + 1]))
            if (i + 1) % 50 == 0:
                console.print(f"table: {i + 1} of {len(scenes)} photos", highlight=False)
        return cls(
            {side: np.stack([row.sides[side].layout for row in rows]) for side in SIDES},
            {side: np.stack([row.sides[side].features for row in rows]) for side in SIDES},
            np.stack([row.lpips for row in rows]), np.stack([row.counts for row in rows]), np.stack([row.truth for row in rows]),
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """As .npz."""
        named: dict[str, NDArray[Any]] = {f"layouts_{side}": value for side, value in self.layouts.items()}
        named |= {f"features_{side}": value for side, value in self.features.items()}
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, lpips=self.lpips, counts=self.counts, truth=self.truth, **named)  # type: ignore[arg-type]
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> PhotoTable:
        """From .npz."""
        with np.load(path) as file:
            layouts = {side: file[f"layouts_{side}"] for side in SIDES}
            features = {side: file[f"features_{side}"] for side in SIDES}
            return cls(layouts, features, file["lpips"], file["counts"], file["truth"])

    def options(self, networks: Networks, i: int) -> Options:
        """Photo i to choose from, with J looked up."""
        sides = {side: networks.side(self.layouts[side][i], self.features[side][i]) for side in SIDES}
        options = Options(sides, lambda choices: [self.score(options, i, choice) for choice in choices])
        return options

    def score(self, options: Options, i: int, choice: Choice) -> float:
        """The approximation of J of photo i."""
        side = options.sides[choice.side]
        k, levels = SIDES.index(choice.side), np.array(choice.levels)
        categories = np.array([concept.category for concept in side.concepts])
        lpips = float(self.lpips[i, k, levels, categories].sum())
        hit, seen = self.counts[i, k, levels, categories].sum(0)
        union = self.truth[i] + seen - hit
        there = union > 0
        miou = float((hit[there] / union[there]).mean()) if there.any() else 1.0
        return score(bits_per_pixel(options.size(choice)), miou, lpips)


class _Row(NamedTuple):
    """What the table holds of one photo."""

    sides: dict[int, Side]
    lpips: NDArray[np.float32]
    counts: NDArray[np.int32]
    truth: NDArray[np.int64]


def _row(networks: Networks, photo: Tensor, mask: Tensor) -> _Row:
    """One photo ``[1, 3, 256, 256]`` with its labels ``[1, 256, 256]``."""
    lpips = _lpips_of(networks)
    photo = photo.contiguous(memory_format=torch.channels_last)
    sides = networks.sides(photo)
    errors = np.zeros((len(SIDES), LEVELS, CATEGORIES), np.float32)
    counts = np.zeros((len(SIDES), LEVELS, CATEGORIES, 2, CATEGORIES), np.int32)
    truth = mask[0].numpy()
    known = truth != IGNORED
    with torch.no_grad(), mixed():
        target = lpips.features(photo)
    for k, side in enumerate(SIDES):
        concepts = sides[side].concepts
        pictures = preview(networks.codec, sides, [Choice(side, (level,) * len(concepts)) for level in range(LEVELS)])
        with torch.no_grad(), mixed():
            maps = lpips_cells(lpips, target, lpips.features(pictures)).numpy()
        labels = networks.labels(pictures).numpy()
        owner = np.zeros(GRID * GRID, np.int64)
        for concept in concepts:
            owner[concept.cells] = concept.category
        pixels = owner.reshape(GRID, GRID).repeat(SIZE // GRID, 0).repeat(SIZE // GRID, 1)
        for level in range(LEVELS):
            errors[k, level] = np.bincount(owner, maps[level].reshape(-1), CATEGORIES)
            seen = pixels * CATEGORIES + labels[level]
            right = known & (labels[level] == truth)
            for row, where in enumerate((right, known)):
                found = np.bincount(seen[where], minlength=CATEGORIES**2)
                counts[k, level, :, row] = found.reshape(CATEGORIES, CATEGORIES)
    return _Row(sides, errors, counts, np.bincount(truth[known], minlength=CATEGORIES).astype(np.int64))


def _lpips_of(networks: Networks) -> Lpips:
    if networks.lpips is None:
        raise SemcastError("the recipe allocation needs LPIPS: set SEMCAST_SHARED to the folder whose weights/ has it")
    return networks.lpips


def lpips_cells(lpips: Lpips, target: Sequence[Tensor], features: Sequence[Tensor]) -> Tensor:
    """Each cell's share of LPIPS, ``[B, GRID, GRID]``: it sums to the distance.

    Args:
        target: features of the photo, ``[1, C, H, W]`` a layer.
        features: those of the pictures.
    """
    total = torch.zeros(len(features[0]), GRID, GRID)
    for a, b, weight in zip(target, features, lpips.heads, strict=True):
        here = ((a - b).square() * weight).sum(1, keepdim=True).float()
        cells = F.adaptive_avg_pool2d(here, GRID) if here.shape[-1] >= GRID else F.interpolate(here, (GRID, GRID), mode="area")
        cells = cells * (here.mean((2, 3), keepdim=True) / cells.mean((2, 3), keepdim=True).clamp_min(1e-12))
        total = total + cells[:, 0] / GRID**2
    return total


# ---- the environment -------------------------------------------------------------------------------------------------

Photo = Callable[[int], Options]
"""The number of a photo → what there is to choose from."""


def allocation_env(photo: Photo, count: int, settings: Settings, seed: int) -> gymnasium.Env[Any, Any]:
    """The environment: :class:`~semcast.codec.policy.Walk` with rewards.

    ``info["score"]`` of a last step is J of the file.

    Raises:
        SemcastError: gymnasium is not installed.
    """
    gym = _need("gymnasium")

    class AllocationEnv(gym.Env):  # type: ignore[misc, name-defined]
        """Photos and budgets at random; one step a concept."""

        def __init__(self) -> None:
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, (OBSERVED,), np.float32)
            self.action_space = gym.spaces.Discrete(LEVELS)
            self.photo, self.random = photo, np.random.default_rng(seed)
            self.before, self.expected = 0.0, 0.0

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray[np.float32], dict]:
            """The next photo and budget; a budget too small for a photo grows until its coarsest layout fits."""
            super().reset(seed=seed)
            if seed is not None:
                self.random = np.random.default_rng(seed)
            chosen = self.photo(int(self.random.integers(count)))
            low, high = np.log(settings.low), np.log(settings.high)
            drawn = round(float(np.exp(self.random.uniform(low, high))))
            budget = int(self.random.choice(BUDGETS)) if self.random.random() < 0.5 else drawn
            budget = max(budget, min(chosen.size(chosen.empty(side)) for side in chosen.sides))
            self.walk = Walk(chosen, budget)
            self.before, plain = chosen.score([self.walk.choice, uniform(chosen, budget)])
            self.expected = plain - self.before
            return self.walk.observation(), {}

        def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, float]]:
            """Take the action; the reward is the increase of J, at the end less that of uniform."""
            self.walk.take(int(action))
            after = float(self.walk.options.score([self.walk.choice])[0])
            gain, self.before = after - self.before, after
            done = self.walk.done
            reward = settings.scale * self.walk.max_bytes / BUDGETS[0] * (gain - self.expected * done)
            return self.walk.observation(), reward, done, False, {"score": after} if done else {}

        def action_masks(self) -> NDArray[np.bool_]:
            """What fits."""
            return self.walk.allowed()

    return AllocationEnv()


def _need(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise SemcastError(f"the recipe allocation needs {module}: pip install 'semcast[rl]'") from None


# ---- training --------------------------------------------------------------------------------------------------------


def teach(policy: Any, photo: Photo, count: int, settings: Settings, *, steps: int = 600, sure: float = 0.85) -> float:
    """Start the actor from ``uniform``: from chance, PPO settles below it where few choices matter (faces).

    Maximises the log probability of what uniform does, ``sure`` of the target (the rest is spread over what fits: the actor must
    go on exploring), over episodes of random photos and budgets.

    Args:
        policy: of a MaskablePPO; its actor is changed in place.

    Returns:
        how often its likeliest action was uniform's, over the last tenth.
    """
    rng = np.random.default_rng(settings.seed)
    seen, masks, actions = [], [], []
    for _ in range(4 * count):
        options = photo(int(rng.integers(count)))
        budget = round(float(np.exp(rng.uniform(np.log(settings.low), np.log(settings.high)))))
        walk = Walk(options, max(budget, min(options.size(options.empty(side)) for side in options.sides)))
        taught = uniform(options, walk.max_bytes)
        for action in (SIDES.index(taught.side), *taught.levels):
            seen.append(walk.observation())
            masks.append(walk.allowed())
            actions.append(action)
            walk.take(action)
    inputs, allowed, right = torch.from_numpy(np.stack(seen)), torch.from_numpy(np.stack(masks)), torch.tensor(actions)
    target = allowed.float() / allowed.sum(1, keepdim=True) * (1 - sure) + sure * F.one_hot(right, LEVELS)
    layers = [*policy.mlp_extractor.policy_net, policy.action_net]
    optimiser = torch.optim.Adam([p for layer in layers for p in layer.parameters()], 2e-3)
    hits = []
    for i in range(steps):
        rows = torch.from_numpy(rng.integers(0, len(right), 1024))
        found = torch.nn.Sequential(*layers)(inputs[rows]).masked_fill(~allowed[rows], -1e8)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * warm_cosine(i, steps, warm=20)
        loss = -(target[rows] * found.log_softmax(1)).sum(1).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        hits.append(float((found.argmax(1) == right[rows]).float().mean()))
    agreed = float(np.mean(hits[-steps // 10 :]))
    console.print(f"begins as uniform: {100 * agreed:.1f} % of its decisions", highlight=False)
    return agreed


def exported(agent: Any, config: PolicyConfig) -> Policy:
    """The actor of a MaskablePPO as a plain :class:`~semcast.codec.policy.Policy`."""
    policy = Policy(config)
    layers = [*agent.policy.mlp_extractor.policy_net, agent.policy.action_net]
    for own, theirs in zip(policy.layers, layers, strict=True):
        own.load_state_dict({name: value.detach().cpu() for name, value in theirs.state_dict().items()})
    return policy.eval()


class Exact:
    """Photos with J by true decodes against the labels of the dataset."""

    def __init__(self, networks: Networks, scenes: Scenes, table: PhotoTable) -> None:
        self.networks, self.scenes, self.table = networks, scenes, table

    def __call__(self, i: int) -> Options:
        """Photo i."""
        sides = self.table.options(self.networks, i).sides
        photo = self.scenes.batch(torch.tensor([i])).contiguous(memory_format=torch.channels_last)
        return Options(sides, self.networks.score(photo, self.scenes.masks[i : i + 1], sides))


def correlation(looked_up: Photo, exact: Photo, count: int, checked: int, seed: int = 0) -> dict[str, float]:
    """How table and true J agree on random choices: Pearson's r over all, and over the choices of one photo at one side.

    The second is what decides an allocation; differences between photos are none of its business.
    """
    rng = np.random.default_rng(seed)
    pairs, centred = [], []
    for i in range(count):
        table, true = looked_up(i), exact(i)
        side = int(rng.choice(SIDES))
        length = len(table.sides[side].empty())
        choices = [Choice(side, tuple(int(level) for level in rng.integers(0, LEVELS, length))) for _ in range(checked)]
        both = np.array([table.score(choices), true.score(choices)])
        pairs.append(both)
        centred.append(both - both.mean(1, keepdims=True))
    found = {}
    for name, values in (("val_r", np.concatenate(pairs, 1)), ("val_r_within", np.concatenate(centred, 1))):
        found[name] = round(float(np.corrcoef(values)[0, 1]), 4)
    return found


def compared(photo: Photo, count: int, allocations: dict[str, Allocation], budgets: Sequence[int] = BUDGETS) -> dict[str, float]:
    """Mean J of each allocation at each budget, over the photos whose layout fits at all."""
    found: dict[str, list[float]] = {}
    for i in range(count):
        options = photo(i)
        for budget in budgets:
            if min(options.size(options.empty(side)) for side in options.sides) > budget:
                continue
            for name, allocation in allocations.items():
                found.setdefault(f"val_{name}_{budget}", []).append(float(options.score([allocation(options, budget)])[0]))
    return {name: round(float(np.mean(values)), 5) for name, values in found.items()}


def train(data: Path, out: Path, *, resume: bool, settings: Settings) -> None:
    """Train the policy of a domain with what ships for it; writes ``out/allocation-<domain>.safetensors``.

    Raises:
        SemcastError: no data, no weights of the codec, its parser or its tables, no LPIPS, or an extra is not installed.
    """
    ppo, vec = _need("sb3_contrib").MaskablePPO, _need("stable_baselines3.common.vec_env").DummyVecEnv
    domain = domain_named(settings.domain)
    networks = Networks.load(domain)
    scenes = {
        split: load_scenes(data, domain, split, SIZE, limit=limit)
        for split, limit in (("train", settings.photos), ("val", settings.val_photos))
    }
    out.mkdir(parents=True, exist_ok=True)
    tables = {split: _table(out / f"table-{split}.npz", networks, photos, resume) for split, photos in scenes.items()}
    known = {split: _remembered(networks, table) for split, table in tables.items()}

    config = PolicyConfig()
    environments = [
        _maker(known["train"], len(tables["train"]), settings, settings.seed * 1009 + k) for k in range(settings.envs)
    ]
    wide = {"pi": list(config.hidden), "vf": list(config.hidden)}
    agent = ppo(
        "MlpPolicy", vec(environments), learning_rate=settings.rate, n_steps=settings.horizon, batch_size=settings.batch,
        n_epochs=settings.epochs, gamma=1.0, gae_lambda=0.98, ent_coef=settings.entropy, clip_range=settings.clip,
        policy_kwargs={"net_arch": wide, "activation_fn": torch.nn.Tanh}, seed=settings.seed, device="cpu",
    )  # fmt: skip
    state: dict[str, object] = {"policy": agent.policy, "optimiser": agent.policy.optimizer}
    trainer = Trainer(out, state, {"recipe": "allocation", **asdict(settings)}, resume=resume)
    if not trainer.first:
        teach(agent.policy, known["train"], len(tables["train"]), settings)
    exact, exactly = Exact(networks, scenes["train"], tables["train"]), list[bool]()

    def step(i: int) -> dict[str, float]:
        if i >= settings.exact_from and not exactly:
            exactly.append(True)
            agent.env.set_attr("photo", exact)
        agent.lr_schedule = lambda _: settings.rate * warm_cosine(i, settings.steps, warm=5)
        agent.ent_coef = settings.entropy * (1 - i / settings.steps)
        agent.learn(settings.envs * settings.horizon, reset_num_timesteps=False)
        seen = agent.rollout_buffer
        ends = seen.episode_starts.sum()
        logged = agent.logger.name_to_value
        return {
            "return": float(seen.rewards.sum() / max(1, ends)) / settings.scale,
            "entropy": -float(logged.get("train/entropy_loss", 0.0)),
            "explained": float(np.nan_to_num(logged.get("train/explained_variance", 0.0))),
        }

    first: dict[str, float] = {}

    def validate(_: int) -> dict[str, float]:
        policy = exported(agent, config)
        save(
            out / f"allocation-{domain.name}.safetensors", policy.state_dict(), kind="allocation",
            config=asdict(config) | {"domain": domain.name},
        )  # fmt: skip
        count = len(tables["val"])
        if not first:
            true = Exact(networks, scenes["val"], tables["val"])
            first.update(correlation(known["val"], true, count, settings.checked))
            first.update(compared(known["val"], count, {name: PLAIN[name] for name in COMPARED}))
        return first | compared(known["val"], count, {"rl-asc": policy.allocate})

    trainer.run(settings.steps, step, report_every=5, after_save=validate)


def _table(path: Path, networks: Networks, scenes: Scenes, resume: bool) -> PhotoTable:
    """The table of these photos, made once a run."""
    if resume and path.exists():
        return PhotoTable.load(path)
    table = PhotoTable.of(networks, scenes)
    table.save(path)
    return table


def _remembered(networks: Networks, table: PhotoTable) -> Photo:
    """Photos of a table; their options are kept, for what they know of sizes is asked again and again."""
    kept: dict[int, Options] = {}

    def photo(i: int) -> Options:
        if i not in kept:
            kept[i] = table.options(networks, i)
        return kept[i]

    return photo


def _maker(photo: Photo, count: int, settings: Settings, seed: int) -> Callable[[], gymnasium.Env[Any, Any]]:
    return lambda: allocation_env(photo, count, settings, seed)
