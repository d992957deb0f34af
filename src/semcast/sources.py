"""The photos an evaluation runs over: files, folders and tar shards, each read and aligned when its turn comes."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semcast.domains import IGNORED, Domain
from semcast.errors import SemcastError
from semcast.face import align
from semcast.networks.segmenter import FaceParser
from semcast.photos import Photo, read_aligned, read_photo, resize, to_tensor

SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".jp2", ".avif", ".heic", ".heif",
])  # fmt: skip
SIZE = 256
T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """One photo to come: its name in the results, and its file, or its bytes (out of that file or that shard).

    ``mask`` is the PNG of its labels, where a shard has one beside it.
    """

    name: str
    path: Path
    data: bytes | None = None
    mask: bytes | None = None

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
        return self._opened(lambda path: _face(path, parser))

    def whole(self) -> Tensor:
        """The photo as it is (its longest side at most 2048 pixels), float in [0, 1], ``[1, 3, H, W]``.

        Raises:
            SemcastError: the photo cannot be read.
        """
        return to_tensor(self._opened(read_photo))

    def scene(self, domain: Domain) -> Photo:
        """The photo as a square uint8 ``[256, 256, 3]``: of a wide domain any photo, squeezed; of another square ones only.

        Raises:
            SemcastError: the photo cannot be read, or is not square where it must be.
        """
        if domain.aspect == 1.0:
            return self._opened(lambda path: read_aligned(path, SIZE))
        return resize(self._opened(read_photo), SIZE)

    def labels(self, domain: Domain) -> NDArray[np.uint8] | None:
        """Its own labels uint8 ``[256, 256]``, 255 where unknown; None where it has none.

        Raises:
            SemcastError: they cannot be read.
        """
        if self.mask is None:
            return None
        try:
            with Image.open(io.BytesIO(self.mask), formats=["PNG"]) as image:
                found = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.NEAREST))
        except Exception as error:  # noqa: BLE001 - decoders raise anything at all
            raise SemcastError(f"the mask of {self.name} in {self.path} is damaged ({type(error).__name__})") from None
        if found.ndim != 2 or found.dtype != np.uint8:
            raise SemcastError(f"the mask of {self.name} in {self.path} does not hold one label a pixel")
        return np.where(found < len(domain.classes), found, IGNORED).astype(np.uint8)

    def _opened(self, reader: Callable[[Path], T]) -> T:
        """What a reader of files makes of it; a photo of a shard is a file for as long as that takes."""
        if self.data is None:
            return reader(self.path)
        place = str(self.path) if self.path.name == self.name else f"{self.path}:{self.name}"
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / self.name
            copy.write_bytes(self.data)
            try:
                return reader(copy)
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


def shard_members(path: Path) -> Iterator[tuple[str, bytes, bytes | None]]:
    """(id, JPEG bytes, mask PNG bytes or None) for every photo of a tar shard, in order."""
    jpeg: dict[str, bytes] = {}
    mask: dict[str, bytes] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            if not member.isfile():
                continue
            stem, _, kind = Path(member.name).name.partition(".")
            handle = tar.extractfile(member)
            if handle is not None:
                (jpeg if kind in ("jpg", "jpeg", "png") else mask)[stem] = handle.read()
    for stem, data in jpeg.items():
        yield stem, data, mask.get(stem)


def _expand(path: Path) -> list[Source]:
    try:
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            return [Source(p.name, p) for p in files]
        if path.suffix.lower() == ".tar" and path.is_file():
            return [Source(name, path, data, mask) for name, data, mask in shard_members(path)]
    except (OSError, tarfile.TarError) as error:
        raise SemcastError(f"{path} cannot be read ({error})") from None
    return [Source(path.name, path)]
