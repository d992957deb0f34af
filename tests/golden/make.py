"""Makes the golden vectors, or says where this machine differs from them.

::

    python tests/golden/make.py            # make again what belongs to weights that have changed; keep everything else
    python tests/golden/make.py --check    # one sentence for everything that is not as it was; exit code 1 where there is any

``*.sem`` are fifteen files of each domain and version of the format, ``sem.json`` what is in them: layouts, levels and indices
must come out to the last bit, decoded pixels too or within the rounding of another machine. ``links.json`` holds the symbols of
each system of the link for the bundled portrait, and the picture that its receiver makes of them; ``weights.json`` the
fingerprints of all that ships. Each entry names the weights that it was made with: under others nothing is compared, and the
sentence says that it must be made again. A file of unchanged weights is never written anew, because the sender's networks may
round otherwise where the maker runs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw
from safetensors import safe_open

import semcast as sc
from semcast.codec.bitstream import unpack
from semcast.codec.codec import RlAsc, receive
from semcast.codec.front import model_number
from semcast.codec.painter import SceneCodec
from semcast.codec.tables import Tables
from semcast.domains import domain_named
from semcast.face.alignment import align
from semcast.link import Received, System
from semcast.networks import precision
from semcast.networks.segmenter import FaceParser
from semcast.photos import resize, to_tensor, to_uint8
from semcast.weights import store

HERE = Path(__file__).parent
AGAIN = "make it again with python tests/golden/make.py"
BYTES = (200, 350, 500, 1000, 2000)
STRATEGIES = ("rl-asc", "uniform", "area")
CARES = {"street": "car,person=9", "face": "left eye,right eye"}
LINKS = ("sketch", "generative", "linear", "linear-gan", "deepjscc")
BUDGET = sc.Budget(64, 10.0)
SHARPNESS = 1e-6
"""What is added to each pixel to see how much a system makes of the last digits: other processors round otherwise."""
MARGIN = 200
"""Times what was measured that another machine may differ by: a product over 196,608 numbers is summed in another order there."""
LEVELS = 3
"""Of 255 that a pixel of a thumbnail of a decoded file may differ by."""


# ---- pictures --------------------------------------------------------------------------------------------------------


@cache
def portrait() -> np.ndarray:
    """The face of the bundled portrait (Eileen Collins, by NASA, public domain), uint8 ``[256, 256, 3]``."""
    return resize(align(skimage.data.astronaut(), FaceParser.load(), name="the astronaut")[0], 256)


def street(seed: int) -> np.ndarray:
    """A painted street, uint8 ``[256, 512, 3]``: sky, houses, a road with cars on it, trees."""
    random = np.random.default_rng(seed)
    canvas = Image.new("RGB", (512, 256), (170, 190, 210))
    draw = ImageDraw.Draw(canvas)
    for left in range(0, 512, 64):
        top, shade = int(random.integers(20, 90)), int(random.integers(90, 170))
        draw.rectangle((left, top, left + 63, 150), (shade, shade - 15, shade - 30))
        for window in range(left + 8, left + 56, 16):
            draw.rectangle((window, top + 12, window + 8, top + 26), (60, 70, 90))
    draw.rectangle((0, 140, 511, 165), (120, 110, 115))
    draw.polygon([(200, 130), (312, 130), (560, 256), (-48, 256)], (85, 85, 90))
    for _ in range(3):
        x, y = int(random.integers(40, 420)), int(random.integers(140, 190))
        colour = tuple(int(value) for value in random.integers(20, 220, 3))
        draw.rectangle((x, y, x + 70, y + 30), colour)
        draw.rectangle((x + 12, y - 16, x + 56, y), (30, 35, 45))
        draw.ellipse((x + 6, y + 22, x + 22, y + 38), (15, 15, 15))
        draw.ellipse((x + 48, y + 22, x + 64, y + 38), (15, 15, 15))
    for x in random.integers(0, 500, 4):
        draw.rectangle((int(x), 90, int(x) + 5, 150), (70, 50, 40))
        draw.ellipse((int(x) - 25, 40, int(x) + 30, 105), (50, 95, 45))
    grain = random.integers(-6, 7, (256, 512, 3))
    return np.clip(np.asarray(canvas) + grain, 0, 255).astype(np.uint8)


def repainted(image: np.ndarray, codec: RlAsc) -> np.ndarray:
    """A picture that semcast painted itself."""
    return codec.decompress(codec.compress(image, BYTES[-1]))


# ---- digests ---------------------------------------------------------------------------------------------------------


def digest(*parts: bytes) -> str:
    """Sixteen hexadecimal digits."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    """A thumbnail, uint8 ``[side, side, 3]``: what is left of a picture where another machine rounds otherwise."""
    step = pixels.shape[0] // side
    blocks = pixels[: step * side, : step * side].reshape(side, step, side, step, 3)
    return blocks.mean((1, 3)).round().astype(np.uint8)


def to_text(array: np.ndarray) -> str:
    """Base64 of an array's bytes."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def of_text(text: str, kind: Any) -> np.ndarray:
    """The array of such a text, flat."""
    return np.frombuffer(base64.b64decode(text), kind)


