"""The engine: what is promised of power, code, resuming and locks; ``evaluate`` on whatever photos somebody has."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from semcast.bench import evaluate, evaluate_codecs, store, sweep
from semcast.bench.inputs import gather
from semcast.bench.records import Record, parse, read, split
from semcast.bench.store import lock
from semcast.channels import AWGN, Rayleigh
from semcast.errors import BadInput, Damaged, DoesNotFit, Missing, SemcastError
from semcast.link import Burst, Reception, System, to_complex, to_real, unit_power
from semcast.metrics.pixel import psnr_db
from semcast.metrics.report import Metrics
from semcast.photos import to_uint8
from semcast.sources import Source
from semcast.stopping import Stop, Stopped


class Tiles(System):
    """Sends photos of any size as grey tiles."""

    def __init__(self, name: str = "tiles", gain: float = 1.0) -> None:
        super().__init__()
        self.name, self.gain = name, gain

    def encode(self, image, budget):
        tiles = F.adaptive_avg_pool2d(image.mean(1), 8).flatten(1) - 0.5
        reals = F.pad(tiles, (0, max(0, 2 * budget.symbols - 64)))[:, : 2 * budget.symbols]
        return Burst(self.gain * unit_power(to_complex(reals + 1e-3)), budget)

    def decode(self, received):
        tiles = F.pad(to_real(received.symbols)[:, :64], (0, max(0, 64 - 2 * received.budget.symbols)))
        image = F.interpolate(tiles.reshape(-1, 1, 8, 8) * 0.2 + 0.5, received.budget.size).clamp(0, 1).expand(-1, 3, -1, -1)
        return Reception(image, torch.ones(len(image), dtype=torch.bool))


class Pixels(Metrics):
    """PSNR alone, and a face recogniser of which there may be one: quick."""

    def __init__(self, recogniser: bool = False) -> None:
        super().__init__({}, None, [])
        if recogniser:
            self.identity = {"identity": None}  # type: ignore[dict-item]

    def measure(self, photo, received):
        values = {"psnr_db": float(psnr_db(photo, received).mean())}
        return values | ({"identity": 0.5} if self.identity else {})


def pictures(count: int = 3, shape: tuple[int, ...] = (24, 40, 3)) -> list[np.ndarray]:
    return [np.random.default_rng(i).integers(0, 255, shape, np.uint8) for i in range(count)]


def measure(systems: Any, photos: Any = None, **options: Any) -> Any:
    given = {"snr_db": [0, 10], "symbols": [16, 32], "metrics": Pixels()} | options
    return evaluate(systems, pictures() if photos is None else photos, **given)


def timeless(records: list[Record]) -> list[dict[str, Any]]:
    return [{k: v for k, v in json.loads(r.line()).items() if k[-2:] != "_s"} for r in records]


# ---- power -----------------------------------------------------------------------------------------------------------


def test_the_power_of_each_burst_is_recorded_and_held_to_its_promise(tmp_path: Path) -> None:
    assert {r.power for r in measure(Tiles()).records} == {1.0}
    out = tmp_path / "r.jsonl"
    with pytest.raises(BadInput, match="loud sends bursts of mean power 100 where it promises 1"):
        measure(Tiles("loud", gain=10.0), out=out)
    assert not out.exists()
    assert len(measure(Tiles("quiet", gain=0.5)).records) == 12


def test_a_promise_over_photos_is_held_over_photos(tmp_path: Path) -> None:
    class Mean(Tiles):
        power = "mean"

        def encode(self, image, budget):
            burst = Tiles.encode.__wrapped__(self, image, budget)
            return Burst(burst.symbols * (0.5 + image.mean()) ** 0.5, budget)  # between a half and three halves

    greys = [np.full((24, 24, 3), level, np.uint8) for level in (0, 255, 128, 10, 250)]
    found = measure(Mean(), greys, snr_db=10, symbols=32)
    assert [round(r.power, 1) for r in found.records] == [0.5, 1.5, 1.0, 0.5, 1.5]
    with pytest.raises(BadInput, match="tiles promises mean power 1 over photos and sends"):
        measure(Mean(gain=3.0), greys, snr_db=10, symbols=32)
    brighter = [np.full((24, 24, 3), 235 + i % 7, np.uint8) for i in range(40)]  # power 1.4 of every one: no chance
    with pytest.raises(BadInput, match="over 30 "):
        measure(Mean(), brighter, snr_db=10, symbols=32, out=tmp_path / "r.jsonl")
    (one,) = {r.power for r in measure(Mean(), [greys[1]], snr_db=10, symbols=32, draws=40).records}  # a photo counts once
    assert one > 1.4
    with pytest.raises(BadInput, match="over 30 "):  # and again by what is in the file
        measure(Mean(), brighter, snr_db=10, symbols=32, out=tmp_path / "r.jsonl")


# ---- what a result is of ---------------------------------------------------------------------------------------------


def test_results_of_other_code_are_refused(tmp_path: Path) -> None:
    class Mine(Tiles):
        version = "1"

    out = tmp_path / "r.jsonl"
    measure(Mine("mine"), out=out)
    assert measure(Mine("mine"), out=out).measured == 0
    Mine.version = "2"
    with pytest.raises(BadInput, match="other weights of mine, or of other code"):
        measure(Mine("mine"), out=out)
    Mine.version = "1"
    with pytest.raises(BadInput, match="or of other code"):
        measure(Mine("mine", gain=0.5), out=out)


def test_systems_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(BadInput, match="two systems are called tiles"):
        measure([Tiles(), Tiles(gain=0.5)])


def test_lines_made_without_a_metric_are_completed(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    first = measure(Tiles(), out=out)
    assert {r.identity for r in first.records} == {None}
    second = measure(Tiles(), out=out, metrics=Pixels(recogniser=True))
    assert second.measured == 12 and {r.identity for r in second.records} == {0.5}
    assert len(out.read_text().splitlines()) == 12 and read(out) == list(second.records)
    assert measure(Tiles(), out=out, metrics=Pixels(recogniser=True)).measured == 0
    assert measure(Tiles(), out=out).measured == 0  # what is there is not lost where it cannot be measured

    class Small(Pixels):
        def measure(self, photo, received):
            return super().measure(photo, received) | {"identity": 0.5} if photo.shape[-1] > 40 else {"psnr_db": 1.0}

    lines = [json.loads(line) for line in out.read_text().splitlines()]
    lines[0] |= {"psnr_db": None, "identity": None}  # a picture of no numbers: measured, and null
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert measure(Tiles(), out=out, metrics=Pixels(recogniser=True)).measured == 0
    there = tmp_path / "s.jsonl"
    assert measure(Tiles(), out=there, metrics=Small(recogniser=True)).records[0].without == ["identity"]
    assert measure(Tiles(), out=there, metrics=Small(recogniser=True)).measured == 0


def test_lines_of_older_forms_are_read_as_what_they_meant() -> None:
    old = {"image": "a", "system": "linear", "channel": "rayleigh", "snr_db": 0, "symbols": 72, "seed": 0, "draw": 0,
           "care": None, "refine": 0, "fading": "block", "pilots": 8, "aligned": True, "weights": "w", "psnr_db": 20.0,
           "ms_ssim": 0.5, "lpips_squeeze": None, "lpips_vgg": None, "identity": None, "side_bytes": 0, "encode_s": 0.1,
           "decode_s": 0.1,
           "ok": True, "domain": None}  # fmt: skip
    record = parse(json.dumps(old))
    assert record is not None and (record.symbols, record.uses, record.domain, record.power) == (64, 72, "face", None)
    assert record.identity_2 is None and record.private is None
    assert parse(record.line()) == record
    new = json.loads(record.line())
    assert (new["symbols"], new["uses"]) == (64, 72)


def test_values_of_the_wrong_type_are_said(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    measure(Tiles(), out=out)
    lines = out.read_text().splitlines()
    out.write_text("\n".join([lines[0], lines[1].replace('"symbols": 16', '"symbols": "16"'), *lines[2:]]) + "\n")
    before = out.read_bytes()
    with pytest.raises(Damaged, match=r"line 2 of .*not a semcast result.*symbols"):
        measure(Tiles(), out=out)
    assert out.read_bytes() == before


@pytest.mark.parametrize("text", [
    '{"image": "x.png", "label": 3}', '{"image": "x.png", "label": 3', '{"image": "x.png", "lab',
    '{"image": {"id": 1}, "a": [1]}', '{"image": [[[[[', '{"image": "x.png"}', '{"image": "' + "x" * 100_000, "[1, 2", "words",
    '{"image": "x", "snr_db": 3}',
], ids=lambda text: text[:34])  # fmt: skip
def test_a_file_of_somebody_else_is_never_shortened(text: str, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    for content in (text, f"{text}\n"):
        out.write_text(content)
        with pytest.raises(Damaged, match=r"line 1 of .*not a semcast result"):
            measure(Tiles(), out=out)
        assert out.read_text() == content


def test_a_line_cut_anywhere_is_gone_on_from(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    measure(Tiles(), out=out)
    whole = out.read_text()
    *lines, last = whole.splitlines(keepends=True)
    for end in range(len(last) - 1):
        assert split_lines("".join(lines) + last[:end], tmp_path) == len(lines), last[:end]
    out.write_text(last[:40])  # the first line of a run
    assert measure(Tiles(), out=out).measured == len(lines) + 1


def split_lines(text: str, folder: Path) -> int:
    """How many records are whole."""
    (folder / "cut.jsonl").write_text(text)
    return len(split(folder / "cut.jsonl", Record)[0])


# ---- one process at a time, and one that is killed --------------------------------------------------------------------

HOLD = "import sys, time; from pathlib import Path; from semcast.bench.store import lock\n"
HOLD += "with lock(Path(sys.argv[1])):\n print('held', flush=True)\n time.sleep(60)"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_second_process_is_refused_and_a_dead_one_is_not_waited_for(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    with subprocess.Popen([sys.executable, "-c", HOLD, out], stdout=subprocess.PIPE, text=True, env=os.environ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(BadInput, match=f"is being written by process {other.pid}: wait"):
            measure(Tiles(), out=out)
        other.send_signal(signal.SIGKILL)
    assert (tmp_path / ".r.jsonl.lock").exists()
    assert measure(Tiles(), out=out).measured == 12
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]
    with lock(out), pytest.raises(BadInput, match="is being written"), lock(out):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
def test_a_lock_that_is_being_taken_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = store._claim

    def stopped(descriptor: int) -> bool:
        signal.raise_signal(signal.SIGTERM)
        return claim(descriptor)

    monkeypatch.setattr(store, "_claim", stopped)
    with pytest.raises(Stopped), Stop().listening(to_the_end=False), lock(tmp_path / "r.jsonl"):
        raise AssertionError("it was stopped before")
    assert list(tmp_path.iterdir()) == []


RUN = """
import sys; from pathlib import Path; from time import sleep
sys.path.insert(0, sys.argv[1])
from test_engine import Tiles, measure
class Slow(Tiles):
    def encode(self, image, budget):
        sleep(0.02)
        return Tiles.encode(self, image, budget)
