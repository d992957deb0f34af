"""The demonstrations: one portrait through every system, in good and in bad reception; and as a file of a few hundred bytes."""

from __future__ import annotations

from dataclasses import dataclass

import skimage.data
import torch
from rich.table import Table

from semcast.bench.records import HEADINGS
from semcast.channels import make_channel
from semcast.crossing import cross
from semcast.domains import FACE
from semcast.errors import Missing, SemcastError
from semcast.face import align
from semcast.hashes import generator_for
from semcast.link import Budget, System, source_samples
from semcast.metrics.report import IDENTITIES, Metrics
from semcast.networks.precision import choose_device
from semcast.networks.segmenter import FaceParser
from semcast.photos import Photo, to_tensor, to_uint8
from semcast.pictures import beside, enlarge, fit, grid

SYMBOLS = (640, 64)
SNR_DB = (10.0, 5.0, 0.0)
SYSTEMS = ("sketch", "generative", "linear")
MAX_BYTES = (300, 500, 1000)
CODECS = ("rl-asc", "avif", "jpeg2000")


@dataclass(frozen=True)
class Demo:
    """What a demonstration shows.

    Args:
        picture: of all that was received.
        table: its numbers.
        notes: a line for each system that is not there.
        reading: one sentence that says what to look at.
        painters: the networks that painted in the picture, for its mark.
    """

    picture: Photo
    table: Table
    notes: list[str]
    reading: str
    painters: str


def run_demo(metrics: Metrics, seed: int = 0, device: str | torch.device = "cpu") -> Demo:
    """The astronaut over AWGN: the same noise for every system, whose networks compute on ``device``.

    Raises:
        SemcastError: no system has its weights.
    """
    systems, notes = _systems(device)
    photo = skimage.data.astronaut()
    face, _ = align(photo, FaceParser.load(), name="the astronaut")
    image = to_tensor(face).to(choose_device(device))
    channel = make_channel("awgn")
    names = [system.name for system in systems]
    table = Table("k", "system", *(f"{snr:g} dB" for snr in SNR_DB), caption=_caption(metrics))
    blocks = [grid([[fit(photo, face.shape[0])], [face]], columns=["photo, and the face aligned"])]
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
    reading = _reading(metrics, "linear keeps to the pixels and is blurred")
    return Demo(beside(blocks), table, notes, reading, ", ".join(name for name in names if name != "linear") or "linear")


def run_codec_demo(metrics: Metrics, device: str | torch.device = "cpu") -> Demo:
    """The astronaut's face as a file of 300, 500 and 1,000 bytes: by the semantic codec, with the layout it sends, and by others.

    Raises:
        SemcastError: the semantic codec lacks its weights or a library.
    """
    from semcast.codec.bitstream import unpack
    from semcast.codec.tables import Tables
    from semcast.rivals.bit_codecs import load_bit_codec

    codecs = {name: load_bit_codec(name, FACE.name, device=device) for name in CODECS}
    face, _ = align(skimage.data.astronaut(), FaceParser.load(), name="the astronaut")
    image, tables, rows = to_tensor(face), Tables.load(FACE.name), list[list[Photo]]()
    table = Table("bytes", *codecs, caption=_caption(metrics))
    layouts: list[Photo] = []
    for most in MAX_BYTES:
        pictures, cells = [], []
        for name, codec in codecs.items():
            data = codec.compress(face, most)
            pictures.append(codec.decompress(data))
            cells.append(f"{len(data)}: {_cell(metrics.measure(image, to_tensor(pictures[-1])))}")
            if name == CODECS[0]:
                layouts.append(enlarge(FACE.paint(unpack(data, tables).layout), len(face)))
        rows.append(pictures)
        table.add_row(str(most), *cells)
    columns = [f"{most} bytes" for most in MAX_BYTES]
    tiles = [layouts, *zip(*rows, strict=True)]
    blocks = [grid([[face]], columns=["photo"]), grid(tiles, columns=columns, names=["layout sent", *codecs])]
    blurred = "with so few bytes a photo codec keeps to the pixels and is blurred"
    return Demo(beside(blocks), table, [], _reading(metrics, blurred), CODECS[0])


def _systems(device: str | torch.device) -> tuple[list[System], list[str]]:
    from semcast.api import load

    systems, notes = [], []
    for name in SYSTEMS:
        try:
            systems.append(load(name, device=device))
        except SemcastError as error:
            notes.append(f"{name} is left out: {error}")
    if not systems:
        raise Missing(f"no system has its weights; {notes[0]}")
    return systems, notes


_SHOWN = {"ms_ssim": "{:.3f}", "lpips_squeeze": "{:.3f}", **dict.fromkeys(IDENTITIES, "{:.2f}")}
"""Not PSNR: a blurred picture wins it."""


def _caption(metrics: Metrics) -> str:
    names = ["ms_ssim"] + ["lpips_squeeze"] * ("squeeze" in metrics.lpips) + list(metrics.identity)
    better = {"lpips_squeeze": "LPIPS (less is better)"}
    return " / ".join(better.get(name, HEADINGS[name]) for name in names)


def _cell(values: dict[str, float]) -> str:
    return " / ".join(form.format(values[name]) for name, form in _SHOWN.items() if name in values)


def _reading(metrics: Metrics, blurred: str) -> str:
    """One sentence: what the numbers say, and how to get those that are missing."""
    perceptual, identity = "squeeze" in metrics.lpips, bool(metrics.identity)
    lacking = ["semcast fetch metrics adds LPIPS"] * (not perceptual)
    lacking += ["--identity MODEL.onnx asks if it is still the same person"] * (not identity)
    judges = " and ".join(["LPIPS"] * perceptual + ["identity"] * identity)
    tell = "tells" if perceptual != identity else "tell"
    says = f"{judges} {tell} which pictures still show a face" if judges else "the picture tells which still show a face"
    return f"{blurred}; {says}" + (f" ({', '.join(lacking)})" if lacking else "")
