"""What the options ask for, built by the library: systems, a channel, a protection; sentences here may name flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semcast.cli.console import track
from semcast.cli.options import CODED, Protecting, Sending
from semcast.errors import BadInput

if TYPE_CHECKING:
    from semcast.link import Budget, Channel, System
    from semcast.privacy.system import Protection

PHOTO = "photo"
"""The domain of photos that are sent as they are."""


def budget_of(symbols: int, snr: float, sending: Sending) -> Budget:
    """k, and the SNR that both ends design for; that of the channel is checked too."""
    from semcast.link import Budget

    met = Budget(symbols, snr)
    return met if sending.design_snr is None else Budget(symbols, sending.design_snr)


def channel_of(name: str, sending: Sending, among: Sequence[str] = ()) -> Channel:
    """A channel with its options; beside fading channels (``among``) AWGN ignores what is meant for them."""
    from semcast.channels import make_channel

    if sending.fading not in ("block", "fast"):
        raise BadInput(f"--fading is block or fast, not {sending.fading!r}")
    options: dict[str, Any] = {"block": 1} if sending.fading == "fast" else {}
    options |= {"pilots": sending.pilots} if sending.pilots else {}
    if name == "awgn" and options:
        if len(among) < 2:
            raise BadInput("the awgn channel does not fade: --fading and --pilots are for rayleigh and rician")
        options = {}
    if sending.k_factor is not None:
        if "rician" not in (name, *among):
            raise BadInput(f"--k-factor is for rician, not for {name}")
        options |= {"k_factor_db": sending.k_factor} if name == "rician" else {}
    return make_channel(name, **options)


def check_domain(sending: Sending, private: str | None, identity: Sequence[Path] | None) -> None:
    """Raise BadInput where the domain is unknown, or its photos are no faces and something about faces is asked for."""
    from semcast.domains import domain_named

    if sending.domain != PHOTO:
        domain_named(sending.domain)
    if sending.domain != "face" and (private or identity):
        raise BadInput(f"--private and --identity are about faces: leave them out of --domain {sending.domain}")


def default_name(sending: Sending, symbols: int, filtered: bool) -> str:
    """The system where none is named: the default for faces at that k; a codec for what is no face."""
    from semcast import api

    if sending.domain != "face":
        return "avif" if sending.domain == PHOTO else "rl-asc"
    return "generative" if filtered else api.default_system(symbols)  # filter is for generative alone


def paints(name: str) -> bool:
    """Whether a network paints what a system of that name shows; those of others are asked when they are loaded."""
    return name.partition(":")[0] not in ("linear", *CODED[1:]) and ".py:" not in name


def check_names(names: Sequence[str], sending: Sending) -> None:
    """Raise BadInput where a system is unknown, or none of them has an option that was given."""
    from semcast import api

    known = list(api.names())
    for name in names:
        if name.partition(":")[0] not in known and ".py:" not in name:
            raise BadInput(f"unknown system {name!r}; the known are {', '.join(known)}, or your own: mine.py:Class")
    said = {
        "--care": (sending.care, "linear-gan"), "--refine": (sending.refine, "generative"),
        "--inversion": (sending.inversion != "newton", "generative"),
    }  # fmt: skip
    for flag, (value, owner) in said.items():
        if value and owner not in names:
            raise BadInput(f"{flag} is for {owner}, not for {', '.join(names)}")


def systems_of(names: Sequence[str], sending: Sending) -> list[System]:
    """Systems by name, each with the options that are its own; all names are known before the first is loaded."""
    from semcast import api
    from semcast.networks.precision import choose_device

    check_names(names, sending)
    device, domain = choose_device(sending.device), "face" if sending.domain == PHOTO else sending.domain
    own: dict[str, dict[str, Any]] = {
        "linear-gan": {"care": sending.care}, "generative": {"refine": sending.refine, "inversion": sending.inversion},
    }  # fmt: skip
    return [api.load(name, device=device, domain=domain, **own.get(name, {})) for name in names]


def protection_of(protecting: Protecting, aligned: bool, photo: Path | None) -> Protection | None:
    """What ``--private`` and its companions ask for; the mask must be of the size of ``photo``, or of an aligned face."""
    strength = {name: value for name in ("lambda1", "lambda2") if (value := getattr(protecting, name)) is not None}
    mask, coarse = protecting.private_mask, protecting.coarse_mask
    if protecting.private is None:
        if protecting.privacy != "blind" or strength or mask or coarse:
            raise BadInput("--privacy, --lambda1, --lambda2, --private-mask and --coarse-mask need --private PART,...")
        return None
    from semcast.privacy.blind import Blind
    from semcast.privacy.filter import Filter

    if protecting.privacy not in (Blind.mode, Filter.mode):
        raise BadInput(f"--privacy is {Blind.mode} or {Filter.mode}, not {protecting.privacy!r}")
    if protecting.privacy == Filter.mode:
        if mask or coarse:
            raise BadInput("--private-mask and --coarse-mask are for --privacy blind: filter works on codes, not on pixels")
        return Filter(protecting.private, **strength)
    if strength:
        raise BadInput("--lambda1 and --lambda2 are for --privacy filter")
    return Blind(protecting.private, _mask_of(mask, aligned, photo) if mask else None, coarse)


def _mask_of(mask: Path, aligned: bool, photo: Path | None) -> Any:
    from semcast.photos import read_mask, size_of
    from semcast.sources import SIZE

    if not aligned:
        raise BadInput("--private-mask is for --aligned photos: looking for the face would see what the mask hides")
    given = read_mask(mask)
    size = size_of(photo) if photo else (SIZE, SIZE)
    if (given.shape[1], given.shape[0]) != size:
        what = f"the photo {size[0]} x {size[1]}" if photo else f"an aligned face {SIZE} x {SIZE}"
        raise BadInput(f"{mask} is {given.shape[1]} x {given.shape[0]} pixels, {what}: they must be the same")
    return given if photo else _grow(given)


def _grow(mask: Any) -> Any:
    """A mask over faces that may have been resized to its size: by what that spreads each pixel, as ``fit_region`` does."""
    import torch

    from semcast.privacy.blind import SPREAD, dilate

    return dilate(torch.from_numpy(mask)[None, None], SPREAD)[0, 0].numpy()


@contextmanager
def watch(link: System) -> Iterator[None]:
    """A bar for what a generative link does in many steps: the paper's inversion, refinement."""
    from semcast.generative.inversion import Descent
    from semcast.generative.refinement import Refine

    steps = {
        name: value for name in ("inversion", "refinement") if isinstance(value := getattr(link, name, None), Descent | Refine)
    }
    if not steps:
        yield
        return
    with track("gradient steps", sum(each.steps for each in steps.values())) as step:
        for name, value in steps.items():
            setattr(link, name, replace(value, report=lambda *_: step(1)))
        try:
            yield
        finally:
            for name, value in steps.items():
                setattr(link, name, value)


def names_in(text: str) -> list[str]:
    """The names of a list with commas, each once.

    >>> names_in("linear, avif,linear")
    ['linear', 'avif']
    """
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise BadInput("an empty list: name at least one, with commas between")
    return names


def numbers_in(text: str, option: str, kind: Callable[[str], Any]) -> tuple[Any, ...]:
    """The numbers of a list with commas."""
    try:
        return tuple(kind(part) for part in names_in(text))
    except ValueError:
        raise BadInput(f"{option} takes numbers with commas between, not {text!r}") from None
