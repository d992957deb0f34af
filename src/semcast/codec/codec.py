"""RL-ASC: a photo as semantic concepts in a few hundred bytes (Huang et al., 2023, arXiv:2208.04094; its abstract, our choices).

::

    photo → parser → layout → concepts (category, cells, features) → allocation → .sem bytes → painter → picture

One codec with several allocations: ``rl-asc`` asks the learned policy, ``uniform``, ``random``, ``area``, ``greedy`` and
``exhaustive`` are what it is compared with (:mod:`semcast.codec.allocation`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semcast.codec.allocation import PLAIN, Allocation, Choice, Options, Policy, Side, TrueScore, paint, with_care
from semcast.codec.bitstream import Concept, Sizes, Stream, Tables, concepts_in_order, domain_of, model_number, pack, unpack
from semcast.codec.concepts import (
    CHANNELS,
    GRID,
    SIDES,
    SIZE,
    at_64,
    dequantise,
    level_map,
    parsed_layouts,
)
from semcast.codec.criterion import Criterion
from semcast.codec.feature_coder import Indices, quantised
from semcast.codec.layout_coder import simplify
from semcast.codec.painter import SceneCodec
from semcast.domains import Domain, domain_named
from semcast.errors import SemcastError
from semcast.metrics.perceptual import Lpips
from semcast.networks.precision import mixed
from semcast.networks.segmenter import SceneParser
from semcast.photos import LONGEST_SIDE, Photo, resize, to_tensor, to_uint8

POLICY = "rl-asc"
ALLOCATIONS = (POLICY, *PLAIN)
"""The names that :meth:`RlAsc.load` knows."""

SPECKS = {16: 0, 32: 1, 64: 3}
"""At each side, areas of up to so many places are taken for specks and not sent."""


@dataclass(frozen=True, eq=False)
class Networks:
    """What a domain's codec computes with, all of it frozen."""

    domain: Domain
    codec: SceneCodec
    parser: SceneParser
    tables: Tables
    lpips: Lpips | None

    @classmethod
    def load(cls, domain: Domain | str) -> Networks:
        """What ships for a domain (or its name).

        Raises:
            SemcastError: there are no such weights.
        """
        kind = domain_named(domain) if isinstance(domain, str) else domain
        return cls(kind, SceneCodec.load(kind), SceneParser.load(kind), Tables.load(kind.name), Lpips.load("squeeze"))

    @property
    def model(self) -> int:
        """The number in the file: a receiver with another painter must not show it."""
        return model_number(self.codec.fingerprint)

    @property
    def version(self) -> str:
        """Changes with anything that decides a byte or a pixel."""
        sha = hashlib.sha256(self.tables.fingerprint.encode())
        for network in (self.codec, self.parser):
            for value in network.state_dict().values():
                sha.update(value.numpy().tobytes())
        return sha.hexdigest()

    def labels(self, image: Tensor) -> Tensor:
        """What the codec's own parser sees, ``[B, 256, 256]``."""
        with torch.no_grad(), mixed():
            return self.parser(image).argmax(1)

    def described(self, photo: Tensor) -> list[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        """A photo ``[1, 3, 256, 256]`` at each side: its layout without specks, and the features for that layout."""
        layouts = [layout[0].numpy() for layout in parsed_layouts(self.parser, photo, SIDES)]
        layouts = [simplify(layout, SPECKS[len(layout)]) for layout in layouts]
        with torch.no_grad(), mixed():
            given = torch.from_numpy(np.stack([at_64(layout) for layout in layouts]))
            features = self.codec.encoder(photo.expand(len(layouts), -1, -1, -1), given).numpy()
        return list(zip(layouts, features, strict=True))

    def side(
        self, layout: NDArray[np.uint8], features: NDArray[np.float32], *, care: Mapping[int, int] | None = None,
        size: tuple[int, int] = (SIZE, SIZE),
    ) -> Side:  # fmt: skip
        """A layout and its features as an allocation sees them.

        Args:
            care: whole factors by category.
            size: width and height of the photo.
        """
        return Side(layout, features, Sizes(self.tables, layout, features, care=care, width=size[0], height=size[1]))

    def sides(
        self, photo: Tensor, *, care: Mapping[int, int] | None = None, size: tuple[int, int] = (SIZE, SIZE)
    ) -> dict[int, Side]:
        """A photo ``[1, 3, 256, 256]`` as it would be coded at each side."""
        return {len(layout): self.side(layout, own, care=care, size=size) for layout, own in self.described(photo)}

    def score(self, photo: Tensor, truth: Tensor, sides: Mapping[int, Side]) -> TrueScore:
        """J by decoding, judged by the codec's own parser."""
        return TrueScore(self.codec, Criterion(self.labels, self.lpips, len(self.domain.classes)), photo, truth, sides)


@dataclass(frozen=True)
class Received:
    """The picture uint8 ``[256, 256, 3]``, the size that the photo had (width, height), and what of the file did not arrive."""

    picture: Photo
    size: tuple[int, int]
    notes: tuple[str, ...]

    def stretched(self) -> Photo:
        """The picture at the size of the photo, its longest side at most 2048 pixels: a file must not ask for any memory."""
        scale = min(1.0, LONGEST_SIDE / max(self.size))
        target = (max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale)))
        return np.asarray(Image.fromarray(self.picture).resize(target, Image.Resampling.LANCZOS))


