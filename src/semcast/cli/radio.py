"""The verbs of the radio: send, receive."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semcast.cli.build import default_name, protection_of, systems_of
from semcast.cli.console import say, seconds, show
from semcast.cli.inputs import STREAM, check_inputs, find_inputs
from semcast.cli.options import (
    CODED,
    SENDING,
    SYSTEMS,
    WRITING,
    Aligned,
    AsJson,
    CodedDomain,
    Device,
    Force,
    Protecting,
    Sending,
    among,
)
from semcast.errors import BadInput, Missing

if TYPE_CHECKING:
    from semcast.link import System
    from semcast.onair.samples import Samples
    from semcast.station import Heard, Signal

BANDWIDTHS = ("2.4k", "4.8k", "9.6k", "19.2k", "38.4k", "76.8k", "153.6k")
RECORDING = "Recording"

Bandwidth = Annotated[
    str | None,
    typer.Option(metavar="2.4k|...|153.6k", show_default="2.4k", rich_help_panel=SENDING, autocompletion=among(*BANDWIDTHS),
                 help="Of samples for a software radio; sound has 2.4 kHz."),
]  # fmt: skip


@dataclass(frozen=True)
class OnTheAir:
    """How symbols go on the air."""

    symbols: Annotated[
        int, typer.Option(metavar="K", help="k, complex symbols of data a photo.", rich_help_panel=SENDING)
    ] = 640
    snr: Annotated[
        float, typer.Option(metavar="DB", help="Es/N0 that is designed for, -10 to 53.5.", rich_help_panel=SENDING)
    ] = 10.0
    papr: Annotated[
        float,
        typer.Option(metavar="DB", rich_help_panel=SENDING,
                     help="How far peaks may rise over the mean power: 4 for a transmitter that its peaks limit, inf: any."),
    ] = 7.0  # fmt: skip
    bandwidth: Bandwidth = None
    iq: Annotated[
        bool, typer.Option("--iq", help="Samples for a software radio (SigMF), not sound.", rich_help_panel=WRITING)
    ] = False


@dataclass(frozen=True)
class Drawing:
    """What is drawn of a reception beside the picture."""

    map: Annotated[
        Path | None,
        typer.Option(metavar="MAP.png", show_default=False, rich_help_panel=WRITING,
                     help="Which parts were received and how surely, which the network guessed, which were replaced."),
    ] = None  # fmt: skip
    plot: Annotated[
        Path | None,
        typer.Option(metavar="PLOT.png", show_default=False, rich_help_panel=WRITING,
                     help="Spectrogram and constellation of each burst."),
    ] = None  # fmt: skip


# ---- send ------------------------------------------------------------------------------------------------------------


def send(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO|FOLDER", help="Photos; each becomes a burst.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="X.wav|X.flac|X.sigmf-meta", show_default=False, rich_help_panel=WRITING,
                     help="The sound, or samples for a software radio."),
    ] = None,
    force: Force = False,
    system: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default="the best one", rich_help_panel=SENDING,
                     autocompletion=among(*SYSTEMS, *CODED), help=f"{', '.join((*SYSTEMS, *CODED))}."),
    ] = None,
    play: Annotated[bool, typer.Option("--play", help="Play it on the sound card.", rich_help_panel=WRITING)] = False,
    domain: CodedDomain = "face",
    aligned: Aligned = False,
    device: Device = "auto",
    as_json: AsJson = False,
    *,
    air: OnTheAir,
    protecting: Protecting,
) -> None:  # fmt: skip
    """Make photos into sound that a loudspeaker, a single-sideband transmitter or a cable carries: 0.7 s a face.

    [cyan]semcast send me.jpg -o me.wav[/cyan]
    [cyan]semcast send me.jpg -o me.wav --symbols 64 --system generative --private eyes[/cyan]
    [cyan]semcast send me.jpg -o me.sigmf-meta --iq --bandwidth 153.6k[/cyan]
    """
    from semcast.networks.precision import use_threads
    from semcast.photos import SUFFIXES

    use_threads()
    spacing = _check_output(out, air, play, force)
    paths, _ = find_inputs(photos, SUFFIXES)
    check_inputs([path for path in paths if path != STREAM])
    sending = Sending(domain=domain, aligned=aligned, device=device)
    sender = _sender(system, air, sending, protecting, paths[0])
    signal = _make(paths, sender, air, sending)
    if out is not None:
        signal.save(out, spacing_hz=spacing)
    _tell_sent(signal, sender.name, air, out, as_json)
    if play:
        from semcast.onair.soundcard import play_sound

        play_sound(signal.sound())


def _sender(name: str | None, air: OnTheAir, sending: Sending, protecting: Protecting, photo: Path) -> System:
    """The system that was asked for, behind its protection."""
    from semcast.privacy.system import protect_all

    if sending.domain not in ("face", "street"):
        raise BadInput(f"on the air a domain is face or street, not {sending.domain!r}")
    filtered = protecting.private is not None and protecting.privacy == "filter"
    link = systems_of([name or default_name(sending, air.symbols, filtered)], sending)[0]
    return protect_all([link], protection_of(protecting, sending.aligned, photo))[0]


def _check_output(out: Path | None, air: OnTheAir, play: bool, force: bool) -> float | None:
    """Whether what is made can go somewhere, asked before any work is done; the spacing of carriers for a software radio."""
    from semcast.onair.files import IQ, check_iq, check_sound
    from semcast.station import spacing_of

    if out is None and not play:
        raise BadInput("name a file with -o, or --play it")
    iq = air.iq or (out is not None and out.suffix in IQ)
    if air.bandwidth is not None and not iq:
        raise BadInput("--bandwidth is for --iq: sound has 2.4 kHz")
    if out is not None:
        (check_iq if iq else check_sound)(out, force)
    if play:
        from semcast.onair.soundcard import check_soundcard

        check_soundcard()
    return spacing_of(air.bandwidth) if air.bandwidth else None


def _make(paths: list[Path], sender: System, air: OnTheAir, sending: Sending) -> Signal:
    """The bursts of all photos."""
    from semcast import api
    from semcast import station as radio
    from semcast.link import Budget

    made: Signal | None = None
    for path in paths:
        given = api.photo(path)
        picture = given.face(aligned=sending.aligned) if sending.domain == "face" else given.scene(sending.domain)
        for note in picture.notes:
            say(note)
        burst = radio.send(sender, picture, Budget(air.symbols, air.snr), headroom_db=air.papr)
        made = burst if made is None else made + burst
    assert made is not None
    return made


def _tell_sent(signal: Signal, name: str, air: OnTheAir, out: Path | None, as_json: bool) -> None:
    values = {
        "system": name, "bursts": len(signal.headers), "symbols": signal.headers[0].symbols,
        "design_snr_db": signal.headers[0].snr_db, "seconds": round(signal.seconds, 3), "headroom_db": air.papr,
        "papr_db": round(signal.papr_db, 2), "replaced": signal.headers[0].flags != 0, "output": str(out) if out else None,
    }  # fmt: skip
    if as_json:
        print(json.dumps({key: value if value != float("inf") else None for key, value in values.items()}))
        return
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_row("system", f"{name}, k = {values['symbols']}, designed for {values['design_snr_db']:g} dB")
    table.add_row("on the air", f"{seconds(signal.seconds)} ({len(signal.headers)} bursts)" if len(signal.headers) > 1
                  else seconds(signal.seconds))  # fmt: skip
    table.add_row("peaks", f"{signal.papr_db:.1f} dB over the mean power (headroom {air.papr:g} dB)")
    if out:
        table.add_row("written", str(out))
    show(table)


# ---- receive ---------------------------------------------------------------------------------------------------------


def receive(
    recording: Annotated[
        Path | None, typer.Argument(metavar="X.wav|X.sigmf-meta|-", help="A recording; - for WAV on stdin.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT.png|FOLDER", show_default=False, rich_help_panel=WRITING,
                     help="The picture; of several bursts OUT-2.png and so on, or a folder."),
    ] = None,
    force: Force = False,
    listen: Annotated[
        bool, typer.Option("--listen", help="From the microphone, until Ctrl-C.", rich_help_panel=RECORDING)
    ] = False,
    bandwidth: Bandwidth = None,
    device: Device = "auto",
    as_json: AsJson = False,
    *,
    drawing: Drawing,
) -> None:  # fmt: skip
    """Find every burst in a recording of any length, and show who comes out.

    [cyan]semcast receive me.wav -o me-received.png[/cyan]
    [cyan]semcast receive evening.flac -o received/ --json[/cyan]
    [cyan]semcast receive --listen -o received/[/cyan]
    """
    from semcast.networks.precision import use_threads
    from semcast.station import Station, spacing_of
    from semcast.station import receive as receive_bursts

    use_threads()
    outputs = Outputs(out, drawing.map, drawing.plot, force)
    outputs.check()
    _check_recording(recording, listen, drawing)
    spacing = spacing_of(bandwidth) if bandwidth else None
    samples = _open(recording)
    found, station = 0, Station(device)
    try:
        for heard in receive_bursts(samples, station, spacing_hz=spacing):
            found += 1
            written = outputs.write(heard, recording)
            _tell_heard(heard, written, as_json)
    except KeyboardInterrupt:
        if not listen:
            raise
    refused = dict(reversed([(sentence, at) for at, sentence in station.refused]))  # at both ends of a burst: said once
    if not found and not listen:
        raise BadInput(": ".join([f"no burst was found in {samples.name}", "; ".join(refused)]).removesuffix(": "))
    for note in [*samples.notes, *(f"{at:.2f} s: {sentence}" for sentence, at in refused.items())]:
        say(note)


def _check_recording(recording: Path | None, listen: bool, drawing: Drawing) -> None:
    """Raise BadInput where there is nothing to hear, or it would have to be heard twice and cannot."""
    if listen == (recording is not None):
        raise BadInput("name a recording, or --listen to the microphone: one of them")
    if drawing.plot is not None and (listen or recording == STREAM):
        raise BadInput("--plot looks at the recording a second time: it is for files")


def _open(recording: Path | None) -> Samples:
    if recording is None:
        from semcast.onair.soundcard import Microphone

        return Microphone()
    from semcast.onair.files import open_samples

    return open_samples(recording)


@dataclass
class Outputs:
    """Where pictures, maps and plots go: files, numbered from the second burst on, or a folder."""

    picture: Path | None
    map: Path | None
    plot: Path | None
    force: bool
    count: int = 0
    folders: set[Path] = field(default_factory=set)

    def check(self) -> None:
        """Raise SemcastError where the first of each could not be written; make a folder that is not there."""
        from semcast.files import check_place
        from semcast.photos import check_output

        if self.picture is not None and (self.picture.is_dir() or not self.picture.suffix):
            self.folders.add(self.picture)
            try:
                self.picture.mkdir(exist_ok=True)
            except OSError as error:
                raise BadInput(f"the folder {self.picture} cannot be made ({error.strerror})") from None
        elif self.picture is not None:
            check_output(self.picture, self.force, marked=True)
        for path in (self.map, self.plot):
            if path is not None:
                check_place(path, (".png", ".svg") if path is self.plot else (".png",), self.force, "the extension .png")
        if self.plot is not None:
            from importlib.util import find_spec

            if find_spec("matplotlib") is None:
                raise Missing("plots need matplotlib: pip install 'semcast[plots]'")

    def write(self, heard: Heard, recording: Path | None) -> Path | None:
        """Write what was asked for of a burst; where its picture went."""
        from semcast.photos import to_uint8, write_image
        from semcast.pictures import label
        from semcast.trust import UNSURE

        self.count += 1
        written = None
        if heard.reception is not None and self.picture is not None:
            written = self._place(self.picture, heard)
            picture = to_uint8(heard.reception.image[:1])
            write_image(written, picture if heard.ok else label(picture, UNSURE), mark=heard.mark())
        if heard.reception is not None and self.map is not None:
            from semcast.station.maps import draw_map

            write_image(self._place(self.map, heard), draw_map(heard), mark=heard.mark())
        if self.plot is not None and recording is not None:
            from semcast.onair.files import open_samples
            from semcast.station.plots import cut_out, draw_plot

            samples = open_samples(recording)
            part = cut_out(samples, heard.capture.start_s, heard.capture.seconds)
            draw_plot(heard, part, samples.rate, self._place(self.plot, heard))
        return written

    def _place(self, path: Path, heard: Heard) -> Path:
        """The file of this burst; one that exists is not taken without force."""
        for place in self._names(path, heard):
            if self.force or not place.exists():
                return place
        raise AssertionError("names do not end")

    def _names(self, path: Path, heard: Heard) -> Iterator[Path]:
        if path in self.folders:
            stem, folder, suffix = f"{heard.capture.start_s:09.2f}s-{heard.name.replace(':', '-')}", path, ".png"
            yield folder / f"{stem}{suffix}"
        else:
            stem, folder, suffix = path.stem, path.parent, path.suffix
            if self.count == 1:
                yield path
        number = max(self.count, 2)
        while True:
            yield folder / f"{stem}-{number}{suffix}"
            number += 1


def _tell_heard(heard: Heard, written: Path | None, as_json: bool) -> None:
    """One burst: a line of JSON on stdout, or a line to read."""
    values = heard.describe() | {"output": str(written) if written else None}
    if as_json:
        print(json.dumps(values), flush=True)
        return
    share = "" if heard.capture.share > 0.999 else f", {heard.capture.share:.0%} of it came"
    where = f" → {written}" if written else ""
    print(f"{values['start_s']:9.2f} s  {heard.name}, k = {values['symbols']}: {values['snr_db']:.1f} dB (channel and clipping), "
          f"{values['offset_hz']:+.1f} Hz, {values['clock_ppm']:+.0f} ppm{share}{where}", flush=True)  # fmt: skip
    if heard.reason:
        print(("          " if heard.reception is None else "          not to be trusted: ") + heard.reason, file=sys.stderr)
