"""Pruning without labels, without retraining and before one: the paper's CNN, three seeds.

    python -m benchmarks.reconstruction [--work FOLDER] [--base MODEL] [--only ROW ...]
                                        [--seeds SEED ...] [--methods METHOD ...]

Every row by layer-wise least squares (`reconstruct`), by magnitude, and by the weights' size times
the norm of their inputs (Wanda), with the weights as they are and refitted; and rows that are
retrained from where least squares and magnitude leave the weights, for as many steps. Each run is a
process of its own, and its peak memory and seconds are those of the whole process, TensorFlow and
the evaluation included. A killed benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._record import save
from benchmarks._runs import SWEEP, alone, does_job, kept, trained
from benchmarks.tables import print_tables
from compressor import (
    Criterion,
    PruningSpec,
    TrainingOptions,
    load_dataset,
    prune,
    register_criterion,
)
from compressor.data import TrainingData
from compressor.foundation import quiet_tensorflow
from compressor.importing import load_model
from compressor.models import accuracy_of
from compressor.pruning.reconstruction_solver import LayerProblem, solve
from compressor.runs import model_digest
from compressor.training import PRESETS, Distillation

SEEDS = (0, 1, 2)
WEIGHTS = 3_273_504
"""Of all kernels of the paper's CNN."""
ROWS: dict[str, dict[str, Any]] = {
    "90 %": {"what": "90 % of fc1 and fc2", "spec": {"layers": ["fc1", "fc2"], "sparsity": 0.9}},
    "95 %": {"what": "95 % of fc1 and fc2", "spec": {"layers": ["fc1", "fc2"], "sparsity": 0.95}},
    "98 %": {"what": "98 % of fc1 and fc2", "spec": {"layers": ["fc1", "fc2"], "sparsity": 0.98}},
    "40k": {
        "what": "40,000 non-zeros over all layers",
        "spec": {"sparsity": 1 - 40_000 / WEIGHTS, "scope": "global"},
    },
    "8k": {
        "what": "8,000 non-zeros over all layers, shared out by hand",
        "spec": {"sparsity": {"conv1": 0.5, "conv2": 0.94, "fc1": 0.9988, "fc2": 0.935}},
    },
    "8k, shared out": {
        "what": "8,000 non-zeros over all layers, shared out by `--global`",
        "spec": {"sparsity": 1 - 8_000 / WEIGHTS, "scope": "global"},
    },
    "2:4": {
        "what": "2:4 on conv2, fc1 and fc2",
        "spec": {"layers": ["conv2", "fc1", "fc2"], "granularity": "2:4"},
    },
    "1x4": {
        "what": "1x4 blocks, 90 % of fc1",
        "spec": {"layers": ["fc1"], "granularity": "1x4", "sparsity": 0.9},
    },
    "channel": {
        "what": "fc1 to 128 units, conv2 to 16 channels",
        "spec": {"granularity": "channel", "sparsity": {"fc1": 0.875, "conv2": 0.75}},
    },
}
RETRAINED: dict[str, dict[str, Any]] = {
    "90 %, retrained": {
        "what": "90 % of fc1 and fc2, 0.6 epochs",
        "spec": ROWS["90 %"]["spec"],
        "epochs": 0.6,
    },
    "98 %, retrained": {
        "what": "98 % of fc1 and fc2, 2 epochs",
        "spec": ROWS["98 %"]["spec"],
        "epochs": 2,
    },
    "8k, retrained": {
        "what": "8,000 non-zeros over all layers, 6 epochs in three rounds, distilled",
        "spec": ROWS["8k"]["spec"] | {"schedule": "iterative", "rounds": 3},
        "epochs": 6,
        "learning_rate": 4e-3,
        "distill": {"weight": 0.7, "temperature": 3.0},
    },
}
ROWS |= RETRAINED
WANTED = {
    "90 %": 0.989,
    "95 %": 0.988,
    "98 %": 0.984,
    "40k": 0.989,
    "8k": 0.982,
    "8k, shared out": 0.982,
    "2:4": 0.99,
    "channel": 0.988,
    "90 %, retrained": 0.9904,
    "98 %, retrained": 0.9891,
    "8k, retrained": 0.992,
}
METHODS = ("reconstruct", "magnitude", "wanda", "wanda, refitted")
NOTES = (
    "wanda: |weight| x norm of its input, chosen over the whole layer, as the others are",
    "wanda, refitted: the remaining weights by the least squares of reconstruct",
    "wanda has no channels: reconstruct chooses them, and the others refit or not",
    "TFMOT changes no weights but by training: without it, it is magnitude pruning; beside it with "
    "training, see `benchmarks.pruning`",
)


