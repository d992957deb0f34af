"""The command line: round trips, and one clear sentence for everything that cannot work."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import refused
from PIL import Image
from rich.table import Table

import semcast.api
from semcast.cli import build, console, main, options
from semcast.cli.study import STUDIES
from semcast.generative.refinement import Refine
from semcast.linear.system import Linear
from semcast.link import System
from semcast.metrics.report import Metrics
from semcast.studies import study
from semcast.weights import available, save

HERE = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src")}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in an empty folder; (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        return (int(exit_.value.code or 0), *capsys.readouterr())

    return run


# ---- round trips -----------------------------------------------------------------------------------------------------


def test_transmit(run: Run, photo: Path, stand_in: dict[str, System]) -> None:
    code, out, _ = run("transmit", photo, "--aligned", "--symbols", 64, "--snr", 20)
    assert code == 0 and "mosaic" in out and "1/3072" in out
    with Image.open("me-received.png") as picture:
        assert picture.width > 512
    refused(run("transmit", photo, "--aligned", "--symbols", 64), "me-received.png exists already")
    assert run("transmit", photo, "--aligned", "--symbols", 64, "-f")[0] == 0


def test_transmit_json_symbols_and_output(run: Run, photo: Path, stand_in: dict[str, System]) -> None:
    given = ("transmit", photo, "--aligned", "--symbols", 64, "--system", "tiles", "--channel", "rician",
             "--pilots", 4, "-o", "face.png", "--save-symbols", "x.npy", "--json")  # fmt: skip
    code, out, _ = run(*given)
    assert code == 0
    values = json.loads(out)
    assert values["system"] == "tiles" and values["channel"] == "rician" and values["output"] == "face.png"
    assert values["symbols"] == values["data_symbols"] == 64 and values["uses"] == 68 and values["bandwidth_ratio"] == 64 / 196608
    with Image.open("face.png") as face:
        assert face.size == (256, 256)
    symbols = np.load("x.npy")
    assert symbols.shape == (64,) and symbols.dtype == np.complex64
    assert np.mean(np.abs(symbols) ** 2) == pytest.approx(1, abs=1e-3)
    refused(run(*given), "face.png exists already")
    Path("face.png").unlink()
    refused(run(*given), "x.npy exists already")
    assert not Path("face.png").exists()
    again = json.loads(run(*given, "-f")[1])
    assert again["psnr_db"] == values["psnr_db"]
    assert np.array_equal(np.load("x.npy"), symbols)


def test_seed_changes_the_noise(run: Run, photo: Path, stand_in: dict[str, System]) -> None:
    given = ("transmit", photo, "--aligned", "--symbols", 64, "--snr", 0, "--json", "-f", "--seed")
    values = [json.loads(run(*given, seed)[1])["psnr_db"] for seed in (0, 1, 0, -1)]
    assert values[0] == values[2] and len(set(values)) == 3


def test_two_embedders(run: Run, photo: Path, stand_in: dict[str, System], monkeypatch: pytest.MonkeyPatch) -> None:
    class Embedder:
        threshold = None

        def __init__(self, path: Path) -> None:
            self.value = float(path.stem)

        def similarity(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.full((len(a),), self.value)

    monkeypatch.setattr(
        Metrics, "load", classmethod(lambda cls, identity=(), vgg=True: cls({}, [Embedder(path) for path in identity], []))
    )
    given = ("transmit", photo, "--aligned", "--symbols", 64, "--json", "-f", "--identity", "0.5.onnx")
    assert "identity_2" not in json.loads(run(*given)[1])
    values = json.loads(run(*given, "--identity", "0.25.onnx")[1])
    assert values["identity"] == 0.5 and values["identity_2"] == 0.25
    assert json.loads(run(*given, "--identity", "0.25.onnx", "--identity", "0.1.onnx")[1])["identity_3"] == pytest.approx(0.1)
    refused(run(*given, *3 * ("--identity", "0.25.onnx")), "at most three")


def test_evaluate(run: Run, photo: Path, stand_in: dict[str, System]) -> None:
    given = ("evaluate", photo, "--aligned", "--systems", "mosaic,tiles", "--channels", "awgn,rayleigh",
             "--snr", "-2,5", "--symbols", "64", "--pilots", 2, "-o", "r.jsonl")  # fmt: skip
    code, out, err = run(*given)
    assert code == 0, err
    assert "rayleigh" in out and "8 measured" in err
    assert len(Path("r.jsonl").read_text().splitlines()) == 8
    assert "0 measured, 8 were there already" in run(*given)[2]


def test_points_that_a_system_cannot_serve(run: Run, photo: Path, stand_in: dict[str, System]) -> None:
    given = ("evaluate", photo, "--aligned", "--systems", "mosaic,tiles", "--snr", 5, "-o", "r.jsonl", "--symbols")
    stand_in["tiles"].max_symbols = 64
    code, out, err = run(*given, "64,128")
    assert code == 0 and "3 measured" in err, err
    assert err.count("skipped: ") == 1 and "skipped: tiles at k = 128" in err
    refused(run(*given, "16", "-f"), "mosaic works with 32")


def test_models(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(tmp_path))
    save(tmp_path / "net.safetensors", {"a": np_tensor()}, kind="net", config={})
    (tmp_path / "net.md").write_text("# A net\n")
    values = {model["name"]: model for model in json.loads(run("models", "--json")[1])}
    assert values["net"]["kind"] == "net" and values["net"]["state"] == "ok"
    assert "# A net" in run("models", "net")[1]
    refused(run("models", "no-such"), "no-such", "net")
    damage(tmp_path / "net.safetensors")
    code, out, _ = run("models")
    assert code == 0 and "net" in out and "changed or damaged" in out


def test_help(run: Run) -> None:
    for given in ([], ["--help"], ["transmit", "--help"], ["evaluate", "-h"]):
        code, out, err = run(*given)
        assert code == 0 and "semcast" in out and err == ""


def test_as_a_program(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "semcast", "transmit", "missing.jpg", "--snr", "nan"],
        cwd=tmp_path, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    refused((done.returncode, done.stdout, done.stderr), "nan")


def test_with_what_ships(run: Run) -> None:
    """A real portrait over the default link."""
    if not {"painter", "parser", "sketch-face", "sketch-plain"} <= {path.stem for path in available()}:
        pytest.skip("no weights of linear-gan, linear and the parser")
    import skimage.data

    Image.fromarray(skimage.data.astronaut()).save("astronaut.png")
    code, out, err = run("transmit", "astronaut.png", "--snr", 10, "--json")
    assert code == 0, err
    values = json.loads(out)
    assert values["ok"] and values["faces_found"] == 1 and values["psnr_db"] > 15
    assert abs(values["grid_4_db"]) < 4 and values["tone_error"] < 20 and -60 < values["tone"] < 80
    given = ("--systems", "linear", "--snr", 10, "--symbols", 64, "-o", "r.jsonl")
    code, out, err = run("evaluate", "astronaut.png", *given)
    assert code == 0, err


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "[red]me[", "[/bold]", "\u6771\u4eac \U0001f600", "-me", "m" * 240])
def test_photos_of_any_name(run: Run, photo: Path, stand_in: dict[str, System], name: str) -> None:
    """Not UTF-8, taken for markup or for an option, long: what the file system takes works, with and without --json."""
    try:
        there = Path(shutil.copy(photo, photo.parent / f"{name}.png"))
    except (OSError, UnicodeError):
        pytest.skip("this file system does not take the name")
    code, out, err = run("transmit", there, "--aligned", "--json", "-o", f"./{name[:200]}-a.png")
    assert code == 0 and json.loads(out)["image"] == there.name, err
    code, out, err = run("transmit", there, "--aligned", "-o", f"./{name[:200]}-b.png")
    assert code == 0 and name[:200].encode(errors="replace").decode() in out.replace("\n", ""), (out, err)
    assert {path.name for path in Path().iterdir()} >= {f"{name[:200]}-a.png", f"{name[:200]}-b.png"}


def test_stdout_carries_results_alone_where_stderr_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As cron and services start us: print would write to the other stream."""
    monkeypatch.setattr(sys, "stderr", None)
    console.ready_streams()
    console.say("a note")
    console.complain("a sentence")
    with console.track("work", 3) as step:
        step(1)
    assert capsys.readouterr().out == ""


