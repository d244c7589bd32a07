"""What it takes to export the networks of keras.applications: seconds, memory, bytes, parity.

Each has random weights and the smallest pictures that it takes, and is exported to float32 by the
command line, in both formats, with nothing else running. Memory is that of the command and of all
processes that it starts, together, sampled 20 times a second; so Linux only.

    python -m benchmarks.applications                   # all of them
    python -m benchmarks.applications --model MobileNetV3Small --model VGG16
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._record import save

COMMAND = str(Path(sys.executable).with_name("compressor"))
MODELS = {
    **dict.fromkeys(("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"), 32),
    **dict.fromkeys(("EfficientNetB0", "EfficientNetV2B0", "DenseNet121"), 32),
    **dict.fromkeys(("DenseNet169", "NASNetMobile"), 32),
    **dict.fromkeys(("ResNet50", "ResNet50V2", "ConvNeXtTiny", "VGG16"), 32),
    **{"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75},
}
"""name in keras.applications -> the least height and width of its pictures"""
CLASSES = 10
MOST_SECONDS, MOST_BYTES = 60, 6 * 10**9
"""what an export in one format may take"""

_GAIN = 0.2
_OPTIONS = ("--input-range", "0,255", "--json")
_INTERVAL = 0.05
_SECONDS = 1800


def build(name: str, path: Path) -> int:
    """Save the network with random weights; returns how many it has."""
    from compressor.foundation import quiet_tensorflow

    _, keras = quiet_tensorflow.load()
    keras.utils.set_random_seed(0)
    base = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(MODELS[name], MODELS[name], 3), pooling="avg"
    )
    head = keras.layers.Dense(CLASSES, activation="softmax")
    model = keras.Model(base.input, head(base.output), name=name.lower())
    _condition(model)
    model.save(path)
    return int(model.count_params())


def _condition(model: Any) -> None:
    """Make outputs depend on the inputs, and not on rounding.

    By the statistics that BatchNormalization begins with signals vanish, so it gets those of
    random pictures; with gains of 1 a network of a hundred random layers is chaotic.
    """
    pictures = np.random.default_rng(0).uniform(0, 255, (16, *model.input_shape[1:]))
    layers = [layer for layer in model._flatten_layers() if hasattr(layer, "moving_mean")]
    usual = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
        if layer.gamma is not None:
            layer.gamma.assign(_GAIN * layer.gamma)
    model(pictures.astype(np.float32), training=True)
    for layer, momentum in zip(layers, usual, strict=True):
        layer.momentum = momentum


def measure(command: Sequence[str]) -> dict[str, Any]:
    """Run a command: its output, seconds, and the most memory that its processes had, in bytes.

    `memory` is that of all together, `largest_process` that of one alone; `cpu_seconds` are those
    of all.
    """
    start, most, largest, before = time.perf_counter(), 0, 0, _cpu_seconds()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            if time.perf_counter() - start > _SECONDS:
                process.kill()
            sizes = _memories(process.pid)
            most, largest = max(most, sum(sizes)), max(largest, *sizes)
            time.sleep(_INTERVAL)
        seconds = time.perf_counter() - start
        output.seek(0)
        text = output.read().decode(errors="replace")
    return {
        "seconds": seconds,
        "cpu_seconds": round(_cpu_seconds() - before, 1),
        "memory": most,
        "largest_process": largest,
        "status": process.returncode,
        "output": text,
    }


def _cpu_seconds() -> float:
    """Of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memories(root: int) -> list[int]:
    """Bytes in memory of a process and of each that descends from it."""
    parents, sizes = {}, {}
    page = os.sysconf("SC_PAGE_SIZE")
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            parents[int(entry.name)] = int(fields[1])
            sizes[int(entry.name)] = page * int(fields[21])
    family = [root]
    for number in family:
        family += [child for child, parent in parents.items() if parent == number]
    return [sizes.get(number, 0) for number in family]


def row(name: str, folder: Path) -> dict[str, Any]:
    """The measurements of one network."""
    path = folder / f"{name}.keras"
    # In a process of its own, as every export is, so that nothing is left in memory.
    code = "from benchmarks.applications import *; print(build({!r}, Path({!r})))"
    command = [sys.executable, "-c", code.format(name, str(path))]
    built = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = {"parameters": int(built.stdout.split()[-1])}
    for file_format in ("tflite", "onnx"):
        target = folder / f"{name}.{file_format}"
        done = measure([COMMAND, "export", str(path), "-o", str(target), *_OPTIONS])
        record = json.loads(done["output"]) if done["status"] == 0 else {}
        verdict = record.get("verdict", {})
        found[file_format] = {
            "seconds": round(done["seconds"], 1),
            "memory": done["memory"],
            "status": done["status"],
            "bytes": record.get("bytes"),
            "difference": verdict.get("difference") and verdict["difference"] / verdict["scale"],
        }
    path.unlink()
    return found


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", choices=MODELS, help="only this one")
    names = parser.parse_args().model
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names or MODELS:
            rows[name] = row(name, Path(folder))
            for file_format in ("tflite", "onnx"):
                one = rows[name][file_format]
                over = one["seconds"] > MOST_SECONDS or one["memory"] > MOST_BYTES
                failed = one["status"] != 0
                print(
                    f"{name:18} {file_format:6} {one['seconds']:6.1f} s "
                    f"{one['memory'] / 10**9:5.2f} GB {one['bytes'] or 0:12,} bytes"
                    + ("  FAILED" if failed else "  over the limit" if over else ""),
                    flush=True,
                )
    if names is None:
        limits = {"seconds": MOST_SECONDS, "bytes": MOST_BYTES}
        save("applications", {"classes": CLASSES, "sizes": MODELS, "limits": limits, "rows": rows})


if __name__ == "__main__":
    main()
