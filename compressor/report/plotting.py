"""Figures that look alike and come out the same, byte for byte, from the same numbers.

matplotlib is imported late and used through its objects only: no pyplot, no window, no
state left behind, whatever the user's own matplotlibrc says. One drawing serves the page, the
.svg and the .png: it is as wide as a telephone, and on the page its colours and its font are the
style sheet's.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.report.content import Pictures, Report

_DPI = 220
WIDTH, _HEIGHT = 4.2, 3.1  # inches
SMALL = 8.5  # points of the smallest text

# Dark enough to be read as text on white, and told apart with any colour vision: Okabe and Ito
# (2008), "Color Universal Design", darkened. The style sheet has each again, for light and dark.
COLOURS = {
    "ink": "#1b2430",
    "muted": "#57646f",
    "grid": "#dfe5ea",
    "paper": "#fdfefe",
    "blue": "#0f62a6",
    "vermillion": "#c04a0b",
    "green": "#0b7a58",
    "purple": "#8f4d8b",
    "orange": "#a86a00",
    "sky": "#2b8fc7",
    "red": "#c2201f",
    "faint": "#a9cbe6",
}  # In the order above.
INK, MUTED, GRID, PAPER, BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, RED, FAINT = COLOURS.values()
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK)
MARKERS = "osD^vPX"
BEFORE, AFTER = FAINT, BLUE
OF_FORMAT = {"tflite": (PURPLE, "v"), "onnx": (ORANGE, "^")}
"""colour and marker of the artefacts of a format"""

_GROUND = "#ffffff"

_SETTINGS = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9.5,
    "text.color": INK,
    # A name is a name, whatever dollar signs are in it.
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.linewidth": 0.8,
    "axes.labelsize": 9.5,
    "figure.facecolor": _GROUND,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    # Text stays text: it can be searched, read aloud, and tested.
    "svg.fonttype": "none",
    # Element ids are hashes; without a fixed salt they differ from run to run.
    "svg.hashsalt": "compressor",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw and save within: matplotlib's defaults and our settings, restored afterwards."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # A name may have letters that the font has not; the browser has others.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def new_figure(width: float = WIDTH, height: float = _HEIGHT) -> tuple[Any, Any]:
    """A figure of that many inches with one pair of axes; what it shows is said beside it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04)
    figure = Figure(figsize=(width, height), dpi=_DPI, layout=engine)
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def legend_above(axes: Any, columns: int = 3, last: str = "", end: str = "left") -> None:
    """A legend above the axes, where it covers no data; `last` ends it.

    It begins at their left `end`, or ends at the right one, for long labels over narrow axes.
    """
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i] == last)
    if labels:
        axes.legend(
            [handles[i] for i in order],
            [labels[i] for i in order],
            loc=f"lower {end}",
            bbox_to_anchor=(-0.02 if end == "left" else 1.0, 1.0),
            ncols=min(columns, len(labels)),
            borderaxespad=0.2,
            handlelength=1.6,
            columnspacing=1.2,
        )


