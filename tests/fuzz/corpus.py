"""Makes the inputs that are bent: ``python -m tests.fuzz.corpus`` writes ``tests/fuzz/corpus`` anew.

Photos are corners of the bundled portrait (by NASA, public domain), recordings a burst of forty symbols of chance, weights tiny
networks that never learned anything. ``.sem`` files are the golden ones.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from semcast.codec.concepts import SIDES
from semcast.codec.policy import Policy, PolicyConfig
from semcast.mark import Mark
from semcast.networks.segmenter import SceneParser, SceneParserConfig
from semcast.onair.files import write_sound
from semcast.onair.header import Header
from semcast.onair.iq import write_iq
from semcast.onair.transmitter import to_iq, to_sound, to_wave
from semcast.photos import write_image
from semcast.privacy.knowledge import KnowledgeBase, KnowledgeConfig
from semcast.rivals.jscc import Jscc, JsccConfig
from semcast.weights import load, save

HERE = Path(__file__).parent / "corpus"


def make_photos(folder: Path) -> None:
    """A few hundred pixels in each format, and masks."""
    pixels = skimage.data.astronaut()[80:120, 200:248]
    image = Image.fromarray(pixels)
    texts = PngInfo()
    texts.add_text("Comment", "a text", zip=True)
    image.save(folder / "a.png", pnginfo=texts, icc_profile=_profile())
    image.convert("P", palette=Image.Palette.ADAPTIVE, colors=16).save(folder / "palette.png", transparency=3)
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    image.save(folder / "a.jpg", quality=85)
    image.save(folder / "progressive.jpg", quality=60, progressive=True)
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=60)
    for name, options in (
        ("a.webp", {}), ("lossless.webp", {"lossless": True}), ("a.bmp", {}), ("a.gif", {}), ("a.ppm", {}), ("a.jp2", {}),
        ("a.tiff", {"compression": "tiff_lzw"}), ("jpeg.tiff", {"compression": "jpeg"}), ("a.avif", {}),
    ):  # fmt: skip
        image.save(folder / name, **options)
    image.convert("F").save(folder / "float.tiff")
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        print("no pillow-heif: there is no HEIC among the photos")
    else:
        register_heif_opener()
        image.save(folder / "a.heic", quality=50)
    frames = [Image.fromarray(np.roll(pixels, shift, 1)) for shift in (0, 5)]
    frames[0].save(folder / "frames.gif", save_all=True, append_images=frames[1:])
    mask = np.zeros((40, 48), np.uint8)
    mask[10:20, 12:30] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(mask).convert("1").save(folder / "one.bmp")
    write_image(folder / "marked.png", pixels[:32, :32], mark=Mark("linear", 64, 5.0, "awgn", "abc"))
    write_image(folder / "marked.webp", pixels[:32, :32], mark=Mark("linear", 64, 5.0, "awgn", "abc"))


def _profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def make_recordings(folder: Path) -> None:
    """One burst as every kind of sound, and as I/Q."""
    random = np.random.default_rng(0)
    symbols = (random.standard_normal((40, 2)) @ np.array([1, 1j])) / 2**0.5
    wave = to_wave(symbols, Header(40, 2, 1, 10.0), oversampling=2)
    sound = to_sound([wave], rate=12_000).astype(np.float32)
    for suffix in ("wav", "flac", "ogg", "mp3"):
        write_sound(folder / f"burst.{suffix}", sound, 12_000)
    samples, rate, _ = to_iq([wave[::2]], spacing_hz=46.875, oversampling=1)
    write_iq(folder / "burst.sigmf-meta", samples, rate, spacing_hz=46.875)


def make_weights(folder: Path) -> None:
    """A tiny file of each kind that a loader of its own reads, and a card."""
    torch.manual_seed(0)
    policy, parser = PolicyConfig(hidden=(4, 4)), SceneParserConfig(widths=(8, 8, 8, 8, 8))
    knowledge, jscc = KnowledgeConfig(code=4, factors=2, donors=3), JsccConfig(filters=4, block=0)
    for name, kind, network, config in (
        ("allocation-street", "allocation", Policy(policy), policy),
        ("parser-street", SceneParser.kind, SceneParser(parser), parser),
        ("knowledge", "knowledge", KnowledgeBase(knowledge), knowledge), ("deepjscc-64", "jscc", Jscc(jscc), jscc),
    ):  # fmt: skip
        save(folder / f"{name}.safetensors", network.state_dict(), kind=kind, config=asdict(config))
    tensors: dict[str, torch.Tensor] = {}
    for side in SIDES:  # the tables that ship, with one inner number instead of many
        whole = load("bits-street", kind="bits").part(f"layout{side}")
        columns, rows = slice(len(whole["inner"]) - 1, None), slice(0, 1)  # inner numbers come first, then the categories
        cut = {name: whole[name][..., columns] for name in ("near", "seen", "row", "column")}
        cut |= {name: whole[name][rows] for name in ("bias", "outer")}
        cut |= {"inner": whole["inner"][rows, rows], "power": whole["power"]}
        tensors |= {f"layout{side}.{name}": value.contiguous() for name, value in cut.items()}
    save(folder / "bits-street.safetensors", tensors, kind="bits", config={})
    (folder / "knowledge.md").write_text("# knowledge\n\nFaces of nobody: a card in *Markdown*, with an é.\n", encoding="utf-8")


def main() -> None:
    """Write all of it."""
    with tempfile.TemporaryDirectory() as place:
        for name, make in (("photos", make_photos), ("air", make_recordings), ("weights", make_weights)):
            folder = Path(place) / name
            folder.mkdir()
            make(folder)
            shutil.rmtree(HERE / name, ignore_errors=True)
            shutil.copytree(folder, HERE / name)
    total = sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file())
    print(f"written: {HERE}, {total} bytes")


if __name__ == "__main__":
    main()
