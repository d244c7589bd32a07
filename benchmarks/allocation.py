"""Sparsity that least squares allocate over all layers, beside 90 % of each large layer.

    python -m benchmarks.allocation MODEL [--work FOLDER] [--seeds SEED ...]

MODEL is a dense model of the paper's CNN, trained on the embedded MNIST. Pruned by `reconstruct`,
without retraining: 90 % of fc1 and fc2, and then, of all layers together, ever more of all weights
while the accuracy on validation examples stays as good. Both are exported in int8 for the size, run
in their runtimes, and compared by their bytes. The seeds draw the calibration inputs. A killed
benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._record import save
from benchmarks._runs import alone, does_job, kept
from benchmarks.tables import print_tables
from compressor import PruningSpec, export, load_dataset, prune
from compressor.foundation import quiet_tensorflow
from compressor.importing import load_model
from compressor.runs import model_digest

UNIFORM: dict[str, Any] = {"layers": ("fc1", "fc2"), "sparsity": 0.9}
LEVELS = (0.9, 0.95, 0.96, 0.97, 0.98, 0.985)
"""of all weights, in the order in which they are tried"""


def main() -> None:
    """Prune, export, print and save."""
    quiet_tensorflow.NativeOutput().hold_back()
    if does_job(pruned):
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/allocation"))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        uniform = measured(options.work, options.model, seed, None)
        allocated = None
        for level in LEVELS:
            found = measured(options.work, options.model, seed, level)
            if found["validation_accuracy"] < uniform["validation_accuracy"]:
                break
            allocated = found
        rows.append({"seed": seed, "uniform": uniform, "allocated": allocated})
        print(f"seed {seed}: {allocated and allocated['sparsity']}", flush=True)
    save("allocation", {"rows": rows})
    print_tables("allocation")


def measured(work: Path, model: Path, seed: int, level: float | None) -> dict[str, Any]:
    """What `pruned` gives; kept in `work`, and done only once."""
    job = {"model": str(model), "seed": seed, "level": level}
    key = {**job, "model": model_digest(model)}
    name = f"{'uniform' if level is None else level}-{seed}.json"
    return kept(work / name, key, lambda: alone("benchmarks.allocation", job))


def pruned(model: str, seed: int, level: float | None) -> dict[str, Any]:
    """Accuracies of the pruned model, and the bytes and the test accuracy of its files."""
    quiet_tensorflow.load()
    spec = (
        PruningSpec(criterion="reconstruct", **UNIFORM)
        if level is None
        else PruningSpec(criterion="reconstruct", scope="global", sparsity=level)
    )
    data = load_dataset(None)
    found = prune(load_model(Path(model)), data, spec, retrain=False, seed=seed)
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "pruned.keras")
        found.model.save(source)
        for file_format in ("onnx", "tflite"):
            target = Path(folder, f"pruned.{file_format}")
            record = export(source, target, data, quantize="int8", optimize="size")
            accuracy = record["verdict"]["accuracy"]
            files[file_format] = {"bytes": record["bytes"], "accuracy": accuracy}
    return {
        "sparsity": level,
        "validation_accuracy": found.validation_accuracy,
        "accuracy": found.accuracy,
        "files": files,
    }


if __name__ == "__main__":
    main()
