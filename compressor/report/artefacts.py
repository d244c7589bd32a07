"""The artefacts of a sweep, beside the dense model: bytes, and accuracy in their runtimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from compressor.report import formatting as form, plotting as plot
from compressor.report.answer import dense_mean
from compressor.report.content import Figure, Table
from compressor.runs import Results, by_sparsity, is_slower
from deploy.text import clean

COLUMNS = tuple(
    (file_format, shape) for file_format in ("tflite", "onnx") for shape in ("float32", "smallest")
)
FORMATS = {"tflite": "TFLite", "onnx": "ONNX"}
_FAILED = "FAILED"
_LONGEST_ERROR, _MOST_ERRORS = 300, 20


def has_artefacts(results: Results) -> bool:
    """Whether any model of the experiment was exported, be it in vain."""
    return any("artefacts" in row for row in (*results["dense"], *results["proportions"]))


def has_files(results: Results) -> bool:
    """Whether any export of the experiment succeeded."""
    return any(row.get("artefacts") for row in (*results["dense"], *results["proportions"]))


def failed_exports(results: Results) -> list[str]:
    """A line for each artefact that was not made: of what, as what, and why; not too many."""
    lines = [
        f"{name}, seed {row['seed']}, {FORMATS[failed['format']]} "
        f"{failed['form']}: {clean(failed['error'], _LONGEST_ERROR)}"
        for name, _, rows in _with_dense(results)
        for row in rows
        for failed in row.get("export_errors", ())
    ]
    more = len(lines) - _MOST_ERRORS
    return lines if more <= 0 else [*lines[:_MOST_ERRORS], f"and {more} more, in results.json"]


def artefact_sizes(rows: Sequence[Mapping[str, Any]], file_format: str, shape: str) -> list[float]:
    """The bytes of each such artefact in `rows`; `shape` is float32 or smallest."""
    return [float(artefact["bytes"]) for artefact in _found(rows, file_format, shape)]


def artefact_table(results: Results) -> Table:
    """A row for the dense model and for each proportion: bytes and accuracy of its artefacts."""
    header = ["pruned"]
    for file_format, shape in COLUMNS:
        name = f"{FORMATS[file_format]} {shape}"
        header += [f"{name} (bytes)", f"{name} (%)"]
    note = (
        f"Bytes of the file, and accuracy of the file in {_runtimes(results)} on the test "
        "images. float32 keeps every weight to the bit; smallest is the quantisation with the "
        "fewest bytes whose validation accuracy holds and that is fast enough. x the time: "
        "latency, measured in turns with that of the model dense in float32. Every model was "
        "shrunk exactly first."
    )
    if failed := failed_exports(results):
        note += f" FAILED: {'; '.join(failed)}."
    return Table(header, _lines(results), note=note)


def artefact_text(results: Results) -> str:
    """`artefact_table` in aligned columns for a terminal."""
    header = ["pruned"]
    for file_format, shape in COLUMNS:
        header += [f"{FORMATS[file_format]}\n{shape}\nbytes", "\n\n%"]
    return form.text_table(header, _lines(results)) + (
        f"bytes of the file, and its accuracy in {_runtimes(results)}; smallest: the quantisation "
        "whose validation accuracy holds; x the time: latency beside dense float32's\n"
        + "".join(f"FAILED: {line}\n" for line in failed_exports(results))
    )


def flat_artefacts(record: Mapping[str, Any], prefix: str = "") -> dict[str, float | int | str]:
    """Columns of results.csv for the artefacts of one model."""
    return {
        f"{prefix}{artefact['format']}_{artefact['form']}_{key}": artefact[key]
        for artefact in record.get("artefacts", ())
        for key in ("bytes", "accuracy", "quantize")
    } | {
        f"{prefix}{failed['format']}_{failed['form']}_error": clean(failed["error"], _LONGEST_ERROR)
        for failed in record.get("export_errors", ())
    }


def _lines(results: Results) -> list[list[str]]:
    return [[name, *_cells(rows)] for name, _, rows in _with_dense(results)]


def _with_dense(results: Results) -> list[tuple[str, float, list[dict[str, Any]]]]:
    """The rows of the dense models, and of each sparsity: name, sparsity, rows."""
    pruned = by_sparsity(results).items()
    named = [(form.proportion(sparsity), sparsity, rows) for sparsity, rows in pruned]
    return [("dense", 0.0, list(results["dense"])), *named]


def _found(
    rows: Sequence[Mapping[str, Any]], file_format: str, shape: str
) -> list[Mapping[str, Any]]:
    return [
        artefact
        for row in rows
        for artefact in row.get("artefacts", ())
        if (artefact["format"], artefact["form"]) == (file_format, shape)
    ]


def _failed(rows: Sequence[Mapping[str, Any]], file_format: str, shape: str) -> bool:
    return any(
        (failed["format"], failed["form"]) == (file_format, shape)
        for row in rows
        for failed in row.get("export_errors", ())
    )


def _cells(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = []
    for file_format, shape in COLUMNS:
        found = _found(rows, file_format, shape)
        if not found:
            cells += [_FAILED if _failed(rows, file_format, shape) else form.NOTHING, form.NOTHING]
            continue
        size = form.count(form.mean([artefact["bytes"] for artefact in found]))
        chosen = sorted({artefact["quantize"] for artefact in found} - {"none"})
        speeds = [speed for artefact in found if (speed := artefact.get("speed")) is not None]
        if speeds:
            slower = ", slower" if any(map(is_slower, speeds)) else ""
            ratio = form.mean([speed["ratio"]["value"] for speed in speeds])
            chosen.append(f"{ratio:.2f}x the time{slower}")
        cells.append(f"{size} ({', '.join(chosen)})" if chosen else size)
        cells.append(form.percent(form.mean([artefact["accuracy"] for artefact in found])))
    return cells


def _runtimes(results: Results) -> str:
    found = {
        f"{artefact['runtime']} {artefact['runtime_version']}": None
        for row in (*results["dense"], *results["proportions"])
        for artefact in row.get("artefacts", ())
    }
    return " and ".join(found) or "no runtime"


def artefact_figure(results: Results) -> Figure:
    """The bytes of the exported files, and from where on each is smaller than the dense one."""
    return Figure(
        "figure_artefacts",
        "Size of the artefacts, against the pruning proportion",
        _caption(results),
        partial(_draw, results),
    )


def _sizes(results: Results, file_format: str, shape: str) -> dict[float, float]:
    """Mean bytes by sparsity."""
    return {
        sparsity: form.mean(sizes)
        for _, sparsity, found in _with_dense(results)
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
    weights = dense_mean(results, "weights_bytes")
    plot.size_line(axes, weights / 1e6, "weights")
    axes.set_yscale("log")
    plot.plain_log_axis(axes.yaxis)
    plot.percent_axis(axes, "pruning proportion", lowest=-2)
    axes.set_ylabel("size of the file (MB)")
    plot.legend_above(axes, 2)
    return figure


def _caption(results: Results) -> str:
    weights = dense_mean(results, "weights_bytes")
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
        "No file is larger than its dense variant: what would be is stored dense. The axis is "
        "logarithmic."
    )
