"""C code on Cortex-M: flash, RAM and instructions of models, counted under QEMU.

    python -m benchmarks.microcontrollers [--data DATA] MODEL ...

Each model is exported for each processor, for the latency and for the size, which proves the code
on this machine, and its self-test runs on an emulated board, where every integer must be the same.
`benchmarks._cortex_m` says how instructions are counted. Nothing is timed, so a busy machine does
not matter.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Literal

import compressor
from benchmarks import _cortex_m
from compressor.report.formatting import count, percent, text_table

AIMS: tuple[Literal["latency", "size"], ...] = ("latency", "size")


def rows(models: list[Path], data: str | None) -> list[list[str]]:
    """A row of the table for each model and processor. Raises CompressorError."""
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
            accuracy = record["verdict"]["accuracy"]
            found.append(
                [
                    *(model.name, target, aim, "-" if accuracy is None else percent(accuracy)),
                    count(sum(tensor["bytes"] for tensor in record["tensors"])),
                    *map(count, (counted.flash, counted.ram, round(counted.instructions))),
                    "right" if counted.wrong == 0 else f"{counted.wrong} WRONG",
                ]
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
    header = [
        "model",
        "processor",
        "for the",
        "accuracy\n%",
        "weights\nbytes",
        "flash\nbytes",
        "RAM\nbytes",
        "instructions",
        "",
    ]
    table = rows(given.models, given.data)
    print(text_table(header, table))
    return int(any("WRONG" in row[-1] for row in table))


if __name__ == "__main__":
    sys.exit(main())
