"""The mark of pictures that a network painted: it comes back from every kind of file, and nobody's file can do harm with it."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from semcast.errors import SemcastError
from semcast.mark import MAX_XMP, TRAINED, Mark, read_text, read_xmp, write_text, write_xmp
from semcast.photos import check_output, read_mark, read_photo, write_image

MARK = Mark("generative", 640, -2.5, "rayleigh", "0123456789abcdef", "0.2.0")
ODD = Mark("""mine <&"'> 顔 é""", channel="a&b", version="")
PIXELS = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)


@pytest.mark.parametrize("mark", [MARK, ODD, Mark("rl-asc")])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.jpeg", "a.webp", "a.tif", "a.tiff"])
def test_the_mark_comes_back_and_the_picture_is_the_same(tmp_path: Path, name: str, mark: Mark) -> None:
    write_image(tmp_path / name, PIXELS, mark)
    write_image(tmp_path / f"plain-{name}", PIXELS)
    assert read_mark(tmp_path / name) == mark
    assert read_mark(tmp_path / f"plain-{name}") is None
    assert np.array_equal(read_photo(tmp_path / name), read_photo(tmp_path / f"plain-{name}"))
    assert TRAINED.encode() in (tmp_path / name).read_bytes()  # what other software looks for, not compressed


def test_a_png_says_it_in_its_texts_as_well(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", PIXELS, MARK)
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["Software"] == "semcast 0.2.0" and json.loads(image.info["semcast"])["system"] == "generative"
        assert image.info["Description"] == "painted by a network: generative, k = 640, -2.5 dB, rayleigh (semcast 0.2.0)"
        texts = PngInfo()
        texts.add_text("semcast", image.info["semcast"])
        image.save(tmp_path / "b.png", pnginfo=texts)  # as software does that keeps texts alone
    assert read_mark(tmp_path / "b.png") == MARK


def test_a_bmp_is_refused_before_and_after_the_work(tmp_path: Path) -> None:
    check_output(tmp_path / "a.bmp")
    for refused in (lambda: check_output(tmp_path / "a.bmp", marked=True), lambda: write_image(tmp_path / "a.bmp", PIXELS, MARK)):
        with pytest.raises(SemcastError, match="BMP cannot say"):
            refused()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "values",
    [
        {"system": ""}, {"system": "a\nb"}, {"system": "x" * 201}, {"what": ""}, {"channel": "\ud800"}, {"symbols": 0},
        {"symbols": True}, {"symbols": 1.5}, {"snr_db": float("nan")}, {"snr_db": float("inf")}, {"fingerprint": 3},
    ],
)  # fmt: skip
def test_what_is_no_mark_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(SemcastError, match="mark"):
        Mark(**{"system": "linear"} | values)  # type: ignore[arg-type]


def test_marks_that_other_software_wrote_anew() -> None:
    """Attributes become elements, with other prefixes, among properties of others."""
    packet = f"""<?xml version="1.0"?><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
      <r:Description r:about="" xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:q="urn:semcast:mark:1/">
      <i:DigitalSourceType>{TRAINED}</i:DigitalSourceType> <q:system>linear-gan</q:system><q:symbols>64</q:symbols>
      <q:version>0.2</q:version><other>words</other></r:Description></r:RDF>"""
    assert read_xmp(packet.encode()) == Mark("linear-gan", 64, version="0.2")
    assert read_xmp(packet.replace("trainedAlgorithmicMedia", "digitalCapture").encode()) is None
    assert read_xmp(packet.replace("urn:semcast", "urn:other").encode()) is None


LAUGHS = b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>" + b"".join(
    b"<!ENTITY %c '%b'>" % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9)
) + b"]>"  # fmt: skip


@pytest.mark.parametrize(
    "packet",
    [
        b"", b"\xff\xfe\x00", b"<a>" * 5000, b"<a>" * 5000 + b"</a>" * 5000, b" " * (MAX_XMP + 1), LAUGHS + b"<x>&j;</x>",
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>',
        write_xmp(MARK).replace(b"640", b"many"), write_xmp(MARK).replace(b"640", b"9" * 5000),
        write_xmp(MARK).replace(b"-2.5", b"nan"), write_xmp(MARK).replace(b"rayleigh", b"&x;"),
        write_xmp(MARK).replace(b"rayleigh", b"&#10;"), write_xmp(MARK)[:200], write_xmp(MARK).replace(b"generative", b""),
    ],
)  # fmt: skip
def test_hostile_xmp_is_no_mark(packet: bytes) -> None:
    assert read_xmp(packet) is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "[" * 60_000, "x" * (MAX_XMP + 1), '{"system"', '{"system": "\\ud800"}', '{"system": "a", "symbols": []}'],
)
def test_hostile_text_is_no_mark(text: str) -> None:
    assert read_text(text) is None
    assert read_text(write_text(MARK)) == MARK


def test_hostile_files(tmp_path: Path) -> None:
    """Every prefix and many bent copies of a marked file: a mark, none, or one sentence; and no bomb goes off."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "a.jpg", "a.webp", "a.tif"):
        write_image(tmp_path / name, PIXELS[:8, :8], MARK)
        data = (tmp_path / name).read_bytes()
        copies = [data[: int(rng.integers(1, len(data)))] for _ in range(40)]
        for _ in range(80):
            bent = bytearray(data)
            bent[int(rng.integers(0, len(bent)))] = int(rng.integers(0, 256))
            copies.append(bytes(bent))
        for content in copies:
            (tmp_path / name).write_bytes(content)
            try:
                found = read_mark(tmp_path / name)
            except SemcastError as error:
                assert "\n" not in str(error)
            else:
                assert found is None or isinstance(found, Mark)
    buffer, texts = io.BytesIO(), PngInfo()
    texts.add(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * (8 << 20)))
    Image.fromarray(PIXELS).save(buffer, "PNG", pnginfo=texts)
    (tmp_path / "bomb.png").write_bytes(buffer.getvalue())
    assert read_mark(tmp_path / "bomb.png") is None
    assert np.array_equal(read_photo(tmp_path / "bomb.png"), PIXELS)
    for path in (tmp_path, tmp_path / "none.png"):
        with pytest.raises(SemcastError):
            read_mark(path)


def test_the_version_is_that_of_the_package() -> None:
    assert Mark("linear").version and Mark("linear").what == "painted"