Slow.version = "1"
measure(Slow(), out=Path(sys.argv[2]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_killed_run_loses_nothing(tmp_path: Path) -> None:
    class Slow(Tiles):
        version = "1"

    out = tmp_path / "r.jsonl"
    with subprocess.Popen([sys.executable, "-c", RUN, Path(__file__).parent, out], env=os.environ) as other:
        while not out.exists() or out.read_bytes().count(b"\n") < 3:
            assert other.poll() is None
            sleep(0.02)
        other.send_signal(signal.SIGKILL)
    there = out.read_bytes().count(b"\n")
    found = measure(Slow(), out=out)
    assert found.measured == 12 - there
    assert timeless(found.records) == timeless(measure(Slow()).records)


# ---- whatever photos --------------------------------------------------------------------------------------------------

FORMS: list[Callable[[np.ndarray], Any]] = [
    lambda a: a, lambda a: a.astype(np.float32) / 255, lambda a: torch.tensor(a).permute(2, 0, 1),
    lambda a: (torch.tensor(a).permute(2, 0, 1).float() / 255)[None], Image.fromarray,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=["uint8", "float", "tensor", "batch", "PIL"])
def test_pictures_in_memory(form: Callable[[np.ndarray], Any]) -> None:
    found = measure(Tiles(), (form(each) for each in pictures()))
    psnr = [r.psnr_db for r in found.records]
    assert psnr == pytest.approx([r.psnr_db for r in measure(Tiles()).records], abs=5)  # the name, and so the noise, may differ
    assert len({r.image for r in found.records}) == 3 and {r.domain for r in found.records} == {"photo"}


def test_a_picture_keeps_its_name_whatever_form_it_has() -> None:
    """What a result is found by when it is resumed; a picture in memory is the same source as one of a file."""
    named = [gather([form(each) for each in pictures()]) for form in FORMS]
    assert all([source.name for source in sources] == [source.name for source in named[0]] for sources in named)
    assert all(type(source) is Source and np.array_equal(to_uint8(source.whole()), each)
               for sources in named for source, each in zip(sources, pictures(), strict=True))  # fmt: skip


def test_grey_and_small_pictures_folders_and_limits(tmp_path: Path) -> None:
    assert measure(Tiles(), pictures(2, (32, 32))).records[0].psnr_db > 5
    for i, each in enumerate(pictures()):
        Image.fromarray(each).save(tmp_path / f"{i}.png")
    folder = measure(Tiles(), str(tmp_path), domain="photo", limit=2)
    assert {r.image for r in folder.records} == {"0.png", "1.png"}
    assert len(measure(Tiles(), [tmp_path / "0.png", tmp_path / "2.png"], domain="photo")) == 8
    one = measure(Tiles(), pictures(1)[0])
    assert len(one) == 4 and one.measured == 4


@pytest.mark.parametrize(
    ("photos", "words"),
    [([], "no photo"), ([1, 2], "photo 0: .* not int"), (5, "paths or pictures"), ([np.zeros((2, 2, 7))], "photo 0: an array"),
     ([np.full((4, 4, 3), 3.0)], "photo 0: a photo of floats"), ([np.zeros((4, 4, 3), np.int64)], "int64")],
)  # fmt: skip
def test_what_is_no_photo_is_said(photos: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        gather(photos)


def test_a_system_of_one_size_is_refused_for_others_alone() -> None:
    class Square(Tiles):
        image_size = 32

        def decode(self, received):
            return Reception(torch.zeros(1, 3, 32, 32), torch.ones(1, dtype=torch.bool))

    found = measure([Tiles(), Square("square")], [*pictures(2), *pictures(1, (32, 32, 3))])
    assert [r.system for r in found.records].count("square") == 4 and len(found.records) == 12 + 4
    assert found.skipped == ["square sends photos of 32 x 32 pixels, not 40 x 24"]
    with pytest.raises(SemcastError, match="square sends photos of 32 x 32"):
        measure(Square("square"))


# ---- what the transmitter expects -------------------------------------------------------------------------------------


def test_the_transmitter_may_expect_another_snr(tmp_path: Path) -> None:
    class Told(Tiles):
        heard: list[float] = []

        def encode(self, image, budget):
            self.heard.append(budget.snr_db)
            return Tiles.encode(self, image, budget)

    out = tmp_path / "r.jsonl"
    found = measure(Told(), out=out, design_snr_db=10)
    assert set(Told.heard) == {10.0} and {r.snr_db for r in found.records} == {0.0, 10.0}
    assert {(r.snr_db, r.design_snr_db) for r in found.records} == {(0.0, 10.0), (10.0, None)}
    assert measure(Told(), out=out).measured == 6  # at 10 dB it expected what it met
    psnr = {(r.snr_db, r.symbols, r.image): r.psnr_db for r in found.records}
    assert all(psnr[10.0, k, name] > value for (snr, k, name), value in psnr.items() if snr == 0)


class Grain(Tiles):
    """Serves a symbol for every 256 pixels, and no other k: as Deep JSCC does."""

    def check(self, budget):
        height, width = budget.size or (256, 256)
        if budget.symbols != height * width // 256:
            raise DoesNotFit(f"grain sends {width} x {height} as {height * width // 256} symbols, not {budget.symbols}")


def test_k_that_follows_from_the_size_of_a_photo() -> None:
    photos = [np.full((64, 64, 3), 90, np.uint8), np.full((64, 128, 3), 90, np.uint8)]
    found = measure([Grain("grain"), Tiles()], photos, channels="awgn", snr_db=10, symbols=[16, 32])
    served = [(record.image, record.symbols) for record in found.records if record.system == "grain"]
    assert len(found.records) == 2 + 4 and [k for _, k in served] == [16, 32] and len({image for image, _ in served}) == 2
    assert found.skipped == [
        "grain sends 64 x 64 as 16 symbols, not 32", "grain sends 128 x 64 as 32 symbols, not 16",
    ]  # fmt: skip
    assert len(measure([Grain("grain"), Tiles()], photos[:1], channels="awgn", snr_db=10, symbols=32).records) == 1
    with pytest.raises(BadInput, match="not 32"):
        measure(Grain("grain"), photos[:1], channels="awgn", snr_db=10, symbols=32)


def test_pilots_come_on_top() -> None:
    (record,) = measure(Tiles(), pictures(1), channels=[Rayleigh(pilots=4)], snr_db=10, symbols=32).records
    assert (record.symbols, record.uses, record.pilots, record.fading) == (32, 36, 4, "block")
    both = measure(Tiles(), pictures(1), channels=["awgn", AWGN(), Rayleigh(), Rayleigh(block=1)], snr_db=10, symbols=32)
    assert {(r.channel, r.fading) for r in both.records} == {("awgn", None), ("rayleigh", "block"), ("rayleigh", "fast")}


# ---- tables -----------------------------------------------------------------------------------------------------------


def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measure([Tiles(), Tiles("two", gain=0.7)])
    assert found.summary().row_count == 8
    assert repr(found) == "Table(24 records of tiles, two; 0 skipped)"
    found.save(tmp_path / "kept.jsonl")
    assert read(tmp_path / "kept.jsonl") == list(found.records)
    with pytest.raises(BadInput, match=".jsonl or .csv"):
        found.save(tmp_path / "kept.txt")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(Missing, match=r"semcast\[bench\]"):
        found.to_pandas()


def test_data_frames(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    found = measure([Tiles(), Tiles("two", gain=0.7)])
    frame = found.to_pandas()
    assert len(frame) == 24 and frame.groupby(["system", "snr_db"])["psnr_db"].mean().shape == (4,)
    found.save(tmp_path / "kept.csv")
    assert len((tmp_path / "kept.csv").read_text().splitlines()) == 25


class Squeezed:
    """A codec of one's own: the mean colours of a grid."""

    name, version = "squeezed", "1"

    def compress(self, image, max_bytes):
        height, width = image.shape[:2]
        small = np.asarray(Image.fromarray(image).resize((4, 4), Image.Resampling.BOX))
        return bytes([height, width]) + small.tobytes()

    def decompress(self, stream):
        small = Image.fromarray(np.frombuffer(stream[2:], np.uint8).reshape(4, 4, 3))
        return np.asarray(small.resize((stream[1], stream[0]), Image.Resampling.NEAREST))


def test_codecs_of_ones_own_on_photos_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semcast.bench.codecs.Lpips.load", lambda net: None)
    out = tmp_path / "r.jsonl"
    found = evaluate_codecs(Squeezed(), pictures(), max_bytes=[60, 100], domain="photo", out=out)
    assert len(found) == 6 and {r.bytes for r in found.records} == {50} and found.records[0].miou is None
    assert found.records[0].bpp == pytest.approx(50 * 8 / (24 * 40)) and found.records[0].psnr_db > 5
    assert found.summary().row_count == 2
    assert evaluate_codecs(Squeezed(), pictures(), max_bytes=[60, 100], domain="photo", out=out).measured == 0
    with pytest.raises(BadInput, match="50 bytes where 40"):
        evaluate_codecs(Squeezed(), pictures(), max_bytes=40, domain="photo")
    newer = Squeezed()
    newer.version = "2"
    with pytest.raises(BadInput, match="another version of squeezed"):
        evaluate_codecs(newer, pictures(), max_bytes=[60], domain="photo", out=out)


# ---- many processes ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_objects_reach_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("semcast.bench.codecs.Lpips.load", lambda net: None)
    alone = measure([Tiles()])
    threads = torch.get_num_threads()
    many = measure([Tiles()], workers=2, out=tmp_path / "r.jsonl")
    assert torch.get_num_threads() == threads
    assert timeless(many.records) == timeless(alone.records) and many.measured == 12
    coded = evaluate_codecs(Squeezed(), pictures(), max_bytes=60, domain="photo", workers=2)
    assert [r.psnr_db for r in coded.records] == [
        r.psnr_db for r in evaluate_codecs(Squeezed(), pictures(), max_bytes=60, domain="photo").records
    ]


def test_workers_measure_what_is_measured_here() -> None:
    wanted = Metrics.load(vgg=False, judges=True, ssimulacra2=True)
    work = sweep.Sweep(sweep.Plan((0.0,), (16,), domain="photo"), [Tiles()], [AWGN()], wanted)
    terms = work.terms()
    there = pickle.loads(pickle.dumps(work))
    assert there.terms() == terms and there._measurable == work._measurable
    assert (there.metrics.judge is None, there.metrics.ssimulacra2) == (wanted.judge is None, wanted.ssimulacra2)


def test_what_cannot_be_pickled_is_said() -> None:
    pytest.importorskip("distributed")
    stuck = Tiles()
    stuck.lock = threading.Lock()
    with pytest.raises(BadInput, match="cannot be sent to workers"):
        measure(stuck, workers=2)


def test_bad_arguments(tmp_path: Path) -> None:
    for options, words in (
        ({"symbols": []}, "empty list"), ({"draws": 0}, "draws"), ({"out": tmp_path / "r.txt"}, "extension .jsonl"),
        ({"out": tmp_path / "no" / "r.jsonl"}, "does not exist"), ({"domain": "sea"}, "unknown domain"),
        ({"channels": "tin"}, "unknown channel"), ({"symbols": [0]}, "between 1 and"), ({"design_snr_db": 100.0}, "between -30"),
    ):  # fmt: skip
        with pytest.raises(SemcastError, match=words):
            measure(Tiles(), **options)
    with pytest.raises(SemcastError, match="unknown system"):
        measure("nothing")
    assert sweep.fingerprint(Tiles()) == sweep.fingerprint(Tiles()) != sweep.fingerprint(Tiles(gain=2.0))