def test_no_letter_breaks_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A code page of Windows lacks most letters: those are replaced."""
    page = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", page)
    console.ready_streams()
    table = Table("\u6771\u4eac", "\u2192")
    table.add_row("a", "\U0001f600")
    console.show(table)
    page.flush()
    assert b"?" in page.buffer.getvalue()


@pytest.mark.parametrize("columns", ["20", "80"])
def test_a_narrow_terminal_breaks_lines_but_no_cell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = Table(*(f"heading {i}" for i in range(12)))
    table.add_row(*(f"cell-{i}-of-a-row" for i in range(12)))
    console.show(table)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    (row,) = [line for line in shown.splitlines() if "cell-0" in line]
    assert all(f"cell-{i}-of-a-row" in row for i in range(12))


def test_masks_in_a_folder_are_not_sent(run: Run, photo: Path, stand_in: dict[str, System]) -> None:
    Path("photos").mkdir()
    for name in ("a.JFIF", "b.jpg"):
        Image.open(photo).convert("RGB").save(f"photos/{name}", "JPEG")
    Image.new("L", (300, 300)).save("photos/b.mask.png")
    code, _, err = run("transmit", "photos", "--aligned", "-o", "out")
    assert code == 0 and sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.png"], err


def test_no_face_points_to_the_systems_that_need_none(run: Run, stand_in: dict[str, System]) -> None:
    Image.new("RGB", (90, 60), (40, 90, 160)).save("sky.png")
    Image.new("RGB", (90, 60), (40, 90, 190)).save("sea.png")
    stand_in["mosaic"].image_size = 256
    refused(run("transmit", "sky.png", "--system", "mosaic"), "no face found in sky.png\n")
    hint = "no face found in sky.png; tiles takes any photo as it is, with --domain photo"
    refused(run("transmit", "sky.png", "--system", "tiles"), hint)
    given = ("evaluate", "sky.png", "sea.png", "--systems", "mosaic,tiles", "-o", "r.jsonl")
    refused(run(*given), "none of the 2 photos", hint)


def test_version_and_what_verbs_say_without_torch() -> None:
    code = """
