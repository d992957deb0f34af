"""Recordings in files: sounds (WAV; with soundfile FLAC, OGG and MP3) and I/Q (SigMF), read in blocks and written whole."""

from __future__ import annotations

import io
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semcast.errors import BadInput, Damaged, Missing
from semcast.files import check_place, hushed, reason_of, whole
from semcast.given import check_path
from semcast.onair.iq import IQ, Annotation, Iq, check_iq, write_iq
from semcast.onair.samples import Block, Samples, check_frames, check_shape, checked, read_all
from semcast.onair.wav import MAGIC, Layout, read_blocks, read_layout

__all__ = [
    "IQ", "SOUNDS", "Annotation", "Iq", "Samples", "Sound", "check_iq", "check_sound", "open_samples", "read_all", "write_iq",
    "write_sound",
]  # fmt: skip

SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
"""What :func:`write_sound` writes; all but the first with soundfile."""
MIN_RATE, MAX_RATE = 8_000, 1_000_000
"""Hz: the waveform goes up to 2.6 kHz; what is over a megahertz is no sound."""


def open_samples(path: str | Path) -> Sound | Iq:
    """A recording by its name: ``.sigmf-meta`` and ``.sigmf-data`` are I/Q, everything else and ``-`` (stdin) is a sound.

    Raises:
        SemcastError: it is not there, not a recording, or needs a library that is not installed.
    """
    place = check_path("a recording", path)
    return Iq(path) if place.suffix.lower() in IQ else Sound(path)


class Sound:
    """A sound, read in blocks: hours of it need no more memory than one.

    Plain WAV (8, 16, 24, 32 bits, floats; also RF64, big-endian, and headers that were never finished) is read here, everything
    else by soundfile. What is cut off is read as far as it goes, and ``notes`` says so.

    Args:
        path: of the file; ``-`` is stdin, which as any other pipe must be WAV and can be read once.

    Raises:
        Missing: there is no such file, or soundfile is needed and not installed.
        Damaged: it is no sound, or holds none.
        BadInput: under 8000 or over a million samples a second, more than 64 channels, or a pipe that is not plain WAV.
    """

    is_complex = False
    spacing_hz: float | None = None

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = "stdin" if str(path) == "-" else str(path)
        self.notes: list[str] = []
        self._layout: Layout | None = None
        self._begun = b""
        self._pipe: BinaryIO | None = None
        file, pipe = self._open()
        try:
            head = file.read(12)
            if not head:
                raise Damaged(f"{self.name} is empty")
            if head[:4] in MAGIC and head[8:] == b"WAVE":
                self._read_header(file, head, pipe)
            elif not _is_known(head):
                raise Damaged(f"{self.name} is not a sound (WAV, FLAC, OGG or MP3)")
            if self._layout is None:
                self._ask_library(pipe)
        except OSError as error:
            raise Damaged(f"{self.name} cannot be read ({reason_of(error)})") from None
        finally:
            if not pipe:
                file.close()
        self._check_rate()

    def _open(self) -> tuple[BinaryIO, bool]:
        """The file, and whether it can be read but once."""
        if self.name == "stdin":
            if sys.stdin is None:
                raise Missing("stdin is closed")
            return sys.stdin.buffer, True
        try:
            mode = self.path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise BadInput(f"{self.name} is a folder, not a file")
            return self.path.open("rb"), not stat.S_ISREG(mode)
        except (OSError, ValueError) as error:
            raise Missing(f"{self.name} cannot be read ({reason_of(error)})") from None

    def _read_header(self, file: BinaryIO, head: bytes, pipe: bool) -> None:
        layout = read_layout(file, head, self.name)
        check_shape(self.name, layout.rate, layout.channels)
        if not layout.plain:
            return
        self.rate, self.channels, self.frames = layout.rate, layout.channels, layout.frames
        self._begun = file.read(layout.frame) if layout.size != 0 else b""
        if len(self._begun) < layout.frame:
            raise Damaged(f"{self.name} holds no samples")
        self._layout, self._pipe = layout, file if pipe else None

    def _ask_library(self, pipe: bool) -> None:
        if pipe:
            raise BadInput(f"{self.name} is not plain WAV: other sounds are read from files, not from pipes")
        with self._library() as sound:
            self.rate, self.channels = int(sound.samplerate), int(sound.channels)
            check_shape(self.name, self.rate, self.channels)
            self.frames = int(sound.frames) if sound.frames < 1 << 48 else None  # what it says where it does not know

    @contextmanager
    def _library(self) -> Iterator[Any]:
        """The file as soundfile opens it, to be read forwards."""
        soundfile = _soundfile(f"{self.name} is not plain WAV, and other sounds")
        base: Any = soundfile.SoundFile

        class Forward(base):  # type: ignore[misc]
            """After every block soundfile seeks to where it is, and a decoder of MP3 begins each time afresh, which is heard."""

            def seekable(self) -> bool:
                return False

        file, _ = self._open()
        with file:
            try:
                with hushed():  # opened by its name it would take any .raw for samples without a header
                    sound = Forward(file.fileno(), closefd=False)
            except (soundfile.SoundFileError, OSError, TypeError, ValueError):
                raise Damaged(f"{self.name} cannot be read as a sound: its header is damaged or its kind not known") from None
            with sound:
                yield sound

    def _check_rate(self) -> None:
        if self.rate < MIN_RATE:
            raise BadInput(
                f"{self.name} has {self.rate} samples a second: {self.rate} Hz holds no 2.6 kHz, at least {MIN_RATE} are needed"
            )
        if self.rate > MAX_RATE:
            raise BadInput(f"{self.name} has {self.rate} samples a second: a sound has at most {MAX_RATE}")

    def blocks(self, frames: int) -> Iterator[NDArray[np.float32]]:
        """So many frames at a time from the beginning, float32 ``[frames, channels]``, full scale 1; the last may be shorter.

        Raises:
            BadInput: ``frames`` is under 1, or a pipe is read twice.
            Damaged: a sample is no number, or there is none.
        """
        check_frames(frames)
        return checked(self._counted(self._plain(frames) if self._layout else self._other(frames)), self.name)

    def _counted(self, blocks: Iterator[Block]) -> Iterator[Block]:
        came = 0
        for block in blocks:
            came += len(block)
            yield block
        if self.frames is not None and came < self.frames - self.rate // 10:  # the length of an MP3 is a guess
            self._note(f"{self.name} ends after {came / self.rate:.1f} of {self.frames / self.rate:.1f} s")

    def _plain(self, frames: int) -> Iterator[NDArray[np.float32]]:
        layout, begun = self._layout, self._begun
        assert layout is not None
        if layout.size is None:
            self._note(f"{self.name} does not say how long it is: all of it is read")
        if self._pipe is not None or self.name == "stdin":
            pipe, self._pipe = self._pipe, None
            if pipe is None:
                raise BadInput(f"{self.name} can be read once")
            yield from read_blocks(pipe, layout, begun, frames)
            return
        file, _ = self._open()
        with file:
            read_layout(file, file.read(12), self.name)
            yield from read_blocks(file, layout, b"", frames)

    def _other(self, frames: int) -> Iterator[NDArray[np.float32]]:
        failure, came = _soundfile("other sounds than WAV").SoundFileError, 0
        with self._library() as sound:
            while True:
                try:
                    with hushed():
                        block = sound.read(frames, dtype="float32", always_2d=True)
                except (failure, OSError) as error:  # what came before it is worth having
                    self._note(f"{self.name} is damaged from {came / self.rate:.1f} s on ({reason_of(error)})")
                    return
                if not len(block):
                    return
                came += len(block)
                yield block

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _is_known(head: bytes) -> bool:
    """Whether a file begins as one that soundfile reads: it is not asked about others, it takes some text for a sound."""
    mp3 = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08  # a frame of layer III
    return mp3 or head[:3] == b"ID3" or head[:4] in (b"fLaC", b"OggS", b"FORM", b"caff", b".snd", b"riff")


