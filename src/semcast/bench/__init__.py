"""Measuring: one engine, one kind of record, statistics, tables and plots; ``evaluate`` is what a script calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcast.bench.front import evaluate, evaluate_codecs
    from semcast.bench.table import Table

__all__ = ["Table", "evaluate", "evaluate_codecs"]


def __getattr__(name: str) -> Any:
    if name == "Table":
        from semcast.bench import table

        return table.Table
    if name in __all__:
        from semcast.bench import front

        return getattr(front, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