import sys
sys.modules["torch"] = sys.modules["numpy"] = None
from semcast.cli import main
from semcast.cli.app import VERBS
for given in [["--version"], *([verb.__name__.replace("_", "-"), "--help"] for verbs in VERBS.values() for verb in verbs)]:
    try:
        main(given)
    except SystemExit as end:
        assert not end.code, (given, end.code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=HERE)
    assert done.returncode == 0 and done.stdout.startswith("semcast "), done.stderr
    for words in ("deepjscc-perceptual", "--design-snr", "--k-factor", "--device", "FOLDER|SHARD.tar", "--minutes"):
        assert words in done.stdout, words


def test_shell_completion() -> None:
    asked = {"_SEMCAST_COMPLETE": "complete_bash", "COMP_WORDS": "semcast transmit --system li", "COMP_CWORD": "3"}
    done = subprocess.run([sys.executable, "-m", "semcast"], capture_output=True, text=True, env=HERE | asked)
    assert done.stdout.split() == ["linear-gan", "linear"], done.stderr
    assert options.among("awgn", "rician")("awgn,r") == ["awgn,rician"]


def test_names_in_help_are_those_that_there_are() -> None:
    assert sorted((*options.SYSTEMS, *options.CODED)) == sorted(semcast.api.SYSTEMS)
    assert set(options.ALLOCATIONS) == set(semcast.api.ALLOCATIONS)
    assert set(STUDIES) == {*study.STUDIES, "all"}


