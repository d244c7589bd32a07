"""The figures: the paper's Figures 5, 6 and 7 with our numbers, and the encodings.

Marks and columns are measured; the curves of the encodings are computed. Of the paper's
numbers only the sizes are drawn, since it prints no accuracy and no time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.report import _format as form
from compressor.report import _plot as plot
from compressor.report import paper
from compressor.report._encodings import encodings_figure
from compressor.report.document import (
    Results,
    by_sparsity,
    dense_of,
    paper_row,
)
from compressor.report.tables import workload

CAPTIONS = {
    "figure_5_size": "Model size before and after pruning (the paper's Figure 5)",
    "figure_6_accuracy": "Test accuracy before and after pruning (the paper's Figure 6)",
    "figure_7_prediction_time": "Prediction time before and after pruning (the paper's Figure 7)",
    "figure_encodings": "Size of the model in every encoding",
}
"""The figures' names, which are their file names without suffix, and their captions."""

_WIDTH = 0.38
_PAPER = "the paper's numbers"
_LABELLED = 8  # pairs of columns that have room for their numbers


def write_figures(results: Results, directory: Path) -> list[Path]:
    """Draw every figure of CAPTIONS into `directory`, each as PNG (150 dpi) and as SVG.

    Returns the paths written. The same results give the same bytes with the same
    version of matplotlib. Raises StorageError where a file cannot be written.
    """
    draw = (_size, _accuracy, _prediction_time, encodings_figure)
    paths: list[Path] = []
    with plot.style():
        for name, function in zip(CAPTIONS, draw, strict=True):
            paths += plot.save(function(results, CAPTIONS[name]), Path(directory), name)
    return paths


def _proportion_axis(axes: Any, results: Results) -> list[float]:
    """Label the x axis with the proportions, one step each; return their sparsities."""
    sparsities = list(by_sparsity(results))
    axes.set_xticks(range(len(sparsities)), [form.proportion(s) for s in sparsities])
    if len(sparsities) > _LABELLED:
        axes.tick_params(axis="x", rotation=45)
    axes.set_xlim(-0.6, len(sparsities) - 0.4)
    axes.tick_params(axis="x", length=0)
    pruned = ", ".join(results["experiment"]["layers"])
    axes.set_xlabel(f"pruning proportion of {pruned}")
    return sparsities


def _range_note(results: Results) -> str:
    seeds = len(results["dense"])
    return f"Mean of {seeds} seeds; whiskers show their range. " if seeds > 1 else ""


def _size(results: Results, title: str) -> Any:
    rows = by_sparsity(results)
    printed = [paper_row(results, sparsity) for sparsity in rows]
    before = [[_mib(d["checkpoint_bytes"]) for d in dense_of(results, r)] for r in rows.values()]
    after = [[_mib(row["sparse"]["bytes"]) for row in found] for found in rows.values()]
    note = _range_note(results) + "Before: the dense checkpoint with Adam's two moments."
    figure, axes = plot.new_figure(title, note)
    _columns(axes, before, after, "dense checkpoint", "sparse file")
    compared = [i for i, found in enumerate(printed) if found]
    if compared:
        x = [i - _WIDTH / 2 for i in compared] + [i + _WIDTH / 2 for i in compared]
        y = [paper.DENSE_MIB] * len(compared) + [found.size_mib for found in printed if found]
        axes.plot(x, y, "D", ms=6, mfc="white", mec="black", mew=1.2, label=_PAPER)
    _proportion_axis(axes, results)
    axes.set_ylabel("model size (MiB)")
    axes.margins(y=0.1)
    plot.legend_above(axes, last=_PAPER)
    return figure


def _mib(size: float) -> float:
    return size / form.MIB


