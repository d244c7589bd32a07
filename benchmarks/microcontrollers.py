"""C code on Cortex-M: flash, RAM and instructions of models, counted under QEMU.

    python -m benchmarks.microcontrollers [--data DATA] [--input-range LOW,HIGH] [--sparsity S]
                                          [--tflm LIBRARY] MODEL ...

Each model is exported for each processor, for the latency, for the size, and, with data, for the
size with weights of 4 bits, which proves the code on this machine, and its self-test runs on an
emulated board, where every integer must be the same.
With `--sparsity` each model is also pruned by so much, without retraining. With `--tflm`
its int8 file runs in TensorFlow Lite for Microcontrollers on the same board, see
`benchmarks._tflm`; where rounding differs by one, so may integers. `benchmarks._cortex_m` says how
instructions are counted: of the mean run of the self-test's 8 inputs. Nothing is timed, so a busy
machine does not matter. Rows of other models stay in the results.
"""

from __future__ import annotations

import argparse
import itertools
import math
import operator
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import compressor
from benchmarks import _cortex_m, _tflm
from benchmarks._record import run_command, save, with_earlier
from benchmarks.tables import print_tables
from compressor.errors import CompressorError

AIMS: dict[str, dict[str, Any]] = {
    "latency": {"optimize": "latency"},
    "size": {"optimize": "size"},
    "size, 4 bits": {"optimize": "size", "values": 4},
}
TFLM = "TFLM"


def rows(
    model: Path, name: str, options: Mapping[str, Any], tflm: Path | None
) -> Iterator[dict[str, Any]]:
    """A row for each processor and aim, and one of TFLM. Raises CompressorError."""
    for target, aim in itertools.product(_cortex_m.TARGETS, AIMS):
        if "values" in AIMS[aim] and options["data"] is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            asked: dict[str, Any] = {"format": "c", "runtime": target, **AIMS[aim]}
            record = compressor.export(model, work / "c", **options, **asked)
            library = Path(record["path"])
            counted = _cortex_m.count(library.parent, library.stem, target, work / "firmware.elf")
            yield _row(name, target, aim, record, counted)
            if tflm is not None and (target, aim) == (_tflm.TARGET, "latency"):
                file = work / "dense.tflite"
                asked = {"runtime": "tflite-micro", "quantize": "int8", "encoding": "dense"}
                record = compressor.export(model, file, **options, **asked)
                yield _row(name, target, TFLM, record, _tflm.count(file, tflm, work))


def _row(
    name: str, target: str, code: str, record: Mapping[str, Any], counted: _cortex_m.Counted
) -> dict[str, Any]:
    tensors = record["tensors"]
    return {
        **{"model": name, "processor": target, "optimize": code},
        "accuracy": record["verdict"]["accuracy"],
        "nonzeros": sum(math.prod(one["shape"]) - one["zeros"] for one in tensors),
        "weight_bytes": sum(one["bytes"] for one in tensors),
        "encodings": [one["encoding"] for one in tensors],
        **{"flash_bytes": counted.flash, "ram_bytes": counted.ram},
        "instructions": round(counted.instructions),
        "wrong": counted.wrong,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", metavar="MODEL", type=Path, nargs="+")
    parser.add_argument("--data")
    parser.add_argument("--input-range", type=lambda text: tuple(map(float, text.split(","))))
    parser.add_argument("--sparsity")
    parser.add_argument("--tflm", metavar="LIBRARY", type=Path)
    given = parser.parse_args()
    if missing := _cortex_m.missing():
        print(f"error: not installed: {missing}", file=sys.stderr)
        return 3
    found: list[dict[str, Any]] = []
    try:
        data = None if given.data is None else compressor.load_dataset(given.data)
        options = {"data": data, "input_range": given.input_range}
        for model in given.models:
            found += rows(model, model.name, options, given.tflm)
            if given.sparsity is not None:
                with tempfile.TemporaryDirectory() as folder:
                    pruned = Path(folder, model.name)
                    asked = ("--no-retrain", "--sparsity", given.sparsity, "-o", str(pruned))
                    run_command("prune", str(model), *asked)
                    # Of a Keras model it is a run directory, with a step that was not retrained.
                    pruned = pruned / "step_2_1" if pruned.is_dir() else pruned
                    name = f"{model.name}, {100 * float(given.sparsity):g} % pruned"
                    found += rows(pruned, name, options, given.tflm)
    except CompressorError as error:
        parser.exit(error.exit_code, f"{error}\n")
    key = operator.itemgetter("model", "processor", "optimize")
    kept = with_earlier("microcontrollers", found, key)
    models = [row["model"] for row in kept]
    codes = [*AIMS, TFLM]
    kept.sort(
        key=lambda row: (
            models.index(row["model"]),
            _cortex_m.TARGETS.index(row["processor"]),
            codes.index(row["optimize"]),
        )
    )
    save("microcontrollers", {"rows": kept})
    print_tables("microcontrollers")
    return int(any(row["wrong"] for row in found if row["optimize"] != TFLM))


if __name__ == "__main__":
    sys.exit(main())
