"""Find the face in any photo and align it to the geometry of the training faces.

::

    photo ── cascade ── rough square ──┬── parser ── eyes, mouth ── least-squares similarity ──┐
                                       └───────────────────── again, twice ────────────────────┴── aligned 256 x 256
"""

from semcast.face.alignment import Alignment, NoFace, align
from semcast.face.geometry import FRAME, LEFT_EYE, MOUTH, NOSE, RIGHT_EYE

__all__ = ["FRAME", "LEFT_EYE", "MOUTH", "NOSE", "RIGHT_EYE", "Alignment", "NoFace", "align"]
