"""Photos in: a file, an array or a member of a shard, read when its turn comes and framed for sending.

::

    path, bytes of a shard, array, PIL image, tensor ── Source ──┬── face    found and aligned ──┐
                                                                 ├── scene   squeezed            ├── Picture
                                                                 └── whole   as it is ───────────┘

The product reads one photo that way (:func:`photo`), the bench many (:func:`find_photos`).
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from semcast.domains import IGNORED, STREET, Domain, domain_named
from semcast.errors import BadInput, Damaged, Missing, SemcastError
from semcast.face import align
from semcast.framing import Picture, as_pixels
from semcast.given import check_text
from semcast.networks.segmenter import FaceParser, SceneParser
from semcast.photos import Photo as Pixels
from semcast.photos import read_aligned, read_photo, resize, to_tensor
from semcast.shards import is_hidden_photo, kind_of, left_out, read_shard
from semcast.weights import find

SIZE = 256
LEAST_SURE = 0.74
"""Mean certainty of the parser of streets over a photo's pixels below which it is said that the photo may be no street: 0 of the
150 photos of street256/val, 18 of Kodak's 24, 40 of 40 faces and a cup of coffee are below it."""
LEAST_ROAD = 0.1
"""Share of a photo that must be road: 0 of 150 and 3 more of Kodak's are below it."""
T = TypeVar("T")


# ---- a photo to come -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """One photo to come: its name in the results, and its file, its bytes (out of that file or that shard) or its pixels.

    ``mask`` is the PNG of its labels, where a shard has one beside it.
    """

    name: str
    path: Path = Path()
    data: bytes | None = None
    mask: bytes | None = None
    pixels: Pixels | None = field(default=None, compare=False, repr=False)

    def carry(self) -> Source:
        """The same photo with its bytes, for a computer that does not have the file.

        Raises:
            Missing: the file cannot be read.
        """
        if self.data is not None or self.pixels is not None:
            return self
        try:
            return replace(self, data=self.path.read_bytes())
        except OSError as error:
            raise Missing(f"{self.path} cannot be read ({error.strerror})") from None

    def whole(self) -> Picture:
        """The photo as it is, its longest side at most 2048 pixels.

        Raises:
            SemcastError: the photo cannot be read.
        """
        return Picture.of(self._read(), self.name)

    def face(self, parser: FaceParser | None) -> tuple[Pixels, int]:
        """The aligned face uint8 ``[256, 256, 3]`` and how many faces there were; no parser: it is aligned already.

        Raises:
            SemcastError: the photo cannot be read, has no face, or (aligned) is not square.
        """
        if parser is None:
            return self._square(), 1
        if self.pixels is not None:
            face, where = align(self.pixels, parser, SIZE, name=self.name)
        else:
            face, where = self._opened(lambda path: align(read_photo(path), parser, SIZE, name=str(path)))
        return face, where.faces_found

    def scene(self, domain: Domain) -> Pixels:
        """The photo as a square uint8 ``[256, 256, 3]``: of a wide domain any photo, squeezed; of another square ones only.

        Raises:
            SemcastError: the photo cannot be read, or is not square where it must be.
        """
        return self._square() if domain.aspect == 1.0 else resize(self._read(), SIZE)

    def labels(self, domain: Domain) -> NDArray[np.uint8] | None:
        """Its own labels uint8 ``[256, 256]``, 255 where unknown; None where it has none.

        Raises:
            Damaged: they cannot be read.
        """
        if self.mask is None:
            return None
        try:
            with Image.open(io.BytesIO(self.mask), formats=["PNG"]) as image:
                found = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.NEAREST))
        except Exception as error:  # noqa: BLE001 - decoders raise anything at all
            raise Damaged(f"the mask of {self.name} in {self.path} is damaged ({type(error).__name__})") from None
        if found.ndim != 2 or found.dtype != np.uint8:
            raise Damaged(f"the mask of {self.name} in {self.path} does not hold one label a pixel")
        return np.where(found < len(domain.classes), found, IGNORED).astype(np.uint8)

    def _read(self) -> Pixels:
        return self._opened(read_photo) if self.pixels is None else self.pixels

    def _square(self) -> Pixels:
        if self.pixels is None:
            return self._opened(lambda path: read_aligned(path, SIZE))
        height, width = self.pixels.shape[:2]
        if height != width:
            raise BadInput(f"{self.name} is {width} x {height} pixels: an aligned photo must be square")
        return resize(self.pixels, SIZE)

    def _opened(self, reader: Callable[[Path], T]) -> T:
        """What a reader of files makes of it; a photo of a shard is a file for as long as that takes."""
        if self.data is None:
            return reader(self.path)
        place = str(self.path) if self.path.name == self.name else f"{self.path}:{self.name}"
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "photo"  # its own name may be one that no system takes
            copy.write_bytes(self.data)
            try:
                return reader(copy)
            except SemcastError as error:
                raise type(error)(str(error).replace(str(copy), place)) from None


class Found(list[Source]):
    """Photos that were found, in order; ``notes`` says what beside them was left out, a sentence each."""

    def __init__(self, sources: Iterable[Source], notes: Sequence[str] = ()) -> None:
        super().__init__(sources)
        self.notes = list(notes)


def find_photos(paths: Sequence[Path], limit: int | None = None) -> Found:
    """Photos of files, folders (not their subfolders) and tar shards, in order, at most ``limit``.

    Raises:
        SemcastError: a path is missing, a shard is damaged, there is no photo, or two have the same name.
    """
    found = [_expand(path) for path in paths]
    sources = Found([source for each in found for source in each][:limit], [note for each in found for note in each.notes])
    if not sources:
        raise BadInput(f"there is no photo in {', '.join(map(str, paths))}")
    seen: set[str] = set()
    for source in sources:
        if source.name in seen:  # the name is what a result is found by when it is resumed
            raise BadInput(f"two photos are called {source.name}: rename one or evaluate them apart")
        seen.add(source.name)
    return sources


def _expand(path: Path) -> Found:
    try:
        if path.is_dir():
            return _in_folder(path)
        if path.suffix.lower() == ".tar" and path.is_file():
            photos, notes = read_shard(path)
            return Found([Source(name, path, data, mask) for name, data, mask in photos], notes)
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error})") from None
    return Found([Source(path.name, path)])


def _in_folder(folder: Path) -> Found:
    """The photos of a folder; masks beside them are not photos, and only shards bring masks."""
    by_kind: dict[str, list[Path]] = {"photo": [], "mask": [], "sidecar": [], "other": [], "hidden": []}
    for path in sorted(folder.iterdir()):
        kind = "other" if path.is_dir() else kind_of(path.name)
        if not path.name.startswith("."):
            by_kind[kind].append(path)
        elif is_hidden_photo(path.name):
            by_kind["hidden"].append(path)
    others, hidden = ([path.name for path in group] for group in (by_kind["other"] + by_kind["mask"], by_kind["hidden"]))
    notes = [*left_out(folder, others), *left_out(folder, hidden, "hidden")]
    return Found([Source(path.name, path) for path in by_kind["photo"]], notes)


# ---- one photo, framed -----------------------------------------------------------------------------------------------


class Photo:
    """A photo that is read when something asks for it: its face, its scene, or all of it.

    Args:
        source: where it comes from.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def name(self) -> str:
        """Of its file, or what it was called."""
        return self.source.name

    def __repr__(self) -> str:
        return f"Photo({self.name!r})"

    def face(self, *, aligned: bool = False) -> Picture:
        """Find the largest face and align it to the geometry of the training faces, 256 x 256.

        Args:
            aligned: the photo is square and cropped that way already: nothing is looked for.

        Raises:
            SemcastError: the photo cannot be read, has no face, or (aligned) is not square.
        """
        pixels, found = self.source.face(None if aligned else face_parser())
        notes = (f"{found} faces found in {self.name}: the largest is taken",) if found > 1 else ()
        return Picture.of(pixels, self.name, faces_found=found, notes=notes)

    def scene(self, domain: str = "street") -> Picture:
        """Squeeze the photo into the square that its domain's networks see, 256 x 256.

        Where the parser of streets is not sure of what it sees, ``notes`` says that this may be none.

        Raises:
            SemcastError: the photo cannot be read, the domain is unknown, or asks for a square and the photo is none.
        """
        kind = domain_named(domain)
        pixels = self.source.scene(kind)
        return Picture.of(pixels, self.name, notes=doubts(pixels, kind, self.name))

    def whole(self) -> Picture:
        """Take the photo as it is, its longest side at most 2048 pixels.

        Raises:
            SemcastError: the photo cannot be read.
        """
        return self.source.whole()


