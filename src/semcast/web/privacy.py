"""The tab Privacy: which parts of a face stay at home, what is sent instead, and whether a symbol knows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from semcast.domains import PARTS
from semcast.errors import BadInput
from semcast.generative.system import Generative
from semcast.link import Burst
from semcast.photos import Photo, to_uint8
from semcast.privacy.blind import Blind, find_region
from semcast.privacy.filter import Filter
from semcast.privacy.parts import PartChoice
from semcast.privacy.system import Private, Protected
from semcast.station.maps import REPLACED
from semcast.web.images import show, tint
from semcast.web.link import Arrived, Setting, encode_face

if TYPE_CHECKING:
    from semcast.web.shelf import Shelf
    from semcast.web.visitor import Face

MODES = {
    "blind": "blind: pixels never enter",
    "filter": "filter: codes are moved",
}
SYSTEMS = ("generative", "sketch", "linear-gan")
KEPT = 4
"""Protections of a face that are remembered."""


@dataclass(frozen=True)
class Safe:
    """A face behind a protection, before it is sent.

    Args:
        private: the protecting system.
        protected: what may be sent.
        mask: the private region, bool ``[1, 1, 256, 256]``.
        instead: what is sent from, as a picture.
    """

    private: Private
    protected: Protected
    mask: Tensor
    instead: Photo


def labels_of(shelf: Shelf, face: Face) -> Tensor:
    """The part of each pixel as the parser sees it, ``[1, 256, 256]``; looked at once."""
    if "labels" not in face.kept:
        face.kept["labels"] = shelf.parser.labels(face.tensor.to(shelf.device)).cpu()
    labels: Tensor = face.kept["labels"]
    return labels


def parts_seen(shelf: Shelf, face: Face) -> dict[str, float]:
    """The parts that are there, and the share of the picture that each takes."""
    labels = labels_of(shelf, face)
    shares = {name: float((labels == number).float().mean()) for number, name in enumerate(PARTS)}
    return {name: share for name, share in shares.items() if share > 0.0005}


def part_at(shelf: Shelf, face: Face, x: float, y: float) -> str:
    """The name of the part at a place, both in 0..1."""
    labels = labels_of(shelf, face)[0]
    row, column = (min(len(labels) - 1, max(0, int(at * len(labels)))) for at in (y, x))
    return PARTS[int(labels[row, column])]


def draw_parts(shelf: Shelf, face: Face, chosen: Sequence[str]) -> str:
    """The face with the chosen parts in violet and with its edge, to click on."""
    drawn = tint_parts(shelf, face, chosen)
    return show(drawn, f"the photo\nprivate: {', '.join(chosen)}" if chosen else "the photo\nclick what is private")


def tint_parts(shelf: Shelf, face: Face, chosen: Sequence[str]) -> Photo:
    """The face with the chosen parts in violet."""
    labels = labels_of(shelf, face)[0].numpy()
    inside = np.isin(labels, [PARTS.index(name) for name in chosen])
    edge = inside & ~(np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1))
    return tint(face.picture.pixels, REPLACED, np.where(edge, 1.0, np.where(inside, 0.55, 0.0)))


@torch.no_grad()
def protect(shelf: Shelf, face: Face, system: str, parts: Sequence[str], mode: str) -> Safe:
    """Make of a face what may be sent of it; moving k or SNR does not make it again.

    Raises:
        BadInput: no part or all of them are private, or the mode does not go with the system.
    """
    if not parts:
        raise BadInput("click a part of the face, or tick it, to make it private")
    if mode not in MODES:
        raise BadInput(f"unknown protection {mode!r}; the known are {', '.join(MODES)}")
    key = ("safe", system, tuple(sorted(parts)), mode)
    if key in face.kept:
        safe: Safe = face.kept[key]
        return safe
    text = ",".join(parts)
    image, labels = face.tensor.to(shelf.device), labels_of(shelf, face)
    mask = find_region(labels, PartChoice.parse(text)).mask
    # The outline that the parser found is held as a mask: what is compared below differs in pixels and in nothing else.
    asked: Blind | Filter = Filter(text) if mode == "filter" else Blind(text, mask[0, 0])
    private = Private(shelf.system(system), shelf.generative, shelf.knowledge, asked).eval()
    protected = private.protect(image)
    painted = private.link.render(protected.codes).clamp(0, 1) if protected.image is None else protected.image
    made = Safe(private, protected, mask, to_uint8(painted.cpu()))
    for old in [old for old in face.kept if old[0] == "safe"][: 1 - KEPT]:
        del face.kept[old]
    face.kept[key] = made
    return made


@torch.no_grad()
def transmit(safe: Safe, face: Face, setting: Setting) -> Arrived:
    """Send what may be sent, and receive it: the receiver does not know that anything was protected.

    Raises:
        SemcastError: the system does not work with this k.
    """
    safe.private.check(setting.budget)
    burst = replace(safe.private.send(safe.protected, setting.budget), name=face.picture.name)
    received = setting.draw()(burst, seed=setting.seed).check()
    return Arrived(safe.private.system, setting, burst, received, safe.private.decode(received), 0.0)


def show_instead(safe: Safe) -> str:
    """What is sent from, with its edge."""
    from semcast.mark import Mark

    what = "all that its codes say" if isinstance(safe.private.system, Generative) else "in its private parts"
    return show(safe.instead, what, Mark(safe.private.name, what="painted"))


# ---- does a symbol know? ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proof:
    """The same face with other private pixels: how many symbols differ, protected and not.

    Args:
        picture: the repainted photo, as an address.
        protected, plain: how many of the symbols differ.
        symbols: of how many.
        bursts: the protected symbols before and after, complex ``[k]``.
    """

    picture: str
    protected: int
    plain: int
    symbols: int
    bursts: tuple[Any, Any]

    @property
    def sentence(self) -> str:
        """What it shows."""
        return (
            f"With other pixels there, {self.protected} of {self.symbols} protected symbols differ; "
            f"without protection {self.plain} of {self.symbols} would."
        )


@torch.no_grad()
def repaint(face: Face, safe: Safe, setting: Setting, turn: int = 0) -> Proof:
    """Paint other pixels over the private ones and see what becomes of the symbols.

    Args:
        turn: another number, other pixels.
    """
    budget = setting.budget
    image = face.tensor
    random = torch.Generator().manual_seed(turn)
    coarse = torch.rand(1, 3, 16, 16, generator=random)
    noise = torch.nn.functional.interpolate(coarse, tuple(image.shape[-2:]), mode="nearest")
    other = torch.where(safe.mask, noise, image)
    before, after = (_protected(safe, photo, budget) for photo in (image, other))
    system = safe.private.system
    kept = encode_face(face, system, budget)
    plain = system.encode(other.to(system.device), budget)
    changed, would = (int((one.symbols != two.symbols).sum()) for one, two in ((before, after), (kept, plain)))
    drawn = show(to_uint8(other), "the photo, its private\npixels painted over")
    return Proof(drawn, changed, would, budget.symbols, (before.symbols[0].cpu().numpy(), after.symbols[0].cpu().numpy()))


def _protected(safe: Safe, image: Tensor, budget: Any) -> Burst:
    private = safe.private
    if isinstance(private.protection, Filter):  # its direction is drawn anew: the same one for both, or nothing could be compared
        private = Private(private.system, private.link, private.knowledge, private.protection, repeatable=0).eval()
    return private.send(private.protect(image.to(private.device)), budget)


def promise(mode: str) -> str:
    """What a protection promises, and what not."""
    if mode == "filter":
        return (
            "The paper's filter, for generative alone, moves the private codes by a random direction. The encoder has seen all "
            "of the photo, so the other codes, and with them all symbols, still depend on the private pixels: the proof shows it."
        )
    return (
        "Private pixels are taken out before anything is computed: no symbol depends on one of them, bit for bit. What the "
        "receiver sees there is made up from the rest. The outline was found by a parser that saw the photo, and is held here."
    )
