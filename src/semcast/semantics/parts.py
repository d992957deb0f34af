"""The 13 semantic parts of a face and the 28 codes that describe them (Semantic StyleGAN, Shi et al. 2022)."""

from __future__ import annotations

import numpy as np

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
    return _LOOKUP[mask]
