"""The figure of the encodings: bytes against proportion, and where each breaks even."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from compressor.report import formatting as form, plotting as plot
from compressor.report.answer import dense_mean
from compressor.report.content import Figure
from compressor.runs import Results, bound_names, by_sparsity, encoding_names


def encodings_figure(results: Results) -> Figure:
    return Figure(
        "figure_encodings",
        "Size of the model in every encoding, against the pruning proportion",
        _caption(results),
        partial(_draw, results),
        wide=True,
    )


def _draw(results: Results) -> Any:
    names = encoding_names(results)
    bounds = bound_names(results) & set(names)
    figure, axes = plot.new_figure(height=4.0)
    for index, name in enumerate(names):
        points = [
            (100 * sparsity, form.mean(sizes) / form.MIB)
            for sparsity, found in by_sparsity(results).items()
            if (sizes := [row["encodings"][name] for row in found if name in row["encodings"]])
        ]
        line = "--" if name in bounds else "-"
        look = {"color": plot.SERIES[index % len(plot.SERIES)], "lw": 1.4}
        curve = _computed_curve(results, name)
        if curve:
            axes.plot(*zip(*curve, strict=True), linestyle=line, zorder=2, **look)
        axes.plot(
            *zip(*points, strict=True),
            linestyle="none" if curve else line,
            marker=plot.MARKERS[index % len(plot.MARKERS)],
            label=form.short(f"{name} (bound)" if name in bounds else name, 24),
            **look,
        )
    _baselines(axes, results)
    axes.set_yscale("log")
    plot.plain_log_axis(axes.yaxis)
    plot.percent_axis(axes, "pruning proportion")
    axes.set_ylabel("model size (MiB)")
    plot.legend_above(axes)
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
    stars: list[tuple[float, float]] = []
    for baseline in ("checkpoint", "weights"):
        size = dense_mean(results, f"{baseline}_bytes") / form.MIB
        plot.size_line(axes, size, baseline)
        for record in results["encodings"]:
            point = record["break_even"][baseline]["computed"]
            if point:  # at 0 it has no crossing to mark
                stars.append((100 * point, size))
    if stars:
        axes.plot(
            *zip(*stars, strict=True),
            linestyle="none",
            marker="*",
            ms=10,
            mfc=plot.PAPER,
            mec=plot.INK,
            mew=0.9,
            zorder=5,
            label="break-even",
        )


def _caption(results: Results) -> str:
    points = {
        record["name"]: record["break_even"]["weights"]["computed"]
        for record in results["encodings"]
        if not record["bound"] and record["break_even"]["weights"]["computed"]
    }
    seeds = len(results["dense"])
    text = ""
    if points:
        named = sorted(points, key=lambda name: points[name])
        found = ", ".join(f"{form.short(n)} at {form.proportion(points[n])}" for n in named)
        text = f"Break-even with the float32 weights alone: {found}. "
    return (
        f"{text}Marks are measured, lines computed; dashed: a bound that no file reaches; stars: "
        "computed break-even with a dense size (horizontal lines). The axis is logarithmic."
        + (f" Mean of {seeds} seeds." if seeds > 1 else "")
    )
