"""The demonstration of privacy: one portrait whose eyes are private, or all but its eyes, as the receiver sees it.

The paper's fig. 2 (with and without the knowledge base) and fig. 6 (eyes private; all but the eyes private; the eyes compared)
on a photo in the public domain.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from rich.table import Table
from torch import Tensor

from semcast.api import load
from semcast.channels import make_channel
from semcast.domains import PARTS
from semcast.errors import BadInput
from semcast.face import align
from semcast.generative.generator import BOXES
from semcast.generative.system import Generative
from semcast.hashes import generator_for
from semcast.link import Budget
from semcast.metrics.report import Metrics
from semcast.networks.precision import choose_device
from semcast.networks.segmenter import FaceParser
from semcast.photos import Photo, to_tensor, to_uint8
from semcast.pictures import beside, fit, grid
from semcast.privacy.blind import Blind, hide
from semcast.privacy.filter import Filter
from semcast.privacy.knowledge import KnowledgeBase
from semcast.privacy.receipt import masked_psnr_db
from semcast.privacy.system import Private
from semcast.studies.demo import Demo

CHOICES = ("eyes", "eyes,brows,nose", "all-but-eyes")
SYMBOLS, SNR_DB = 640, 10.0
COLUMNS = ("private: hatched", "what is sent of it (blind)", "arrives: not private", "arrives: blind", "arrives: filter",
           "filter without knowledge base")  # fmt: skip
CLOSE = ("the eyes", "not private", "blind", "filter")


def filter_codes(base: KnowledgeBase, codes: Tensor, text: str, random: np.random.Generator, *, bare: bool = False) -> Tensor:
    """What the paper's filter sends for codes ``[1, 28, code]``.

    Args:
        text: the private parts.
        bare: without the knowledge base: a uniform direction and no way back.
    """
    asked = Filter(text)
    if bare:
        return replace(asked, lambda2=0.0).move(codes[0], base.mean, random).codes[None]
    natural = base.replace(codes, asked.choice.codes)[0]
    return asked.move(codes[0], natural, random, base.draw(random)).codes[None]


def crop_eyes(image: Tensor) -> Tensor:
    """The box of the eyes ``[1, 3, h, w]``."""
    y0, y1, x0, x1 = (round(edge * image.shape[-1] / 64) for edge in BOXES[PARTS.index("eyes")])
    return image[:, :, y0:y1, x0:x1]


@torch.no_grad()
def run_private_demo(metrics: Metrics, seed: int = 0, device: str | torch.device = "cpu") -> Demo:
    """The astronaut with private parts over AWGN at 10 dB and 640 symbols, the same noise for every mode.

    Raises:
        SemcastError: the generative link or the knowledge base has no weights.
    """
    link, base = load("generative", device=device), KnowledgeBase.load()
    if not isinstance(link, Generative):
        raise BadInput("privacy needs the generative link")
    photo = skimage.data.astronaut()
    face, _ = align(photo, FaceParser.load(), name="the astronaut")
    image = to_tensor(face).to(choose_device(device))
    codes, random = link.invert(image), np.random.default_rng(seed)
    plain = _arrive(link, codes, seed)
    table = Table("private", "mode", "outside, dB from not private", "inside", *metrics.identity)
    tiles, close = [], [[_enlarge(image)], [_enlarge(plain)], [], []]
    for text in CHOICES:
        blind = Private(link, link, base, Blind(text)).eval()
        region = Blind(text).find(image, blind.label).mask
        sent = blind.natural(hide(image, region), region)
        received = {
            "blind": _arrive(link, sent, seed),
            "filter": _arrive(link, filter_codes(base, codes, text, random), seed),
            "without knowledge base": _arrive(link, filter_codes(base, codes, text, random, bare=True), seed),
        }
        tiles.append([_hatch(face, region), to_uint8(hide(image, region)), to_uint8(plain), *map(to_uint8, received.values())])
        for name, picture in received.items():
            table.add_row(text, name, *_measure(metrics, image, plain, picture, region))
        table.add_section()
        if text == "all-but-eyes":
            close[2].append(_enlarge(received["blind"]))
            close[3].append(_enlarge(received["filter"]))
    eyes = grid([[row[0]] for row in close], names=CLOSE, title="all but the eyes private: the eyes")
    names = [f"{text} private" for text in CHOICES]
    blocks = [grid([[fit(photo, face.shape[0])], [face]], columns=["photo, and the face aligned"]),
              grid(tiles, columns=COLUMNS, names=names), eyes]  # fmt: skip
    reading = ("the receiver is told nothing: what is private is a plausible face's, not this one's; outside stays as it was; "
               "without the knowledge base it would not look like a face")  # fmt: skip
    return Demo(beside(blocks), table, [], reading, "generative")


def _arrive(link: Generative, codes: Tensor, seed: int) -> Tensor:
    """What the receiver shows of codes."""
    channel = make_channel("awgn").draw(1, SYMBOLS, SNR_DB, generator_for(seed, "astronaut"))
    return link.decode(channel(link.send(codes, Budget(SYMBOLS, SNR_DB)))).image


def _measure(metrics: Metrics, photo: Tensor, plain: Tensor, picture: Tensor, region: Tensor) -> list[str]:
    distances = [masked_psnr_db(plain, picture, where) for where in (~region, region)]
    similar = [recogniser.similarity(photo, picture) for recogniser in metrics.identity.values()]
    return [*(f"{value:.1f}" for value in distances), *(f"{float(value):.2f}" for value in similar)]


def _hatch(face: Photo, region: Tensor) -> Photo:
    """The face with its private pixels hatched."""
    y, x = np.mgrid[: face.shape[0], : face.shape[1]]
    private = region[0, 0].cpu().numpy().astype(bool)
    stripes = private & ((x + y) % 12 < 4)
    return np.where(stripes[..., None], np.array([205, 60, 40], np.uint8), face).astype(np.uint8)


def _enlarge(image: Tensor) -> Photo:
    return to_uint8(F.interpolate(crop_eyes(image), scale_factor=2.0, mode="bicubic").clamp(0, 1))
