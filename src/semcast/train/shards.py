"""Shards of photos: made from the public data sets as they are distributed, or from anybody's folder of photos.

A shard is a tar of ``<id>.jpg`` (256 x 256) beside ``<id>.mask.png`` (one label a pixel). Which photos of a data set are for
training, choosing and reporting is committed as lists of ids; the photos themselves never are.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import resources
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from semcast.domains import DOMAINS, FACE, IGNORED, STREET, Domain, domain_named
from semcast.errors import BadInput, Damaged, Missing, SemcastError
from semcast.files import whole
from semcast.networks.segmenter import FaceParser, SceneParser
from semcast.photos import MASK, SUFFIXES, Photo, read_aligned, read_photo, resize, to_tensor
from semcast.sources import SIZE, Source
from semcast.train.loop import console

SPLITS = ("train", "val", "test")
PER_SHARD = 1000
ONE_IN = 20
"""Of a plain folder's photos so many are for choosing."""

CHECKSUMS = {
    "faces256-train": "357f2c8c83bc47769feab2cef2190ab07826bb57d2728063ff90dd0eb2518713",
    "faces256-val": "d6509ee1e1ba54865298c1d5e833cc29303a8b1b6084221ed366b6056aae2b9a",
    "faces256-test": "c808fc6ac96f183385869360761f3b8bbb13aef7b064d9db614724ff8fc0997b",
    "street256-train": "d8db59098a4173bd38d7531ddadd007dccbf0b3c01cd880be030c7dfd442f79c",
    "street256-val": "f4837cc58c2a292809e1870e84ab4f6a3aa71858f3ef622bb923faa4032eb968",
    "street256-test": "32c09818816f95c2d695f46c829e4df9c41318d6a16172fc85c9ee01d37ddb51",
}
"""SHA-256 of each list of ids, one id a line."""

