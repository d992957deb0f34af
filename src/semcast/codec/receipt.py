"""The bit receipt of a ``.sem`` file: what each section and each concept was given, as a table, as JSON and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.table import Table

from semcast.codec.bitstream import CHECK, Contents, Group, Stream, head_symbols, take_apart
from semcast.codec.concepts import GRID, Concept, map_levels
from semcast.codec.entropy import cost_bits
from semcast.codec.front import MAX_FILE, domain_of, version_of
from semcast.codec.tables import Tables
from semcast.domains import Domain, domain_named
from semcast.errors import BadInput, Missing
from semcast.files import whole
from semcast.photos import Photo
from semcast.pictures import enlarge

_TILE, _GAP, _LINE = 512, 12, 24
_INK = (40, 40, 40)
# From nothing to much: dark blue, violet, red, orange, pale yellow, as in matplotlib's "inferno", told apart in grey too.
_HEAT = np.array([(20, 12, 70), (101, 21, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64)


@dataclass(frozen=True)
class Receipt:
    """Bytes of each section; those that share a message have their share of its bits. The sum is the file's length.

    Args:
        domain: of the file.
        stream: what the file says.
        header: magic, domain, model, size, care and the head's length.
        layout: the layout.
        levels: levels and lengths of groups.
        checks: all CRCs.
        concepts: the features of each of ``stream.concepts``.
        unread: bytes that could not be read, or that nothing asks for.
        total: the file's length.
    """

    domain: Domain
    stream: Stream
    header: float
    layout: float
    levels: float
    checks: float
    concepts: tuple[float, ...]
    unread: float
    total: int

    @property
    def sections(self) -> dict[str, float]:
        """Bytes of what is not features, by name."""
        found = {"header": self.header, "layout": self.layout, "levels": self.levels, "checks": self.checks}
        return found | ({"unread": self.unread} if self.unread > 0.01 else {})  # rounding

    @property
    def lines(self) -> list[tuple[Concept, str, float]]:
        """Each concept in the order of the file, its name and its bytes."""
        concepts = zip(self.stream.concepts, self.concepts, strict=True)
        return [(concept, self.domain.classes[concept.category], spent) for concept, spent in concepts]


def itemise(data: bytes, tables: Tables | None = None) -> Receipt:
    """Find where the bytes of a file went.

    Args:
        tables: those of its domain that ship where none are given; no network is needed.

    Raises:
        BadInput: it is no .sem file.
        Damaged: nothing of it arrived.
    """
    domain = domain_named(domain_of(data))
    tables = tables or Tables.load(domain.name, version_of(data))
    contents = take_apart(data, tables)
    stream = contents.stream
    layout_bits, other_bits = _head_bits(contents, tables)
    head = (contents.end - contents.head) / (layout_bits + other_bits)
    checks = CHECK * (1 + sum(group.checked for group in contents.groups))
    spent: dict[int, float] = {}
    for group in contents.groups:
        spent |= _group_bytes(group, tables)
    unread = max(len(data) - (contents.end + checks + sum(spent.values())), 0.0)
    concepts = tuple(spent.get(concept.category, 0.0) for concept in stream.concepts)
    return Receipt(domain, stream, contents.head, head * layout_bits, head * other_bits, checks, concepts, unread, len(data))


def _head_bits(contents: Contents, tables: Tables) -> tuple[float, float]:
    """Bits of the layout, and of the levels and lengths after it."""
    stream = contents.stream
    levels = [concept.level for concept in stream.concepts]
    symbols = head_symbols(levels, contents.lengths, tables.ladder)
    other = sum(cost_bits(np.array([symbol]), row) for symbol, row in symbols)
    return tables.layouts[len(stream.layout)].cost_bits(stream.layout), other


def _group_bytes(group: Group, tables: Tables) -> dict[int, float]:
    """Bytes of each concept of a group that arrived, by category."""
    bits = {concept.category: tables.features.cost_bits(concept) for concept in group.concepts if not concept.lost}
    # of a group that was cut, the concepts that arrived fill as many bytes as they have bits
    used = group.there if group.checked else min(group.there, sum(bits.values()) / 8)
    return {category: used * share / sum(bits.values()) for category, share in bits.items()}


# ---- files -----------------------------------------------------------------------------------------------------------


def read_sem(path: Path) -> bytes:
    """Read the bytes of a ``.sem`` file; of one that is too long to be one, only as many as show it.

    Raises:
        BadInput: it is a folder.
        Missing: it does not exist, or cannot be read.
    """
    try:
        if path.is_dir():
            raise BadInput(f"{path} is a folder, not a .sem file")
        with path.open("rb") as file:
            return file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = "it does not exist" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or str(error)
        raise Missing(f"{path} cannot be read ({reason})") from None


def write_sem(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        SemcastError: it cannot be written.
    """
    with whole(path) as file:
        file.write(data)


# ---- for reading -----------------------------------------------------------------------------------------------------


def name_state(concept: Concept) -> str:
    """Say in a word what became of a concept."""
    return "lost" if concept.lost else "sent" if concept.level else "skipped"


