"""The paper's Figures 5, 6 and 7 with our numbers.

Of the paper's numbers only the sizes are drawn, since it prints no accuracy and no time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from compressor.experiment import paper_results as paper
from compressor.report import formatting as form, plotting as plot
from compressor.report.answer import dense_mean, means_of, total_ms, where_smaller
from compressor.report.artefacts import FORMATS, artefact_sizes
from compressor.report.content import Figure
from compressor.report.tables import paper_row, workload
from compressor.runs import Results, by_sparsity, dense_of

_WIDTH = 0.38  # of a column
_LABELLED = 8  # pairs of columns that have room for their numbers


def _bit_mask_sizes(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    sizes = [row["encodings"].get("bitmask") for row in rows]
    return [] if None in sizes else sizes


_LINES: dict[str, tuple[Callable[[Sequence[Mapping[str, Any]]], list[float]], str, str]] = {
    "bit mask, float32": (_bit_mask_sizes, plot.BLUE, "o"),
    **{
        f"{name}, smallest": (
            partial(artefact_sizes, file_format=file_format, shape="smallest"),
            *plot.OF_FORMAT[file_format],
        )
        for file_format, name in FORMATS.items()
    },
}


def paper_figures(results: Results) -> list[Figure]:
    """Figures 5, 6 and 7 of the paper, each with our numbers and what they show."""
    return [
        Figure(
            f"figure_{number}_{name}",
            f"{title} against the pruning proportion (the paper's Figure {number})",
            caption(results),
            partial(draw, results),
        )
        for number, name, title, caption, draw in (
            (5, "size", "Model size", _size_caption, _size),
            (6, "accuracy", "Test accuracy", _accuracy_caption, _accuracy),
            (7, "prediction_time", "Prediction time", _time_caption, _prediction_time),
        )
    ]


def _proportion_axis(axes: Any, results: Results) -> None:
    """Label the x axis with the proportions, evenly spaced."""
    sparsities = list(by_sparsity(results))
    axes.set_xticks(range(len(sparsities)), [f"{100 * s:.3g}" for s in sparsities])
    if len(sparsities) > _LABELLED:
        axes.tick_params(axis="x", rotation=60)
    axes.set_xlim(-0.6, len(sparsities) - 0.4)
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel(f"pruned of {_pruned_layers(results)} (%)")


def _range_note(results: Results) -> str:
    seeds = len(results["dense"])
    return f" Mean of {seeds} seeds; whiskers show their range." if seeds > 1 else ""


def _size(results: Results) -> Any:
    rows = by_sparsity(results)
    percent = [100 * sparsity for sparsity in rows]
    after = [[row["sparse"]["bytes"] / form.MIB for row in found] for found in rows.values()]
    figure, axes = plot.new_figure(height=3.8)
    means, reach = plot.means_and_whiskers(after)
    look = {"color": plot.VERMILLION, "marker": "s", "label": "the paper's sparse file"}
    axes.errorbar(percent, means, yerr=reach, capsize=3, zorder=3, **look)
    if len(means) <= _LABELLED:
        for x, mean in zip(percent, means, strict=True):
            plot.note(axes, f"{mean:.1f}", (x, mean), (0, 7), ha="center", color=plot.VERMILLION)
    printed = [(100 * s, found.size_mib) for s in rows if (found := paper_row(results, s))]
    if printed:
        axes.plot(
            *zip(*printed, strict=True),
            linestyle="none",
            marker="D",
            ms=8.5,
            mfc="none",
            mec=plot.INK,
            mew=1.1,
            zorder=4,
            label="the paper's numbers",
        )
    for label, (sizes_of, colour, marker) in _LINES.items():
        points = [
            (100 * sparsity, form.mean(sizes) / form.MIB)
            for sparsity, found in rows.items()
            if (sizes := sizes_of(found))
        ]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, color=colour, label=label)
    for baseline in ("checkpoint", "weights"):
        plot.size_line(axes, dense_mean(results, f"{baseline}_bytes") / form.MIB, baseline)
    axes.set_yscale("log")
    plot.plain_log_axis(axes.yaxis)
    axes.margins(y=0.12)
    plot.percent_axis(axes, f"pruned of {_pruned_layers(results)}")
    axes.set_ylabel("model size (MiB)")
    plot.legend_above(axes, 2)
    return figure


def _pruned_layers(results: Results) -> str:
    return form.short(", ".join(results["experiment"]["layers"]), 24)


def _size_caption(results: Results) -> str:
    means = means_of(results, lambda row: float(row["sparse"]["bytes"]))
    dense, weights = (dense_mean(results, f"{name}_bytes") for name in ("checkpoint", "weights"))
    printed = {s: found.size_mib for s in means if (found := paper_row(results, s))}
    text = (
        f"The paper's sparse file is {where_smaller(means, dense)} than the dense checkpoint "
        f"({form.mib(dense)} MiB, with Adam's two moments) and {where_smaller(means, weights)} "
        f"than the weights alone ({form.mib(weights)} MiB)."
    )
    if printed:
        off = max(abs(means[s] / form.MIB - size) for s, size in printed.items())
        text += f" Ours differs from the paper's {len(printed)} sizes by {off:.2f} MiB at most."
    highest, rows = list(by_sparsity(results).items())[-1]
    stored = [artefact_sizes(rows, file_format, "smallest") for file_format in FORMATS]
    smallest = min((form.mean(sizes) for sizes in stored if sizes), default=None)
    if smallest is not None:
        text += (
            f" At {form.proportion(highest)} the smallest artefact takes {form.size(smallest)}, "
            f"{' times '.join(form.times_less(means[highest], smallest, 'less', 'more'))} than the "
            "paper's file."
        )
    return f"{text} The axis is logarithmic.{_range_note(results)}"


def _accuracy(results: Results) -> Any:
    rows = by_sparsity(results)
    sides = {
        "before (dense)": (
            [[100 * d["accuracy"] for d in dense_of(results, r)] for r in rows.values()],
            {"fmt": "o", "color": plot.MUTED},
            -0.1,
        ),
        "after (sparse)": (
            [[100 * row["sparse"]["accuracy"] for row in r] for r in rows.values()],
            {"fmt": "s", "color": plot.BLUE},
            0.1,
        ),
    }
    figure, axes = plot.new_figure()
    for label, (groups, look, shift) in sides.items():
        means, reach = plot.means_and_whiskers(groups)
        x = [i + shift for i in range(len(groups))]
        axes.errorbar(x, means, yerr=reach, label=label, ms=6, capsize=3, **look)
    _proportion_axis(axes, results)
    axes.set_ylim(*_accuracy_limits(results))
    axes.set_ylabel("test accuracy (%)")
    plot.legend_above(axes, 2)
    return figure


def _accuracy_limits(results: Results) -> tuple[float, float]:
    values = [100 * found["accuracy"] for found in results["dense"]]
    values += [100 * row["sparse"]["accuracy"] for row in results["proportions"]]
    return zoom(min(values), max(values))


def zoom(lowest: float, highest: float) -> tuple[float, float]:
    """Limits in percent, on tenths, around the data and at least one point apart."""
    margin = max(0.1 * (highest - lowest), (1.0 - (highest - lowest)) / 2)
    low, high = lowest - margin, highest + margin
    if high > 100:
        low, high = min(low, 100 - 1.0), 100.05
    return max(0.0, round(low, 1)), round(high, 2)


def _accuracy_caption(results: Results) -> str:
    means = means_of(results, lambda row: float(row["sparse"]["accuracy"]))
    dense = dense_mean(results, "accuracy")
    lowest = min(means, key=lambda sparsity: means[sparsity])
    return (
        f"The dense model has {form.percent(dense)} %, the pruned ones at least "
        f"{form.percent(means[lowest])} % (at {form.proportion(lowest)}): "
        f"{form.points(means[lowest] - dense)} against dense. The axis starts at "
        f"{_accuracy_limits(results)[0]:g} %, not at 0; "
        f"{form.count(results['experiment']['data']['test'])} test images. "
        f"The paper says of its Figure 6: {paper.FIGURE_WORDS['accuracy']}; it prints no numbers."
        f"{_range_note(results)}"
    )


def _prediction_time(results: Results) -> Any:
    rows = by_sparsity(results)
    dense = [dense_of(results, found) for found in rows.values()]
    sparse = [[row["sparse"] for row in found] for found in rows.values()]
    figure, axes = plot.new_figure()
    for groups, label, colour, side in (
        (dense, "before (dense)", plot.BEFORE, -1),
        (sparse, "after (sparse)", plot.AFTER, 1),
    ):
        means, reach = plot.means_and_whiskers(
            [[total_ms(found, "p50") for found in group] for group in groups]
        )
        # One seed has no range; how far its slow rounds reach says how steady the clock was.
        if len(results["dense"]) == 1:
            reach = _to_p90(groups)
        axes.bar(
            [i + side * _WIDTH / 2 for i in range(len(groups))],
            means,
            _WIDTH * 0.94,
            color=colour,
            label=label,
            yerr=reach,
            error_kw={"capsize": 2, "lw": 1, "ecolor": plot.INK},
        )
    _proportion_axis(axes, results)
    axes.set_ylabel(f"{workload(results)} (ms)")
    axes.margins(y=0.1)
    plot.legend_above(axes, 2)
    return figure


def _time_caption(results: Results) -> str:
    means = means_of(results, lambda row: total_ms(row["sparse"], "p50"))
    dense = form.mean([total_ms(found, "p50") for found in results["dense"]])
    low, high = min(means.values()), max(means.values())
    time = results["dense"][0]["prediction_time"]
    found = (
        f"The paper's sparse network takes {form.milliseconds(low)} to "
        f"{form.milliseconds(high)} ms, the dense one {form.milliseconds(dense)} ms: "
    )
    if low > dense:
        found += "a file of non-zeros alone is no faster at any proportion."
    elif high < dense:
        found += "it is faster at every proportion."
    else:
        found += f"it is {where_smaller(means, dense, 'faster')}."
    whiskers = "" if len(results["dense"]) > 1 else " Whiskers reach to the 90th percentile."
    return (
        f"{found} Median of {time['rounds']} rounds of {workload(results)}, {time['threads']} "
        f"threads.{whiskers} The paper says of its Figure 7: "
        f"{paper.FIGURE_WORDS['prediction_time']}; it prints no numbers.{_range_note(results)}"
    )


def _to_p90(side: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[float]] | None:
    reach = [max(total_ms(g[0], "p90") - total_ms(g[0], "p50"), 0.0) for g in side]
    return [[0.0] * len(reach), reach] if any(reach) else None
