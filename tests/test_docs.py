"""What the documents say runs: their Python blocks, their ``$`` lines, their links, the files and numbers that they name.

A block fenced as ``python`` is run; those of a page share one namespace, as they do for a reader who types them one after the
other. A block that begins with ``# mine.py`` is that file as well. In a block fenced as ``console`` the lines that begin with
``$`` are commands. ``sh`` is not run: training, test sets and photos that do not ship. What a page needs lies in its folder:
``me.jpg`` (a portrait), ``street.jpg`` (no square, and no street) and ``photos/``.
"""

from __future__ import annotations

import linecache
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import semcast as sc
from semcast.cli import main
from semcast.train import RECIPES
from semcast.train.recipe import Recipe
from semcast.train.recipes import find
from semcast.train.settings import override

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SLOW: tuple[str, ...] = ()
"""Pages that take long; ``make test-all`` runs them."""


def blocks(page: Path) -> list[tuple[str, str, int]]:
    """What of a page is run: language, text, and the line where it begins."""
    text = page.read_text(encoding="utf-8")
    found = ((match[1], match[2], text.count("\n", 0, match.start()) + 1) for match in FENCE.finditer(text))
    return [block for block in found if block[0] in ("python", "console")]


def run_python(code: str, page: Path, line: int, names: dict[str, object]) -> None:
    file = re.match(r"# (\w+\.py)\n", code)
    where = f"<{page.name}:{line}>"
    if file:
        Path(file[1]).write_text(code)
        where = str(Path(file[1]).resolve())
    linecache.cache[where] = (len(code), None, code.splitlines(True), where)  # a system's version is a hash of its source
    exec(compile("\n" * line + code if not file else code, where, "exec"), names)


def run_command(command: str) -> None:
    words = shlex.split(command, comments=True)
    assert words[0] == "semcast", f"only semcast is run, not {words[0]}"
    with pytest.raises(SystemExit) as end:
        main(words[1:])
    assert end.value.code in (0, None), command


def commands(text: str) -> list[str]:
    return [line[2:] for line in text.replace("\\\n", " ").splitlines() if line.startswith("$ ")]


def with_blocks() -> list[object]:
    marks = {True: [pytest.mark.slow], False: []}
    return [pytest.param(page, id=page.name, marks=marks[page.name in SLOW]) for page in PAGES if blocks(page)]


