"""The verbs that send: transmit, demo, sample."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from semcast.cli.build import (
    PHOTO,
    budget_of,
    channel_of,
    check_domain,
    default_name,
    paints,
    protection_of,
    systems_of,
    watch,
)
from semcast.cli.console import say, seconds, show
from semcast.cli.inputs import Item, pair
from semcast.cli.options import (
    CODED,
    SENDING,
    SYSTEMS,
    WRITING,
    AsJson,
    CodecDevice,
    Device,
    Force,
    Identity,
    Protecting,
    Seed,
    Sending,
    among,
)
from semcast.errors import BadInput

if TYPE_CHECKING:
    from semcast.crossing import Crossing
    from semcast.framing import Picture
    from semcast.link import Budget, Channel, System
    from semcast.mark import Mark
    from semcast.metrics.looks import Looks
    from semcast.metrics.report import Metrics
    from semcast.privacy.system import Private, Protection

SentPhotos = Annotated[
    list[Path],
    typer.Argument(metavar="PHOTO|FOLDER|-", help="Any photo with a face in it; of a folder all of them.", show_default=False),
]
Received = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="OUT.png", show_default=False, rich_help_panel=WRITING,
                 help="The received face alone (of several photos: the folder of them; - for stdout, as PNG); without it, a "
                      "picture of both in PHOTO-received.png here."),
]  # fmt: skip
SystemName = Annotated[
    str | None,
    typer.Option(metavar="NAME", show_default=False, rich_help_panel=SENDING, autocompletion=among(*SYSTEMS, *CODED),
                 help=f"{', '.join(SYSTEMS)}, or a codec over 5G LDPC and QAM: {', '.join(CODED)} (avif:16qam-1/2 fixes "
                      "modulation and code rate), or your own, mine.py:Class, which runs that file; by default sketch where it "
                      "works, linear beyond its 2048 symbols."),
]  # fmt: skip
ChannelName = Annotated[
    str,
    typer.Option(metavar="awgn|rayleigh|rician", rich_help_panel=SENDING, autocompletion=among("awgn", "rayleigh", "rician")),
]
Snr = Annotated[float, typer.Option(metavar="DB", help="Es/N0 of the channel in dB.", rich_help_panel=SENDING)]
Symbols = Annotated[
    int, typer.Option(metavar="K", help="k, complex symbols of data; pilots come on top.", rich_help_panel=SENDING)
]
SymbolFile = Annotated[
    Path | None,
    typer.Option(metavar="X.npy", show_default=False, rich_help_panel=WRITING,
                 help="The complex symbols sent, complex64 of length k."),
]  # fmt: skip


# ---- transmit --------------------------------------------------------------------------------------------------------


def transmit(
    photos: SentPhotos,
    out: Received = None,
    force: Force = False,
    system: SystemName = None,
    channel: ChannelName = "awgn",
    snr: Snr = 5.0,
    symbols: Symbols = 640,
    save_symbols: SymbolFile = None,
    identity: Identity = None,
    as_json: AsJson = False,
    *,
    sending: Sending,
    protecting: Protecting,
) -> None:
    """Send photos over a simulated channel and write the faces that arrive.

    [cyan]semcast transmit me.jpg[/cyan]
    [cyan]semcast transmit me.jpg --symbols 64 --snr 0 --system generative -o face.png[/cyan]
    [cyan]semcast transmit me.jpg --channel rayleigh --pilots 8 --json[/cyan]
    [cyan]semcast transmit me.jpg --private eyes,hair[/cyan]
    [cyan]semcast transmit photos/ -o received --json[/cyan]
    """
    from semcast.files import check_file
    from semcast.metrics.report import Metrics
    from semcast.networks.precision import use_threads
    from semcast.photos import SUFFIXES, check_output
    from semcast.privacy.system import protect_all

    use_threads()
    budget = budget_of(symbols, snr, sending)
    batch = pair(photos, SUFFIXES, out, ".png", beside="-received.png")
    filtered = protecting.private is not None and protecting.privacy == "filter"
    name = system or default_name(sending, symbols, filtered)
    _check_for_one(batch.several, save_symbols, protecting.private_mask)
    batch.check(lambda path: check_output(path, force, marked=paints(name) or protecting.private is not None))
    if save_symbols:
        check_file(save_symbols, force, ".npy")
    over = channel_of(channel, sending)
    protection = protection_of(protecting, sending.aligned, batch.items[0].path)
    check_domain(sending, protecting.private, identity)
    link = systems_of([name], sending)[0]
    sender, metrics = protect_all([link], protection)[0], Metrics.load(identity)
    by_default = system is None and not filtered
    transmission = Transmission(link, sender, over, budget, snr, sending, protection, metrics, by_default)
    batch.work_through(lambda item: transmission.send(item, out is None, save_symbols, as_json), ".png")


@dataclass(frozen=True)
class Transmission:
    """All that the photos of one command have in common; ``sender`` is the link, or the link behind a protection."""

    link: System
    sender: System
    channel: Channel
    budget: Budget
    snr_db: float
    sending: Sending
    protection: Protection | None
    metrics: Metrics
    by_default: bool
    said: set[str] = field(default_factory=set)

    def send(self, item: Item, compare: bool, save_symbols: Path | None, as_json: bool) -> None:
        """Send one photo, write what arrived, and say how it went."""
        from semcast.photos import to_uint8, write_image
        from semcast.pictures import label
        from semcast.trust import UNSURE

        assert item.out is not None
        image = self._frame(item)
        crossing = self._cross(self.sender, image, warm=True)
        received = to_uint8(crossing.reception.image)
        if save_symbols:
            _save_symbols(save_symbols, crossing)
        values = self._values(item, image, crossing)
        arrived = bool(crossing.reception.ok.all())
        shown = label(received, UNSURE) if arrived and not values["ok"] else received
        write_image(item.out, self._compare(image, shown) if compare else shown, self._mark(values.get("reason", "")))
        if self.protection:
            from semcast.privacy.receipt import receipt

            plain = self._cross(self.link, image, warm=False)
            values["privacy"] = receipt(
                cast("Private", self.sender), image, crossing, plain, self.metrics, aligned=self.sending.aligned
            )
        for note in [*image.notes, *self.metrics.notes]:
            if note not in self.said:
                self.said.add(note)
                say(note)
        _report(values, as_json)

    def _frame(self, item: Item) -> Picture:
        """The photo as the link takes it."""
        from semcast.api import photo, without_face
        from semcast.face import NoFace

        given, domain = photo(item.path), self.sending.domain
        if domain == PHOTO:
            return given.whole()
        if domain != "face":
            return given.scene(domain)
        try:
            return given.face(aligned=self.sending.aligned)
        except NoFace as error:
            raise without_face(error, [self.link]) from None

    def _cross(self, system: System, image: Picture, *, warm: bool) -> Crossing:
        from semcast.api import transmit
        from semcast.generative.inversion import Descent

        slow = isinstance(getattr(self.link, "inversion", None), Descent) or getattr(self.link, "refinement", None)
        if warm and not slow:  # the first call allocates and tunes: not what a burst takes
            transmit(system, image, self.channel, self.budget, seed=self.sending.seed, snr_db=self.snr_db)
        with watch(self.link):
            return transmit(system, image, self.channel, self.budget, seed=self.sending.seed, snr_db=self.snr_db)

    def _compare(self, image: Picture, received: Any) -> Any:
        from semcast.pictures import side_by_side

        private = f", private: {self.protection.choice.name}" if self.protection else ""
        caption = f"{self.link.name}, k = {self.budget.symbols}, {self.snr_db:g} dB{private}"
        framed = {"face": "aligned", PHOTO: "the photo"}.get(self.sending.domain, "squeezed")
        return side_by_side([image.pixels, received], [f"{framed}, {image.shape[-1]} x {image.shape[-2]}", caption])

    def _mark(self, doubt: str) -> Mark | None:
        """What the picture's file says, where a network painted any of it, and why it is unsure."""
        from semcast.mark import MOST_TEXT, Mark

        own = any(True for _ in self.link.parameters()) and paints(self.link.name)
        if not own and self.link.name != "rl-asc" and not self.protection:
            return None
        version = self.link.fingerprint()[:12]
        return Mark(self.link.name, self.budget.symbols, self.snr_db, self.channel.name, version, doubt=doubt[:MOST_TEXT])

    def _doubt(self, crossing: Crossing) -> str:
        """Why the picture is not to be trusted; "" where it is. A face behind a protection is another one on purpose."""
        from semcast.trust import doubt

        if not bool(crossing.reception.ok.all()):
            return crossing.reception.reason
        return "" if self.protection else doubt(self.link, crossing.received)

    def _looks(self, image: Picture) -> Looks:
        from semcast.metrics.looks import Looks
        from semcast.sources import face_parser

        return Looks(image.tensor, face_parser() if self.sending.domain == "face" else None)

    def _values(self, item: Item, image: Picture, crossing: Crossing) -> dict[str, Any]:
        """What ``--json`` prints."""
        symbols, reception = self.budget.symbols, crossing.reception
        picture, reason = reception.image.to(image.device), self._doubt(crossing)
        values = {
            "image": item.path.name, "system": self.link.name, "default_system": self.by_default,
            "channel": self.channel.name, "snr_db": self.snr_db,
            "symbols": symbols, "data_symbols": crossing.burst.symbols.shape[1], "uses": self.channel.uses(symbols),
            "bandwidth_ratio": symbols / image.numel(), "seed": self.sending.seed,
            "domain": self.sending.domain, "aligned": self.sending.aligned, "faces_found": image.faces_found,
            **self.metrics.measure(image, picture), **self._looks(image).measure(picture, directions=False),
            "side_bytes": crossing.burst.side_bytes, "encode_s": crossing.encode_s, "decode_s": crossing.decode_s,
            "ok": not reason, "output": item.out_name,
        }  # fmt: skip
        if self.sending.design_snr is not None:
            values["design_snr_db"] = self.sending.design_snr
        return values | ({"reason": reason} if reason else {})


