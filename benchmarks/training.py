"""What masks cost: steps of retraining with and without them, in turns."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks._record import save, summarize
from compressor import load_dataset
from compressor.data import draw_examples, take
from compressor.foundation import quiet_tensorflow
from compressor.models import objective_of, paper_cnn, resolve_layers
from compressor.pruning import apply_masks, magnitude_prune
from deploy import describe_machine

ROUNDS = 12
STEPS = 10
BATCH_SIZES = (32, 128)


def main() -> None:
    """Measure, print and save."""
    quiet_tensorflow.NativeOutput().hold_back()
    tensorflow, keras = quiet_tensorflow.load()
    data = load_dataset(None)
    rows: dict[str, Any] = {}
    for batch_size in BATCH_SIZES:
        models = {"unmasked": paper_cnn(), "masked": paper_cnn()}
        layers = resolve_layers(models["masked"], ["all"])
        masks = {name: magnitude_prune(x.kernel.numpy(), 0.9).mask for name, x in layers.items()}
        apply_masks(models["masked"], masks)
        drawn = draw_examples(data.x_train, data.y_train, STEPS * batch_size)
        images = np.asarray(take(data.x_train, drawn), np.float32)[..., None] / 255
        batches = tensorflow.data.Dataset.from_tensor_slices((images, data.y_train[drawn])).batch(
            batch_size
        )
        times: dict[str, list[float]] = {name: [] for name in models}
        for model in models.values():
            objective_of(model).compile(model, keras.optimizers.Adam(1e-4))
            model.fit(batches, shuffle=False, verbose=0)
        for _ in range(ROUNDS):
            for name, model in models.items():
                start = time.perf_counter()
                model.fit(batches, shuffle=False, verbose=0)
                times[name].append((time.perf_counter() - start) / STEPS * 1000)
        ratios = np.divide(times["masked"], times["unmasked"]).tolist()
        rows[f"batch {batch_size}"] = {
            **{name: summarize(measured) for name, measured in times.items()},
            "ratio": summarize(ratios),
            "mask_bytes": sum(mask.nbytes for mask in masks.values()),
            "weights": sum(mask.size for mask in masks.values()),
        }
        row = rows[f"batch {batch_size}"]
        print(
            f"batch {batch_size}: {row['unmasked']['p50']:.1f} ms a step, masked "
            f"{row['masked']['p50']:.1f} ms, ratio {row['ratio']['p50']:.3f}"
        )
    threads = describe_machine()["cores"]  # TensorFlow's own choice
    save(
        "training", {"unit": "ms a step", "threads": threads, "steps_a_round": STEPS, "rows": rows}
    )


if __name__ == "__main__":
    main()
