"""Shards: tar files of photos and their masks, read whole; what is left out is said, and what is damaged is refused.

``tarfile`` ends at the first header that it cannot read as it does at the end of the file, and what an archive says of a member
(its size, above all) may be anything. So both are looked at here.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semcast.errors import BadInput, Damaged, SemcastError
from semcast.files import reason_of
from semcast.photos import MASK, SUFFIXES

SIDECARS = frozenset([".json", ".txt", ".cls", ".csv", ".xml", ".yaml", ".md", ".jsonl"])
"""Of files beside photos that say something about them: nothing is missed where they are passed over."""
FEW = 5
LARGEST = 1 << 28
"""Bytes of a member: no photo that is read here takes as many, and a header may ask for any memory."""
_BLOCK = 512
_BAD = (OSError, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, ArithmeticError, LookupError, MemoryError)

Member = tuple[str, bytes, bytes | None]
"""Id, the photo's bytes, the PNG of its mask or None."""


def shard_members(path: Path) -> Iterator[Member]:
    """Give (id, the photo's bytes, mask PNG bytes or None) for every photo of a tar shard, in order; see :func:`read_shard`."""
    yield from read_shard(path)[0]


def read_shard(path: Path) -> tuple[list[Member], list[str]]:
    """Read the photos of a tar shard, and say of its members which were left out, a sentence for each reason.

    A photo is what a file of a folder would be one by (:data:`~semcast.photos.SUFFIXES`), its id the name without the suffix; its
    mask is called ``<id>.mask.png``. Captions and the like (:data:`SIDECARS`) are nobody's mask. A hard link is the file that it
    is a link to; other links are not followed.

    Raises:
        BadInput: two photos or two masks have one id, so that one would take the other's place.
        Damaged: it is no tar file, or a part of it cannot be read.
    """
    found = _Found(path)
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                found.take(tar, member)
            found.ended = _read_end(path, tar, len(tar.getmembers()))
    except SemcastError:
        raise
    except _BAD as error:
        raise Damaged(f"{path} cannot be read ({reason_of(error)})") from None
    return found.members(), found.notes()


@dataclass
class _Found:
    """What was found in a shard so far."""

    path: Path
    photos: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    masks: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    ended: bool = True

    def take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Read a member, or note why it is left out."""
        name = Path(member.name).name
        kind = kind_of(name)
        if member.isdir() or kind == "sidecar":
            return
        if name.startswith("."):
            self.hidden += [member.name] if is_hidden_photo(name) else []
        elif not (member.isfile() or member.islnk()) or member.issparse():
            self.links += [member.name] if kind in ("photo", "mask") else []
        elif kind == "other":
            self.others.append(member.name)
        else:
            known, length = (self.masks, len(MASK)) if kind == "mask" else (self.photos, len(Path(name).suffix))
            stem = name[:-length]
            if stem in known:
                raise BadInput(f"two {kind}s of {self.path} are called {stem} ({known[stem][0]}, {member.name}): rename one")
            known[stem] = (member.name, _read(tar, member, self.path))

    def members(self) -> list[Member]:
        """Photos with their masks, in order."""
        return [(stem, data, self.masks.get(stem, ("", None))[1]) for stem, (_, data) in self.photos.items()]

    def notes(self) -> list[str]:
        """What was left out, and whether the end is missing."""
        others = [*self.others, *(stem + MASK for stem in self.masks if stem not in self.photos)]
        return [
            *left_out(self.path, others), *left_out(self.path, self.hidden, "hidden"),
            *left_out(self.path, self.links, "links to other files, or no plain files"),
            *([] if self.ended else [f"{self.path} has no end mark: more may have been in it"]),
        ]  # fmt: skip


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    """The bytes of a member."""
    said = member.pax_headers.get("size", "0")
    if not said.isdecimal() or not 0 <= member.size <= LARGEST:
        raise Damaged(f"{path} is damaged: {member.name} cannot be {said if said != '0' else member.size} bytes long")
    handle = tar.extractfile(member)
    if handle is None:
        raise Damaged(f"{path} is damaged: {member.name} is a link to nothing that is in it")
    data = handle.read(LARGEST + 1)
    if len(data) > LARGEST or (member.isfile() and len(data) < member.size):
        raise Damaged(f"{path} is damaged: {member.name} is not all there")
    return data


def _read_end(path: Path, tar: tarfile.TarFile, count: int) -> bool:
    """Whether what stopped the reading is an end, two blocks of zeros or more and nothing else; False where it is cut there.

    Raises:
        Damaged: something else follows.
    """
    handle = tar.fileobj
    assert handle is not None
    handle.seek(tar.offset)
    length = 0
    while chunk := handle.read(1 << 20):
        length += len(chunk)
        if chunk.strip(b"\0"):
            raise Damaged(f"{path} is damaged after the first {count} of its members, or two archives were put together")
    return length >= 2 * _BLOCK


def kind_of(name: str) -> str:
    """Tell what a file is by its name: a photo, a mask, a sidecar, or something other."""
    if name.lower().endswith(MASK):
        return "mask"
    suffix = Path(name).suffix.lower()
    return "photo" if suffix in SUFFIXES else "sidecar" if suffix in SIDECARS else "other"


def is_hidden_photo(name: str) -> bool:
    """Tell whether a hidden file could be a photo; ``._x.jpg`` is what another computer knew about ``x.jpg``, and none."""
    return name.startswith(".") and not name.startswith("._") and kind_of(name) == "photo"


def left_out(where: Path, names: Sequence[str], why: str = "no photos by their names") -> list[str]:
    """Say what was left out of a folder or a shard, a sentence or nothing."""
    if not names:
        return []
    shown = ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "")
    return [f"{len(names)} of {where} left out, {why}: {shown}"]