def photo(image: Any, name: str | None = None) -> Photo:
    """Name a photo; it is read when its face, its scene or all of it is asked for.

    Args:
        image: the path of any photo; or an array (uint8, or float in [0, 1]; ``[H, W]``, ``[H, W, 1]``, ``[H, W, 3]``), a PIL
            image, or a tensor (float in [0, 1] or uint8; ``[3, H, W]``, ``[1, 3, H, W]``, grey ones with one channel).
        name: what to call it; a path's is that of its file.

    Raises:
        BadInput: it is nothing of that.

    >>> photo(np.zeros((32, 48), np.uint8), "dark").whole()
    Picture('dark', 48 x 32)
    """
    if name is not None:
        check_text("the name of a photo", name)
    if isinstance(image, Photo):
        return image
    if isinstance(image, str | PathLike):
        path = Path(image)
        return Photo(Source(name or path.name, path))
    given = name or getattr(image, "name", None) or Path(str(getattr(image, "filename", ""))).name or "the photo"
    return Photo(Source(given, pixels=as_pixels(image)))


# ---- is it what it is taken for? -------------------------------------------------------------------------------------


def face_parser() -> FaceParser:
    """Load what finds and parses faces, once for each file of weights."""
    return _face_parser(find("parser"))


@cache
def _face_parser(_: Path) -> FaceParser:
    return FaceParser.load()


@cache
def _scene_parser(domain: str, _: Path) -> SceneParser:
    return SceneParser.load(domain)


def doubts(pixels: Pixels, domain: Domain, name: str = "the photo") -> tuple[str, ...]:
    """What speaks against a photo being of its domain, a sentence or nothing.

    The criterion is the parser's own: how sure it is (the mean over pixels of its highest probability), and whether it sees a
    road. Trained on nothing but streets, it is less sure of anything else.
    """
    if domain.name != STREET.name:
        return ()
    with torch.inference_mode():
        parser = _scene_parser(domain.name, find(f"parser-{domain.name}"))
        chance = parser(to_tensor(pixels)).float().softmax(1)
    best, label = chance.max(1)
    sure, road = float(best.mean()), float((label == domain.category("road")).float().mean())
    if sure < LEAST_SURE:
        return (f"{name} may be no {domain.name}: the parser is only {100 * sure:.0f} % sure of what it sees",)
    return (f"{name} may be no {domain.name}: the parser sees hardly any road",) if road < LEAST_ROAD else ()
