"""How fast a bundle starts on the device side: fresh processes, in turns with the runtime alone.

    python -m benchmarks.cold_start [--work FOLDER] [--rounds N] ARTEFACT...

A turn is a process of each kind: one that imports the runtime and loads the artefact, nothing else;
one of an installed runner that verifies the signed bundle (signature, every digest) and answers for
one image (`run`); one that runs the check vectors instead (`verify`); `run` of a runner that was
copied there and not compiled. Times are of whole processes, from start to end; ratios are pair by
pair, to the first.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import compressor
from benchmarks._record import save, summarize
from benchmarks.tables import print_tables
from compressor import load_dataset, runtimes
from deploy import read_artifact, read_public_key
from deploy.runner.packing import pack
from deploy.statistics import ratio_interval

_ALONE = {
    "litert": """
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path={path!r}, num_threads=1)
interpreter.allocate_tensors()
""",
    "tflite-runtime": """
from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(model_path={path!r}, num_threads=1)
interpreter.allocate_tensors()
""",
    "onnxruntime": """
import os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
onnxruntime.InferenceSession({path!r}, options, providers=["CPUExecutionProvider"])
""",
}
_DEVICES = {
    "litert": "raspberrypi-4",
    "tflite-runtime": "raspberrypi-3",
    "onnxruntime": "linux-x86-64",
}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artefacts", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/cold-start"))
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if not (options.work / "key.key").is_file():
        compressor.keygen(options.work / "key")
    runner = pack([read_public_key(options.work / "key.pub")])
    image = options.work / "image.npy"
    np.save(image, np.asarray(load_dataset(None).x_test)[0])
    rows = [
        _measure(path, options.work, runner, image, options.rounds) for path in options.artefacts
    ]
    save("cold-start", {"unit": "s", "rounds": options.rounds, "rows": rows})
    print_tables("cold-start")


def _measure(artefact: Path, work: Path, runner: bytes, image: Path, rounds: int) -> dict[str, Any]:
    runtime = read_artifact(artefact).runtime
    bundle = work / f"{artefact.name}.bundle"
    compressor.package([artefact], _DEVICES[runtime], bundle, sign=work / "key.key", force=True)
    python = runtimes.python_of(runtime)
    copied, installed = work / "copied.pyz", work / "installed.pyz"
    for path in (copied, installed):
        path.write_bytes(runner)
    subprocess.run([python, "-I", installed, "compile"], check=True, stdout=subprocess.DEVNULL)
    commands: dict[str, Sequence[str]] = {
        "runtime alone": [python, "-I", "-c", _ALONE[runtime].format(path=str(artefact))],
        "run": [python, "-I", str(installed), "run", str(bundle), str(image)],
        "verify": [python, "-I", str(installed), "verify", str(bundle)],
        "run, not compiled": [python, "-I", str(copied), "run", str(bundle), str(image)],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            if turn:  # the first reads the disk
                times[name].append(time.perf_counter() - start)
    first = [np.array([value]) for value in times["runtime alone"]]
    return {
        "artefact": artefact.name,
        "bytes": artefact.stat().st_size,
        "runtime": runtime,
        "version": runtimes.state(runtime).version,
        "python": subprocess.run(
            [python, "-c", "import platform; print(platform.python_version())"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip(),
        "seconds": {name: summarize(measured) for name, measured in times.items()},
        "ratio": {
            name: ratio_interval([np.array([value]) for value in measured], first)
            for name, measured in times.items()
        },
    }


if __name__ == "__main__":
    main()
