"""The demonstration: one portrait through every system, at 640 and 64 symbols, in good and in bad reception."""

from __future__ import annotations

from dataclasses import dataclass

import skimage.data
from rich.table import Table

from semcast.channels import make_channel
from semcast.errors import SemcastError
from semcast.evaluate.crossing import cross, generator_for
from semcast.evaluate.picture import beside, fitted, grid
from semcast.evaluate.records import HEADINGS
from semcast.images import Photo, to_tensor, to_uint8
from semcast.link import Budget, System, source_samples
from semcast.metrics.report import Metrics
from semcast.semantics.face import align
from semcast.semantics.parser import FaceParser

SYMBOLS = (640, 64)
SNR_DB = (10.0, 5.0, 0.0)
SYSTEMS = ("generative", "linear-gan", "linear")


@dataclass(frozen=True)
class Demo:
    """The picture, the table, and a line for each system or metric that is not there."""

    picture: Photo
    table: Table
    notes: list[str]


def run_demo(metrics: Metrics, seed: int = 0) -> Demo:
    """The astronaut over AWGN: the same noise for every system.

    Raises:
        SemcastError: no system has its weights.
    """
    systems, notes = _systems()
    photo = skimage.data.astronaut()
    face, _ = align(photo, FaceParser.load(), name="the astronaut")
    image = to_tensor(face)
    channel = make_channel("awgn")
    names = [system.name for system in systems]
    table = Table("k", "system", *(f"{snr:g} dB" for snr in SNR_DB), caption=_caption(metrics))
    blocks = [grid([[fitted(photo, face.shape[0])], [face]], columns=["photo, and the face aligned"])]
    for symbols in SYMBOLS:
        tiles, cells = [], []
        for system in systems:
            received = [
                cross(system, channel, image, Budget(symbols, snr), generator_for(seed, "astronaut")).reception.image
                for snr in SNR_DB
            ]
            tiles.append([to_uint8(each) for each in received])
            cells.append([_cell(metrics.measure(image, each)) for each in received])
        for name, row in zip(names, cells, strict=True):
            table.add_row(str(symbols), name, *row)
        table.add_section()
        title = f"{symbols} symbols (k / n = 1/{source_samples(image) / symbols:.0f})"
        blocks.append(grid(tiles, columns=[f"{snr:g} dB" for snr in SNR_DB], names=names, title=title))
    return Demo(beside(blocks), table, notes + metrics.notes)


def _systems() -> tuple[list[System], list[str]]:
    from semcast.systems import load_system

    systems, notes = [], []
    for name in SYSTEMS:
        try:
            systems.append(load_system(name))
        except SemcastError as error:
            notes.append(f"{name} is left out: {error}")
    if not systems:
        raise SemcastError(f"no system has its weights; {notes[0]}")
    return systems, notes


def _caption(metrics: Metrics) -> str:
    return " / ".join(["PSNR in dB"] + ["LPIPS"] * ("squeeze" in metrics.lpips) + [HEADINGS[name] for name in metrics.identity])


def _cell(values: dict[str, float]) -> str:
    forms = {"psnr_db": "{:.1f}", "lpips_squeeze": "{:.3f}", "identity": "{:.2f}", "identity_2": "{:.2f}"}
    return " / ".join(form.format(values[name]) for name, form in forms.items() if name in values)
