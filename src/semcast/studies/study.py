"""``reproduce(study, photos, out)``: one contract for every study.

A study is an object: what it is called, what must be there before it begins, and what it does. Everything is checked before
any work is done; a folder that holds results is gone on with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from semcast.domains import domain_named
from semcast.errors import BadInput, Missing
from semcast.metrics.report import Metrics
from semcast.sources import Source, find_photos
from semcast.studies import codec_run, faces, on_air
from semcast.studies.run import Track, describe_run, ready_folder, untracked

LEAST = 4
"""Photos that the study of privacy needs: its attacker learns on half of them."""


@dataclass(frozen=True)
class Photos:
    """How much a study measures that has no other choice: so many photos at most; None: all."""

    photos: int | None


@dataclass(frozen=True)
class Asked:
    """What somebody asked for, checked; the arguments of :func:`reproduce`."""

    name: str
    sources: Sequence[Source]
    out: Path
    quick: bool
    domain: str
    identity: tuple[Path, ...]
    size: Any
    options: dict[str, Any] = field(default_factory=dict)

    def metrics(self) -> Metrics:
        """Load what is measured, and say what is left out."""
        metrics = Metrics.load(self.identity, vgg=False)
        for note in metrics.notes:
            self.options["say"](note)
        return metrics


Do = Callable[[Asked], list[Path]]


@dataclass(frozen=True)
class Study:
    """One study.

    Args:
        name: on the command line.
        about: in a line.
        do: measures and writes; returns what was written.
        sizes: how much is measured, and how much with ``quick``.
        draws: whether it needs matplotlib.
        masks: whether its photos need masks.
        least: photos that it needs.
    """

    name: str
    about: str
    do: Do
    sizes: tuple[Any, Any]
    draws: bool = True
    masks: bool = False
    least: int = 1

    def check(self, asked: Asked) -> None:
        """Raise SemcastError where it would find out later that something is missing."""
        if self.draws and find_spec("matplotlib") is None:
            raise Missing("the figures need matplotlib: pip install 'semcast[plots]'")
        if len(asked.sources) < self.least:
            raise BadInput(f"the study {self.name} needs at least {self.least} photos, not {len(asked.sources)}")
        if self.masks and (bare := next((s for s in asked.sources if s.mask is None), None)) is not None:
            raise BadInput(f"the study {self.name} needs photos with masks, as a shard has them: {bare.name} has none")
        domain_named(asked.domain)
        for path in asked.identity:
            if not path.is_file():
                raise Missing(f"{path} does not exist")


def reproduce(
    study: str, photos: Any, out: Path | str = "results", *, quick: bool = False, limit: int | None = None, force: bool = False,
    domain: str = "street", identity: Sequence[Path | str] = (), workers: int | str = 1, seed: int = 0,
    say: Callable[[str], None] = lambda text: None, track: Track = untracked, command: str = "",
) -> list[Path]:  # fmt: skip
    """Measure again what the documents show of a study; returns what was written.

    Args:
        study: one of :data:`STUDIES`, or ``all`` of the figures.
        photos: a folder, a shard, or a list of those; faces that are cropped already, for ``rl-asc`` of ``domain``.
        out: the folder; where it holds results it is gone on with.
        quick: few photos and few points: minutes, wide intervals.
        limit: the first photos alone.
        force: measure everything afresh.
        domain: of ``rl-asc``.
        identity: ONNX face recognisers.
        workers: processes of this computer, or the address of a dask scheduler.
        seed: of all that is drawn.
        say: hears one line at a time.
        track: opens a progress bar.
        command: what the user typed, for ``run.json``.

    Raises:
        BadInput: the study is unknown, or something that it needs is missing.
        SemcastError: the folder holds results of other weights, or no photo can be used.
    """
    chosen = choose(study)
    paths = [Path(each) for each in ([photos] if isinstance(photos, (str, Path)) else photos)]
    if (gone := next((path for path in paths if not path.exists()), None)) is not None:
        raise Missing(f"{gone} does not exist")
    size = chosen[0].sizes[quick]
    found = find_photos(paths, limit or size.photos)
    for note in found.notes:
        say(note)
    asked = Asked(
        study, found, Path(out), quick, domain,
        tuple(Path(path) for path in identity), size,
        {"force": force, "seed": seed, "workers": workers, "say": say, "track": track, "command": command},
    )  # fmt: skip
    for each in chosen:
        each.check(asked)
    ready_folder(asked.out, study)
    return list(dict.fromkeys(chosen[0].do(asked)))


def choose(study: str) -> list[Study]:
    """Give the study of that name; of ``all``, the figures.

    Raises:
        BadInput: there is none.
    """
    if study != "all" and study not in STUDIES:
        raise BadInput(f"unknown study {study!r}; known: {', '.join(STUDIES)}, all")
    return [STUDIES[name] for name in FIGURES] if study == "all" else [STUDIES[study]]


# ---- what they do ----------------------------------------------------------------------------------------------------


def _draw_figures(asked: Asked) -> list[Path]:
    from semcast.studies import ablations, figures, rivals

    makers: Mapping[str, Callable[[faces.FaceRun], None]] = {
        "fig3": figures.fig3, "fig4": figures.fig4, "fig5": figures.fig5, "fading": figures.fading,
        "mismatch": figures.mismatch, "rivals": rivals.rivals, "ablations": ablations.ablations,
    }  # fmt: skip
    run = faces.FaceRun(sources=asked.sources, out=asked.out, size=asked.size, metrics=asked.metrics(), **asked.options)
    names = FIGURES if asked.name == "all" else (asked.name,)
    for name in names:
        makers[name](run)
    if set(names) & {"fig3", "fig4", "fig5"}:
        figures.write_claims(run)
    run.write("run.json", describe_run(run.out / "run.json", names, run.command, run.size, run.sources))
    return run.written


def _measure_codec(asked: Asked) -> list[Path]:
    from semcast.studies.codec import measure_codec

    run = codec_run.load_run(asked.domain, asked.sources, asked.out, asked.size, **asked.options)
    measure_codec(run)
    run.write("run.json", describe_run(run.out / "run.json", [asked.name], run.command, run.size, run.sources))
    return run.written


def _measure_link(asked: Asked) -> list[Path]:
    from semcast.api import load
    from semcast.generative.system import Generative
    from semcast.networks.segmenter import FaceParser
    from semcast.studies.link import LinkRun, measure_link

    link, *others = (load(name, device="cpu") for name in ("generative", "linear-gan", "linear"))
    assert isinstance(link, Generative)
    run = LinkRun(sources=asked.sources, out=asked.out, link=link, others=tuple(others), parser=FaceParser.load(),
                  metrics=asked.metrics(), **asked.options)  # fmt: skip
    measure_link(run)
    return run.written


def _measure_privacy(asked: Asked) -> list[Path]:
    from semcast.generative.system import Generative
    from semcast.privacy.knowledge import KnowledgeBase
    from semcast.studies.privacy import PrivacyRun, measure_privacy

    half = len(asked.sources) // 2  # the attacker learns on the first half of the photos and is tested on the second
    run = PrivacyRun(sources=asked.sources[half:], learn=asked.sources[:half], out=asked.out, link=Generative.load(),
                     knowledge=KnowledgeBase.load(), metrics=asked.metrics(), **asked.options)  # fmt: skip
    measure_privacy(run)
    return run.written


def _measure_on_air(asked: Asked) -> list[Path]:
    from semcast.studies.on_air import OnAirRun, measure_on_air

    run = OnAirRun(sources=asked.sources, out=asked.out, size=faces.QUICK, air=asked.size, metrics=asked.metrics(),
                   **asked.options)  # fmt: skip
    measure_on_air(run)
    run.write("run.json", describe_run(run.out / "run.json", [asked.name], run.command, run.air, run.sources))
    return run.written


FIGURES = ("fig3", "fig4", "fig5", "fading", "rivals", "ablations")
"""The studies that ``all`` runs."""
_PHOTOS, _FACES, _CODEC = (Photos(None), Photos(8)), (faces.FULL, faces.QUICK), (codec_run.FULL, codec_run.QUICK)
STUDIES: dict[str, Study] = {study.name: study for study in (
    Study("fig3", "PSNR against SNR", _draw_figures, _FACES),
    Study("fig4", "LPIPS against SNR", _draw_figures, _FACES),
    Study("fig5", "with and without the flow", _draw_figures, _FACES),
    Study("fading", "block Rayleigh fading", _draw_figures, _FACES),
    Study("mismatch", "transmitters that expect another SNR", _draw_figures, _FACES),
    Study("rivals", "the links at equal bandwidth", _draw_figures, _FACES),
    Study("ablations", "one thing changed at a time", _draw_figures, _FACES, draws=False),
    Study("link", "what the generative link can do at best and at least", _measure_link, _PHOTOS, draws=False, masks=True),
    Study("privacy", "what each protection gives away", _measure_privacy, _PHOTOS, draws=False, least=LEAST),
    Study("on-air", "the waveform and its receiver against the ideal channel", _measure_on_air, (on_air.FULL, on_air.QUICK)),
    Study("rl-asc", "the semantic codec against others", _measure_codec, _CODEC),
)}  # fmt: skip
"""Every study by name."""
