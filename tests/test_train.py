"""The training loop: what an interruption must not change, what two processes must not, schedules, averages, limits."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_recipe import Settings, Tiny
from torch import nn

from semcast.errors import SemcastError
from semcast.networks.precision import choose_device, mixed
from semcast.train import RECIPES
from semcast.train.ranks import Ranks
from semcast.train.recipe import Job
from semcast.train.recipes import _known, find, run
from semcast.train.schedule import Schedule, average, warm_cosine
from semcast.train.settings import override, recall
from semcast.train.shards import write_shards

TINY = f"{Path(__file__).parent / 'tiny_recipe.py'}:Tiny"


def train(out: Path, *, resume: bool = False, minutes: float | None = None, **settings: object) -> dict[str, torch.Tensor]:
    """A run in this process; → the networks of its checkpoint by name."""
    Tiny(replace(Settings(), **settings), Job(out, out, resume=resume, minutes=minutes)).run()
    return networks(out)


def networks(out: Path) -> dict[str, torch.Tensor]:
    saved = torch.load(out / "checkpoint.pt", weights_only=True)["state"]
    parts = {"network": saved["network"], "average": saved["average"], "gain": saved["gain"]}
    if "adversary" in saved:
        parts["discriminator"] = saved["adversary"]["discriminator"]
    return {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_run_writes_what_a_run_writes(tmp_path: Path) -> None:
    train(tmp_path)
    reports = [line for line in lines(tmp_path) if "mse" in line]
    assert [line["step"] for line in reports] == [2, 4, 6] and all(line["photos_per_s"] > 0 for line in reports)
    assert {"adversarial", "matching", "discriminator", "penalty"} <= set(reports[-1])
    assert [line["step"] for line in lines(tmp_path) if "val_mse" in line] == [6]
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["recipe"] == "tiny" and settings["schedule"]["shape"] == "wsd"
    sheet = np.asarray(Image.open(tmp_path / "sheets" / "0000006.png"))
    assert sheet.shape[0] > 64 and sheet.shape[1] > 64
    assert (tmp_path / "tiny.safetensors").is_file()


def test_an_interruption_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks, optimisers, discriminator, average and random numbers go on where they were."""
    whole = train(tmp_path / "whole")
    step = Tiny.advance

    def interrupted(self: Tiny, batch: tuple[torch.Tensor, ...], factor: float) -> dict[str, float]:
        if self.i == 3:
            raise KeyboardInterrupt
        return step(self, batch, factor)

    monkeypatch.setattr(Tiny, "advance", interrupted)
    with pytest.raises(SemcastError, match="stopped at step 3; go on with --resume"):
        train(tmp_path / "parts")
    monkeypatch.setattr(Tiny, "advance", step)
    parts = train(tmp_path / "parts", resume=True)
    assert parts.keys() == whole.keys()
    for name in whole:
        assert torch.equal(parts[name], whole[name]), name
    with pytest.raises(SemcastError, match="already holds a run"):
        train(tmp_path / "parts")


def test_a_run_goes_on_with_the_settings_that_it_began_with(tmp_path: Path) -> None:
    """What is set with --resume holds for that call; both are kept."""
    out = tmp_path / "run"
    run(TINY, tmp_path, out, overrides=["steps=3", "rate=0.02", "warm=1", "adversarial=0.0"])
    run(TINY, tmp_path, out, resume=True, overrides=["steps=5", "decay=1.0"])
    run(TINY, tmp_path, out, resume=True, overrides=["steps=6"])
    run(TINY, tmp_path, out, resume=True, overrides=["steps=6"])
    assert [line["step"] for line in lines(out) if "val_mse" in line] == [3, 5, 6]
    said = json.loads((out / "settings.json").read_text())
    assert (said["steps"], said["rate"], said["schedule"]["warm"], said["schedule"]["decay"]) == (3, 0.02, 1, 0.5)
    later = [{"from_step": 3, "steps": 5, "schedule": said["schedule"] | {"decay": 1.0}}, {"from_step": 5, "steps": 6}]
    assert said["later"][:2] == later
    assert said["gain"] == 0.1 and said["networks"] == {"gain": {"features": 1}}
    schedule = Schedule("wsd", warm=1, decay=0.5)
    (out / "settings.json").write_text(json.dumps(said | said["networks"]))  # as older versions kept them
    assert recall("tiny", Settings(), out) == Settings(steps=3, rate=0.02, adversarial=0.0, schedule=schedule)


