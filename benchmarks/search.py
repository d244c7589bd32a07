"""What `compressor search` finds in a given time, on the paper's CNN and on other networks.

    python -m benchmarks.search [--work FOLDER] [--base MODEL] [--only ROW ...]
                                [--seeds SEED ...] [--slower FACTOR]

The searches run one after another, each as the command that a user gives. The other networks, and
Fashion-MNIST, on which the paper's CNN is trained once more, had no part in any choice, but that
the residual CNN showed how little short first trainings say. `--slower 4` gives each search four
times as long, for a machine that others use; CPU seconds say what it really had. A killed benchmark
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import operator
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._fashion_mnist import fashion_mnist
from benchmarks._record import run_command, save, with_earlier
from benchmarks._runs import kept, trained
from benchmarks.tables import print_tables
from compressor import TrainingOptions, load_dataset, training
from compressor.data import TrainingData
from compressor.foundation import quiet_tensorflow
from compressor.importing import load_model
from compressor.models import accuracy_of, objective_for
from compressor.runs import MODEL, model_digest

SEEDS = (0, 1, 2)
FASHION = "Fashion-MNIST"
_SIZE = ("--minimize", "size")
_PAPER = {"accuracy": 0.9895, "median_accuracy": 0.99}
ROWS: dict[str, dict[str, Any]] = {
    "10 minutes": {
        "options": [*_SIZE, "--min-accuracy", "0.99"],
        "seconds": 600,
        "wanted": {"bytes": {"onnxruntime": 9_000, "litert": 12_500}, **_PAPER},
    },
    "40 minutes": {
        "options": [*_SIZE, "--min-accuracy", "0.99"],
        "seconds": 2400,
        "wanted": {"bytes": {"onnxruntime": 6_000, "litert": 9_500}, **_PAPER},
    },
    "latency": {
        "options": ["--minimize", "latency", "--max-drop", "0", "--format", "tflite"],
        "seconds": 600,
        "wanted": {"faster": 19},
    },
} | {
    name: {
        "model": model,
        "options": [*_SIZE, "--max-drop", drop, *([] if model == FASHION else ["--data", "mnist"])],
        "seconds": 600,
        "wanted": {"smaller": 10, "drop": 0.003},
    }
    for name, model, drop in (
        (FASHION, FASHION, "0.3"),
        (f"{FASHION}, 0.1 points", FASHION, "0.1"),
        ("LeNet-300-100", "LeNet-300-100", "0.3"),
        ("residual CNN", "residual CNN", "0.3"),
        ("depthwise CNN", "depthwise CNN", "0.3"),
    )
}


def main() -> None:
    """Search, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/search"))
    parser.add_argument("--base", type=Path, help="the paper's CNN, instead of training one")
    parser.add_argument("--only", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--slower", type=float, default=1.0)
    options = parser.parse_args()
    quiet_tensorflow.NativeOutput().hold_back()
    options.work.mkdir(parents=True, exist_ok=True)
    base = options.base or trained(options.work)
    rows = []
    for name in options.only:
        kind = ROWS[name].get("model")
        data = fashion_mnist(options.work / "fashion-mnist.npz") if kind == FASHION else None
        if kind is None:
            model = base
        else:
            model = network(options.work, kind) if data is None else paper_cnn(options.work, data)
        found = [
            searched(options.work, name, model, seed, options.slower, data)
            for seed in options.seeds
        ]
        rows.append(summary(name, model, found, data) | {"slower": options.slower})
        print(f"{name}: {rows[-1]['verdict']}", flush=True)
    found = with_earlier("search", rows, operator.itemgetter("name"))
    found.sort(key=lambda row: list(ROWS).index(row["name"]))
    save("search", {"rows": found})
    print_tables("search")


# Searches.


def searched(
    work: Path, row: str, model: Path, seed: int, slower: float, data: Path | None = None
) -> dict[str, Any]:
    """What a search recommends, by runtime; kept in `work`, and done only once."""
    folder = work / f"{row}-{seed}".replace(", ", "-").replace(" ", "_")
    seconds = slower * ROWS[row]["seconds"]
    command = [*ROWS[row]["options"], "--time-budget", f"{seconds:g}", "--seed", f"{seed}"]
    command += [] if data is None else ["--data", str(data)]

    def found() -> dict[str, Any]:
        before = _cpu_seconds()
        program = str(Path(sys.executable).with_name("compressor"))
        done = subprocess.run([program, "search", str(model), *command, "-o", str(folder)])
        # Exit code 1: the goal was not met, which the document says in numbers.
        if done.returncode not in (0, 1):
            done.check_returncode()
        document = json.loads((folder / "search.json").read_text())
        rows = {one["file"]: one for one in document["front"]}
        return {
            "met": document["met"],
            "trials": len(document["trials"]),
            "cpu_seconds": round(_cpu_seconds() - before),
            "runtimes": {
                runtime: rows[file] | {"dense_bytes": document["runtimes"][runtime]["bytes"]}
                for runtime, file in document["recommended"].items()
            },
        }

    key = {"model": model_digest(model), "command": command}
    return kept(work / f"{folder.name}.json", key, found)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def summary(
    name: str, model: Path, found: Sequence[dict[str, Any]], data: Path | None = None
) -> dict[str, Any]:
    """One row: every seed's artefacts, and whether what is wanted was reached in the median."""
    part = load_dataset(data)
    dense = accuracy_of(load_model(model), part.x_test, part.y_test)
    missed = misses(ROWS[name]["wanted"], [run["runtimes"] for run in found], dense)
    return {
        "name": name,
        "options": " ".join(ROWS[name]["options"]),
        "seconds": ROWS[name]["seconds"],
        "dense_accuracy": dense,
        "wanted": ROWS[name]["wanted"],
        "missed": missed,
        "verdict": "MISSED" if missed else "reached",
        "runs": list(found),
    }


def misses(
    wanted: dict[str, Any], runs: Sequence[dict[str, dict[str, Any]]], dense: float
) -> list[str]:
    """What was not reached, a phrase each; `runs` are the artefacts by runtime, one a seed."""
    found = []
    for runtime in runs[0]:
        rows = [run[runtime] for run in runs if runtime in run]

        def middle(key: str, rows: Sequence[dict[str, Any]] = rows) -> float:
            return float(np.median([row[key] for row in rows]))

        limit = wanted.get("bytes", {}).get(runtime)
        least = min(row["accuracy"] for row in rows)
        smaller = rows[0]["dense_bytes"] / middle("bytes")
        checks = (
            (limit is not None and middle("bytes") > limit, f"{middle('bytes'):,.0f} bytes"),
            (least < wanted.get("accuracy", 0), f"accuracy of a seed {100 * least:.2f} %"),
            (
                middle("accuracy") < wanted.get("median_accuracy", 0),
                f"accuracy {100 * middle('accuracy'):.2f} %",
            ),
            (middle("ratio") * wanted.get("faster", 0) > 1, f"{1 / middle('ratio'):.1f} x faster"),
            (smaller < wanted.get("smaller", 0), f"{smaller:.1f} x smaller"),
            (
                "drop" in wanted and middle("accuracy") < dense - wanted["drop"],
                f"{100 * (dense - middle('accuracy')):.2f} points below dense",
            ),
        )
        found += [f"{runtime}: {what}" for is_missed, what in checks if is_missed]
    return found


# Other networks.


def paper_cnn(work: Path, data: Path) -> Path:
    """The paper's CNN, trained on other data as its `quick` preset trains it, once."""
    folder = work / data.stem
    run_command("train", "--preset", "quick", "--data", str(data), "--train-dir", str(folder))
    return folder / "step_1" / MODEL


def network(work: Path, kind: str) -> Path:
    """A network of this kind, trained on MNIST for three epochs, once."""
    path = work / f"{kind.replace(' ', '_')}.keras"
    if path.is_file():
        return path
    _, keras = quiet_tensorflow.load()
    keras.utils.set_random_seed(0)
    model = _NETWORKS[kind](keras)
    part = TrainingData.of(load_dataset(None), None)
    x, labels = part.training_part()
    options = TrainingOptions(part.steps(3, 128), 128, 2e-3)
    training.fit(model, x, labels, options, seed=0, objective=objective_for(model, part.data))
    model.save(path)
    return path


def _lenet_300_100(keras: Any) -> Any:
    layers = keras.layers
    body = [layers.Dense(300, activation="relu"), layers.Dense(100, activation="relu")]
    return keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), *body, layers.Dense(10)])


def _residual(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((28, 28, 1))
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(image)
    for filters, strides in ((32, 1), (64, 2)):
        straight = layers.Conv2D(filters, 1, strides=strides)(x)
        y = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same")(y))
        x = layers.ReLU()(layers.Add()([straight, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10)(x))


def _depthwise(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((28, 28, 1))
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(image)
    for filters, strides in ((64, 1), (128, 2), (128, 1)):
        x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Conv2D(filters, 1, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10)(x))


_NETWORKS: dict[str, Callable[[Any], Any]] = {
    "LeNet-300-100": _lenet_300_100,
    "residual CNN": _residual,
    "depthwise CNN": _depthwise,
}


if __name__ == "__main__":
    main()
