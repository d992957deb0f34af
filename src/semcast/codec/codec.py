"""RL-ASC: a photo as semantic concepts in a few hundred bytes (Huang et al., 2023, arXiv:2208.04094; its abstract, our choices).

::

    photo → parser → layout → concepts (category, cells, features) → allocation → .sem bytes → painter → picture

One codec with several allocations: ``rl-asc`` asks the learned policy, ``uniform``, ``random``, ``area``, ``greedy`` and
``exhaustive`` are what it is compared with (:mod:`semcast.codec.allocation`). A sender needs :class:`Networks` and an allocation,
a receiver only the painter and the tables (:func:`receive`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semcast.codec.allocation import PLAIN, care_for
from semcast.codec.bitstream import Stream, pack, unpack
from semcast.codec.choice import Allocation, Choice, Options, Side
from semcast.codec.concepts import SIDES, SIZE, Layout, at_64, simplify
from semcast.codec.criterion import PLAIN_TASK, Criterion, Task
from semcast.codec.encoder import parse_layouts
from semcast.codec.front import domain_of, model_number, version_of
from semcast.codec.ladder import V2
from semcast.codec.painter import BRANCHES, SceneCodec, paint
from semcast.codec.policy import Policy
from semcast.codec.score import TrueScore
from semcast.codec.sizes import Sizes
from semcast.codec.tables import Tables
from semcast.domains import Domain, domain_named
from semcast.errors import BadInput
from semcast.metrics.perceptual import Lpips
from semcast.networks.precision import mixed
from semcast.networks.segmenter import SceneParser
from semcast.photos import LONGEST_SIDE, Photo, resize, to_tensor, to_uint8

POLICY = "rl-asc"
ALLOCATIONS = (POLICY, *PLAIN)
"""The names that :meth:`RlAsc.load` knows."""

LOOKING = (POLICY, "greedy", "exhaustive")
"""Those that look at J, or learned from it."""

SPECKS = {16: 0, 32: 1, 64: 3}
"""At each side, areas of up to so many places are taken for specks and not sent."""


@dataclass(frozen=True, eq=False)
class Networks:
    """What a domain's codec computes with, all of it frozen, on one device.

    Args:
        domain: what they were trained for.
        codec: encoder and painter.
        parser: the sender's; no receiver needs it.
        tables: of the entropy coder.
        lpips: for allocations that look at J; None where its weights are not available.
    """

    domain: Domain
    codec: SceneCodec
    parser: SceneParser
    tables: Tables
    lpips: Lpips | None

    @classmethod
    def load(cls, domain: Domain | str, device: torch.device | str = "cpu") -> Networks:
        """Load what ships for a domain (or its name).

        Raises:
            BadInput: the domain is unknown.
            Missing: there are no such weights.
        """
        kind = domain_named(domain) if isinstance(domain, str) else domain
        lpips = Lpips.load("squeeze")
        return cls(
            kind, SceneCodec.load(kind).to(device), SceneParser.load(kind).to(device), Tables.load(kind.name),
            lpips.to(device) if lpips is not None else None,
        )  # fmt: skip

    def check(self, policy: Policy | None = None) -> None:
        """Hold networks, tables and policy to one version of the format: while one is trained the others are older.

        Raises:
            BadInput: they are of two.
        """
        others = {"tables": self.tables.ladder.version} | ({"policy": policy.config.version} if policy is not None else {})
        for name, version in others.items():
            if version != (own := self.codec.ladder.version):
                codec = f"codec-{self.domain.name}"
                raise BadInput(f"{codec} is of version {own} of the format, its {name} of version {version}: train them anew")

    @property
    def device(self) -> torch.device:
        """Where they compute."""
        return self.codec.device

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
                sha.update(value.cpu().numpy().tobytes())
        return sha.hexdigest()

    def labels(self, image: Tensor) -> Tensor:
        """Label each pixel as the codec's own parser sees it, ``[B, 256, 256]``."""
        with torch.no_grad(), mixed(image.device):
            scores: Tensor = self.parser(image)
        return scores.argmax(1)

    def describe(self, photo: Tensor) -> list[tuple[Layout, NDArray[np.float32]]]:
        """Describe a photo ``[1, 3, 256, 256]`` at each side: its layout without specks, and the features for that layout."""
        layouts = [layout[0].cpu().numpy() for layout in parse_layouts(self.parser, photo, SIDES)]
        layouts = [simplify(layout, SPECKS[len(layout)]) for layout in layouts]
        with torch.no_grad(), mixed(photo.device):
            given = torch.from_numpy(np.stack([at_64(layout) for layout in layouts])).to(photo.device)
            features = self.codec.encoder(photo.expand(len(layouts), -1, -1, -1), given).cpu().numpy()
        return list(zip(layouts, features, strict=True))

    def side(
        self, layout: Layout, features: NDArray[np.float32], *, care: Mapping[int, int] | None = None,
        size: tuple[int, int] = (SIZE, SIZE),
    ) -> Side:  # fmt: skip
        """Give a layout and its features as an allocation sees them.

        Args:
            care: whole factors by category.
            size: width and height of the photo.
        """
        return Side(layout, features, Sizes(self.tables, layout, features, care=care, width=size[0], height=size[1]))

    def sides(
        self, photo: Tensor, *, care: Mapping[int, int] | None = None, size: tuple[int, int] = (SIZE, SIZE)
    ) -> dict[int, Side]:
        """Give a photo ``[1, 3, 256, 256]`` as it would be coded at each side."""
        return {len(layout): self.side(layout, own, care=care, size=size) for layout, own in self.describe(photo)}

    def score(self, photo: Tensor, truth: Tensor, sides: Mapping[int, Side], task: Task = PLAIN_TASK) -> TrueScore:
        """Prepare J of a task by decoding, judged by the codec's own parser."""
        criterion = Criterion(self.labels, self.lpips, len(self.domain.classes), task)
        return TrueScore(self.codec, criterion, photo, truth, sides)