def stored(name: str) -> dict[str, Any]:
    """A file of golden vectors; nothing where it is not there."""
    path = HERE / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(name: str, values: dict[str, Any]) -> None:
    """Write such a file."""
    (HERE / name).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


# ---- weights ---------------------------------------------------------------------------------------------------------


def fingerprints() -> dict[str, str]:
    """The fingerprint that each file of weights of the package says it has; that it is right is seen when it is loaded."""
    found = {}
    for path in sorted(Path(store.__file__).parent.glob("*.safetensors")):
        with safe_open(path, framework="np") as file:
            found[path.stem] = file.metadata()["sha256"]
    return found


def check_weights() -> Iterator[str]:
    """A sentence for each file that is not the one that was written down."""
    known, here = stored("weights.json"), fingerprints()
    for name in sorted(known.keys() | here.keys()):
        if known.get(name) != here.get(name):
            change = "are other weights" if name in known and name in here else "are new" if name in here else "are gone"
            yield f"{name}: what ships now {change}: {AGAIN}"


# ---- files of meaning ------------------------------------------------------------------------------------------------


def series(domain: str, version: int) -> str:
    """How the names of the files of a domain and a version of the format begin."""
    return domain if version == 1 else f"{domain}v{version}"


def part(name: str) -> tuple[str, int]:
    """The domain and the version of the format of a series."""
    domain, _, version = name.partition("v")
    return domain, int(version or 1)


def weights_of(name: str) -> dict[str, str]:
    """The fingerprints of what a receiver of a series computes with."""
    of = part(name)
    return {"codec": SceneCodec.load(*of).fingerprint, "bits": Tables.load(*of).fingerprint}


def write_files(domain: str) -> dict[str, str]:
    """Encode fifteen files of a domain in the version that is written now; their bytes in hexadecimal by name."""
    cares = domain_named(domain).cares(CARES[domain])
    begun = series(domain, Tables.load(domain).ladder.version)
    made = {}
    for number, (size, strategy) in enumerate((size, strategy) for size in BYTES for strategy in STRATEGIES):
        codec = RlAsc.load(strategy, domain, care=cares if number % 4 == 3 else None)
        given = portrait() if domain == "face" else street(number % 3)
        if number % 5 == 4:
            given = repainted(given, codec)
        made[f"{begun}-{size}-{strategy}"] = codec.compress(given, size).hex()
    return made


def describe_file(data: bytes) -> dict[str, Any]:
    """What a file says, by the weights that ship."""
    read = unpack(data)
    levels = bytes(concept.level for concept in read.concepts)
    indices = [b"" if concept.indices is None else concept.indices.astype(np.uint8).tobytes() for concept in read.concepts]
    pixels = receive(data).pixels
    return {
        "file": digest(data), "domain": read.domain, "layout": digest(read.layout.tobytes()), "levels": digest(levels),
        "indices": digest(*indices), "width": read.width, "height": read.height, "care": len(read.care),
        "model": read.model, "pixels": digest(pixels.tobytes()), "thumbnail": to_text(shrink(pixels, 16)),
    }  # fmt: skip


def check_files() -> Iterator[str]:
    """A sentence for each file that is not read as it was."""
    known = stored("sem.json")
    for name, weights in known["weights"].items():
        here = weights_of(name)
        if weights != here:
            yield f"the .sem files of {name} are of other weights than those that ship now: {AGAIN}"
            continue
        for file, then in known["files"].items():
            if file.startswith(f"{name}-"):
                now = describe_file((HERE / f"{file}.sem").read_bytes())
                yield from (f"{file}.sem: {said}" for said in compare_file(then, now))
                if then["model"] != model_number(here["codec"]):
                    yield f"{file}.sem names other networks than those of its domain"
    for domain in CARES:
        if (newest := series(domain, Tables.load(domain).ladder.version)) not in known["weights"]:
            yield f"there are no .sem files of {newest}: {AGAIN}"


