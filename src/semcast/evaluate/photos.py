"""The photos an evaluation runs over: files, folders and tar shards, each read and aligned when its turn comes."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semcast.errors import SemcastError
from semcast.images import Photo, read_aligned, read_photo
from semcast.semantics.face import align
from semcast.semantics.parser import FaceParser
from semcast.train.data import shard_members

SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".jp2", ".avif", ".heic", ".heif",
])  # fmt: skip
SIZE = 256


@dataclass(frozen=True)
class Source:
    """One photo to come: its name in the results, and its file, or its bytes (out of that file or that shard)."""

    name: str
    path: Path
    data: bytes | None = None

    def carried(self) -> Source:
        """The same photo with its bytes, for a computer that does not have the file.

        Raises:
            SemcastError: the file cannot be read.
        """
        if self.data is not None:
            return self
        try:
            return replace(self, data=self.path.read_bytes())
        except OSError as error:
            raise SemcastError(f"{self.path} cannot be read ({error.strerror})") from None

    def face(self, parser: FaceParser | None) -> tuple[Photo, int]:
        """The aligned face uint8 ``[256, 256, 3]`` and how many faces there were; no parser: it is aligned already.

        Raises:
            SemcastError: the photo cannot be read, has no face, or (aligned) is not square.
        """
        if self.data is None:
            return _face(self.path, parser)
        place = str(self.path) if self.path.name == self.name else f"{self.path}:{self.name}"
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / self.name
            copy.write_bytes(self.data)
            try:
                return _face(copy, parser)
            except SemcastError as error:
                raise SemcastError(str(error).replace(str(copy), place)) from None


def _face(path: Path, parser: FaceParser | None) -> tuple[Photo, int]:
    if parser is None:
        return read_aligned(path, SIZE), 1
    face, alignment = align(read_photo(path), parser, SIZE, name=str(path))
    return face, alignment.faces_found


def find_photos(paths: Sequence[Path], limit: int | None = None) -> list[Source]:
    """Photos of files, folders (not their subfolders) and tar shards, in order, at most ``limit``.

    Raises:
        SemcastError: a path is missing, a shard is damaged, there is no photo, or two have the same name.
    """
    sources = [source for path in paths for source in _expand(path)][:limit]
    if not sources:
        raise SemcastError(f"there is no photo in {', '.join(map(str, paths))}")
    seen: set[str] = set()
    for source in sources:
        if source.name in seen:  # the name is what a result is found by when it is resumed
            raise SemcastError(f"two photos are called {source.name}: rename one or evaluate them apart")
        seen.add(source.name)
    return sources


def _expand(path: Path) -> list[Source]:
    try:
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            return [Source(p.name, p) for p in files]
        if path.suffix.lower() == ".tar" and path.is_file():
            return [Source(name, path, data) for name, data, _ in shard_members(path)]
    except (OSError, tarfile.TarError) as error:
        raise SemcastError(f"{path} cannot be read ({error})") from None
    return [Source(path.name, path)]
