"""semcast simulate: a recording goes through the path and nothing that exists is lost; what cannot be done is one sentence."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import refused
from numpy.typing import NDArray

from semcast.cli import air, main
from semcast.onair.files import SOUNDS, Iq, Sound, read_all, write_iq, write_sound
from semcast.onair.iq import IQ
from semcast.onair.simulate import Simulator, active_parts, active_power
from semcast.onair.watterson import CONDITIONS

Run = Callable[..., tuple[int, str, str]]
RATE = 12000


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``semcast simulate`` in a folder with x.wav; (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    write_sound(Path("x.wav"), burst(), RATE)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(["simulate", *map(str, arguments)])
        return (int(exit_.value.code or 0), *capsys.readouterr())

    return run


def burst() -> NDArray[np.float64]:
    return np.pad(0.3 * np.sin(np.arange(0.7 * RATE)), round(0.05 * RATE))


def heard(path: str) -> NDArray[np.float32]:
    return read_all(Sound(path), 1 << 20)


def test_a_sound(run: Run) -> None:
    given = ("x.wav", "-o", "y.wav", "--snr", 6, "--channel", "watterson-poor", "--offset", 37, "--ppm", 40, "--cut", 0.3)
    code, out, err = run(*given)
    assert code == 0 and out == "" and err == "y.wav: 0.54 s at 12000 Hz\n"
    simulator = Simulator(snr_db=6, channel="watterson-poor", offset_hz=37, ppm=40, cut=0.3)
    np.testing.assert_allclose(heard("y.wav"), simulator.apply(heard("x.wav"), RATE), atol=1e-4)
    before = Path("y.wav").read_bytes()
    refused(run(*given), "y.wav exists already")
    assert Path("y.wav").read_bytes() == before and run(*given, "-f")[0] == 0 and Path("y.wav").read_bytes() == before
    assert run(*given, "-f", "--seed", 1)[0] == 0 and Path("y.wav").read_bytes() != before


def test_everything_at_once(run: Run) -> None:
    options = ("--echo", "3,-3", "--wobble", "0.5,1.5", "--whistle", "1000,-10", "--band", "300,2700", "--clip", 0.5, "--bits", 8,
               "--cut-start", 0.3, "--channel", "high-moderate", "--offset", -20)  # fmt: skip
    assert run("x.wav", "-o", "y.wav", *options)[0] == 0
    assert 0.5 < len(heard("y.wav")) / RATE < 0.6


def test_what_is_louder_than_the_file_holds_is_made_softer(run: Run) -> None:
    code, _, err = run("x.wav", "-o", "y.wav", "--snr", -10)
    loud = heard("y.wav")
    assert code == 0 and "dB softer to fit" in err and np.abs(loud).max() == pytest.approx(1, abs=1e-3)
    assert np.mean(np.abs(loud) > 0.999) < 1e-3  # not clipped


def test_iq(run: Run) -> None:
    pytest.importorskip("sigmf")
    values = np.pad(0.3 * np.exp(0.01j * np.arange(30000)), 1000)
    write_iq(Path("x.sigmf-meta"), values, 48000, spacing_hz=8 * 46.875)
    code, _, err = run("x.sigmf-data", "-o", "y.sigmf-meta", "--snr", 10)
    assert code == 0 and "at 48000 Hz" in err
    source = Iq("y.sigmf-meta")
    assert source.spacing_hz == 375 and source.rate == 48000
    noise = read_all(source, 1 << 20) - values
    power = active_power(values, active_parts(values, 48000))
    assert 10 * np.log10(power / (np.mean(np.abs(noise) ** 2) * 19200 / 48000)) == pytest.approx(10, abs=0.1)
    refused(run("x.sigmf-meta", "-o", "y.sigmf-data"), "exists already")
    refused(run("x.sigmf-meta", "-o", "x.sigmf-data", "-f"), "is the input itself")
    refused(run("x.sigmf-meta", "-o", "y.wav"), "both be I/Q")
    refused(run("x.wav", "-o", "y.sigmf-meta", "-f"), "both be I/Q")
    refused(run("x.sigmf-meta", "-o", "-"), "both be I/Q")


def test_folders_and_pipes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sound(Path("z.wav"), burst(), RATE)
    assert run("x.wav", "z.wav", "-o", "out", "--snr", 3)[0] == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["x.wav", "z.wav"]
    stdout = SimpleNamespace(buffer=io.BytesIO(), isatty=lambda: False, flush=lambda: None)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(Path("x.wav").read_bytes())))
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(SystemExit) as end:
        main(["simulate", "-", "-o", "-", "--snr", "3"])
    monkeypatch.undo()
    assert not end.value.code and stdout.buffer.getvalue().startswith(b"RIFF")


def test_a_recording_that_is_cut_off_is_said_to_be(run: Run) -> None:
    Path("half.wav").write_bytes(Path("x.wav").read_bytes()[:9000])
    code, _, err = run("half.wav", "-o", "y.wav", "--snr", 3)
    assert code == 0 and "half.wav ends after 0.4 of 0.8 s" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--channel", "watterson-bad"), "unknown channel 'watterson-bad'"), (("--snr", "nan"), "SNR"), (("--snr", "x"), "--snr"),
     (("--cut", 1), "cut off"), (("--cut", 0.6, "--cut-start", 0.6), "cut off"), (("--echo", "3"), "--echo takes two numbers"),
     (("--echo", "3,a"), "--echo takes two numbers"), (("--band", "2700,300"), "filter of 2700 to 300"), (("--ppm", 1e6), "ppm"),
     (("--band", "300,9000"), "6000 Hz"), (("--offset", 7000), "offset"), (("--bits", 0), "bits"), (("--seed", -1), "seed")],
)  # fmt: skip
def test_what_is_refused(run: Run, options: tuple[object, ...], words: str) -> None:
    refused(run("x.wav", "-o", "y.wav", *options), words)
    assert not Path("y.wav").exists()


def test_bad_files(run: Run) -> None:
    Path("text.wav").write_text("no sound at all")
    Path("empty.wav").touch()
    write_sound(Path("silent.wav"), np.zeros(9000), RATE)
    write_sound(Path("slow.wav"), burst(), 4000)
    bad = {"text": "not a sound", "empty": "is empty", "silent": "silence", "no": "not exist", "slow": "4000 Hz holds no 2.6 kHz"}
    for name, words in bad.items():
        refused(run(f"{name}.wav", "-o", "y.wav"), f"{name}.wav", words)
    refused(run("x.wav", "-o", "x.wav", "-f"), "is the input itself")
    refused(run("x.wav", "-o", "y.txt"), "extension")
    refused(run("x.wav", "-o", "nowhere/y.wav"), "folder nowhere does not exist")
    refused(run("x.sigmf-meta", "-o", "y.sigmf-meta"), "sigmf")
    assert not Path("y.wav").exists()


def test_too_long(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(air, "LONGEST", 5000)
    refused(run("x.wav", "-o", "y.wav"), "too long")


def test_the_command_line_names_what_there_is() -> None:
    assert tuple(CONDITIONS) == air.PATHS and air.SIGMF == IQ and not set(IQ) & set(SOUNDS)


def test_help_needs_nothing_that_computes() -> None:
    code = "import sys, semcast.cli.air; assert not {'numpy', 'scipy', 'soundfile', 'sigmf'} & set(sys.modules)"
    source = Path(air.__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=source).returncode == 0
