"""Accuracy of weights in few bits, without retraining: reconstructed beside the nearest rounding.

    python -m benchmarks.rounding MODEL [--seeds 0,1,2]

MODEL is a dense model of the paper's CNN, trained on the embedded MNIST. Every file runs in its
runtime; the seeds draw the inputs that weights are rounded on.
"""

from __future__ import annotations

import argparse
import functools
import time
from pathlib import Path
from typing import Any

from benchmarks._record import save
from benchmarks.tables import print_tables
from compressor import load_dataset
from compressor.exporters import FORMATS, ExportJob
from compressor.exporters.checking import Checked
from compressor.exporters.rounding import EXAMPLES
from compressor.exporters.variants import worse
from compressor.foundation import quiet_tensorflow

VARIANTS = (
    ("onnx", "int4"),
    ("onnx", "ternary"),
    ("onnx", "codebook"),
    ("onnx", "int8"),
    ("tflite", "int4"),
    ("tflite", "int8"),
)


def main() -> None:
    """Round, export, run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    options = parser.parse_args()
    quiet_tensorflow.NativeOutput().hold_back()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    data = load_dataset(None)
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        with ExportJob(options.model, data, seed=seed) as job:
            for file_format, quantize in VARIANTS:
                if seed == seeds[0]:
                    rows.append({"format": file_format, "quantize": quantize, "reconstruct": []})
                row = rows[VARIANTS.index((file_format, quantize))]
                _measure(job, row)
                print(
                    f"seed {seed}, {file_format} {quantize}: {row['reconstruct'][-1]}", flush=True
                )
    accuracy = job.test.accuracy if job.test is not None else None
    found = {"seeds": seeds, "examples": EXAMPLES, "dense_accuracy": accuracy, "rows": rows}
    save("rounding", found)
    print_tables("rounding")


def _measure(job: ExportJob, row: dict[str, Any]) -> None:
    """Add to `row` the file rounded on the inputs of this job, and once that to the nearest."""
    file_format, runtime = row["format"], FORMATS[row["format"]]
    request = job.request(runtime, row["quantize"], "size", None)
    file = job.build(file_format, request)
    nearest = job.on_test(job.check(file_format, request, file))
    row.setdefault("nearest", _facts(nearest))
    assert job.rounder is not None
    start = time.perf_counter()
    made = job.rounder.rounded(functools.partial(job.build, file_format), request, file)
    seconds = time.perf_counter() - start
    if isinstance(made, str):
        row["reconstruct"].append({"reason": made})
        return
    rounded = job.on_test(job.check(file_format, *made))
    reason = worse(rounded, nearest)
    row["reconstruct"].append(_facts(rounded) | {"seconds": round(seconds, 1), "reason": reason})


def _facts(checked: Checked) -> dict[str, Any]:
    test = checked.verdict.test
    return {
        "bytes": checked.size,
        "accuracy": None if test is None else test.accuracy,
        "validation_accuracy": checked.verdict.chosen_on.accuracy,
        "passed": checked.verdict.passed,
    }


if __name__ == "__main__":
    main()