def _columns(
    axes: Any,
    before: Sequence[Sequence[float]],
    after: Sequence[Sequence[float]],
    before_label: str,
    after_label: str,
    whiskers: Sequence[Any] | None = None,
) -> None:
    """Two columns a proportion, with the range over the seeds, or `whiskers` instead."""
    sides = ((before, before_label, plot.BEFORE, -1), (after, after_label, plot.AFTER, 1))
    for index, (groups, label, colour, side) in enumerate(sides):
        means, reach = plot.means_and_whiskers(groups)
        if whiskers is not None:
            reach = whiskers[index]
        visible = any(any(ends) for ends in reach)
        x = [i + side * _WIDTH / 2 for i in range(len(groups))]
        bars = axes.bar(
            x,
            means,
            _WIDTH * 0.94,
            color=colour,
            label=label,
            yerr=reach if visible else None,
            error_kw={"capsize": 3, "lw": 1.2, "ecolor": "#333333"},
        )
        if side == 1 and len(groups) <= _LABELLED:
            texts = [f"{mean:.1f}" for mean in means]
            axes.bar_label(bars, texts, padding=6, fontsize=8)


def _accuracy(results: Results, title: str) -> Any:
    rows = by_sparsity(results)
    sides = {
        "before pruning (dense)": (
            [[100 * d["accuracy"] for d in dense_of(results, r)] for r in rows.values()],
            {"fmt": "o", "color": plot.BLUE},
            -0.1,
        ),
        "after (retrained, sparse)": (
            [[100 * row["sparse"]["accuracy"] for row in r] for r in rows.values()],
            {"fmt": "s", "color": plot.AFTER},
            0.1,
        ),
    }
    everything = [v for groups, _, _ in sides.values() for group in groups for v in group]
    low, high = _zoom(min(everything), max(everything))
    words = paper.FIGURE_WORDS["accuracy"]
    note = (
        f"{_range_note(results)}The axis starts at {low:g} %, not at 0. "
        f"{form.count(results['experiment']['data']['test'])} test images.\n"
        f"The paper says of its Figure 6: {words}; it prints no numbers."
    )
    figure, axes = plot.new_figure(title, note)
    for label, (groups, look, shift) in sides.items():
        means, reach = plot.means_and_whiskers(groups)
        x = [i + shift for i in range(len(groups))]
        visible = any(any(ends) for ends in reach)
        axes.errorbar(
            x, means, yerr=reach if visible else None, label=label, ms=7, capsize=4, lw=1.4, **look
        )
    _proportion_axis(axes, results)
    axes.set_ylim(low, high)
    axes.set_ylabel("test accuracy (%)")
    plot.legend_above(axes)
    return figure


def _zoom(lowest: float, highest: float) -> tuple[float, float]:
    """Limits in percent, on tenths, around the data and at least one point apart."""
    margin = max(0.1 * (highest - lowest), (1.0 - (highest - lowest)) / 2)
    low, high = lowest - margin, highest + margin
    if high > 100:
        low, high = min(low, 100 - 1.0), 100.05
    return max(0.0, round(low, 1)), round(high, 2)


def _prediction_time(results: Results, title: str) -> Any:
    rows = by_sparsity(results)
    several = len(results["dense"]) > 1
    records = [
        [dense_of(results, found) for found in rows.values()],
        [[row["sparse"] for row in found] for found in rows.values()],
    ]
    before, after = ([[_total(r, "p50") for r in group] for group in side] for side in records)
    # One seed has no range; how far its slow rounds reach says how steady the clock was.
    whiskers = None if several else [_to_p90(side) for side in records]
    time = results["dense"][0]["prediction_time"]
    cpu = results["environment"]["machine"]["cpu"]
    words = paper.FIGURE_WORDS["prediction_time"]
    note = (
        (_range_note(results) if several else "Whiskers reach to the 90th percentile. ")
        + f"Median of {time['rounds']} rounds of {workload(results)}, {time['threads']} threads.\n"
        f"Machine: {cpu}.\n"
        f"The paper says of its Figure 7: {words}; it prints no numbers."
    )
    figure, axes = plot.new_figure(title, note)
    _columns(axes, before, after, "before pruning (dense)", "after (retrained, sparse)", whiskers)
    _proportion_axis(axes, results)
    axes.set_ylabel(f"prediction time of {workload(results)} (ms)")
    axes.margins(y=0.1)
    plot.legend_above(axes)
    return figure


def _total(record: Mapping[str, Any], percentile: str) -> float:
    return float(record["prediction_time"]["total_ms"][percentile])


def _to_p90(side: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[float]]:
    reach = [max(_total(g[0], "p90") - _total(g[0], "p50"), 0.0) for g in side]
    return [[0.0] * len(reach), reach]
