"""The sensitivity of a model to pruning, layer by layer: table, CSV and figure.

Every function takes what `Sensitivity.describe` gives. A few layers share one pair of axes; more
have a panel each, since nobody can tell thirty lines apart.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.foundation import json_text, write_files
from compressor.report import formatting as form, plotting as plot
from deploy.tasks import Head, part_key, read_heads
from deploy.text import clean

_NAME = "sensitivity"  # of each file, without suffix

_Described = Mapping[str, Any]
_COLOURS = plot.SERIES[:-1]
_MARKERS = "os^Dv*"
_DENSE = {"color": plot.MUTED, "lw": 1.2, "linestyle": "--", "zorder": 1}
_WIDEST = 5  # panels in a row
_LONGEST_NAME = 24


def sensitivity_text(described: _Described) -> str:
    """The metric in percent or as it is, a row for each layer, and how far each may be pruned.

    Several outputs have a table each.
    """
    described = form.cleaned(described)
    shown = _all_shown(described)
    points = 100 * described["tolerance"]
    costs = " and ".join(dict.fromkeys(one.costs(points) for one in shown))
    tables = [line for one in shown for line in _table(described, one)]
    task = described.get("task", "classification, by its loss or its outputs and labels")
    lines = [
        f"{tables[0]}; task: {task}",
        *tables[1:],
        f"up to: the sparsity up to which it costs at most {costs}",
        *([f"fed: {form.fed(described['inputs'])}"] if "inputs" in described else []),
        *(
            f"{_label(row)}: {', '.join(row['layers'])} lose channels together"
            for row in described["layers"]
            if len(row["layers"]) > 1
        ),
        *_reached(described),
        *form.left_alone(described["left_alone"]),
    ]
    return "".join(f"{line}\n" for line in lines)


def _table(described: _Described, shown: _Shown) -> list[str]:
    rows = [
        [
            _label(row),
            form.count(row["parameters"]),
            *(shown.number(found) for found in row["measurements"]),
            form.known(row["highest_sparsity"], form.proportion),
        ]
        for row in described["layers"]
    ]
    header = ["layer", "weights", *map(form.proportion, _targets(described)), "up to"]
    return [
        f"{described['model']}: dense {shown.title} {shown.dense_text(described)} "
        f"on {_examples(described)}",
        f"{shown.title}{shown.in_percent} when one layer alone is pruned "
        f"({described['granularity']}, by {described['criterion']}); nothing is retrained",
        form.text_table(header, rows).rstrip("\n"),
    ]


@dataclasses.dataclass(frozen=True)
class _Shown:
    """The metric that decides for one output."""

    head: Head

    @property
    def title(self) -> str:
        of = f"{clean(self.head.name)}: " if self.head.name else ""
        return f"{of}{self.head.decides.title}"

    @property
    def factor(self) -> int:
        return 100 if self.head.decides.fraction else 1

    @property
    def in_percent(self) -> str:
        return " in %" if self.head.decides.fraction else ""

    @property
    def axis(self) -> str:
        return f"{self.title} (%)" if self.head.decides.fraction else self.title

    def costs(self, points: float) -> str:
        metric = self.head.decides
        return f"{points:g} {'point' if metric.fraction else '%'} of {metric.title}"

    def of(self, document: Mapping[str, Any], part: str = "") -> float:
        """The metric, in percent where it is a fraction; NaN where it has no value."""
        found = document.get(part_key(self.head.key(), part))
        return math.nan if found is None else self.factor * float(found)

    def number(self, document: Mapping[str, Any]) -> str:
        value = self.of(document)
        if math.isnan(value):
            return form.NOTHING
        return f"{value:.1f}" if self.head.decides.fraction else f"{value:.4g}"

    def dense_text(self, described: _Described) -> str:
        """The dense model's: 99.1 %, or 0.4213."""
        value = self.of(described, "dense_")
        return f"{value:.1f} %" if self.head.decides.fraction else f"{value:.4g}"


def _all_shown(described: _Described) -> list[_Shown]:
    return [_Shown(head) for head in read_heads(described.get("heads"))]


