"""Recipe ``allocation``: the policy that spends the bytes, by reinforcement learning (MaskablePPO) in a gymnasium environment.

An episode is a photo and a budget: the side of the layout, then a level for each concept in the order of the file. The reward
is the increase of J (:mod:`semcast.codec.criterion`) after each step, and the last one is reduced by what ``uniform`` would have
got; with γ = 1 they add up to J of the file less that of uniform, times the budget, so that all budgets count. What is taken off
depends on photo and budget alone, so it changes no preference, but without it most of a return is how difficult the photo is,
which the policy cannot see. What does not fit is masked.

Decoding after every step is slow, so most of the training looks J up in a table (:mod:`semcast.train.photo_table`);
``exact_from`` goes on with true decodes. The validation compares with the other allocations, and the first says how well the
table agrees with true decodes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semcast.codec.allocation import PLAIN, uniform
from semcast.codec.choice import Allocation, Choice
from semcast.codec.codec import Networks
from semcast.codec.concepts import CATEGORIES, SIDES, SIZE
from semcast.codec.criterion import PLAIN_TASK, WEIGHTS, Task, Weights
from semcast.codec.ladder import BUDGETS, V1, Ladder
from semcast.codec.policy import Policy, PolicyConfig, Walk, count_observed
from semcast.domains import domain_named
from semcast.errors import BadInput, Missing
from semcast.train.data import load_scenes
from semcast.train.loop import console
from semcast.train.photo_table import Exact, Photo, kept_table, look_up
from semcast.train.recipe import Recipe
from semcast.train.schedule import Schedule, warm_cosine
from semcast.weights import save

if TYPE_CHECKING:
    import gymnasium

COMPARED = ("uniform", "random", "area", "greedy")


@dataclass(frozen=True)
class Settings:
    """``steps`` updates of ``envs`` x ``horizon`` steps each, on ``photos`` of train, measured on ``val_photos`` of val.

    Args:
        low, high: budgets in bytes, drawn log-uniformly between them; half of them are those of interest. ``high=0`` is a fifth
            above the greatest of these.
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
    high: int = 0
    scale: float = 10.0
    exact_from: int = 10**9
    checked: int = 8
    schedule: Schedule = Schedule(warm=5)
    seed: int = 0



def draw_budget(random: np.random.Generator, settings: Settings, ladder: Ladder) -> int:
    """A budget between ``low`` and ``high``, all of them alike in their logarithm."""
    high = settings.high or 1.2 * BUDGETS[ladder.version][-1]
    return round(float(np.exp(random.uniform(np.log(settings.low), np.log(high)))))


# ---- the environment -------------------------------------------------------------------------------------------------

def allocation_env(photo: Photo, count: int, settings: Settings, seed: int) -> gymnasium.Env[Any, Any]:
    """The environment: :class:`~semcast.codec.policy.Walk` with rewards.

    ``info["score"]`` of a last step is J of the file.

    Raises:
        SemcastError: gymnasium is not installed.
    """
    gym, ladder = _need("gymnasium"), photo(0).ladder

    class AllocationEnv(gym.Env):  # type: ignore[misc, name-defined]
        """Photos and budgets at random; one step a concept."""

        def __init__(self) -> None:
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, (count_observed(ladder),), np.float32)
            self.action_space = gym.spaces.Discrete(ladder.levels)
            self.photo, self.random = photo, np.random.default_rng(seed)
            self.before, self.expected = 0.0, 0.0

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[NDArray[np.float32], dict[str, Any]]:
            """The next photo and budget; a budget too small for a photo grows until its coarsest layout fits."""
            super().reset(seed=seed)
            if seed is not None:
                self.random = np.random.default_rng(seed)
            chosen = self.photo(int(self.random.integers(count)), PLAIN_TASK if ladder is V1 else random_task(self.random))
            drawn = draw_budget(self.random, settings, ladder)
            budget = int(self.random.choice(BUDGETS[ladder.version])) if self.random.random() < 0.5 else drawn
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
            reward = settings.scale * self.walk.max_bytes / BUDGETS[ladder.version][0] * (gain - self.expected * done)
            return self.walk.observation(), reward, done, False, {"score": after} if done else {}

        def action_masks(self) -> NDArray[np.bool_]:
            """What fits."""
            return self.walk.allowed()

    return AllocationEnv()


