"""The recipes by name: each module has a frozen dataclass ``Settings`` and ``train(data, out, resume, settings)``."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from semcast.errors import SemcastError

RECIPES = (
    "parser", "linear", "linear-gan", "generator", "flow", "link", "knowledge", "deepjscc", "end-to-end",
    "scene-parser", "judge", "tables", "scene-codec", "features", "allocation",
)  # fmt: skip


def run(name: str, data: Path, out: Path, *, resume: bool = False, overrides: Sequence[str] = ()) -> None:
    """Train a recipe.

    Args:
        name: one of :data:`RECIPES`.
        data: the folder that holds ``faces256``, ``faces160-unlabelled`` and ``street256``.
        out: the run's folder.
        resume: go on from its last checkpoint.
        overrides: ``key=value`` for fields of the recipe's settings.

    Raises:
        SemcastError: an unknown recipe or setting, no data, or a folder that holds a run already.
    """
    if name not in RECIPES:
        raise SemcastError(f"unknown recipe {name!r}; the known are {', '.join(RECIPES)}")
    if not data.is_dir():
        raise SemcastError(f"the folder {data} does not exist")
    module = importlib.import_module(f"semcast.train.{name.replace('-', '_')}")
    module.train(data, out, resume=resume, settings=override(module.Settings(), overrides))


def override(settings: Any, overrides: Sequence[str]) -> Any:
    """The settings with ``key=value`` put in, each value of the type that its default has.

    Settings may hold further ones (``losses``): their keys are named alike (``pixel=4``).

    Raises:
        SemcastError: not of that form, an unknown key, or a value of another type.

    >>> from semcast.train.parser import Settings
    >>> override(Settings(), ["steps=10"]).steps
    10
    """
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or key not in _flat(settings):
            settable = ", ".join(f"{name}={default}" for name, default in _flat(settings).items())
            raise SemcastError(f"cannot set {text!r}; the settings are {settable}")
        settings = _replaced(settings, key, value)
    return settings


def _flat(settings: Any) -> dict[str, Any]:
    """All fields by name, those of settings inside settings as well."""
    values: dict[str, Any] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        values |= _flat(value) if is_dataclass(value) else {field.name: value}
    return values


def _replaced(settings: Any, key: str, text: str) -> Any:
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name == key:
            return replace(settings, **{key: _typed(key, text, value)})
        if is_dataclass(value) and key in _flat(value):
            return replace(settings, **{field.name: _replaced(value, key, text)})
    return settings


def _typed(key: str, text: str, default: object) -> object:
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if default is not None and type(value) is not type(default):
        raise SemcastError(f"{key} must be a {type(default).__name__} such as {default}, not {text!r}")
    return value
