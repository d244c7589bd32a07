"""A module of a user's own layers, as a file, and a model that needs it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

SOURCE = '''
import keras

print("this must not reach standard output")


@keras.saving.register_keras_serializable()
class Scale(keras.layers.Layer):
    """Weights of its own, and a call of its own."""

    def __init__(self, start=1.0, **options):
        super().__init__(**options)
        self.start = start

    def build(self, shape):
        made = keras.initializers.Constant(self.start)
        self.factor = self.add_weight(shape=(shape[-1],), initializer=made, name="factor")

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {**super().get_config(), "start": self.start}


@keras.saving.register_keras_serializable()
def swishy(x):
    return x * keras.ops.sigmoid(x)


class Shift(keras.layers.Layer):
    """Not registered: known by its own name."""

    def call(self, x):
        return x + 0.5
'''


def write_module(path: Path, more: str = "") -> Path:
    path.write_text(SOURCE + more)
    return path


def write_model(keras: Any, module: Path, path: Path) -> Path:
    """Save a classifier of 8 x 8 images with these layers; Keras forgets them afterwards."""
    registry = keras.saving.get_custom_objects()
    before = dict(registry)
    spec = importlib.util.spec_from_file_location(module.stem, module)
    assert spec is not None
    assert spec.loader is not None
    own = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(own)
    layers = keras.layers
    keras.utils.set_random_seed(2)
    try:
        keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Flatten(name="flat"),
                layers.Dense(12, activation=own.swishy, name="hidden"),
                own.Scale(0.5, name="scale"),
                own.Shift(name="shift"),
                layers.Dense(4, name="scores"),
            ],
            name="own",
        ).save(path)
    finally:
        registry.clear()
        registry.update(before)
        sys.modules.pop(module.stem, None)
    return path
