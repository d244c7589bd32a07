"""How the wall time of a sweep grows with the number of proportions, and of parameters."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._clock import Clock
from compressor import Dataset, load_dataset, make_plan, sweep
from compressor.data import draw_examples

PROPORTIONS: tuple[tuple[float, ...], ...] = (
    (0.9,),
    (0.5, 0.9),
    (0.3, 0.5, 0.7, 0.9),
    (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
)
SIDES = (14, 28, 56)
"""of the images, in pixels: each doubling makes four times as many weights in fc1"""
BATCH = 128
_TRAINING_IMAGES = 6
"""training images for each to test on, as MNIST has them"""

Json = dict[str, Any]


def measure_scaling(steps: int, images: int) -> Json:
    """Time sweeps of `steps` a training on some images of MNIST, `images` of them to test on.

    The first sweep is done twice, and counted once: it also starts TensorFlow.
    """
    data = load_dataset(None)
    rows = []
    _time(_resized(data, 28, images), PROPORTIONS[0], steps)
    for sparsities in PROPORTIONS:
        rows.append({"what": "proportions"} | _time(_resized(data, 28, images), sparsities, steps))
        _say(rows[-1])
    for side in SIDES:
        row = _time(_resized(data, side, images), PROPORTIONS[0], steps)
        rows.append({"what": f"parameters: {side} x {side} pixels"} | row)
        _say(rows[-1])
    return {
        "unit": "s",
        "steps": steps,
        "batch_size": BATCH,
        "test_images": images,
        "training_images": _TRAINING_IMAGES * images,
        "rows": rows,
    }


def _time(data: Dataset, sparsities: Sequence[float], steps: int) -> Json:
    plan = make_plan(data, sparsities=sparsities, steps=steps, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as folder, Clock() as clock:
        results = sweep(Path(folder) / "run", plan, listener=clock).results
        clock.close()
    return {
        "proportions": len(sparsities),
        "parameters": results["dense"][0]["parameters"],
        "seconds": {kind: round(value, 2) for kind, value in clock.seconds.items()},
    }


def _resized(data: Dataset, side: int, images: int) -> Dataset:
    """Some of MNIST's images with `side` pixels a side: 28, half or twice as many."""

    def part(x: Any, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        index = draw_examples(x, y, count)
        drawn, labels = np.asarray(x[index]), y[index]
        if side > 28:
            return drawn.repeat(side // 28, axis=1).repeat(side // 28, axis=2), labels
        factor = 28 // side
        means = drawn.reshape(count, side, factor, side, factor).mean(axis=(2, 4))
        return np.asarray(means.round(), np.uint8), labels

    train = min(_TRAINING_IMAGES * images, len(data.y_train))
    return Dataset.from_arrays(
        f"MNIST, {side} x {side}",
        *part(data.x_train, data.y_train, train),
        *part(data.x_test, data.y_test, images),
    )


def _say(row: Json) -> None:
    total = sum(row["seconds"].values())
    print(
        f"{row['what']}: {row['proportions']} proportions, {row['parameters']:,} parameters: "
        f"{total:.1f} s",
        flush=True,
    )
