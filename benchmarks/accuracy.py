"""What each way of pruning costs in accuracy: the paper's CNN on MNIST, three seeds.

    python -m benchmarks.accuracy [--work FOLDER] [--only NAME ...]

Every row is made by the command line, and the commands are kept with the results. A killed run goes
on where it was: the folder is made of run directories.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._record import run_command, save
from compressor.foundation import quiet_tensorflow
from compressor.importing import load_model
from compressor.shrinking import shrink

SEEDS = (0, 1, 2)
ROWS: dict[str, dict[str, Any]] = {
    "weights": {
        "what": "90 % of fc1 and fc2, one shot",
        "prune": None,  # the sweep's own
        "least": {"below_dense": 0.001},
    },
    "40k": {
        "what": "all four layers, gradual, 40,000 non-zeros",
        "prune": "--sparsity conv1=0.3,conv2=0.8,fc1=0.9914,fc2=0.85 "
        "--pruning-schedule gradual --ramp 0.4 --epochs 4 --learning-rate 4e-3",
        "least": {"accuracy": 0.991, "nonzeros": 40_000},
    },
    "8k": {
        "what": "all four layers, gradual and distilled, 8,000 non-zeros",
        "prune": "--sparsity conv1=0.5,conv2=0.94,fc1=0.9988,fc2=0.935 "
        "--pruning-schedule gradual --ramp 0.4 --epochs 6 --learning-rate 4e-3 --distill",
        "least": {"accuracy": 0.99, "nonzeros": 8_000},
    },
    "2:4": {
        "what": "2:4 on conv2, fc1 and fc2",
        "prune": "--granularity 2:4 --layers conv2,fc1,fc2 --epochs 1",
        "least": {"below_dense": 0.001},
    },
    "1x16": {
        "what": "1x16 blocks, 90 % of fc1",
        "prune": "--granularity 1x16 --layers fc1 --sparsity 0.9 --epochs 1.5",
        "least": {"accuracy": 0.99},
    },
    "channel": {
        "what": "channels, at most 60,000 parameters",
        "prune": "--granularity channel --sparsity conv1=0.75,conv2=0.75,fc1=0.94 --epochs 8 "
        "--learning-rate 4e-3",
        "least": {"accuracy": 0.991, "parameters": 60_000},
    },
}


def main() -> None:
    """Train, prune, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--only", nargs="*", choices=list(ROWS), default=list(ROWS))
    options = parser.parse_args()
    quiet_tensorflow.NativeOutput().hold_back()
    work: Path = options.work
    sweep = f"sweep --preset quick --seeds {','.join(map(str, SEEDS))} --sparsities 0.9"
    run_command(*sweep.split(), "-o", str(work / "sweep"))
    results = json.loads((work / "sweep" / "results.json").read_text())
    dense = [row["accuracy"] for row in results["dense"]]
    rows = {}
    for name in options.only:
        rows[name] = _row(work, name, results, dense)
        row = rows[name]
        print(
            f"{name}: median {100 * row['median']:.2f} % "
            f"(dense {100 * float(np.median(dense)):.2f}), {row['nonzeros']} non-zeros, "
            f"{row['parameters']} parameters: {row['verdict']}",
            flush=True,
        )
    dead = {f"seed {seed}": _dead_units(work, seed) for seed in SEEDS}
    print(f"dead units: {dead}")
    result = {
        "seeds": list(SEEDS),
        "commands": {"dense": f"compressor {sweep} -o sweep"}
        | {name: _command(name, "SEED") for name in rows if ROWS[name]["prune"]},
        "dense": {"accuracy": dense, "median": float(np.median(dense))},
        "rows": rows,
        "dead_units": dead,
    }
    save("accuracy", result)


def _row(work: Path, name: str, sweep: dict[str, Any], dense: list[float]) -> dict[str, Any]:
    found = []
    for number, seed in enumerate(SEEDS):
        if ROWS[name]["prune"] is None:
            part = next(row for row in sweep["proportions"] if row["seed"] == seed)
            kept = part["retrained"]
            found.append((kept["accuracy"], kept["nonzeros"], sweep["dense"][number]["parameters"]))
            continue
        command = _command(name, str(seed)).split()[1:]
        model = work / "sweep" / f"seed-{seed}" / "step_1" / "model.keras"
        command = [str(model) if word == "MODEL" else word for word in command]
        record = json.loads(
            run_command(*command, "-o", str(work / name.replace(":", "of") / f"seed-{seed}"))
        )["step_2_2"]
        found.append((record["accuracy"], record["nonzeros"], record["parameters"]))
    accuracy, nonzeros, parameters = (list(values) for values in zip(*found, strict=True))
    row = {
        "what": ROWS[name]["what"],
        "accuracy": accuracy,
        "median": float(np.median(accuracy)),
        "below_dense": float(np.median(dense) - np.median(accuracy)),
        "nonzeros": max(nonzeros),
        "parameters": max(parameters),
        "wanted": ROWS[name]["least"],
    }
    return row | {"verdict": "reached" if _reached(row) else "MISSED"}


def _reached(row: dict[str, Any]) -> bool:
    wanted = row["wanted"]
    return (
        round(row["median"], 6) >= wanted.get("accuracy", 0)
        and round(row["below_dense"], 6) <= wanted.get("below_dense", 1)
        and all(row[name] <= wanted[name] for name in ("nonzeros", "parameters") if name in wanted)
    )


def _command(name: str, seed: str) -> str:
    return f"compressor prune MODEL {ROWS[name]['prune']} --seed {seed} --json"


def _dead_units(work: Path, seed: int) -> dict[str, Any]:
    """What shrinking removes from the 90 % model before retraining, beside a search by hand."""
    folder = work / "sweep" / f"seed-{seed}" / "0.9" / "step_2_1"
    model = load_model(folder / "model.keras")
    shrunk = shrink(model)
    return {
        "removed": shrunk.removed,
        "searched": _searched(model),
        "difference": shrunk.difference,
        "parameters": [int(model.count_params()), int(shrunk.model.count_params())],
    }


def _searched(model: Any) -> dict[str, int]:
    """Dead units of the paper's CNN, found one by one on its weights, until none is left."""
    conv1, conv2, fc1, fc2 = (
        model.get_layer(name).kernel.numpy() for name in ("conv1", "conv2", "fc1", "fc2")
    )
    units = {"conv1": conv1.shape[3], "conv2": conv2.shape[3], "fc1": fc1.shape[1]}
    alive = {name: set(range(count)) for name, count in units.items()}
    # Flatten puts the channels of conv2 side by side at each place.
    places = fc1.reshape(-1, units["conv2"], units["fc1"])
    changed = True
    while changed:
        changed = False
        for unit in list(alive["fc1"]):
            inputs = places[:, sorted(alive["conv2"]), unit]
            if not inputs.any() or not fc2[unit].any():
                alive["fc1"].discard(unit)
                changed = True
        for channel in list(alive["conv2"]):
            if not places[:, channel, sorted(alive["fc1"])].any():
                alive["conv2"].discard(channel)
                changed = True
        for channel in list(alive["conv1"]):
            if not conv2[:, :, channel, sorted(alive["conv2"])].any():
                alive["conv1"].discard(channel)
                changed = True
    return {
        name: units[name] - len(left) for name, left in alive.items() if len(left) < units[name]
    }


if __name__ == "__main__":
    main()