def receive(stream: bytes, codec: SceneCodec | None = None, tables: Tables | None = None, branch: str = "fused") -> Received:
    """Paint what arrived of a file; a receiver needs neither the sender's parser nor its policy.

    Args:
        codec: the networks; those of the file's domain that ship where none are given, and its tables likewise.
        tables: of the same domain.
        branch: of the painter.

    Raises:
        SemcastError: it is for other networks, there are no weights, or nothing of it can be shown.
    """
    domain = domain_named(domain_of(stream))
    tables = tables or Tables.load(domain.name)
    codec = codec or SceneCodec.load(domain)
    read = unpack(stream, tables, model=model_number(codec.fingerprint))
    concepts = concepts_in_order(read.layout, domain.importance, read.care)
    levels = [read.levels.get(concept.category, 0) for concept in concepts]
    features = features_of(concepts, levels, read.indices)[None]
    picture = paint(codec, at_64(read.layout)[None], features, level_map(concepts, levels)[None], branch)
    lost = f"the features of {', '.join(domain.classes[c] for c in read.missing)} did not arrive"
    return Received(to_uint8(picture[0]), (read.width, read.height), (*read.notes, *([lost] if read.missing else [])))


def features_of(concepts: Sequence[Concept], levels: Sequence[int], indices: Mapping[int, Indices]) -> Tensor:
    """The dequantised features of every cell, ``[CHANNELS, GRID, GRID]``, 0 where skipped."""
    features = np.zeros((CHANNELS, GRID * GRID), np.float32)
    for concept, level in zip(concepts, levels, strict=True):
        if level:
            features[:, concept.cells] = dequantise(indices[concept.category].astype(np.int64), level).T
    return torch.from_numpy(features.reshape(CHANNELS, GRID, GRID))


class RlAsc:
    """The semantic codec as a :class:`~semcast.link.BitCodec`.

    Args:
        networks: of one domain.
        allocation: spends the bytes.
        name: what the codec is called.
        version: what beside the networks decides the bytes (the policy's fingerprint).
        care: whole factors from 1 to 255 by category: cared for categories go first and get more levels.
        branch: what of the painter the receiver shows, ``fused``, or ``global`` or ``local`` alone (for the ablation).
    """

    def __init__(
        self, networks: Networks, allocation: Allocation, name: str, *, version: str = "",
        care: Mapping[int, int] | None = None, branch: str = "fused",
    ) -> None:  # fmt: skip
        self.networks, self.allocation, self.name, self.care, self.branch = networks, allocation, name, dict(care or {}), branch
        own = (networks.version, version, str(sorted(self.care.items())), branch)
        self.version = hashlib.sha256(" ".join(own).encode()).hexdigest()[:16]

    @classmethod
    def load(cls, name: str, domain: str, care: Mapping[int, int] | None = None) -> RlAsc:
        """The codec of a domain with an allocation of :data:`ALLOCATIONS`.

        Raises:
            SemcastError: a name is unknown, or there are no weights.
        """
        if name not in ALLOCATIONS:
            raise SemcastError(f"unknown allocation {name!r}; the known are {', '.join(ALLOCATIONS)}")
        networks = Networks.load(domain)
        if name != POLICY:
            return cls(networks, PLAIN[name], name, care=care)
        policy = Policy.load(domain)
        return cls(networks, policy.allocate, name, version=policy.fingerprint, care=care)

    def options(self, image: Photo) -> Options:
        """What the allocation chooses from; J is by the parser's own labels of the photo."""
        photo = to_tensor(resize(image, SIZE)).contiguous(memory_format=torch.channels_last)
        sides = self.networks.sides(photo, care=self.care, size=(image.shape[1], image.shape[0]))

        @cache
        def judge() -> TrueScore:
            return self.networks.score(photo, self.networks.labels(photo), sides)

        return Options(sides, lambda choices: judge()(choices))  # only when asked: most allocations never look

    def compress(self, image: Photo, max_bytes: int) -> bytes:
        """uint8 ``[height, width, 3]`` → a ``.sem`` file of at most ``max_bytes``; what is not 256 x 256 is resized.

        Raises:
            SemcastError: not even the coarsest layout fits, or the allocation looks at J and LPIPS is not available.
        """
        options = self.options(image)
        choice = self.allocation(options, max_bytes)
        if self.care:
            choice = with_care(options, choice, max_bytes, self.care)
        return self.written(options.sides[choice.side], choice, (image.shape[1], image.shape[0]))

    def written(self, side: Side, choice: Choice, size: tuple[int, int] = (SIZE, SIZE)) -> bytes:
        """The file of a choice."""
        levels, indices = {}, {}
        for concept, level in zip(side.sizes.concepts, choice.levels, strict=True):
            levels[concept.category] = level
            if level:
                values = side.features.reshape(CHANNELS, -1)[:, concept.cells].T
                indices[concept.category] = quantised(values, level)
        stream = Stream(self.networks.domain.name, side.layout, levels, indices, self.networks.model, size[0], size[1], self.care)
        return pack(stream, self.networks.tables)

    def receive(self, stream: bytes) -> Received:
        """Paint what arrived of a file.

        Raises:
            SemcastError: it is for other networks or another domain, or nothing of it can be shown.
        """
        found = domain_of(stream)
        if found != self.networks.domain.name:
            raise SemcastError(f"the file is of the domain {found}, these networks are of {self.networks.domain.name}")
        return receive(stream, self.networks.codec, self.networks.tables, self.branch)

    def decompress(self, stream: bytes) -> Photo:
        """A file → uint8 ``[256, 256, 3]``; see :meth:`receive`."""
        return self.receive(stream).picture