def sensitivity_csv(described: _Described) -> str:
    """One row a measurement; coupled layers are separated by spaces, accuracies 0 to 1."""
    heads = read_heads(described.get("heads"))
    keys = [head.key(name) for head in heads for name in (head.shown or (head.metric,))]
    measured = ("target_sparsity", "sparsity", *keys)
    whole = (*(part_key(key, "dense_") for key in keys), "examples")
    rows: list[list[Any]] = [["layer", "layers", "parameters", *measured, *whole]]
    for row in described["layers"]:
        layer = [row["layer"], " ".join(row["layers"]), row["parameters"]]
        for found in row["measurements"]:
            values = [found.get(key) for key in measured]
            rows.append([*layer, *values, *(described.get(key) for key in whole)])
    return form.csv_text(rows)


def write_sensitivity(described: _Described, directory: Path | str) -> list[Path]:
    """Write sensitivity.json, .csv, .png (220 dpi) and .svg; other files there stay.

    Further outputs have figures sensitivity-2 and so on. Returns the paths written. Raises
    StorageError where a file cannot be written.
    """
    directory = Path(directory)
    files = {
        directory / f"{_NAME}.json": json_text(described).encode(),
        directory / f"{_NAME}.csv": sensitivity_csv(described).encode(),
    }
    cleaned = form.cleaned(described)
    for number, shown in enumerate(_all_shown(cleaned), 1):
        name = _NAME if number == 1 else f"{_NAME}-{number}"
        with plot.style():
            files |= plot.files_of(plot.drawn(_figure(cleaned, shown)), directory, name)
    write_files(files)
    return list(files)


def _targets(described: _Described) -> list[float]:
    return [found["target_sparsity"] for found in described["layers"][0]["measurements"]]


def _examples(described: _Described) -> str:
    count = described["examples"]
    return f"{form.count(count)} validation example{'s' if count > 1 else ''}"


def _label(row: Mapping[str, Any]) -> str:
    name, more = row["layer"], len(row["layers"]) - 1
    return f"{name} (+{more})" if more else name


def _reached(described: _Described) -> list[str]:
    """A note where groups or earlier zeros made the sparsity differ from the requested one."""
    gaps = [
        abs(found["sparsity"] - found["target_sparsity"])
        for row in described["layers"]
        for found in row["measurements"]
    ]
    if max(gaps) < 0.015:
        return []
    return [
        f"the sparsity that was reached differs from the column's by up to "
        f"{100 * max(gaps):.0f} points: see --json or the files"
    ]


def _figure(described: _Described, shown: _Shown) -> Any:
    layers = described["layers"]
    if len(_targets(described)) == 1:
        return _dots(described, shown)
    draw = _together if len(layers) <= len(_COLOURS) else _panels
    return draw(described, shown)


def _new_figure(
    described: _Described, shown: _Shown, size: tuple[float, float], more: str = ""
) -> tuple[Any, Any]:
    note = (
        f"{described['model']}. Each layer is pruned alone ({described['granularity']}, "
        f"by {described['criterion']}) and nothing is retrained. "
        f"{_capital(shown.title)} on {_examples(described)}, set aside from the training examples."
    )
    if shown.head.decides.fraction and _lowest(described, shown):
        note += f" The axis starts at {_lowest(described, shown):g} %, not at 0."
    figure, axes = plot.new_figure(*size)
    figure.suptitle(f"{_capital(shown.title)} when one layer is pruned", fontsize=12)
    wrapped = textwrap.fill(f"{note} {more}", width=int(size[0] * 15))
    figure.supxlabel(wrapped, fontsize=plot.SMALL, color=plot.MUTED)
    return figure, axes


