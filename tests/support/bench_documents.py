"""A bench document made of formulas, with a row of every kind: right, unproven, wrong, failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

RUNTIMES = {
    "tflite": ("litert", "tflite-runtime"),
    "onnx": ("onnxruntime",),
}
VERSIONS = {"litert": "2.3.0", "tflite-runtime": "2.14.0", "onnxruntime": "1.31.1"}
# name, format, bytes, accuracy, latency in ms with one thread and one example, quantize
ARTEFACTS = (
    ("dense-float32.tflite", "tflite", 13_100_720, 0.9911, 0.45, "none"),
    ("pruned90-int8.tflite", "tflite", 486_752, 0.9906, 0.095, "int8"),
    ("pruned98-int8.tflite", "tflite", 66_016, 0.9892, 0.081, "int8"),
    ("dense-float32.onnx", "onnx", 13_099_000, 0.9911, 0.42, "none"),
    ("pruned90-codebook.onnx", "onnx", 298_436, 0.9903, 0.41, "codebook"),
    ("pruned98-int8.onnx", "onnx", 50_907, 0.9891, 0.11, "int8"),
)


def bench_document(
    settings: Sequence[tuple[int, int]] = ((1, 1), (2, 32)), **changes: Any
) -> dict[str, Any]:
    """A bench document of one run: every artefact in every runtime of its format.

    The 98 % TFLite file is wrong in tflite-runtime and was too slow there with two threads.
    `changes` replace keys of the run.
    """
    rows = [
        _row(index, runtime, threads, batch)
        for threads, batch in settings
        for index, artefact in enumerate(ARTEFACTS)
        for runtime in RUNTIMES[artefact[1]]
    ]
    run = {
        "id": "2026-11-24T20-40-00Z",
        "started": "2026-11-24T20:40:00Z",
        "finished": "2026-11-24T20:55:10Z",
        "interrupted": False,
        "compressor_version": "0.1.0",
        "machine": {
            "cpu": "Imaginary CPU @ 2.00 GHz",
            "cores": 2,
            "memory_bytes": 8 * 2**30,
            "system": "Linux 6.1",
            "governor": None,
            "load_average": [0.25, 1.5],
            "gpu": None,
        },
        "settings": {
            "threads": sorted({threads for threads, _ in settings}),
            "batches": sorted({batch for _, batch in settings}),
            "rounds": 10,
            "round_seconds": 0.5,
            "starts": 5,
            "time_limit_s": 120.0,
            "confidence": 0.95,
        },
        "data": {"name": "mnist", "sha256": "cd" * 32, "examples": 10_000},
        "artefacts": [_artefact(*artefact) for artefact in ARTEFACTS],
        "rows": rows,
    }
    return {"schema": "compressor.bench", "schema_version": 1, "runs": [run | changes]}


def _artefact(
    name: str, file_format: str, size: int, accuracy: float, _: float, quantize: str
) -> dict[str, Any]:
    return {
        "file": f"artefacts/{name}",
        "name": name,
        "format": file_format,
        "bytes": size,
        "sha256": "ab" * 32,
        "quantize": quantize,
        "optimize": "size",
        "sparsity": None,
        "described": True,
        "accuracy": accuracy,
        "reference_accuracy": accuracy,
    }


def _row(index: int, runtime: str, threads: int, batch: int) -> dict[str, Any]:
    name, file_format, size, accuracy, first, _ = ARTEFACTS[index]
    slower = 1.3 if runtime == "tflite-runtime" else 1.0
    wrong = runtime == "tflite-runtime" and name.startswith("pruned98")
    row: dict[str, Any] = {
        "artefact": index,
        "runtime": runtime,
        "threads": threads,
        "batch": batch,
        "transfer": "copies",
        "status": "wrong" if wrong else "right",
        "reason": None,
    }
    if wrong and threads > 1:
        reason = "the process was stopped after 120 s"
        return row | {"status": "failed", "reason": reason, "latency_ms": None}
    if wrong:
        row["reason"] = "accuracy 9.80 %, described is 98.92 %"
    if name == "dense-float32.onnx":
        row |= {"status": "unproven", "reason": "no description lies beside the artefact"}
    latency = first * slower * batch**0.8 / threads**0.7
    return row | {
        "version": VERSIONS[runtime],
        "provider": "CPUExecutionProvider" if file_format == "onnx" else None,
        "delegate": {"name": "XNNPACK", "nodes": 5, "of": 9} if file_format == "tflite" else None,
        "numpy": "1.26.4" if runtime == "tflite-runtime" else "2.4.6",
        "python": "3.11.9",
        "cpus": list(range(threads)),
        "accuracy": 0.098 if wrong else accuracy,
        "examples": 10_000,
        "agreement": 0.1 if wrong else 0.998,
        "check": {"passed": not wrong, "examples": 32, "difference": 0.002, "tolerance": 0.05},
        "import_ms": {"p50": 41.0, "samples": 5},
        "load_ms": {"p50": 2.0 + size / 4e6, "samples": 5},
        "first_ms": {"p50": 3 * latency, "samples": 5},
        "latency_ms": {
            "p50": {"value": latency, "low": latency * 0.98, "high": latency * 1.03},
            "p90": {"value": latency * 1.1, "low": latency * 1.05, "high": latency * 1.2},
            "p99": {"value": latency * 1.4, "low": latency * 1.2, "high": latency * 1.9},
            "samples": 2000,
            "rounds": 10,
        },
        "ratio": {"value": latency / _first(threads, batch), "low": 0.01, "high": 3.0},
        "throughput": {"value": 1000 * batch / latency, "low": 1.0, "high": 1e6},
        "warmup": {"runs": 60, "settled": True},
        "timer_ns": 35.0,
        "call_ns": 900.0,
        "peak_memory_bytes": 52_000_000 + size,
        "gpu_memory_bytes": None,
    }


def _first(threads: int, batch: int) -> float:
    return float(ARTEFACTS[0][4] * batch**0.8 / threads**0.7)
