"""How one picture differs from its photo in texture and skin tone: numbers a line that a whole set's follow from.

The numbers of :mod:`semcast.metrics.texture` are a set's: of one picture's own spectrum the grid is off by a constant (the mean
of a dB is not that of the power) and by what its photo happens to hold. Its *difference* to the same number of its own photo has
neither, and its mean over pictures is the set's number over the photos': within .4 dB on 40 faces, between -1.2 and 4.6 dB, for
every system that paints and for ``linear`` but 0.8 dB (whose spectra fall off steeply). The directional excess is a set's alone
(:func:`excess_of` of the mean over pictures of D(r, s)): within .5 dB of that of the mean spectra, between 3.7 and 16.7 dB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from semcast.metrics.texture import PERIODS, SHORTEST, Texture
from semcast.metrics.tone import angle_between, find_skin, ita
from semcast.networks.segmenter import FaceParser

GRIDS = tuple(f"grid_{period}_db" for period in PERIODS)
TENTHS = 10
"""Directions are kept in tenths of a dB."""


def describe(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What of :meth:`Looks.measure` is worth reading, in words."""
    if GRIDS[0] in values:
        yield "grid 8/4/2 px", "/".join(f"{values[name]:.1f}" for name in GRIDS) + " dB over the photo's"
    if "tone_error" in values:
        yield "skin tone", f"{values['tone_error']:.1f}° from the photo's"


class Looks:
    """A photo that pictures are compared with.

    Args:
        photo: ``[1, 3, H, W]`` in [0, 1].
        parser: sees the skin of an aligned face; None: the photo is no face, and skin tone is left out.
    """

    def __init__(self, photo: Tensor, parser: FaceParser | None = None) -> None:
        self.photo = photo.detach().cpu()
        side = min(photo.shape[-2:])
        self.texture = Texture(min(256, side // PERIODS[0] * PERIODS[0])).add(self.photo) if side >= SHORTEST else None
        self.grid = self.texture.grid() if self.texture else {}
        self.skin = find_skin(photo, parser).cpu() if parser is not None else None
        self.tone = ita(self.photo, self.skin) if self.skin is not None else torch.tensor([torch.nan])

    @torch.no_grad()
    def measure(self, picture: Tensor, *, directions: bool = True) -> dict[str, Any]:
        """Give what a record says of a picture ``[1, 3, H, W]`` of this photo; what cannot be measured is left out.

        ``grid_8_db``, ``grid_4_db``, ``grid_2_db``: over the photo's own. ``directions``: D(r, s) over the photo's own in tenths
        of a dB, 6 rings by 24 sectors. ``tone``: the photo's individual typology angle in degrees; ``tone_error``: the
        picture's distance from it.
        """
        found: dict[str, Any] = {}
        picture = picture.detach().cpu()
        if not bool(torch.isfinite(picture).all()):
            return found
        if self.texture is not None:
            own = Texture(self.texture.window).add(picture)
            for period, level in own.grid().items():
                found[f"grid_{period}_db"] = round(level - self.grid[period], 3)
            if directions:
                found["directions"] = (TENTHS * own.directions(self.texture)).round().int().flatten().tolist()
        if self.skin is not None and bool(self.tone.isfinite()):  # enough skin is seen
            error = angle_between(ita(picture, self.skin), self.tone)
            found |= {"tone": round(float(self.tone), 2), "tone_error": round(float(error), 2)}
        return found
