"""The verbs of what is on the air: simulate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semcast.cli.console import say
from semcast.cli.inputs import STREAM, Item, pair
from semcast.cli.options import WRITING, Force, among
from semcast.errors import BadInput

if TYPE_CHECKING:
    from semcast.onair.simulate import Simulator

PATHS = (
    "awgn", "watterson-good", "watterson-moderate", "watterson-poor", "watterson-disturbed", "low-quiet", "low-moderate",
    "low-disturbed", "mid-quiet", "mid-moderate", "mid-disturbed", "mid-disturbed-nvis", "high-quiet", "high-moderate",
    "high-disturbed",
)  # fmt: skip
"""Repeated here so that help and completion need not import what computes; a test compares them."""
PATH, RECORDER = "Radio path", "Recorder"
SIGMF = (".sigmf-meta", ".sigmf-data")
LONGEST = 1 << 27
"""Samples of a recording that is simulated: 46 minutes at 48 kHz, 6 GB of memory."""


@dataclass(frozen=True)
class RadioPath:
    """What happens between the antennas."""

    snr: Annotated[
        float | None,
        typer.Option(metavar="DB", show_default="no noise", rich_help_panel=PATH,
                     help="The burst's mean power over the noise in 2.4 kHz, however much silence is about it."),
    ] = None  # fmt: skip
    channel: Annotated[
        str,
        typer.Option(metavar="NAME", rich_help_panel=PATH, autocompletion=among(*PATHS),
                     help="awgn, two fading paths (watterson-good, -moderate, -poor, -disturbed), or one of ITU-R F.1487: "
                          "low-, mid-, high- and quiet, moderate, disturbed."),
    ] = "awgn"  # fmt: skip
    offset: Annotated[
        float, typer.Option(metavar="HZ", rich_help_panel=PATH, help="All frequencies rise by that.")
    ] = 0.0
    echo: Annotated[
        str | None,
        typer.Option(metavar="MS,DB", show_default=False, rich_help_panel=PATH, help="A second path that stands still: 3,-3."),
    ] = None  # fmt: skip
    wobble: Annotated[
        str | None,
        typer.Option(metavar="SHARE,HZ", show_default=False, rich_help_panel=PATH, help="The level goes up and down: 0.5,1.5."),
    ] = None  # fmt: skip
    whistle: Annotated[
        str | None,
        typer.Option(metavar="HZ,DB", show_default=False, rich_help_panel=PATH,
                     help="A tone, and how much stronger it is than the burst: 1000,0."),
    ] = None  # fmt: skip
    seed: Annotated[int, typer.Option(min=0, help="Noise and fading follow from it.", rich_help_panel=PATH)] = 0


@dataclass(frozen=True)
class Recorder:
    """What happens behind the receiver's loudspeaker."""

    band: Annotated[
        str | None,
        typer.Option(metavar="HZ,HZ", show_default=False, rich_help_panel=RECORDER,
                     help="What its filter lets pass: 300,2700 is a telephone."),
    ] = None  # fmt: skip
    ppm: Annotated[
        float, typer.Option(metavar="PPM", rich_help_panel=RECORDER, help="By how many millionths its clock is too fast.")
    ] = 0.0
    clip: Annotated[
        float | None,
        typer.Option(metavar="SHARE", show_default=False, rich_help_panel=RECORDER, help="Of the peak, where it clips: 0.5."),
    ] = None  # fmt: skip
    bits: Annotated[
        int | None,
        typer.Option(metavar="N", show_default=False, rich_help_panel=RECORDER, help="Of its samples, full scale at the peak."),
    ] = None  # fmt: skip
    cut: Annotated[
        float, typer.Option(metavar="SHARE", rich_help_panel=RECORDER, help="Of the burst that is missing in the end.")
    ] = 0.0
    cut_start: Annotated[
        float, typer.Option(metavar="SHARE", rich_help_panel=RECORDER, help="Of the burst that is missing at the beginning.")
    ] = 0.0