def main() -> None:
    """Prune every way, measure, print and save."""
    quiet_tensorflow.NativeOutput().hold_back()
    if does_job(run):
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/reconstruction"))
    parser.add_argument("--base", type=Path, help="the dense model, instead of training one")
    parser.add_argument("--only", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    base = options.base or trained(options.work)
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    # Seeds outermost: what is there after a while is one seed of every row.
    for seed in options.seeds:
        for row in options.only:
            for method in options.methods:
                if row in RETRAINED and method not in METHODS[:2]:
                    continue
                # Magnitude looks at no inputs, but a retraining draws its batches.
                fixed = method == "magnitude" and row not in RETRAINED
                drawn = options.seeds[0] if fixed else seed
                found = measured(options.work, base, row, method, drawn)
                runs.setdefault(row, {}).setdefault(method, []).append(found)
                print(f"seed {seed}: {row}, {method}: {100 * found['accuracy']:.2f} %", flush=True)
    data = load_dataset(None)
    result = {
        "seeds": options.seeds,
        "commands": {"dense": f"compressor {SWEEP}"},
        "dense": {"accuracy": accuracy_of(load_model(base), data.x_test, data.y_test)},
        "notes": list(NOTES),
        "rows": [summary(row, found) for row, found in runs.items()],
    }
    save("reconstruction", result)
    print_tables("reconstruction")


def measured(work: Path, base: Path, row: str, method: str, seed: int) -> dict[str, Any]:
    """What `run` gives, and the seconds of its process; kept in `work`, and done only once."""
    job = {"base": str(base), "row": row, "method": method, "seed": seed}
    name = f"{row}-{method}-{seed}".translate(str.maketrans(" :", "__", "%,"))
    asked = {name: value for name, value in ROWS[row].items() if name != "what"}

    def found() -> dict[str, Any]:
        start = time.perf_counter()
        made = alone("benchmarks.reconstruction", job)
        return made | {"seconds": round(time.perf_counter() - start, 1)}

    return kept(work / f"{name}.json", {**job, "base": model_digest(base), **asked}, found)


def run(base: str, row: str, method: str, seed: int) -> dict[str, Any]:
    """Prune in this process: test accuracy, weights that are left, CPU seconds, peak bytes."""
    for name, solver in (("wanda", wanda), ("wanda, refitted", wanda_refitted)):
        register_criterion(Criterion(name, lambda weights, _: np.abs(weights), solve=solver))
    spec = PruningSpec(criterion=method, **ROWS[row]["spec"])
    model, data = load_model(Path(base)), load_dataset(None)
    options = retraining(row, spec, TrainingData.of(data)) if row in RETRAINED else None
    found = prune(model, data, spec, retrain=options is not None, options=options, seed=seed)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    kernels = [layer.kernel for layer in found.model.layers if hasattr(layer, "kernel")]
    return {
        "accuracy": found.accuracy,
        "validation_accuracy": found.validation_accuracy,
        "nonzeros": sum(int(np.count_nonzero(kernel.numpy())) for kernel in kernels),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_bytes": 1024 * usage.ru_maxrss,
        "layers": {name: dict(report) for name, report in found.reconstruction.items()},
    }


def retraining(row: str, spec: PruningSpec, part: TrainingData) -> TrainingOptions:
    """As many epochs as the row says, in all rounds, by default at the learning rate of `prune`."""
    level = spec.highest_sparsity
    preset = PRESETS["quick"].retraining_at(level, part, repaired=spec.repairs)
    asked = ROWS[row]
    return dataclasses.replace(
        preset,
        steps=part.steps(asked["epochs"] / spec.passes, preset.batch_size),
        learning_rate=asked.get("learning_rate", preset.learning_rate),
        distillation=Distillation(**asked["distill"]) if "distill" in asked else None,
    )


def wanda(problem: LayerProblem) -> tuple[np.ndarray, np.ndarray]:
    """The weights that are largest times the norm of their inputs, as they are.

    Source: Sun et al., A Simple and Effective Pruning Approach for Large Language Models (2023).
    """
    norms = np.sqrt(np.square(problem.inputs).mean(axis=1))[..., None]
    mask = problem.keep(np.abs(problem.weights) * norms, 1.0)
    return problem.weights * mask, mask


def wanda_refitted(problem: LayerProblem) -> tuple[np.ndarray, np.ndarray]:
    """The same weights, with values by least squares."""
    return solve(dataclasses.replace(problem, decided=wanda(problem)[1]))


def summary(row: str, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """One row: every method's runs with their median, and whether what is wanted was reached."""
    methods = {}
    for method, runs in found.items():
        accuracy = [run["accuracy"] for run in runs]
        methods[method] = {
            "accuracy": accuracy,
            "median": float(np.median(accuracy)),
            "nonzeros": [run["nonzeros"] for run in runs],
            "seconds": [run["seconds"] for run in runs],
            "cpu_seconds": [run["cpu_seconds"] for run in runs],
            "peak_bytes": max(run["peak_bytes"] for run in runs),
        }
    wanted = WANTED.get(row)
    own = methods.get("reconstruct")
    reached = wanted is None or own is None or round(own["median"], 6) >= wanted
    return {
        "name": row,
        "what": ROWS[row]["what"],
        "wanted": wanted,
        "verdict": "reached" if reached else "MISSED",
        "methods": methods,
    }


if __name__ == "__main__":
    main()
