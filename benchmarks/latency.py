"""Latency of our artefacts beside those of the stock tools: the files of `benchmarks.sizes`.

    python -m benchmarks.latency [--work FOLDER] [--models NAME ...] [--rounds N] ...

All files of a model that load are measured interleaved, in one run of `compressor.bench`: with one
thread and two, one example at a time and 32. Ratios are to the dense float32 file of TensorFlow's
converter.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import compressor
from benchmarks._record import save
from benchmarks.sizes import MODELS, folder_name
from benchmarks.tables import print_tables
from compressor import load_dataset
from compressor.commands.bench_progress import BenchProgress
from compressor.errors import UsageError
from deploy.artifact import DESCRIPTION_SUFFIX

FIRST = "stock-dense.tflite"
"""What the others are compared with."""
RUNTIMES = ("litert", "onnxruntime")
THREADS = (1, 2)
BATCHES = (1, 32)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/sizes"))
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=["90 %"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--round-seconds", type=float, default=0.1)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--examples", type=int, default=1000, help="that prove a row")
    parser.add_argument("--threads", type=int, nargs="*", default=THREADS)
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    try:
        chosen = {name: loadable(options.work / folder_name(name)) for name in options.models}
        for name, files in chosen.items():
            print(f"{name}: {len(files)} files", flush=True)
            with BenchProgress(_say) as progress:
                found[name] = compressor.bench(
                    files,
                    runtimes=RUNTIMES,
                    threads=options.threads,
                    batches=options.batches,
                    data=load_dataset(None),
                    examples=options.examples,
                    output=options.work / folder_name(name) / "bench.json",
                    rounds=options.rounds,
                    round_seconds=options.round_seconds,
                    starts=options.starts,
                    listener=progress,
                )
    except compressor.CompressorError as error:
        parser.exit(error.exit_code, f"{error}\n")
    save("latency", {"first": FIRST, "runs": found})
    print_tables("latency")


def loadable(folder: Path) -> list[Path]:
    """The described artefacts in a folder of `benchmarks.sizes`, that of `FIRST` first.

    Raises UsageError where there are none.
    """
    files = [
        path
        for path in sorted([*folder.glob("*.tflite"), *folder.glob("*.onnx")])
        if path.with_name(path.name + DESCRIPTION_SUFFIX).is_file()
    ]
    first = folder / FIRST
    if first not in files:
        raise UsageError(
            "there are no files to measure",
            value=folder,
            hint="make them with python -m benchmarks.sizes",
        )
    return [first, *(path for path in files if path != first)]


def _say(run: Any, rows: Any) -> None:
    """How the rows of a table came out."""
    counted = [row["status"] for row in rows]
    said = ", ".join(f"{counted.count(status)} {status}" for status in dict.fromkeys(counted))
    print(f"threads {rows[0]['threads']}, batch {rows[0]['batch']}: {said}", flush=True)


if __name__ == "__main__":
    main()
