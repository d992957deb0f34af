"""What a script calls and the verbs of the command line do: load a system or a codec, frame a photo, send it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semcast.crossing import Crossing, cross
from semcast.domains import domain_named
from semcast.errors import BadInput, Missing, SemcastError
from semcast.face import NoFace
from semcast.files import quote, reason_of
from semcast.framing import Picture, as_pixels
from semcast.generative.inversion import Inversion, inversion_named
from semcast.generative.refinement import Refine
from semcast.generative.system import Generative
from semcast.given import check_kind, check_text, check_whole, whole_of
from semcast.hashes import generator_for
from semcast.linear.learned import LearnedSketch
from semcast.linear.system import CARES, Linear, LinearGan
from semcast.link import MAX_SYMBOLS, Budget, Channel, System
from semcast.mark import Mark
from semcast.networks.precision import choose_device
from semcast.photos import Photo as Pixels
from semcast.privacy.system import Private, Protection
from semcast.rivals.bit_codecs import ALLOCATIONS, BIT_CODECS, load_bit_codec
from semcast.rivals.deepjscc import DeepJscc
from semcast.rivals.digital import DigitalSystem
from semcast.rivals.photo_codecs import CODECS
from semcast.source_coding import BitCodec
from semcast.sources import Photo, photo

CODED = ("rl-asc", *CODECS)
"""Codecs over the digital modem: they send photos of any domain, the other systems only faces."""

SYSTEMS = ("sketch", "generative", "linear", "linear-gan", "deepjscc", "deepjscc-perceptual", *CODED)

_OPTIONS = {"generative": ("inversion", "refine"), "linear-gan": ("care",), **dict.fromkeys(CODED, ("scheme", "domain"))}
"""What each system can be told; the others nothing."""


# ---- systems ---------------------------------------------------------------------------------------------------------


def load(name: str, *, device: str | torch.device = "auto", **options: Any) -> System:
    """Load a system, ready to send.

    Args:
        name: of a system that ships (:data:`SYSTEMS`); ``avif:16qam-1/2``, a codec with a fixed modulation and code rate; of an
            entry point of the group ``semcast.systems`` that an installed package brings; or ``path.py:Class``, a system of
            your own. **That runs the code of the file**, as ``python path.py`` would: name only files that you trust.
        device: where it computes: ``auto`` takes a GPU where there is one.
        options: of the system.
            ``generative``: ``inversion`` (:class:`Newton`, :class:`Guess`, :class:`Descent`, or their names), ``refine``
            (gradient steps on the symbols of each photo). ``linear-gan``: ``care`` (``plain``, ``face``, ``identity``). The
            codecs: ``scheme`` (``16qam-1/2``) and ``domain`` (``face``, ``street``). A system of your own: what its class takes;
            a ``domain`` that it does not ask for is not told to it.

    Raises:
        BadInput: the name is unknown, or an option does not belong to the system.
        Missing: there are no weights, no such file, or a library is missing.

    >>> load("linear").name
    'linear'
    """
    check_text("the name of a system", name)
    system = _shipped(name, options) if name.partition(":")[0] in SYSTEMS else _brought(name, "semcast.systems", System, options)
    return system.to(choose_device(device)).eval()


def _shipped(name: str, options: dict[str, Any]) -> System:
    family, fixed, scheme = name.partition(":")
    if fixed and family not in CODED:
        raise BadInput(f"unknown system {name!r}; {_known(SYSTEMS, 'semcast.systems')}")
    if "domain" in options and family not in CODED:
        if domain_named(options["domain"]).name != "face":
            raise BadInput(f"{name} sends faces alone, no {options['domain']}: take one of {', '.join(CODED)}")
        options = {option: value for option, value in options.items() if option != "domain"}
    for option in options:
        if option not in _OPTIONS.get(family, ()):
            owners = [owner for owner, own in _OPTIONS.items() if option in own]
            raise BadInput(f"{option} belongs to {', '.join(owners)}, not to {name}" if owners else _no_option(option, family))
    if family in CODED:
        if fixed and "scheme" in options:
            raise BadInput(f"{name} names its scheme already")
        return DigitalSystem.load(family, scheme if fixed else options.get("scheme"), options.get("domain", "face"))
    if family == "generative":
        return _generative(**options)
    if family.startswith("deepjscc"):
        return DeepJscc.load(family)
    if family == "sketch":
        return LearnedSketch.load()
    return Linear.load() if family == "linear" else LinearGan.load(options.get("care"))


def _no_option(option: str, family: str) -> str:
    return f"{family} has no option {option!r}; it has {', '.join(_OPTIONS.get(family, ())) or 'none'}"


def _generative(inversion: Inversion | str | None = None, refine: Refine | int | None = None) -> Generative:
    chosen = inversion_named(inversion) if isinstance(inversion, str) else inversion
    if chosen is not None and not callable(chosen):
        raise BadInput(f"inversion is Newton, Guess, Descent, a name of theirs or your own, not {quote(inversion)}")
    if isinstance(refine, Refine) or refine is None:
        refinement = refine
    else:
        steps = check_whole("the steps of refinement", refine, 0, 5000)
        refinement = Refine(steps) if steps else None
    return Generative.load(inversion=chosen, refinement=refinement)


def default_system(symbols: int) -> str:
    """The system where none is named: ``sketch`` wherever it works, beyond its 2048 symbols ``linear``.

    At 640 symbols ``sketch`` shows the same person best, by recognisers that no training saw; at 64 ``generative`` does on 100
    test photos (docs/results.md).

    Raises:
        BadInput: k is not in 1..2^20.
    """
    symbols = check_whole("symbols", symbols, 1, MAX_SYMBOLS)
    return "sketch" if symbols <= LearnedSketch.max_symbols else "linear"


def protect(system: System, protection: Protection, *, repeatable: int | None = None) -> Private:
    """Put a system behind a transmitter that protects parts of the face; the receiver stays the system's own.

    Args:
        system: any system that sends faces of 256 x 256; :class:`Filter` works on ``generative`` alone.
        protection: ``Blind("eyes,hair")``: no symbol depends on a private pixel; ``Filter("eyes")``: the paper's filter on codes.
        repeatable: a number from which, and from the photo, the filter's direction follows, so that a measurement can be
            repeated. By default nobody can.

    Raises:
        BadInput: the two do not go together.
    """
    if repeatable is not None and whole_of(repeatable) is None:
        raise BadInput(f"repeatable is a whole number, not {quote(repeatable)}")
    return Private.around(system, protection, repeatable).to(system.device).eval()


# ---- what others bring -----------------------------------------------------------------------------------------------


def _brought(name: str, group: str, kind: Any, options: dict[str, Any]) -> Any:
    """A system or a codec of somebody else's: out of a file, or of an installed package's entry point."""
    what = "system" if group.endswith("systems") else "codec"
    path, colon, attribute = name.rpartition(":")
    if colon and path.endswith(".py"):
        maker = _from_file(Path(path), attribute)
    else:
        points = importlib.metadata.entry_points(group=group, name=name)
        if not points:
            raise BadInput(f"unknown {what} {name!r}; {_known(SYSTEMS if what == 'system' else BIT_CODECS, group)}")
        maker = _ours_or_sentence(f"the {what} {name}", next(iter(points)).load)
    make: Any = getattr(maker, "load", maker) if inspect.isclass(maker) else maker
    if "domain" in options and not _asks_for(make, "domain"):
        options = {option: value for option, value in options.items() if option != "domain"}
    made = _ours_or_sentence(f"the {what} {name}", lambda: make(**options)) if callable(make) else make
    wanted = ("encode", "decode") if kind is System else ("compress", "decompress")
    fits = all(callable(getattr(made, method, None)) for method in wanted) and (kind is BitCodec or isinstance(made, System))
    if not fits:
        raise BadInput(f"{name} makes no {what} but {type(made).__name__}: subclass semcast.{kind.__name__}")
    return made


def _asks_for(make: Any, option: str) -> bool:
    try:
        return option in inspect.signature(make).parameters
    except (TypeError, ValueError):  # no signature can be had, as of some builtins
        return False


def _from_file(path: Path, attribute: str) -> Any:
    """What a name means in a file of Python, which is run."""
    try:
        found = path.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, a folder that may not be looked into
        raise Missing(f"{quote(str(path))} cannot be read ({reason_of(error)})") from None
    if not found:
        raise Missing(f"{path} does not exist")
    module_name = "semcast_file_" + path.stem
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{path} is no file of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and inspect look there
    loader = spec.loader
    _ours_or_sentence(str(path), lambda: loader.exec_module(module))
    if not hasattr(module, attribute):
        raise BadInput(f"there is no {attribute!r} in {path}")
    return getattr(module, attribute)


def _ours_or_sentence(what: str, act: Callable[[], Any]) -> Any:
    """Run somebody else's code; what it raises becomes one sentence."""
    try:
        return act()
    except SemcastError:
        raise
    except Exception as error:
        raise BadInput(f"{what} cannot be loaded ({type(error).__name__}: {error})") from error


