"""What exporting brings: bytes and accuracy of every form, latency and load time beside dense.

    python -m benchmarks.export [--work FOLDER] [--seed N]
    python -m benchmarks.export --large     CPU seconds and memory for 49 million weights

Every model is made by the command line; a killed run goes on where it was. Latency: one thread,
batch 1, each artefact in a process of its own, in turns; load time, with the first run, which may
decode weights: fresh processes, in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._large_models import UNITS, rows as large_rows
from benchmarks._record import run_command, save, summarize
from benchmarks.accuracy import ROWS
from compressor import CompressorError, load_dataset
from compressor.exporters import FORMATS, ExportJob
from compressor.exporters.checking import Checked
from compressor.exporters.request import QUANTIZATIONS
from compressor.foundation import quiet_tensorflow
from compressor.runtimes import Runner, median_latencies

SPARSITIES = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.98)
TIMED = (("dense", "70 %"), ("dense", "90 %", "1x16", "channels"))
"""The models of each run of timings; ratios are to the first, in float32."""
LOADS = 9
ROUNDS = 15

Form = tuple[str, str, Checked]
"""Model, what it was made for (size or latency), and the artefact."""


def main() -> None:
    """Make the models, export them, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/export"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--large", action="store_true", help="only a model of 49 million weights")
    options = parser.parse_args()
    if options.large:
        save("export-large", {"units": UNITS, "rows": large_rows()})
        return
    quiet_tensorflow.NativeOutput().hold_back()
    models = _models(options.work, options.seed)
    data = load_dataset(None)
    rows: list[dict[str, Any]] = []
    kept: dict[str, list[Form]] = {file_format: [] for file_format in FORMATS}
    for name, source in models.items():
        job = ExportJob(source, data)
        for file_format, runtime in FORMATS.items():
            for optimize in ("size", "latency"):
                if optimize == "latency" and name not in TIMED[1][1:]:
                    continue
                for quantize in QUANTIZATIONS:
                    row = {"model": name, "format": file_format, "optimize": optimize}
                    row |= {"quantize": quantize}
                    with contextlib.suppress(CompressorError):
                        request = job.request(runtime, quantize, optimize, None)
                        file = job.build(file_format, request)
                        checked = job.on_test(job.check(file_format, request, file))
                        row |= _facts(checked)
                        if any(name in run for run in TIMED):
                            kept[file_format].append((name, optimize, checked))
                    rows.append(row)
                    print(_line(row), flush=True)
    timed = [
        _times(file_format, [form for form in forms if form[0] in run])
        for file_format, forms in kept.items()
        for run in TIMED
    ]
    save(
        "export",
        {
            "models": {name: str(path.relative_to(options.work)) for name, path in models.items()},
            "seed": options.seed,
            "threads": 1,
            "batch": 1,
            "files": rows,
            "times": [row for found in timed for row in found],
        },
    )


def _models(work: Path, seed: int) -> dict[str, Path]:
    listed = ",".join(f"{sparsity:g}" for sparsity in SPARSITIES)
    sweep = f"sweep --preset quick --seeds {seed} --sparsities {listed}"
    run_command(*sweep.split(), "-o", str(work / "sweep"))
    root = work / "sweep" / f"seed-{seed}"
    models = {"dense": root / "step_1" / "model.keras"}
    for sparsity in SPARSITIES:
        models[f"{100 * sparsity:g} %"] = root / f"{sparsity:g}" / "step_2_2" / "model.keras"
    for name, row in (("1x16", "1x16"), ("channels", "channel")):
        arguments = ROWS[row]["prune"].split()
        folder = work / name / f"seed-{seed}"
        run_command(
            "prune", str(models["dense"]), *arguments, "--seed", str(seed), "-o", str(folder)
        )
        models[name] = folder / "step_2_2" / "model.keras"
    return models


def _facts(checked: Checked) -> dict[str, Any]:
    verdict = checked.verdict
    return {
        "bytes": checked.size,
        "accuracy": verdict.accuracy,
        "reference_accuracy": verdict.reported.reference_accuracy,
        "difference": verdict.describe()["difference"],
        "passed": verdict.passed,
        "encodings": {
            tensor.name: [tensor.encoding, tensor.values] for tensor in checked.file.tensors
        },
    }


def _line(row: dict[str, Any]) -> str:
    name = f"{row['model']:>8} {row['format']:6} {row['optimize']:7} {row['quantize']:8}"
    if "bytes" not in row:
        return f"{name} refused"
    mark = "" if row["passed"] else " DOES NOT PASS"
    return f"{name} {row['bytes']:>10,} bytes {100 * row['accuracy']:.2f} %{mark}"


def _times(file_format: str, forms: list[Form]) -> list[dict[str, Any]]:
    """Latency and load time of each form that passed, and their ratios to dense float32."""
    passed = [form for form in forms if form[2].verdict.passed]
    contents = [checked.file.content for _, _, checked in passed]
    times = median_latencies(contents, FORMATS[file_format], rounds=ROUNDS)
    loads = _loads(file_format, contents)
    rows = []
    for number, (name, optimize, checked) in enumerate(passed):
        row: dict[str, Any] = {
            "run": ", ".join(dict.fromkeys(name for name, _, _ in forms)),
            "model": name,
            "format": file_format,
            "optimize": optimize,
            "quantize": checked.request.quantize,
            "bytes": checked.size,
            "latency_ms": summarize(times[:, number].tolist()),
            "latency_ratio": summarize((times[:, number] / times[:, 0]).tolist()),
            "load_ms": summarize(loads[:, number].tolist()),
            "load_ratio": summarize((loads[:, number] / loads[:, 0]).tolist()),
        }
        rows.append(row)
        print(
            f"{name:>8} {file_format:6} {optimize:7} {row['quantize']:8} "
            f"{row['latency_ms']['p50']:.3f} ms, {row['latency_ratio']['p50']:.3f} of dense; "
            f"loads in {row['load_ms']['p50']:.1f} ms, {row['load_ratio']['p50']:.2f} of dense",
            flush=True,
        )
    return rows


def _loads(file_format: str, contents: list[bytes]) -> np.ndarray:
    """Milliseconds to load and to run once, float64 (rounds, files), each in a fresh process."""
    measured = np.empty((LOADS, len(contents)))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.{file_format}" for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        for turn in range(LOADS):
            for number, path in enumerate(paths):
                with Runner(FORMATS[file_format], threads=1) as runner:
                    loaded = runner.load(path)["load_ms"]
                    (first,) = runner.measure(runs=1)
                    measured[turn, number] = loaded + first / 1e6
    return measured


if __name__ == "__main__":
    main()
