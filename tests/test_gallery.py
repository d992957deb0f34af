"""The gallery of the documentation: it is of what ships, small, marked, and made anew by one command."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest

from semcast.photos import read_mark
from semcast.web import gallery
from semcast.web.images import PAINTED
from semcast.web.shelf import Shelf

GALLERY = Path(__file__).resolve().parents[1] / "docs" / "gallery"
INDEX = json.loads((GALLERY / gallery.INDEX).read_text(encoding="utf-8"))
PLAIN = re.compile(r"photo|avif|jpeg2000|linear|privacy-(?!.*received)")
"""Files that no network painted, by their names."""


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf("cpu")


def test_it_is_of_the_weights_that_ship(shelf: Shelf) -> None:
    """Where this fails, ``semcast report`` makes it anew."""
    pytest.importorskip("constriction")
    assert gallery.renew(GALLERY, check=True, shelf=shelf) == []


def test_it_is_small_and_holds_what_its_page_shows() -> None:
    files = {path.name for path in GALLERY.glob("*.webp")}
    assert files == set(INDEX["files"]) and sum(path.stat().st_size for path in GALLERY.iterdir()) < 1_500_000
    page = unescape((GALLERY / gallery.PAGE).read_text(encoding="utf-8"))
    assert set(re.findall(r"[\w-]+\.webp", page)) == files and page.count("<section") == len(gallery.BLOCKS)
    assert "http" not in page


@pytest.mark.parametrize("name", sorted(INDEX["files"]))
def test_each_picture_says_on_its_edge_and_in_its_file_who_painted_it(name: str) -> None:
    from PIL import Image

    mark, painted = read_mark(GALLERY / name), not PLAIN.search(name)
    with Image.open(GALLERY / name) as image:
        assert image.size == (512, 570)
        edge = image.convert("RGB").getpixel((256, 568))
    assert (mark is not None) == painted
    assert (max(abs(a - b) for a, b in zip(edge, PAINTED, strict=True)) < 25) == painted  # type: ignore[arg-type]
    if mark is not None:
        assert mark.system in INDEX["files"][name]


def test_it_is_stale_where_a_system_or_a_file_is_another(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("constriction")
    block = gallery.Block("face", "A face", "In few bytes.", {gallery.PHOTO: "the photo"}, {"rl-asc": "rl-asc"},
                          (gallery.Axis("Bytes", (300,), 0),))  # fmt: skip
    monkeypatch.setattr(gallery, "BLOCKS", (block,))
    index = tmp_path / gallery.INDEX
    assert gallery.renew(tmp_path, check=True, shelf=shelf) == [index] and not list(tmp_path.iterdir())
    (tmp_path / "old.webp").write_bytes(b"old")
    assert gallery.renew(tmp_path, shelf=shelf) == [index]
    assert {path.name for path in tmp_path.iterdir()} == {"face-photo.webp", "face-rl-asc-300.webp", gallery.INDEX, gallery.PAGE}
    assert gallery.renew(tmp_path, check=True, shelf=shelf) == []
    held = index.read_text()
    index.write_text(held.replace(json.loads(held)["of"]["sketch"], "another one"))
    assert gallery.renew(tmp_path, check=True, shelf=shelf) == [index]
    index.write_text(held)
    (tmp_path / "face-photo.webp").unlink()
    assert gallery.renew(tmp_path, check=True, shelf=shelf) == [index]