def _together(described: _Described, shown: _Shown) -> Any:
    figure, axes = _new_figure(described, shown, (8.0, 5.0))
    _dense_line(axes, described, shown)
    for row, colour, marker in zip(described["layers"], _COLOURS, _MARKERS, strict=False):
        axes.plot(
            *_points(row, shown), color=colour, marker=marker, ms=5, lw=1.5, label=_short(row)
        )
    _value_axes(axes, described, shown)
    axes.set_xlabel("sparsity of the layer (%)")
    axes.set_ylabel(shown.axis)
    longest = max(len(_short(row)) for row in described["layers"])
    # The figure has room for about 75 letters, and a mark takes that of eight.
    plot.legend_above(axes, 75 // (longest + 8), last=_dense_label(described, shown))
    return figure


def _panels(described: _Described, shown: _Shown) -> Any:
    """A panel for each layer in the order of the model, the others behind it in grey."""
    layers = described["layers"]
    lines = math.ceil(len(layers) / _WIDEST)
    columns = math.ceil(len(layers) / lines)
    more = f"In each panel the other layers are grey; dashed: the dense {shown.title}, "
    more += f"{shown.dense_text(described)}."
    figure, whole = _new_figure(
        described, shown, (max(2.1 * columns, 8.0), 1.7 * lines + 1.2), more
    )
    whole.remove()
    # Not shared axes, whose time grows with the square of their number.
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    behind: tuple[list[float], list[float]] = ([], [])
    for row in layers:
        for together, values in zip(behind, _points(row, shown), strict=True):
            # A gap after each layer, so that one line draws them all.
            together += [*values, math.nan]
    for number, panel in enumerate(panels):
        if number >= len(layers):
            panel.remove()
            continue
        panel.plot(*behind, color=plot.GRID, lw=0.8, zorder=0)
        _dense_line(panel, described, shown)
        panel.plot(*_points(layers[number], shown), color=plot.BLUE, marker="o", ms=2.5, lw=1.5)
        panel.set_title(_short(layers[number]), fontsize=8, pad=3)
        _value_axes(panel, described, shown, step=50)
        left, bottom = number % columns == 0, number + columns >= len(layers)
        panel.tick_params(labelsize=7, labelleft=left, labelbottom=bottom)
        if bottom:
            panel.set_xlabel("sparsity (%)", fontsize=8)
        if left:
            panel.set_ylabel(shown.axis, fontsize=8)
    return figure


def _dots(described: _Described, shown: _Shown) -> Any:
    """One sparsity only: a line for each layer from the dense accuracy to its own."""
    layers = described["layers"]
    figure, axes = _new_figure(described, shown, (8.0, 2.6 + 0.24 * len(layers)))
    dense = shown.of(described, "dense_")
    found = [shown.of(row["measurements"][0]) for row in layers]
    places = range(len(layers))
    axes.axvline(dense, label=_dense_label(described, shown), **_DENSE)
    axes.hlines(places, found, dense, color=plot.SKY, lw=1.5, zorder=1)
    label = f"the layer alone at {form.proportion(_targets(described)[0])}"
    axes.plot(found, places, "o", color=plot.BLUE, ms=6, label=label)
    axes.set_yticks(places, [_short(row) for row in layers], fontsize=8)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_xlim(*_limits(described, shown))
    axes.grid(axis="x")
    axes.set_xlabel(shown.axis)
    plot.legend_above(axes, last=_dense_label(described, shown))
    return figure


def _points(row: Mapping[str, Any], shown: _Shown) -> tuple[list[float], list[float]]:
    """Sparsities that were reached, in percent, and the metric."""
    found = row["measurements"]
    return [100 * f["sparsity"] for f in found], [shown.of(f) for f in found]


def _dense_line(axes: Any, described: _Described, shown: _Shown) -> None:
    axes.axhline(shown.of(described, "dense_"), label=_dense_label(described, shown), **_DENSE)


def _dense_label(described: _Described, shown: _Shown) -> str:
    return f"dense: {shown.dense_text(described)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _short(row: Mapping[str, Any]) -> str:
    """A layer's name for a figure; of a long path the end, which tells it from others."""
    label = clean(_label(row), _LONGEST_NAME, tail=True)
    # Names that begin with an underscore are left out of legends.
    return f" {label}" if label.startswith("_") else label


def _value_axes(axes: Any, described: _Described, shown: _Shown, step: int = 10) -> None:
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, step))
    axes.set_ylim(*_limits(described, shown))


def _limits(described: _Described, shown: _Shown) -> Sequence[float]:
    if not shown.head.decides.fraction:
        return 0, 1.05 * max(_values(described, shown), default=1.0) or 1.0
    low = _lowest(described, shown)
    return low, 100 + 0.02 * (100 - low)


def _values(described: _Described, shown: _Shown) -> list[float]:
    found = [shown.of(f) for row in described["layers"] for f in row["measurements"]]
    found.append(shown.of(described, "dense_"))
    return [value for value in found if math.isfinite(value)]


def _lowest(described: _Described, shown: _Shown) -> int:
    """Where the axis starts, in percent: at 0, or near what all stay above."""
    lowest = math.floor(min(_values(described, shown), default=0.0))
    return min(lowest // 5 * 5, 90) if lowest >= 50 else 0