def test_several_photos(run: Run, photo: Path, stand_in: dict[str, System]) -> None:
    """One that cannot be sent stops no other, nothing is overwritten, and the end says so."""
    Path("photos").mkdir()
    for name in ("a.png", "c.PNG"):
        (Path("photos") / name).write_bytes(photo.read_bytes())
    (Path("photos") / "b.jpg").write_bytes(b"no photo")
    (Path("photos") / "notes.txt").write_text("no photo either")
    given = ("transmit", "photos", "--aligned", "--symbols", 64, "-o", "out", "--json")
    code, out, err = run(*given)
    assert code == 2 and err.count("\n") == 3 and "b.jpg is not an image" in err, err
    assert err.startswith("1 of photos left out, not taken by their names: notes.txt\n")
    assert err.endswith("semcast: 1 of 3 files could not be done, the others are\n")
    assert [json.loads(line)["output"] for line in out.splitlines()] == ["out/a.png", "out/c.png"]
    before = Path("out/a.png").read_bytes()
    code, out, err = run(*given)
    assert code == 2 and "out/a.png exists already" in err and "3 of 3 files" in err and out == ""
    assert Path("out/a.png").read_bytes() == before
    code, out, err = run("transmit", "photos/a.png", photo, "--aligned", "--symbols", 64)
    assert code == 0 and Path("a-received.png").exists() and Path("me-received.png").exists()
    (Path("photos") / "notes.txt").unlink()
    refused(run(*given[:2], "photos/a.png", *given[2:]), "photos/a.png and photos/a.png would both become out/a.png")
    refused(run("transmit", "photos", photo, "-o", "one.png"), "-o names a folder")
    refused(run("transmit", "photos", "--save-symbols", "x.npy", "-f"), "one photo")
    Path("empty").mkdir()
    refused(run("transmit", "empty"), "the folder empty holds nothing")


def test_two_photos_never_become_one_file(run: Run, photo: Path, stand_in: dict[str, System]) -> None:
    Path("inside").mkdir()
    shutil.copy(photo, "inside/me.png")
    for other in ("inside/me.png", "./me.png"):
        refused(run("transmit", photo, other, "--aligned", "--symbols", 64, "-f"), "would both become me-received.png")
    assert not Path("me-received.png").exists()


def test_nothing_that_is_read_is_written_over(run: Run, photo: Path, stand_in: dict[str, System]) -> None:
    """Not by any option, and not with -f: it says that what was made before may go."""
    before = photo.read_bytes()
    for name in ("s.npy", "r.jsonl", "m.png"):
        shutil.copy(photo, name)
    sent = ("--aligned", "--symbols", 64, "-f")
    refused(run("transmit", "s.npy", *sent, "--save-symbols", "s.npy"), "s.npy is the input itself")
    refused(run("transmit", photo, *sent, "-o", "./me.png"), "me.png is the input itself")
    refused(run("transmit", photo, *sent, "--private", "eyes", "--private-mask", "m.png", "-o", "m.png"), "m.png is the input")
    refused(run("transmit", photo, *sent, "--identity", "m.png", "-o", "m.png"), "m.png is the input itself")
    refused(run("evaluate", "r.jsonl", "--aligned", "-o", "r.jsonl", "-f"), "r.jsonl is the input itself")
    refused(run("evaluate-codec", "r.jsonl", "-o", "r.jsonl", "-f"), "r.jsonl is the input itself")
    refused(run("receive", "x.wav", "-o", "y.png", "--map", "y.png", "-f"), "y.png is to be two outputs")
    assert [Path(name).read_bytes() for name in ("s.npy", "r.jsonl", "m.png", photo)] == [before] * 4


@pytest.mark.parametrize("words", [
    ("transmit", ""), ("transmit", "me.png", "-o", ""), ("transmit", "me.png", "--system", ""),
    ("transmit", "me.png", "--system="), ("evaluate", "", "-o", "r.jsonl"), ("encode", "me.png", "--care", "", "-o", "me.sem"),
], ids=" ".join)  # fmt: skip
def test_an_empty_argument_is_no_folder_and_no_default(words: tuple[str, ...], run: Run, photo: Path) -> None:
    refused(run(*words), "is empty: was a variable of the shell set?")
    assert sorted(path.name for path in Path().iterdir()) == ["me.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals here")
def test_stopped_within_code_that_a_library_runs_as_text(tmp_path: Path) -> None:
    """As torch does while it is imported: Python would die of SIGINT in the end, whatever the exit code."""
    code = """
import ctypes, sys
from semcast.stopping import Stop
run = ctypes.pythonapi.PyRun_String
run.restype, run.argtypes = ctypes.py_object, (ctypes.c_char_p, ctypes.c_int, ctypes.py_object, ctypes.py_object)
stop = Stop()
try:
    with stop.listening(to_the_end=True):
        run(b"import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", 257, {}, {})
except KeyboardInterrupt:
    sys.exit(stop.code)
"""
    (tmp_path / "stopped.py").write_text(code)
    assert subprocess.run([sys.executable, "-m", "stopped"], env=HERE, cwd=tmp_path).returncode == 143


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_a_full_disk_behind_stderr_changes_no_exit_code() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "semcast", "inspect", "nothere.png"]
        assert subprocess.run(command, env=HERE, stderr=full, stdout=subprocess.PIPE).returncode == 2


