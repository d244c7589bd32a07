"""Figures that look alike and come out the same, byte for byte, from the same numbers.

matplotlib is imported late and used through its objects only: no pyplot, no window, no
state left behind, whatever the user's own matplotlibrc says.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from compressor._files import atomic_path

DPI = 150

# Okabe and Ito (2008), "Color Universal Design": told apart with any colour vision.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
BEFORE, AFTER = SKY, VERMILLION

_SETTINGS = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#dddddd",
    "legend.frameon": False,
    # Text stays text: it can be searched, read aloud, and tested.
    "svg.fonttype": "none",
    # Element ids are hashes; without a fixed salt they differ from run to run.
    "svg.hashsalt": "compressor",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw and save within: matplotlib's defaults and our settings, restored afterwards."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def new_figure(title: str, note: str, size: tuple[float, float] = (8.0, 5.0)) -> tuple[Any, Any]:
    """A figure of `size` inches with one pair of axes, a title, and a note at its foot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=size, dpi=DPI, layout=engine)
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    wrapped = "\n".join(
        textwrap.fill(line, width=int(size[0] * 15)) for line in note.splitlines() if line
    )
    figure.supxlabel(wrapped, fontsize=8, color="#444444")
    return figure, figure.add_subplot()


def legend_above(axes: Any, columns: int = 4, last: str = "") -> None:
    """A legend between the title and the axes, where it covers no data; `last` ends it."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i] == last)
    axes.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=min(columns, len(labels)),
        fontsize=9,
    )


def save(figure: Any, directory: Path, name: str) -> list[Path]:
    """Write `name`.png and `name`.svg without dates, and return their paths.

    Raises StorageError where they cannot be written.
    """
    # Lay out once, for both formats alike.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    paths = []
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        path = directory / f"{name}{suffix}"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=suffix[1:], dpi=DPI, metadata=metadata)
        paths.append(path)
    return paths


def means_and_whiskers(values: Sequence[Sequence[float]]) -> tuple[list[float], list[list[float]]]:
    """The mean of each group and how far its range reaches below and above, (2, groups)."""
    means = [sum(group) / len(group) for group in values]
    below = [max(mean - min(group), 0.0) for mean, group in zip(means, values, strict=True)]
    above = [max(max(group) - mean, 0.0) for mean, group in zip(means, values, strict=True)]
    return means, [below, above]