def _known(shipped: Sequence[str], group: str) -> str:
    more = sorted(point.name for point in importlib.metadata.entry_points(group=group))
    return f"known: {', '.join([*shipped, *more])} (a codec also as avif:16qam-1/2, your own as path.py:Class)"


# ---- one photo over one channel --------------------------------------------------------------------------------------


def transmit(
    system: System, image: Tensor | Photo, channel: Channel, budget: Budget, *, seed: int = 0, snr_db: float | None = None
) -> Crossing:
    """Send one photo and receive it.

    Args:
        system: from :func:`load`, or your own.
        image: a :class:`Picture`, a tensor ``[1, 3, H, W]`` in [0, 1], or a photo that is sent whole.
        channel: it is drawn once; its pilots come on top of the budget's symbols.
        budget: k symbols of data, and the SNR that both ends design for.
        seed: the channel's randomness follows from it and from the photo's name: for one seed every system meets the same noise.
        snr_db: the channel's Es/N0 in dB, where it is not the one that the budget expects.

    Returns:
        what was sent, what was received, and the seconds that both took.

    Raises:
        DoesNotFit: the system does not work with this budget.
        SemcastError: the photo is of another size, the system breaks its promise of power, or an argument is something else.
    """
    check_kind("what sends", system, System, "a System, as load makes it")
    check_kind("what is sent over", channel, Channel, "a Channel, such as AWGN()")
    check_kind("the budget", budget, Budget, "a Budget")
    picture = image.whole() if isinstance(image, Photo) else image
    name = getattr(picture, "name", None) or ""
    return cross(system, channel, picture, budget, generator_for(seed, name), snr_db=snr_db)