@dataclass(frozen=True)
class Reconstruction:
    """What a receiver shows of a file.

    Args:
        pixels: uint8 ``[256, 256, 3]``.
        size: width and height of the photo.
        notes: what of the file did not arrive, a sentence each.
        fingerprint: of the networks that painted it.
    """

    pixels: Photo
    size: tuple[int, int]
    notes: tuple[str, ...]
    fingerprint: str = ""

    def stretch(self) -> Photo:
        """Stretch it to the size of the photo, the longest side at most 2048 pixels: a file must not ask for any memory."""
        scale = min(1.0, LONGEST_SIDE / max(self.size))
        target = (max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale)))
        return np.asarray(Image.fromarray(self.pixels).resize(target, Image.Resampling.LANCZOS))


def receive(
    data: bytes, codec: SceneCodec | None = None, tables: Tables | None = None, branch: str = BRANCHES[0], *,
    device: torch.device | str = "cpu",
) -> Reconstruction:  # fmt: skip
    """Paint what arrived of a file; a receiver needs neither the sender's parser nor its policy.

    Args:
        codec: the networks; those of the file's domain that ship where none are given, and its tables likewise.
        tables: of the same domain.
        branch: of the painter.
        device: where the networks that ship compute; given ones stay where they are.

    Raises:
        BadInput: it is no .sem file, or for other networks.
        Damaged: nothing of it can be shown.
        Missing: there are no weights.
    """
    domain, version = domain_named(domain_of(data)), version_of(data)
    tables = tables or Tables.load(domain.name, version)
    codec = codec or SceneCodec.load(domain, version).to(device)
    read = unpack(data, tables, model=model_number(codec.fingerprint))
    pixels = to_uint8(paint(codec, [read.layout], [read.concepts], branch)[0].cpu())
    lost = f"the features of {', '.join(domain.classes[c] for c in read.missing)} did not arrive"
    return Reconstruction(pixels, (read.width, read.height), (*read.notes, *([lost] if read.missing else [])), codec.fingerprint)