def random_task(random: np.random.Generator) -> Task:
    """Half of them the usual one; the others care for up to three categories, or weigh J another way, or both."""
    if random.random() < 0.5:
        return PLAIN_TASK
    cared = random.choice(CATEGORIES, int(random.integers(0, 4)), replace=False)
    care = {int(category): float(2 ** random.integers(1, 5)) for category in cared}
    scales = 2 ** random.uniform(-1, 1, 3) if random.random() < 0.5 else np.ones(3)
    weights = Weights(WEIGHTS.rate * scales[0], WEIGHTS.semantic * scales[1], WEIGHTS.perceptual * scales[2])
    return Task.of(care, weights)


def _need(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise Missing(f"the recipe allocation needs {module}: pip install 'semcast[rl]'") from None


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
        budget = draw_budget(rng, settings, options.ladder)
        walk = Walk(options, max(budget, min(options.size(options.empty(side)) for side in options.sides)))
        taught = uniform(options, walk.max_bytes)
        for action in (SIDES.index(taught.side), *taught.levels):
            seen.append(walk.observation())
            masks.append(walk.allowed())
            actions.append(action)
            walk.take(action)
    inputs, allowed, right = torch.from_numpy(np.stack(seen)), torch.from_numpy(np.stack(masks)), torch.tensor(actions)
    target = allowed.float() / allowed.sum(1, keepdim=True) * (1 - sure) + sure * F.one_hot(right, allowed.shape[1])
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


def export(agent: Any, config: PolicyConfig) -> Policy:
    """The actor of a MaskablePPO as a plain :class:`~semcast.codec.policy.Policy`."""
    policy = Policy(config)
    layers = [*agent.policy.mlp_extractor.policy_net, agent.policy.action_net]
    for own, theirs in zip(policy.layers, layers, strict=True):
        own.load_state_dict({name: value.detach().cpu() for name, value in theirs.state_dict().items()})
    return policy.eval()


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
        choices = [Choice(side, tuple(int(level) for level in rng.integers(0, table.levels, length))) for _ in range(checked)]
        both = np.array([table.score(choices), true.score(choices)])
        pairs.append(both)
        centred.append(both - both.mean(1, keepdims=True))
    found = {}
    for name, values in (("val_r", np.concatenate(pairs, 1)), ("val_r_within", np.concatenate(centred, 1))):
        found[name] = round(float(np.corrcoef(values)[0, 1]), 4)
    return found


def compare(photo: Photo, count: int, allocations: dict[str, Allocation], budgets: Sequence[int]) -> dict[str, float]:
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


class AllocationRecipe(Recipe):
    """The policy of a domain, with what ships for it; writes ``allocation-<domain>.safetensors``. A step is an update."""

    name, defaults = "allocation", Settings()
    settings: Settings
    network: Policy
    decay, report_every, every_s = 0.0, 5, 90.0  # what ships is the last policy, not an average

    def build(self) -> None:
        """Tables, environments, the agent.

        Raises:
            SemcastError: no data, no weights of the codec, its parser or its tables, no LPIPS, an extra is not installed, or
                there are several processes.
        """
        if self.ranks.count > 1:
            raise BadInput("the recipe allocation trains in one process")
        s, out = self.settings, self.job.out
        ppo, vec = _need("sb3_contrib").MaskablePPO, _need("stable_baselines3.common.vec_env").DummyVecEnv
        self.domain = domain_named(s.domain)
        self.networks = Networks.load(self.domain)
        self.networks.check()
        out.mkdir(parents=True, exist_ok=True)
        self.scenes, self.tables, self.known = {}, {}, {}
        for split, limit in (("train", s.photos), ("val", s.val_photos)):
            scenes = load_scenes(self.job.data, self.domain, split, SIZE, limit=limit)
            table = kept_table(out / f"table-{split}.npz", self.networks, scenes, self.job.resume)
            self.scenes[split], self.tables[split], self.known[split] = scenes, table, look_up(self.networks, table)
        ladder = self.networks.codec.ladder
        self.network = Policy(PolicyConfig(inputs=count_observed(ladder), version=ladder.version))
        wide = {"pi": list(self.network.config.hidden), "vf": list(self.network.config.hidden)}
        count = len(self.tables["train"])
        self.agent = ppo(
            "MlpPolicy", vec([_maker(self.known["train"], count, s, s.seed * 1009 + k) for k in range(s.envs)]),
            learning_rate=s.rate, n_steps=s.horizon, batch_size=s.batch, n_epochs=s.epochs, gamma=1.0, gae_lambda=0.98,
            ent_coef=s.entropy, clip_range=s.clip, policy_kwargs={"net_arch": wide, "activation_fn": torch.nn.Tanh}, seed=s.seed,
            device="cpu",
        )  # fmt: skip
        self.optimiser, self.exactly = self.agent.policy.optimizer, False
        self.baselines: dict[str, float] = {}

    def start(self) -> None:
        """The actor begins as ``uniform``."""
        teach(self.agent.policy, self.known["train"], len(self.tables["train"]), self.settings)

    def state(self) -> dict[str, Any]:
        """Actor and critic."""
        return {"policy": self.agent.policy}

    @property
    def whole(self) -> int:
        """Decisions in an update."""
        return int(self.settings.envs * self.settings.horizon)

    def batches(self, first: int) -> Iterator[tuple[Tensor, ...]]:
        """Nothing: the agent collects its own."""
        return repeat(())

    def advance(self, batch: tuple[Tensor, ...], factor: float) -> dict[str, float]:
        """Collect episodes and learn from them."""
        s, agent = self.settings, self.agent
        if self.i >= s.exact_from and not self.exactly:
            self.exactly = True
            agent.env.set_attr("photo", Exact(self.networks, self.scenes["train"], self.tables["train"]))
        agent.lr_schedule = lambda _: s.rate * factor
        agent.ent_coef = s.entropy * (1 - self.i / s.steps)
        agent.learn(s.envs * s.horizon, reset_num_timesteps=False)
        self.network.load_state_dict(export(agent, self.network.config).state_dict())
        seen, logged = agent.rollout_buffer, agent.logger.name_to_value
        return {
            "return": float(seen.rewards.sum() / max(1, seen.episode_starts.sum())) / s.scale,
            "entropy": -float(logged.get("train/entropy_loss", 0.0)),
            "explained": float(np.nan_to_num(logged.get("train/explained_variance", 0.0))),
        }

    def ship(self, network: Policy) -> None:
        """In 16 bits."""
        path = self.job.out / f"allocation-{self.domain.name}.safetensors"
        save(path, network.state_dict(), kind="allocation", config=self.configuration())

    def validate(self, network: Policy) -> dict[str, float]:
        """Mean J of the policy; and once that of the other allocations, and how well the table agrees with true decodes."""
        known, count, budgets = self.known["val"], len(self.tables["val"]), BUDGETS[network.config.version]
        if not self.baselines:
            true = Exact(self.networks, self.scenes["val"], self.tables["val"])
            self.baselines |= correlation(known, true, count, self.settings.checked)
            self.baselines |= compare(known, count, {name: PLAIN[name] for name in COMPARED}, budgets)
        return self.baselines | compare(known, count, {"rl-asc": network.allocate}, budgets)

    def configuration(self) -> dict[str, Any]:
        """The policy's."""
        return asdict(self.network.config) | {"domain": self.domain.name}


def _maker(photo: Photo, count: int, settings: Settings, seed: int) -> Callable[[], gymnasium.Env[Any, Any]]:
    return lambda: allocation_env(photo, count, settings, seed)
