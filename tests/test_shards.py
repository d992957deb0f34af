"""Shards that are not what they say: nothing of them is lost without a word, and none ends in anything but a sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from test_sources import coded

from semcast.errors import BadInput, Damaged
from semcast.sources import find_photos

JPEG = coded("JPEG")
BLOCK = 512


def add(tar: tarfile.TarFile, name: str, content: bytes = JPEG, **said: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in said.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(content) if content else None)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """Three photos."""
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name in ("a.jpg", "b.jpg", "c.jpg"):
            add(tar, name)
    return tmp_path / "s.tar"


def test_hard_links_are_photos_and_other_links_are_said(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        add(tar, "a.jpg")
        add(tar, "b.jpg", b"", type=tarfile.LNKTYPE, linkname="a.jpg")
        add(tar, "c.jpg", b"", type=tarfile.SYMTYPE, linkname="a.jpg")
        add(tar, "d.jpg", b"", type=b"Z")
        add(tar, ".e.jpg")
        add(tar, "inside", b"", type=tarfile.DIRTYPE)
    found = find_photos([tmp_path / "s.tar"])
    assert [(source.name, source.data) for source in found] == [("a", JPEG), ("b", JPEG)]
    hidden, links = found.notes
    assert hidden.endswith("left out, hidden: .e.jpg")
    assert links.startswith("1 of" if "d.jpg" not in links else "2 of") and "c.jpg" in links
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        add(tar, "b.jpg", b"", type=tarfile.LNKTYPE, linkname="a.jpg")
    with pytest.raises(Damaged, match="cannot be read|link to nothing"):
        find_photos([tmp_path / "s.tar"])


def offsets(shard: Path) -> tuple[list[int], list[int]]:
    with tarfile.open(shard) as tar:
        members = tar.getmembers()
    return [member.offset for member in members], [member.offset_data for member in members]


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[bytes, list[int], list[int]], bytes]] = {
    "a bit of a header": lambda data, heads, _: flip(data, heads[1] + 100),
    "a header of zeros": lambda data, heads, _: data[: heads[1]] + bytes(BLOCK) + data[heads[1] + BLOCK :],
    "cut in a header": lambda data, heads, _: data[: heads[2] + 200],
    "cut in a photo": lambda data, _, contents: data[: contents[2] + 100],
    "two archives": lambda data, *_: data + data.replace(b"a.jpg", b"d.jpg"),
    "gzip cut": lambda data, *_: gzip.compress(data)[:-200],
    "gzip damaged": lambda data, *_: flip(gzip.compress(data), len(gzip.compress(data)) // 2),
    "gzip of another sum": lambda data, *_: flip(gzip.compress(data), len(gzip.compress(data)) - 6),
    "xz cut": lambda data, *_: lzma.compress(data)[:-200],
    "xz damaged": lambda data, *_: flip(lzma.compress(data), len(lzma.compress(data)) // 2),
    "bzip2 cut": lambda data, *_: bz2.compress(data)[:-200],
    "no tar": lambda *_: JPEG,
    "nothing": lambda *_: b"",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_shard_is_refused(kind: str, shard: Path) -> None:
    shard.write_bytes(DAMAGE[kind](shard.read_bytes(), *offsets(shard)))
    with pytest.raises(Damaged, match=r"s\.tar (cannot be read|is damaged)") as caught:
        find_photos([shard])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_shard_without_its_end_is_used_and_said(shard: Path) -> None:
    heads, _ = offsets(shard)
    shard.write_bytes(shard.read_bytes()[: heads[2]])
    found = find_photos([shard])
    assert [source.name for source in found] == ["a", "b"]
    assert found.notes == [f"{shard} has no end mark: more may have been in it"]


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_a_compressed_shard_is_read(compress: Callable[[bytes], bytes], shard: Path) -> None:
    shard.write_bytes(compress(shard.read_bytes()))
    found = find_photos([shard])
    assert [source.name for source in found] == ["a", "b", "c"] and found.notes == []


def header(size: bytes, kind: bytes = b"0") -> bytes:
    """The header of b.jpg whose size field holds these bytes."""
    block = bytearray(BLOCK)
    block[:5], block[100:108], block[124 : 124 + len(size)], block[156:157] = b"b.jpg", b"0000644\0", size, kind
    block[257:265], block[148:156] = b"ustar\00000", b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("bits", [32, 48, 80, 87])
def test_a_size_that_cannot_be(bits: int, shard: Path) -> None:
    heads, _ = offsets(shard)
    size = (1 << bits).to_bytes(11, "big")
    shard.write_bytes(shard.read_bytes()[: heads[1]] + header(b"\x80" + size) + JPEG)
    with pytest.raises(Damaged, match=r"s\.tar (cannot be read|is damaged)"):
        find_photos([shard])


@pytest.mark.parametrize("said", [
    {"size": "abc"}, {"size": "-5"}, {"size": "1" + "0" * 30}, {"size": "1e30"}, {"GNU.sparse.realsize": "xyz"},
    {"GNU.sparse.map": "0,a,b"}, {"GNU.sparse.map": "0,10", "GNU.sparse.size": str(60 << 30)},
], ids=str)  # fmt: skip
def test_what_a_member_says_of_itself_may_be_anything(said: dict[str, str], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "a.jpg")
        add(tar, "b.jpg", pax_headers=said)
    try:
        found = find_photos([tmp_path / "s.tar"])
    except Damaged as error:
        assert "\n" not in str(error)
    else:
        assert [source.name for source in found] == ["a"] and found.notes, "left out, and said"


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "b\0c.jpg", "b\nc.jpg", "-.jpg"], ids=["long", "nul", "line", "dash"])
def test_a_name_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "a.jpg")
        add(tar, "b.jpg", pax_headers={"path": name})
        add(tar, "c.jpg")
    found = find_photos([tmp_path / "s.tar"])
    assert len(found) == 3
    assert all(source.whole().shape == (1, 3, 64, 64) for source in found)


def test_two_masks_of_a_name_are_refused(tmp_path: Path) -> None:
    mask = coded("PNG", 3, "L")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, content in (("train/a.jpg", JPEG), ("train/a.mask.png", mask), ("val/a.mask.png", mask)):
            add(tar, name, content)
    with pytest.raises(BadInput, match=r"two masks of .*s\.tar are called a \(train/a\.mask\.png, val/a\.mask\.png\)"):
        find_photos([tmp_path / "s.tar"])