@pytest.mark.parametrize(("change", "words"), [
    ({"recipe": "other"}, "holds a run of the recipe other"), ({"rate": "fast"}, "rate='fast'"), ({"steps": [1]}, "steps="),
    ({"schedule": {"shape": "odd"}}, "cosine or wsd"), ({"later": 3}, "damaged"), (None, "damaged"),
])  # fmt: skip
def test_settings_that_cannot_be_gone_on_with(tmp_path: Path, change: dict[str, object] | None, words: str) -> None:
    out = tmp_path / "run"
    run(TINY, tmp_path, out, overrides=["steps=1"])
    said = json.loads((out / "settings.json").read_text())
    (out / "settings.json").write_text("{" if change is None else json.dumps(said | change))
    with pytest.raises(SemcastError, match=words):
        run(TINY, tmp_path, out, resume=True)


def test_a_checkpoint_of_another_recipe_is_said(tmp_path: Path) -> None:
    train(tmp_path, steps=1)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del saved["state"]["gain"]
    torch.save(saved, tmp_path / "checkpoint.pt")
    with pytest.raises(SemcastError, match="of another recipe or version"):
        train(tmp_path, resume=True)


def test_divergence_is_said(tmp_path: Path) -> None:
    with pytest.raises(SemcastError, match="diverged"):
        train(tmp_path, rate=1e30, adversarial=0.0)


def test_a_run_ends_in_time_and_its_rate_decays(tmp_path: Path) -> None:
    began = time.monotonic()
    train(tmp_path, minutes=0.03, steps=10**9)
    assert 1.5 < time.monotonic() - began < 30
    last = lines(tmp_path)[-1]
    assert "val_mse" in last and 0 < last["step"] < 10**9


def test_the_average_ships(tmp_path: Path) -> None:
    from semcast.weights import load

    found = train(tmp_path)
    shipped = load(str(tmp_path / "tiny.safetensors"), kind="tiny").tensors
    torch.testing.assert_close(shipped["0.weight"], found["average.module.0.weight"], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(shipped["0.weight"], found["network.0.weight"], atol=1e-3)


def test_the_recipe_in_the_documentation_trains(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "training.md").read_text()
    (tmp_path / "mine.py").write_text(text.partition("```python\n")[2].partition("```")[0])
    grey = np.full((256, 256, 3), 99, np.uint8)
    write_shards(tmp_path / "faces256", "train", [(f"{i}", grey + i, grey[..., 0]) for i in range(2)])
    run(f"{tmp_path / 'mine.py'}:Denoise", tmp_path, tmp_path / "run", overrides=["steps=2", "batch=2"])
    assert (tmp_path / "run" / "denoise.safetensors").is_file() and lines(tmp_path / "run")[-1] == {"step": 2}


# ---- several processes -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    """``torchrun --nproc-per-node 2 -m semcast train ...`` on the processor."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d",
        "--rdzv-endpoint", "localhost:0", "-m", "semcast", "train", TINY, "--data", str(tmp_path), "--out", str(tmp_path / "two"),
        "--set", "batch=4",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr[-3000:]
    run(TINY, tmp_path, tmp_path / "one", overrides=["batch=8"], device="cpu")
    one, two = networks(tmp_path / "one"), networks(tmp_path / "two")
    apart = train(tmp_path / "half")  # one process with a batch of 4 goes elsewhere
    for part in ("network.", "discriminator."):

        def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], part: str = part) -> float:
            return float(torch.cat([(a[name] - b[name]).flatten() for name in one if name.startswith(part)]).norm())

        # not number by number: Adam makes a step of a gradient that is only rounding, and other kernels round otherwise
        assert distance(two, one) < (0.05 if part == "network." else 0.2) * distance(apart, one), part