def plain_log_axis(axis: Any, ticks: Sequence[float] = (1, 2, 5)) -> None:
    """Ticks of a logarithmic axis at `ticks` of each decade, as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(base=10, subs=ticks, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_locator(NullLocator())


def percent_axis(axes: Any, label: str, lowest: float = 0) -> None:
    """An x axis from `lowest` to 100 %."""
    axes.set_xlim(lowest, 100)
    axes.set_xticks(range(0, 101, 20), [f"{percent} %" for percent in range(0, 101, 20)])
    axes.set_xlabel(label)


def size_line(axes: Any, size: float, name: str) -> None:
    """A dashed line at a size, named beside the axes, where no curve is."""
    axes.axhline(size, color=MUTED, lw=1.0, linestyle=(0, (4, 3)), zorder=1)
    look = {"xycoords": ("axes fraction", "data"), "va": "center", "color": MUTED}
    note(axes, f"{name}\n{size:.1f}", (1, size), (4, 0), **look)


def note(
    axes: Any, text: str, place: tuple[float, float], offset: tuple[float, float], **look: Any
) -> None:
    """A small text `offset` points from `place`."""
    axes.annotate(text, place, xytext=offset, textcoords="offset points", fontsize=SMALL, **look)


@dataclass(frozen=True)
class Drawn:
    """A figure in both formats, without dates; the PNG has 220 dpi."""

    png: bytes
    svg: bytes


def drawn(figure: Any) -> Drawn:
    """Render a figure, within `style()`."""
    rendered = []
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=_DPI, metadata=metadata)
        rendered.append(content.getvalue())
        # Laid out once, for both formats alike.
        figure.set_layout_engine("none")
    return Drawn(*rendered)


def files_of(found: Drawn, directory: Path, name: str) -> dict[Path, bytes]:
    """`name`.png and `name`.svg in `directory`, to be written."""
    return {directory / f"{name}.png": found.png, directory / f"{name}.svg": found.svg}


def draw(report: Report) -> Mapping[str, Drawn]:
    """Draw every figure of the report, by name.

    The same report gives the same bytes with the same version of matplotlib.
    """
    with style():
        return {figure.name: drawn(figure.draw()) for figure in report.figures()}


def picture_files(
    report: Report, drawings: Mapping[str, Drawn], directory: Path
) -> dict[Path, bytes]:
    """The pictures in `directory` that the Markdown links to, to be written.

    Figures as PNG (220 dpi) and SVG, images as PNG.
    """
    files: dict[Path, bytes] = {}
    for figure in report.figures():
        files |= files_of(drawings[figure.name], directory, figure.name)
    for block in report.blocks():
        for picture in block.pictures if isinstance(block, Pictures) else ():
            files[directory / f"{picture.name}.png"] = picture.png
    return files


def inline_svg(found: Drawn, name: str, title: str) -> str:
    """The figure as an <svg> element for a page: named, coloured by its style sheet, no ids shared.

    `name` is a file name of ours; `title` is escaped here.
    """
    from markupsafe import escape

    text = found.svg.decode()
    text = text[text.index("<svg") :]
    start, _, rest = text.partition("<metadata>")
    text = start.rstrip() + rest.partition("</metadata>")[2]
    tag, _, rest = text.partition(">")
    text = re.sub(r' (?:width|height)="[^"]*"', "", tag) + ">" + rest
    text = _own_ids(text, name)
    # Within tags only, so that no word is changed; hundredths of a point are enough.
    text = re.sub(r"<[^<>]+>", lambda tag: _styled(tag[0]), text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1).strip()


def _styled(tag: str) -> str:
    """A tag with the colours and the font of the style sheet, on the page's own ground."""
    for colour, value in COLOURS.items():
        tag = tag.replace(value, f"var(--{colour})")
    tag = tag.replace(f"fill: {_GROUND}", "fill: none")
    tag = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", tag)
    return re.sub(r"(\d\.\d{2})\d+", r"\1", tag)


def _own_ids(text: str, name: str) -> str:
    """Drop ids that nothing refers to, and give the others the figure's name."""
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))

    def own(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    text = re.sub(r'\sid="([^"]*)"', own, text)
    return re.sub(r'(href="|url\()#', rf"\1#{name}-", text)


def means_and_whiskers(
    values: Sequence[Sequence[float]],
) -> tuple[list[float], list[list[float]] | None]:
    """The mean of each group and how far its range reaches below and above, (2, groups).

    None where no group has a range: matplotlib would draw the caps all the same.
    """
    means = [sum(group) / len(group) for group in values]
    below = [max(mean - min(group), 0.0) for mean, group in zip(means, values, strict=True)]
    above = [max(max(group) - mean, 0.0) for mean, group in zip(means, values, strict=True)]
    return means, [below, above] if any(below) or any(above) else None
