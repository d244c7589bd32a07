"""Training on data that stay on the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compressor.data import Dataset, load_dataset, stored, take
from compressor.foundation import quiet_tensorflow
from compressor.models import accuracy_of
from compressor.training import TrainingOptions, fit


@pytest.fixture
def sets(monkeypatch):
    """The same data in memory and on the disk."""

    def make(x, y):
        small = load_dataset(
            dict(zip(("x_train", "x_test", "y_train", "y_test"), (x, x, y, y), strict=True))
        )
        monkeypatch.setattr(stored, "MOST_IN_MEMORY", 64)
        batch = [(take(x, slice(0, 50)), y[:50]), (take(x, slice(50, None)), y[50:])]
        return small, load_dataset({"train": batch, "test": batch})

    return make


def trained(data: Dataset, inputs: dict[str, tuple[int, ...]]) -> tuple[list[np.ndarray], float]:
    _, keras = quiet_tensorflow.load()
    keras.utils.set_random_seed(1)
    layers = {name: keras.Input(shape, name=name) for name, shape in inputs.items()}
    flat = [keras.layers.Flatten()(layer) for layer in layers.values()]
    joined = flat[0] if len(flat) == 1 else keras.layers.Concatenate()(flat)
    model = keras.Model(list(layers.values()), keras.layers.Dense(3)(joined))
    fit(model, data.x_train, data.y_train, TrainingOptions(12, batch_size=16), seed=3)
    return model.get_weights(), accuracy_of(model, data.x_test, data.y_test)


@pytest.mark.slow
def test_the_weights_are_those_of_training_in_memory(sets):
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 256, (90, 5, 4), dtype=np.uint8), np.arange(90) % 3
    small, large = sets(x, y)
    assert isinstance(large.x_train, stored.StoredRows)
    assert small.digest == large.digest
    weights, accuracy = trained(small, {"x": (5, 4)})
    others, other = trained(large, {"x": (5, 4)})
    assert accuracy == other
    assert all(map(np.array_equal, weights, others))


@pytest.mark.slow
def test_named_inputs_may_stay_on_the_disk(sets):
    generator = np.random.default_rng(0)
    x = {"a": generator.random((90, 6), np.float32), "b": generator.random((90, 2), np.float32)}
    small, large = sets(x, np.arange(90) % 3)
    shapes = {"a": (6,), "b": (2,)}
    weights, others = trained(small, shapes)[0], trained(large, shapes)[0]
    assert all(map(np.array_equal, weights, others))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak")
def test_a_large_set_takes_little_memory(tmp_path):
    """600 MB of pictures, trained on and evaluated, take two thirds of it in memory at most.

    Of which the test part, 120 MB, is held there.
    """
    program = """
import sys
import compressor
from compressor.foundation import quiet_tensorflow
from compressor.models import accuracy_of
from compressor.training import TrainingOptions, fit
from compressor.data import TrainingData
_, keras = quiet_tensorflow.load()
data = compressor.load_dataset(sys.argv[1])
layers = [keras.Input((50, 80, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
model = keras.Sequential(layers)
fit(model, *TrainingData.of(data).training_part(), TrainingOptions(1000), seed=0)
accuracy_of(model, data.x_train, data.y_train)
# ru_maxrss would begin with that of the test's own process.
print(int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024)
"""
    peaks = []
    for count in (3_000, 150_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        shape = (count, 50, 80)
        np.lib.format.open_memmap(folder / "x.npy", "w+", np.uint8, shape)[::2, :, 40:] = 1
        np.save(folder / "y.npy", np.arange(count) % 2)
        words = [sys.executable, "-c", program, str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 400e6
