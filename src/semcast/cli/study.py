"""The verbs about what the documents show: reproduce measures it again, report renders it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcast.cli.console import say, track
from semcast.cli.inputs import check_input, check_inputs
from semcast.cli.options import WRITING, CodedDomain, Identity, Scheduler, Workers, among, who_measures
from semcast.errors import BadInput, Missing, Unfinished

STUDIES = ("fig3", "fig4", "fig5", "fading", "mismatch", "rivals", "ablations", "all", "link", "privacy", "rl-asc", "on-air")
StudyName = Annotated[
    str,
    typer.Argument(metavar="STUDY", show_default=False, autocompletion=among(*STUDIES),
                   help=f"{', '.join(STUDIES[:-1])} or {STUDIES[-1]}; all is all of the figures."),
]  # fmt: skip
StudyPhotos = Annotated[
    Path,
    typer.Argument(metavar="FOLDER|SHARD.tar", help="Aligned faces; for link and rl-asc with masks.", show_default=False),
]
Folder = Annotated[
    Path,
    typer.Option("-o", "--out", metavar="DIR", rich_help_panel=WRITING,
                 help="The folder, where what was measured is gone on with."),
]  # fmt: skip
Again = Annotated[bool, typer.Option("--force", "-f", help="Measure everything afresh.", rich_help_panel=WRITING)]
Quick = Annotated[bool, typer.Option("--quick", help="Few photos and few points: minutes, wide intervals.")]
Few = Annotated[
    int | None, typer.Option(min=2, metavar="N", help="The first N photos (100; 6 with --quick).", show_default=False)
]


def reproduce(
    study: StudyName,
    photos: StudyPhotos,
    out: Folder = Path("results"),
    force: Again = False,
    quick: Quick = False,
    limit: Few = None,
    domain: CodedDomain = "street",
    identity: Identity = None,
    workers: Workers = 1,
    scheduler: Scheduler = None,
) -> None:
    """Measure again what the documents show: the paper's figures, fading, the rivals; privacy; the codec; or the link.

    [cyan]semcast reproduce all faces256/test-000.tar --quick -o quick[/cyan]
    [cyan]semcast reproduce fig3 faces256/test-000.tar --limit 100 -o results[/cyan]
    [cyan]semcast reproduce link faces256/test-000.tar --limit 100 -o link[/cyan]
    [cyan]semcast reproduce rl-asc street256/test-000.tar --domain street -o results/rl-asc[/cyan]
    [cyan]semcast reproduce on-air faces256/test-000.tar -o results/on-air[/cyan]
    [cyan]semcast reproduce privacy faces256/test-000.tar --identity mobileface_v2.onnx -o privacy[/cyan]
    """
    who = who_measures(workers, scheduler)
    if study not in STUDIES:
        raise BadInput(f"unknown study {study!r}; known: {', '.join(STUDIES)}")
    check_inputs([photos])
    report = out if study == "link" and out.suffix == ".json" else None  # its one file, as it was asked for before
    if report:
        from semcast.files import check_file

        check_file(report, force, ".json")
    from semcast.networks.precision import use_threads
    from semcast.studies.study import reproduce as measure

    use_threads()
    options = ["--domain", domain] * (study == "rl-asc") + ["--quick"] * quick + (["--limit", str(limit)] if limit else [])
    options += [part for embedder in identity or () for part in ("--identity", embedder.name)]
    written = measure(
        study, photos, report.parent if report else out, quick=quick, limit=limit, force=force, domain=domain,
        identity=identity or (), workers=who, say=say, track=track,
        command=" ".join(["semcast reproduce", study, photos.name, *options, "-o", out.name]),
    )  # fmt: skip
    for path in written:
        say(f"written: {path.replace(report) if report and path.name == 'link-report.json' else path}")


def report(
    results: Annotated[
        Path, typer.Argument(metavar="[RESULTS]", help="The folder of records.")
    ] = Path("results"),
    documents: Annotated[
        list[Path] | None,
        typer.Option("--document", metavar="X.md", show_default="README.md and docs/*.md beside RESULTS, and its own",
                     rich_help_panel=WRITING,
                     help="A document that shows tables of it; may be given several times."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 2 where a table or a document is not current.")
    ] = False,
) -> None:  # fmt: skip
    """Render every table and figure of the documents out of the records; nothing is measured.

    A folder docs/gallery beside RESULTS is made anew where its pictures are of other weights.

    [cyan]semcast report[/cyan]
    [cyan]semcast report --check[/cyan]
    """
    if not results.is_dir():
        raise Missing(f"the folder {results} does not exist")
    beside = results.resolve().parent
    likely = (beside / "README.md", results / "README.md", *sorted((beside / "docs").glob("*.md")))
    found = documents or [path for path in likely if path.is_file()]
    for path in found:
        check_input(path)
    from semcast.studies.report import report as render

    stale = render(results, found, check=check)
    gallery = beside / "docs" / "gallery"
    if gallery.is_dir():
        from semcast.web.gallery import renew

        stale += renew(gallery, check=check)
    if check and stale:
        raise Unfinished(f"not current: {', '.join(map(str, stale))} (semcast report renders them)")
    for path in stale:
        say(f"written: {path}")
    say("everything is current" if check or not stale else f"{len(stale)} files are new")
