"""A plot of a burst: its spectrogram and its constellation."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semcast.errors import BadInput, Missing
from semcast.files import whole
from semcast.onair.waveform import rows_of

if TYPE_CHECKING:
    from semcast.onair.samples import Samples
    from semcast.station.receiving import Heard


def draw_plot(heard: Heard, samples: np.ndarray, rate: float, path: Path) -> None:
    """Write the spectrogram of a burst and the symbols that it carried, as PNG or SVG.

    Args:
        heard: the burst.
        samples: around it, sound or I/Q ``[n]``.
        rate: samples a second.
        path: of the file; the extension says which.

    Raises:
        SemcastError: matplotlib is missing, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise Missing("plots need matplotlib: pip install 'semcast[plots]'") from None
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    row = heard.capture.seconds * rate / rows_of(heard.capture.header.symbols)  # samples
    points = int(2 ** np.round(np.log2(max(row, 64))))
    quiet = 1e-5 * float(np.abs(samples).max() or 1)  # digital silence has no logarithm
    samples = samples + quiet * np.random.default_rng(0).standard_normal(len(samples))
    left.specgram(samples, NFFT=points, Fs=rate, noverlap=points * 3 // 4, cmap="magma", scale="dB")
    if not np.iscomplexobj(samples):
        left.set_ylim(0, 3500 if rate < 100_000 else rate / 2)
    left.set(xlabel="seconds", ylabel="Hz", title=f"{heard.name}, k = {heard.capture.header.symbols}")
    symbols, noise = heard.capture.symbols, heard.capture.noise_var
    came = noise < 10
    size = np.sqrt(np.mean(np.abs(symbols[came]) ** 2)) if came.any() else 1.0
    right.plot(symbols[came].real, symbols[came].imag, ".", ms=3, alpha=0.5, color="#0072b2")
    right.set(xlim=(-4 * size, 4 * size), ylim=(-4 * size, 4 * size), aspect="equal", xlabel="I", ylabel="Q",
              title=f"{heard.capture.snr_db:.1f} dB, {heard.capture.share:.0%} came")  # fmt: skip
    written = BytesIO()
    figure.savefig(written, format=path.suffix[1:].lower() or "png", dpi=120)
    with whole(path) as file:
        file.write(written.getvalue())


def cut_out(samples: Samples, start_s: float, seconds: float, most_s: float = 60.0) -> np.ndarray:
    """The part of a recording that holds a burst, a tenth of a second more on either side, the louder channel, ``[n]``.

    Raises:
        BadInput: the recording can be read once only.
    """
    low = max(0, int((start_s - 0.1) * samples.rate))
    high = int((start_s + min(seconds, most_s) + 0.1) * samples.rate)
    pieces, at = [], 0
    for block in samples.blocks(1 << 16):
        if at + len(block) > low:
            pieces.append(block[max(0, low - at) : high - at])
        at += len(block)
        if at >= high:
            break
    if not pieces:
        raise BadInput("the recording is shorter than it was")
    found = np.concatenate(pieces)
    return np.asarray(found[:, int((np.abs(found) ** 2).sum(0).argmax())] if found.ndim == 2 else found)
