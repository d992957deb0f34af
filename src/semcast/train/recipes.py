"""The recipes by name, the overrides of their settings, and the one function that trains."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from semcast.errors import BadInput, Missing
from semcast.train import RECIPES
from semcast.train.ranks import join
from semcast.train.recipe import Job, Task
from semcast.train.settings import override, recall
from semcast.train.shards import as_shards


def find(name: str) -> type[Task]:
    """The recipe of that name, or ``FILE.py:CLASS`` for one of one's own.

    Raises:
        SemcastError: there is none.

    >>> find("judge").__name__
    'JudgeRecipe'
    """
    if ".py:" in name:
        return _foreign(*name.rsplit(":", 1))
    if name not in RECIPES:
        raise BadInput(f"unknown recipe {name!r}; the known are {', '.join(RECIPES)}")
    return _known()[name]


def _known() -> dict[str, type[Task]]:
    """Imported when one is asked for: together they need most of the package."""
    from semcast.train.allocation import AllocationRecipe
    from semcast.train.deepjscc import DeepJsccRecipe
    from semcast.train.end_to_end import EndToEndRecipe
    from semcast.train.equaliser import EqualiserTask
    from semcast.train.features import FeaturesTask
    from semcast.train.flow import FlowRecipe
    from semcast.train.generator import GeneratorRecipe
    from semcast.train.hyperprior import HyperpriorRecipe
    from semcast.train.knowledge import KnowledgeTask
    from semcast.train.linear import LinearTask
    from semcast.train.linear_gan import LinearGanRecipe
    from semcast.train.link import LinkRecipe
    from semcast.train.scene_codec import SceneCodecRecipe
    from semcast.train.segmenter import FaceParserRecipe, JudgeRecipe, SceneParserRecipe
    from semcast.train.sketch import SketchRecipe
    from semcast.train.tables import TablesTask
    from semcast.train.trust import TrustTask

    recipes: tuple[type[Task], ...] = (
        FaceParserRecipe, LinearTask, LinearGanRecipe, SketchRecipe,
        GeneratorRecipe, FlowRecipe, LinkRecipe, KnowledgeTask, DeepJsccRecipe,
        EndToEndRecipe, HyperpriorRecipe, SceneParserRecipe, JudgeRecipe, TablesTask, SceneCodecRecipe, FeaturesTask,
        AllocationRecipe, EqualiserTask, TrustTask,
    )  # fmt: skip
    return {recipe.name: recipe for recipe in recipes}


def _foreign(path: str, name: str) -> type[Task]:
    """A class of a user's file."""
    spec = importlib.util.spec_from_file_location(f"recipe of {path}", path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise Missing(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - a user's file does anything at all
        raise BadInput(f"{path} cannot be run ({type(error).__name__}: {error})") from None
    recipe = getattr(module, name, None)
    if not (isinstance(recipe, type) and issubclass(recipe, Task)):
        raise BadInput(f"{path} has no recipe {name} (a subclass of semcast.train.recipe.Recipe)")
    return recipe


def run(
    name: str, data: Path, out: Path, *, resume: bool = False, overrides: Sequence[str] = (), device: str = "auto",
    minutes: float | None = None,
) -> None:  # fmt: skip
    """Train a recipe, alone or as one of the processes that torchrun started.

    Args:
        name: one of :data:`semcast.train.RECIPES`, or ``FILE.py:CLASS``.
        data: the folder that holds ``faces256``, ``faces160-unlabelled`` and ``street256``, or a plain folder of photos.
        out: the run's folder.
        resume: go on from its last checkpoint, with the settings that it began with.
        overrides: ``key=value`` for fields of the recipe's settings, in this call.
        device: ``auto``, ``cpu``, ``cuda``, ...
        minutes: stop then, if its steps are not done before.

    Raises:
        SemcastError: an unknown recipe, setting or device, no data, or a folder that holds a run already.
    """
    recipe = find(name)
    if not data.is_dir():
        raise Missing(f"the folder {data} does not exist")
    if minutes is not None and not 0 < minutes < float("inf"):
        raise BadInput(f"minutes must be a number above 0, not {minutes}")
    settings = override(recall(recipe.name, recipe.defaults, out) if resume else recipe.defaults, overrides)
    with join(device) as (ranks, chosen):
        with ranks.first():
            data = as_shards(data, out, getattr(settings, "domain", "face"))
        recipe(settings, Job(data, out, chosen, ranks, resume, minutes)).run()
