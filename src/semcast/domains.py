"""The two domains of the semantic codec, streets and faces: their categories, and what each is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semcast.errors import BadInput
from semcast.files import quote
from semcast.given import check_text

IGNORED = 255
"""The label of a pixel that belongs to no category or to an unknown one: neither trained on nor counted."""

CARED = 4
"""What a category counts that is cared for without saying how much: two levels more (log2)."""


@dataclass(frozen=True)
class Domain:
    """A kind of photo that the codec has networks for.

    Args:
        name: what the user calls it; weights are named ``parser-<name>``, ``judge-<name>`` and so on.
        folder: the folder of its shards under the data folder.
        classes: the categories in the order of the dataset's labels.
        colours: sRGB of each category in a picture of a layout.
        importance: a whole number for each category; importance x cells decides what is coded first, at both ends.
        mirrored: pairs of categories that trade places when the photo is flipped left-right.
        aspect: width / height that the photos had before they became squares.
        tasks: what a picture may be for, by name, as :meth:`cares` reads it.
    """

    name: str
    folder: str
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    importance: tuple[int, ...]
    mirrored: tuple[tuple[int, int], ...] = ()
    aspect: float = 1.0
    tasks: tuple[tuple[str, str], ...] = ()

    @property
    def flipped(self) -> tuple[int, ...]:
        """For each category the one it becomes when the photo is flipped."""
        partner = {a: b for pair in self.mirrored for a, b in (pair, pair[::-1])}
        return tuple(partner.get(category, category) for category in range(len(self.classes)))

    def category(self, name: str) -> int:
        """The number of a category by its name.

        Raises:
            BadInput: there is none; the message lists those there are.
        """
        if name not in self.classes:
            raise BadInput(f"there is no {name!r} in the domain {self.name} ({', '.join(self.classes)})")
        return self.classes.index(name)

    def cares(self, text: str | None) -> dict[int, int]:
        """What the user cares for, ``person,car=2``, as whole factors by category; a name alone counts :data:`CARED` times.

        Names of two words may be joined by a hyphen: ``traffic-light``.

        Raises:
            BadInput: a category is unknown or named twice, or a factor is not a whole number from 1 to 255.

        >>> STREET.cares("person,car=2"), STREET.cares(None)
        ({11: 4, 13: 2}, {})
        """
        cares: dict[int, int] = {}
        for part in check_text("what is cared for", "" if text is None else text).split(","):
            name, given, factor = part.strip().partition("=")
            if not name and not given:
                continue
            category = self.category(name.strip().replace("-", " "))
            if category in cares:
                raise BadInput(f"{name!r} is cared for twice: give it one factor")
            if given and not (factor.strip().isascii() and factor.strip().isdigit() and 1 <= int(factor) <= 255):
                raise BadInput(f"a factor is a whole number from 1 to 255, not {factor!r} (as in person,car=4)")
            cares[category] = int(factor) if given else CARED
        return cares

    def name_task(self, cares: Mapping[int, int]) -> str | None:
        """The task that cares for just this; None where there is none of a name.

        >>> STREET.name_task(STREET.cares_for("traffic")), STREET.name_task({1: 2})
        ('traffic', None)
        """
        return next((name for name, text in self.tasks if self.cares(text) == dict(cares)), None)

    def cares_for(self, task: str | None, text: str | None = None) -> dict[int, int]:
        """What a task cares for, and what the user does besides or instead.

        Args:
            task: of :attr:`tasks`; None: no task.
            text: as :meth:`cares` reads it; a category of both counts what is said here.

        Raises:
            BadInput: there is no such task, or as :meth:`cares`.
        """
        known = dict(self.tasks)
        if task is not None and (not isinstance(task, str) or task not in known):
            raise BadInput(f"the domain {self.name} has no task {quote(task)}; it has {', '.join(known)}")
        return self.cares(known[task] if task is not None else None) | self.cares(text)

    def spell(self, cares: Mapping[int, int]) -> str:
        """Cares as :meth:`cares` reads them.

        >>> STREET.spell({11: 4, 6: 2})
        'traffic light=2,person=4'
        """
        return ",".join(f"{self.classes[category]}={factor}" for category, factor in sorted(cares.items()))

    def paint(self, layout: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A layout ``[H, W]`` as a picture ``[H, W, 3]``; ignored places are black."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self.colours)] = self.colours
        return palette[layout]


# The colours are those of the Cityscapes scripts. Importance: what traffic is about before what it happens on; a road is
# large enough to come first anyway, and a sky looks like any other.
STREET = Domain(
    name="street",
    folder="street256",
    classes=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
        "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    colours=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
        (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70),
        (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
    importance=(1, 2, 2, 2, 2, 3, 6, 6, 2, 1, 1, 8, 8, 4, 4, 4, 4, 6, 6),
    aspect=2.0,
    tasks=(
        ("pedestrians", "person=8,rider=8,bicycle=4"), ("traffic", "traffic light=8,traffic sign=8,pole=2"),
        ("vehicles", "car=8,truck=8,bus=8,train=8,motorcycle=8"),
    ),
)  # fmt: skip

# "Left" is the person's left, so a flip makes a left eye a right one. Importance: what a face is known by.
FACE = Domain(
    name="face",
    folder="faces256",
    classes=(
        "background", "skin", "nose", "glasses", "left eye", "right eye", "left brow", "right brow", "left ear", "right ear",
        "mouth", "upper lip", "lower lip", "hair", "hat", "earring", "necklace", "neck", "cloth",
    ),
    colours=(
        (0, 0, 0), (204, 153, 122), (76, 153, 0), (204, 204, 0), (51, 51, 255), (0, 128, 255), (0, 255, 255), (0, 204, 170),
        (204, 0, 204), (255, 102, 204), (255, 255, 255), (255, 0, 0), (160, 0, 40), (102, 51, 0), (255, 153, 51),
        (255, 204, 204), (102, 102, 153), (153, 102, 76), (90, 130, 90),
    ),
    importance=(1, 4, 6, 6, 16, 16, 8, 8, 3, 3, 12, 12, 12, 2, 2, 2, 2, 1, 1),
    mirrored=((4, 5), (6, 7), (8, 9)),
    tasks=(
        ("identity", "left eye=8,right eye=8,left brow=4,right brow=4,nose=4,mouth=4,upper lip=4,lower lip=4,skin=2"),
        ("expression", "left eye=4,right eye=4,left brow=8,right brow=8,mouth=8,upper lip=8,lower lip=8"),
    ),
)  # fmt: skip

DOMAINS = {domain.name: domain for domain in (STREET, FACE)}


def domain_named(name: str) -> Domain:
    """A domain by its name.

    Raises:
        BadInput: there is none.

    >>> domain_named("street").classes[13]
    'car'
    """
    if not isinstance(name, str) or name not in DOMAINS:
        raise BadInput(f"unknown domain {quote(name)}; the known are {', '.join(DOMAINS)}")
    return DOMAINS[name]


# ---- the 13 semantic parts of a face and the 28 codes that describe them (Semantic StyleGAN, Shi et al. 2022) ----------

PARTS = (
    "background", "skin", "eyes", "brows", "mouth", "nose", "ears",
    "hair", "neck", "cloth", "glasses", "hat", "earring",
)  # fmt: skip
NUM_PARTS = len(PARTS)
BASE_CODES = 2
NUM_CODES = BASE_CODES + 2 * NUM_PARTS

# CelebAMask-HQ class → part. "Left" and "right" share a part, so a horizontal flip needs no relabelling.
_CELEBA = {
    0: "background", 1: "skin", 2: "nose", 3: "glasses", 4: "eyes", 5: "eyes", 6: "brows", 7: "brows",
    8: "ears", 9: "ears", 10: "mouth", 11: "mouth", 12: "mouth", 13: "hair", 14: "hat", 15: "earring",
    16: "neck", 17: "neck", 18: "cloth",
}  # fmt: skip
_LOOKUP = np.zeros(256, np.uint8)
for _label, _part in _CELEBA.items():
    _LOOKUP[_label] = PARTS.index(_part)


def shape_code(part: int) -> int:
    """Index of a part's shape code among the 28 (0 and 1 are the shared base codes)."""
    return BASE_CODES + 2 * part


def texture_code(part: int) -> int:
    """Index of a part's texture code among the 28."""
    return BASE_CODES + 2 * part + 1


def parts_of(mask: np.ndarray) -> np.ndarray:
    """CelebAMask-HQ classes 0..18 → parts 0..12, any shape, uint8."""
    parts: np.ndarray = _LOOKUP[mask]
    return parts
