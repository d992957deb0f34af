"""Which files are photos, in folders and shards: what is left out is said, and nothing takes the place of something else."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semcast.bench import evaluate_codecs
from semcast.errors import BadInput, Damaged
from semcast.shards import shard_members
from semcast.sources import find_photos
from semcast.train.shards import _photos


def coded(kind: str, level: int = 90, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (64, 64), level if mode == "L" else (level, 60, 20)).save(buffer, kind)
    return buffer.getvalue()


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_photos_of_a_shard_have_the_suffixes_of_photos_anywhere(tmp_path: Path) -> None:
    kinds = {"a.jpg": "JPEG", "b.JPG": "JPEG", "c.webp": "WEBP", "d.jfif": "JPEG", "in/e.Png": "PNG", "f.2.tiff": "TIFF"}
    found = find_photos([pack(tmp_path / "s.tar", {name: coded(kind) for name, kind in kinds.items()})])
    assert [source.name for source in found] == ["a", "b", "c", "d", "e", "f.2"] and found.notes == []
    assert all(source.whole().shape == (1, 3, 64, 64) for source in found)


def test_only_a_mask_is_a_mask(tmp_path: Path) -> None:
    """A caption is nobody's mask; a film and a mask without a photo are no photos and are said."""
    mask = coded("PNG", 3, "L")
    shard = pack(tmp_path / "s.tar", {
        "0.jpg": coded("JPEG"), "0.json": b"{}", "0.txt": b"a caption", "1.jpg": coded("JPEG"), "1.mask.png": mask,
        "2.mp4": b"film", "3.mask.png": mask, "._0.jpg": b"a shadow of another computer",
    })  # fmt: skip
    assert [(name, labels) for name, _, labels in shard_members(shard)] == [("0", None), ("1", mask)]
    (note,) = find_photos([shard]).notes
    assert note == f"2 of {shard} left out, no photos by their names: 2.mp4, 3.mask.png"


@pytest.mark.parametrize("other", ["a.png", "elsewhere/a.jpg", "a.JPG"])
def test_two_of_a_name_are_refused(tmp_path: Path, other: str) -> None:
    shard = pack(tmp_path / "s.tar", {"a.jpg": coded("JPEG", 10), other: coded("PNG", 200)})
    with pytest.raises(BadInput, match=r"two photos of .*s\.tar are called a \(a\.jpg, "):
        find_photos([shard])
    for name in ("a.jpg", "a.png"):
        (tmp_path / name).write_bytes(coded("JPEG"))
    with pytest.raises(BadInput, match="two photos of .* are called a "):
        _photos(tmp_path)  # they would have one id in the shards that are made of them


def test_a_folder(tmp_path: Path) -> None:
    for name in ("a.JPG", "b.jfif", "c.mpo"):
        (tmp_path / name).write_bytes(coded("JPEG"))
    for name in ("a.mask.png", "a.json", ".hidden.jpg", "film.mp4"):
        (tmp_path / name).write_bytes(b"?")
    (tmp_path / "inside").mkdir()
    found = find_photos([tmp_path])
    assert [source.name for source in found] == ["a.JPG", "b.jfif", "c.mpo"]
    assert found.notes == [f"3 of {tmp_path} left out, no photos by their names: film.mp4, inside, a.mask.png",
                           f"1 of {tmp_path} left out, hidden: .hidden.jpg"]  # fmt: skip
    (tmp_path / "no.tar").write_bytes(b"no tar")
    with pytest.raises(Damaged, match=r"no\.tar cannot be read"):
        find_photos([tmp_path / "no.tar"])


def test_a_crawlers_shard_is_evaluated_like_a_folder_and_what_it_leaves_out_is_said(tmp_path: Path) -> None:
    members = {"0.jpg": coded("JPEG"), "0.json": b"{}", "0.txt": b"a caption", "film.mp4": b"film"}
    table = evaluate_codecs("jpeg", pack(tmp_path / "s.tar", members), max_bytes=2000, domain="photo")
    assert len(table) == 1 and table.records[0].ok and np.isfinite(table.records[0].psnr_db)
    assert "film.mp4" in table.notes[0]
