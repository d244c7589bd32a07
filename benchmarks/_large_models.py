"""What it takes to export a large model: CPU seconds, and memory as a multiple of its weights.

A small model is exported in the same way: what it takes, TensorFlow and the runtime, is taken off.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.applications import COMMAND, measure

UNITS = (784, 4096, 8192, 1500, 10)
"""49 million weights"""
SMALL = (16, 32, 10)
SPARSITIES = (0.0, 0.9)
KINDS = tuple(itertools.product(("onnx", "tflite"), ("none", "dynamic", "int8")))


def build(units: tuple[int, ...], sparsity: float, path: Path) -> int:
    """Save fully connected layers with random weights, some of them zero; returns how many."""
    import numpy as np

    from compressor.foundation import quiet_tensorflow

    _, keras = quiet_tensorflow.load()
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(size, activation="relu") for size in units[1:-1]]
    last = keras.layers.Dense(units[-1], activation="softmax")
    model = keras.Sequential([keras.Input(units[:1]), *layers, last])
    for layer in model.layers[:-1]:
        kernel = layer.kernel.numpy()
        kernel[np.abs(kernel) < np.quantile(np.abs(kernel), sparsity)] = 0
        layer.kernel.assign(kernel)
    model.save(path)
    return int(model.count_params())


def rows() -> list[dict[str, Any]]:
    """A row for each sparsity, format and quantisation."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.keras", Path(folder) / "large.keras"
        _build_apart(SMALL, 0.0, small)
        for sparsity in SPARSITIES:
            weights = 4 * _build_apart(UNITS, sparsity, large)
            for file_format, quantize in KINDS:
                options = ["--format", file_format, "--quantize", quantize, "--force"]
                options += ["--input-range=-1,1"] if quantize == "int8" else []
                before, taken = (
                    measure([COMMAND, "export", str(path), *options]) for path in (small, large)
                )
                if taken["status"]:
                    print(f"{file_format}, {quantize}: exit code {taken['status']}", flush=True)
                    continue
                row: dict[str, Any] = {"sparsity": sparsity, "format": file_format}
                row |= {"quantize": quantize, "weights_bytes": weights}
                for name in ("cpu_seconds", "memory", "largest_process"):
                    row |= {name: taken[name], f"{name}_beyond_small": taken[name] - before[name]}
                found.append(row)
                times = row["largest_process_beyond_small"] / weights
                print(
                    f"{100 * sparsity:3g} % {file_format:6} {quantize:8} "
                    f"{row['cpu_seconds']:6.1f} CPU s, {row['largest_process'] / 1e9:5.2f} GB in "
                    f"the largest process: {times:.2f} times the weights beyond a small model; "
                    f"{row['memory'] / 1e9:5.2f} GB in all",
                    flush=True,
                )
    return found


def _build_apart(units: tuple[int, ...], sparsity: float, path: Path) -> int:
    # In a process of its own, as every export is, so that nothing is left in memory.
    call = f"build({units}, {sparsity}, Path({str(path)!r}))"
    code = f"from benchmarks._large_models import *; print({call})"
    built = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(built.stdout.split()[-1])
