"""Prune the paper's CNN with TFMOT: runs in an environment of its own, see `environments`.

    python run_tfmot.py JOB.json

The job names the files that it reads and writes, all .npz: `weights` (LAYER/kernel, LAYER/bias),
`data` (x uint8 (n, 28, 28), labels (n,), order int64 (steps * batch,)) and `output`, the weights
after pruning; and says steps, batch_size, learning_rate, warmup_steps, dropout, sparsity, layers,
schedule (constant or polynomial), begin_step, end_step, frequency, seed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf  # noqa: TID251 - this is not the project's process
import tensorflow_model_optimization as tfmot
import tf_keras as keras

KERNELS = ("conv1", "conv2", "fc1", "fc2")


def main() -> None:
    """Do the job of the file that is named."""
    job = json.loads(Path(sys.argv[1]).read_text())
    keras.utils.set_random_seed(job["seed"])
    tf.config.experimental.enable_op_determinism()
    model = keras.models.clone_model(
        _model(job["dropout"]), clone_function=lambda layer: _wrap(layer, job)
    )
    with np.load(job["weights"], allow_pickle=False) as weights:
        for name, layer in _kernel_layers(model).items():
            layer.set_weights([weights[f"{name}/kernel"], weights[f"{name}/bias"]])
    model.compile(
        optimizer=keras.optimizers.Adam(_learning_rate(job)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(
        _batches(job),
        verbose=0,
        shuffle=False,
        callbacks=[tfmot.sparsity.keras.UpdatePruningStep()],
    )
    arrays = {}
    for name, layer in _kernel_layers(tfmot.sparsity.keras.strip_pruning(model)).items():
        arrays[f"{name}/kernel"], arrays[f"{name}/bias"] = layer.get_weights()
    np.savez(job["output"], **arrays)


def _model(dropout: float) -> Any:
    """The paper's CNN, as `compressor.models.paper_cnn` builds it, untrained."""
    layers = keras.layers
    same: dict[str, Any] = {"padding": "same", "activation": "relu"}
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(32, 5, name="conv1", **same),
            layers.MaxPooling2D(name="pool1"),
            layers.Conv2D(64, 5, name="conv2", **same),
            layers.MaxPooling2D(name="pool2"),
            layers.Flatten(name="flatten"),
            layers.Dense(1024, activation="relu", name="fc1"),
            layers.Dropout(dropout, name="dropout"),
            layers.Dense(10, name="fc2"),
        ]
    )


def _kernel_layers(model: Any) -> dict[str, Any]:
    """Name -> layer that has a kernel, without the wrapper that prunes it."""
    inner = (getattr(layer, "layer", layer) for layer in model.layers)
    return {layer.name: layer for layer in inner if layer.name in KERNELS}


def _wrap(layer: Any, job: dict[str, Any]) -> Any:
    if layer.name not in job["layers"]:
        return layer.__class__.from_config(layer.get_config())
    sparsity = tfmot.sparsity.keras
    if job["schedule"] == "constant":
        schedule = sparsity.ConstantSparsity(
            job["sparsity"], job["begin_step"], frequency=job["frequency"]
        )
    else:
        schedule = sparsity.PolynomialDecay(
            0.0,
            job["sparsity"],
            job["begin_step"],
            job["end_step"],
            frequency=job["frequency"],
        )
    return sparsity.prune_low_magnitude(layer, pruning_schedule=schedule)


def _learning_rate(job: dict[str, Any]) -> Any:
    return keras.optimizers.schedules.CosineDecay(
        job["first_learning_rate"],
        max(job["steps"] - job["warmup_steps"], 1),
        warmup_target=job["learning_rate"],
        warmup_steps=job["warmup_steps"],
    )


def _batches(job: dict[str, Any]) -> Any:
    with np.load(job["data"], allow_pickle=False) as data:
        x, labels, order = tf.constant(data["x"]), tf.constant(data["labels"]), data["order"]

    def batch(index: Any) -> tuple[Any, Any]:
        images = tf.cast(tf.gather(x, index), tf.float32) / 255
        return images[..., None], tf.gather(labels, index)

    return tf.data.Dataset.from_tensor_slices(order).batch(job["batch_size"]).map(batch).prefetch(2)


if __name__ == "__main__":
    main()
