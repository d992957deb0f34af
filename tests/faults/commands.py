"""The verbs that write, each cheap enough to be stopped dozens of times, and how their outputs are compared."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.yardstick import slowness

ROOT = Path(__file__).resolve().parents[2]
LONG = os.environ.get("SEMCAST_FAULTS") == "long"
"""``make faults``: more moments, more minutes, more photos."""
SLOWNESS = slowness()
LATE_S = round(300 * SLOWNESS)
"""What takes longer than this hangs."""
MOVED = ("encode_s", "decode_s", "seconds", "photos_per_s", "cpu_s")
"""What of a line may be another number in another run."""
MINE = '''
import os
from time import sleep
import torch
import torch.nn.functional as F
from semcast.link import Burst, Reception, System, to_complex, to_real, unit_power


class Tiny(System):
    """Sends any photo as 64 grey tiles."""

    name = version = "tiny"

    def encode(self, image, budget):
        sleep(float(os.environ.get("TINY_PAUSE", 0)))
        tiles = F.adaptive_avg_pool2d(image.mean(1), 8).flatten(1) - 0.5
        reals = F.pad(tiles + 1e-3, (0, max(0, 2 * budget.symbols - 64)))[:, : 2 * budget.symbols]
        return Burst(unit_power(to_complex(reals)), budget)

    def decode(self, received):
        tiles = to_real(received.symbols)[:, :64].reshape(-1, 1, 8, 8) * 0.2 + 0.5
        image = F.interpolate(tiles, received.budget.size or (256, 256)).clamp(0, 1).expand(-1, 3, -1, -1)
        return Reception(image, torch.ones(len(image), dtype=torch.bool))
'''


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str
    peak_mb: float = 0.0


def environment(fault: str = "", **more: str) -> dict[str, str]:
    """Of a command with nothing beside it and one thread, so that two runs come to the same."""
    inside = [str(ROOT / "tests" / "faults" / "inside"), str(ROOT / "src")]
    plain = {"PYTHONPATH": os.pathsep.join(inside), "SEMCAST_SHARED": "/nowhere", "OMP_NUM_THREADS": "1", "SEMCAST_FAULT": fault}
    return {**os.environ, **plain, **more}


def hear_ctrl_c() -> None:
    """In a child: Ctrl-C counts, also where these tests run in the background of a shell, which makes all of it deaf to that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(arguments: Sequence[object], cwd: Path, fault: str = "", **more: str) -> subprocess.Popen[str]:
    """Begin a command."""
    command = [sys.executable, "-m", "semcast", *map(str, arguments)]
    own = environment(fault, **more)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=own, stdout=pipe, stderr=pipe, text=True, preexec_fn=hear_ctrl_c)


def finish(process: subprocess.Popen[str], seconds: float = LATE_S) -> Done:
    """Wait for a command; one that hangs is killed, and that is a failure."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"hangs: {process.args}; {process.communicate()}") from None
    return Done(process.returncode, out, err)


def run(arguments: Sequence[object], cwd: Path, fault: str = "", **more: str) -> Done:
    """A command from its beginning to its end."""
    return finish(start(arguments, cwd, fault, **more))


def small_disk(size: int) -> Callable[[], None]:
    """No file may grow over so many bytes: what a full disk is to those who write."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def said_once(done: Done, code: int, *words: str) -> None:
    """One sentence in the end, no traceback, that exit code."""
    assert done.code == code, done
    assert "Traceback" not in done.err and "Exception ignored" not in done.err, done.err
    last = done.err.splitlines()[-1]
    assert done.err.count("semcast: ") == 1 and last.startswith("semcast: "), done.err
    assert "sorry" not in last and all(word in last for word in words), done.err


def leftovers(folder: Path) -> list[str]:
    """Temporary files and locks."""
    return [str(path) for path in folder.rglob("*") if path.suffix in (".part", ".lock") or path.name.startswith(".")]