def simulate(
    recordings: Annotated[
        list[Path],
        typer.Argument(metavar="IN.wav|IN.sigmf-meta|FOLDER|-", show_default=False, help="What was sent, without noise."),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="OUT.wav|OUT.sigmf-meta|FOLDER|-", show_default=False, rich_help_panel=WRITING,
                     help="What arrives: a sound of a sound (WAV; FLAC, OGG, MP3 with soundfile), I/Q of I/Q; - for stdout."),
    ],
    path: RadioPath,
    recorder: Recorder,
    force: Force = False,
) -> None:  # fmt: skip
    """Send a recording over a short-wave path: noise, fading, a receiver that is mistuned, a recorder that starts late.

    [cyan]semcast simulate face.wav -o heard.wav --snr 6 --channel watterson-poor --offset 37 --ppm 40 --cut 0.3[/cyan]
    [cyan]semcast simulate face.sigmf-meta -o heard.sigmf-meta --snr 10[/cyan]
    """
    simulator = _simulator(path, recorder)  # what is asked for is judged before any file
    from semcast.onair.files import SOUNDS, check_iq, check_sound

    batch = pair(recordings, SOUNDS, out, ".wav")
    for item in batch.items:
        _check_kinds(item)
    batch.check(lambda out: check_iq(out, force) if _is_iq(out) else check_sound(out, force))
    batch.work_through(lambda item: _send_through(item, simulator), ".wav")


def _is_iq(path: Path) -> bool:
    return path != STREAM and path.suffix.lower() in SIGMF


def _check_kinds(item: Item) -> None:
    assert item.out is not None
    if _is_iq(item.path) != _is_iq(item.out):
        raise BadInput(f"{item.name} and {item.out_name} must both be I/Q ({SIGMF[0]}) or both be sounds")
    if _is_iq(item.path) and item.path.with_suffix("").resolve() == item.out.with_suffix("").resolve():
        raise BadInput(f"{item.out} is the input itself: name another output")


def _simulator(path: RadioPath, recorder: Recorder) -> Simulator:
    from semcast.onair.simulate import Simulator

    return Simulator(
        snr_db=path.snr,
        channel=path.channel,
        offset_hz=path.offset,
        echo=_two("--echo", path.echo),
        wobble=_two("--wobble", path.wobble),
        whistle=_two("--whistle", path.whistle),
        seed=path.seed,
        band=_two("--band", recorder.band),
        ppm=recorder.ppm,
        clip=recorder.clip,
        bits=recorder.bits,
        cut=recorder.cut,
        cut_start=recorder.cut_start,
    )


def _two(option: str, text: str | None) -> tuple[float, float] | None:
    """Two numbers with a comma between them."""
    if text is None:
        return None
    try:
        first, second = map(float, text.split(","))
    except ValueError:
        raise BadInput(f"{option} takes two numbers with a comma between them, not {text!r}") from None
    return first, second


def _send_through(item: Item, simulator: Simulator) -> None:
    """One recording, from its file through the path to its file."""
    from dataclasses import replace

    import numpy as np

    from semcast.onair.files import open_samples, read_all, write_iq, write_sound
    from semcast.onair.simulate import REFERENCE

    assert item.out is not None
    source = open_samples(item.path)
    if source.spacing_hz is not None:  # a burst that is so many times as wide has its SNR in as many times the bandwidth
        simulator = replace(simulator, bandwidth_hz=REFERENCE * source.spacing_hz)
    samples = read_all(source, LONGEST)
    try:
        heard = simulator.apply(samples, source.rate)
    except BadInput as error:  # what its rate does not hold, or silence: of several recordings say which
        raise BadInput(f"{item.name}: {error}") from None
    for note in source.notes:
        say(note)
    peak = float(np.abs(heard).max())
    if source.is_complex:
        write_iq(item.out, heard, source.rate, spacing_hz=source.spacing_hz)
    else:
        write_sound(item.out, heard / max(1.0, peak), int(source.rate))
    softer = f", {20 * np.log10(peak):.1f} dB softer to fit" if peak > 1 and not source.is_complex else ""
    say(f"{item.out_name}: {len(heard) / source.rate:.2f} s at {source.rate:g} Hz{softer}")