def without_face(error: NoFace, systems: Sequence[System]) -> NoFace:
    """What is said of a photo that has no face and was to be sent by these systems: which of them take it all the same."""
    names = dict.fromkeys(system.name for system in systems if system.image_size is None)
    if not names:
        return error
    take = "take" if len(names) > 1 else "takes"
    return NoFace(f"{error}; {' and '.join(names)} {take} any photo as it is, with domain photo")


# ---- codecs ----------------------------------------------------------------------------------------------------------


class Codec:
    """A codec and the domain that it frames photos for: a photo → at most so many bytes → a picture.

    Args:
        coder: the codec itself.
        domain: what its photos show.
        finds_faces: whether a photo's face is looked for and aligned before it is coded.
    """

    def __init__(self, coder: BitCodec, domain: str, finds_faces: bool) -> None:
        if not all(callable(getattr(coder, verb, None)) for verb in ("compress", "decompress")):
            raise BadInput(f"a codec has compress and decompress: {quote(coder)} is none")
        self.coder, self.domain, self.finds_faces = coder, domain, finds_faces

    def __repr__(self) -> str:
        return f"Codec({self.name!r}, domain={self.domain!r})"

    @property
    def name(self) -> str:
        """Of the codec."""
        return self.coder.name

    @property
    def version(self) -> str:
        """Changes with the bytes that it makes."""
        return self.coder.version

    def compress(self, image: Any, max_bytes: int = 500) -> bytes:
        """Code a photo in at most ``max_bytes``, everything counted.

        Args:
            image: anything that :func:`photo` takes; a :class:`Picture` or an array is coded as it is, and so is a photo but
                for a codec of faces, which looks for one.

        Raises:
            DoesNotFit: not even the least of it does.
            SemcastError: the photo cannot be read, or has no face, or the number of bytes is none.
        """
        most = whole_of(max_bytes)
        if most is None:
            raise BadInput(f"max_bytes is a whole number, not {quote(max_bytes)}")
        return self.coder.compress(self._framed(image), most)

    def decompress(self, stream: bytes) -> Picture:
        """Show what the bytes say.

        Raises:
            SemcastError: they are damaged, or were made for another codec.
        """
        check_kind("what a codec reads", stream, (bytes, bytearray, memoryview), "bytes")
        painted = Mark(self.name, fingerprint=self.version) if getattr(self.coder, "paints", False) else None
        return Picture.of(self.coder.decompress(bytes(stream)), self.name, mark=painted)

    def _framed(self, image: Any) -> Pixels:
        given = image if isinstance(image, Photo) else photo(image)
        if given.source.pixels is None and self.finds_faces:
            return given.face().pixels
        return given.source.pixels if given.source.pixels is not None else given.whole().pixels


