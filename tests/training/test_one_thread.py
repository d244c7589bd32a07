"""A training with one thread: narrow residual networks end the process in oneDNN."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
from compressor.foundation import quiet_tensorflow
_, keras = quiet_tensorflow.load(1)
import numpy as np
from compressor import TrainingOptions, training

layers = keras.layers
keras.utils.set_random_seed(0)
image = keras.Input((28, 28, 1))
x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
for filters, strides in ((4, 1), (7, 2)):
    straight = layers.Conv2D(filters, 1, strides=strides)(x)
    y = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same")(y))
    x = layers.ReLU()(layers.Add()([straight, y]))
model = keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))
generator = np.random.default_rng(0)
x = generator.integers(0, 256, (512, 28, 28, 1)).astype(np.uint8)
training.fit(model, x, np.arange(512) % 10, TrainingOptions(steps=200), seed=0)
quiet_tensorflow.load(1, frugal=True)  # as what follows in the same process, such as an export
print("trained")
"""


@pytest.mark.slow
def test_a_narrow_residual_network_is_trained_with_one_thread() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr[-2000:]
