"""The bit receipt of a ``.sem`` file: what each section and each concept was given, as a table, as JSON and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.table import Table

from semcast.codec.bitstream import MAX_FILE, Receipt, Stream, Tables, concepts_in_order, domain_of, receipt, unpack
from semcast.codec.concepts import GRID, level_map
from semcast.domains import Domain, domain_named
from semcast.errors import SemcastError
from semcast.files import whole
from semcast.photos import Photo
from semcast.pictures import enlarged

_TILE, _GAP, _LINE = 512, 12, 24
_INK = (40, 40, 40)
# From nothing to much: dark blue, violet, red, orange, pale yellow, as in matplotlib's "inferno", told apart in grey too.
_HEAT = np.array([(20, 12, 70), (101, 21, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64)


@dataclass(frozen=True)
class ConceptBytes:
    """One concept of a file: its category, its places in the 16 x 16 grid, its level and the bytes of its features."""

    category: int
    name: str
    cells: int
    level: int
    bytes: float
    arrived: bool

    @property
    def per_cell(self) -> float:
        """Bytes of a cell."""
        return self.bytes / self.cells

    @property
    def state(self) -> str:
        """What became of it, in a word."""
        return "lost" if not self.arrived else "sent" if self.level else "skipped"


@dataclass(frozen=True)
class BitReceipt:
    """Where the bytes of a file went; ``concepts`` are in the order of the file."""

    domain: Domain
    stream: Stream
    spent: Receipt
    concepts: tuple[ConceptBytes, ...]

    @property
    def sections(self) -> dict[str, float]:
        """Bytes of what is not features, by name."""
        spent = self.spent
        found = {"header": spent.header, "layout": spent.layout, "levels": spent.levels, "checks": spent.checks}
        return found | ({"unread": spent.unread} if spent.unread > 0.01 else {})  # rounding


def read_sem(path: Path) -> bytes:
    """The bytes of a ``.sem`` file; of one that is too long to be one, only as many as show it.

    Raises:
        SemcastError: it cannot be read.
    """
    try:
        if path.is_dir():
            raise SemcastError(f"{path} is a folder, not a .sem file")
        with path.open("rb") as file:
            return file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = "it does not exist" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or str(error)
        raise SemcastError(f"{path} cannot be read ({reason})") from None


def write_sem(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        SemcastError: it cannot be written.
    """
    with whole(path) as file:
        file.write(data)


def bit_receipt(data: bytes, tables: Tables | None = None) -> BitReceipt:
    """Take a file apart.

    Args:
        tables: those of its domain that ship where none are given; no network is needed.

    Raises:
        SemcastError: it is no .sem file, or nothing of it arrived.
    """
    domain = domain_named(domain_of(data))
    tables = tables or Tables.load(domain.name)
    stream, spent = unpack(data, tables), receipt(data, tables)
    concepts = tuple(
        ConceptBytes(
            concept.category, domain.classes[concept.category], len(concept.cells), stream.levels.get(concept.category, 0),
            spent.concepts.get(concept.category, 0.0), concept.category not in stream.missing,
        )
        for concept in concepts_in_order(stream.layout, tables.importance, stream.care)
    )  # fmt: skip
    return BitReceipt(domain, stream, spent, concepts)


def table(found: BitReceipt) -> Table:
    """For reading: a row a section, a row a concept, and their sum."""
    stream, total = found.stream, found.spent.total
    side = len(stream.layout)
    cares = ", ".join(f"{found.domain.classes[c]} x {factor}" for c, factor in stream.care.items())
    about = f"{found.domain.name}, {stream.width} x {stream.height}, layout {side} x {side}"
    made = Table(caption=about + (f", cared for: {cares}" if cares else ""))
    for heading in ("section", "cells", "level", "bytes", "share", "bytes a cell", ""):
        made.add_column(heading, justify="left" if heading in ("section", "") else "right", no_wrap=True)
    for name, spent in found.sections.items():
        made.add_row(name, "", "", f"{spent:.1f}", f"{100 * spent / total:.1f} %", "", "")
    made.add_section()
    for concept in found.concepts:
        spent = concept.bytes
        numbers = (f"{spent:.1f}", f"{100 * spent / total:.1f} %", f"{concept.per_cell:.2f}") if spent else ("", "", "")
        made.add_row(concept.name, str(concept.cells), str(concept.level), *numbers, concept.state)
    made.add_section()
    made.add_row("file", str(GRID**2), "", str(total), "100.0 %", "", "")
    return made


