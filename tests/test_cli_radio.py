"""semcast send and receive: a photo becomes a sound, a recording pictures; nothing is lost, and errors are a sentence."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import skimage.data
from command_line import refused
from on_air import gauss, header_of, sound_of
from PIL import Image

from semcast.cli import main
from semcast.cli.radio import BANDWIDTHS
from semcast.onair.files import Sound, read_all, write_sound
from semcast.onair.header import Header
from semcast.onair.simulate import Simulator
from semcast.onair.transmitter import SOUND_RATE, to_sound, to_wave
from semcast.photos import read_mark
from semcast.station import spacing_of
from semcast.trust import Trust

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in a folder with me.jpg; (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.data.astronaut()).save("me.jpg")

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([*map(str, arguments)])
        return (int(exit_.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings, made once: clean.wav (linear, k = 64), two.wav (two bursts), unknown.wav (system 31)."""
    import semcast as sc

    folder = tmp_path_factory.mktemp("sounds")
    face, linear = sc.photo(skimage.data.astronaut(), "a").face(), sc.load("linear")
    signal = sc.send(linear, face, sc.Budget(64, 10.0))
    signal.save(folder / "clean.wav")
    (signal + sc.send(linear, face, sc.Budget(80, 10.0))).save(folder / "two.wav")
    write_sound(folder / "unknown.wav", to_sound([to_wave(gauss(64), Header(64, 31, 1, 0.0))]), SOUND_RATE)
    write_sound(folder / "noisy.wav", 0.3 * Simulator(snr_db=-2, seed=1).apply(signal.sound(), SOUND_RATE), SOUND_RATE)
    write_sound(folder / "noise.wav", 0.1 * gauss(50_000).real, SOUND_RATE)
    return folder


# ---- send ------------------------------------------------------------------------------------------------------------


def test_there_and_back(run: Run) -> None:
    """A photo, a sound, a bad path, a picture: each step by the command line."""
    code, out, err = run("send", "me.jpg", "-o", "me.wav", "--system", "linear-gan", "--symbols", 640)
    assert code == 0 and "linear-gan, k = 640, designed for 10 dB" in out and "719" in out and "me.wav" in out, (out, err)
    sound = Sound("me.wav")
    assert sound.rate == 48_000 and 0.8 < sound.frames / sound.rate < 0.85
    assert run("simulate", "me.wav", "-o", "heard.wav", "--snr", 10, "--offset", -42, "--ppm", 80)[0] == 0
    code, out, err = run("receive", "heard.wav", "-o", "back.png", "--map", "map.png")
    assert code == 0 and "linear-gan, k = 640" in out and "-42." in out and "back.png" in out, (out, err)
    mark = read_mark(Path("back.png"))
    assert mark is not None and (mark.system, mark.symbols, mark.channel) == ("linear-gan", 640, "on-air")
    code, out, _ = run("inspect", "back.png")
    assert code == 0 and "linear-gan" in out
    assert Image.open("back.png").size == (256, 256) and Image.open("map.png").size[0] >= 512


def test_json_of_a_transmitter(run: Run) -> None:
    given = ("--system", "linear", "--symbols", 64, "--snr", 5, "--papr", "inf", "--json")
    code, out, _ = run("send", "me.jpg", "-o", "me.wav", *given)
    values = json.loads(out)
    assert code == 0 and values["seconds"] == pytest.approx(0.365, abs=0.001) and values["headroom_db"] is None
    assert (values["system"], values["bursts"], values["symbols"], values["design_snr_db"]) == ("linear", 1, 64, 5)
    assert values["papr_db"] > 6 and values["replaced"] is False and values["output"] == "me.wav"


