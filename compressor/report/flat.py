"""The results as a flat CSV: one row a (seed, sparsity), for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from compressor.report.artefacts import flat_artefacts
from compressor.runs import Results, by_sparsity, dense_of, encoding_names


def results_csv(results: Results) -> str:
    """One row a (seed, sparsity), in order of sparsity, then of seed; ends in a newline.

    Columns are the keys of results.schema.json joined by "_": `sparse_bytes`,
    `fc1_threshold`, `encoding_csr_bytes`. The dense model's values are repeated in each of
    its rows. Sizes are in bytes, accuracies 0 to 1, columns in `_ms` are times, and only
    columns with `prediction_time` in their name may differ between two runs.
    """
    names = encoding_names(results)
    rows = []
    for found in by_sparsity(results).values():
        for row, dense in zip(found, dense_of(results, found), strict=True):
            rows.append(_row(row, dense, names))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(
    row: Mapping[str, Any], dense: Mapping[str, Any], names: list[str]
) -> dict[str, float | int | str]:
    flat: dict[str, float | int | str] = {
        "seed": row["seed"],
        "sparsity": row["sparsity"],
        "dense_parameters": dense["parameters"],
        "dense_checkpoint_bytes": dense["checkpoint_bytes"],
        "dense_weights_bytes": dense["weights_bytes"],
        "dense_validation_accuracy": dense["validation_accuracy"],
        "dense_accuracy": dense["accuracy"],
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


def _times(stage: str, record: Mapping[str, Any]) -> dict[str, float | int | str]:
    time = record["prediction_time"]
    flat: dict[str, float | int | str] = {
        f"{stage}_prediction_time_{key}": time[key]
        for key in ("batch_size", "batches", "rounds", "threads")
    }
    for span in ("total", "batch"):
        for percentile, value in time[f"{span}_ms"].items():
            flat[f"{stage}_prediction_time_{span}_{percentile}_ms"] = value
    return flat