def test_streams(run: Run, photo: Path, stand_in: dict[str, System], monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("transmit", "-", "--aligned", "--symbols", 64, "--json")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(photo.read_bytes())))
    values = json.loads(run(*given)[1])
    assert values["image"] == "stdin" and Path("stdin-received.png").exists()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no photo")))
    refused(run(*given, "-o", "x.png"), "semcast: stdin is not an image")
    refused(run("transmit", "-", "-"), "give - once")


def test_stdout_holds_the_picture_alone(photo: Path, tmp_path: Path) -> None:
    given = ["transmit", str(photo), "--aligned", "--system", "linear", "--symbols", "64", "-o", "-"]
    done = subprocess.run([sys.executable, "-m", "semcast", *given], cwd=tmp_path, capture_output=True, env=HERE)
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(done.stdout)) as picture:
        assert picture.size == (256, 256) and picture.format == "PNG"
    assert done.stdout.endswith(b"IEND\xaeB`\x82") and b"written" in done.stderr and b"stdout" in done.stderr


def test_painted_pictures_say_so(run: Run, photo: Path, stand_in: dict[str, System]) -> None:
    assert run("transmit", photo, "--aligned", "--symbols", 64, "--snr", 3, "-o", "face.png")[0] == 0
    code, out, _ = run("inspect", "face.png")
    assert code == 0 and "painted by a network: mosaic, k = 64, 3 dB, awgn" in out and ", weights " in out
    mark = json.loads(run("inspect", "face.png", "--json")[1])["mark"]
    assert mark["system"] == "mosaic" and mark["symbols"] == 64 and mark["fingerprint"] == stand_in["mosaic"].fingerprint()[:12]
    assert json.loads(run("inspect", photo, "--json")[1]) == {"mark": None}
    code, out, err = run("inspect", "face.png", photo)
    assert code == 0 and out.count("\n") == 2 and "nothing in the file says" in out
    refused(run("transmit", photo, "--aligned", "-o", "face.bmp"), "BMP")
    refused(run("inspect", photo, "-o", "o.png"), "-o draws")


def test_designed_for_another_snr(run: Run, photo: Path, stand_in: dict[str, System]) -> None:
    given = ("transmit", photo, "--aligned", "--symbols", 64, "--json", "-f", "--snr", 3)
    usual, designed = (json.loads(run(*given, *more)[1]) for more in ((), ("--design-snr", 12)))
    assert designed["design_snr_db"] == 12 and designed["snr_db"] == 3 and "design_snr_db" not in usual
    refused(run(*given, "--design-snr", "nan"), "SNR must be a number")
    given = ("evaluate", photo, "--aligned", "--systems", "mosaic", "--symbols", 64, "--snr", "0,9", "-o", "r.jsonl")
    assert "2 measured" in run(*given, "--design-snr", 9)[2]
    assert [json.loads(line)["design_snr_db"] for line in Path("r.jsonl").read_text().splitlines()] == [9, None]


def test_the_factor_of_rician(run: Run, photo: Path, stand_in: dict[str, System]) -> None:
    given = ("transmit", photo, "--aligned", "--symbols", 64, "--snr", 0, "--json", "-f", "--channel")
    psnr = [json.loads(run(*given, "rician", *more)[1])["psnr_db"] for more in ((), ("--k-factor", 6), ("--k-factor", -10))]
    assert psnr[0] == psnr[1] != psnr[2]
    refused(run(*given, "rayleigh", "--k-factor", 3), "--k-factor is for rician")
    refused(run(*given, "rician", "--k-factor", 300), "K-factor must be a number between")


MINE = """
import torch
from semcast.link import Burst, Reception, System

class Repeat(System):
    def encode(self, image, budget):
        level = image.mean((1, 2, 3))[:, None].expand(-1, budget.symbols)
        return Burst(torch.polar(torch.ones_like(level), level), budget)

    def decode(self, received):
        level = received.symbols.mean(-1).angle().clamp(0, 1)
        image = level[:, None, None, None].expand(-1, 3, *received.budget.size)
        return Reception(image, torch.ones(len(image), dtype=torch.bool))
"""