def as_json(found: BitReceipt) -> dict[str, Any]:
    """For programs."""
    stream = found.stream
    return {
        "domain": found.domain.name, "bytes": found.spent.total, "width": stream.width, "height": stream.height,
        "layout_side": len(stream.layout), "model": f"{stream.model:04x}",
        "care": {found.domain.classes[c]: factor for c, factor in stream.care.items()},
        "sections": {name: round(spent, 3) for name, spent in found.sections.items()},
        "concepts": [
            {"category": c.name, "cells": c.cells, "level": c.level, "bytes": round(c.bytes, 3),
             "bytes_per_cell": round(c.per_cell, 4), "state": c.state}
            for c in found.concepts
        ],
        "notes": list(stream.notes),
    }  # fmt: skip


def overlay(found: BitReceipt) -> Photo:
    """The layout in the colours of its domain, the bytes of each cell over it, and what both mean."""
    layout = enlarged(found.domain.painted(found.stream.layout), _TILE)
    concepts = concepts_in_order(found.stream.layout, found.domain.importance, found.stream.care)
    per_cell = np.zeros(GRID * GRID)
    for concept, spent in zip(concepts, found.concepts, strict=True):
        per_cell[concept.cells] = spent.per_cell
    most = float(per_cell.max()) or 1.0
    heat = enlarged(_heat(per_cell.reshape(GRID, GRID) / most), _TILE)
    skipped = level_map(concepts, [c.level for c in found.concepts]) == 0
    grey = np.repeat(layout.mean(-1, keepdims=True), 3, -1)
    strength = np.where(enlarged(np.repeat(skipped[..., None], 3, -1).astype(np.uint8), _TILE) > 0, 0.0, 0.8)
    heated = np.where(strength > 0, strength * heat + (1 - strength) * layout, 0.5 * grey + 100).astype(np.uint8)
    height = max(2 * _GAP + _LINE + _TILE, 4 * _GAP + _LINE * (len(found.concepts) + len(found.sections) + 4))
    canvas = Image.new("RGB", (3 * _GAP + 2 * _TILE + 400, height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for i, (picture, caption) in enumerate(((layout, "layout"), (heated, "bytes a cell (pale: skipped)"))):
        x = _GAP + i * (_TILE + _GAP)
        draw.text((x, _GAP), caption, _INK, font)
        canvas.paste(Image.fromarray(picture), (x, _GAP + _LINE))
    _legend(draw, canvas, found, most, (3 * _GAP + 2 * _TILE, _GAP))
    return np.asarray(canvas)


def _legend(draw: ImageDraw.ImageDraw, canvas: Image.Image, found: BitReceipt, most: float, place: tuple[int, int]) -> None:
    """A line a section and a concept, and the scale of the colours."""
    font, (x, y) = ImageFont.load_default(16), place
    draw.text((x, y), f"{found.domain.name}: {found.spent.total} bytes", _INK, font)
    for name, spent in found.sections.items():
        y += _LINE
        draw.text((x + 24, y), f"{name}: {spent:.1f}", _INK, font)
    y += _GAP
    for concept in found.concepts:
        y += _LINE
        draw.rectangle((x, y + 2, x + 15, y + 17), found.domain.colours[concept.category], (120, 120, 120))
        text = f"{concept.bytes:.1f}, level {concept.level}" if concept.state == "sent" else concept.state
        draw.text((x + 24, y), f"{concept.name}: {text}", _INK, font)
    y += _LINE + _GAP
    canvas.paste(Image.fromarray(_heat(np.tile(np.linspace(0, 1, 200), (14, 1)))), (x, y))
    draw.text((x + 208, y - 3), f"0 to {most:.2f} bytes a cell", _INK, font)


def _heat(values: np.ndarray[Any, Any]) -> Photo:
    """Numbers in 0..1 ``[H, W]`` as colours uint8 ``[H, W, 3]``."""
    at = np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(values, at, channel) for channel in _HEAT.T], -1).round().astype(np.uint8)
