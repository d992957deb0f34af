"""The sound card: playing a burst, listening to the microphone."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import numpy as np

from semcast.errors import Missing
from semcast.onair.arrays import Real
from semcast.onair.transmitter import SOUND_RATE


def _library() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise Missing("the sound card needs sounddevice: pip install 'semcast[play]'") from None
    except OSError:  # the wheel is there and PortAudio is not
        raise Missing("the sound card needs PortAudio, a package of the system (libportaudio2)") from None
    return sounddevice


def check_soundcard() -> None:
    """Raises Missing where nothing can be played."""
    library = _library()
    try:
        library.check_output_settings(samplerate=SOUND_RATE, channels=1)
    except Exception as error:  # noqa: BLE001 - PortAudio's own class, and ValueError where there is no device
        raise Missing(f"there is no sound card to play on ({error})") from None


def play_sound(sound: Real) -> None:
    """Play a sound of 48 kHz ``[n]`` to its end."""
    library = _library()
    try:
        library.play(sound, SOUND_RATE, blocking=True)
    except Exception as error:  # noqa: BLE001 - see above
        raise Missing(f"the sound card does not play ({error})") from None


class Microphone:
    """What the microphone hears, as a recording that does not end (:class:`~semcast.onair.samples.Samples`).

    Raises:
        Missing: there is no microphone, or a library is missing.
    """

    name, is_complex, channels = "the microphone", False, 1
    frames: int | None = None
    spacing_hz: float | None = None

    def __init__(self, rate: int = SOUND_RATE) -> None:
        self.rate: float = rate
        self.notes: list[str] = []
        library = _library()
        self._heard: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        try:
            self._stream = library.InputStream(samplerate=rate, channels=1, dtype="float32", callback=self._take)
        except Exception as error:  # noqa: BLE001 - see above
            raise Missing(f"there is no microphone ({error})") from None

    def _take(self, data: np.ndarray, frames: int, time: Any, status: Any) -> None:
        if status and len(self.notes) < 10:
            self.notes.append(f"the sound card lost samples ({status})")
        self._heard.put(data.copy())

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """Blocks of about so many frames, as they are heard; at most a third of a second late."""
        wanted = min(frames, int(self.rate) // 3)
        with self._stream:
            while True:
                pieces, count = [], 0
                while count < wanted:
                    pieces.append(self._heard.get())
                    count += len(pieces[-1])
                yield np.concatenate(pieces)