def test_a_system_of_ones_own(run: Run, photo: Path) -> None:
    Path("mine.py").write_text(MINE)
    Image.new("RGB", (60, 40), (90, 20, 30)).save("wide.png")
    given = ("--systems", "mine.py:Repeat", "--domain", "photo", "--snr", 30, "--symbols", 8, "-o", "r.jsonl")
    code, out, err = run("evaluate", photo, "wide.png", *given)
    assert code == 0 and "2 measured" in err and "repeat" in out, err
    assert "0 measured, 2 were there already" in run("evaluate", photo, "wide.png", *given)[2]
    code, out, err = run("transmit", "wide.png", "--system", "mine.py:Repeat", "--domain", "photo", "--json", "-o", "x.png")
    assert code == 0 and json.loads(out)["bandwidth_ratio"] == 640 / 7200
    with Image.open("x.png") as picture:
        assert picture.size == (60, 40)
    assert json.loads(run("inspect", "x.png", "--json")[1])["mark"] is None  # it has no network
    refused(run("transmit", photo, "--system", "mine.py:Nothing"), "there is no 'Nothing' in mine.py")
    refused(run("transmit", photo, "--system", "theirs.py:Repeat"), "theirs.py does not exist")


def test_descent_is_watched_and_times_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    @contextmanager
    def track(what: str, total: int) -> Iterator[Callable[[int], None]]:
        told.append(total)
        yield told.append

    monkeypatch.setattr(build, "track", track)

    class Link(System):
        refinement = Refine(3)

    link = Link()
    with build.watch(link):
        assert link.refinement == Refine(3) and link.refinement.report is not None
        link.refinement.report(0, 0.5)
    assert told == [3, 1] and link.refinement.report is None
    with build.watch(System()):
        pass
    assert [console.seconds(value) for value in (0.0123, 0.99, 272.3282)] == ["12.3 ms", "990.0 ms", "272.3 s"]


# ---- bad input -------------------------------------------------------------------------------------------------------


def np_tensor() -> object:
    import torch

    return torch.arange(6.0).reshape(2, 3)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"hello world" * 100, "is not an image"), (None, "does not exist"), ("cut", "truncated")],
)
def test_bad_photo(run: Run, photo: Path, stand_in: dict[str, System], content: bytes | str | None, words: str) -> None:
    bad = photo.with_name("bad.png")
    if content == "cut":
        bad.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    elif isinstance(content, bytes):
        bad.write_bytes(content)
    refused(run("transmit", bad, "--aligned"), "bad.png", words)
    refused(run("evaluate", bad, "--aligned", "--systems", "mosaic", "-o", "r.jsonl"), "bad.png", words)
    assert not Path("bad-received.png").exists() and not Path("r.jsonl").exists()