@pytest.mark.parametrize("page", with_blocks())
def test_what_a_page_says_runs(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("constriction", "matplotlib"):
        pytest.importorskip(library)
    module = ModuleType("page")  # dataclasses look for the module of what they decorate
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = vars(module)
    monkeypatch.syspath_prepend(str(folder))
    for language, text, line in blocks(page):
        if language == "python":
            try:
                run_python(text, page, line, names)
            except sc.Missing as missing:
                if "pip install" not in str(missing):
                    raise
                print(f"{page.name}:{line} is left out: {missing}")
        else:
            assert commands(text), f"{page.name}:{line} has no command"
            for command in commands(text):
                run_command(command)


def test_the_readme_has_the_ten_lines_and_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 150
    (lines,) = [block[1] for block in blocks(ROOT / "README.md")]
    assert lines.count("\n") == 10


# ---- what pages name -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*PAGES, ROOT / "results" / "README.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    text = page.read_text(encoding="utf-8")
    included = [page.parent / name for name in re.findall(r"^```{include} (\S+)$", text, flags=re.MULTILINE)]
    headings = re.findall(r"^#+ (.*)$", "\n".join([text, *(path.read_text(encoding="utf-8") for path in included)]), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    """`codec/painter.py`, `src/...`, `tests/...` and `semcast.codec.painter`."""
    for name in re.findall(r"`([\w/]+/\w+\.py)`", page.read_text(encoding="utf-8")):
        assert (ROOT / "src" / "semcast" / name).is_file() or (ROOT / name).is_file(), f"{page.name}: {name}"
    for name in re.findall(r"`(semcast(?:\.\w+)+)`", page.read_text(encoding="utf-8")):
        assert is_there(name), f"{page.name}: {name}"


def is_there(name: str) -> bool:
    """Whether it is a module, or a name of one; entry point groups are called alike."""
    parts = name.split(".")[1:]
    for end in range(len(parts), 0, -1):
        stem = (ROOT / "src" / "semcast").joinpath(*parts[:end])
        file = stem.with_suffix(".py") if stem.with_suffix(".py").is_file() else stem / "__init__.py"
        if file.is_file():
            rest = parts[end:]
            return not rest or re.search(rf"\b{rest[0]}\b", file.read_text(encoding="utf-8")) is not None
    return name in ("semcast.systems", "semcast.codecs") or parts[0] in sc.__all__


def test_the_numbers_of_the_readme_are_those_of_the_results() -> None:
    """The rendered table has LPIPS at 10 dB as results/fig4.md has it; the table of systems has no numbers typed in."""
    held: dict[tuple[str, str], str] = {}
    columns: list[str] = []
    for line in (ROOT / "results" / "fig4.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[:2] == ["k", "system"]:
            columns = cells
        elif columns and cells[0].isdigit():
            held[cells[1], cells[0]] = cells[columns.index("10")].split()[0]
    shown = 0
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `") and line.count("|") == 3:
            assert not re.search(r"\d\.\d{2,}(?!\d)", re.sub(r"\(http\S+\)", "", line)), line
        elif line.startswith("| `"):
            name, small, large, *_ = [cell.strip() for cell in line.strip("|").split("|")]
            for k, said in (("64", small), ("640", large)):
                if re.fullmatch(r"[\d.]+", said):
                    assert said == held[name.strip("`"), k], f"{name} at k = {k}"
                    shown += 1
    assert shown == 11


def test_settings_that_the_page_on_training_names_are_those_of_the_recipes() -> None:
    """Of each line ``semcast train RECIPE ... --set KEY=VALUE`` the recipe and the key, whatever the shell makes of the value."""
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"semcast train ([\w-]+) (.*)", text)
    assert {name for name, _ in lines} == set(RECIPES)
    for name, options in lines:
        for key in re.findall(r"--set (\w+)=", options):
            assert f"{key}=" in refused_settings(name), (name, key)
    iterated = [name for name in RECIPES if issubclass(find(name), Recipe)]
    closed = {"linear", "knowledge", "tables", "features", "equaliser", "trust"}
    assert set(RECIPES) - set(iterated) == closed, "closed forms, as the page says"
    for name in iterated:
        assert override(find(name).defaults, ["shape=wsd", "decay=0.2", "warm=5", "floor=0.1"]).schedule.shape == "wsd"


def refused_settings(name: str) -> str:
    """The sentence that lists all settings of a recipe."""
    with pytest.raises(sc.BadInput, match="the settings are") as refused:
        override(find(name).defaults, ["nothing=1"])
    return str(refused.value)


@pytest.mark.slow
def test_the_site_is_made_without_warnings(tmp_path: Path) -> None:
    for library in ("sphinx", "myst_parser", "furo", "sphinx_copybutton"):
        pytest.importorskip(library)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-d", tmp_path / "trees"]
    command += ["-D", "toc_object_entries=0", "docs"]  # every function in the tree beside every page: two fifths of the time
    result = subprocess.run([*map(str, command), str(tmp_path / "site")], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    pages = {path.name for path in (tmp_path / "site").glob("*.html")}
    assert {"index.html", "tutorial.html", "generative.html", "rl-asc.html", "api.html", "results.html"} <= pages
    for page in (tmp_path / "site").rglob("*.html"):
        tags = r'(?:<script[^>]* src|<link rel="stylesheet"[^>]* href|<img[^>]* src)="(https?:[^"]*)"'
        fetched = re.findall(tags, page.read_text(encoding="utf-8"))
        assert not fetched, f"{page.name} cannot be read offline: {fetched}"
