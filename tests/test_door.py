"""The door of the Python interface: whatever a caller gives, what is wrong is said in a sentence of one of semcast's errors."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import semcast as sc
from semcast.api import Codec
from semcast.errors import BadInput
from semcast.hashes import generator_for
from semcast.metrics.report import Metrics
from semcast.photos import read_photo
from semcast.station import spacing_of

SOURCE = Path(sc.__file__).resolve().parents[1]
JUNK = (
    None, 5, -1, 1.5, float("nan"), 10**400, 1j, True, "", "x", "\0", b"x", [], [5], {}, (), object(), int, np.zeros(3),
    np.float32(0.5), torch.zeros(2), torch.zeros((), device="meta"),
)  # fmt: skip


@pytest.fixture(scope="module")
def linear() -> sc.System:
    return sc.load("linear", device="cpu")


def _right(linear: sc.System, folder: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """What is public, with right arguments for all of it."""
    grey, budget = torch.full((1, 3, 256, 256), 0.5), sc.Budget(64, 5.0)
    burst = linear.encode(grey, budget)
    sc.send(linear, grey, budget).save(folder / "burst.wav")
    random = torch.Generator().manual_seed(0)
    webp = sc.load_codec("webp")
    received = sc.AWGN()(burst)
    return {
        "Budget": (sc.Budget, {"symbols": 64, "snr_db": 5.0, "size": (8, 8)}),
        "load": (sc.load, {"name": "linear", "device": "cpu"}),
        "load generative": (lambda **o: sc.load("generative", **o), {"inversion": "newton", "refine": 1}),
        "load codec over modem": (lambda **o: sc.load("webp", **o), {"scheme": "qpsk-1/2", "domain": "face"}),
        "load care": (lambda **o: sc.load("linear-gan", **o), {"care": "face"}),
        "load_codec": (sc.load_codec, {"name": "webp", "domain": "face", "care": None, "task": None, "device": "cpu"}),
        "default_system": (sc.default_system, {"symbols": 64}),
        "make_channel": (sc.make_channel, {"name": "awgn"}),
        "Rayleigh": (sc.Rayleigh, {"block": 8, "pilots": 2}),
        "Rician": (sc.Rician, {"block": 8, "pilots": 2, "k_factor_db": 3.0}),
        "uses": (lambda symbols: sc.Rayleigh(pilots=2).uses(symbols), {"symbols": 5}),
        "draw": (sc.AWGN().draw, {"batch": 1, "symbols": 4, "snr_db": 3.0, "generator": random}),
        "channel": (sc.AWGN(), {"burst": burst, "seed": 0, "snr_db": 3.0}),
        "Newton": (sc.Newton, {"steps": 2}),
        "Descent": (sc.Descent, {"steps": 2, "rate": 0.1, "report": None}),
        "Refine": (sc.Refine, {"steps": 2, "report": None}),
        "Blind": (sc.Blind, {"parts": "eyes", "mask": None, "coarse": False}),
        "Filter": (sc.Filter, {"parts": "eyes", "lambda1": 1.0, "lambda2": 0.5}),
        "protect": (sc.protect, {"system": linear, "protection": sc.Blind("eyes"), "repeatable": 1}),
        "OnAir": (sc.OnAir, {"path": sc.Simulator(), "headroom_db": 6.0, "rate": 24_000, "powers": None}),
        "Recording": (sc.Recording, {"path": folder / "burst.wav", "spacing_hz": None}),
        "Simulator": (sc.Simulator, {
            "snr_db": None, "channel": "awgn", "offset_hz": 0.0, "ppm": 0.0, "cut": 0.0, "cut_start": 0.0, "echo": None,
            "wobble": None, "whistle": None, "band": None, "clip": None, "bits": None, "bandwidth_hz": 2400.0, "seed": 0,
        }),
        "apply": (sc.Simulator().apply, {"samples": np.sin(np.arange(4800.0)), "rate": 48_000, "generator": None}),
        "encode": (linear.encode, {"image": grey, "budget": budget}),
        "decode": (linear.decode, {"received": received}),
        "check": (sc.Received, {"symbols": received.symbols, "noise_var": received.noise_var, "budget": budget}),
        "transmit": (sc.transmit, {
            "system": linear, "image": grey, "channel": sc.AWGN(), "budget": budget, "seed": 0, "snr_db": 5.0,
        }),
        "photo": (lambda **o: sc.photo(**o).whole(), {"image": np.zeros((8, 8, 3), np.uint8), "name": "dark"}),
        "evaluate": (sc.evaluate, {
            "systems": linear, "photos": [np.full((256, 256, 3), 99, np.uint8)], "channels": "awgn", "snr_db": 5.0, "symbols": 8,
            "out": None, "draws": 1, "seed": 0, "design_snr_db": None, "domain": "photo", "aligned": False, "limit": None,
            "metrics": Metrics({}, None, []), "identity": (), "vgg": False, "force": False, "device": "cpu", "progress": None,
        }),
        "evaluate_codecs": (lambda **o: sc.evaluate_codecs(o.pop("codecs"), o.pop("photos"), **o), {
            "codecs": "webp", "photos": [np.zeros((64, 64, 3), np.uint8)], "max_bytes": 500, "out": None, "domain": "photo",
            "care": None, "limit": None, "force": False, "device": "cpu", "strangers": False, "progress": None,
        }),
        "send": (sc.send, {"system": linear, "image": grey, "budget": budget, "headroom_db": 6.0}),
        "receive": (lambda **given: list(sc.receive(**given)), {
            "recording": folder / "burst.wav", "station": None, "spacing_hz": None, "block": 1 << 16,
        }),
        "spacing_of": (spacing_of, {"bandwidth": "2.4k"}),
        "metrics": (sc.metrics, {"original": grey, "received": grey, "identity": (), "vgg": False}),
        "unit_power": (sc.unit_power, {"symbols": burst.symbols}),
        "Codec": (Codec, {"coder": webp.coder, "domain": "face", "finds_faces": False}),
        "compress": (webp.compress, {"image": grey, "max_bytes": 500}),
        "decompress": (webp.decompress, {"stream": webp.compress(grey, 500)}),
        "of": (sc.Picture.of, {"pixels": np.zeros((4, 4, 3), np.uint8)}),
        "save": (sc.photo(np.zeros((4, 4), np.uint8)).whole().save, {"path": folder / "a.png"}),
        "save received": (linear.decode(received).save, {"path": folder / "b.png"}),
        "save signal": (sc.send(linear, grey, budget).save, {"path": folder / "c.wav", "spacing_hz": None}),
        "scene": (sc.photo(np.zeros((4, 4), np.uint8)).scene, {"domain": "street"}),
    }  # fmt: skip


def refuse_all(folder: Path) -> list[str]:
    """Junk for one argument after the other of all that is public; what is then said that is no sentence of semcast's errors."""
    wrong = []
    for name, (call, right) in _right(sc.load("linear", device="cpu"), folder).items():
        call(**right)
        for argument, junk in product(right, JUNK):
            try:
                made = call(**{**right, argument: junk})
                if name == "check":
                    made.check()
            except sc.SemcastError as error:
                if len(str(error).splitlines()) != 1:
                    wrong.append(f"{name}({argument}={junk!r}): {str(error)!r} is no sentence")
            except Exception as error:  # noqa: BLE001 - this is what is looked for
                wrong.append(f"{name}({argument}={junk!r}): {type(error).__name__}: {error}")
    return wrong


