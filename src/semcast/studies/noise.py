"""Errors in what a codec sends: in the indices of the semantic codec (its layout safe or not), and in the bits of files.

Index errors are those of a link without entropy coding, as the digital semantic links of the literature assume: every index and
every place of the layout is a symbol of its own, and a wrong one is any other value of its alphabet. Each feature stays in its
cell, so a wrong layout says a wrong category and no more. Bit errors hit whole files as they are stored, header and checks too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from semcast.bench.records import Line
from semcast.codec.bitstream import Stream
from semcast.codec.concepts import STEPS, Concept

SAFE, UNSAFE, BITS = "indices", "indices and layout", "bits"
TESTS = (SAFE, UNSAFE, BITS)


@dataclass(frozen=True)
class NoiseRecord(Line):
    """One photo, one codec, one rate of errors, one draw of them.

    ``test`` is one of :data:`TESTS`; ``errors`` are those that happened; ``decoded`` says whether the receiver shows anything
    (else the picture is grey); ``hit``, ``truth`` and ``shown`` are as in :class:`~semcast.bench.codecs.CodecRecord`.
    """

    KEY: ClassVar[tuple[str, ...]] = ("image", "test", "codec", "domain", "max_bytes", "rate", "draw")
    REQUIRED: ClassVar[frozenset[str]] = frozenset(KEY) | {"version", "decoded", "hit", "truth", "shown"}

    image: str
    test: str
    codec: str
    domain: str
    max_bytes: int
    rate: float
    draw: int
    version: str
    bytes: int
    errors: int
    decoded: bool
    miou: float | None
    lpips_squeeze: float | None
    hit: list[int]
    truth: list[int]
    shown: list[int]


@dataclass(frozen=True)
class Pooled:
    """The draws of one photo together: counts summed, the rest averaged."""

    hit: list[int]
    truth: list[int]
    shown: list[int]
    decoded: float
    lpips: float | None


def pooled(records: Sequence[NoiseRecord]) -> list[Pooled]:
    """One for each photo: the draws of a photo are not independent measurements."""
    photos: dict[str, list[NoiseRecord]] = {}
    for record in records:
        photos.setdefault(record.image, []).append(record)
    made = []
    for _, draws in sorted(photos.items()):
        hit, truth, shown = np.sum([[r.hit, r.truth, r.shown] for r in draws], 0).tolist()
        lpips = [r.lpips_squeeze for r in draws if r.lpips_squeeze is not None]
        decoded = float(np.mean([r.decoded for r in draws]))
        made.append(Pooled(hit, truth, shown, decoded, float(np.mean(lpips)) if lpips else None))
    return made


def generator_of(*what: object) -> np.random.Generator:
    """The same errors for the same photo, test, codec, rate and draw."""
    digest = hashlib.sha256("\n".join(map(str, what)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def with_bit_errors(data: bytes, rate: float, rng: np.random.Generator) -> tuple[bytes, int]:
    """Each bit of a file turned over with that probability; and how many were."""
    wrong = rng.random(8 * len(data)) < rate
    return (np.frombuffer(data, np.uint8) ^ np.packbits(wrong)).tobytes(), int(wrong.sum())


def with_index_errors(
    read: Stream, rate: float, rng: np.random.Generator, *, layout: bool, classes: int = 19
) -> tuple[NDArray[np.uint8], tuple[Concept, ...], int]:
    """Each index another one of its level with that probability, and likewise each place of the layout where it is not safe.

    Returns:
        layout, the concepts with those indices (each in the cell it was made for), and how many are wrong.
    """
    errors = 0

    def struck(values: NDArray[np.uint8], alphabet: int) -> NDArray[np.uint8]:
        nonlocal errors
        wrong = rng.random(values.shape) < rate
        errors += int(wrong.sum())
        other = (values.astype(np.int64) + rng.integers(1, alphabet, values.shape)) % alphabet
        return np.where(wrong, other, values).astype(np.uint8)

    spoilt = {}
    for concept in sorted(read.concepts, key=lambda concept: concept.category):
        indices = concept.indices if concept.indices is None else struck(concept.indices, STEPS[concept.level])
        spoilt[concept.category] = replace(concept, indices=indices)
    wrong = struck(read.layout, classes) if layout else read.layout
    return wrong, tuple(spoilt[concept.category] for concept in read.concepts), errors
