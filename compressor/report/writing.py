"""Writing a report into its run directory, and the command that does it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.errors import UsageError
from compressor.foundation import Listener, SilentListener, write_files
from compressor.report.artefacts import flat_artefacts
from compressor.report.formatting import csv_text
from compressor.report.markdown import FIGURES, report_markdown
from compressor.report.page import report_page
from compressor.report.plotting import draw, picture_files
from compressor.report.run_contents import RunContents, read_run
from compressor.report.sections import build_report
from compressor.runs import Results, by_sparsity, check_results, dense_of, encoding_names

PAGE, MARKDOWN, CSV = "report.html", "report.md", "results.csv"
_Flat = dict[str, float | int | str]
_DENSE = ("parameters", "checkpoint_bytes", "weights_bytes", "validation_accuracy", "accuracy")


@dataclass(frozen=True)
class WrittenReport:
    """The files of a report."""

    page: Path
    """report.html, which needs no other file"""
    markdown: Path
    """report.md, which shows the pictures in figures/ beside it"""


def report_run(run: Path | str, *, listener: Listener | None = None) -> WrittenReport:
    """Write the report of the run directory `run` into it: report.html, and report.md + figures/.

    `run` is that of a sweep (results.json) or of train or prune; models, artefacts and bench.json
    are reported where they exist. An earlier report is replaced, and the same files give the same
    bytes. Raises, before anything is written, UsageError for a folder that is no run and
    CheckpointError for a results.json, bench.json or record that is damaged; and StorageError where
    a file cannot be written.
    """
    run = Path(run)
    if not run.is_dir():
        raise UsageError("no such run directory", value=run)
    listener = listener or SilentListener()
    contents = read_run(run, listener=listener)
    return _write(contents, run, listener)


def write_report(
    results: Results, directory: Path, *, listener: Listener | None = None
) -> WrittenReport:
    """Write the report of `results`, and of what else is in `directory`, into it.

    Writes results.csv, figures/*.png, figures/*.svg, then report.md, which embeds the figures by
    relative links, and last report.html, which needs no other file; the caller writes results.json.
    The same results give the same files, byte for byte. Raises CheckpointError for a document that
    is not a results document of this version, and StorageError where a file cannot be written.
    """
    check_results(results)
    directory = Path(directory)
    listener = listener or SilentListener()
    contents = read_run(directory, results, listener)
    return _write(contents, directory, listener)


def _write(contents: RunContents, directory: Path, listener: Listener) -> WrittenReport:
    report = build_report(contents)
    listener.stage("draw the report")
    # Everything is made before anything is written, and written at once.
    drawings = draw(report)
    page, text = report_page(report, drawings), report_markdown(report)
    files = picture_files(report, drawings, directory / FIGURES)
    if contents.results is not None:
        files[directory / CSV] = results_csv(contents.results).encode()
    write_files({**files, directory / MARKDOWN: text.encode(), directory / PAGE: page.encode()})
    return WrittenReport(directory / PAGE, directory / MARKDOWN)


def results_csv(results: Results) -> str:
    """One row a (seed, sparsity), in order of sparsity, then of seed; ends in a newline.

    Columns are the keys of results.schema.json joined by "_": `sparse_bytes`, `fc1_threshold`,
    `encoding_csr_bytes`. The dense model's values are repeated in each of its rows. Sizes are in
    bytes, accuracies 0 to 1, columns ending in `_ms` are times, and only columns with
    `prediction_time` in their name may differ between two runs.
    """
    names = encoding_names(results)
    rows = [
        _row(row, dense, names)
        for found in by_sparsity(results).values()
        for row, dense in zip(found, dense_of(results, found), strict=True)
    ]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return csv_text([columns, *([row.get(key, "") for key in columns] for row in rows)])


def _row(row: Mapping[str, Any], dense: Mapping[str, Any], names: list[str]) -> _Flat:
    flat: _Flat = {
        "seed": row["seed"],
        "sparsity": row["sparsity"],
        **{f"dense_{key}": dense[key] for key in _DENSE},
        **_times("dense", dense),
        "kept": sum(layer["kept"] for layer in row["layers"]),
    }
    for layer in row["layers"]:
        for key in ("parameters", "threshold", "kept"):
            flat[f"{layer['layer']}_{key}"] = layer[key]
    for stage in ("pruned", "retrained", "sparse"):
        for key, value in row[stage].items():
            if key == "prediction_time":
                flat |= _times(stage, row[stage])
            elif isinstance(value, Mapping):
                flat |= {f"{stage}_{key}_{inner}": found for inner, found in value.items()}
            else:
                flat[f"{stage}_{key}"] = value
    for name in names:
        flat[f"encoding_{name}_bytes"] = row["encodings"].get(name, "")
    return flat | flat_artefacts(dense, "dense_") | flat_artefacts(row)


def _times(stage: str, record: Mapping[str, Any]) -> _Flat:
    time = record["prediction_time"]
    flat: _Flat = {
        f"{stage}_prediction_time_{key}": time[key]
        for key in ("batch_size", "batches", "rounds", "threads")
    }
    for span in ("total", "batch"):
        for percentile, value in time[f"{span}_ms"].items():
            flat[f"{stage}_prediction_time_{span}_{percentile}_ms"] = value
    return flat
