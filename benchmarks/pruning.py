"""Accuracy against non-zeros, beside TFMOT: the paper's CNN on MNIST, three seeds.

    python -m benchmarks.pruning [--work FOLDER] [--bases SWEEP ...] [--only NAME ...]

Both prune fc1 and fc2 of the same trained weights, and train on the same batches in the same order,
for as many steps, with Adam at the same learning rates. Both results are evaluated by this project
on all test images. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._record import run_command, save
from benchmarks.peers.environments import TFMOT, packages, run_in
from benchmarks.tables import print_tables
from compressor import Dataset, load_dataset
from compressor.data import TrainingData
from compressor.foundation import quiet_tensorflow, write_json
from compressor.importing import load_model
from compressor.models import accuracy_of, objective_of, paper_cnn
from compressor.pruning.schedules import update_steps
from compressor.runs import MODEL, is_finished, model_digest, sparsity_name
from compressor.training import TrainingOptions, derive_seed
from compressor.training.loop import _visiting_order

SEEDS = (0, 1, 2)
LAYERS = ("fc1", "fc2")
RAMP = 0.6
"""The part of the steps over which gradual pruning removes weights."""
DROPOUT = 0.5
SWEEP = f"sweep --preset quick --seeds {','.join(map(str, SEEDS))} --sparsities 0.9".split()
TFMOT_FREQUENCY = 100
"""Steps between two choices of TFMOT's ConstantSparsity: its default."""
EPOCHS = {0.9: 1.2, 0.98: 2.0}
"""Passes over the training images at each sparsity."""
SCALED = "tfmot with scaled dropout"
ROWS = {
    f"{tool}, {sparsity:g}, {schedule}": (tool, sparsity, schedule)
    for tools, schedules in (
        (("compressor", "tfmot"), ("one-shot", "gradual")),
        ((SCALED,), ("gradual",)),
    )
    for sparsity, schedule, tool in itertools.product(EPOCHS, schedules, tools)
}
DIFFERENCES = (
    "dropout: compressor scales it by the square root of the density while it retrains, TFMOT "
    "leaves it at 0.5, and 'tfmot with scaled dropout' is given compressor's",
    "one-shot: compressor chooses the weights once; TFMOT's ConstantSparsity chooses anew every "
    f"{TFMOT_FREQUENCY} steps, its default",
    "gradual: both follow Zhu and Gupta's cubic schedule from 0, and update the masks as often; "
    "TFMOT's ramp ends at a multiple of that, up to 11 steps earlier",
    "TFMOT keeps round(size x density) weights a layer, and those that tie; compressor what the "
    "paper counts, at most one fewer",
    "the random numbers of dropout are others: Keras 3 there, tf-keras here",
)


