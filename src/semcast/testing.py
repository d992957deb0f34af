"""The laws that every system and every codec keeps, as functions: for our own suite, and for what you bring.

>>> from semcast.link import Burst, Reception, System, unit_power
>>> class Silent(System):
...     "Sends nothing and shows grey."
...     def encode(self, image, budget):
...         return Burst(torch.zeros(len(image), budget.symbols, dtype=torch.complex64), budget)
...     def decode(self, received):
...         grey = torch.full((len(received.symbols), 3, *received.budget.size), 0.5)
...         return Reception(grey, torch.ones(len(grey), dtype=torch.bool))
>>> check_system(Silent())
Traceback (most recent call last):
AssertionError: silent promises mean power 1 of every burst and sends 0 at k = 1

Each raises :class:`AssertionError` with one sentence that names what is broken.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.channels import AWGN
from semcast.errors import SemcastError
from semcast.link import MAX_SYMBOLS, Budget, Burst, Channel, Received, Reception, System
from semcast.photos import Photo, to_tensor, to_uint8
from semcast.source_coding import BitCodec

TRIED = (1, 16, 64, 256, 640, 1000, 8192)
"""k that are tried where a system serves them, beside the ends of its range."""
LOW_DB, HIGH_DB = -5.0, 20.0
_LOUDEST, _QUIETEST = 3.0, 0.1  # mean power of a few photos where the promise is about all photos


def check_system(
    system: System, *, channel: Channel | None = None, images: Tensor | None = None, symbols: Sequence[int] | None = None,
    twin: System | None = None,
) -> None:  # fmt: skip
    """Check that a system is one: that nothing but k symbols of the promised power passes from sender to receiver.

    Args:
        system: in eval mode, as it is measured.
        channel: what lies between; AWGN by default.
        images: two photos ``[2, 3, H, W]`` of the kind that it is made for; by default two views of an astronaut, 64 x 96 where
            it takes any size.
        symbols: k to try; by default a few of its range.
        twin: a second instance, which receives; by default a copy made before anything was sent.

    Raises:
        AssertionError: a law is broken; the message says which.
    """
    over, photos = channel or AWGN(), default_images(system) if images is None else images
    receiver = copy.deepcopy(system) if twin is None else twin
    tried = list(symbols) if symbols is not None else symbols_to_try(system)
    _hold(tried, f"{system.name} serves no k: min_symbols {system.min_symbols}, max_symbols {system.max_symbols}")
    _hold(system.name and isinstance(system.version, str) and system.version, "a system has a name and a version")
    for k in tried:
        burst = check_burst(system, photos, Budget(k, 10.0))
        check_reception(system, receiver, photos, over(burst))
    check_memory(system, receiver, photos, over, tried[-1])
    check_refusals(system, photos, tried[0])
    check_order(system, receiver, photos, over, tried[-1])
    check_gradients(system, photos, over, tried[len(tried) // 2])


def _hold(law: object, sentence: str) -> None:
    """A statement of its own: ``assert`` is left out by ``python -O``."""
    if not law:
        raise AssertionError(sentence)


def default_images(system: System) -> Tensor:
    """Two views of one photo, ``[2, 3, H, W]``, of the size that the system takes."""
    import skimage.data

    height, width = (64, 96) if system.image_size is None else (system.image_size, system.image_size)
    photo = to_tensor(skimage.data.astronaut()).to(system.device)
    views = [photo[..., :256, 96:352], photo]
    return torch.cat([F.interpolate(view, (height, width), mode="bilinear", antialias=True) for view in views])


def symbols_to_try(system: System) -> list[int]:
    """At most three k of its range: the least, a middle one and the most, below 8,193 where it serves any of those."""

    def serves(k: int) -> bool:
        try:
            system.check(Budget(k, 10.0))
        except SemcastError:
            return False
        return True

    ends = {k for k in (system.min_symbols, system.max_symbols) if 1 <= k <= TRIED[-1]}
    found = sorted(k for k in ends | set(TRIED) if serves(k)) or [k for k in (system.min_symbols,) if serves(k)]
    return sorted({found[0], found[len(found) // 2], found[-1]}) if found else []


def check_burst(system: System, images: Tensor, budget: Budget) -> Burst:
    """Check what is sent: k finite complex symbols an image, of the power that the system promises."""
    burst, k, name = system.encode(images, budget), budget.symbols, system.name
    _hold(isinstance(burst, Burst), f"{name} must send a Burst, not {type(burst).__name__}")
    shape = tuple(burst.symbols.shape)
    _hold(shape == (len(images), k), f"{name} was given k = {k} and sends symbols of shape {shape}, not {(len(images), k)}")
    _hold(burst.budget.symbols == k, f"{name} was given k = {k} and says that it sends {burst.budget.symbols}")
    _hold(burst.symbols.is_complex(), f"{name} must send complex symbols, not {burst.symbols.dtype}")
    _hold(bool(torch.isfinite(torch.view_as_real(burst.symbols)).all()), f"{name} sends NaN or infinite symbols at k = {k}")
    power = burst.power
    if system.power == "burst":
        worst = float(power[(power - 1).abs().argmax()])
        _hold(abs(worst - 1) < 1e-3, f"{name} promises mean power 1 of every burst and sends {worst:.3g} at k = {k}")
    else:
        mean = float(power.mean())
        _hold(_QUIETEST < mean < _LOUDEST, f"{name} promises power 1 in the mean over photos and sends {mean:.3g} at k = {k}")
    return burst


def check_reception(system: System, receiver: System, images: Tensor, received: Received) -> Reception:
    """Check what is shown: pictures of the photos' size in [0, 1], without gradients, and honest about failure."""
    shown, name = receiver.decode(received), system.name
    _hold(isinstance(shown, Reception), f"{name} must make a Reception, not {type(shown).__name__}")
    found, wanted = tuple(shown.image.shape), tuple(images.shape)
    _hold(found == wanted, f"{name} was sent images {wanted} and shows {found}")
    _hold(shown.image.is_floating_point(), f"{name} must show floats in [0, 1], not {shown.image.dtype}")
    _hold(bool(torch.isfinite(shown.image).all()), f"{name} shows NaN or infinite pixels")
    low, high = float(shown.image.min()), float(shown.image.max())
    _hold(low >= 0 and high <= 1, f"{name} shows pixels outside [0, 1]: {low:.3g} to {high:.3g}")
    _hold(shown.ok.dtype == torch.bool and shown.ok.shape == (len(images),), f"{name} must say for each image whether it is ok")
    _hold(bool(shown.ok.all()) == (not shown.reason), f"{name} gives a reason exactly where an image is not ok")
    _hold(system.training or not shown.image.requires_grad, f"{name} keeps gradients that nobody asked for")
    return shown