def _check_for_one(several: bool, symbols: Path | None, mask: Path | None) -> None:
    """Raise SemcastError where what is for one photo is asked for several."""
    for flag, path in (("--save-symbols", symbols), ("--private-mask", mask)):
        if path and several:
            raise BadInput(f"{flag} is for one photo")


def _save_symbols(path: Path, crossing: Crossing) -> None:
    import io

    import numpy as np

    from semcast.files import whole

    data = io.BytesIO()  # into a file np.save writes past Python, and a disk that is full goes unnoticed
    np.save(data, crossing.burst.symbols[0].cpu().numpy().astype(np.complex64))
    with whole(path) as file:
        file.write(data.getbuffer())


def _report(values: dict[str, Any], as_json: bool) -> None:
    """One result: a line of JSON alone on stdout, or a table for reading."""
    if not values["ok"]:
        say("the receiver does not trust what it received" + (f": {values['reason']}" if "reason" in values else ""))
    if as_json:
        from semcast.bench.records import finite

        print(json.dumps(finite(values), allow_nan=False))
        return
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for row in _rows(values):
        table.add_row(*row)
    show(table)
    if "privacy" in values:
        from semcast.privacy import receipt

        show(receipt.table(values["privacy"]))


def _rows(values: dict[str, Any]) -> Sequence[tuple[str, str]]:
    from semcast.metrics.looks import describe
    from semcast.metrics.report import NAMES

    why = " (the default)" if values["default_system"] else ""
    design = f", designed for {values['design_snr_db']:g} dB" if "design_snr_db" in values else ""
    pilots = f" and {values['uses'] - values['symbols']} pilots" if values["uses"] > values["symbols"] else ""
    return [
        ("system", values["system"] + why),
        ("channel", f"{values['channel']}, {values['snr_db']:g} dB{design}"),
        ("symbols", f"{values['symbols']}{pilots} (k / n = 1/{1 / values['bandwidth_ratio']:.0f}), "
                    f"{values['side_bytes']} side bytes"),
        *((name.heading.removesuffix(" dB"), name.form.format(values[key])) for key, name in NAMES.items() if key in values),
        *describe(values),
        ("encode, decode", f"{seconds(values['encode_s'])}, {seconds(values['decode_s'])}"),
        ("written", values["output"]),
    ]  # fmt: skip


