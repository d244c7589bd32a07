"""A finished search as a document, with made-up numbers."""

from __future__ import annotations

from typing import Any

TRAINING = {"batch_size": 128, "learning_rate": 0.004, "dropout_scale": 0.1, "teacher": 0}
DENSE = {"parameters": 3274634, "weights": 3273504, "nonzeros": 3273504, "macs": 12_000_000}


def _trial(number: int, nonzeros: int, accuracy: float) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"kind": "narrow", "widths": {"conv1": 8, "conv2": 16, "fc1": 62}, "seed": 0},
        {"kind": "train", "steps": 430, "seed": 1, **TRAINING},
    ]
    if number > 3:
        sparsity = {"conv1": 0.3, "conv2": 0.8, "fc1": 0.97, "fc2": 0.6}
        steps.append({"kind": "sparse", "steps": 900, "sparsity": sparsity, "seed": 2, **TRAINING})
    return {
        **{"trial": f"trial-{number:012x}", "steps": steps, "seconds": 12.5 + number},
        **{"validation_accuracy": accuracy, "validation_loss": 0.03, "nonzeros": nonzeros},
    }


def _row(trial: str, runtime: str, size: int, accuracy: float, speed: float) -> dict[str, Any]:
    return {
        **{"file": f"{trial}-{runtime}-int8.{'tflite' if runtime == 'litert' else 'onnx'}"},
        **{"trial": trial, "runtime": runtime, "quantize": "int8", "optimize": "size"},
        **{"bytes": size, "nonzeros": 2545, "validation_accuracy": accuracy},
        **{"accuracy": accuracy - 0.0005, "latency_ms": 1.2 / speed, "ratio": 1 / speed},
    }


def search_document() -> dict[str, Any]:
    """A search of eight trials, one of which failed, with a front of two files a runtime."""
    sizes = [(52000, 0.9905), (30000, 0.9893), (12000, 0.9871), (8000, 0.9911)]
    sizes += [(4405, 0.9909), (2545, 0.9902), (1500, 0.9836)]
    trials = [_trial(number, *found) for number, found in enumerate(sizes, 1)]
    failed = {"trial": f"trial-{99:012x}", "steps": trials[-1]["steps"], "seconds": 60.0}
    front = [
        _row("trial-000000000006", "litert", 11648, 0.9902, 18.0),
        _row("trial-000000000004", "litert", 22000, 0.9911, 17.0),
        _row("trial-000000000006", "onnxruntime", 8428, 0.9902, 8.0),
        _row("trial-000000000004", "onnxruntime", 19000, 0.9911, 7.9),
    ]
    return {
        **{"schema": "compressor.search", "schema_version": 1, "state": "done"},
        "goal": {"minimize": "size", "min_accuracy": 0.99, "runtimes": ["litert", "onnxruntime"]},
        **{"wanted_accuracy": 0.99, "accepted_accuracy": 0.9886, "standard_error_accuracy": 0.0014},
        "dense": {
            **DENSE,
            "validation_accuracy": 0.9913,
            "validation_loss": 0.03,
            "accuracy": 0.9917,
        },
        "best": "trial-000000000006",
        "trials": [*trials, failed | {"error": "it took longer than 60 s"}],
        "front": front,
        "recommended": {row["runtime"]: row["file"] for row in (front[0], front[2])},
        "reasons": dict.fromkeys(
            ("litert", "onnxruntime"), "the smallest of 4 that keeps to the goal"
        ),
        "runtimes": {
            "litert": {"bytes": 13_100_000, "latency_ms": 1.2},
            "onnxruntime": {"bytes": 13_099_751, "latency_ms": 0.9},
        },
        "failed": [],
        "met": True,
    }