def check_memory(system: System, receiver: System, images: Tensor, channel: Channel, symbols: int) -> None:
    """Check that the receiver needs only what arrived: another instance shows the same, whatever else was sent since."""
    budget = Budget(symbols, 10.0)
    received = channel(system.encode(images[:1], budget))
    bare = Received(received.symbols.clone(), received.noise_var.clone(), replace(received.budget))
    first = receiver.decode(bare).image
    system.encode(1 - images[:1].flip(-1), budget)
    for who, what in ((receiver, "another instance"), (system, "the sender's own instance")):
        try:
            again = who.decode(bare).image
        except SemcastError as error:
            raise AssertionError(f"{system.name} cannot show what {what} received: {error}") from None
        _hold(torch.equal(first, again), f"{system.name} remembers the photo: {what} shows another one for the same symbols")


def check_refusals(system: System, images: Tensor, symbols: int) -> None:
    """Check that a k out of range and symbols that are not finite are refused with a SemcastError."""
    for k in (system.min_symbols - 1, system.max_symbols + 1):
        if 1 <= k <= MAX_SYMBOLS:
            refused = _is_refused(partial(system.encode, images, Budget(k, 10.0)))
            _hold(refused, f"{system.name} takes k = {k}, which is out of its range")
    budget = replace(system.encode(images, Budget(symbols, 10.0)).budget)
    broken = torch.full((len(images), symbols), complex("nan"), dtype=torch.complex64, device=images.device)
    variance = torch.ones(broken.shape, device=images.device)
    _hold(_is_refused(lambda: system.decode(Received(broken, variance, budget))), f"{system.name} decodes NaN")


def _is_refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except SemcastError:
        return True
    return False


def check_order(system: System, receiver: System, images: Tensor, channel: Channel, symbols: int) -> None:
    """Check that a good channel shows more of the photos than a bad one."""
    errors = []
    for snr_db in (LOW_DB, HIGH_DB):
        burst = system.encode(images, Budget(symbols, snr_db))
        shown = [receiver.decode(channel(burst, seed=seed)).image for seed in range(3)]
        errors.append(sum(float(F.mse_loss(image, images.to(image.device))) for image in shown) / len(shown))
    low, high = errors
    message = f"{system.name} shows no more at {HIGH_DB:g} dB (error {high:.4f}) than at {LOW_DB:g} dB ({low:.4f}), k = {symbols}"
    _hold(high < low, message)