class RlAsc:
    """The semantic codec as a :class:`~semcast.source_coding.BitCodec`.

    Args:
        networks: of one domain.
        allocation: spends the bytes.
        name: what the codec is called.
        version: what beside the networks decides the bytes (the policy's fingerprint).
        care: whole factors from 1 to 255 by category: cared for categories go first and get more levels.
        branch: what of the painter the receiver shows, ``fused``, or ``global`` or ``local`` alone (for the ablation).
        told: whether the allocation is told what is cared for; the others raise it afterwards
            (:func:`~semcast.codec.allocation.care_for`). None: those of :data:`LOOKING` from version 2 on.
    """

    paints = True  # a network makes the picture that it shows

    def __init__(
        self, networks: Networks, allocation: Allocation, name: str, *, version: str = "",
        care: Mapping[int, int] | None = None, branch: str = BRANCHES[0], told: bool | None = None,
    ) -> None:  # fmt: skip
        self.networks, self.allocation, self.name, self.care, self.branch = networks, allocation, name, dict(care or {}), branch
        looks = networks.codec.ladder.version >= V2.version and name in LOOKING
        self.told = looks if told is None else told
        own = (networks.version, version, str(sorted(self.care.items())), branch, *(["told"] if self.told > looks else []))
        self.version = hashlib.sha256(" ".join(own).encode()).hexdigest()[:16]

    @classmethod
    def load(
        cls, name: str, domain: Domain | str, care: Mapping[int, int] | None = None, *, device: torch.device | str = "cpu"
    ) -> RlAsc:
        """Load the codec of a domain with an allocation of :data:`ALLOCATIONS`.

        Args:
            device: where the networks compute.

        Raises:
            BadInput: a name is unknown, or the weights are of two versions of the format.
            Missing: there are no weights.
        """
        if name not in ALLOCATIONS:
            raise BadInput(f"unknown allocation {name!r}; the known are {', '.join(ALLOCATIONS)}")
        networks = Networks.load(domain, device)
        policy = Policy.load(networks.domain) if name == POLICY else None  # so small that it stays on the CPU
        networks.check(policy)
        if policy is None:
            return cls(networks, PLAIN[name], name, care=care)
        return cls(networks, policy.allocate, name, version=policy.fingerprint, care=care)

    def options(self, image: Photo, size: tuple[int, int] | None = None) -> Options:
        """Give what the allocation chooses from; J is by the parser's own labels of the photo.

        Args:
            size: width and height that the file will say, which takes bytes too; None: those of the image.
        """
        photo = to_tensor(resize(image, SIZE)).to(self.networks.device).contiguous(memory_format=torch.channels_last)
        sides = self.networks.sides(photo, care=self.care, size=size or (image.shape[1], image.shape[0]))

        task = Task.of(self.care) if self.told else PLAIN_TASK

        @cache
        def judge() -> TrueScore:
            return self.networks.score(photo, self.networks.labels(photo), sides, task)

        return Options(sides, lambda choices: judge()(choices), task)  # only when asked: most allocations never look

    def compress(self, image: Photo, max_bytes: int) -> bytes:
        """Write a photo uint8 ``[height, width, 3]`` as a ``.sem`` file; what is not 256 x 256 is resized.

        Args:
            max_bytes: that the file takes at most.

        Raises:
            DoesNotFit: not even the coarsest layout fits.
            Missing: the allocation looks at J, and LPIPS is not available.
        """
        options = self.options(image)
        choice = self.allocation(options, max_bytes)
        if self.care and not self.told:
            choice = care_for(options, choice, max_bytes, self.care)
        return self.write(options.sides[choice.side], choice, (image.shape[1], image.shape[0]))

    def write(self, side: Side, choice: Choice, size: tuple[int, int] = (SIZE, SIZE)) -> bytes:
        """Write the file of a choice.

        Args:
            size: width and height of the photo.
        """
        networks = self.networks
        stream = Stream(
            networks.domain.name, side.layout, side.code(choice.levels), networks.model, size[0], size[1], self.care
        )
        return pack(stream, networks.tables)

    def receive(self, data: bytes) -> Reconstruction:
        """Paint what arrived of a file.

        Raises:
            BadInput: it is no .sem file, or for other networks or another domain.
            Damaged: nothing of it can be shown.
        """
        found = domain_of(data)
        if found != self.networks.domain.name:
            raise BadInput(f"the file is of the domain {found}, these networks are of {self.networks.domain.name}")
        if version_of(data) != self.networks.tables.ladder.version:  # an older file: by the networks that are kept for it
            return receive(data, branch=self.branch, device=self.networks.device)
        return receive(data, self.networks.codec, self.networks.tables, self.branch)

    def decompress(self, stream: bytes) -> Photo:
        """Show a file as uint8 ``[256, 256, 3]``; see :meth:`receive`."""
        return self.receive(stream).pixels