def test_a_photo_each_a_burst(run: Run) -> None:
    Path("photos").mkdir()
    for name in ("a", "b"):
        Image.open("me.jpg").save(f"photos/{name}.png")
    _, out, _ = run("send", "photos", "-o", "all.wav", "--system", "linear", "--symbols", 64, "--json")
    assert json.loads(out)["bursts"] == 2
    code, out, _ = run("receive", "all.wav", "-o", "back", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(lines) == 2 and all(line["ok"] for line in lines)
    assert sorted(path.name for path in Path("back").iterdir()) == sorted(Path(line["output"]).name for line in lines)


def test_nothing_is_overwritten(run: Run, sounds: Path) -> None:
    Path("me.wav").write_text("mine")
    given = ("send", "me.jpg", "-o", "me.wav", "--system", "linear", "--symbols", 64)
    refused(run(*given), "me.wav exists already")
    assert Path("me.wav").read_text() == "mine"
    assert run(*given, "-f")[0] == 0 and Path("me.wav").read_bytes()[:4] == b"RIFF"
    for option in ("-o", "--map", "--plot"):
        Path("x.png").write_text("mine")
        refused(run("receive", sounds / "clean.wav", option, "x.png"), "x.png exists already")
        assert Path("x.png").read_text() == "mine"
    assert run("receive", sounds / "clean.wav", "-o", "x.png", "-f")[0] == 0 and Image.open("x.png").size == (256, 256)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["send", "me.jpg"], ["name a file with -o, or --play it"]),
        (["send", "me.jpg", "-o", "x.txt"], ["x.txt needs an extension of .wav"]),
        (["send", "me.jpg", "-o", "nowhere/x.wav"], ["the folder nowhere does not exist"]),
        (["send", "nobody.jpg", "-o", "x.wav"], ["nobody.jpg"]),
        (["send", "me.jpg", "-o", "x.wav", "--bandwidth", "19.2k"], ["--bandwidth is for --iq"]),
        (["send", "me.jpg", "-o", "x.wav", "--iq"], [".sigmf-meta"]),
        (["send", "me.jpg", "-o", "x.sigmf-meta", "--bandwidth", "3k"], ["a bandwidth is one of 2.4k, 4.8k"]),
        (["send", "me.jpg", "-o", "x.wav", "--system", "linear", "--papr", "2"], ["headroom of at least 3 dB"]),
        (["send", "me.jpg", "-o", "x.wav", "--system", "bpg"], ["unknown system 'bpg'"]),
        (["send", "me.jpg", "-o", "x.wav", "--system", "linear", "--symbols", "0"], ["symbols must be"]),
        (["send", "me.jpg", "-o", "x.wav", "--system", "linear", "--snr", "nan"], ["SNR must be"]),
        (["send", "me.jpg", "-o", "x.wav", "--domain", "photo"], ["a domain is face or street"]),
        (["receive"], ["name a recording, or --listen"]),
        (["receive", "x.wav", "--listen"], ["name a recording, or --listen"]),
        (["receive", "-", "--plot", "p.png"], ["--plot looks at the recording a second time"]),
        (["receive", "x.wav", "--map", "m.jpg"], ["m.jpg needs the extension .png"]),
        (["receive", "x.wav", "-o", "m.bmp"], ["m.bmp"]),
        (["receive", "x.wav"], ["x.wav cannot be read"]),
        (["receive", "me.jpg"], ["me.jpg is not a sound"]),
        (["receive", "."], ["is a folder"]),
        (["receive", "x.sigmf-meta"], ["x.sigmf"]),
        (["receive", "x.wav", "--bandwidth", "1k"], ["a bandwidth is one of"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)  # fmt: skip
def test_what_cannot_be_done_is_a_sentence(run: Run, arguments: list[str], words: list[str]) -> None:
    before = sorted(Path().iterdir())
    refused(run(*arguments), *words)
    assert sorted(Path().iterdir()) == before


def test_iq(run: Run) -> None:
    pytest.importorskip("sigmf")
    given = ("--system", "linear", "--symbols", 64, "--bandwidth", "153.6k", "--iq")
    assert run("send", "me.jpg", "-o", "me.sigmf-meta", *given)[0] == 0
    assert run("simulate", "me.sigmf-meta", "-o", "heard.sigmf-meta", "--snr", 12, "--offset", 1500)[0] == 0
    code, out, _ = run("receive", "heard.sigmf-meta", "-o", "back.png", "--json")
    values = json.loads(out)
    assert code == 0 and values["ok"] and values["offset_hz"] == pytest.approx(1500, abs=40) and values["seconds"] < 0.01
    assert Path("back.png").exists()


def test_the_bandwidths_that_are_offered_are_known() -> None:
    assert [spacing_of(name) for name in BANDWIDTHS] == [46.875 * 2**s for s in range(7)]


def test_private_parts_are_said(run: Run) -> None:
    code, out, _ = run("send", "me.jpg", "-o", "me.wav", "--system", "linear", "--private", "eyes", "--json")
    assert code == 0 and json.loads(out)["replaced"] is True
    code, out, _ = run("receive", "me.wav", "--map", "map.png", "--json")
    assert code == 0 and json.loads(out)["replaced"] == ["eyes"] and Path("map.png").exists()


# ---- receive ---------------------------------------------------------------------------------------------------------


def test_outputs_are_numbered(run: Run, sounds: Path) -> None:
    code, out, _ = run("receive", sounds / "two.wav", "-o", "x.png", "--map", "m.png", "--plot", "p.svg", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [line["output"] for line in lines] == ["x.png", "x-2.png"]
    assert all(Path(name).exists() for name in ("x.png", "x-2.png", "m.png", "m-2.png", "p.svg", "p-2.svg"))
    assert [line["symbols"] for line in lines] == [64, 80] and lines[0]["start_s"] < lines[1]["start_s"]


def test_a_number_that_is_taken_is_left_alone(run: Run, sounds: Path) -> None:
    Path("x-2.png").write_text("mine")
    _, out, _ = run("receive", sounds / "two.wav", "-o", "x.png", "--json")
    assert [json.loads(line)["output"] for line in out.splitlines()] == ["x.png", "x-3.png"]
    assert Path("x-2.png").read_text() == "mine"


def test_a_folder_takes_all_of_them(run: Run, sounds: Path) -> None:
    for _ in range(2):  # a second time beside the first
        code, out, _ = run("receive", sounds / "two.wav", "-o", "received")
        assert code == 0 and out.count("received") == 2
    names = sorted(path.name for path in Path("received").iterdir())
    assert len(names) == 4 and names[0].startswith("000000.0") and all("linear" in name for name in names)
    assert run("receive", sounds / "two.wav", "-o", "received", "-f")[0] == 0 and len(list(Path("received").iterdir())) == 4


def test_lines_say_what_was_heard(run: Run, sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semcast.trust.find_trust", lambda system: Trust(60.0, ""))
    code, out, err = run("receive", sounds / "clean.wav")
    assert code == 0 and "linear, k = 64" in out and "channel and clipping" in out and err == ""
    code, out, err = run("receive", sounds / "noisy.wav", "-o", "x.png")
    assert code == 0 and "not to be trusted: " in err and "bits came, and linear needs 60" in err and Path("x.png").exists()


def test_json_lines_are_whole(run: Run, sounds: Path) -> None:
    names = {"start_s", "seconds", "system", "symbols", "design_snr_db", "snr_db", "offset_hz", "clock_ppm", "share", "rho",
             "model", "delay_spread_ms", "doppler_hz", "scheme", "replaced", "ok", "reason", "output"}  # fmt: skip
    for file in ("clean.wav", "two.wav", "noisy.wav", "unknown.wav"):
        _, out, _ = run("receive", sounds / file, "--json")
        for line in out.splitlines():
            values = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
            assert set(values) == names


def test_a_system_that_is_not_known_is_named(run: Run, sounds: Path) -> None:
    code, out, err = run("receive", sounds / "unknown.wav", "-o", "x.png")
    assert code == 0 and "system 31" in out and "which this semcast does not know" in err and not Path("x.png").exists()


def test_a_burst_of_a_newer_version_is_named(run: Run, sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        pack = Header.pack
        patched.setattr(Header, "pack", lambda self: bytes([pack(self)[0] & 0x1F | 2 << 5]) + pack(self)[1:])
        write_sound(Path("new.wav"), sound_of(gauss(64), rate=48_000), 48_000)
    refused(run("receive", "new.wav", "-o", "x.png"), "version 2 of the waveform; this semcast reads version 1")
    assert not Path("x.png").exists()
    parts = [read_all(Sound(path), 1 << 20) for path in (Path("new.wav"), sounds / "clean.wav")]
    write_sound(Path("both.wav"), np.concatenate(parts), 48_000)
    code, out, err = run("receive", "both.wav")
    assert code == 0 and "linear" in out and err.count("version 2") == 1


def test_noise_is_no_picture(run: Run, sounds: Path) -> None:
    refused(run("receive", sounds / "noise.wav", "-o", "x.png"), "no burst was found in")
    assert not Path("x.png").exists()


def test_a_recording_that_is_cut_off(run: Run, sounds: Path) -> None:
    data = (sounds / "clean.wav").read_bytes()
    Path("cut.wav").write_bytes(data[: int(0.7 * len(data))])
    code, out, err = run("receive", "cut.wav")
    assert code == 0 and "linear, k = 64" in out and "cut.wav ends after" in err


def test_stdin(run: Run, sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = SimpleNamespace(buffer=io.BytesIO((sounds / "clean.wav").read_bytes()))
    monkeypatch.setattr(sys, "stdin", pipe)
    code, out, _ = run("receive", "-", "-o", "x.png")
    assert code == 0 and "linear" in out and Path("x.png").exists()


def test_bytes_of_chance_end_in_a_sentence(run: Run, sounds: Path) -> None:
    """Random bytes, alone and behind real headers, and real files with bytes changed: exit code 2, or what was heard."""
    random = np.random.default_rng(0)
    good = (sounds / "clean.wav").read_bytes()
    for trial in range(60):
        kind, data = trial % 4, bytearray(good[:20_000] if trial % 8 < 4 else good)
        if kind == 0:
            data = bytearray(random.bytes(int(random.integers(0, 5000))))
        elif kind == 1:
            data[12:] = random.bytes(len(data) - 12)
        elif kind == 2:
            data[44:] = random.bytes(len(data) - 44)
        else:
            for _ in range(5):
                data[int(random.integers(0, 60))] = int(random.integers(0, 256))
        Path("x.wav").write_bytes(bytes(data))
        code, out, err = run("receive", "x.wav", "-o", f"{trial}.png")
        assert code in (0, 2), err
        assert "Traceback" not in err and "should not happen" not in err
        if code == 2:
            assert out == "" and err.rstrip("\n").splitlines()[-1].startswith("semcast: ") and not Path(f"{trial}.png").exists()


@pytest.mark.parametrize("content", [b"", b"R", b"RIFF", b"RIFF\0\0\0\0WAVE", b"RIFF\xff\xff\xff\xffWAVEdata\0\0\0\0"])
def test_empty_and_broken_files(run: Run, content: bytes) -> None:
    Path("x.wav").write_bytes(content)
    refused(run("receive", "x.wav", "-o", "x.png"), "x.wav")
    assert not Path("x.png").exists()


def test_a_file_of_4_khz(run: Run) -> None:
    from scipy.io import wavfile

    wavfile.write("slow.wav", 4000, np.full(4000, 128, np.uint8))
    refused(run("receive", "slow.wav"), "4000 samples a second", "at least 8000 are needed")


def test_what_recorders_write_is_read(run: Run, sounds: Path) -> None:
    """8 bits, stereo with silence on the left, 44.1 kHz, floats."""
    from on_air import at_rate
    from scipy.io import wavfile

    clean = read_all(Sound(sounds / "clean.wav"), 1 << 20)
    slow = at_rate(clean, 48_000, 44_100)
    wavfile.write("bits.wav", 48_000, np.rint(128 + 120 * clean / np.abs(clean).max()).astype(np.uint8))
    wavfile.write("stereo.wav", 48_000, np.stack((0 * clean, clean), 1).astype(np.float32))
    wavfile.write("slow.wav", 44_100, (20_000 * slow).astype(np.int16))
    for name in ("bits.wav", "stereo.wav", "slow.wav"):
        code, out, _ = run("receive", name, "--json")
        assert code == 0 and json.loads(out)["ok"], name


# ---- sound cards -----------------------------------------------------------------------------------------------------


def card(monkeypatch: pytest.MonkeyPatch, **parts: object) -> None:
    module = ModuleType("sounddevice")
    for name, part in parts.items():
        setattr(module, name, part)
    monkeypatch.setitem(sys.modules, "sounddevice", module)


def test_without_the_library_there_is_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    refused(run("send", "me.jpg", "--play"), "sounddevice: pip install 'semcast[play]'")
    refused(run("receive", "--listen"), "sounddevice: pip install 'semcast[play]'")


def test_without_a_card_there_is_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(**options: object) -> None:
        raise ValueError("no device")

    card(monkeypatch, check_output_settings=nothing, InputStream=nothing)
    refused(run("send", "me.jpg", "--play"), "there is no sound card to play on (no device)")
    refused(run("receive", "--listen"), "there is no microphone (no device)")


def test_what_is_played_is_heard(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card whose loudspeaker reaches its own microphone; Ctrl-C ends the listening."""
    played: list[np.ndarray] = []
    card(monkeypatch, check_output_settings=lambda **options: None, play=lambda sound, rate, blocking: played.append(sound))
    assert run("send", "me.jpg", "--play", "--system", "linear", "--symbols", 64)[0] == 0
    assert len(played) == 1 and played[0].dtype == np.float32 and np.abs(played[0]).max() < 0.75

    class InputStream:
        def __init__(self, callback: Callable[..., None], **options: object) -> None:
            self.callback = callback

        def __enter__(self) -> None:
            noisy = np.concatenate((played[0], np.zeros(96_000, np.float32))) + 1e-3 * gauss(len(played[0]) + 96_000).real
            for at in range(0, len(noisy), 1000):
                self.callback(noisy[at : at + 1000, None].astype(np.float32), 1000, None, "input overflow" if at == 0 else None)

        def __exit__(self, *error: object) -> None: ...

    class Stop(list[object]):
        def get(self) -> object:
            if not self:
                raise KeyboardInterrupt
            return self.pop(0)

        put = list.append

    card(monkeypatch, InputStream=InputStream)
    monkeypatch.setattr("semcast.onair.soundcard.queue", SimpleNamespace(SimpleQueue=Stop))
    code, out, err = run("receive", "--listen", "-o", "heard")
    assert code == 0 and "linear, k = 64" in out and len(list(Path("heard").iterdir())) == 1, (out, err)
    assert "lost samples (input overflow)" in err


def test_help_says_what_there_is(run: Run) -> None:
    for verb in ("send", "receive"):
        code, out, _ = run(verb, "--help")
        assert code == 0 and "semcast " + verb in out
    assert header_of(40).version == 1
