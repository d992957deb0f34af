"""Recordings in files: what is written is read, in blocks, however its header was written; what is none is one sentence."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from semcast.errors import BadInput, Damaged, Missing, SemcastError
from semcast.onair import files, samples
from semcast.onair.files import Annotation, Iq, Sound, check_iq, check_sound, open_samples, read_all, write_iq, write_sound
from semcast.onair.wav import FLOAT, PCM

RATE = 8000
GUID = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"


def wave(frames: int = 1000, channels: int = 1) -> NDArray[np.float64]:
    return 0.5 * np.sin(np.arange(frames)[:, None] * (0.1 + 0.05 * np.arange(channels)))


def pack(values: NDArray[np.float64], code: int, width: int, order: str = "<") -> bytes:
    if code == FLOAT:
        return values.astype(f"{order}f{width}").tobytes()
    whole = np.rint(values * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    if width == 1:
        return (whole + 128).astype(np.uint8).tobytes()
    if width == 3:
        four = whole.astype(f"{order}i4").view(np.uint8).reshape(-1, 4)
        return four[:, 1:].tobytes() if order == ">" else four[:, :3].tobytes()
    return whole.astype(f"{order}i{width}").tobytes()


def wav(
    data: bytes,
    code: int = PCM,
    width: int = 2,
    *,
    channels: int = 1,
    rate: int = RATE,
    order: str = "<",
    size: int | None = None,
    whole: int | None = None,
    frame: int | None = None,
    extra: bytes = b"",
    magic: bytes | None = None,
) -> bytes:
    """A WAV file with a header that says whatever it is told to say."""
    frame = channels * width if frame is None else frame
    form = struct.pack(order + "HHIIHH", code, channels, rate, rate * frame % 2**32, frame, 8 * width)
    if code == 0xFFFE:
        form += struct.pack(order + "HHI", 22, 8 * width, 0) + struct.pack(order + "H", PCM) + GUID
    chunks = b"fmt " + struct.pack(order + "I", len(form)) + form + extra
    body = b"data" + struct.pack(order + "I", len(data) if size is None else size) + data
    whole = 4 + len(chunks) + len(body) if whole is None else whole
    return (magic or (b"RIFX" if order == ">" else b"RIFF")) + struct.pack(order + "I", whole) + b"WAVE" + chunks + body


def put(folder: Path, data: bytes, name: str = "x.wav") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def together(source: Any, frames: int = 64) -> NDArray[Any]:
    return np.concatenate(list(source.blocks(frames)))


def refused(path: Path | str, *words: str) -> None:
    """It ends in one sentence, when it is opened or when it is read."""
    with pytest.raises(SemcastError) as error:
        for _ in open_samples(path).blocks(4096):
            pass
    text = str(error.value)
    assert "\n" not in text and 10 < len(text) < 400, text
    for word in words:
        assert word in text, text


# ---- sounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "width", "order", "close"),
    [(PCM, 1, "<", 0.01), (PCM, 2, "<", 1e-4), (PCM, 3, "<", 1e-6), (PCM, 4, "<", 1e-6), (FLOAT, 4, "<", 1e-7),
     (FLOAT, 8, "<", 1e-7), (0xFFFE, 2, "<", 1e-4), (0xFFFE, 3, "<", 1e-6), (PCM, 2, ">", 1e-4), (PCM, 3, ">", 1e-6)],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 2])
def test_every_plain_wav(code: int, width: int, order: str, close: float, channels: int, tmp_path: Path) -> None:
    values = wave(1000, channels)
    extra = b"LIST" + struct.pack(order + "I", 3) + b"abc\0"  # odd chunks are padded
    text = pack(values, code if code == FLOAT else PCM, width, order)
    data = wav(text, code, width, channels=channels, order=order, extra=extra)
    sound = Sound(put(tmp_path, data))
    assert (sound.rate, sound.channels, sound.frames, sound.is_complex) == (RATE, channels, 1000, False)
    for frames in (7, 1000, 5000):
        read = together(sound, frames)
        assert read.dtype == np.float32 and read.shape == values.shape
        np.testing.assert_allclose(read, values, atol=close)
    assert not sound.notes and [len(block) for block in sound.blocks(600)] == [600, 400]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_what_is_written_is_read(suffix: str, tmp_path: Path) -> None:
    if suffix != ".wav":
        pytest.importorskip("soundfile")
    path = tmp_path / f"x{suffix}"
    check_sound(path, False)
    values = wave(9000)[:, 0]
    write_sound(path, values, RATE)
    sound = Sound(path)
    assert (sound.rate, sound.channels, sound.frames) == (RATE, 1, 9000)
    read = together(sound)[:, 0]
    assert len(read) == 9000 and np.std(read - values) < (0.1 if suffix == ".ogg" else 3e-5)
    with pytest.raises(BadInput, match="exists already"):
        check_sound(path, False)
    check_sound(path, True)
    if suffix != ".ogg":
        write_sound(path, np.array([2.0, -2.0, 0.0], np.float32), RATE)  # clipped, and not wrapped around
        np.testing.assert_allclose(together(Sound(path))[:, 0], [1, -1, 0], atol=1e-4)


def test_other_containers_are_read_by_what_they_hold(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    values = wave(5000)[:, 0]
    for name, form, subtype in (("a.bin", "FLAC", "PCM_16"), ("b.raw", "AIFF", "PCM_16"), ("c.wav", "WAV", "ULAW")):
        soundfile.write(str(tmp_path / "given"), values, RATE, format=form, subtype=subtype)
        (tmp_path / "given").rename(tmp_path / name)
        np.testing.assert_allclose(together(Sound(tmp_path / name))[:, 0], values, atol=0.02)


def test_mp3(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    if "MP3" not in soundfile.available_formats():
        pytest.skip("libsndfile without MP3")
    write_sound(tmp_path / "x.mp3", wave(48000)[:, 0], 48000)
    sound = Sound(tmp_path / "x.mp3")
    once = together(sound, 1 << 20)[:, 0]
    assert sound.rate == 48000 and 0.9 < len(once) / 48000 < 1.1 and np.std(once) > 0.3
    assert np.array_equal(together(sound, 1000)[:, 0], once)  # decoded in one go, however it is asked for
    with pytest.raises(BadInput, match="cannot be written"):
        write_sound(tmp_path / "y.mp3", wave()[:, 0], 12345)
    assert not (tmp_path / "y.mp3").exists()


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_header_that_was_never_finished(size: int, tmp_path: Path) -> None:
    data = pack(wave(), PCM, 2)
    for whole in (0, 36, 0xFFFFFFFF) if size == 0 else (size,):
        sound = Sound(put(tmp_path, wav(data, size=size, whole=whole)))
        assert sound.frames is None and len(together(sound)) == 1000
        assert "how long" in sound.notes[0]


def test_a_sound_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    data = wav(pack(wave(2 * RATE), PCM, 2))
    sound = Sound(put(tmp_path, data[: RATE + 45]))
    assert len(together(sound)) == RATE // 2 == len(together(sound))
    assert len(sound.notes) == 1 and "ends after 0.5 of 2.0 s" in sound.notes[0]
    assert len(together(Sound(put(tmp_path, data + b"LIST\4\0\0\0abcd")))) == 2 * RATE  # what comes behind is no sound


def test_a_flac_that_is_cut_off(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE)
    write_sound(tmp_path / "x.flac", noise, RATE)
    data = (tmp_path / "x.flac").read_bytes()
    sound = Sound(put(tmp_path, data[: len(data) // 2], "y.flac"))
    read = together(sound, 1000)[:, 0]
    assert RATE < len(read) < 3 * RATE and sound.notes
    np.testing.assert_allclose(read, noise[: len(read)], atol=1e-4)


def test_rf64(tmp_path: Path) -> None:
    data = pack(wave(), PCM, 2)
    long_size = b"ds64" + struct.pack("<IQQQI", 28, 0, len(data), 0, 0)
    form = b"fmt " + struct.pack("<IHHIIHH", 16, PCM, 1, RATE, 2 * RATE, 2, 16)
    for magic in (b"RF64", b"BW64"):
        text = magic + b"\xff" * 4 + b"WAVE" + long_size + form + b"data" + b"\xff" * 4 + data + b"LIST\4\0\0\0abcd"
        sound = Sound(put(tmp_path, text))
        assert sound.frames == 1000 and len(together(sound)) == 1000


def test_the_louder_channel(tmp_path: Path) -> None:
    values = wave(1000, 3) * [0.1, 1, 0.5]
    write_sound(tmp_path / "x.wav", values, RATE)
    np.testing.assert_allclose(read_all(Sound(tmp_path / "x.wav"), 1000), values[:, 1], atol=1e-4)
    with pytest.raises(BadInput, match="too long"):
        read_all(Sound(tmp_path / "x.wav"), 999)


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    data = wav(pack(wave(), PCM, 2), size=0xFFFFFFFF)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    sound = Sound("-")
    assert sound.name == "stdin" and sound.frames is None
    np.testing.assert_allclose(together(sound, 300), wave(), atol=1e-4)
    with pytest.raises(BadInput, match="once"):
        together(sound)
    bad = {b"": "empty", b"fLaC" + bytes(100): "pipes", data[:44]: "no samples", b"hello" * 9: "not a sound"}
    for text, words in bad.items():
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
        refused("-", "stdin", words)
    monkeypatch.setattr(sys, "stdin", None)
    refused("-", "closed")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_named_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe.wav"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(wav(pack(wave(), PCM, 2))))
    writer.start()
    sound = Sound(path)
    assert len(together(sound)) == 1000
    writer.join()


def test_long_sounds_take_no_more_memory_than_short_ones(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    frames = 30_000_000  # ten minutes at 48 kHz, and no bytes on the disk
    with path.open("wb") as file:
        file.write(wav(b"", size=2 * frames, rate=48000))
        file.truncate(44 + 2 * frames)
    tracemalloc.start()
    count = sum(len(block) for block in Sound(path).blocks(1 << 16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == frames and peak < 4e6


def test_without_soundfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    write_sound(tmp_path / "x.wav", wave()[:, 0], RATE)
    assert len(together(Sound(tmp_path / "x.wav"))) == 1000
    refused(put(tmp_path, b"fLaC" + bytes(100)), "soundfile", "semcast[audio]")
    refused(put(tmp_path, os.urandom(8) + b"random"), "not a sound")
    refused(put(tmp_path, wav(bytes(100), 7, 1)), "soundfile")  # mu-law
    for action in (lambda: check_sound(tmp_path / "x.flac", False), lambda: write_sound(tmp_path / "x.flac", wave(), RATE)):
        with pytest.raises(Missing, match="soundfile"):
            action()
    assert not (tmp_path / "x.flac").exists()


def test_what_cannot_be_written_is_not_begun(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    for values in ([], [np.nan, 0.0], [1 + 1j], np.zeros((2, 2, 2)), [1, 2]):
        with pytest.raises(BadInput, match="a sound is"):
            write_sound(path, np.array(values), RATE)
    with pytest.raises(BadInput, match="extension"):
        write_sound(tmp_path / "x.txt", wave(), RATE)
    with pytest.raises(BadInput, match="extension"):
        check_sound(tmp_path / "x.txt", True)
    with pytest.raises(SemcastError, match="cannot be written"):
        write_sound(tmp_path / "nowhere" / "x.wav", wave(), RATE)
    assert not list(tmp_path.iterdir())


def test_importing_needs_no_torch_and_no_library() -> None:
    code = "import sys, semcast.onair.files; assert not {'torch', 'soundfile', 'sigmf', 'scipy'} & set(sys.modules)"
    source = Path(files.__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=source).returncode == 0


# ---- no sounds -------------------------------------------------------------------------------------------------------


def test_what_is_no_sound(tmp_path: Path, photo: Path) -> None:
    refused(put(tmp_path, b""), "is empty")
    refused(put(tmp_path, "Dear Sir, \ufeff".encode("utf-16")), "not a sound")
    refused(put(tmp_path, b"# a text\n" * 100), "not a sound")
    refused(photo, "not a sound")
    refused(tmp_path, "folder")
    refused(tmp_path / "nothing.wav", "nothing.wav cannot be read (No such file")
    refused("a\0b.wav", "cannot be read")
    refused(put(tmp_path, wav(b"")), "no samples")
    refused(put(tmp_path, wav(b"", size=0, whole=0)), "no samples")
    refused(put(tmp_path, wav(b"a")), "no samples")
    refused(put(tmp_path, wav(bytes(99))[:30]), "ends before")
    refused(put(tmp_path, b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd"), "what its samples are")
    refused(put(tmp_path, b"RIFF\0\0\0\0AVI "), "not a sound")


@pytest.mark.parametrize(
    ("given", "words"),
    [({"channels": 0}, "no channels"), ({"channels": 65535, "frame": 0}, "65535 channels"), ({"rate": 0}, "0 samples a second"),
     ({"rate": 2**32 - 1}, "4294967295 samples a second"), ({"rate": 4000}, "4000 Hz holds no 2.6 kHz"),
     ({"frame": 65535}, "frame"), ({"width": 5}, "40 bits"), ({"width": 0, "frame": 0}, "0 bits"),
     ({"width": 16, "code": FLOAT}, "128 bits"),
     ({"extra": b"LIST\xff\xff\xff\xff"}, "ends before"), ({"extra": b"ds64\xff\xff\xff\x7f"}, "ends before")],
)  # fmt: skip
def test_headers_that_lie(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = put(tmp_path, wav(bytes(1000), **given))
    tracemalloc.start()
    refused(path, words)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_a_header_that_promises_gigabytes(tmp_path: Path) -> None:
    sound = Sound(put(tmp_path, wav(bytes(1000), size=0x7FF00000)))
    tracemalloc.start()
    assert len(together(sound, 1 << 16)) == 500 and "ends after" in sound.notes[0]
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_are_no_numbers(value: float, tmp_path: Path) -> None:
    for width in (4, 8):
        values = wave()
        values[700] = value
        refused(put(tmp_path, wav(pack(values, FLOAT, width), FLOAT, width)), "no numbers")


def test_random_bytes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever the bytes are: a sound or one sentence."""
    generator = np.random.default_rng(0)
    heads = [b"", b"RIFF\xff\xff\xff\xffWAVE", b"RF64\xff\xff\xff\xffWAVEds64", wav(b"")[:36], wav(b"")[:20]]
    heads += [b"fLaC", b"OggS", b"FORM\0\0\0\0AIFF", b".snd"]  # of MP3 libmpg123 says on stderr what it thinks
    for head in heads:
        for length in (0, 4, 30, 3000):
            path = put(tmp_path, head + generator.bytes(length))
            try:
                for block in Sound(path).blocks(1000):
                    assert block.dtype == np.float32 and np.isfinite(block).all()
            except SemcastError as error:
                assert "\n" not in str(error)
    assert capfd.readouterr() == ("", "")