def compare_file(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """A sentence for each thing that is read otherwise; pixels may be rounded otherwise."""
    for key, value in then.items():
        if key not in ("pixels", "thumbnail") and now[key] != value:
            yield f"{key} is {now[key]}, was {value}"
    if now["pixels"] != then["pixels"]:
        far = np.abs(of_text(then["thumbnail"], np.uint8).astype(int) - of_text(now["thumbnail"], np.uint8)).max()
        if far > LEVELS:
            yield f"its picture differs by {far} levels of 255"


def make_files() -> None:
    """Write those whose weights have changed, and the list of all; files of an older version stay: they must still be read."""
    known = stored("sem.json")
    weights, files = dict(known.get("weights", {})), dict(known.get("files", {}))
    for domain in CARES:
        name = series(domain, Tables.load(domain).ladder.version)
        if weights.get(name) != weights_of(name):
            files = {file: about for file, about in files.items() if not file.startswith(f"{name}-")}
            for old in HERE.glob(f"{name}-*.sem"):
                old.unlink()
            for file, data in write_files(domain).items():
                (HERE / f"{file}.sem").write_bytes(bytes.fromhex(data))
                files[file] = describe_file(bytes.fromhex(data))
            weights[name] = weights_of(name)
            print(f"made: the .sem files of {name}")
    write("sem.json", {"weights": weights, "files": files})


# ---- the link --------------------------------------------------------------------------------------------------------


@contextmanager
def float32() -> Iterator[None]:
    """Compute as a processor without bfloat16 does."""
    with patch.object(precision, "has_bfloat16", lambda: False):
        yield


def number_format() -> str:
    """What convolutions compute in here."""
    return "bfloat16" if precision.has_bfloat16() else "float32"


@torch.no_grad()
def send(system: System, nudge: float = 0.0) -> np.ndarray:
    """The symbols of the portrait, complex64 ``[k]``."""
    image = to_tensor(portrait())
    if nudge:
        image = image + nudge * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    return system.encode(image, BUDGET).symbols[0].cpu().numpy().astype(np.complex64)


@torch.no_grad()
def show(system: System, symbols: np.ndarray) -> np.ndarray:
    """The picture of symbols that came without noise, uint8 ``[256, 256, 3]``."""
    given = torch.from_numpy(symbols.copy())[None]
    received = Received(given, torch.full(given.shape, 10 ** (-BUDGET.snr_db / 10)), BUDGET)
    return to_uint8(system.decode(received).image)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """|a - b| / |b|."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def levels_between(one: np.ndarray, other: np.ndarray) -> int:
    """The largest difference of two thumbnails."""
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def fingerprint_of(name: str) -> str:
    """Of the weights of a system of the link, with the code that counts."""
    return sc.load(name, device="cpu").fingerprint()


def describe_link(name: str) -> dict[str, Any]:
    """A system's symbols and picture in float32, and how far other processors may be from them."""
    system = sc.load(name, device="cpu")
    natively = send(system)
    with float32():
        symbols, nudged = send(system), send(system, SHARPNESS)
        picture, moved = shrink(show(system, symbols), 32), shrink(show(system, nudged), 32)
    shown = shrink(show(system, symbols), 32)
    rounding = MARGIN * max(distance(nudged, symbols), SHARPNESS)
    return {
        "fingerprint": system.fingerprint(), "symbols": to_text(symbols), "thumbnail": to_text(picture),
        "symbols_within": {"float32": rounding, "bfloat16": max(rounding, 2 * distance(natively, symbols))},
        "levels_within": {"float32": 1 + levels_between(moved, picture), "bfloat16": 2 + 2 * levels_between(shown, picture)},
    }  # fmt: skip


def check_links(names: tuple[str, ...] = LINKS) -> Iterator[str]:
    """A sentence for each system that sends or shows the portrait otherwise than it did."""
    known, kind = stored("links.json"), number_format()
    for name in names:
        system, then = sc.load(name, device="cpu"), known[name]
        if system.fingerprint() != then["fingerprint"]:
            yield f"the symbols of {name} are of other weights than those that ship now: {AGAIN}"
            continue
        symbols = of_text(then["symbols"], np.complex64)
        apart, most = distance(send(system), symbols), then["symbols_within"][kind]
        if not apart <= most:
            yield f"{name}: symbols are {apart:.2g} of their length from those in {kind}, at most {most:.2g} is rounding"
        found = levels_between(shrink(show(system, symbols), 32).ravel(), of_text(then["thumbnail"], np.uint8))
        if found > then["levels_within"][kind]:
            yield f"{name}: its picture differs by {found} levels of 255, at most {then['levels_within'][kind]} is rounding"


def make_links() -> None:
    """Write those whose weights have changed."""
    known = stored("links.json")
    stale = [name for name in LINKS if known.get(name, {}).get("fingerprint") != fingerprint_of(name)]
    if stale and not precision.has_bfloat16():
        sys.exit("this processor has no bfloat16: what it costs is measured when the vectors are made; make them on one that has")
    for name in stale:
        known[name] = describe_link(name)
        print(f"made: the symbols of {name}")
    write("links.json", known)


def main(arguments: list[str]) -> int:
    """Make or check; the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    if not arguments:
        make_files()
        make_links()
        write("weights.json", fingerprints())
    found = [*check_weights(), *check_files(), *check_links()]
    for sentence in found:
        print(sentence)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
