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
from semcast.trust import FILE

RECOGNISERS = ("dlib_resnet_v1_face150.onnx", "mobileface_v2.onnx")
"""No loss of any network here is by one of them."""


@dataclass(frozen=True)
class Settings:
    """``photos`` of val, sent by ``systems`` as ``symbols`` at ``snr_db``; ``sure``: share of faces that must be recognised."""

    systems: tuple[str, ...] = ("sketch", "generative", "linear-gan")
    symbols: tuple[int, ...] = (64, 128, 256, 640, 1280)
    snr_db: tuple[float, ...] = (-2, 1, 4, 7, 10)
    photos: int = 32
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
            list(s.systems), find_shards(self.job.data / "faces256", "val"), snr_db=list(s.snr_db), symbols=list(s.symbols),
            out=table, seed=s.seed, limit=s.photos, aligned=True, force=not self.job.resume,
            metrics=Metrics({}, [Identity(path) for path in recognisers if path], []),
        )  # fmt: skip
        self._write(out / FILE, read(table))

    def _write(self, path: Path, records: Sequence[Record]) -> None:
        found = {}
        for name in self.settings.systems:
            own = [record for record in records if record.system == name]
            bits = threshold(own, self.settings.sure)
            found[name] = {"bits": bits, "fingerprint": api.load(name, device="cpu").fingerprint()}
            console.print(f"{name}: " + ("never" if bits is None else f"from {bits:.0f} bits on"), highlight=False)
        about = {"settings": asdict(self.settings), "recognisers": list(RECOGNISERS), "systems": found}
        write_text(path, json.dumps(about, indent=1) + "\n")


def threshold(records: Sequence[Record], sure: float) -> float | None:
    """The least C from which on every recogniser takes the share ``sure`` of faces for the same person, at every point.

    None where that never is so.
    """
    points = defaultdict[float, list[float]](list)
    for record in records:
        took = [value for value in (record.verified, record.verified_2) if value is not None]
        points[record.symbols * math.log2(1 + 10 ** (record.snr_db / 10))].append(min(took, default=0.0))
    least = None
    for bits in sorted(points, reverse=True):
        if sum(points[bits]) / len(points[bits]) < sure:
            break
        least = bits
    return None if least is None else round(least, 1)
