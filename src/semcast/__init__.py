"""Semantic image communication: send what a picture means over channels too small or too noisy for the picture itself.

::

    photo ── encode ── k complex symbols ── channel ── decode ── picture          (a System: generative, linear-gan, avif, ...)
    photo ── compress ── a few hundred bytes ── decompress ── picture             (a codec: rl-asc, jpeg, ...)

Ten lines that do most of it:

>>> import semcast as sc
>>> face = sc.photo("me.jpg").face()                            # found and aligned; .tensor, .save()
>>> link = sc.load("generative", inversion=sc.Newton(steps=2))  # or sc.load("avif", scheme="16qam-1/2")
>>> channel = sc.Rayleigh(pilots=8)
>>> sent = link.encode(face, sc.Budget(640, snr_db=5))          # 640 data symbols; pilots come on top
>>> result = link.decode(channel(sent, seed=0))                 # .image, .ok, .reason
>>> values = sc.metrics(face, result.image)                     # psnr_db, ms_ssim, lpips_squeeze, identity, ...
>>> small = sc.load_codec("rl-asc", domain="street").compress(sc.photo("street.jpg"), max_bytes=500)
>>> safe = sc.protect(link, sc.Blind("eyes,hair"))              # the same System type
>>> result.image.shape, result.ok.tolist(), len(small) <= 500, safe.name
(torch.Size([1, 3, 256, 256]), [True], True, 'generative')

Many photos, many systems, one table:

>>> table = sc.evaluate([link], "photos/", channels=[sc.AWGN()], snr_db=[0, 10], symbols=[64], out="r.jsonl")
>>> len(table.records)
2

**Conventions.** Images are float in [0, 1], ``[batch, 3, height, width]``. k, called ``symbols``, counts complex symbols that
carry data; pilots belong to the channel and come on top. The mean power of a symbol is 1, so SNR is Es/N0 in dB. For one seed
all systems meet the same noise. Whatever cannot be done raises a :class:`SemcastError` whose message is one sentence.

**Where to go.** :func:`photo` reads, :func:`load` and :func:`load_codec` load, :func:`transmit` sends, :func:`metrics` measures,
:func:`evaluate` does all of that many times. To bring your own, subclass :class:`System`, :class:`Channel` or
:class:`BitCodec`; :mod:`semcast.testing` says whether it keeps the laws. On the command line: ``semcast --help``.

Importing semcast is quick: torch is imported when one of these names is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcast import metrics  # the package can be called
    from semcast.api import (
        Codec,
        Photo,
        Picture,
        default_system,
        load,
        load_codec,
        photo,
        protect,
        transmit,
    )
    from semcast.bench import evaluate, evaluate_codecs
    from semcast.channels import AWGN, Rayleigh, Rician, make_channel
    from semcast.crossing import Crossing
    from semcast.errors import BadInput, Damaged, DoesNotFit, Missing, SemcastError, Unfinished
    from semcast.generative.inversion import Descent, Guess, Newton
    from semcast.generative.refinement import Refine
    from semcast.link import Budget, Burst, Channel, Received, Reception, System, unit_power
    from semcast.onair.channel import OnAir, Recording
    from semcast.onair.simulate import Simulator
    from semcast.privacy.blind import Blind
    from semcast.privacy.filter import Filter
    from semcast.source_coding import BitCodec
    from semcast.station import Heard, Signal, receive, send

    __version__: str

_WHERE = {
    "semcast.api": (
        "Codec", "Photo", "Picture", "default_system", "load", "load_codec", "photo", "protect", "transmit",
    ),
    "semcast.bench": ("evaluate", "evaluate_codecs"),
    "semcast.channels": ("AWGN", "Rayleigh", "Rician", "make_channel"),
    "semcast.crossing": ("Crossing",),
    "semcast.errors": ("BadInput", "Damaged", "DoesNotFit", "Missing", "SemcastError", "Unfinished"),
    "semcast.generative.inversion": ("Descent", "Guess", "Newton"),
    "semcast.generative.refinement": ("Refine",),
    "semcast.link": ("Budget", "Burst", "Channel", "Received", "Reception", "System", "unit_power"),
    "semcast.onair.channel": ("OnAir", "Recording"),
    "semcast.onair.simulate": ("Simulator",),
    "semcast.privacy.blind": ("Blind",),
    "semcast.privacy.filter": ("Filter",),
    "semcast.source_coding": ("BitCodec",),
    "semcast.station": ("Heard", "Signal", "receive", "send"),
}  # fmt: skip
_HOME = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "AWGN", "BadInput", "BitCodec", "Blind", "Budget", "Burst", "Channel", "Codec", "Crossing", "Damaged", "Descent",
    "DoesNotFit", "Filter", "Guess", "Heard", "Missing", "Newton", "OnAir", "Photo", "Picture", "Rayleigh", "Received",
    "Reception", "Recording", "Refine", "Rician", "SemcastError", "Signal", "Simulator", "System", "Unfinished", "__version__",
    "default_system", "evaluate", "evaluate_codecs", "load", "load_codec", "make_channel", "metrics", "photo", "protect",
    "receive", "send", "transmit", "unit_power",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what a name stands for when it is first used, and keep it."""
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            value: Any = version("semcast")
        except PackageNotFoundError:  # run from a checkout that is not installed
            value = "unknown"
    elif name == "metrics" or name in _HOME:
        from importlib import import_module

        value = import_module("semcast.metrics") if name == "metrics" else getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'semcast' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
