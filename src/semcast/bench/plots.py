"""Plots out of records: a metric against SNR or bandwidth, mean and confidence band, the conventions under each.

Nothing is measured here. One colour a system and one line style a k, in every figure; a figure is written as PNG and as SVG,
the same bytes for the same records.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semcast.bench.records import Record
from semcast.bench.statistics import Interval, group, interval
from semcast.errors import BadInput, Missing
from semcast.files import whole

N = 3 * 256 * 256
CONVENTIONS = (
    "k complex symbols of data (2k real dimensions), pilots come on top; n = 3 · 256 · 256. SNR = Es/N0 per complex symbol, "
    "mean symbol power 1. PSNR per image on 8-bit values, then averaged; LPIPS: SqueezeNet at 256 px."
)
AXES = {
    "psnr_db": "PSNR (dB), higher is better",
    "ms_ssim": "MS-SSIM, higher is better",
    "lpips_squeeze": "LPIPS (SqueezeNet), lower is better",
    "lpips_vgg": "LPIPS (VGG16), lower is better",
    "identity": "identity (cosine), higher is better",
    "identity_2": "identity, second embedder, higher is better",
    "kid": "KID on face embeddings, lower is better",
    "outage": "outage (share of transmissions), lower is better",
    "miou": "mIoU of the set (judge), higher is better",
    "decoded": "share of files that show anything",
    "heard": "share of bursts whose header is read",
    "symbol_snr": "SNR of received symbols (dB)",
}
_COLOURS = {
    "sketch": "#cc79a7", "generative": "#0072b2", "linear-gan": "#d55e00", "linear": "#7a7a7a", "deepjscc": "#009e73",
    "deepjscc-perceptual": "#8a9a00", "avif": "#b0569a", "avif-capacity": "#5e2750", "digital-twin": "#56b4e9",
    "jpeg": "#a6761d", "jpeg2000": "#7570b3", "webp": "#e6ab02", "hevc": "#e7298a", "opta": "#111111",
    "code-flow": "#6a3d9a", "code-whitened": "#e69f00", "code-standardised": "#009e73", "code-pca": "#cc79a7",
    "rl-asc": "#d55e00", "uniform": "#0072b2", "area": "#009e73", "random": "#7a7a7a",
}  # fmt: skip
_MARKERS = {
    "sketch": "*", "generative": "o", "linear-gan": "s", "linear": "^", "deepjscc": "D", "deepjscc-perceptual": "v",
    "code-flow": "P", "code-whitened": "X", "code-standardised": "^", "code-pca": "v",
    "rl-asc": "o", "uniform": "s", "area": "^", "random": "v",
}  # fmt: skip
_SPARE = ("#66a61e", "#1b9e77", "#d95f02", "#a6cee3", "#666666")
_RC: Any = {
    "font.family": "DejaVu Sans", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.7, "axes.axisbelow": True, "axes.edgecolor": "#555555",
    "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left", "legend.frameon": False,
    "svg.hashsalt": "semcast", "figure.dpi": 100, "savefig.dpi": 150,
}  # fmt: skip


@dataclass(frozen=True, order=True)
class Curve:
    """One system at one k, as its records name it."""

    symbols: int
    system: str


@dataclass(frozen=True)
class Line:
    """What was computed rather than measured on photos: a value for each x."""

    label: str
    points: Mapping[float, float]
    colour: str = "#111111"
    style: str = "-."


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Args:
        title: over it.
        metric: a key of :data:`AXES`.
        curves: by label, the interval at each x (SNR in dB, or k).
        lines: computed curves.
        levels: horizontal reference lines by name.
    """

    title: str
    metric: str
    curves: Mapping[Curve, Mapping[float, Interval]]
    lines: Sequence[Line] = ()
    levels: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Axis:
    """An axis that is neither the SNR of systems nor k: logarithmic, or with base 0 linear."""

    label: str
    ticks: tuple[float, ...]
    base: int = 2


@dataclass(frozen=True)
class Page:
    """What stands around the panels.

    Args:
        heading: over them.
        notes: for the small print.
        trained: the SNR band of training; None: no SNR axis.
        axis: of every panel, instead of k.
        conventions: what the small print begins with.
    """

    heading: str
    notes: Sequence[str] = ()
    trained: tuple[float, float] | None = None
    axis: Axis | None = None
    conventions: str = CONVENTIONS


def against_snr(records: Sequence[Record], metric: str) -> dict[Curve, dict[float, Interval]]:
    """Group the metric's intervals by curve and SNR of the channel."""
    return _intervals(records, metric, lambda r: (Curve(r.symbols, r.system), r.snr_db))


def against_k(records: Sequence[Record], metric: str) -> dict[Curve, dict[float, Interval]]:
    """The metric's interval for each system and k; the curves' own k is 0."""
    return _intervals(records, metric, lambda r: (Curve(0, r.system), float(r.symbols)))