def test_flipped_bits(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    good = [wav(pack(wave(300), PCM, 2))]
    try:
        write_sound(tmp_path / "x.flac", wave(300), RATE)
        good.append((tmp_path / "x.flac").read_bytes())
    except Missing:
        pass
    for data in good:
        for _ in range(200):
            bad = bytearray(data)
            for place in generator.integers(0, 60, 3):
                bad[place] = generator.integers(256)
            try:
                sum(len(block) for block in Sound(put(tmp_path, bytes(bad))).blocks(1000))
            except SemcastError as error:
                assert "\n" not in str(error)


# ---- I/Q -------------------------------------------------------------------------------------------------------------


def spiral(frames: int = 1000) -> NDArray[np.complex64]:
    return (0.5 * np.exp(0.1j * np.arange(frames))).astype(np.complex64)


def test_iq_is_read_as_it_was_written(tmp_path: Path) -> None:
    sigmf = pytest.importorskip("sigmf")
    path = tmp_path / "x.sigmf-meta"
    check_iq(path, False)
    burst = Annotation(100, 700, -1171.875, 1171.875)
    write_iq(path, spiral(), 48000, [burst], spacing_hz=46.875, centre_hz=7.1e6)
    for one in (path, path.with_suffix(".sigmf-data")):
        source = open_samples(one)
        assert isinstance(source, Iq) and source.is_complex and not source.notes
        assert (source.rate, source.channels, source.frames, source.spacing_hz) == (48000, 1, 1000, 46.875)
        for frames in (64, 5000):
            read = together(source, frames)
            assert read.dtype == np.complex64 and np.array_equal(read[:, 0], spiral())
    theirs = sigmf.fromfile(path)  # with the checksum
    theirs.validate()
    assert theirs.get_annotations() == [
        {"core:sample_start": 100, "core:sample_count": 700, "core:label": "semcast",
         "core:freq_lower_edge": 7.1e6 - 1171.875, "core:freq_upper_edge": 7.1e6 + 1171.875},
    ]  # fmt: skip
    assert theirs.get_global_field("core:datatype") == "cf32_le"
    for one in (path, path.with_suffix(".sigmf-data")):
        with pytest.raises(BadInput, match="exists already"):
            check_iq(one, False)
        check_iq(one, True)


@pytest.mark.parametrize("datatype", ["cf32_le", "cf32_be", "cf64_le", "ci16_le", "ci16_be", "ci32_le", "ci8", "cu8", "cu16_le"])
def test_iq_of_every_radio(datatype: str, tmp_path: Path) -> None:
    pytest.importorskip("sigmf")
    order = ">" if datatype.endswith("_be") else "<"
    kind, width = datatype[1], int("".join(c for c in datatype[2:].split("_")[0])) // 8
    pairs = spiral().view(np.float32).astype(np.float64)
    if kind != "f":
        pairs = np.rint(pairs * (2 ** (8 * width - 1) - 1)) + (2 ** (8 * width - 1) if kind == "u" else 0)
    put(tmp_path, pairs.astype(f"{order}{kind}{width}").tobytes(), "x.sigmf-data")
    given = {"core:datatype": datatype, "core:sample_rate": 2.4e6, "core:version": "1.0.0"}
    meta = {"global": given, "captures": [], "annotations": []}
    source = Iq(put(tmp_path, json.dumps(meta).encode(), "x.sigmf-meta"))
    assert source.spacing_hz is None and source.rate == 2.4e6
    np.testing.assert_allclose(together(source)[:, 0], spiral(), atol=0.015 if width == 1 else 1e-4)


def test_iq_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("sigmf")
    good = {"core:datatype": "cf32_le", "core:sample_rate": 48000, "core:version": "1.2.0"}
    bad: list[tuple[Any, str]] = [
        (b"", "metadata"), (b"\xff\xfe", "metadata"), (b"[" * 100000, "metadata"), (b"{}", "metadata"), (b"[1]", "metadata"),
        ({**good, "core:datatype": "rf32_le"}, "'rf32_le'"), ({**good, "core:datatype": None}, "None"),
        ({**good, "core:datatype": ["ci8"]}, "type"), ({**good, "core:datatype": "[" * 10**5}, "…; I/Q is one of"),
        ({**good, "core:sample_rate": 0}, "sample_rate"),
        ({**good, "core:sample_rate": "48000"}, "sample_rate"), ({**good, "core:sample_rate": float("nan")}, "sample_rate"),
        ({**good, "core:sample_rate": float("inf")}, "sample_rate"), ({**good, "semcast:spacing_hz": -1}, "spacing_hz"),
        ({**good, "core:num_channels": 0}, "0 channels"), ({**good, "core:num_channels": 65535}, "65535 channels"),
        ({**good, "core:num_channels": "2"}, "num_channels"), ({**good, "core:offset": "a"}, ""),
        ({**good, "core:trailing_bytes": 1 << 40}, ""), ({**good, "core:dataset": "../nothing"}, "another file"),
        ({**good, "core:sample_rate": 10**400}, "sample_rate"), ({**good, "semcast:spacing_hz": 10**400}, "spacing_hz"),
    ]  # fmt: skip
    put(tmp_path, bytes(8000), "x.sigmf-data")
    for given, words in bad:
        text = given if isinstance(given, bytes) else json.dumps({"global": given, "captures": [], "annotations": []}).encode()
        path = put(tmp_path, text, "x.sigmf-meta")
        if words:
            refused(path, words)
            continue
        try:
            together(Iq(path))
        except SemcastError as error:
            assert "\n" not in str(error)
    meta = json.dumps({"global": good, "captures": [{"core:sample_start": 0}], "annotations": []}).encode()
    path = put(tmp_path, meta, "x.sigmf-meta")
    put(tmp_path, b"", "x.sigmf-data")
    refused(path, "x.sigmf-meta")
    put(tmp_path, np.array([1, np.nan], "<f4").tobytes(), "x.sigmf-data")
    refused(path, "no numbers")
    (tmp_path / "x.sigmf-data").unlink()
    refused(path, "x.sigmf-data does not exist")


def test_iq_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sigmf", None)
    for action in (lambda path: check_iq(path, False), lambda path: write_iq(path, spiral(), 48000)):
        with pytest.raises(Missing, match=r"semcast\[iq\]"):
            action(tmp_path / "x.sigmf-meta")
    with pytest.raises(BadInput, match="extension"):
        check_iq(tmp_path / "x.wav", False)
    for values, rate in (([], 1), ([np.nan], 1), (np.zeros((2, 2)), 1), ([1j], 0)):
        with pytest.raises(BadInput):
            write_iq(tmp_path / "x.sigmf-meta", np.array(values, complex), rate)
    assert not list(tmp_path.iterdir())


def test_blocks_hold_something(tmp_path: Path) -> None:
    write_sound(tmp_path / "x.wav", wave(), RATE)
    with pytest.raises(BadInput, match="at least 1"):
        Sound(tmp_path / "x.wav").blocks(0)
    with pytest.raises(Damaged, match="no samples"):
        list(samples.checked(iter([np.zeros((0, 1), np.float32)]), "x"))


def test_the_metadata_do_not_choose_which_file_is_read(tmp_path: Path) -> None:
    """A recording from a stranger may not have any other file of this computer taken for its samples."""
    pytest.importorskip("sigmf")
    given = {"core:datatype": "cf32_le", "core:sample_rate": 48000, "core:version": "1.2.0"}
    secret = put(tmp_path, np.full(1000, 0.5, np.float32).tobytes(), "secret.bin")
    put(tmp_path, np.full(1000, 0.25, np.float32).tobytes(), "x.sigmf-data")
    for named in ("secret.bin", str(secret), "./x.sigmf-data", ["x.sigmf-data"], 3):
        meta = json.dumps({"global": {**given, "core:dataset": named}, "captures": [], "annotations": []}).encode()
        refused(put(tmp_path, meta, "x.sigmf-meta"), "another file")
    meta = json.dumps({"global": {**given, "core:dataset": "x.sigmf-data"}, "captures": [], "annotations": []}).encode()
    assert np.all(together(Iq(put(tmp_path, meta, "x.sigmf-meta"))) == 0.25 + 0.25j)