def load_codec(
    name: str, *, domain: str = "face", care: str | None = None, task: str | None = None, device: str | torch.device = "cpu"
) -> Codec:
    """Load a codec: a photo as a few hundred bytes, without a channel.

    Args:
        name: ``rl-asc`` or another spender of the same codec's bits (:data:`ALLOCATIONS`); ``jpeg``, ``jpeg2000``, ``webp``,
            ``avif``, ``hevc``; an entry point of the group ``semcast.codecs``; or ``path.py:Class``, which runs that file.
        domain: ``face`` or ``street``; ``rl-asc`` has networks for each.
        care: categories that count more, ``person=8,car`` (``rl-asc``).
        task: what the picture is for, such as ``pedestrians``: a care by name, which ``care`` is added to.
        device: where the networks of ``rl-asc`` compute; ``auto`` takes a GPU where there is one. On the processor, the default,
            the bytes of a photo are the same whatever else a computer has; a GPU rounds otherwise. Each reads the other's files.

    Raises:
        BadInput: a name is unknown, or there is no such device.
        Missing: there are no weights, or a library is missing.

    >>> load_codec("jpeg").decompress(load_codec("jpeg").compress(torch.full((3, 256, 256), 0.5), max_bytes=300))
    Picture('jpeg', 256 x 256)
    """
    if check_text("the name of a codec", name) not in BIT_CODECS:
        return Codec(_brought(name, "semcast.codecs", BitCodec, {}), domain, False)
    cares = domain_named(domain).cares_for(task, care)
    if cares and name not in ALLOCATIONS:
        raise BadInput(f"care belongs to {', '.join(ALLOCATIONS)}, not to {name}: it knows no categories")
    return Codec(load_bit_codec(name, domain, cares, device=device), domain, name in ALLOCATIONS and domain == "face")


def names() -> Iterator[str]:
    """The names of all systems that :func:`load` finds here, those of other packages too."""
    yield from SYSTEMS
    yield from sorted(point.name for point in importlib.metadata.entry_points(group="semcast.systems"))


__all__ = [
    "ALLOCATIONS", "BIT_CODECS", "CARES", "CODECS", "CODED", "SYSTEMS", "Codec", "DeepJscc", "DigitalSystem", "Generative",
    "Linear", "LinearGan", "Photo", "Picture", "as_pixels", "default_system", "load", "load_codec", "names",
    "photo", "protect", "transmit",
]  # fmt: skip
