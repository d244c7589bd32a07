"""The figure of the artefacts: bytes of each format against the proportion."""

from __future__ import annotations

from functools import partial
from typing import Any

from compressor.report import formatting as form, plotting as plot
from compressor.report.artefacts import COLUMNS, FORMATS, artefact_sizes
from compressor.report.content import Figure
from compressor.runs import Results, by_sparsity


def artefact_figure(results: Results) -> Figure:
    """The bytes of the exported files, and from where on each is smaller than the dense one."""
    return Figure(
        "figure_artefacts",
        "Size of the artefacts, against the pruning proportion",
        _caption(results),
        partial(_draw, results),
    )


def _sizes(results: Results, file_format: str, shape: str) -> dict[float, float]:
    """Mean bytes by sparsity; the dense model is at 0."""
    rows = {0.0: list(results["dense"])} | by_sparsity(results)
    return {
        sparsity: form.mean(sizes)
        for sparsity, found in rows.items()
        if (sizes := artefact_sizes(found, file_format, shape))
    }


def _draw(results: Results) -> Any:
    figure, axes = plot.new_figure(height=3.6)
    for file_format, shape in COLUMNS:
        sizes = _sizes(results, file_format, shape)
        if sizes:
            colour, marker = plot.OF_FORMAT[file_format]
            axes.plot(
                [100 * sparsity for sparsity in sizes],
                [size / 1e6 for size in sizes.values()],
                linestyle="-" if shape == "smallest" else "--",
                marker=marker,
                color=colour,
                label=f"{FORMATS[file_format]}, {shape}",
            )
    weights = form.mean([dense["weights_bytes"] for dense in results["dense"]])
    plot.size_line(axes, weights / 1e6, "weights")
    axes.set_yscale("log")
    plot.plain_log_axis(axes.yaxis)
    plot.percent_axis(axes, "pruning proportion", lowest=-2)
    axes.set_ylabel("size of the file (MB)")
    plot.legend_above(axes, 2)
    return figure


def _caption(results: Results) -> str:
    weights = form.mean([dense["weights_bytes"] for dense in results["dense"]])
    parts = []
    for file_format, shape in COLUMNS:
        sizes = _sizes(results, file_format, shape)
        if not sizes:
            continue
        below = [sparsity for sparsity, size in sizes.items() if size < weights]
        name = f"{FORMATS[file_format]} {shape}"
        last = list(sizes)[-1]
        where = f"from {form.proportion(below[0])} on" if below else "nowhere"
        parts.append(f"{name} {where}, {form.size(sizes[last])} at {form.proportion(last)}")
    return (
        f"Below the float32 weights alone ({form.size(weights)}): {'; '.join(parts)}. "
        "No file is made larger than its dense form: what would be, is stored dense. The axis is "
        "logarithmic."
    )
