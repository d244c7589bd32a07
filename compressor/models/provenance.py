"""Which data a model was trained on, where nobody named them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compressor.data import Dataset, load_dataset
from compressor.errors import UsageError
from compressor.models.files import data_digest


def known_data(model: Any) -> Dataset | None:
    """The embedded MNIST where `model`, a Keras model or a .keras file, was trained on it.

    `train`, `sweep` and `prune` note in the file what they trained a model on. None for any other.
    """
    digest = data_digest(model)
    if digest is None:
        return None
    embedded = load_dataset(None)
    return embedded if embedded.digest == digest else None


def needed_data(model: Any, data: Dataset | None) -> Dataset:
    """`data`, or those that `model` is known to be trained on; raises UsageError without any."""
    found = known_data(model) if data is None else data
    if found is None:
        raise UsageError(
            "it is not known which data the model was trained on",
            value=model if isinstance(model, (str, Path)) else f"model {model.name}",
            hint="name them with --data PATH, or --data mnist for the embedded MNIST",
        )
    return found
