"""Inputs that other tools failed at: scripts that build one each, try it on the command line, and end with 0 if that is right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = (
    "code-page", "jpeg-without-end", "mask-orientation", "name-long", "name-not-utf8", "narrow-terminal", "path-odd",
    "png-large-text", "shard-names", "shard-sidecars", "stderr-closed", "two-writers",
)  # fmt: skip


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """This semcast, as a program of its own."""
    path = tmp_path / "semcast"
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT / "src"}" exec "{sys.executable}" -m semcast "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_trial(name: str, shared: Path, command: Path, tmp_path: Path) -> None:
    script = shared / "trials" / f"{name}.py"
    if not script.is_file():
        pytest.skip(f"needs {script}")
    (folder := tmp_path / "work").mkdir()
    env = os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, command], cwd=folder, env=env, capture_output=True, text=True, errors="replace", timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_trial_is_tried(shared: Path) -> None:
    if not (shared / "trials").is_dir():
        pytest.skip(f"needs {shared / 'trials'}")
    assert {path.stem for path in (shared / "trials").glob("*.py")} <= set(NAMES)
