"""What the studies of the links share: how much they measure, which systems at which k, and how those are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from semcast.api import load
from semcast.bench.plots import Curve
from semcast.bench.records import Record
from semcast.bench.statistics import Interval
from semcast.bench.sweep import Plan, Sweep
from semcast.channels import make_channel
from semcast.crossing import cross
from semcast.errors import Missing, SemcastError
from semcast.generative.system import Generative
from semcast.generative.variants import VARIANTS, EndToEnd, load_paper_link, variant
from semcast.hashes import generator_for
from semcast.link import Budget, Channel, System
from semcast.metrics.kid import EMBEDDER
from semcast.metrics.perceptual import find_weights
from semcast.metrics.report import Metrics
from semcast.networks.segmenter import FaceParser
from semcast.photos import to_tensor
from semcast.studies.bounds import AtCapacity, Ceiling, DigitalTwin, Floor, capacity_bits
from semcast.studies.kid import Distances, PhotoSet, as_curves
from semcast.studies.run import Run

SHARED = "fig3-4.jsonl"
TRAINED_DB = (-2.0, 20.0)
PILOTS = 8
NOISELESS_DB = 60.0

# Which systems are drawn at which k; one that works with a single k stands under its own alone.
LINKS = tuple(Curve(k, name) for k in (64, 640) for name in ("sketch", "generative", "linear-gan", "linear", "deepjscc"))
WIDE = (Curve(8192, "deepjscc"), Curve(8192, "deepjscc-perceptual"))
CODECS = (Curve(640, "avif"), Curve(8192, "avif"))


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Args:
        photos: at most, unless the user says another number.
        snr_db: of figures 3 and 4 and of the rivals.
        cliffs: fixed schemes of the codec drawn.
        flow_symbols: k of figure 5.
        fading_snr_db, fading_photos, draws: of the fading study.
        kid_snr_db: where KID is measured.
        slow_photos: for what takes seconds a photo (refinement), and ``paper_photos`` for half a minute a photo.
    """

    photos: int
    snr_db: tuple[float, ...]
    cliffs: int
    flow_symbols: tuple[int, ...]
    fading_snr_db: tuple[float, ...]
    fading_photos: int
    draws: int
    kid_snr_db: tuple[float, ...]
    slow_photos: int
    paper_photos: int


FULL = Size(
    photos=100, snr_db=(-5.0, -2.5, 0.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0), cliffs=3,
    flow_symbols=(32, 64, 128, 256, 640, 1280), fading_snr_db=(-5.0, 0.0, 5.0, 10.0, 15.0, 20.0), fading_photos=8, draws=5,
    kid_snr_db=(-5.0, 0.0, 5.0, 10.0, 20.0), slow_photos=20, paper_photos=5,
)  # fmt: skip
QUICK = Size(
    photos=6, snr_db=(-5.0, 0.0, 5.0, 10.0, 20.0), cliffs=2, flow_symbols=(64, 256, 640),
    fading_snr_db=(0.0, 10.0, 20.0), fading_photos=4, draws=2, kid_snr_db=(0.0, 10.0), slow_photos=3, paper_photos=1,
)  # fmt: skip


@dataclass(kw_only=True)
class FaceRun(Run):
    """A run over faces that are cropped already; systems are loaded once, and a missing one is said once.

    Args:
        size: how much is measured.
        metrics: what of.
    """

    size: Size
    metrics: Metrics
    _systems: dict[tuple[str, int], System | None] = field(default_factory=dict)

    def system(self, name: str, refine: int = 0) -> System | None:
        """Give a system, bound or variant by name; None, and a line, where it is not available here."""
        key = (name, refine)
        if key not in self._systems:
            try:
                self._systems[key] = self._load(name, refine).eval()
            except SemcastError as error:
                self.once(f"{name} is left out: {error}")
                self._systems[key] = None
        return self._systems[key]

    def _load(self, name: str, refine: int) -> System:
        kinds = {"ceiling": Ceiling, "floor": Floor, "digital-twin": DigitalTwin, "end-to-end": EndToEnd.load}
        if name in kinds or name in VARIANTS:
            link = self.system("generative")
            if not isinstance(link, Generative):
                raise Missing("it needs the generative link")
            return kinds[name](link) if name in kinds else variant(name, link)
        if name.endswith("-capacity"):
            return AtCapacity(name.removesuffix("-capacity"))
        if name == "generative-paper":
            return load_paper_link()
        return load(name, device="cpu", **({"refine": refine} if refine else {}))

    def sweep(
        self, file: str, curves: Sequence[Curve], plan: Plan, channel: Channel | None = None, refine: int = 0
    ) -> list[Record]:
        """Measure every curve with the plan (k is the curve's) into a file, or take what it holds.

        Args:
            channel: AWGN by default.
            refine: gradient steps on the symbols of ``generative``.
        """
        records: list[Record] = []
        for curve in curves:
            system = self.system(curve.system, refine)
            if system is None:
                continue
            asked = replace(plan, symbols=(curve.symbols,), aligned=True, seed=self.seed)
            try:
                sweep = Sweep(asked, [system], [channel or make_channel("awgn")], self.metrics, FaceParser.load)
            except SemcastError as error:
                self.once(f"{curve.system} is left out at k = {curve.symbols}: {error}")
                continue
            records += self.measure(file, sweep, what=f"{file.removesuffix('.jsonl')}: {curve.system}, k = {curve.symbols}")
        return records

    def distances(self, curves: Sequence[Curve]) -> dict[Curve, dict[float, Interval]]:
        """Measure KID of each curve; none, and a line that says why, where it cannot be."""
        path = find_weights(EMBEDDER)
        if path is None or len(self.sources) < 4:
            missing = "it needs at least 4 photos" if path else f"there is no {EMBEDDER} in $SEMCAST_SHARED/weights"
            self.say(f"KID is left out: {missing}")
            return {}
        systems = {curve.system: system for curve in curves if (system := self.system(curve.system)) is not None}
        points = [(curve, snr) for curve in curves if curve.system in systems for snr in self.size.kid_snr_db]
        work = Distances(points, systems, path, self.seed)
        return as_curves(self.measure("rivals-kid.jsonl", work, what="rivals: KID", sources=[PhotoSet(self.sources)]))

    def codec_note(self) -> list[str]:
        """Say what a codec makes of k = 64, tried on the first photo at the best SNR."""
        codec = self.system("avif")
        if codec is None:
            return []
        low, high = (capacity_bits(64, snr) / 8 for snr in (min(self.size.snr_db), max(self.size.snr_db)))
        room = f"k = 64 carries {low:.0f} to {high:.0f} bytes at capacity"
        try:
            image = to_tensor(self.sources[0].face(None)[0])
            budget = Budget(64, max(self.size.snr_db))
            crossing = cross(codec, make_channel("awgn"), image, budget, generator_for(self.seed, self.sources[0].name))
            fits = bool(crossing.reception.ok.all())
        except SemcastError:
            fits = False
        says = "AVIF fits at the best SNR at most" if fits else "no picture of AVIF fits"
        return [f"{room}: {says}, so it has no curve."]
