"""C code on this machine beside LiteRT, in one run: at each level of instructions.

    python -m benchmarks.sparse_c --dense MODEL [--data DATA] MODEL ...

Each model is exported as C code for hosts and compiled for SSE4, AVX2 and AVX-512, as far as this
processor has them; beside them run MODEL of `--dense` as dense float32 TFLite, and each model as
TFLite for the latency in float32, dynamic and int8. All are measured interleaved by
`compressor.bench`, with one thread, one example at a time; times are medians.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import compressor
from benchmarks._record import save
from benchmarks.tables import print_tables
from compressor.errors import CompressorError
from compressor.exporters.c.compiling import FLAGS
from compressor.exporters.request import Quantize
from compressor.runtimes import c_compiler

LEVELS = {"SSE4": "x86-64-v2", "AVX2": "x86-64-v3", "AVX-512": "x86-64-v4"}
"""Name -> -march of gcc and clang."""
_FLAGS = {"x86-64-v2": "sse4_2", "x86-64-v3": "avx2", "x86-64-v4": "avx512bw"}
"""What /proc/cpuinfo calls it."""


KINDS: tuple[Quantize, ...] = ("none", "dynamic", "int8")
"""of TFLite files: which is the fastest depends on the processor"""


def levels() -> dict[str, str]:
    """The levels that this processor has."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    return {name: march for name, march in LEVELS.items() if f" {_FLAGS[march]} " in told}


def compiled(library: Path, march: str, folder: Path) -> Path:
    """An exported library, compiled for one level, with its description and check vectors."""
    folder.mkdir()
    made, stem = folder / library.name, library.stem
    sources = [str(library.with_name(f"{stem}{end}.c")) for end in ("", "_library")]
    flags = (*FLAGS, "-DONE_LEVEL")
    compiler = c_compiler() or "cc"
    subprocess.run([compiler, *flags, f"-march={march}", "-o", made, *sources], check=True)
    described = json.loads(library.with_name(f"{library.name}.json").read_text())
    content = made.read_bytes()
    described |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    made.with_name(f"{made.name}.json").write_text(json.dumps(described))
    shutil.copy(library.with_name(f"{library.name}.check.npz"), folder)
    return made


def files(models: list[Path], dense: Path, data: Any, work: Path) -> dict[str, Path]:
    """What is measured, by its name in the table: the dense file first. Raises CompressorError."""
    found = {"dense float32": work / "dense.tflite"}
    compressor.export(dense, found["dense float32"], data)
    for model in models:
        for quantize in KINDS:
            file = work / f"{model.stem}-{quantize}.tflite"
            compressor.export(model, file, data, quantize=quantize, optimize="latency")
            found[f"{model.stem} TFLite, {quantize}"] = file
        record = compressor.export(
            model, work / f"{model.stem}-c", data, format="c", runtime="host", optimize="latency"
        )
        for level, march in levels().items():
            folder = work / f"{model.stem}-{march}"
            found[f"{model.stem} C, {level}"] = compiled(Path(record["path"]), march, folder)
    return found


def main() -> int:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", metavar="MODEL", type=Path, nargs="+")
    parser.add_argument("--dense", type=Path, required=True)
    parser.add_argument("--data")
    parser.add_argument("--work", type=Path, default=Path("runs/sparse-c"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--round-seconds", type=float, default=0.1)
    given = parser.parse_args()
    try:
        given.work.mkdir(parents=True)
        data = compressor.load_dataset(given.data)
        made = files(given.models, given.dense, data, given.work)
        result = compressor.bench(
            list(made.values()),
            runtimes=("litert", "c"),
            threads=(1,),
            batches=(1,),
            data=data,
            rounds=given.rounds,
            round_seconds=given.round_seconds,
        )
    except FileExistsError:
        parser.exit(2, f"error: the folder is there already: {given.work}; name another --work\n")
    except CompressorError as error:
        parser.exit(error.exit_code, f"{error}\n")
    numbered = {row["artefact"]: row for row in result["rows"]}
    rows = {name: numbered[place] for place, name in enumerate(made)}
    save("sparse_c", {"rows": rows})
    print_tables("sparse_c")
    return int(any(row["status"] != "right" for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
