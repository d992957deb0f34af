"""The receipt of a protected transmission: what was protected, how well, and what else was made from private pixels.

It compares the protected transmission with the same one unprotected (same photo, same noise), so that what the system
itself changes does not count as protection.
"""

from __future__ import annotations

from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from semcast.crossing import Crossing
from semcast.errors import BadInput
from semcast.metrics.pixel import psnr_db
from semcast.metrics.report import IDENTITIES, Metrics
from semcast.privacy.blind import Blind, find_region
from semcast.privacy.filter import Filter
from semcast.privacy.system import Private, Protected, ProtectedBurst


def masked_psnr_db(a: Tensor, b: Tensor, mask: Tensor) -> float:
    """PSNR in dB over the pixels of a mask ``[1, 1, S, S]`` alone, on 8-bit values (at most 100)."""
    inside = mask.expand_as(a)
    return float(psnr_db(a[inside].view(1, 3, 1, -1), b[inside].view(1, 3, 1, -1)))


@torch.no_grad()
def receipt(
    private: Private, image: Tensor, protected: Crossing, plain: Crossing, metrics: Metrics, *, aligned: bool
) -> dict[str, Any]:
    """What to tell the sender, as JSON holds it.

    Args:
        private: the protecting system.
        image: the aligned photo ``[1, 3, S, S]``.
        protected, plain: what was sent and arrived with and without protection, through the same noise.
        aligned: whether the photo came aligned, so that nothing looked for the face.

    ``inside_psnr_db`` and ``inside_lpips_squeeze`` are between the protected transmission and the photo in the private
    region (before: the unprotected one), ``outside_psnr_db`` between the two transmissions outside it. ``same_person_after`` is
    by the recogniser's threshold, and left out where none is known (:class:`~semcast.metrics.identity.Kind`).
    """
    asked, made = private.protection, _look_inside(protected)
    region = made.regions[-1] if made.regions else find_region(private.parser.to(image.device).labels(image), asked.choice)
    mask, after, before = region.mask.to(image.device), protected.reception.image, plain.reception.image
    values: dict[str, Any] = {
        "protection": asked.name,
        "parts": list(asked.choice.parts),
        "mode": asked.mode,
        "not_found": list(region.absent),
        "hidden_by_box": list(region.boxed),
        "region_share": round(float(mask.float().mean()), 4),
        "inside_psnr_db": _pair(lambda x: masked_psnr_db(image, x, mask), before, after, 2),
        "outside_psnr_db": round(masked_psnr_db(before, after, ~mask), 2),
        "derived_from_private_pixels": list_derived(private, aligned),
    }
    if "squeeze" in metrics.lpips:
        lpips = metrics.lpips["squeeze"]
        values["inside_lpips_squeeze"] = _pair(
            lambda x: float(lpips(image, torch.where(mask, x, image))), before, after, 4
        )
    for name, embedder in metrics.identity.items():
        measured = _pair(lambda x, e=embedder: float(e.similarity(image, x)), before, after, 4)
        values[name] = measured | {"threshold": embedder.threshold}
        if embedder.threshold is not None:
            values[name]["same_person_after"] = bool(embedder.verify(torch.tensor(measured["after"])))
    if isinstance(asked, Filter):
        values["codes"] = made.filtered[-1].distances() | {"lambda1": asked.lambda1, "lambda2": asked.lambda2}
    return values


def _look_inside(crossing: Crossing) -> Protected:
    burst = crossing.burst
    if not isinstance(burst, ProtectedBurst) or burst.protected is None:
        raise BadInput("a receipt is for what a protecting system sent, and this burst is not from one")
    return burst.protected


def list_derived(private: Private, aligned: bool) -> list[str]:
    """What else was computed from private pixels, in words; nothing where the guarantee is bit for bit."""
    asked, made = private.protection, []
    if not aligned:
        made.append("where the face is: four alignment numbers (scale, rotation, shift), by the face finder and the parser")
    if isinstance(asked, Filter):
        return [*made, "every code of the photo: the encoder sees all of it; only the private codes are then moved"]
    if isinstance(asked, Blind) and asked.mask is None and not asked.coarse:
        made.append("the outline of the private region, by the parser (a mask of the user's or coarse boxes avoid it)")
    return made


def table(values: dict[str, Any]) -> Table:
    """The receipt for reading."""
    shown = Table(title="privacy receipt", title_justify="left", box=None, padding=(0, 2), show_header=False)
    shown.add_row("private", ", ".join(values["parts"]) + f" ({values['mode']})")
    if values["not_found"]:
        shown.add_row("not in the photo", ", ".join(values["not_found"]))
    if values["hidden_by_box"]:
        shown.add_row("not seen, hidden by a fixed box", ", ".join(values["hidden_by_box"]))
    shown.add_row("private region", f"{100 * values['region_share']:.1f} % of the picture")
    for name, form, what in (
        ("inside_psnr_db", "{:.2f} dB", "likeness inside it, PSNR"),
        ("inside_lpips_squeeze", "{:.4f}", "distance inside it, LPIPS"),
    ):
        if name in values:
            shown.add_row(what, "unprotected {before}, protected {after}".format(**_format(values[name], form)))
    shown.add_row("outside it, against the unprotected", f"{values['outside_psnr_db']:.2f} dB")
    for name in IDENTITIES:
        if name in values:
            found = values[name]
            pair = "unprotected {before}, protected {after}".format(**_format(found, "{:.3f}"))
            verdict = "its threshold is not known"
            if found["threshold"] is not None:
                who = "the same person" if found["same_person_after"] else "somebody else"
                verdict = f"{who} (threshold {found['threshold']:.2f})"
            shown.add_row(f"face match ({name.replace('_', ' ')})", f"{pair}: {verdict}")
    if "codes" in values:
        codes = values["codes"]
        shown.add_row(
            "distance in code space",
            f"{codes['moved']:.2f} filtered, {codes['kept']:.2f} after the knowledge base; "
            f"eq. 4 asks for {codes['lambda1'] * codes['length']:.2f}",
        )
    made = values["derived_from_private_pixels"]
    shown.add_row("also made from private pixels", "; ".join(made) or "nothing: no symbol depends on them, bit for bit")
    return shown


def _pair(measure: Any, before: Tensor, after: Tensor, digits: int) -> dict[str, float]:
    return {"before": round(measure(before), digits), "after": round(measure(after), digits)}


def _format(pair: dict[str, Any], form: str) -> dict[str, str]:
    return {name: form.format(pair[name]) for name in ("before", "after")}
