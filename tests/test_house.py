"""The house: style, types, and imports that point one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "semcast"
# From the top down, one part a row: a module may import from its own part and from those below it.
ROWS = (
    "__main__", "cli", "web", "studies", "train", "bench", "testing", "station", "api", "privacy", "rivals", "codec",
    "generative", "linear", "sources", "shards", "face", "framing", "metrics", "networks", "trust", "weights", "onair",
    "channels", "crossing", "link", "source_coding", "pictures", "photos", "mark", "mending", "scans", "soundness", "colours",
    "domains", "hashes", "given", "files", "stopping", "errors",
)  # fmt: skip
ROW = {name: number for number, name in enumerate(ROWS)}


@pytest.mark.parametrize("tool", [["ruff", "check", "."], ["mypy"]], ids=["ruff", "mypy"])
def test_tool(tool: list[str]) -> None:
    pytest.importorskip(tool[0])
    result = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def imported(path: Path) -> set[str]:
    """The parts of semcast that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("semcast.")}
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if part == "__init__":  # the front door names all of them and imports none: tests/test_front_door.py
        return
    assert part in ROW, f"{part} has no place in the house: give it one"
    upward = {name for name in imported(path) if ROW[name] < ROW[part]}
    assert not upward, f"{path} imports upwards: {upward}"


def test_import_changes_nothing_global() -> None:
    code = (
        "import torch; a = torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed()\n"
        "import semcast.bench.sweep, semcast.cli.app\n"
        "assert a == (torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed())"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, semcast.cli.app; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src").returncode == 0


def test_files_are_written_whole_in_one_way() -> None:
    """Temporary files that are put in place are the business of files.py alone."""
    by_hand = [path.name for path in SOURCE.rglob("*.py") if re.search(r"\.part(\.npz)?[\"']", path.read_text(encoding="utf-8"))]
    assert by_hand == ["files.py"]


def test_errors_say_which_kind_of_wrong_it_is() -> None:
    """SemcastError is what callers catch; what is raised is one of its kinds."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                assert ast.unparse(node.exc.func) not in ("SemcastError", "errors.SemcastError"), f"{path}:{node.lineno}"


def test_nothing_is_too_long_to_read() -> None:
    """No function over 50 lines, no file over 400."""
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None and node.end_lineno - node.lineno < 50, f"{node.name} of {path}"
