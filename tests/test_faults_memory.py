"""Memory has a bound: whatever the size of a photo, and however many there are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.faults.commands import LONG, MINE, SWEEP, TINY, make_photos  # noqa: E402
from tests.faults.server import Server  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="no such measure here")]
BOUND_MB = {"JPEG": 400, "PNG": 900}
"""Over what the verb takes for a small photo. A JPEG is decoded at a fraction of its size; a PNG of 100 megapixels is 400 MB in
Pillow, and is made smaller in another picture."""
MORE_KB = 12
"""What a photo more may cost: its name, and its results (two points here), which the summary in the end is made of."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of 100 megapixels in both formats, and a small one."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "mine.py").write_text(MINE)
    with Image.open(make_photos(folder / "small", 1, 256) / "0000.png") as small:
        small.save(folder / "small.JPEG")
        small.save(folder / "small.PNG")
        photo = small.resize((10_000, 10_000), Image.Resampling.NEAREST)
    for kind in BOUND_MB:
        photo.save(folder / f"large.{kind}", kind)
    return folder


VERBS = {
    "transmit": ("transmit", "{}", *TINY, "-o", "out.png", "-f"),
    "encode": ("encode", "{}", "--domain", "face", "--aligned", "-o", "out.sem", "-f"),
    "send": ("send", "{}", "--aligned", "--symbols", 64, "-o", "out.wav", "-f"),
    "evaluate": ("evaluate", "{}", *SWEEP[2:], "-o", "out.jsonl", "-f"),
    "evaluate-codec": ("evaluate-codec", "{}", "--codecs", "jpeg", "--domain", "photo", "--max-bytes", 20_000,
                       "-o", "c.jsonl", "-f"),
    "inspect": ("inspect", "{}"),
}


@pytest.mark.parametrize("kind", BOUND_MB)
@pytest.mark.parametrize("verb", VERBS)
def test_a_photo_of_100_megapixels(verb: str, kind: str, server: Server, large: Path) -> None:
    peaks = {}
    for size in ("small", "large"):
        if size == "small" and verb in ("transmit", "evaluate", "evaluate-codec"):
            continue  # as it is: 2048 pixels a side reach the networks
        done = server.run([str(part).format(f"{size}.{kind}") for part in VERBS[verb]], large)
        assert done.code == 0, done
        peaks[size] = done.peak_mb
    print(verb, kind, peaks)
    base = peaks.get("small", AS_IT_IS_MB)
    assert peaks["large"] < base + BOUND_MB[kind], peaks


AS_IT_IS_MB = 900
"""What a verb takes that measures a photo as it is, 2048 x 2048: a dozen copies of it as floats."""


@pytest.mark.parametrize("verb", ["evaluate", "transmit", "encode"])
def test_however_many_photos(verb: str, server: Server, tmp_path: Path) -> None:
    """Peaks of some hundred and of ten times as many: each more costs no more than what is said of it."""
    (tmp_path / "mine.py").write_text(MINE)
    [photo] = make_photos(tmp_path / "one", 1, 32).iterdir()
    few, many = (200, 10_000) if LONG else (200, 2_000)
    given = {
        "evaluate": (*SWEEP[:6], "--symbols", 32, "--snr", "0,10"),
        "transmit": ("transmit", "photos", *TINY, "--json"),
        "encode": ("encode", "photos", "--domain", "face", "--aligned"),
    }[verb]
    if verb == "encode":  # a network each: fewer tell as much
        few, many = few // 20, many // 20
    peaks = []
    for count in (few, many):
        folder = tmp_path / str(count)
        (folder / "photos").mkdir(parents=True)
        (folder / "mine.py").write_text(MINE)
        for i in range(count):
            (folder / "photos" / f"{i:05d}.png").hardlink_to(photo)
        done = server.run((*given, "-o", "out.jsonl" if verb == "evaluate" else "out"), folder)
        assert done.code == 0, done.err[-500:]
        peaks.append(done.peak_mb)
    print(verb, few, many, peaks)
    assert peaks[1] - peaks[0] < 15 + MORE_KB * (many - few) / 1024, peaks