def test_photo_not_square(run: Run, tmp_path: Path, stand_in: dict[str, System]) -> None:
    Image.new("RGB", (300, 200)).save(tmp_path / "wide.png")
    refused(run("transmit", tmp_path / "wide.png", "--aligned"), "300 x 200", "square")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--symbols", "0"], "between 1 and 1048576"),
        (["--symbols", "1000000000"], "between 1 and 1048576"),
        (["--symbols", "16"], "32 to"),
        (["--symbols", "many"], "'--symbols'"),
        (["--snr", "nan"], "SNR must be a number"),
        (["--snr", "inf"], "SNR must be a number"),
        (["--system", "telepathy"], "unknown system 'telepathy'; the known are mosaic, tiles"),
        (["--channel", "string"], "unknown channel 'string'; the known are awgn, rayleigh, rician"),
        (["--fading", "slow", "--channel", "rayleigh"], "block or fast"),
        (["--pilots", "3"], "awgn channel does not fade"),
        (["--pilots", "1048000", "--channel", "rayleigh"], "640 symbols and their pilots take 1048640 channel uses"),
        (["--care", "face"], "--care is for linear-gan"),
        (["--refine", "3"], "--refine is for generative"),
        (["--refine", "-3"], "--refine"),
        (["--no-such-option"], "--no-such-option"),
        (["-o", "face.xyz"], "extension"),
        (["-o", "."], "folder"),
        (["-o", "nowhere/face.png"], "nowhere"),
        (["-o", "/dev/null/face.png"], "/dev/null"),
        (["-o", "me.png", "-f"], "the input itself"),
        (["--save-symbols", "x.txt"], ".npy"),
        (["--save-symbols", "nowhere/x.npy"], "nowhere"),
    ],
)
def test_bad_options(run: Run, photo: Path, stand_in: dict[str, System], options: list[str], words: str) -> None:
    before = photo.read_bytes()
    refused(run("transmit", photo, "--aligned", *options), words)
    assert photo.read_bytes() == before
    assert [path.name for path in photo.parent.iterdir()] == ["me.png"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--symbols", "64,0"], "between 1 and 1048576"),
        (["--symbols", "64,x"], "--symbols takes numbers"),
        (["--snr", "5,nan"], "SNR must be a number"),
        (["--snr", ","], "empty list"),
        (["--systems", "mosaic,telepathy"], "unknown system 'telepathy'"),
        (["--channels", "awgn,string"], "unknown channel 'string'"),
        (["--draws", "0"], "draws must be at least 1"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_bad_evaluation(run: Run, photo: Path, stand_in: dict[str, System], options: list[str], words: str) -> None:
    given = ["evaluate", photo, "--aligned", "--systems", "mosaic", "--symbols", "64", "-o", "r.jsonl"]
    refused(run(*given, *options), words)
    assert not Path("r.jsonl").exists()


def test_evaluate_needs_photos_and_output(
    run: Run, photo: Path, tmp_path: Path, stand_in: dict[str, System]
) -> None:
    given = ["evaluate", "--aligned", "--systems", "mosaic", "-o"]
    (tmp_path / "empty").mkdir()
    refused(run(*given, "r.jsonl", tmp_path / "empty"), "no photo")
    refused(run(*given, "r.json", photo), ".jsonl")
    refused(run(*given, "nowhere/r.jsonl", photo), "nowhere")
    refused(run("evaluate", photo, "--aligned"), "--out")


@pytest.mark.parametrize("given", [["transmit", "PHOTO", "--aligned", "-o"], ["demo", "-o"], ["sample", "-o"]])
def test_existing_output_is_untouched(run: Run, photo: Path, stand_in: dict[str, System], given: list[str]) -> None:
    Path("old.png").write_bytes(b"dear to me")
    refused(run(*(photo if word == "PHOTO" else word for word in given), "old.png"), "old.png exists already")
    assert Path("old.png").read_bytes() == b"dear to me"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_output_without_permission(run: Run, photo: Path, tmp_path: Path, stand_in: dict[str, System]) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    refused(run("transmit", photo, "--aligned", "-o", locked / "face.png"), "permission")


def test_output_that_fails_at_the_end(
    run: Run, photo: Path, stand_in: dict[str, System], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: whoever wrote the old file keeps it."""
    Path("old.png").write_bytes(b"dear to me")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    refused(run("transmit", photo, "--aligned", "-f", "-o", "old.png"), "No space left")
    assert Path("old.png").read_bytes() == b"dear to me"
    assert sorted(path.name for path in Path().iterdir()) == ["me.png", "old.png"]


@pytest.mark.parametrize(
    ("kind", "change", "words"), [("sketch", True, "changed or damaged"), ("other", False, "'other'")]
)
def test_bad_checkpoint(
    run: Run,
    photo: Path,
    stand_in: dict[str, System],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    change: bool,
    words: str,
) -> None:
    weights = photo.parent / "weights"
    weights.mkdir()
    save(weights / "sketch-plain.safetensors", {"mean": np_tensor()}, kind=kind, config={})
    if change:
        damage(weights / "sketch-plain.safetensors")
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(weights))
    monkeypatch.setattr(semcast.api, "load", lambda name, **_: Linear.load())
    refused(run("transmit", photo, "--aligned"), "sketch-plain", words)


def test_paths_and_names_are_found_before_anything_is_loaded(
    run: Run, photo: Path, stand_in: dict[str, System], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **__: object) -> System:
        raise AssertionError("too early")

    monkeypatch.setattr(semcast.api, "load", loaded)
    monkeypatch.setattr(Metrics, "load", loaded)
    for given, words in (
        (["transmit", "none.png"], "none.png does not exist"),
        (["transmit", photo, "--system", "telepathy"], "unknown system"),
        (["transmit", photo, "--device", "abacus"], "no device 'abacus'"),
        (["evaluate", photo, "none.png", "--systems", "mosaic", "-o", "r.jsonl"], "none.png does not exist"),
        (["evaluate", photo, "--systems", "mosaic", "--snr", "x", "-o", "r.jsonl"], "--snr takes numbers"),
        (["evaluate-codec", "none.tar", "-o", "r.jsonl"], "none.tar does not exist"),
        (["encode", "none.png", "--domain", "street", "-o", "x.sem"], "none.png does not exist"),
        (["decode", "none.sem", "-o", "x.png"], "none.sem does not exist"),
        (["decode", photo, photo, "-o", "x.png"], "names a folder"),
        (["encode", photo, "--domain", "street", "-o", "x.sem", "--device", "abacus"], "no device 'abacus'"),
        (["decode", photo, "-o", "x.png", "--device", "abacus"], "no device 'abacus'"),
        (["evaluate-codec", photo, "-o", "r.jsonl", "--device", "abacus"], "no device 'abacus'"),
        (["demo", "--device", "abacus"], "no device 'abacus'"),
        (["demo", "--codec", "--device", "abacus"], "no device 'abacus'"),
        (["reproduce", "fig3", "none.tar"], "none.tar does not exist"),
        (["reproduce", "fig9", photo], "unknown study 'fig9'"),
        (["report", "nowhere"], "the folder nowhere does not exist"),
        (["fetch", "money"], "nothing called 'money'"),
        (["fetch", "metrics", "-o", photo], "name a folder"),
        (["data", "cats", "--from", ".", "-o", "data"], "no data set 'cats'"),
        (["data", "faces", "--from", "nowhere", "-o", "data"], "nowhere does not exist"),
        (["train", "parser", "--data", "nowhere", "--out", "run"], "nowhere does not exist"),
        (["train", "mine.py:Mine", "--data", ".", "--out", "run"], "mine.py"),
        (["train", "parser", "--data", ".", "--out", "run", "--minutes", "0"], "minutes"),
    ):
        refused(run(*given), words)


def test_report(run: Run, tmp_path: Path) -> None:
    """Nothing is measured: what a folder without records holds is current."""
    (tmp_path / "results").mkdir()
    assert run("report", "--check") == (0, "", "everything is current\n")
    (tmp_path / "README.md").write_text("<!-- results/none.md -->\n<!-- end -->\n")
    refused(run("report"), "results/none.md")


@pytest.mark.parametrize(
    "text",
    [
        "[1]", "{", "[" * 100_000, '{"fig3": 3}', '{"fig3": {}}', '{"other": {"size": {}, "photos": []}}',
        '{"fig3": {"size": {"colour": 1}, "photos": []}}', '{"fig3": {"size": [], "photos": null}}',
    ],
)  # fmt: skip
def test_report_of_a_run_that_says_something_else(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "run.json").write_text(text)
    refused(run("report", "results", "--check"), "run.json")
    assert (tmp_path / "results" / "run.json").read_text() == text


def test_unknown_recipe_and_settings(run: Run, tmp_path: Path) -> None:
    refused(run("train", "alchemy", "--data", tmp_path, "--out", "run"), "unknown recipe 'alchemy'", "linear-gan")
    refused(run("train", "parser", "--data", "nowhere", "--out", "run"), "nowhere")
    for setting in ("stepz=3", "steps", "steps=many", "steps=1.5"):
        refused(run("train", "parser", "--data", tmp_path, "--out", "run", "--set", setting), "steps")
    refused(run("train", "parser", "--data", tmp_path, "--out", "run"), "no train-*.tar")


def test_our_own_mistakes_end_in_one_sentence_too(
    run: Run, photo: Path, stand_in: dict[str, System], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str, **_: object) -> System:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(semcast.api, "load", broken)
    code, out, err = run("transmit", photo, "--aligned")
    assert code == 1 and out == "" and "ZeroDivisionError" in err and err.count("\n") == 1
    monkeypatch.setenv("SEMCAST_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["transmit", str(photo), "--aligned"])


def test_interrupted(run: Run, photo: Path, stand_in: dict[str, System], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str, **_: object) -> System:
        raise KeyboardInterrupt

    monkeypatch.setattr(semcast.api, "load", interrupted)
    code, _, err = run("transmit", photo, "--aligned")
    assert code == 130 and err == "semcast: stopped\n"