# ---- demo, sample ----------------------------------------------------------------------------------------------------


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DEMO.png", rich_help_panel=WRITING)] = Path("demo.png"),
    force: Force = False,
    seed: Seed = 0,
    identity: Identity = None,
    codec: Annotated[
        bool, typer.Option("--codec", help="The face as files of 300 to 1,000 bytes instead, by the semantic codec and others.")
    ] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Instead what the receiver sees where the eyes are private, or all but the eyes.")
    ] = False,
    device: CodecDevice = "cpu",
) -> None:
    """An astronaut's portrait at 640 and at 64 symbols, 10, 5 and 0 dB, through three systems: a picture and a table.

    [cyan]semcast demo -o demo.png[/cyan]
    [cyan]semcast demo --codec -o codec.png[/cyan]
    [cyan]semcast demo --private -o private.png[/cyan]
    """
    from time import perf_counter

    begun = perf_counter()
    from semcast.mark import Mark
    from semcast.metrics.report import Metrics
    from semcast.networks.precision import choose_device, use_threads
    from semcast.photos import check_output, write_image

    if codec and private:
        raise BadInput("a demonstration shows --codec or --private: give one of them")
    check_output(out, force, marked=True)
    where = choose_device(device)
    use_threads()
    from semcast.studies.demo import run_codec_demo, run_demo
    from semcast.studies.private_demo import run_private_demo

    metrics = Metrics.load(identity, vgg=False)
    run = run_private_demo if private else run_demo
    shown = run_codec_demo(metrics, where) if codec else run(metrics, seed, where)
    write_image(out, shown.picture, Mark(shown.painters))
    for note in shown.notes:
        say(note)
    show(shown.table)
    say(shown.reading)
    say(f"{out} written in {perf_counter() - begun:.1f} s")


def sample(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="SHEET.png", rich_help_panel=WRITING)] = Path("sheet.png"),
    force: Force = False,
    count: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="Faces.")] = 16,
    seed: Annotated[int, typer.Option(help="Other faces for another seed.")] = 0,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=1.5, metavar="T", help="Spread of N: 1 is the prior; less is more usual faces.")
    ] = 0.8,
    device: Device = "auto",
) -> None:
    """Faces of nobody: a contact sheet drawn from the generative model's flow.

    [cyan]semcast sample -o sheet.png --count 16[/cyan]
    """
    import torch

    from semcast.mark import Mark
    from semcast.networks.precision import use_threads
    from semcast.photos import check_output, to_uint8, write_image
    from semcast.pictures import sheet

    use_threads()
    check_output(out, force, marked=True)
    system: Any = systems_of(["generative"], Sending(device=device))[0]
    faces = system.sample(count, torch.Generator().manual_seed(seed), temperature)
    write_image(out, sheet([to_uint8(face) for face in faces]), Mark(system.name, fingerprint=system.fingerprint()[:12]))
    say(f"{count} faces: {out}")
