"""The verb that measures again what the documents show: reproduce."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from semcast.cli.console import say, show, track
from semcast.cli.inputs import check_inputs
from semcast.cli.options import WRITING, CodedDomain, Identity, among
from semcast.errors import SemcastError

STUDIES = ("link", "fig3", "fig4", "fig5", "fading", "rivals", "ablations", "all", "privacy", "rl-asc")
Study = Annotated[
    str,
    typer.Argument(metavar="STUDY", show_default=False, autocompletion=among(*STUDIES),
                   help="link, fig3, fig4, fig5, fading, rivals, ablations, all (of the figures), privacy or rl-asc."),
]  # fmt: skip
Faces = Annotated[
    Path,
    typer.Argument(metavar="FOLDER|SHARD.tar", help="Aligned faces; for link and rl-asc with masks.", show_default=False),
]
Folder = Annotated[
    Path,
    typer.Option("-o", "--out", metavar="DIR", rich_help_panel=WRITING,
                 help="The folder, where what was measured is gone on with; for link the report, REPORT.json."),
]  # fmt: skip
Again = Annotated[bool, typer.Option("--force", "-f", help="Measure everything afresh.", rich_help_panel=WRITING)]
Quick = Annotated[bool, typer.Option("--quick", help="Few photos and few points: minutes, wide intervals.")]
Few = Annotated[
    int | None, typer.Option(min=2, metavar="N", help="The first N photos (100; 6 with --quick).", show_default=False)
]


def reproduce(
    study: Study,
    photos: Faces,
    out: Folder = Path("results"),
    force: Again = False,
    quick: Quick = False,
    limit: Few = None,
    domain: CodedDomain = "street",
    identity: Identity = None,
) -> None:
    """Measure again what the documents show: the paper's figures, fading, the rivals; privacy; the codec; or the link.

    [cyan]semcast reproduce all faces256/test-000.tar --quick -o quick[/cyan]
    [cyan]semcast reproduce fig3 faces256/test-000.tar --limit 100 -o results[/cyan]
    [cyan]semcast reproduce link faces256/test-000.tar --limit 100 -o link.json[/cyan]
    [cyan]semcast reproduce rl-asc street256/test-000.tar --domain street -o results/rl-asc[/cyan]
    [cyan]semcast reproduce privacy faces256/test-000.tar --identity mobileface_v2.onnx -o privacy[/cyan]
    """
    if study not in STUDIES:
        figures = ", ".join(name for name in STUDIES if name not in ("link", "privacy", "rl-asc", "all"))
        raise SemcastError(f"unknown study {study!r}; known: link, privacy, rl-asc, {figures}, all")
    if study in ("link", "privacy") and quick:
        raise SemcastError(f"--quick is for the figures; give {study} a --limit")
    check_inputs([photos])
    from semcast.networks.precision import use_threads

    use_threads()
    options = ["--quick"] * quick + (["--limit", str(limit)] if limit else [])
    options += [part for embedder in identity or () for part in ("--identity", embedder.name)]
    if study == "rl-asc":
        _reproduce_codec(photos, out, force, quick, limit, domain, options)
    elif study == "link":
        _reproduce_link(photos, out, force, limit, identity)
    elif study == "privacy":
        _reproduce_privacy(photos, out, force, limit, identity)
    else:
        _reproduce_figures(study, photos, out, force, quick, limit, identity, options)


def _reproduce_figures(
    study: str, photos: Path, out: Path, force: bool, quick: bool, limit: int | None, identity: list[Path] | None,
    options: list[str],
) -> None:  # fmt: skip
    from semcast.sources import find_photos
    from semcast.studies.figures import FULL, QUICK, Bench
    from semcast.studies.figures import reproduce as measure

    size = QUICK if quick else FULL
    sources = find_photos([photos], limit or size.photos)
    metrics = _metrics(identity)
    command = " ".join(["semcast reproduce", study, photos.name, *options, "-o", out.name])
    bench = Bench(sources, out, size, metrics, say=say, track=track, force=force, command=command)
    for path in dict.fromkeys(measure(study, bench)):
        say(f"written: {path}")


def _reproduce_codec(
    photos: Path, out: Path, force: bool, quick: bool, limit: int | None, domain: str, options: list[str]
) -> None:
    from semcast.sources import find_photos
    from semcast.studies import codec as rl_asc
    from semcast.studies.figures import ready_folder

    ready_folder(out, rl_asc.STUDY)
    size = rl_asc.QUICK if quick else rl_asc.FULL
    command = " ".join(["semcast reproduce", rl_asc.STUDY, photos.name, "--domain", domain, *options, "-o", out.name])
    sources = find_photos([photos], limit or size.photos)
    study = rl_asc.load_study(domain, sources, out, size, say=say, track=track, force=force, command=command)
    for path in dict.fromkeys(rl_asc.reproduce(study)):
        say(f"written: {path}")


def _reproduce_link(photos: Path, out: Path, force: bool, limit: int | None, identity: list[Path] | None) -> None:
    from semcast.api import load_system
    from semcast.files import check_file
    from semcast.networks.segmenter import FaceParser
    from semcast.studies.link import load_study, study_link

    check_file(out, force, ".json")
    systems = tuple(load_system(name).eval() for name in ("generative", "linear-gan", "linear"))
    report = study_link(load_study(photos, systems, FaceParser.load(), _metrics(identity), limit), say)
    _write_report(out, report)


def _reproduce_privacy(photos: Path, out: Path, force: bool, limit: int | None, identity: list[Path] | None) -> None:
    from semcast.files import check_file
    from semcast.generative.system import Generative
    from semcast.photos import check_output, write_image
    from semcast.sources import find_photos
    from semcast.studies.privacy import bench_of, study_privacy

    if not out.exists() and out.parent.is_dir():
        out.mkdir()
    report_file, picture_file = out / "privacy.json", out / "privacy.png"
    check_file(report_file, force, ".json")
    check_output(picture_file, force)
    report, picture = study_privacy(bench_of(Generative.load(), _metrics(identity), find_photos([photos], limit)), say)
    write_image(picture_file, picture)
    _write_report(report_file, report)


def _metrics(identity: list[Path] | None) -> Any:
    from semcast.metrics.report import Metrics

    metrics = Metrics.load(identity, vgg=False)
    for note in metrics.notes:
        say(note)
    return metrics


def _write_report(out: Path, report: Any) -> None:
    from rich.json import JSON

    from semcast.files import whole

    with whole(out) as file:
        file.write((json.dumps(report, indent=1) + "\n").encode())
    show(JSON(json.dumps(report)))
