"""What a file of Keras 2 says, as data: configuration and weights, not yet made into a model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Union

import numpy as np

from compressor.errors import ModelError

Weights = dict[str, Union[list[np.ndarray], "Weights"]]
"""Layer -> its arrays, trainable ones first; a nested model may have its layers instead."""

_TUPLES = ("__tuple__", "TensorShape")


@dataclasses.dataclass(frozen=True)
class Source:
    """The configuration and the weights of a model of Keras 2."""

    path: Path
    config: bytes
    """JSON: class_name and config of the model"""
    weights: Weights
    stored: int
    """values of all tensors in the file"""
    training: Any = None
    """loss and metrics, as the file has them; None if uncompiled"""
    keras_version: str = ""
    """that wrote it, such as 2.4.0; empty if it does not say"""
    optimizer_values: int = 0
    """numbers of the optimizer in the file"""

    @property
    def is_old(self) -> bool:
        """Whether Keras 2 wrote it: Keras 3 writes .h5 files, too."""
        return not self.keras_version.startswith("3")


def plain(content: Any) -> Any:
    """JSON in which tuples and shapes of TensorFlow's encoder are lists."""
    if isinstance(content, dict):
        if content.get("class_name") in _TUPLES and isinstance(content.get("items"), list):
            return plain(content["items"])
        return {name: plain(value) for name, value in content.items()}
    return [plain(value) for value in content] if isinstance(content, list) else content


def parsed(text: bytes, what: str, path: Path) -> Any:
    """JSON of a file, as `plain`; raises ModelError."""
    try:
        return plain(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{what} is damaged", value=f"{path} ({error})") from error