def main() -> None:
    """Train, prune both ways, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/pruning"))
    parser.add_argument("--only", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument(
        "--bases", nargs="*", type=Path, default=[], help="finished sweeps to take dense models of"
    )
    options = parser.parse_args()
    quiet_tensorflow.NativeOutput().hold_back()
    TFMOT.install()
    bases = find_bases([*options.bases, options.work / "sweep"])
    comparison = Comparison(options.work, load_dataset(None))
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in options.only}
    # Seeds outermost: what is there after a while is one seed of every row.
    for seed, name in itertools.product(SEEDS, options.only):
        found[name].append(comparison.run(bases[seed], seed, *ROWS[name]))
        print(f"seed {seed}: {name}: {100 * found[name][-1]['accuracy']:.2f} %", flush=True)
    dense = [
        accuracy_of(load_model(base), comparison.data.x_test, comparison.data.y_test)
        for base in bases.values()
    ]
    result = {
        "seeds": list(SEEDS),
        "layers": list(LAYERS),
        "dense": {"accuracy": dense, "median": float(np.median(dense))},
        "commands": {"dense": f"compressor {' '.join(SWEEP)}"}
        | {
            name: "compressor " + " ".join(ours("MODEL", "SEED", sparsity, schedule))
            for name, (tool, sparsity, schedule) in ROWS.items()
            if tool == "compressor" and name in found
        },
        "tfmot": {"packages": packages(TFMOT), "differences": list(DIFFERENCES)},
        "rows": [summary(name, runs) for name, runs in found.items()],
    }
    save("pruning", result)
    print_tables("pruning")


def find_bases(sweeps: Sequence[Path]) -> dict[int, Path]:
    """Seed -> its dense model, in the first of the sweeps that has it; the last makes the others.

    A model depends on its seed and the preset alone, not on what else a sweep does.
    """
    found: dict[int, Path] = {}
    for sweep, seed in itertools.product(sweeps, SEEDS):
        if is_finished(sweep / f"seed-{seed}" / "step_1"):
            found.setdefault(seed, sweep / f"seed-{seed}" / "step_1" / MODEL)
    if len(found) == len(SEEDS):
        return found
    run_command(*SWEEP, "-o", str(sweeps[-1]))
    return {seed: sweeps[-1] / f"seed-{seed}" / "step_1" / MODEL for seed in SEEDS}


def ours(model: str, seed: str, sparsity: float, schedule: str) -> list[str]:
    """The command that prunes `model` our way, after `compressor`."""
    options = f"--layers {','.join(LAYERS)} --sparsity {sparsity:g} --epochs {EPOCHS[sparsity]:g} "
    options += f"--pruning-schedule {schedule} --seed {seed} --json"
    if schedule == "gradual":
        options += f" --ramp {RAMP:g}"
    return ["prune", model, *options.split()]


class Comparison:
    """The runs of one comparison in the folder `work`, on the data of one data set."""

    def __init__(self, work: Path, data: Dataset) -> None:
        self._work = work
        self.data = data
        self._part = TrainingData.of(data)
        self._trainings: dict[Path, dict[str, Any]] = {}

    def run(
        self, base: Path, seed: int, tool: str, sparsity: float, schedule: str
    ) -> dict[str, Any]:
        """Prune the model `base` and measure what came out: accuracy, non-zeros a layer, options.

        Raises CheckFailedError where the peer fails, AssertionError where the non-zeros are not
        those that were asked for.
        """
        folder = self._work / f"{sparsity_name(sparsity)}-{schedule}" / f"seed-{seed}"
        training = self._ours(base, seed, sparsity, schedule, folder / "compressor")
        if tool == "compressor":
            model = load_model(folder / "compressor" / "step_2_2" / "model.keras")
        else:
            scale = training["dropout_scale"] if tool == SCALED else 1.0
            job = tfmot_job(seed, sparsity, schedule, training) | {"dropout": DROPOUT * scale}
            model = self._tfmot(folder / tool.replace(" ", "-"), base, job)
        nonzeros = check_nonzeros(model, sparsity)
        return {
            "seed": seed,
            "accuracy": accuracy_of(model, self.data.x_test, self.data.y_test, objective_of(model)),
            "nonzeros": nonzeros,
            "training": training,
        }

    def _ours(
        self, base: Path, seed: int, sparsity: float, schedule: str, folder: Path
    ) -> dict[str, Any]:
        """Prune by the command line, unless it is done; return the options of the training."""
        if folder not in self._trainings:
            command = ours(str(base), str(seed), sparsity, schedule)
            record = json.loads(run_command(*command, "-o", str(folder)))["step_2_2"]
            self._trainings[folder] = record["training"]
        return self._trainings[folder]

    def _tfmot(self, folder: Path, base: Path, job: dict[str, Any]) -> Any:
        """The paper's CNN as TFMOT pruned it; kept in `folder`, and done only once."""
        output, description = folder / "weights.npz", folder / "job.json"
        job = {"base": model_digest(base), **job}
        done = None
        with contextlib.suppress(OSError, ValueError):
            done = json.loads(description.read_text())
        if done != job:
            folder.mkdir(parents=True, exist_ok=True)
            self._run_tfmot(folder, output, base, job)
            write_json(description, job)
        model = paper_cnn()
        with np.load(output, allow_pickle=False) as arrays:
            for layer in kernel_layers(model):
                layer.set_weights([arrays[f"{layer.name}/{part}"] for part in ("kernel", "bias")])
        return model

    def _run_tfmot(self, folder: Path, output: Path, base: Path, job: Mapping[str, Any]) -> None:
        weights, data, given = (folder / name for name in ("base.npz", "data.npz", "given.json"))
        arrays: dict[str, Any] = {
            f"{layer.name}/{part}": array
            for layer in kernel_layers(load_model(base))
            for part, array in zip(("kernel", "bias"), layer.get_weights(), strict=True)
        }
        np.savez(weights, **arrays)
        x, labels = self._part.training_part()
        # The very order of compressor's own training.
        order = _visiting_order(len(labels), job["steps"] * job["batch_size"], job["seed"])
        np.savez(data, x=np.asarray(x), labels=labels, order=order)
        paths = {"weights": weights, "data": data, "output": output}
        write_json(given, dict(job) | {name: str(path) for name, path in paths.items()})
        run_in(TFMOT, "run_tfmot.py", str(given))
        for path in (weights, data, given):
            path.unlink()