def check_gradients(system: System, images: Tensor, channel: Channel, symbols: int) -> None:
    """Check that a system with parameters can be trained: in train mode gradients reach some of them, and are finite."""
    student = copy.deepcopy(system).train()
    learned = [parameter for parameter in student.parameters() if parameter.requires_grad]
    if not learned:
        return
    budget = Budget(symbols, 10.0)
    error = F.mse_loss(student(images, lambda burst: channel(burst), budget).image, images)
    if error.requires_grad:
        error.backward()
    gradients = [parameter.grad for parameter in learned if parameter.grad is not None]
    _hold(all(bool(torch.isfinite(gradient).all()) for gradient in gradients), f"{system.name} has gradients that are not finite")
    _hold(any(bool((gradient != 0).any()) for gradient in gradients), f"{system.name} has parameters that no gradient reaches")


# ---- codecs ----------------------------------------------------------------------------------------------------------


def check_codec(
    codec: BitCodec, *, photos: Sequence[Photo] | None = None, max_bytes: Sequence[int] = (500, 2000),
    twin: BitCodec | None = None,
) -> None:  # fmt: skip
    """Check that a codec is one: that nothing but the promised bytes passes from one end to the other.

    Args:
        codec: to be checked.
        photos: two of the kind that it is made for, uint8 ``[H, W, 3]``; by default two views of an astronaut, 256 x 256.
        max_bytes: budgets, the smallest first.
        twin: a second instance, which decompresses; by default a copy made before anything was compressed.

    Raises:
        AssertionError: a law is broken; the message says which.
    """
    name = codec.name
    _hold(name and isinstance(codec.version, str) and codec.version, "a codec has a name and a version")
    one, other = photos or default_photos()
    receiver = copy.deepcopy(codec) if twin is None else twin
    errors, streams = [], []
    for budget in max_bytes:
        stream = codec.compress(one, budget)
        _hold(isinstance(stream, bytes), f"{name} makes {type(stream).__name__}, not bytes")
        _hold(len(stream) <= budget, f"{name} was given {budget} bytes and makes {len(stream)}")
        shown = receiver.decompress(stream)
        _hold(shown.dtype == np.uint8 and shown.shape == one.shape, f"{name} was given {one.shape} and shows {shown.shape}")
        codec.compress(other, budget)
        for who, what in ((receiver, "another instance"), (codec, "the sender's own instance")):
            same = np.array_equal(who.decompress(stream), shown)
            _hold(same, f"{name} remembers the photo: {what} shows another one for the same bytes")
        _hold(codec.compress(one, budget) == stream, f"{name} makes other bytes of the same photo")
        errors.append(float(np.square(shown.astype(np.float64) - one).mean()))
        streams.append(stream)
    _hold(errors[-1] < errors[0], f"{name} shows no more of a photo in {max_bytes[-1]} bytes than in {max_bytes[0]}")
    _hold(_is_refused(lambda: codec.compress(one, 1)), f"{name} codes a photo in 1 byte")
    check_damage(receiver, streams[-1])


def check_damage(codec: BitCodec, stream: bytes) -> None:
    """Check that damaged bytes are refused with a SemcastError or shown all the same, never a crash."""
    random = np.random.default_rng(0)
    damaged = [b"", stream[:1], stream[: len(stream) // 2], random.bytes(len(stream))]
    for _ in range(4):
        flipped = bytearray(stream)
        flipped[int(random.integers(len(stream)))] ^= 1 << int(random.integers(8))
        damaged.append(bytes(flipped))
    for data in damaged:
        try:
            codec.decompress(data)
        except SemcastError:
            continue
        except Exception as error:
            raise AssertionError(f"{codec.name} raises {type(error).__name__} on damaged bytes: {error}") from error


def default_photos() -> tuple[Photo, Photo]:
    """Two views of one photo, uint8 ``[256, 256, 3]``."""
    import skimage.data

    photo = skimage.data.astronaut()
    whole = F.interpolate(to_tensor(photo), (256, 256), mode="bilinear", antialias=True)
    return np.ascontiguousarray(photo[:256, 96:352]), to_uint8(whole)
