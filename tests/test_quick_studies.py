"""The studies of the link and of privacy as their commands run them, on a few real faces: what they find must hang together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from semcast.errors import SemcastError
from semcast.metrics.perceptual import missing
from semcast.metrics.report import Metrics
from semcast.studies import study as studies
from semcast.studies.private_demo import CHOICES, run_private_demo

pytestmark = pytest.mark.slow


@pytest.fixture
def faces(shared: Path) -> Path:
    shard = shared / "data" / "faces256" / "val-000.tar"
    if not shard.exists():
        pytest.skip("needs the aligned faces of ../shared")
    return shard


@pytest.mark.skipif(missing("squeeze") is not None, reason="needs LPIPS")
def test_the_link_piece_by_piece(faces: Path, tmp_path: Path) -> None:
    studies.reproduce("link", faces, tmp_path, quick=True, limit=2)
    found = json.loads((tmp_path / "link-report.json").read_text())
    assert found["photos"] == 2 and found["speed"]["times_faster"] > 10
    of = {name: values["psnr_db"] for name, values in found["references"].items()}
    assert of["ceiling"] > of["encoder alone"] > of["floor"], "Newton steps improve on the encoder's guess, and that on nothing"
    assert of["ceiling"] + 0.3 > of["bottleneck 640"] > of["bottleneck 64"] > of["floor"]
    assert 0 < found["masks"]["linear"] <= 1 and 0 < found["masks"]["generative"] <= found["masks"]["photo"] + 0.15
    assert all(0 < share <= 1 for share in found["swaps"].values()) and found["swaps"]["mean"] > 0.5
    assert found["refinement"]["refine 50"]["psnr_db"] > found["refinement"]["refine 0"]["psnr_db"]
    assert set(found["flow_or_not"]) == {
        f"closed-form code, k {k}, {kind} couplings" for k in (64, 640) for kind in ("with", "without")
    }


def test_what_an_attacker_learns(faces: Path, shared: Path, tmp_path: Path) -> None:
    recogniser = shared / "weights" / "mobileface_v2.onnx"
    if not recogniser.exists():
        pytest.skip("needs a face recogniser of ../shared")
    pytest.importorskip("onnxruntime")
    studies.reproduce("privacy", faces, tmp_path, quick=True, limit=6, identity=[recogniser])
    found = json.loads((tmp_path / "privacy.json").read_text())
    assert found["photos"] == 3 and found["learnt_on"] == 3 and found["embedders"] == {"identity": "mobileface_v2.onnx"}
    parts = {name.partition(":")[0] for name in found["attack_r2"]}
    for part in parts:
        asked = {name.partition(": ")[2] for name in found["attack_r2"] if name.startswith(f"{part}:")}
        assert {"none", "filter", "blind", "only the non-private photo", "only the outline"} <= asked
    assert {"eyes"} < parts and all(set(each) == {"ridge", "mlp"} for each in found["attack_r2"].values())
    assert json.loads((tmp_path / "privacy-run.json").read_text()) and (tmp_path / "privacy.png").exists()
    with pytest.raises(SemcastError, match="does not exist"):
        studies.reproduce("privacy", tmp_path / "nobody.tar", tmp_path, quick=True)


def test_the_portrait_with_private_parts() -> None:
    """Inside another face's pixels, outside the same ones: for each choice of parts and each mode."""
    shown = run_private_demo(Metrics({}, None, []))
    rows = list(zip(*(column.cells for column in shown.table.columns), strict=True))
    assert [row[1] for row in rows] == ["blind", "filter", "without knowledge base"] * len(CHOICES)
    assert shown.picture.dtype == np.uint8 and min(shown.picture.shape[:2]) > 700
    for _, mode, outside, inside in rows:
        assert float(outside) > 15 and (mode == "blind" or float(outside) > float(inside)), (mode, outside, inside)
