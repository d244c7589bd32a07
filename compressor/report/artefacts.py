"""The artefacts of a sweep: bytes and accuracy in their runtimes, beside the dense model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.report import formatting as form
from compressor.report.content import Table
from compressor.runs import Results, by_sparsity

COLUMNS = tuple(
    (file_format, shape) for file_format in ("tflite", "onnx") for shape in ("float32", "smallest")
)
FORMATS = {"tflite": "TFLite", "onnx": "ONNX"}


def has_artefacts(results: Results) -> bool:
    """Whether any model of the experiment was exported."""
    return any("artefacts" in row for row in (*results["dense"], *results["proportions"]))


def artefact_sizes(rows: Sequence[Mapping[str, Any]], file_format: str, shape: str) -> list[float]:
    """The bytes of the artefacts of that format and form, of records of one proportion."""
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
        "fewest bytes whose accuracy holds. Every model was shrunk exactly first."
    )
    return Table(header, _lines(results), note=note)


def artefact_text(results: Results) -> str:
    """The same in aligned columns for a terminal."""
    header = ["pruned"]
    for file_format, shape in COLUMNS:
        header += [f"{FORMATS[file_format]}\n{shape}\nbytes", "\n\n%"]
    return form.text_table(header, _lines(results)) + (
        f"bytes of the file, and its accuracy in {_runtimes(results)}; smallest: the quantisation "
        "whose accuracy holds\n"
    )


def flat_artefacts(record: Mapping[str, Any], prefix: str = "") -> dict[str, float | int | str]:
    """Columns of results.csv for the artefacts of one model."""
    flat: dict[str, float | int | str] = {}
    for artefact in record.get("artefacts", ()):
        name = f"{prefix}{artefact['format']}_{artefact['form']}"
        flat |= {f"{name}_{key}": artefact[key] for key in ("bytes", "accuracy", "quantize")}
    return flat


def _lines(results: Results) -> list[list[str]]:
    rows = {"0 %": results["dense"]} | {
        form.proportion(sparsity): found for sparsity, found in by_sparsity(results).items()
    }
    return [[name, *_cells(found)] for name, found in rows.items()]


def _found(
    rows: Sequence[Mapping[str, Any]], file_format: str, shape: str
) -> list[Mapping[str, Any]]:
    return [
        artefact
        for row in rows
        for artefact in row.get("artefacts", ())
        if (artefact["format"], artefact["form"]) == (file_format, shape)
    ]


def _cells(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = []
    for file_format, shape in COLUMNS:
        found = _found(rows, file_format, shape)
        if not found:
            cells += [form.NOTHING, form.NOTHING]
            continue
        size = form.count(form.mean([artefact["bytes"] for artefact in found]))
        chosen = sorted({artefact["quantize"] for artefact in found})
        cells.append(size if shape == "float32" else f"{size} ({', '.join(chosen)})")
        cells.append(form.percent(form.mean([artefact["accuracy"] for artefact in found])))
    return cells


def _runtimes(results: Results) -> str:
    found = {
        f"{artefact['runtime']} {artefact['runtime_version']}": None
        for row in (*results["dense"], *results["proportions"])
        for artefact in row.get("artefacts", ())
    }
    return " and ".join(found)
