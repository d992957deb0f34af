"""Judges of codecs that no training, policy or choice of ours has seen: another segmenter, EfficientNet, other recognisers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from semcast.domains import Domain
from semcast.errors import Missing
from semcast.metrics import efficientnet
from semcast.metrics.efficientnet import EfficientNet
from semcast.metrics.identity import Identity
from semcast.metrics.perceptual import find_weights
from semcast.metrics.segmenter import USUAL, StreetSegmenter
from semcast.metrics.semantic import counts, mean_iou_of_counts

RECOGNISER = "dlib_resnet_v1_face150.onnx"
"""The embedder that judges faces: no loss of any network here, unlike the first, and no choice of weights, unlike the second."""


@dataclass(frozen=True)
class Strangers:
    """Those that this computer has the files for; each None where it has not.

    Args:
        segmenter: of streets.
        efficientnet: a distance, of anything.
        recogniser: of faces.
    """

    segmenter: StreetSegmenter | None
    efficientnet: EfficientNet | None
    recogniser: Identity | None

    @classmethod
    def load(cls, domain: Domain | None, device: torch.device | str = "cpu") -> tuple[Strangers, list[str]]:
        """Load those of a domain, and say which are missing.

        Raises:
            Missing: there are none at all.
        """
        street, face = (domain is not None and domain.name == name for name in ("street", "face"))
        segmenter, recogniser = (find_weights(name) if wanted else None for name, wanted in ((USUAL, street), (RECOGNISER, face)))
        judge = EfficientNet.load()
        found = cls(
            StreetSegmenter(segmenter) if segmenter else None, judge.to(device) if judge else None,
            Identity(recogniser) if recogniser else None,
        )  # fmt: skip
        notes = [f"{name} is not here: set SEMCAST_SHARED to the folder whose weights/ has it"
                 for name, wanted, path in ((USUAL, street, segmenter), (RECOGNISER, face, recogniser)) if wanted and not path]
        notes += [note for note in [efficientnet.missing()] if note]
        if not (segmenter or recogniser or judge):
            raise Missing(f"no stranger can judge: {'; '.join(notes)}")
        return found, notes

    @property
    def names(self) -> str:
        """Who they are: results of other judges do not compare."""
        given = {"segmenter": self.segmenter, "recogniser": self.recogniser}
        named = [each.path.name for each in given.values() if each is not None]
        return " ".join([*named, *(["efficientnet-lite0"] if self.efficientnet else [])])

    @torch.no_grad()
    def compare(self, image: Tensor, truth: Tensor | None, received: Tensor) -> dict[str, Any]:
        """What a record says of a picture ``[1, 3, H, W]``, given the photo and its labels ``[1, H, W]``."""
        found: dict[str, Any] = {}
        if self.efficientnet is not None:
            found["efficientnet"] = round(float(self.efficientnet(image, received)), 5)
        if self.recogniser is not None:
            found["identity_3"] = round(float(self.recogniser.similarity(image, received)), 5)
        if self.segmenter is not None and truth is not None:
            counted = counts(self.segmenter.labels(received), truth, 19)
            found["miou_2"] = round(float(mean_iou_of_counts(counted)[0]), 5)
            found["hit_2"], _, found["shown_2"] = counted[0].tolist()
        return found
