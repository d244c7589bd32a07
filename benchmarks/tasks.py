"""Every kind of task, pruned to 80 % and exported in int8: what that costs by its own metric.

    python -m benchmarks.tasks [--only NAME ...] [--seeds SEED ...]

Seven networks on data that are made, or that scikit-learn brings along. Each is trained, pruned
at once by least squares, all layers together (`--criterion reconstruct --global`),
retrained for twice as many epochs as it was trained, exported to TFLite in int8, and run in LiteRT
on the test examples. A seed draws the data and the weights that a training starts from.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import compressor
from benchmarks._record import save
from benchmarks._task_models import BATCH, EPOCHS, NETWORKS, RARE_WEIGHT
from benchmarks.tables import print_tables
from compressor import Dataset, PruningSpec
from compressor.data import TrainingData
from compressor.foundation import quiet_tensorflow
from compressor.training import TrainingOptions
from deploy.tasks import METRICS

SEEDS = (0, 1, 2)
SPARSITY = 0.8


@dataclasses.dataclass(frozen=True)
class Aim:
    """What a row may lose of a metric: points of a fraction, or a fraction of an error."""

    key: str
    most: float
    title: str = ""

    @property
    def metric(self) -> str:
        return self.key.rpartition("/")[2]


AIMS = {
    "autoencoder": (Aim("auc", 0.01),),
    "U-Net": (Aim("mean_iou", 0.01),),
    "regression": (Aim("mean_absolute_error", 0.03),),
    "two heads": (Aim("kind/accuracy", 0.005), Aim("box/box_iou", 0.01)),
    "multi-label": (Aim("mean_average_precision", 0.01),),
    "rare class": (Aim("recall", 0.02),),
    "digits from a folder": (Aim("accuracy", 0.003),),
}
METRIC: dict[str, Any] = {
    "autoencoder": "auc",
    "two heads": {"box": "box_iou"},
}
"""The metric that decides, where it is not the default."""

MAX_DROP = {"two heads": 0.03}
"""What an export may lose, where it is more than by default."""


def main() -> None:
    """Train, prune, export, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(NETWORKS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    options = parser.parse_args()
    quiet_tensorflow.NativeOutput().hold_back()
    rows = [row for name in options.only or NETWORKS for row in rows_of(name, options.seeds)]
    save("tasks", {"seeds": options.seeds, "sparsity": SPARSITY, "rows": rows})
    print_tables("tasks")


def rows_of(name: str, seeds: list[int]) -> list[dict[str, Any]]:
    """One network: each metric that has an aim, by seed, dense and as it comes out."""
    found = [measured(name, seed) for seed in seeds]
    rows = []
    for aim in AIMS[name]:
        dense, small = ([one[part][aim.key] for one in found] for part in ("dense", "artefact"))
        metric = METRICS[aim.metric]
        lost = [metric.loss(*pair) for pair in zip(dense, small, strict=True)]
        middle = statistics.median(lost)
        rows.append(
            {
                "name": name,
                "metric": aim.key,
                "dense": dense,
                "pruned": [one["pruned"][aim.key] for one in found],
                "artefact": small,
                "lost": lost,
                "most": aim.most,
                "dense_bytes": [one["dense_bytes"] for one in found],
                "bytes": [one["bytes"] for one in found],
                "passed": [one["passed"] for one in found],
                "verdict": "reached" if middle <= aim.most else "MISSED",
            }
        )
    return rows


def measured(name: str, seed: int) -> dict[str, Any]:
    """The metrics on the test examples of the dense model, the pruned one and its artefact."""
    _, keras = quiet_tensorflow.load()
    keras.utils.set_random_seed(seed)
    made, model = NETWORKS[name](seed)
    with tempfile.TemporaryDirectory() as folder:
        data = _data(name, made, Path(folder))
        part = TrainingData.of(data)
        steps = part.steps(2 * EPOCHS[name], BATCH)
        options = TrainingOptions(steps, batch_size=BATCH)
        if name == "rare class":
            options = dataclasses.replace(options, class_weight={0: 1.0, 1: RARE_WEIGHT})
        metric = METRIC.get(name)
        pruned = compressor.prune(
            model,
            data,
            PruningSpec(SPARSITY, criterion="reconstruct", scope="global"),
            options=options,
            metric=metric,
            seed=seed,
        )
        file = Path(folder) / "small.tflite"
        record = compressor.export(
            pruned.model,
            file,
            data,
            quantize="int8",
            optimize="size",
            metric=metric,
            max_drop=MAX_DROP.get(name),
        )
        found = {
            "dense": dict(pruned.before),
            "pruned": dict(pruned.values),
            "artefact": record["verdict"],
            "dense_bytes": 4 * model.count_params(),
            "bytes": record["bytes"],
            "passed": record["verdict"]["passed"],
        }
    keys = [aim.key for aim in AIMS[name]]
    shown = {part: [round(found[part][key], 4) for key in keys] for part in ("dense", "artefact")}
    print(f"seed {seed}: {name}: {', '.join(keys)}: {shown}, {found['bytes']:,} bytes", flush=True)
    return found


def _data(name: str, made: Any, folder: Path) -> Dataset:
    if name != "digits from a folder":
        return Dataset.from_arrays(name, *made)
    from PIL import Image

    for part, x, y in (("train", *made[:2]), ("test", *made[2:])):
        for number, (picture, label) in enumerate(zip(x, y, strict=True)):
            place = folder / "digits" / part / str(label)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.squeeze(picture)).save(place / f"{number}.png")
    return compressor.load_dataset(folder / "digits")


if __name__ == "__main__":
    main()
