"""Records of links as a table for reading: means over photos and draws, and what only a set of pictures tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.table import Table

from semcast.bench.records import HEADINGS, METRICS, Record, mean
from semcast.bench.statistics import group, power_db
from semcast.metrics.looks import GRIDS, TENTHS
from semcast.metrics.texture import excess_of
from semcast.metrics.tone import tabulate

MEAN_POWER = ("linear", "linear-gan", "sketch")
"""Systems that ship whose power is 1 over photos, not in every burst."""
POWER_DB = 0.05
FEW = 12
"""Pictures of fewer photos have a directional excess by chance: none is given."""


@dataclass(frozen=True)
class Columns:
    """The columns that some records have values for.

    Args:
        metrics: names of :data:`~semcast.bench.records.METRICS`.
        grid, excess, tone: whether these are among them.
    """

    metrics: tuple[str, ...]
    grid: bool
    excess: bool
    tone: bool

    @classmethod
    def of(cls, records: Sequence[Record]) -> Columns:
        """Those that any of the records has a value for."""
        def known(name: str) -> bool:
            return any(getattr(record, name) is not None for record in records)

        return cls(tuple(filter(known, METRICS)), known(GRIDS[0]), known("directions"), known("tone_error"))

    @property
    def headings(self) -> list[str]:
        """A heading each."""
        looks = ["grid 8/4/2 px dB"] * self.grid + ["excess dB"] * self.excess + ["tone error °"] * self.tone
        return [*(HEADINGS[name] for name in self.metrics), *looks]

    def cells(self, records: Sequence[Record]) -> list[str]:
        """What a row says of these records: means, and the directional excess of their pictures together."""
        cells = [mean([getattr(r, name) for r in records], 2 if name.endswith("_db") else 3) for name in self.metrics]
        if self.grid:
            cells.append("/".join(mean([getattr(r, name) for r in records], 1) for name in GRIDS))
        if self.excess:
            found = excess_db(records)
            cells.append("-" if found is None else f"{found:.1f}")
        if self.tone:
            cells.append(mean([r.tone_error for r in records], 1))
        return cells


def excess_db(records: Sequence[Record]) -> float | None:
    """Directional excess of the records' pictures over their photos in dB; None where fewer than :data:`FEW` photos tell."""
    told = [record for record in records if record.directions]
    if len({record.image for record in told}) < FEW:
        return None
    directions = torch.tensor([record.directions for record in told], dtype=torch.float64).mean(0) / TENTHS
    return excess_of(directions.view(6, -1))


def tone_thirds(records: Sequence[Record]) -> list[list[str]]:
    """Means by thirds of the photos' own skin tone, a row a measure: its name, the three, and the worst over the best.

    Empty where fewer than three photos have a tone.
    """
    told = [record for record in records if record.tone is not None]
    if len({record.tone for record in told}) < 3:
        return []
    values = {name: [float("nan") if (value := getattr(r, name)) is None else value for r in told]
              for name in ("tone_error", "identity")}  # fmt: skip
    rows = tabulate([record.tone or 0.0 for record in told], values)
    return [[row.name.replace("_", " "), *(f"{each:.2f}" for each in row.means), f"{row.ratio:.2f}"]
            for row in rows if row.means[0] == row.means[0]]  # fmt: skip


def power_notes(records: Sequence[Record]) -> list[str]:
    """One sentence on the systems whose power is 1 over many photos, and another over these; none where there are none.

    Lines of earlier versions of those systems that ship have no power: they are named as such.
    """
    shapes = sorted(group(records, lambda record: (record.system, record.symbols)).items())
    told: dict[str, list[str]] = {}
    for (system, symbols), members in shapes:
        level = power_db(members)
        if level is not None and abs(level) >= POWER_DB:
            told.setdefault(system, []).append(f"{level:+.2f} dB at k = {symbols}")
    silent = [name for name in MEAN_POWER if all(r.power is None for r in records if r.system == name)]
    unknown = [name for name in silent if any(r.system == name for r in records)]
    parts = [f"{system} {' and '.join(levels)}" for system, levels in told.items()]
    parts += [f"not recorded for {' and '.join(unknown)}"] if unknown else []
    return [f"Mean power over these photos (it is 1 over many): {', '.join(parts)}."] if parts else []


def summary(records: Sequence[Record]) -> Table:
    """Average over photos and draws, a row for each system x channel x SNR x k."""
    def by(record: Record) -> tuple[str, str, int, float]:
        system = record.system + (f", {record.private}" if record.private else "")
        return record.channel, system, record.symbols, record.snr_db

    columns = Columns.of(records)
    caption = "means over photos and draws (of PSNR: of the dB)"
    if columns.grid:
        caption += f"; grid and tone: over each photo's own, excess: of all pictures, of {FEW} photos at least"
    table = Table(caption="\n".join([caption, *power_notes(records)]))
    for heading in ("channel", "system"):
        table.add_column(heading, no_wrap=True)
    for heading in ("k", "SNR dB", *columns.headings, "encode ms", "decode ms", "lines"):
        table.add_column(heading, justify="right", no_wrap=True)
    for (channel, system, symbols, snr), members in sorted(group(records, by).items()):
        times = [mean([1000 * getattr(r, name) for r in members], 1) for name in ("encode_s", "decode_s")]
        table.add_row(channel, system, str(symbols), f"{snr:g}", *columns.cells(members), *times, str(len(members)))
    return table
