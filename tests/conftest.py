"""What the tests share: where the data lies, and a small system to send faces with."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

if os.environ.get("SEMCAST_SHAPES", "1") != "0":  # before anything of semcast is imported
    import shapes

    shapes.install()

from semcast.link import Burst, Reception, System, to_complex, to_real, unit_power  # noqa: E402
from semcast.networks.segmenter import FaceParser  # noqa: E402

collect_ignore = ["faults/inside"]  # its sitecustomize.py is for the processes that are disturbed

FAST = ("test_link", "test_channels", "test_images", "test_mark", "test_house", "test_jscc", "test_coding", "test_weights")
"""Files that take a second or two: with ruff and mypy they are ``make check``."""


def pytest_configure(config: pytest.Config) -> None:
    """A processor without bfloat16 where ONEDNN_MAX_CPU_ISA says so: torch.cpu asks the processor and not oneDNN."""
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL") not in ("ALL", "DEFAULT"):
        lacks = {name: False for name in ("amx_bf16", "avx512_bf16", "bf16")}
        found = torch.cpu.get_capabilities() | lacks
        torch.cpu.get_capabilities = lambda: found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks whole files as fast, but for the tools that ``make check`` runs itself, and what needs the shared data."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")
        if item.path.stem in FAST and not item.name.startswith("test_tool"):
            item.add_marker("fast")
        if item.path.stem.startswith("test_faults") and item.get_closest_marker("slow") and not os.environ.get("SEMCAST_FAULTS"):
            item.add_marker(pytest.mark.skip(reason="long sweeps of faults: make faults runs them"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with ``data`` and ``weights``: $SEMCAST_SHARED, or ``shared`` beside the repository."""
    path = Path(os.environ.get("SEMCAST_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (path / "data").is_dir():
        pytest.skip("needs the shared data: set SEMCAST_SHARED")
    return path


@pytest.fixture(autouse=True)
def same_numbers_for_everybody() -> None:
    """Global generators begin each test alike, whatever ran or was loaded before it.

    Building a network draws numbers, also one whose weights are then read from a file: a test that draws its own afterwards would
    otherwise see others where the evaluation weights lie, or when it runs alone. $SEMCAST_TEST_SEED draws others on purpose: what
    then fails passed by luck.
    """
    seed = int(os.environ.get("SEMCAST_TEST_SEED", 0))
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class Mosaic(System):
    """Sends the photo as a few grey tiles: enough of a system to test everything around systems."""

    name = "mosaic"
    min_symbols = 32

    def __init__(self, name: str = "mosaic") -> None:
        super().__init__()
        self.name = name
        self.level = torch.nn.Parameter(torch.tensor(0.5))
        self.encoded = 0

    def encode(self, image, budget):
        self.encoded += 1
        tiles = F.adaptive_avg_pool2d(image.mean(1, keepdim=True), 8).flatten(1) - self.level
        reals = F.pad(tiles, (0, max(0, 2 * budget.symbols - 64)))[:, : 2 * budget.symbols]
        return Burst(unit_power(to_complex(reals)), budget)

    def decode(self, received):
        tiles = to_real(received.symbols)[:, :64].reshape(-1, 1, 8, 8) * 0.2 + self.level
        image = F.interpolate(tiles, (256, 256)).clamp(0, 1).expand(-1, 3, -1, -1)
        return Reception(image, torch.ones(len(image), dtype=torch.bool))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A square photo that counts as aligned."""
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    path = tmp_path / "me.png"
    Image.fromarray(pixels).resize((300, 300)).save(path)
    return path


def same_parser() -> FaceParser:
    """A parser that never learned anything, and sees the same in the same photo whenever it is made."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FaceParser().eval()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> dict[str, System]:
    """Two small systems instead of those that ship, and only the metrics that need no files."""
    import semcast.api
    from semcast.metrics.report import Metrics

    systems: dict[str, System] = {name: Mosaic(name) for name in ("mosaic", "tiles")}
    monkeypatch.setattr(semcast.api, "SYSTEMS", tuple(systems), raising=False)
    monkeypatch.setattr(semcast.api, "load", lambda name, **_: systems[name], raising=False)
    monkeypatch.setattr(semcast.api, "default_system", lambda symbols: "mosaic", raising=False)
    monkeypatch.setattr(Metrics, "load", classmethod(lambda cls, identity=None, vgg=True: cls({}, None, [])))
    monkeypatch.setattr(FaceParser, "load", classmethod(lambda cls: same_parser()), raising=False)
    monkeypatch.setattr("semcast.sources.face_parser", same_parser)  # that one is kept once it is loaded
    return systems
