"""The shapes that annotations promise: checked here (tests/shapes.py), and of no concern to users."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from semcast.channels.draw import Draw
from semcast.generative.inversion import Tangent
from semcast.linear.sketch import Sketch, SketchConfig, to_vector
from semcast.link import Budget, Burst, Reception, to_complex
from semcast.metrics.pixel import psnr_db
from semcast.networks.segmenter import FaceParser

SOURCE = Path(__file__).resolve().parents[1] / "src"
checked = pytest.mark.skipif(os.environ.get("SEMCAST_SHAPES", "1") == "0", reason="SEMCAST_SHAPES=0: shapes are not checked")


@checked
@pytest.mark.parametrize(
    "broken",
    [
        lambda: psnr_db(torch.rand(3, 8, 8), torch.rand(3, 8, 8)),  # no batch
        lambda: psnr_db(torch.rand(1, 3, 8, 8), torch.rand(2, 3, 8, 8)),  # two batches
        lambda: to_complex(torch.zeros(1, 4, dtype=torch.complex64)),  # not real
        lambda: to_vector(torch.rand(1, 1, 64, 64)),  # grey
        lambda: Sketch(SketchConfig(components=8)).restore(torch.zeros(1, 7)),  # a component is missing
        lambda: Burst(torch.zeros(4, dtype=torch.complex64), Budget(4, 5.0)),  # a field of a data class
        lambda: Reception(torch.rand(2, 3, 8, 8), torch.ones(1, dtype=torch.bool)),  # one ok for two images
        lambda: FaceParser()(torch.rand(3, 128, 128)),  # a network
    ],
)
def test_a_broken_promise_is_seen(broken) -> None:
    with pytest.raises(TypeError, match="Type-check error"):
        broken()


@checked
def test_what_is_behind_a_check_keeps_its_name_and_annotations() -> None:
    for own in (to_vector, Tangent.adjoint, Draw.__init__):
        assert own.__wrapped__.__code__.co_filename.endswith((".py", "<string>"))
        assert all(isinstance(promise, str) for name, promise in own.__annotations__.items() if name != "return")
    assert to_vector.__module__ == "semcast.linear.sketch"


@pytest.mark.slow
def test_users_need_no_jaxtyping() -> None:
    """Every module that promises shapes is imported where there is no jaxtyping."""
    paths = [path for path in SOURCE.rglob("*.py") if "from jaxtyping import" in path.read_text()]
    names = sorted(".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in paths)
    assert len(names) > 20
    code = f"import sys; sys.modules['jaxtyping'] = None\nimport {', '.join(names)}"
    result = subprocess.run([sys.executable, "-c", code], cwd=SOURCE, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