def test_whatever_is_given_what_is_wrong_is_said_in_a_sentence(tmp_path: Path) -> None:
    """In a process of its own, where no test checks shapes before semcast does."""
    command, paths = [sys.executable, __file__], os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths}, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    for one in (np.int64(64), np.uint8(64), torch.tensor(64), np.array(64)):
        budget = sc.Budget(one, np.float32(5))
        assert budget == sc.Budget(64, 5.0) and type(budget.symbols) is int and type(budget.snr_db) is float
    assert sc.Rayleigh(block=np.int64(8), pilots=np.int32(2)) == sc.Rayleigh(block=8, pilots=2)
    assert repr(sc.Rayleigh(block=np.int64(8))) == repr(sc.Rayleigh(block=8))
    assert sc.Newton(np.int64(2)) == sc.Newton(2) and sc.Refine(np.int64(2)) == sc.Refine(2)
    assert sc.default_system(np.int64(64)) == sc.default_system(64)
    assert sc.Filter("eyes", np.float32(1), np.float32(0.5)) == sc.Filter("eyes", 1, 0.5)


@pytest.mark.parametrize("snr", ["5", None, 1j, 10**400, 10**5000, True, torch.zeros(2), b"5"], ids=lambda snr: str(type(snr)))
def test_what_is_no_snr_is_refused(snr: Any) -> None:
    with pytest.raises(sc.BadInput, match="SNR must be a number between -30 and 60 dB, not "):
        sc.Budget(64, snr)


