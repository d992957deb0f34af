"""Looking up faces: each recogniser compares by its own similarity."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semcast.metrics.identity import Identity, kind_of
from semcast.studies.attacks import Evidence, identify

KINDS = {"cosine": "mobileface_v2.onnx", "distance": "dlib_resnet_v1_face150.onnx"}


def recogniser(measure: str) -> Identity:
    """Its similarity alone; no network is asked."""
    found = object.__new__(Identity)
    found.kind, found.path = kind_of(KINDS[measure]), Path(KINDS[measure])
    assert found.kind.measure == measure
    return found


@pytest.mark.parametrize("measure", KINDS)
def test_faces_are_found_by_the_recognisers_own_similarity(measure: str) -> None:
    """Of embeddings of many lengths, as those of a distance are, the longest would be everybody's best product."""
    random = torch.Generator().manual_seed(0)
    persons = torch.nn.functional.normalize(torch.randn(8, 16, generator=random), dim=1)
    if measure == "distance":
        persons = persons * torch.linspace(1, 9, 8)[:, None]
    tested = [
        Evidence(embeddings={("photo", "identity"): each[None], ("none", "identity"): each[None] + 0.01}) for each in persons
    ]
    found = identify(tested, {"identity": recogniser(measure)})
    for view in ("photo, identity", "none, identity"):
        assert found[view]["rank-1"] == 1.0
        assert found[view]["match"] > 0.9 > found[view]["different persons"]
    assert found["photo, identity"]["match"] == pytest.approx(1.0, abs=1e-4)
    assert identify(tested, {}) == {}