def to_table(receipt: Receipt) -> Table:
    """Make a table for reading: a row a section, a row a concept, and their sum."""
    stream, total = receipt.stream, receipt.total
    side = len(stream.layout)
    cares = ", ".join(f"{receipt.domain.classes[c]} x {factor}" for c, factor in stream.care.items())
    about = f"{receipt.domain.name}, {stream.width} x {stream.height}, layout {side} x {side}"
    task = receipt.domain.name_task(stream.care)
    made = Table(caption=about + (f", task {task}" if task else "") + (f", cared for: {cares}" if cares else ""))
    for heading in ("section", "cells", "level", "bytes", "share", "bytes a cell", ""):
        made.add_column(heading, justify="left" if heading in ("section", "") else "right", no_wrap=True)
    for name, spent in receipt.sections.items():
        made.add_row(name, "", "", f"{spent:.1f}", f"{100 * spent / total:.1f} %", "", "")
    made.add_section()
    for concept, name, spent in receipt.lines:
        cells = len(concept.cells)
        numbers = (f"{spent:.1f}", f"{100 * spent / total:.1f} %", f"{spent / cells:.2f}") if spent else ("", "", "")
        made.add_row(name, str(cells), str(concept.shown_level), *numbers, name_state(concept))
    made.add_section()
    made.add_row("file", str(GRID**2), "", str(total), "100.0 %", "", "")
    return made


def to_json(receipt: Receipt) -> dict[str, Any]:
    """Give the same for programs."""
    stream = receipt.stream
    return {
        "domain": receipt.domain.name, "bytes": receipt.total, "width": stream.width, "height": stream.height,
        "layout_side": len(stream.layout), "model": f"{stream.model:04x}",
        "task": receipt.domain.name_task(stream.care),
        "care": {receipt.domain.classes[c]: factor for c, factor in stream.care.items()},
        "sections": {name: round(spent, 3) for name, spent in receipt.sections.items()},
        "concepts": [
            {"category": name, "cells": len(concept.cells), "level": concept.shown_level, "bytes": round(spent, 3),
             "bytes_per_cell": round(spent / len(concept.cells), 4), "state": name_state(concept)}
            for concept, name, spent in receipt.lines
        ],
        "notes": list(stream.notes),
    }  # fmt: skip


def draw_overlay(receipt: Receipt) -> Photo:
    """Draw the layout in the colours of its domain, the bytes of each cell over it, and what both mean."""
    layout = enlarge(receipt.domain.paint(receipt.stream.layout), _TILE)
    per_cell = np.zeros(GRID * GRID)
    for concept, _, spent in receipt.lines:
        per_cell[concept.cells] = spent / len(concept.cells)
    most = float(per_cell.max()) or 1.0
    heat = enlarge(_colour(per_cell.reshape(GRID, GRID) / most), _TILE)
    skipped = map_levels(receipt.stream.concepts) == 0
    grey = np.repeat(layout.mean(-1, keepdims=True), 3, -1)
    strength = np.where(enlarge(np.repeat(skipped[..., None], 3, -1).astype(np.uint8), _TILE) > 0, 0.0, 0.8)
    heated = np.where(strength > 0, strength * heat + (1 - strength) * layout, 0.5 * grey + 100).astype(np.uint8)
    height = max(2 * _GAP + _LINE + _TILE, 4 * _GAP + _LINE * (len(receipt.concepts) + len(receipt.sections) + 4))
    canvas = Image.new("RGB", (3 * _GAP + 2 * _TILE + 400, height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for i, (picture, caption) in enumerate(((layout, "layout"), (heated, "bytes a cell (pale: skipped)"))):
        x = _GAP + i * (_TILE + _GAP)
        draw.text((x, _GAP), caption, _INK, font)
        canvas.paste(Image.fromarray(picture), (x, _GAP + _LINE))
    _draw_legend(draw, canvas, receipt, most, (3 * _GAP + 2 * _TILE, _GAP))
    return np.asarray(canvas)


def _draw_legend(draw: ImageDraw.ImageDraw, canvas: Image.Image, receipt: Receipt, most: float, place: tuple[int, int]) -> None:
    """Write a line a section and a concept, and the scale of the colours."""
    font, (x, y) = ImageFont.load_default(16), place
    draw.text((x, y), f"{receipt.domain.name}: {receipt.total} bytes", _INK, font)
    for name, spent in receipt.sections.items():
        y += _LINE
        draw.text((x + 24, y), f"{name}: {spent:.1f}", _INK, font)
    y += _GAP
    for concept, name, spent in receipt.lines:
        y += _LINE
        draw.rectangle((x, y + 2, x + 15, y + 17), receipt.domain.colours[concept.category], (120, 120, 120))
        state = name_state(concept)
        text = f"{spent:.1f}, level {concept.level}" if state == "sent" else state
        draw.text((x + 24, y), f"{name}: {text}", _INK, font)
    y += _LINE + _GAP
    canvas.paste(Image.fromarray(_colour(np.tile(np.linspace(0, 1, 200), (14, 1)))), (x, y))
    draw.text((x + 208, y - 3), f"0 to {most:.2f} bytes a cell", _INK, font)


def _colour(values: np.ndarray[Any, Any]) -> Photo:
    """Colour numbers in 0..1 ``[H, W]`` as uint8 ``[H, W, 3]``."""
    at = np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(values, at, channel) for channel in _HEAT.T], -1).round().astype(np.uint8)