def _soundfile(what: str) -> Any:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the wheel is there and its libsndfile is not
        raise Missing(f"{what} need soundfile: pip install 'semcast[audio]'") from None
    return soundfile


def check_sound(path: Path, force: bool) -> None:
    """Whether a sound can be written there, asked before any work is done.

    Raises:
        SemcastError: as :func:`semcast.files.check_place`, or soundfile is needed and not installed.
    """
    check_place(path, SOUNDS, force, f"an extension of {', '.join(SOUNDS[:-1])} or {SOUNDS[-1]}")
    if path.suffix.lower() != ".wav":
        _soundfile(f"{path} and other sounds than WAV")


def write_sound(path: Path, samples: ArrayLike, rate: int) -> None:
    """Write a sound of 16 bits, whole or not at all: WAV, or by its extension FLAC, OGG or MP3 (which keep not every sample).

    Args:
        path: what is there is replaced: ask :func:`check_sound` before.
        samples: real, ``[frames]`` or ``[frames, channels]``; what is beyond ±1 is clipped.
        rate: samples a second.

    Raises:
        BadInput: an extension of none of them, samples that are no numbers, or a rate that the format does not have.
        SemcastError: it cannot be written; what was at ``path`` is then as it was.
    """
    values = np.asarray(samples)
    if values.ndim not in (1, 2) or not values.size or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise BadInput("a sound is real numbers, [frames] or [frames, channels], at least one and all of them finite")
    suffix = path.suffix.lower()
    if suffix not in SOUNDS:
        raise BadInput(f"{path} needs an extension of {', '.join(SOUNDS[:-1])} or {SOUNDS[-1]}")
    whole_numbers = np.rint(np.clip(values, -1, 1) * np.float32(32767)).astype(np.int16)
    if suffix == ".wav":
        from scipy.io import wavfile

        with whole(path) as file:
            wavfile.write(file, rate, whole_numbers)
        return
    soundfile = _soundfile(f"{path} and other sounds than WAV")
    try:
        data = io.BytesIO()  # what a file refuses, the library's own writing does not notice
        soundfile.write(data, whole_numbers, rate, format=suffix[1:].upper())
        with whole(path) as file:
            file.write(data.getbuffer())
    except soundfile.SoundFileError as error:
        raise BadInput(f"{path} cannot be written ({reason_of(error)})") from None