def read(path: Path) -> Any:
    """What of a file must be the same in every run: of lines all but the times, in any order; of pictures the pixels."""
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return sorted(json.dumps({key: value for key, value in line.items() if key not in MOVED}) for line in lines)
    if path.suffix == ".pt":
        import torch

        state = torch.load(path, weights_only=True)["state"]
        return str(state["network"])
    if path.suffix == ".safetensors":  # its library writes what is said of the weights in any order
        from safetensors import safe_open

        with safe_open(path, "np") as file:
            tensors = {name: hashlib.sha256(file.get_tensor(name).tobytes()).hexdigest() for name in file.keys()}  # noqa: SIM118
            return sorted(file.metadata().items()), tensors
    if path.suffix == ".md":  # tables have times in them, and verdicts on those
        return [re.sub(r"[0-9.]+|\b(yes|no|at least)\b", "0", line) for line in path.read_text().splitlines()]
    if path.suffix == ".png":
        with Image.open(path) as image:
            return image.size, hashlib.sha256(image.tobytes()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def contents(folder: Path) -> dict[str, Any]:
    """All files of a folder, as :func:`read` sees them."""
    return {str(path.relative_to(folder)): read(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def make_photos(folder: Path, count: int, size: int = 64) -> Path:
    """Photos that differ, the first one as large as an aligned face."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((size, size)).save(folder / f"{i:04d}.png")
    return folder


@dataclass(frozen=True)
class Verb:
    """A command, what it reads made in a folder, and what it writes under ``out``.

    Args:
        arguments: paths relative to the folder.
        again: added to go on, or to do it again.
        growing: its files grow line by line, or appear one by one: what is there after a stop is a part of the whole.
        ready: makes what it reads.
        slow: takes seconds.
    """

    arguments: tuple[object, ...]
    again: tuple[object, ...] = ()
    growing: bool = False
    ready: Callable[[Path], None] = lambda folder: None
    slow: bool = False


def _photos(folder: Path) -> None:
    (folder / "mine.py").write_text(MINE)
    make_photos(folder / "photos", 4)
    make_photos(folder / "face", 1, 256)


def _portrait(folder: Path) -> None:
    """Somebody: what is no face sends at another power, which the study refuses to count."""
    import skimage.data

    from semcast import photo

    (folder / "face").mkdir()
    Image.fromarray(photo(skimage.data.astronaut()).face().pixels).save(folder / "face" / "0000.png")


def _sem(folder: Path) -> None:
    _photos(folder)
    done = run(("encode", "face/0000.png", "--domain", "face", "--aligned", "-o", "a.sem"), folder)
    assert done.code == 0, done


def _wav(folder: Path) -> None:
    from scipy.io import wavfile

    tone = np.sin(np.arange(24_000) * 0.3) * 12_000
    wavfile.write(folder / "a.wav", 12_000, tone.astype(np.int16))


def _sent(folder: Path) -> None:
    _photos(folder)
    done = run(("send", "face/0000.png", "--aligned", "--symbols", 64, "-o", "a.wav"), folder)
    assert done.code == 0, done


def _recipe(folder: Path) -> None:
    (folder / "recipe.py").write_text((ROOT / "tests" / "tiny_recipe.py").read_text())
    (folder / "data").mkdir()  # it makes its own photos


def _results(folder: Path) -> None:
    """Records of a study, and a document that shows them."""
    import shutil

    shutil.copytree(ROOT / "results", folder / "out" / "results")
    for path in (folder / "out" / "results").rglob("*.md"):
        path.write_text("stale\n")


TINY = ("--system", "mine.py:Tiny", "--domain", "photo", "--symbols", 64)
SWEEP = ("evaluate", "photos", "--systems", "mine.py:Tiny", "--domain", "photo", "--symbols", "32,64", "--snr", "0,10")
FACE = ("face/0000.png", "--aligned")
VERBS: dict[str, Verb] = {
    "transmit": Verb(("transmit", "photos/0000.png", *TINY, "-o", "out/a.png", "--save-symbols", "out/a.npy"), ("-f",),
                     ready=_photos, growing=True),
    "transmit-folder": Verb(("transmit", "photos", *TINY, "-o", "out"), ("-f",), growing=True, ready=_photos),
    "evaluate": Verb((*SWEEP, "-o", "out/r.jsonl"), growing=True, ready=_photos),
    "inspect": Verb(("inspect", "a.sem", "-o", "out/a.png"), ("-f",), ready=_sem, slow=True),
    "simulate": Verb(("simulate", "a.wav", "-o", "out/a.wav", "--snr", 6), ("-f",), ready=_wav, slow=True),
    "train": Verb(("train", "recipe.py:Tiny", "--data", "data", "--out", "out/run"), ("--resume",), True, _recipe, slow=True),
    "encode": Verb(("encode", *FACE, "--domain", "face", "-o", "out/a.sem"), ("-f",), ready=_photos, slow=True),
    "decode": Verb(("decode", "a.sem", "-o", "out/a.png"), ("-f",), ready=_sem, slow=True),
    "send": Verb(("send", *FACE, "--symbols", 64, "-o", "out/a.wav"), ("-f",), ready=_photos, slow=True),
    "send-iq": Verb(("send", *FACE, "--symbols", 64, "-o", "out/a.sigmf-meta"), ("-f",), ready=_photos, slow=True),
    "receive": Verb(("receive", "a.wav", "-o", "out/a.png", "--map", "out/m.png"), ("-f",), True, _sent, slow=True),
    "sample": Verb(("sample", "-o", "out/a.png", "--count", 1), ("-f",), slow=True),
    "demo": Verb(("demo", "-o", "out/a.png"), ("-f",), slow=True),
    "evaluate-codec": Verb(("evaluate-codec", "photos", "--codecs", "jpeg", "--domain", "photo", "--max-bytes", 900,
                            "-o", "out/r.jsonl"), growing=True, ready=_photos, slow=True),
    "evaluate-workers": Verb((*SWEEP, "--workers", 2, "-o", "out/r.jsonl"), growing=True, ready=_photos, slow=True),
    "report": Verb(("report", "out/results"), growing=True, ready=_results, slow=True),
    "reproduce": Verb(("reproduce", "on-air", "face", "--quick", "-o", "out"), growing=True, ready=_portrait, slow=True),
}  # fmt: skip