@pytest.mark.parametrize("seed", [None, "a", 1.5, True, torch.zeros(2)], ids=lambda seed: str(type(seed)))
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    linear = sc.load("linear", device="cpu")
    picture = sc.photo(np.zeros((256, 256, 3), np.uint8)).whole()
    with pytest.raises(sc.BadInput, match="seed must be a whole number, not "):
        sc.transmit(linear, picture, sc.AWGN(), sc.Budget(64, 5.0), seed=seed)


def test_a_seed_of_numpy_is_the_same_seed() -> None:
    one, other = (generator_for(seed, "me").initial_seed() for seed in (7, np.int64(7)))
    assert one == other


def test_a_name_that_no_file_has_is_refused() -> None:
    with pytest.raises(sc.Missing, match="cannot be read"):
        sc.load("a" * 5000 + ".py:System")


@pytest.mark.parametrize("device", [None, "meta", torch.device("meta"), b"", []])
def test_a_device_that_computes_nothing_is_refused(device: Any) -> None:
    for load in (sc.load, sc.load_codec):
        with pytest.raises(sc.BadInput, match="device"):
            load("webp", device=device)


# ---- pictures --------------------------------------------------------------------------------------------------------


def _pil(mode: str) -> Image.Image:
    """A picture of that mode, over its full range."""
    ramp = np.linspace(0, 1, 32 * 48).reshape(32, 48)
    pixels = (np.dstack([ramp, ramp[::-1], ramp[:, ::-1]]) * 255).astype(np.uint8)
    if mode in ("I;16", "I"):
        return Image.fromarray((ramp * 65535).astype(np.uint16 if mode == "I;16" else np.int32))
    if mode == "F":
        return Image.fromarray(ramp.astype(np.float32))
    colours = Image.fromarray(np.dstack([pixels, pixels[..., 0]]), "RGBA")
    if mode in ("RGBa", "RGBA"):
        return colours.convert(mode)
    if mode in ("LA", "La"):
        return colours.convert("LA").convert(mode)
    if mode in ("P", "PA"):
        return colours.quantize(16).convert(mode)
    return colours.convert("RGB").convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "F", "CMYK"])
def test_a_pil_image_is_shown_as_its_file_is(mode: str, tmp_path: Path) -> None:
    image, path = _pil(mode), tmp_path / ("a.tif" if mode in ("F", "CMYK") else "a.png")
    image.save(path)
    shown = sc.photo(image).whole().pixels
    assert np.array_equal(shown, read_photo(path))
    if mode in ("I;16", "F"):
        assert shown.min() == 0 and shown.max() == 255 and 127 <= shown.mean() <= 128, "over its full range"
    with Image.open(path) as opened:
        assert np.array_equal(sc.photo(opened).whole().pixels, shown)


def test_whole_numbers_of_pil_are_those_of_16_bits_or_refused() -> None:
    assert np.array_equal(sc.photo(_pil("I")).whole().pixels, sc.photo(_pil("I;16")).whole().pixels)
    for values in ((-1, 5), (0, 65536)):
        with pytest.raises(BadInput, match=f"has values from {values[0]} to {values[1]}: only 0 to 65535"):
            sc.photo(Image.fromarray(np.array([values], np.int32))).whole()


