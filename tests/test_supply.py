"""What semcast is made of: the list of it, and the audit, which may not pass for want of an answer."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def audit() -> Any:
    spec = spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOOD = {"name": "numpy", "version": "2.0", "vulns": []}
BAD = {"name": "pillow", "version": "9.0", "vulns": [{"id": "CVE-2023-1", "fix_versions": ["10.0"]}]}
UNKNOWN = {"name": "torch", "skip_reason": "not there"}


@pytest.mark.parametrize(
    ("packages", "found", "words"),
    [
        ([GOOD, UNKNOWN], False, "1 packages audited; the index does not know torch"),
        ([GOOD, BAD], True, "pillow 9.0: CVE-2023-1, mended in 10.0"),
        ([UNKNOWN], False, "nothing was audited"),
        ([], False, "nothing was audited"),
    ],
)
def test_audit_says_what_it_found_and_what_it_could_not_ask(packages: list[Any], found: bool, words: str) -> None:
    lines, vulnerable = audit().sum_up({"dependencies": packages})
    assert vulnerable == found and words in "\n".join(lines)


@pytest.mark.parametrize(("stdout", "stderr"), [("", "no network"), ("[]", "no network"), ("{", "no network")])
def test_audit_without_an_answer_is_left_out(
    stdout: str, stderr: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = audit()
    answer = subprocess.CompletedProcess([], 1, stdout, stderr)
    monkeypatch.setattr(asked.subprocess, "run", lambda *_, **__: answer)
    assert asked.main() == 0 and "left out: no network" in capsys.readouterr().out


@pytest.mark.slow
def test_sbom_lists_what_semcast_runs_with(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py")
    if shutil.which("make") is None:
        pytest.skip("needs make")
    out, venv = tmp_path / "sbom.json", sys.prefix
    command = ["make", "sbom", f"VENV={venv}", f"SBOM={out}", f"--assume-old={venv}/.installed"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    bom = json.loads(out.read_text(encoding="utf-8"))
    assert bom["bomFormat"] == "CycloneDX" and bom["metadata"]["component"]["name"] == "semcast"
    listed = {component["name"].lower(): component["version"] for component in bom["components"]}
    for needed in ("torch", "numpy", "pillow", "safetensors", "scipy"):
        assert listed[needed] == importlib.metadata.version(needed)
    (semcast,) = (each for each in bom["dependencies"] if each["ref"] == bom["metadata"]["component"]["bom-ref"])
    assert any(ref.startswith("torch") for ref in semcast["dependsOn"])