# the order of CelebAMask-HQ's own scripts, in which later parts cover earlier ones; the label is the place in it, from 1 on
CELEBA_PARTS = (
    "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip", "l_lip", "hair", "hat",
    "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
# Cityscapes' labels (the scripts' labels.py) that are trained on, in the order of their trainIds
CITYSCAPES_LABELS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

Member = tuple[str, Photo, NDArray[np.uint8]]
"""Id, photo uint8 ``[256, 256, 3]``, labels uint8 ``[256, 256]``."""


def ids(folder: str, split: str) -> list[str]:
    """The ids of a split of a data set, ``faces256`` or ``street256``.

    Raises:
        SemcastError: the list is not the one that its checksum says.

    >>> len(ids("faces256", "test")), ids("street256", "train")[0]
    (250, '0001')
    """
    name = f"{folder}-{split}"
    text = gzip.decompress((resources.files("semcast.train") / "ids" / f"{name}.txt.gz").read_bytes())
    if hashlib.sha256(text).hexdigest() != CHECKSUMS[name]:
        raise Damaged(f"the list of ids {name} was changed: its checksum does not match")
    return text.decode().split()


def pack(kind: str, source: Path, out: Path) -> list[Path]:
    """Make the shards of a public data set; → their files, ``out/<faces256 or street256>/<split>-NNN.tar``.

    * ``faces``: CelebAMask-HQ as distributed (``CelebA-HQ-img/*.jpg``, ``CelebAMask-HQ-mask-anno/*/NNNNN_part.png``); ids are
      the numbers of the photos.
    * ``street``: Cityscapes as distributed (``leftImg8bit``, ``gtFine``), squeezed to squares; ids are the places of the photos
      in the sorted training and validation sets (the latter is divided into val and test).

    The photos and splits are those that the shipped weights were trained on; the bytes of their JPEGs need not be.

    Raises:
        SemcastError: an unknown kind, or a photo or its labels are not where the data set has them.
    """
    finders: dict[str, tuple[Domain, Callable[[Path, str], Iterator[Callable[[], Member]]]]] = {
        "faces": (FACE, _celeba), "street": (STREET, _cityscapes),
    }  # fmt: skip
    if kind not in finders:
        raise BadInput(f"there is no data set {kind!r}; the known are {', '.join(finders)}")
    domain, find = finders[kind]
    found = {split: list(find(source, split)) for split in SPLITS}  # everything is looked for before anything is written
    written = []
    for split, members in found.items():
        written += write_shards(out / domain.folder, split, (member() for member in members))
    return written


def _celeba(source: Path, split: str) -> Iterator[Callable[[], Member]]:
    """The faces of a split, to be read when their turn comes."""
    photos, masks = source / "CelebA-HQ-img", source / "CelebAMask-HQ-mask-anno"
    for name in ids(FACE.folder, split):
        photo = photos / f"{int(name)}.jpg"
        _need(photo)
        yield partial(_face, name, photo, masks / str(int(name) // 2000))


def _face(name: str, photo: Path, folder: Path) -> Member:
    labels = np.zeros((512, 512), np.uint8)
    for label, part in enumerate(CELEBA_PARTS, 1):
        path = folder / f"{name}_{part}.png"
        if path.is_file():  # a part that a face does not show has no file
            labels[_labels(path, 512) > 0] = label
    if not labels.any():
        raise Missing(f"there are no labels of {photo} in {folder}")
    return name, read_aligned(photo, SIZE), np.asarray(Image.fromarray(labels).resize((SIZE, SIZE), Image.Resampling.NEAREST))


def _cityscapes(source: Path, split: str) -> Iterator[Callable[[], Member]]:
    """The streets of a split, to be read when their turn comes."""
    theirs = "train" if split == "train" else "val"
    photos = sorted((source / "leftImg8bit" / theirs).glob("*/*_leftImg8bit.png"))
    for name in ids(STREET.folder, split):
        if int(name) > len(photos):
            raise Missing(f"{source / 'leftImg8bit' / theirs} holds {len(photos)} photos, number {name} is asked for")
        photo = photos[int(name) - 1]
        stem = source / "gtFine" / theirs / photo.parent.name / photo.name.removesuffix("_leftImg8bit.png")
        trained, given = (stem.with_name(f"{stem.name}_gtFine_{kind}.png") for kind in ("labelTrainIds", "labelIds"))
        if not trained.is_file():
            _need(given)
        yield partial(_street, name, photo, trained if trained.is_file() else given, not trained.is_file())


def _street(name: str, photo: Path, labels: Path, relabel: bool) -> Member:
    table = np.arange(256, dtype=np.uint8)
    if relabel:
        table = np.full(256, IGNORED, np.uint8)
        table[list(CITYSCAPES_LABELS)] = np.arange(len(CITYSCAPES_LABELS))
    return name, resize(read_photo(photo), SIZE), table[_labels(labels, SIZE)]


def _need(path: Path) -> None:
    if not path.is_file():
        raise Missing(f"there is no {path}: is this the data set as it is distributed?")


def _labels(path: Path, side: int) -> NDArray[np.uint8]:
    """One label a pixel, uint8 ``[side, side]``."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            flat = image if image.mode in ("L", "P") else image.convert("L")
            return np.asarray(flat.resize((side, side), Image.Resampling.NEAREST))
    except Exception as error:  # noqa: BLE001 - decoders raise anything at all
        raise Damaged(f"{path} is not a mask that can be read ({type(error).__name__})") from None


# ---- anybody's photos ------------------------------------------------------------------------------------------------


def as_shards(data: Path, out: Path, domain: str = "face") -> Path:
    """The folder that recipes read: ``data``, or ``out/photos`` with shards of the photos that lie in ``data`` itself.

    Raises:
        SemcastError: a plain folder holds too few photos that can be used.
    """
    if any((data / known.folder).is_dir() for known in DOMAINS.values()) or not _photos(data):
        return data
    made = out / "photos"
    if not all(list((made / domain_named(domain).folder).glob(f"{split}-*.tar")) for split in ("train", "val")):
        pack_folder(data, made, domain_named(domain))
    return made


def pack_folder(source: Path, out: Path, domain: Domain) -> list[Path]:
    """Shards of a plain folder of photos, one in :data:`ONE_IN` of them for choosing.

    Faces are found and aligned, streets squeezed. A photo with ``<its name>.mask.png`` beside it is taken as it is, with these
    labels; the others are labelled by our parser.

    Raises:
        SemcastError: fewer than two photos can be used.
    """
    photos, written = _photos(source), list[Path]()
    parser, finder = SceneParser.load(domain), FaceParser.load() if domain is FACE else None
    for split, paths in (
        ("train", [path for i, path in enumerate(photos) if i % ONE_IN]), ("val", photos[::ONE_IN])
    ):  # fmt: skip
        made = write_shards(out / domain.folder, split, _usable(paths, domain, parser, finder))
        if not made:
            raise BadInput(f"{source} holds too few photos that can be used: none is left for {split}")
        written += made
    return written


def _usable(paths: list[Path], domain: Domain, parser: SceneParser, finder: FaceParser | None) -> Iterator[Member]:
    """Those photos that can be used; the others are said."""
    for path in paths:
        try:
            yield _member(path, domain, parser, finder)
        except SemcastError as error:
            console.print(f"left out: {error}", highlight=False)


def _photos(folder: Path) -> list[Path]:
    """The photos of a folder.

    Raises:
        BadInput: two of them would have one id.
    """
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.lower().endswith(MASK))
    first: dict[str, Path] = {}
    for path in found:
        if first.setdefault(path.stem, path) is not path:
            raise BadInput(f"two photos of {folder} are called {path.stem} ({first[path.stem].name}, {path.name}): rename one")
    return found


def _member(path: Path, domain: Domain, parser: SceneParser, finder: FaceParser | None) -> Member:
    mask, source = path.with_name(f"{path.stem}.mask.png"), Source(path.name, path)
    if mask.is_file():
        own = read_aligned(path, SIZE) if domain is FACE else resize(read_photo(path), SIZE)
        return path.stem, own, _labels(mask, SIZE)
    photo = source.scene(domain) if finder is None else source.face(finder)[0]
    with torch.no_grad():
        return path.stem, photo, parser.labels(to_tensor(photo))[0].numpy()


# ---- writing ---------------------------------------------------------------------------------------------------------


def write_shards(folder: Path, split: str, members: Iterable[Member]) -> list[Path]:
    """Write ``folder/<split>-NNN.tar``, each whole or not at all; the same bytes for the same photos."""
    folder.mkdir(parents=True, exist_ok=True)
    left, written = iter(members), list[Path]()
    while some := list(islice(left, PER_SHARD)):
        path = folder / f"{split}-{len(written):03d}.tar"
        with whole(path) as file, tarfile.open(fileobj=file, mode="w") as tar:
            for name, photo, labels in some:
                _add(tar, f"{name}.jpg", photo, "JPEG", quality=95, subsampling=0)
                _add(tar, f"{name}.mask.png", labels, "PNG")
        written.append(path)
        console.print(f"{path} written", highlight=False)
    return written


def _add(tar: tarfile.TarFile, name: str, pixels: NDArray[np.uint8], kind: str, **options: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    member = tarfile.TarInfo(name)
    member.size = buffer.tell()
    buffer.seek(0)
    tar.addfile(member, buffer)