@pytest.mark.parametrize(("mode", "same"), [("La", "LA"), ("RGBa", "RGBA"), ("PA", "P"), ("HSV", "RGB"), ("YCbCr", "RGB")])
def test_pil_images_that_no_file_holds_are_shown_too(mode: str, same: str) -> None:
    shown, wanted = (sc.photo(_pil(each)).whole().pixels.astype(int) for each in (mode, same))
    assert np.abs(shown - wanted).mean() < 2


def test_the_colours_and_the_turn_of_a_pil_image_are_minded(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    swapped = bytearray(profile.tobytes())  # red and blue trade places: any profile but sRGB would do
    red, blue = swapped.find(b"rXYZ"), swapped.find(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, options in (("a.png", {"icc_profile": bytes(swapped)}), ("b.png", {"exif": exif}), ("c.tif", {"exif": exif})):
        _pil("RGB").save(tmp_path / name, **options)
        with Image.open(tmp_path / name) as opened:
            shown = sc.photo(opened).whole().pixels
        assert np.array_equal(shown, read_photo(tmp_path / name))
        assert shown.shape != (32, 48, 3) or not np.array_equal(shown, np.asarray(_pil("RGB")))


def test_pil_images_that_cannot_be_shown_are_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(file, "PNG")
    with pytest.raises(sc.Damaged, match="truncated"):
        sc.photo(Image.open(io.BytesIO(file.getvalue()[: len(file.getvalue()) // 2])))
    closed = Image.open(file)
    closed.close()
    for image, says in ((closed, "closed"), (Image.new("RGB", (0, 5)), "0 x 5 pixels")):
        with pytest.raises(sc.BadInput, match=says):
            sc.photo(image)
    with pytest.raises(sc.SemcastError, match="NaN"):
        sc.photo(Image.fromarray(np.full((4, 4), np.nan, np.float32)))


def test_tensors_of_any_kind_are_shown_or_refused() -> None:
    wanted = torch.arange(48, dtype=torch.float32).reshape(3, 4, 4) / 47
    plain = sc.photo(wanted).whole().pixels.astype(int)
    turned = torch.complex(torch.zeros(3, 4, 4), -wanted).conj().imag  # a view whose sign is still to be turned
    for image in (wanted.bfloat16(), wanted.half(), wanted.to_sparse(), wanted.to_mkldnn(), turned, wanted.requires_grad_()):
        assert np.abs(sc.photo(image).whole().pixels - plain).max() <= 1
    for image in (torch.zeros(3, 4, 4, device="meta"), wanted.to(torch.complex64).conj()):
        with pytest.raises(sc.BadInput):
            sc.photo(image)


@pytest.mark.parametrize("change", [lambda x: x * 255, lambda x: x - 1, lambda x: x + 0.01, lambda x: x * torch.nan])
def test_pictures_hold_numbers_from_0_to_1(change: Callable[[torch.Tensor], torch.Tensor], linear: sc.System) -> None:
    given, budget = torch.linspace(0, 1, 3 * 256 * 256).reshape(1, 3, 256, 256), sc.Budget(64, 5)
    for image in (given, given.half(), given.bfloat16(), given * 1.0009, given - 0.0009):
        sc.transmit(linear, image, sc.AWGN(), budget)
    image = change(given)
    for act in (
        lambda: sc.transmit(linear, image, sc.AWGN(), budget), lambda: linear.encode(image, budget),
        lambda: sc.send(linear, image, budget), lambda: sc.metrics(given, image), lambda: sc.metrics(image, given),
        lambda: sc.photo(image),
    ):  # fmt: skip
        with pytest.raises(sc.BadInput, match="numbers between 0 and 1"):
            act()


@pytest.mark.parametrize("mask", ["m.png", Image.new("1", (8, 8)), torch.ones(8, 8, device="meta").bool(), object()])
def test_what_is_no_mask_is_refused(mask: Any) -> None:
    with pytest.raises(sc.BadInput, match="a private mask is bool"):
        sc.Blind("eyes", mask)


if __name__ == "__main__":
    complaints = refuse_all(Path.cwd())
    print(*complaints, sep="\n")
    sys.exit(bool(complaints))
