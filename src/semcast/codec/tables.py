"""What the entropy coder of a domain expects: the shipped tables of layouts and features, under one fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from semcast.codec.concepts import SIDES, Concept, Layout, find_concepts
from semcast.codec.context_coder import ContextCoder
from semcast.codec.feature_coder import FeatureCoder, FeatureTables, default_tables
from semcast.codec.ladder import V1, Ladder, ladder_of
from semcast.codec.layout_coder import LayoutCoder, LayoutTables
from semcast.domains import DOMAINS, domain_named
from semcast.weights import load_version


@dataclass(frozen=True)
class Tables:
    """All that the entropy coder of a domain expects.

    Args:
        domain: its name.
        layouts: a coder for each side.
        features: a coder of the features.
        fingerprint: of the weights they came from; it seeds the checks.
        ladder: of the version of the format.
    """

    domain: str
    layouts: Mapping[int, LayoutCoder]
    features: FeatureCoder
    fingerprint: str
    ladder: Ladder = V1

    @property
    def importance(self) -> tuple[int, ...]:
        """What a cell of each category counts."""
        return domain_named(self.domain).importance

    @property
    def seed(self) -> int:
        """Where the checks begin."""
        text = f"{self.fingerprint} {self.importance}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:2], "big")

    @classmethod
    def load(cls, domain: str, version: int | None = None) -> Tables:
        """Load the tables that ship, ``bits-<domain>``; a process reads them once.

        Args:
            version: of the format; the one that this semcast writes where none is given.

        Raises:
            BadInput: the domain is unknown.
            Missing: there are no such weights.
        """
        return load_tables(domain_named(domain).name, version)

    def find_concepts(self, layout: Layout, care: Mapping[int, int] | None = None) -> tuple[Concept, ...]:
        """List the concepts of a layout in the order of the file, all of them skipped."""
        return find_concepts(layout, self.importance, care)


@lru_cache(maxsize=2 * len(DOMAINS))
def load_tables(domain: str, version: int | None = None) -> Tables:
    """Load the tables of a domain; ``load_tables.cache_clear()`` forgets those that were read."""
    checkpoint = load_version(f"bits-{domain}", "bits", version)
    layouts = {}
    features: FeatureCoder
    with checkpoint.trusted():
        ladder = ladder_of(checkpoint.version)
        for side in SIDES:
            named = {name: tensor.numpy() for name, tensor in checkpoint.part(f"layout{side}").items()}
            layouts[side] = LayoutCoder(LayoutTables(**named))
        found = {name: tensor.numpy() for name, tensor in checkpoint.part("features").items()}
        if ladder is V1:
            features = FeatureTables({int(level): table for level, table in found.items()}) if found else default_tables()
        else:
            features = ContextCoder.of(found)
    return Tables(domain, layouts, features, checkpoint.fingerprint, ladder)
