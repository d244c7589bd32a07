"""Models for TFLite Micro: bytes, accuracy and arena, beside the same values stored dense.

    python -m benchmarks.tflite_micro [--data DATA] [--variants 8,5,4,ram] MODEL ...

Each variant is exported with encoded and with dense weights, and both run in TFLite Micro, where
every output on the test examples (without data: on 256 random inputs) must be the same, bit for
bit. A .tflite file keeps its values, so that only 8 and ram apply. Nothing is timed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import compressor
from compressor.data import Dataset
from compressor.exporters.graphs.file import is_graph_file
from compressor.report.formatting import count, known, percent, text_table
from compressor.runtimes import Runner
from deploy import read_artifact

RUNTIME = "tflite-micro"
VARIANTS: dict[str, dict[str, Any]] = {
    "8": {},
    "5": {"values": 5},
    "4": {"values": 4},
    "ram": {"optimize": "ram"},
}
"""Bits of a weight's values, or the smallest arena -> options of export"""
_RANDOM = 256


def row(model: Path, variant: str, data: Dataset | None) -> list[str]:
    """The row of a variant. Raises CompressorError."""
    options = {"quantize": "none" if is_graph_file(model) else "int8", **VARIANTS[variant]}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.tflite" for name in ("encoded", "dense")}
        records = {
            name: compressor.export(
                *(model, path, data),
                runtime=RUNTIME,
                encoding="dense" if name == "dense" else None,
                **options,
            )
            for name, path in paths.items()
        }
        same, examples = _identical(paths, data)
    encoded, dense = records["encoded"], records["dense"]
    arenas: list[Any] = [
        (record.get("tflite") or {}).get("arena_bytes") for record in records.values()
    ]
    return [
        *(model.name, variant, count(encoded["bytes"])),
        f"{encoded['bytes'] / dense['bytes']:.3f}",
        known(encoded["verdict"]["accuracy"], percent),
        known(arenas[0], count),
        "-" if not all(arenas) else f"{arenas[0] / arenas[1]:.3f}",
        f"{same:,} of {examples:,}",
    ]


def _identical(paths: Mapping[str, Path], data: Dataset | None) -> tuple[int, int]:
    """For how many examples both files give the same outputs, of how many."""
    found = []
    for path in paths.values():
        artifact = read_artifact(path)
        with Runner(RUNTIME, threads=1) as runner:
            runner.load(path)
            found.append(runner.predict(_inputs(artifact, data)))
    return int(np.all(found[0] == found[1], axis=1).sum()), len(found[0])


def _inputs(artifact: Any, data: Dataset | None) -> dict[str, np.ndarray]:
    if data is not None:
        (rule,) = artifact.preprocessing
        examples = np.asarray(data.x_test).reshape(-1, *rule.shape)
        return {rule.name: examples.astype(rule.dtype) * np.asarray(rule.scale, rule.dtype)}
    generator = np.random.default_rng(0)
    made = {}
    for port in artifact.inputs:
        shape = (_RANDOM, *port.shape[1:])
        whole = np.dtype(port.dtype).kind in "iu"
        values = generator.integers(-128, 128, shape) if whole else generator.random(shape)
        made[port.name] = values.astype(port.dtype)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", metavar="MODEL", type=Path, nargs="+")
    parser.add_argument("--data")
    parser.add_argument("--variants", default="8,5,4,ram")
    given = parser.parse_args()
    data = None if given.data is None else compressor.load_dataset(given.data)
    header = ["model", "variant", "bytes", "times\ndense", "accuracy\n%", "arena\nbytes"]
    header += ["times\ndense", "identical\noutputs"]
    table = []
    for model in given.models:
        for variant in given.variants.split(","):
            if is_graph_file(model) and "values" in VARIANTS[variant]:
                continue
            table.append(row(model, variant, data))
    print(text_table(header, table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
