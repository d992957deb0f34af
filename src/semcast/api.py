"""The systems: one file each, each one figure of a paper."""

from __future__ import annotations

from semcast.domains import domain_named
from semcast.errors import SemcastError
from semcast.generative.inversion import inversion_named
from semcast.generative.refinement import Refine
from semcast.generative.system import Generative
from semcast.linear.system import CARES, Linear, LinearGan
from semcast.link import System
from semcast.rivals.deepjscc import DeepJscc
from semcast.rivals.digital import DigitalSystem
from semcast.rivals.photo_codecs import CODECS

CODED = ("rl-asc", *CODECS)
"""Codecs over the digital modem: they send photos of any domain, the other systems only faces."""

SYSTEMS = ("generative", "linear", "linear-gan", "deepjscc", "deepjscc-perceptual", *CODED)


def load_system(
    name: str, *, care: str | None = None, refine: int = 0, inversion: str = "newton", domain: str = "face"
) -> System:
    """A system by name, with its shipped weights.

    Args:
        name: one of :data:`SYSTEMS`; a codec with a fixed modulation and code rate is named ``avif:16qam-1/2``.
        care: the sketch's preset (``linear-gan`` only).
        refine: gradient steps on the symbols (``generative`` only).
        domain: of the photos (:data:`CODED` alone know others than ``face``).
        inversion: ``newton``, ``encoder`` or ``paper`` (``generative`` only).

    Raises:
        SemcastError: the name is unknown, or an option does not belong to the system.
    """
    family, fixed, scheme = name.partition(":")
    if family not in SYSTEMS or (fixed and family not in CODED):
        raise SemcastError(f"unknown system {name!r}; known: {', '.join(SYSTEMS)} (a codec also as avif:16qam-1/2)")
    if care is not None and name != "linear-gan":
        raise SemcastError(f"--care belongs to linear-gan, not to {name}")
    if (refine or inversion != "newton") and name != "generative":
        raise SemcastError(f"--refine and --inversion belong to generative, not to {name}")
    if family in CODED:
        return DigitalSystem.load(family, scheme if fixed else None, domain)
    if domain_named(domain).name != "face":
        raise SemcastError(f"{name} sends faces alone, no {domain}: take one of {', '.join(CODED)}")
    if name == "generative":
        return Generative.load(inversion=inversion_named(inversion), refinement=Refine(refine) if refine else None)
    if name.startswith("deepjscc"):
        return DeepJscc.load(name)
    return Linear.load() if name == "linear" else LinearGan.load(care)


def default_system(symbols: int) -> str:
    """The system that shows faces best on val at this budget, by LPIPS-squeeze and PSNR over AWGN at 0 and 10 dB.

    At 64 symbols that is ``generative``, at 640 ``linear-gan``; between them the nearer of the two (in log k) decides.
    """
    return "generative" if symbols < (64 * 640) ** 0.5 else "linear-gan"


__all__ = [
    "CARES", "CODECS", "CODED", "SYSTEMS", "DeepJscc", "DigitalSystem", "Generative", "Linear", "LinearGan", "default_system",
    "load_system",
]  # fmt: skip