def tfmot_job(
    seed: int, sparsity: float, schedule: str, training: Mapping[str, Any]
) -> dict[str, Any]:
    """What TFMOT is to do so that it does the same as compressor did."""
    options = TrainingOptions(**_options(training))
    updates = update_steps(options.steps, RAMP)
    every = min(updates)
    gradual = schedule == "gradual"
    return {
        "steps": options.steps,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "first_learning_rate": options.learning_rate_at(0),
        "warmup_steps": options.warmup_steps,
        "sparsity": sparsity,
        "layers": list(LAYERS),
        "schedule": "polynomial" if gradual else "constant",
        "frequency": every if gradual else TFMOT_FREQUENCY,
        # TFMOT's first step is number 1: told to begin at 0, it would at `frequency`.
        "begin_step": 0 if gradual else 1,
        # It updates at multiples of the frequency only, and must do so at the end.
        "end_step": max(updates) // every * every if gradual else -1,
        # That of compressor's own retraining, whose batches it also gets.
        "seed": derive_seed(seed, f"step_2_2 {sparsity_name(sparsity)}"),
    }


def _options(training: Mapping[str, Any]) -> dict[str, Any]:
    """What `TrainingOptions.describe` gave, as its arguments."""
    names = {"learning_rate_schedule": "schedule"}
    return {names.get(name, name): value for name, value in training.items()}


def kernel_layers(model: Any) -> list[Any]:
    """The layers of the paper's CNN that have weights."""
    return [layer for layer in model.layers if layer.weights and hasattr(layer, "kernel")]


def check_nonzeros(model: Any, sparsity: float) -> dict[str, int]:
    """The non-zeros of each kernel; raises AssertionError where they are not what was asked for.

    Asked for is `sparsity` of `LAYERS`, to one weight a layer, and nothing of the others.
    """
    found = {}
    for layer in kernel_layers(model):
        kernel = layer.kernel.numpy()
        found[layer.name] = int(np.count_nonzero(kernel))
        asked = kernel.size * (1 - sparsity) if layer.name in LAYERS else kernel.size
        if abs(found[layer.name] - asked) > 1:
            raise AssertionError(
                f"{layer.name} has {found[layer.name]} non-zeros, {asked:.1f} were asked for"
            )
    return found


def summary(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One row: all seeds, their median and range."""
    tool, sparsity, schedule = ROWS[name]
    accuracy = [run["accuracy"] for run in runs]
    return {
        "name": name,
        "tool": tool,
        "sparsity": sparsity,
        "schedule": schedule,
        "training": runs[0]["training"],
        "nonzeros": [sum(run["nonzeros"].values()) for run in runs],
        "nonzeros_of_layers": [run["nonzeros"] for run in runs],
        "accuracy": accuracy,
        "median": float(np.median(accuracy)),
        "range": [min(accuracy), max(accuracy)],
    }


if __name__ == "__main__":
    main()
