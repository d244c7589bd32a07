"""C code on Cortex-M: flash, RAM and instructions of models, counted under QEMU.

    python -m benchmarks.microcontrollers [--data DATA] MODEL ...

Each model is exported for each processor, for the latency and for the size, which proves the code
on this machine, and its self-test runs on an emulated board, where every integer must be the same.
`benchmarks._cortex_m` says how instructions are counted: of the mean run of the self-test's 8
inputs. Nothing is timed, so a busy machine does not matter.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import compressor
from benchmarks import _cortex_m
from benchmarks._record import save
from benchmarks.tables import print_tables
from compressor.errors import CompressorError

AIMS: tuple[Literal["latency", "size"], ...] = ("latency", "size")


def rows(models: list[Path], data: str | None) -> list[dict[str, Any]]:
    """A row for each model, processor and aim. Raises CompressorError."""
    loaded = None if data is None else compressor.load_dataset(data)
    found = []
    for model in models:
        for target, aim in itertools.product(_cortex_m.BOARDS, AIMS):
            with tempfile.TemporaryDirectory() as folder:
                record = compressor.export(
                    model, Path(folder) / "c", loaded, format="c", runtime=target, optimize=aim
                )
                library = Path(record["path"])
                counted = _cortex_m.count(
                    library.parent, library.stem, target, Path(folder) / "firmware.elf"
                )
            tensors = record["tensors"]
            found.append(
                {
                    **{"model": model.name, "processor": target, "optimize": aim},
                    "accuracy": record["verdict"]["accuracy"],
                    "nonzeros": sum(math.prod(one["shape"]) - one["zeros"] for one in tensors),
                    "weight_bytes": sum(one["bytes"] for one in tensors),
                    "encodings": [one["encoding"] for one in tensors],
                    **{"flash_bytes": counted.flash, "ram_bytes": counted.ram},
                    "instructions": round(counted.instructions),
                    "wrong": counted.wrong,
                }
            )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", metavar="MODEL", type=Path, nargs="+")
    parser.add_argument("--data")
    given = parser.parse_args()
    if missing := _cortex_m.missing():
        print(f"error: not installed: {missing}", file=sys.stderr)
        return 3
    try:
        found = rows(given.models, given.data)
    except CompressorError as error:
        parser.exit(error.exit_code, f"{error}\n")
    save("microcontrollers", {"rows": found})
    print_tables("microcontrollers")
    return int(any(row["wrong"] for row in found))


if __name__ == "__main__":
    sys.exit(main())