def test_shares_add_up_to_the_batch() -> None:
    batch = torch.arange(12).view(6, 2)
    assert torch.equal(torch.cat([Ranks(r, 3).share(batch) for r in range(3)]), batch)
    assert torch.equal(Ranks().share(batch), batch)


# ---- schedules, averages, devices ------------------------------------------------------------------------------------


def test_the_cosine_is_the_one_that_was() -> None:
    assert warm_cosine(0, 1000) == 0.01 and warm_cosine(100, 1000) == 1.0
    assert warm_cosine(550, 1000) == pytest.approx(0.525) and warm_cosine(1000, 1000) == pytest.approx(0.05)


def test_wsd_stays_up_until_it_ships() -> None:
    wsd = Schedule("wsd", warm=10, floor=0.1, decay=0.2)
    values = [wsd(i, 1000) for i in range(1001)]
    assert values[10:800] == [1.0] * 790 and values[1000] == pytest.approx(0.1)
    assert all(a >= b for a, b in zip(values[10:], values[11:], strict=False))
    assert wsd(50, 10**9, 0.5) == 1.0 and wsd(50, 10**9, 0.95) < 0.5  # by the clock


@pytest.mark.parametrize("wrong", [{"shape": "linear"}, {"floor": 2.0}, {"decay": 0.0}, {"warm": -1}])
def test_a_schedule_that_is_none_is_said(wrong: dict[str, object]) -> None:
    with pytest.raises(SemcastError, match="schedule"):
        Schedule(**wrong)


def test_the_average_follows_the_weights_and_counts_buffers() -> None:
    network = nn.BatchNorm1d(2)
    mean = average(network, 0.5)
    assert not mean.training and not any(p.requires_grad for p in mean.parameters())
    for value in (1.0, 2.0, 2.0):
        nn.init.constant_(network.weight, value)
        network.num_batches_tracked += 1
        mean.update_parameters(network)
    weight = mean.module.weight
    assert weight.tolist() == pytest.approx([2 - 2 / 11 * 3 / 12] * 2)  # decays min(.5, 2/11), then min(.5, 3/12)
    assert int(mean.module.num_batches_tracked) == 3


def test_devices_and_precision() -> None:
    assert choose_device("cpu").type == "cpu" and choose_device("auto").type in ("cpu", "cuda")
    for name in ("abacus", "xpu:77"):
        with pytest.raises(SemcastError, match="there is no device"):
            choose_device(name)
    with mixed("meta"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


# ---- names -----------------------------------------------------------------------------------------------------------


def test_each_name_has_its_recipe() -> None:
    assert set(_known()) == set(RECIPES)
    for name in RECIPES:
        recipe = find(name)
        assert recipe.name == name and recipe.__doc__
        assert override(recipe.defaults, []) == recipe.defaults


def test_schedules_are_set_by_their_fields() -> None:
    settings = override(Settings(), ["shape=cosine", "warm=7", "steps=3"])
    assert settings.schedule == Schedule("cosine", 7, decay=0.5) and settings.steps == 3
    with pytest.raises(SemcastError, match="cannot set 'colour=1'"):
        override(Settings(), ["colour=1"])


@pytest.mark.parametrize(
    ("name", "said"),
    [("alchemy", "unknown recipe"), ("/nowhere.py:Tiny", "there is no file"), (TINY + "er", "has no recipe Tinyer")],
)
def test_a_recipe_that_is_none_is_said(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SemcastError, match=said):
        run(name, tmp_path, tmp_path / "out")


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf")])
def test_minutes_that_are_none_are_said(minutes: float, tmp_path: Path) -> None:
    with pytest.raises(SemcastError, match="minutes must be"):
        run(TINY, tmp_path, tmp_path / "out", minutes=minutes)
