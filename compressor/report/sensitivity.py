"""The sensitivity of a model to pruning, layer by layer: table, CSV and figure.

Every function takes what `Sensitivity.describe` gives. A few layers share one pair of axes; more
have a panel each, since nobody can tell thirty lines apart.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.foundation import json_text, write_files
from compressor.report import formatting as form, plotting as plot
from deploy.text import clean

_NAME = "sensitivity"  # of each file, without suffix

_Described = Mapping[str, Any]
_COLOURS = plot.SERIES[:-1]
_MARKERS = "os^Dv*"
_DENSE = {"color": plot.MUTED, "lw": 1.2, "linestyle": "--", "zorder": 1}
_WIDEST = 5  # panels in a row
_LONGEST_NAME = 24


def sensitivity_text(described: _Described) -> str:
    """The accuracies in percent, a row for each layer, and how far each may be pruned."""
    described = form.cleaned(described)
    targets = _targets(described)
    rows = [
        [
            _label(row),
            form.count(row["parameters"]),
            *(f"{100 * found['accuracy']:.1f}" for found in row["measurements"]),
            form.known(row["highest_sparsity"], form.proportion),
        ]
        for row in described["layers"]
    ]
    header = ["layer", "weights", *map(form.proportion, targets), "up to"]
    points = 100 * described["tolerance"]
    lines = [
        f"{described['model']}: dense accuracy "
        f"{100 * described['dense_accuracy']:.1f} % on {_examples(described)}",
        f"accuracy in % when one layer alone is pruned ({described['granularity']}, "
        f"by {described['criterion']}); nothing is retrained",
        form.text_table(header, rows).rstrip("\n"),
        f"up to: the sparsity up to which it costs at most {points:g} point of accuracy",
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


def sensitivity_csv(described: _Described) -> str:
    """One row a measurement; coupled layers are separated by spaces, accuracies 0 to 1."""
    measured, whole = ("target_sparsity", "sparsity", "accuracy"), ("dense_accuracy", "examples")
    rows: list[list[Any]] = [["layer", "layers", "parameters", *measured, *whole]]
    for row in described["layers"]:
        layer = [row["layer"], " ".join(row["layers"]), row["parameters"]]
        for found in row["measurements"]:
            values = [found[key] for key in measured]
            rows.append([*layer, *values, *(described[key] for key in whole)])
    return form.csv_text(rows)


def write_sensitivity(described: _Described, directory: Path | str) -> list[Path]:
    """Write sensitivity.json, .csv, .png (220 dpi) and .svg; other files there stay.

    Returns the paths written. Raises StorageError where a file cannot be written.
    """
    directory = Path(directory)
    with plot.style():
        drawn = plot.drawn(_figure(form.cleaned(described)))
    files = {
        directory / f"{_NAME}.json": json_text(described).encode(),
        directory / f"{_NAME}.csv": sensitivity_csv(described).encode(),
        **plot.files_of(drawn, directory, _NAME),
    }
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


def _figure(described: _Described) -> Any:
    layers = described["layers"]
    if len(_targets(described)) == 1:
        return _dots(described)
    return _together(described) if len(layers) <= len(_COLOURS) else _panels(described)


def _new_figure(
    described: _Described, size: tuple[float, float], more: str = ""
) -> tuple[Any, Any]:
    note = (
        f"{described['model']}. Each layer is pruned alone ({described['granularity']}, "
        f"by {described['criterion']}) and nothing is retrained. "
        f"Accuracy on {_examples(described)}, set aside from the training examples."
    )
    if _lowest(described):
        note += f" The axis starts at {_lowest(described):g} %, not at 0."
    figure, axes = plot.new_figure(*size)
    figure.suptitle("Accuracy when one layer is pruned", fontsize=12)
    wrapped = textwrap.fill(f"{note} {more}", width=int(size[0] * 15))
    figure.supxlabel(wrapped, fontsize=plot.SMALL, color=plot.MUTED)
    return figure, axes


def _together(described: _Described) -> Any:
    figure, axes = _new_figure(described, (8.0, 5.0))
    _dense_line(axes, described)
    for row, colour, marker in zip(described["layers"], _COLOURS, _MARKERS, strict=False):
        axes.plot(*_points(row), color=colour, marker=marker, ms=5, lw=1.5, label=_short(row))
    _percent_axes(axes, described)
    axes.set_xlabel("sparsity of the layer (%)")
    axes.set_ylabel("accuracy (%)")
    longest = max(len(_short(row)) for row in described["layers"])
    # The figure has room for about 75 letters, and a mark takes that of eight.
    plot.legend_above(axes, 75 // (longest + 8), last=_dense_label(described))
    return figure


def _panels(described: _Described) -> Any:
    """A panel for each layer in the order of the model, the others behind it in grey."""
    layers = described["layers"]
    lines = math.ceil(len(layers) / _WIDEST)
    columns = math.ceil(len(layers) / lines)
    more = "In each panel the other layers are grey; dashed: the dense accuracy, "
    more += f"{100 * described['dense_accuracy']:.1f} %."
    figure, whole = _new_figure(described, (max(2.1 * columns, 8.0), 1.7 * lines + 1.2), more)
    whole.remove()
    # Not shared axes, whose time grows with the square of their number.
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    behind: tuple[list[float], list[float]] = ([], [])
    for row in layers:
        for together, values in zip(behind, _points(row), strict=True):
            # A gap after each layer, so that one line draws them all.
            together += [*values, math.nan]
    for number, panel in enumerate(panels):
        if number >= len(layers):
            panel.remove()
            continue
        panel.plot(*behind, color=plot.GRID, lw=0.8, zorder=0)
        _dense_line(panel, described)
        panel.plot(*_points(layers[number]), color=plot.BLUE, marker="o", ms=2.5, lw=1.5)
        panel.set_title(_short(layers[number]), fontsize=8, pad=3)
        _percent_axes(panel, described, step=50)
        left, bottom = number % columns == 0, number + columns >= len(layers)
        panel.tick_params(labelsize=7, labelleft=left, labelbottom=bottom)
        if bottom:
            panel.set_xlabel("sparsity (%)", fontsize=8)
        if left:
            panel.set_ylabel("accuracy (%)", fontsize=8)
    return figure


def _dots(described: _Described) -> Any:
    """One sparsity only: a line for each layer from the dense accuracy to its own."""
    layers = described["layers"]
    figure, axes = _new_figure(described, (8.0, 2.6 + 0.24 * len(layers)))
    dense = 100 * described["dense_accuracy"]
    found = [100 * row["measurements"][0]["accuracy"] for row in layers]
    places = range(len(layers))
    axes.axvline(dense, label=_dense_label(described), **_DENSE)
    axes.hlines(places, found, dense, color=plot.SKY, lw=1.5, zorder=1)
    label = f"the layer alone at {form.proportion(_targets(described)[0])}"
    axes.plot(found, places, "o", color=plot.BLUE, ms=6, label=label)
    axes.set_yticks(places, [_short(row) for row in layers], fontsize=8)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_xlim(*_limits(described))
    axes.grid(axis="x")
    axes.set_xlabel("accuracy (%)")
    plot.legend_above(axes, last=_dense_label(described))
    return figure


def _points(row: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Sparsities that were reached and accuracies, in percent."""
    found = row["measurements"]
    return [100 * f["sparsity"] for f in found], [100 * f["accuracy"] for f in found]


def _dense_line(axes: Any, described: _Described) -> None:
    axes.axhline(100 * described["dense_accuracy"], label=_dense_label(described), **_DENSE)


def _dense_label(described: _Described) -> str:
    return f"dense: {100 * described['dense_accuracy']:.1f} %"


def _short(row: Mapping[str, Any]) -> str:
    """A layer's name for a figure; of a long path the end, which tells it from others."""
    label = clean(_label(row), _LONGEST_NAME, tail=True)
    # Names that begin with an underscore are left out of legends.
    return f" {label}" if label.startswith("_") else label


def _percent_axes(axes: Any, described: _Described, step: int = 10) -> None:
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, step))
    axes.set_ylim(*_limits(described))


def _limits(described: _Described) -> Sequence[float]:
    low = _lowest(described)
    return low, 100 + 0.02 * (100 - low)


def _lowest(described: _Described) -> int:
    """Where the axis of accuracy starts, in percent: at 0, or near what all stay above."""
    found = [f["accuracy"] for row in described["layers"] for f in row["measurements"]]
    lowest = math.floor(100 * min(*found, described["dense_accuracy"]))
    return min(lowest // 5 * 5, 90) if lowest >= 50 else 0
