"""Recipe ``trust``: from how much on each system's pictures show the same person, measured on validation faces.

Every face is sent at every k and SNR over AWGN, and face recognisers that no training saw say whether they take the picture for
the same person. Only of systems that paint: a linear picture that lacks something is blurred and fools nobody.
A system can be trusted from the least C (:mod:`semcast.trust`) from which on they do so for at least
``sure`` of the faces at every point.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semcast import api
from semcast.bench import evaluate
from semcast.bench.records import Record, read
from semcast.errors import Missing
from semcast.files import write_text
from semcast.metrics.identity import Identity
from semcast.metrics.perceptual import find_weights
from semcast.metrics.report import Metrics
from semcast.train.data import find_shards
from semcast.train.loop import console
from semcast.train.recipe import Task
from semcast.trust import FILE, find_trust

RECOGNISERS = ("dlib_resnet_v1_face150.onnx", "mobileface_v2.onnx")
"""No loss of any network here is by one of them."""


@dataclass(frozen=True)
class Settings:
    """``photos`` of ``split``, sent by ``systems`` as ``symbols`` at ``snr_db``; ``sure``: share that must be recognised.

    ``split=test`` checks what val gave: how many of the pictures that the shipped thresholds call sure are recognised.
    """

    split: str = "val"

    systems: tuple[str, ...] = ("sketch", "generative", "linear-gan")
    symbols: tuple[int, ...] = (64, 128, 256, 640, 1280)
    snr_db: tuple[float, ...] = (-2, 1, 4, 7, 10)
    photos: int = 64
    sure: float = 0.95
    seed: int = 0


class TrustTask(Task):
    """Writes ``trust.json`` and what was measured, ``trust.jsonl``; a run that was stopped goes on."""

    name, defaults = "trust", Settings()
    settings: Settings

    def run(self) -> None:
        """Send, ask, and find the thresholds.

        Raises:
            SemcastError: no data, weights or recognisers.
        """
        if not self.ranks.leads:
            return
        s, out = self.settings, self.job.out
        recognisers = [find_weights(name) for name in RECOGNISERS]
        if None in recognisers:
            needed = " and ".join(RECOGNISERS)
            raise Missing(f"trust is measured by {needed}: set SEMCAST_SHARED to the folder whose weights/ has them")
        out.mkdir(parents=True, exist_ok=True)
        table = out / "trust.jsonl"
        evaluate(
            list(s.systems), find_shards(self.job.data / "faces256", s.split), snr_db=list(s.snr_db), symbols=list(s.symbols),
            out=table, seed=s.seed, limit=s.photos, aligned=True, force=not self.job.resume,
            metrics=Metrics({}, [Identity(path) for path in recognisers if path], []),
        )  # fmt: skip
        self._write(out / FILE, read(table))

    def _write(self, path: Path, records: Sequence[Record]) -> None:
        found: dict[str, Any] = {}
        for name in self.settings.systems:
            own, system = [record for record in records if record.system == name], api.load(name, device="cpu")
            bits, shipped = threshold(own, self.settings.sure), find_trust(system)
            found[name] = {"bits": bits, "fingerprint": system.fingerprint(), "points": list_points(own)}
            console.print(f"{name}: " + ("never" if bits is None else f"from {bits:.0f} bits on"), highlight=False)
            if shipped is not None and shipped.bits is not None:
                sure = [record for record in own if bits_of(record) >= shipped.bits]
                found[name] |= {"called_sure": len(sure), "of": len(own), "recognised": share(sure)}
                console.print(f"{name}: {len(sure)} of {len(own)} called sure, recognised: {found[name]['recognised']}")
        about = {"settings": asdict(self.settings), "recognisers": list(RECOGNISERS), "systems": found}
        write_text(path, json.dumps(about, indent=1) + "\n")


def threshold(records: Sequence[Record], sure: float) -> float | None:
    """The least C from which on every recogniser takes the share ``sure`` of faces for the same person, at every point.

    None where that never is so.
    """
    points = defaultdict[float, list[float]](list)
    for record in records:
        points[bits_of(record)].append(min(_took(record), default=0.0))
    least = None
    for bits in sorted(points, reverse=True):
        if sum(points[bits]) / len(points[bits]) < sure:
            break
        least = bits
    return None if least is None else round(least, 1)


def bits_of(record: Record) -> float:
    """C of an AWGN channel: k log2(1 + SNR)."""
    return record.symbols * math.log2(1 + 10 ** (record.snr_db / 10))


def share(records: Sequence[Record]) -> list[float]:
    """For each recogniser the share of faces that it takes for the same person."""
    return [round(sum(each) / len(each), 4) for each in zip(*map(_took, records), strict=True)]


def list_points(records: Sequence[Record]) -> list[list[float]]:
    """k, SNR, C and the shares of each point, by C."""
    points = defaultdict[tuple[float, int, float], list[Record]](list)
    for record in records:
        points[bits_of(record), record.symbols, record.snr_db].append(record)
    return [[symbols, snr, round(bits, 1), *share(own)] for (bits, symbols, snr), own in sorted(points.items())]


def _took(record: Record) -> list[float]:
    return [value for value in (record.verified, record.verified_2) if value is not None]
