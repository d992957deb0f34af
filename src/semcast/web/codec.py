"""The tab Codec: a street or a face in so many bytes, where they went, and other codecs at the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

import semcast
from semcast.codec.allocation import care_for
from semcast.codec.codec import Reconstruction, RlAsc
from semcast.codec.receipt import Receipt, draw_overlay, itemise, name_state
from semcast.domains import domain_named
from semcast.errors import DoesNotFit
from semcast.mark import Mark
from semcast.photos import Photo, to_tensor
from semcast.web.images import address, blocks, encode, show
from semcast.web.limits import MOST_SEM, check_size, clean_name

if TYPE_CHECKING:
    from semcast.codec.choice import Options
    from semcast.web.shelf import Shelf
    from semcast.web.visitor import Subject

LEAST, MOST, STEP, USUAL = 150, 3000, 10, 500
"""Bytes of the slider."""
RIVALS = ("avif", "jpeg2000", "webp", "jpeg")
DRAWN = "drawn"
DOMAINS = {
    "face": "a face (found and cropped)",
    "street": "a street (squeezed to a square)",
    DRAWN: "no street? take a drawn one",
}
CARED = 4
"""What a concept that is cared for counts."""


@dataclass(frozen=True)
class Coded:
    """A photo in a few hundred bytes, and back."""

    data: bytes
    original: Photo | None
    shown: Reconstruction
    receipt: Receipt
    seconds: float

    @property
    def mark(self) -> Mark:
        """What its picture's file says."""
        return Mark("rl-asc", fingerprint=self.shown.fingerprint[:12])

    def show(self) -> str:
        """The painted picture with its edge."""
        return show(self.shown.pixels, f"rl-asc, {len(self.data)} bytes", self.mark, right=True)

    def show_layout(self) -> str:
        """The layout in its colours, to click on."""
        return address(encode(blocks(self.receipt.domain.paint(self.receipt.stream.layout)), kind="PNG"), "image/png")

    def show_receipt(self) -> str:
        """Where the bytes went, as a picture."""
        return address(encode(draw_overlay(self.receipt), kind="PNG"), "image/png")

    def concepts(self) -> list[tuple[str, str, str]]:
        """Each concept in the order of the file: name, colour, and what it was given."""
        rows = []
        for concept, name, spent in self.receipt.lines:
            state = name_state(concept)
            given = f"{spent:.0f} bytes" if state == "sent" else state
            red, green, blue = self.receipt.domain.colours[concept.category]
            rows.append((name, f"rgb({red},{green},{blue})", given))
        return rows

    def concept_at(self, x: float, y: float) -> str:
        """The name of what lies at a place of the layout, both in 0..1."""
        layout = self.receipt.stream.layout
        row, column = (min(len(layout) - 1, max(0, int(at * len(layout)))) for at in (y, x))
        return self.receipt.domain.classes[int(layout[row, column])]


def pixels_of(subject: Subject, domain: str) -> Photo:
    """What of a photo the codec of a domain sees, uint8 ``[256, 256, 3]``.

    Raises:
        BadInput: there is no face in it.
    """
    domain_named(domain)
    return subject.need_face().picture.pixels if domain == "face" else subject.scene


@torch.no_grad()
def code(shelf: Shelf, subject: Subject, domain: str, max_bytes: int, cares: Mapping[str, int]) -> Coded:
    """Code a photo; what does not depend on the bytes is computed once for each photo and care.

    Args:
        cares: factors by the names of concepts.

    Raises:
        SemcastError: the photo has no face, or nothing fits.
    """
    begun = perf_counter()
    pixels = pixels_of(subject, domain)
    codec = cast(RlAsc, shelf.codec("rl-asc", domain).coder)
    kind = domain_named(domain)
    factors = {kind.category(name): factor for name, factor in sorted(cares.items())}
    size = (256, 256) if domain == "face" else subject.size
    options = _options(subject, codec, domain, factors, pixels, size)
    choice = codec.allocation(options, max_bytes)
    if factors and not codec.told:
        choice = care_for(options, choice, max_bytes, factors)
    own = codec if not factors else RlAsc(codec.networks, codec.allocation, codec.name, care=factors)
    data = own.write(options.sides[choice.side], choice, size)
    shown = codec.receive(data)
    return Coded(data, pixels, shown, itemise(data), perf_counter() - begun)


def _options(
    subject: Subject, codec: RlAsc, domain: str, factors: Mapping[int, int], pixels: Photo, size: tuple[int, int]
) -> Options:
    key = ("options", domain, tuple(factors.items()))
    if key not in subject.kept:
        for old in [old for old in subject.kept if old[0] == "options"][:-3]:  # the last few cares are kept
            del subject.kept[old]
        own = codec if not factors else RlAsc(codec.networks, codec.allocation, codec.name, care=factors)
        subject.kept[key] = own.options(pixels, size)
    options: Options = subject.kept[key]
    return options


@torch.no_grad()
def open_sem(shelf: Shelf, data: bytes, name: str) -> Coded:
    """Paint an uploaded ``.sem`` file; there is no photo beside it.

    Raises:
        SemcastError: it is empty, too large, no such file, or too damaged.
    """
    begun = perf_counter()
    check_size(data, clean_name(name), MOST_SEM)
    receipt = itemise(data)
    codec = cast(RlAsc, shelf.codec("rl-asc", receipt.domain.name).coder)
    shown = codec.receive(data)
    return Coded(data, None, shown, receipt, perf_counter() - begun)


def rival(shelf: Shelf, pixels: Photo, name: str, max_bytes: int) -> tuple[Photo, int]:
    """The same pixels through a photo codec in at most so many bytes: its picture and its bytes.

    Raises:
        DoesNotFit: they hold no photo of it.
    """
    codec = shelf.codec(name, "face").coder
    try:
        data = codec.compress(pixels, max_bytes)
    except DoesNotFit:
        raise DoesNotFit(f"{name} cannot say anything of this photo in {max_bytes} bytes") from None
    return codec.decompress(data), len(data)


def quality(original: Photo, picture: Photo) -> str:
    """Two numbers beside the size, with what they mean."""
    values = semcast.metrics(to_tensor(original), to_tensor(picture))  # type: ignore[operator]
    text = f"{values['psnr_db']:.1f} dB PSNR"
    if "lpips_squeeze" in values:
        text = f"{values['lpips_squeeze']:.3f} LPIPS, {text}"
    return text


def spent(coded: Coded) -> str:
    """The size in a sentence."""
    whole = 3 * 256 * 256
    size = len(coded.data)
    return f"{size} bytes, {whole // size} times fewer than the {whole:,} of its pixels; {1000 * coded.seconds:.0f} ms."


def cell_share(coded: Coded) -> float:
    """The share of places whose look was sent, beside what lies there."""
    sent = sum(len(concept.cells) for concept in coded.receipt.stream.concepts if concept.shown_level)
    return float(np.clip(sent / 256, 0, 1))
