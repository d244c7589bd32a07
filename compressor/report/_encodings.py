"""The figure of the encodings: bytes against proportion, and where each breaks even."""

from __future__ import annotations

import math
from typing import Any

from compressor.report import _format as form
from compressor.report import _plot as plot
from compressor.report.document import Results, bound_names, by_sparsity, encoding_names

_COLOURS = (
    plot.BLACK,
    plot.VERMILLION,
    plot.ORANGE,
    plot.BLUE,
    plot.GREEN,
    plot.PURPLE,
    plot.SKY,
)
_MARKERS = "osD^vPX"
_STARS = "break-even"


def encodings_figure(results: Results, title: str) -> Any:
    """Draw the bytes of every encoding, measured and computed, and the break-even points."""
    names = encoding_names(results)
    bounds = bound_names(results) & set(names)
    note = "Size of the whole model, measured (marks) and computed (lines); logarithmic axis."
    note += " Dashed: a bound." if bounds else ""
    if len(results["dense"]) > 1:
        note += f" Mean of {len(results['dense'])} seeds."
    note += "\nStars: computed break-even of an encoding with a dense size (dotted lines)."
    figure, axes = plot.new_figure(title, note, size=(9.0, 5.6))
    rows = by_sparsity(results)
    for index, name in enumerate(names):
        points = [
            (100 * sparsity, form.mean(sizes) / form.MIB)
            for sparsity, found in rows.items()
            if (sizes := [row["encodings"][name] for row in found if name in row["encodings"]])
        ]
        line = "--" if name in bounds else "-"
        look = {"color": _COLOURS[index % len(_COLOURS)], "lw": 1.5}
        curve = _computed_curve(results, name)
        if curve:
            axes.plot(*zip(*curve, strict=True), linestyle=line, zorder=2, **look)
        axes.plot(
            *zip(*points, strict=True),
            linestyle="none" if curve else line,
            marker=_MARKERS[index % len(_MARKERS)],
            ms=5,
            label=f"{name} (bound)" if name in bounds else name,
            **look,
        )
    _baselines(axes, results)
    axes.set_yscale("log")
    _log_labels(axes)
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 10))
    axes.set_xlabel("pruning proportion (%)")
    axes.set_ylabel("model size (MiB)")
    plot.legend_above(axes, last=_STARS)
    return figure


def _computed_curve(results: Results, name: str) -> list[tuple[float, float]]:
    """(percent, MiB) of an encoding at every percent, from its closed form; [] if it has none."""
    from compressor.encodings import ENCODINGS, ENTROPY, expected_model_bytes

    if name not in ENCODINGS and name != ENTROPY:
        return []
    shapes = [layer["shape"] for layer in results["proportions"][0]["layers"]]
    weights = [math.prod(shape) for shape in shapes]
    stay_dense = results["dense"][0]["parameters"] - sum(weights)
    curve: list[tuple[float, float]] = []
    for percent in range(100):
        kept = [(s, (1 - percent / 100) * n) for s, n in zip(shapes, weights, strict=True)]
        curve.append((percent, expected_model_bytes(name, kept, stay_dense) / form.MIB))
    return curve


def _baselines(axes: Any, results: Results) -> None:
    """Horizontal lines at the dense sizes, and a star where an encoding crosses one."""
    texts = {"checkpoint": "dense checkpoint", "weights": "float32 weights"}
    stars: list[tuple[float, float]] = []
    for baseline, text in texts.items():
        size = form.mean([dense[f"{baseline}_bytes"] for dense in results["dense"]]) / form.MIB
        axes.axhline(size, color="#777777", lw=1.2, linestyle=":", zorder=1)
        axes.annotate(
            f"{text}\n{size:.1f} MiB",
            (1, size),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="#444444",
        )
        for record in results["encodings"]:
            point = record["break_even"][baseline]["computed"]
            if point:  # at 0 it has no crossing to mark
                stars.append((100 * point, size))
    if stars:
        axes.plot(
            *zip(*stars, strict=True),
            linestyle="none",
            marker="*",
            ms=13,
            mfc=plot.YELLOW,
            mec="black",
            mew=0.8,
            zorder=5,
            label=_STARS,
        )


def _log_labels(axes: Any) -> None:
    """Ticks at 1, 2 and 5 of each decade, as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
