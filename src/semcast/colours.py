"""Decoded pixels of any kind → sRGB over white, over the full range of what the file says its samples are.

A library's decoded image no longer tells all of that: how many bits a sample had, or whether its zero is white.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_GREYS = ("L", "1")
_OVERSHOOT = 0.05
"""Of the full range that floats may lie below black: what a resampling filter leaves at an edge."""


@dataclass(frozen=True)
class Samples:
    """What a file says of its samples beyond what its decoded image says."""

    bits: int = 0
    """Of a sample; 0 where the format leaves no doubt."""
    inverted: bool = False
    """Whether zero is white and the decoder has left that to us."""
    gamma: float | None = None
    """The exponent that samples are encoded with, where it is another than sRGB's."""


def to_srgb(image: Image.Image, target: tuple[int, int], samples: Samples) -> Image.Image:
    """Any mode → RGB of the target size in sRGB, white behind what is transparent.

    Raises:
        ValueError: it holds values that are no numbers, or that lie far below black.
    """
    profile = image.info.get("icc_profile")
    image = _plain(image, samples)
    if image.size != target:
        image = image.resize(target, Image.Resampling.LANCZOS, reducing_gap=3.0)
    colours, alpha = _parted(image)
    if profile:
        colours = _through(colours, profile)
    elif samples.gamma is not None:
        colours = colours.point(_curve(samples.gamma) * len(colours.getbands()))
    colours = colours.convert("RGB")
    if alpha is None:
        return colours
    white = Image.new("RGB", image.size, "white")
    white.paste(colours, mask=alpha)
    return white


def _plain(image: Image.Image, samples: Samples) -> Image.Image:
    """The same colours of 8 bits in one of the modes L, RGB, CMYK, LA and RGBA."""
    key = image.info.get("transparency")
    if image.mode.startswith(("I", "F")):
        grey = _eight_bits(image, samples)
        return grey if key is None else _keyed(grey, np.asarray(image) == key)
    if image.mode in _GREYS:
        grey = image.convert("L")
        return grey if key is None else _keyed(grey, np.asarray(grey) == _level(key, samples.bits))
    if key is not None and image.mode == "RGB" and isinstance(key, tuple):
        # Pillow keeps the upper eight bits of sixteen; of the colour that is transparent it keeps all of them.
        image.info["transparency"] = tuple(each >> 8 if samples.bits == 16 else each & 255 for each in key)
    if key is not None or image.mode in ("P", "PA", "RGBa"):
        return image.convert("RGBA")
    if image.mode == "La":
        return image.convert("LA")
    return image if image.mode in ("L", "RGB", "CMYK", "LA", "RGBA") else image.convert("RGB")


def _level(key: int, bits: int) -> int:
    """The grey that is transparent, of an image of few bits that was scaled to eight."""
    most = (1 << bits) - 1 if 1 < bits < 8 else 255
    return (key & most) * 255 // most


def _keyed(grey: Image.Image, clear: NDArray[np.bool_]) -> Image.Image:
    """Greys with an alpha that is zero where they are clear."""
    return Image.merge("LA", (grey, Image.fromarray(np.where(clear, 0, 255).astype(np.uint8))))


def _parted(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours and alpha; None where there is no alpha."""
    if image.mode == "LA":
        return image.getchannel("L"), image.getchannel("A")
    if image.mode == "RGBA":
        return image.convert("RGB"), image.getchannel("A")
    return image, None


def _through(image: Image.Image, profile: bytes) -> Image.Image:
    """Colours through the embedded profile into sRGB; as they are where the profile does not fit."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() == "GRAY" and image.mode == "RGB":
            image = _grey_alone(image)
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if converted is None else converted


def _grey_alone(image: Image.Image) -> Image.Image:
    """One channel of an image whose three are the same, as greys of 16 bits with alpha come; else the image as it is."""
    pixels = np.asarray(image)
    return image.getchannel(0) if (pixels == pixels[..., :1]).all() else image


def _curve(gamma: float) -> list[int]:
    """sRGB's level of each of the 256 levels of samples that were encoded with that exponent."""
    light = (np.arange(256) / 255.0) ** (1.0 / gamma)
    levels = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return [int(level) for level in np.rint(255 * levels)]


def _eight_bits(image: Image.Image, samples: Samples) -> Image.Image:
    """16-bit, 32-bit and float greys → 8 bits over their full range (Pillow's own conversion would clip)."""
    grey = np.asarray(image).astype(np.float32)
    if not np.isfinite(grey).all():
        raise ValueError("it holds NaN or infinite values")
    top = float(grey.max())
    usual = 65535.0 if samples.bits <= 8 else float((1 << samples.bits) - 1)
    if image.mode == "F":
        usual = 1.0 if top <= 1.0 else 255.0
    full = max(usual, top)
    if float(grey.min()) < -_OVERSHOOT * full:
        raise ValueError("it holds negative values, which do not say what is black")
    if samples.inverted:
        grey = full - grey
    return Image.fromarray(np.clip(np.rint(grey * (255.0 / full)), 0, 255).astype(np.uint8))
