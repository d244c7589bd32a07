"""Accuracy against bytes and against latency, with the Pareto front drawn and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from compressor.report import formatting as form, plotting as plot
from compressor.report.content import Figure
from compressor.report.figures import zoom
from compressor.report.metrics import heads_in
from compressor.report.run_contents import FoundArtefact
from compressor.runs import BenchRun, Results, is_sound, median_ms, rows_with, settings_of
from deploy.tasks import ACCURACY, METRICS, Metric

_MOST_SETTINGS = 4
_MOST_NAMED = 8


@dataclass(frozen=True)
class Point:
    """An artefact as a choice: what it costs, and what it is worth."""

    name: str
    group: str
    """what gives it its colour: the runtime"""
    cost: float
    value: float
    """of the metric"""
    sound: bool
    """whether it may be on the front: not where the runtime computes it wrongly"""
    metric: Metric = METRICS[ACCURACY]


def bytes_figure(
    run: BenchRun | None, results: Results | None, found: Sequence[FoundArtefact]
) -> Figure | None:
    """The metric of every artefact in its runtime against its bytes; None where there is none.

    Of several outputs that of the first.
    """
    points = _measured_bytes(run) if run else []
    points = points or _exported_bytes(results) or _found_bytes(found)
    if not points:
        return None
    return size_figure(points)


def size_figure(points: Sequence[Point], name: str = "accuracy_bytes") -> Figure:
    """Accuracy against the bytes of the file, which are the cost of the `points`."""
    return Figure(
        name,
        f"{capitalised(points[0].metric)} in the runtime against bytes of the file",
        _caption(points, form.size, "smallest"),
        partial(_draw, points, "size of the file (MB)", 1e6),
    )


def latency_figures(run: BenchRun) -> list[Figure]:
    """Accuracy against the median latency, one figure a number of threads and batch size."""
    figures = []
    for threads, batch in _shown(settings_of(run["rows"])):
        points = []
        for row in rows_with(run, (threads, batch)):
            artefact = run["artefacts"][row["artefact"]]
            head = heads_in(artefact)[0]
            time, value = median_ms(row), row.get(head.key())
            if time is not None and value is not None:
                group = row["runtime"]
                group += "" if row["transfer"] == "copies" else f", {row['transfer']}"
                sound = is_sound(row)
                points.append(Point(artefact["name"], group, time, value, sound, head.decides))
        points = alike(points)
        if points:
            figures.append(
                Figure(
                    f"accuracy_latency_{threads}_{batch}",
                    f"{capitalised(points[0].metric)} against latency: "
                    f"{setting_text(threads, batch)}",
                    _caption(points, lambda ms: f"{form.latency(ms)} ms", "fastest"),
                    partial(_draw, points, "median latency of a batch (ms)", 1.0),
                )
            )
    return figures


def setting_text(threads: int, batch: int) -> str:
    """ "1 thread, batch 32"."""
    return f"{threads} thread{'s' if threads > 1 else ''}, batch {form.count(batch)}"


def _shown(settings: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """The settings that are drawn: all, or where they are many the ends of each."""
    if len(settings) <= _MOST_SETTINGS:
        return settings
    threads = sorted({found for found, _ in settings})
    batches = sorted({found for _, found in settings})
    corners = {(t, b) for t in (threads[0], threads[-1]) for b in (batches[0], batches[-1])}
    return sorted(corners & set(settings))


def _measured_bytes(run: BenchRun) -> list[Point]:
    points: dict[tuple[int, str], Point] = {}
    for row in run["rows"]:
        artefact, runtime = run["artefacts"][row["artefact"]], row["runtime"]
        key = (row["artefact"], runtime)
        head = heads_in(artefact)[0]
        if (value := row.get(head.key())) is not None and key not in points:
            name, size = artefact["name"], artefact["bytes"]
            points[key] = Point(name, runtime, size, value, is_sound(row), head.decides)
    return alike(list(points.values()))


def _exported_bytes(results: Results | None) -> list[Point]:
    if results is None:
        return []
    named = [("dense", record) for record in results["dense"]]
    named += [(form.proportion(row["sparsity"]), row) for row in results["proportions"]]
    several = len(results["dense"]) > 1
    return [
        Point(
            f"{name}{', seed ' + str(record['seed']) if several else ''}, "
            f"{artefact['format']} {artefact['quantize']}",
            artefact["runtime"],
            artefact["bytes"],
            artefact["accuracy"],
            True,
        )
        for name, record in named
        for artefact in record.get("artefacts", ())
    ]


def _found_bytes(found: Sequence[FoundArtefact]) -> list[Point]:
    points = []
    for item in found:
        head, size = item.artifact.tasks[0], item.artifact.bytes
        for run in item.artifact.verified:
            if (value := run.value(head.key())) is not None:
                points.append(Point(item.file, run.runtime, size, value, True, head.decides))
    return alike(points)


def alike(points: Sequence[Point]) -> list[Point]:
    """The points of the metric that the first has: others cannot be drawn beside them."""
    return [point for point in points if point.metric is points[0].metric]


def capitalised(metric: Metric) -> str:
    """The title of a metric at the beginning of a sentence."""
    return metric.title[0].upper() + metric.title[1:]


def _best(points: Sequence[Point]) -> list[Point]:
    """The front, from the cheapest on."""
    sound = [point for point in points if point.sound]
    worth = [point.value if point.metric.higher_is_better else -point.value for point in sound]
    costs = [point.cost for point in sound]
    return [sound[i] for i in pareto_front(list(zip(costs, worth, strict=True)))]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, accuracy) points on the front, from the cheapest on.

    A point is on it when every cheaper or as cheap one is less accurate; of equal points the first
    is. pareto_front([(1, .90), (2, .95), (3, .93), (3, .99)]) -> [0, 1, 3]
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    found: list[int] = []
    for index in order:
        if not found or points[index][1] > points[found[-1]][1]:
            found.append(index)
    return found


def _caption(points: Sequence[Point], text: Any, word: str) -> str:
    best = _best(points)
    shown = "; ".join(
        f"{number}. {form.short(point.name)} ({point.group}): {text(point.cost)}, "
        f"{point.metric.text(point.value)}"
        for number, point in enumerate(best[:_MOST_NAMED], start=1)
    )
    more = len(best) - _MOST_NAMED
    caption = f"On the Pareto front, from the {word} on: {shown}"
    caption += f"; and {more} more." if more > 0 else "."
    if not best:
        caption = "No row is sound, so there is no front."
    wrong = [
        f"{form.short(point.name)} in {point.group} ({point.metric.text(point.value)})"
        for point in points
        if not point.sound
    ]
    if wrong:
        caption += f" WRONG, red, and never on the front: {', '.join(wrong[:_MOST_NAMED])}."
    return caption


def _draw(points: Sequence[Point], label: str, unit: float) -> Any:
    figure, axes = plot.new_figure(height=3.3)
    shown = [point for point in points if point.sound] or list(points)
    metric = points[0].metric
    unit_of = 100 if metric.fraction else 1
    values = [unit_of * point.value for point in shown]
    low, high = zoom(min(values), max(values)) if metric.fraction else _room(values)
    groups = list(dict.fromkeys(point.group for point in points))
    for index, group in enumerate(groups):
        own = [point for point in points if point.group == group and point.sound]
        axes.plot(
            [point.cost / unit for point in own],
            [unit_of * point.value for point in own],
            linestyle="none",
            marker=plot.MARKERS[index % len(plot.MARKERS)],
            color=plot.SERIES[index % len(plot.SERIES)],
            label=form.short(group, 24),
            zorder=3,
        )
    wrong = [point for point in points if not point.sound]
    for point in wrong:
        _mark_wrong(axes, point, unit, low, high)
    if wrong:
        axes.plot([], [], linestyle="none", marker="x", mew=1.8, color=plot.RED, label="WRONG")
    best = _best(points)
    if best:
        x = [point.cost / unit for point in best]
        y = [unit_of * point.value for point in best]
        axes.step(x, y, where="post", color=plot.MUTED, lw=1.1, zorder=2, label="Pareto front")
        for number, place in enumerate(zip(x[:_MOST_NAMED], y, strict=False), start=1):
            plot.note(axes, str(number), place, (-3, 5), ha="right", fontweight="bold")
    axes.set_xscale("log")
    axes.margins(x=0.1)
    _cost_ticks(axes, [point.cost / unit for point in points])
    axes.set_ylim(low, high)
    axes.set_xlabel(label)
    axes.set_ylabel(f"{metric.title} in the runtime{' (%)' * metric.fraction}")
    plot.legend_above(axes, 2)
    return figure


def _mark_wrong(axes: Any, point: Point, unit: float, low: float, high: float) -> None:
    """A red cross; at the edge, with its value in words, where it is off the scale."""
    value = (100 if point.metric.fraction else 1) * point.value
    inside = min(max(value, low + 0.06 * (high - low)), high)
    place = (point.cost / unit, inside)
    axes.plot(*place, marker="x", ms=7, mew=1.8, color=plot.RED, zorder=4)
    if inside != value:
        arrow = "↓" if value < inside else "↑"
        text = f"{point.metric.text(point.value, 1)} {arrow}"
        plot.note(axes, text, place, (6, 0), va="center", color=plot.RED)


def _room(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis around errors."""
    low, high = min(values), max(values)
    margin = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _cost_ticks(axes: Any, costs: Sequence[float]) -> None:
    # Fewer numbers to a decade where there are many decades: they must fit side by side.
    span = max(costs) / min(costs)
    plot.plain_log_axis(axes.xaxis, (1, 2, 5) if span < 100 else (1,) if span > 1e4 else (1, 3))
