"""The settings of a run: overrides of a recipe's own, and what ``settings.json`` keeps of them for those who go on."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from semcast.errors import BadInput, Damaged
from semcast.files import reason_of, write_text

NAME = "settings.json"


def override(settings: Any, overrides: Sequence[str]) -> Any:
    """The settings with ``key=value`` put in, each value of the type that its default has.

    Settings may hold further ones (``losses``): their keys are named alike (``pixel=4``).

    Raises:
        SemcastError: not of that form, an unknown key, or a value of another type.

    >>> from semcast.train.segmenter import Settings
    >>> override(Settings(), ["steps=10"]).steps
    10
    """
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or key not in _flat(settings):
            settable = ", ".join(f"{name}={default}" for name, default in _flat(settings).items())
            raise BadInput(f"cannot set {text!r}; the settings are {settable}")
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
        raise BadInput(f"{key} must be a {type(default).__name__} such as {default}, not {text!r}")
    return value


def recall(recipe: str, defaults: Any, out: Path) -> Any:
    """The settings that the run in a folder began with; where it says nothing, those of the recipe.

    Raises:
        SemcastError: the folder holds a run of another recipe, or its file cannot be read.
    """
    said = _read(out / NAME)
    if said and said.get("recipe") != recipe:
        raise BadInput(f"{out} holds a run of the recipe {said.get('recipe')}; name another folder")
    return _recalled(defaults, said)


def note(out: Path, settings: dict[str, Any], step: int) -> None:
    """Keep what a run was asked for; of one that goes on from ``step``, what differs this time.

    Args:
        settings: ``recipe``, its settings, and what else is worth knowing.
    """
    path = out / NAME
    now = json.loads(json.dumps(settings, default=str))
    said = _read(path) if step else {}
    changed = {key: value for key, value in now.items() if said.get(key) != value}
    if said and not changed:
        return
    if said:
        now = said | {"later": [*said.get("later", []), {"from_step": step, **changed}]}
    write_text(path, json.dumps(now, indent=1) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({reason_of(error)})") from None
    except ValueError:
        raise Damaged(f"{path} is damaged; without it --resume takes the recipe's own settings") from None
    if not isinstance(said, dict) or not isinstance(said.get("later", []), list):
        raise Damaged(f"{path} is damaged; without it --resume takes the recipe's own settings")
    return said


def _recalled(settings: Any, said: dict[str, Any]) -> Any:
    """Settings with the values of a file in them, each of the type that it has here."""
    for field in fields(settings):
        value, kept = getattr(settings, field.name), said.get(field.name)
        older = isinstance(kept, dict) and not is_dataclass(value)  # a network's fields once stood under the setting's name
        if field.name not in said or older:
            continue
        if is_dataclass(value):
            kept = _recalled(value, kept if isinstance(kept, dict) else {})
        elif isinstance(value, tuple) and isinstance(kept, list):
            kept = tuple(kept)
        elif isinstance(value, float) and type(kept) is int:
            kept = float(kept)
        if isinstance(kept, list) or (None not in (value, kept) and type(kept) is not type(value)):
            raise Damaged(f"{NAME} of the run says {field.name}={kept!r}, where the recipe has {value!r}")
        settings = replace(settings, **{field.name: kept})
    return settings
