"""Skin tone: whether a picture keeps it, and whether some tones are served worse than others.

The individual typology angle of a face (Chardon, Cretois and Hourseau, Skin colour typology and suntanning pathways,
Int. J. Cosmetic Science 13, 1991), from the mean CIELAB colour of its skin:

    ITA = atan2(L* - 50, b*), in degrees.

Over 41° is called light, under 10° brown, under -30° dark. It is read from a photo, whose light and white balance are
in it too: a number for comparing a picture with its own photo, and for sorting photos, not for sorting people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semcast.domains import PARTS
from semcast.errors import BadInput
from semcast.networks.segmenter import FaceParser

THIRDS = ("darkest third", "middle third", "lightest third")
SKIN = PARTS.index("skin")
SMALLEST = 64
"""Skin pixels that a face must show for its tone to be read."""
# sRGB (IEC 61966-2-1) → XYZ over the white of D65
_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE = (0.95047, 1.0, 1.08883)


def to_lab(image: Tensor) -> Tensor:
    """sRGB ``[B, 3, H, W]`` in [0, 1] → CIELAB ``[B, 3, H, W]`` under D65: L* in 0..100, a*, b* about -100..100.

    >>> [round(float(value), 1) for value in to_lab(torch.ones(1, 3, 1, 1)).flatten().abs()]
    [100.0, 0.0, 0.0]
    """
    image = image.double().clamp(0.0, 1.0)
    linear = torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(_TO_XYZ, dtype=torch.float64, device=image.device)
    white = torch.tensor(_WHITE, dtype=torch.float64, device=image.device)
    x = torch.einsum("ij,bjhw->bihw", matrix / white[:, None], linear)
    cubed = torch.where(x > (6 / 29) ** 3, x.clamp_min(1e-12) ** (1 / 3), x / (3 * (6 / 29) ** 2) + 4 / 29)
    return torch.stack((116 * cubed[:, 1] - 16, 500 * (cubed[:, 0] - cubed[:, 1]), 200 * (cubed[:, 1] - cubed[:, 2])), 1)


def ita(image: Tensor, skin: Tensor) -> Tensor:
    """Individual typology angle ``[B]`` in degrees, from the mean L* and b* of the skin.

    The angle of the mean colour and not the mean of the pixels' angles: these jump by 180° in shadows, where b* is small.

    Args:
        image: ``[B, 3, H, W]`` in [0, 1].
        skin: bool ``[B, H, W]``, True on skin (:func:`find_skin`, or labels == skin).

    Returns:
        NaN where fewer than 64 pixels are skin.

    Raises:
        SemcastError: the image is grey, or the mask has another shape.

    >>> round(float(ita(torch.tensor([0.87, 0.72, 0.62]).view(1, 3, 1, 1).expand(1, 3, 8, 8), torch.ones(1, 8, 8).bool())), 1)
    56.5
    """
    if image.ndim != 4 or image.shape[1] != 3:
        raise BadInput(f"skin tone needs colour images [B, 3, H, W], not {[*image.shape]}")
    if skin.shape != (len(image), *image.shape[-2:]):
        raise BadInput(f"the skin mask must be [B, H, W] like the images, not {[*skin.shape]}")
    lab, weight = to_lab(image), skin.to(image.device).double()
    count = weight.sum((-2, -1))
    lightness, yellow = ((lab[:, i] * weight).sum((-2, -1)) / count.clamp_min(1) for i in (0, 2))
    angle = torch.rad2deg(torch.atan2(lightness - 50.0, yellow))
    return torch.where(count >= SMALLEST, angle, torch.nan).float()


@torch.no_grad()
def find_skin(image: Tensor, parser: FaceParser) -> Tensor:
    """Where the parser sees skin (the face without eyes, brows, nose, mouth and ears), bool ``[B, H, W]``.

    Args:
        image: aligned square faces ``[B, 3, S, S]`` in [0, 1].
        parser: on the image's device.
    """
    return parser.labels(image) == SKIN


def tone_error(photo: Tensor, picture: Tensor, skin: Tensor) -> Tensor:
    """|ITA(picture) - ITA(photo)| ``[B]`` in degrees, both over the photo's skin; its mean over photos is reported.

    Args:
        photo: ``[B, 3, H, W]`` in [0, 1].
        picture: the same shape.
        skin: bool ``[B, H, W]`` of the photo.

    Raises:
        SemcastError: the shapes do not go together.
    """
    return angle_between(ita(picture, skin), ita(photo, skin))


def angle_between(one: Tensor, other: Tensor) -> Tensor:
    """How far two angles are apart, in degrees, at most 180."""
    apart = (one - other).abs()
    return torch.minimum(apart, 360.0 - apart)


def thirds(tone: Sequence[float]) -> np.ndarray:
    """The third that each photo's own tone puts it in, ``[N]``: 0 the darkest, 1, 2 the lightest; -1 without a tone.

    Thirds of the photos at hand and of equal size (up to one photo), whatever their tones are.

    >>> thirds([40.0, -10.0, 55.0, 20.0, float("nan"), 60.0, 30.0]).tolist()
    [1, 0, 2, 0, -1, 2, 1]
    """
    values = np.asarray(tone, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(values))
    result = np.full(len(values), -1)
    order = known[np.argsort(values[known], kind="stable")]
    result[order] = np.arange(len(order)) * 3 // max(1, len(order))
    return result


@dataclass(frozen=True)
class ToneRow:
    """One measure by thirds of the photos' own tone.

    Args:
        name: of the measure.
        means: of the darkest, the middle and the lightest third.
        ratio: how many times the worst third is worse than the best, 1 where all are alike; NaN where a mean is not above 0.
    """

    name: str
    means: tuple[float, float, float]
    ratio: float

    @property
    def worst(self) -> str:
        """The third that is served worst (similarities: the least; errors: the largest)."""
        pick = np.argmin if _more_is_better(self.name) else np.argmax
        return THIRDS[int(pick(self.means))]


def tabulate(tone: Sequence[float], values: Mapping[str, Sequence[float]]) -> list[ToneRow]:
    """Means of errors and similarities by thirds of the photos' tone, and the ratio of the worst third to the best.

    Args:
        tone: ITA of every photo, degrees.
        values: measures by name, one number a photo each: ``tone_error``, ``identity``, ...; NaN is left out.

    Raises:
        SemcastError: fewer than three photos with a tone, or a measure has not one number a photo.

    >>> row = tabulate([0, 30, 60], {"tone_error": [6.0, 3.0, 3.0]})[0]
    >>> row.means, row.ratio, row.worst
    ((6.0, 3.0, 3.0), 2.0, 'darkest third')
    """
    third = thirds(tone)
    if len(set(third.tolist()) - {-1}) < 3:
        raise BadInput("thirds of skin tone need at least three photos whose skin is seen")
    rows = []
    for name, measured in values.items():
        numbers = np.asarray(measured, dtype=np.float64)
        if numbers.shape != third.shape:
            raise BadInput(f"{name} must have one number a photo: {len(third)}, not {numbers.size}")
        parts = [numbers[(third == i) & np.isfinite(numbers)] for i in range(3)]
        means = tuple(float(part.mean()) if part.size else float("nan") for part in parts)
        ratio = max(means) / min(means) if min(means) > 0 else float("nan")
        rows.append(ToneRow(name, (means[0], means[1], means[2]), ratio))
    return rows


def _more_is_better(name: str) -> bool:
    return name.startswith(("identity", "verified", "psnr", "ms_ssim", "ssimulacra"))
