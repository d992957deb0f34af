"""Known vulnerabilities of what is installed here: exit code 1 where there is one. What could not be asked about is said.

pip-audit alone is content when no package could be looked up, which behind a mirror of the index means that nothing was audited.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def sum_up(told: dict[str, Any]) -> tuple[list[str], bool]:
    """Lines to print of what pip-audit told as JSON, and whether there is a vulnerability."""
    packages = told["dependencies"]
    asked = [package for package in packages if "skip_reason" not in package]
    lines = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for package in asked for flaw in package["vulns"]
    ]  # fmt: skip
    found = bool(lines)
    left = ", ".join(package["name"] for package in packages if "skip_reason" in package)
    if not asked:
        return [f"note: the index knows none of {len(packages)} packages, so nothing was audited"], False
    lines.append(f"{len(asked)} packages audited" + (f"; the index does not know {left}" if left else ""))
    return lines, found


def main() -> int:
    """Ask, print, and say whether there is one."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off", "--format", "json"]
    asked = subprocess.run(command, capture_output=True, text=True)
    try:
        lines, found = sum_up(json.loads(asked.stdout))
    except (ValueError, KeyError, TypeError):
        print(f"note: the audit of what is installed is left out: {(asked.stderr.strip().splitlines() or ['no answer'])[-1]}")
        return 0
    print("\n".join(lines))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