def _intervals(records: Sequence[Record], metric: str, place: Any) -> dict[Curve, dict[float, Interval]]:
    curves: dict[Curve, dict[float, Interval]] = {}
    for (curve, x), members in sorted(group(records, place).items()):
        if found := interval(members, metric):
            curves.setdefault(curve, {})[x] = found
    return curves


def ratio(symbols: int) -> str:
    """k / n as the papers write it.

    >>> ratio(64), ratio(640), ratio(8192)
    ('1/3072', '10/3072', '1/24')
    """
    thousandths = symbols * 3072 / N
    return f"{thousandths:.0f}/3072" if thousandths < 100 and thousandths == round(thousandths) else f"1/{N / symbols:.0f}"


def draw(panels: Sequence[Panel], page: Page, stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``: the panels beside one another, one legend, the conventions below.

    Raises:
        SemcastError: matplotlib is not installed, there is nothing to draw, or a file cannot be written.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise Missing("the figures need matplotlib: pip install 'semcast[plots]'") from None
    if not any(panel.curves or panel.lines for panel in panels):
        raise BadInput(f"there is nothing to draw in {stem.name}: no system was measured")
    with rc_context(_RC):
        across = min(len(panels), 2) if len(panels) != 3 else 3
        down = -(-len(panels) // across)
        beside = 1.35 if _names_outside(panels) else 0.0
        width = 3.4 + 5.6 * across + beside
        bottom = 0.55 + 0.17 * len(_small_print(page, panels, width))
        entries = len(_handles(panels)[0])  # beside the panels: a long legend must end above the small print
        height = max(1.3 + 4.2 * down, 0.95 + 0.168 * entries + bottom - 0.45)
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            down, across, left=0.72 / width, right=1 - (3.0 + beside) / width, bottom=bottom / height, top=1 - 0.75 / height,
            wspace=0.2, hspace=0.32,
        )  # fmt: skip
        for i, panel in enumerate(panels):
            _axes(figure.add_subplot(grid[i // across, i % across]), panel, page, beside > 0)
        figure.text(0.72 / width, 1 - 0.3 / height, page.heading, fontsize=14, weight="bold", va="center")
        figure.text(
            0.72 / width, 0.08 / height, "\n".join(_small_print(page, panels, width)), fontsize=7.5, color="#555555", va="bottom"
        )
        _legend(figure, panels, (1 - 2.85 / width, 1 - 0.75 / height))
        return _save(figure, stem)


def _save(figure: Any, stem: Path) -> list[Path]:
    paths = []
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None, "Creator": None})):
        path = stem.with_name(stem.name + suffix)
        with whole(path) as file:
            figure.savefig(file, format=suffix[1:], metadata=metadata)
        paths.append(path)
    return paths


def _axes(axes: Any, panel: Panel, page: Page, outside: bool) -> None:
    snr_axis = page.trained is not None
    if page.trained:
        axes.axvspan(*page.trained, color="#f3f1e7", zorder=0, lw=0)
    for curve, points in panel.curves.items():
        x = sorted(points)
        look = _look(curve, panel)
        axes.plot(x, [points[i].mean for i in x], **look)
        axes.fill_between(
            x, [points[i].low for i in x], [points[i].high for i in x], color=look["color"], alpha=0.1, lw=0, zorder=1
        )
    measured = axes.get_ylim()
    for line in panel.lines:
        x = sorted(line.points)
        axes.plot(x, [line.points[i] for i in x], color=line.colour, ls=line.style, lw=1.2, zorder=2)
    if panel.curves:  # a bound far above what anybody reaches must not squeeze the rest
        low, high = _room(measured, panel)
        axes.set_ylim(low, high)
    ends = sorted({x for points in panel.curves.values() for x in points} | {x for line in panel.lines for x in line.points})
    if snr_axis:
        axes.set_xlim(ends[0] - 0.5, ends[-1] + 0.5)
        axes.set_xlabel("SNR = Es/N0 (dB)")
    elif page.axis:
        if page.axis.base:
            axes.set_xscale("log", base=page.axis.base)
        axes.set_xticks(page.axis.ticks, [f"{x:g}" for x in page.axis.ticks], fontsize=8)
        axes.minorticks_off()
        axes.set_xlabel(page.axis.label)
    else:
        axes.set_xscale("log", base=2)
        axes.set_xticks(ends, [f"{x:.0f}\n{ratio(int(x))}" for x in ends], fontsize=8)
        axes.minorticks_off()
        axes.set_xlabel("k, and k / n")
    for level in panel.levels.values():
        axes.axhline(level, color="#444444", lw=0.9, ls=(0, (1, 2)), zorder=1)
    if outside:
        _name_levels(axes, panel.levels)
    else:
        for name, level in panel.levels.items():
            axes.annotate(
                name, (0.01, level), xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points",
                fontsize=7.5, color="#444444",
            )  # fmt: skip
    axes.set_ylabel(AXES[panel.metric])
    axes.set_title(panel.title, fontsize=11)


def _names_outside(panels: Sequence[Panel]) -> bool:
    """Whether reference lines are named to the right of the axes: there is one panel, so there is room."""
    return len(panels) == 1 and bool(panels[0].levels)


def _name_levels(axes: Any, levels: Mapping[str, float], gap: float = 0.036) -> None:
    """Names right of the axes, from the bottom up, moved apart where their lines are close."""
    low, high = axes.get_ylim()
    at = -gap
    for name, level in sorted(levels.items(), key=lambda item: item[1]):
        height = (level - low) / (high - low)
        at = max(height, at + gap)
        axes.annotate(
            name, (1, height), xycoords="axes fraction", xytext=(1.035, at), textcoords="axes fraction", fontsize=7.5,
            va="center", color="#444444",
            arrowprops={"arrowstyle": "-", "color": "#999999", "lw": 0.6, "shrinkB": 0, "relpos": (0, 0.5)},
        )  # fmt: skip


def _room(measured: tuple[float, float], panel: Panel) -> tuple[float, float]:
    low, high = min([measured[0], *panel.levels.values()]), max([measured[1], *panel.levels.values()])
    space = 0.04 * (high - low)
    return low - space * bool(panel.levels), high + (0.1 * (high - low) if panel.lines else space * bool(panel.levels))


def _look(curve: Curve, panel: Panel) -> dict[str, Any]:
    """Colour by system, line style by k; a fixed scheme of a codec has its codec's colour, paler and thin."""
    fixed = ":" in curve.system
    family = curve.system.partition(":")[0]
    spare = sorted({c.system for c in panel.curves if c.system not in _COLOURS and ":" not in c.system})
    colour = _COLOURS.get(family) or _SPARE[spare.index(curve.system) % len(_SPARE)]
    return {
        "color": colour, "ls": _style(curve.symbols), "lw": 1.0 if fixed else 1.8, "alpha": 0.75 if fixed else 1.0,
        "marker": _fixed_marker(curve, panel) if fixed else _MARKERS.get(family), "ms": 4, "zorder": 3,
    }  # fmt: skip


def _style(symbols: int) -> Any:
    if symbols == 0 or symbols >= 4000:
        return "-"
    return (0, (5, 2)) if symbols >= 200 else (0, (1.2, 1.4))


def _fixed_marker(curve: Curve, panel: Panel) -> str:
    names = sorted({c.system for c in panel.curves if ":" in c.system})
    return "x+*1234"[names.index(curve.system) % 7]


def _handles(panels: Sequence[Panel]) -> tuple[list[Any], list[int]]:
    """Entries of the legend, and which of them are headings: systems under each k, the longest burst first."""
    from matplotlib.lines import Line2D

    looks: dict[Curve, dict[str, Any]] = {}
    for panel in panels:
        for curve in panel.curves:
            looks.setdefault(curve, _look(curve, panel))
    handles: list[Any] = []
    titles = []
    sizes = sorted({curve.symbols for curve in looks}, reverse=True)
    for symbols in sizes:
        if symbols:
            titles.append(len(handles))
            handles.append(Line2D([], [], ls="", label=f"k = {symbols} (k / n = {ratio(symbols)})"))
        for curve in sorted(looks):
            if curve.symbols == symbols:
                handles.append(Line2D([], [], label=curve.system, **looks[curve]))
    computed = {line.label: line for panel in panels for line in panel.lines}
    if computed:
        titles.append(len(handles))
        handles.append(Line2D([], [], ls="", label="Gaussian model"))
        handles += [Line2D([], [], color=x.colour, ls=x.style, lw=1.2, label=name) for name, x in computed.items()]
    return handles, titles


def _legend(figure: Any, panels: Sequence[Panel], place: tuple[float, float]) -> None:
    """One for the page."""
    handles, titles = _handles(panels)
    legend = figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=place, fontsize=8.5, handlelength=2.8, labelspacing=0.35
    )
    for i in titles:
        legend.get_texts()[i].set_weight("bold")


def _small_print(page: Page, panels: Sequence[Panel], width: float) -> list[str]:
    counts = {found.count for panel in panels for points in panel.curves.values() for found in points.values()}
    few, many = (min(counts), max(counts)) if counts else (0, 0)
    photos = f"{many} photos" if few == many else f"{few} to {many} photos"
    text = [page.conventions, f"Lines: means; bands: 95 % bootstrap over {photos}."]
    if page.trained:
        text.append(f"Shaded: SNR that the learned systems were trained for, {page.trained[0]:g} to {page.trained[1]:g} dB.")
    return textwrap.wrap(" ".join([*text, *page.notes]), int((width - 0.9) * 15.2))
