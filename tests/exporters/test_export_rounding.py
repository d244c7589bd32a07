"""Files whose weights were rounded so that they make up for each other."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from command_line import compressor as command

import compressor
from compressor.data import Dataset
from compressor.errors import UsageError
from compressor.exporters.variants import worse
from compressor.exporters.verdict import Comparison
from deploy.tasks import Head


@pytest.fixture(scope="module")
def model(keras):
    keras.utils.set_random_seed(1)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((40,), name="row"),
            layers.Dense(120, activation="relu", name="wide"),
            layers.Dense(6, name="scores"),
        ]
    )


@pytest.fixture(scope="module")
def data(model):
    generator = np.random.default_rng(3)
    x = (generator.normal(size=(9000, 8)) @ generator.normal(size=(8, 40))).astype(np.float32)
    scores = np.asarray(model.predict_on_batch(x))
    clear = np.diff(np.sort(scores, axis=1)[:, -2:], axis=1)[:, 0]
    chosen = generator.permutation(np.argsort(clear)[-1500:])
    x, labels = x[chosen], scores[chosen].argmax(axis=1)
    return Dataset.from_arrays("rows", x[:1200], labels[:1200], x[1200:], labels[1200:])


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_outputs_come_closer_than_by_rounding_to_the_nearest(model, data, file_format, tmp_path):
    made = {}
    for rounding in ("nearest", None):
        path = tmp_path / f"{rounding}.{file_format}"
        made[rounding] = compressor.export(model, path, data, quantize="int4", rounding=rounding)
    nearest, best = made["nearest"], made[None]
    assert (nearest["rounding"], best["rounding"]) == ("nearest", "reconstruct")
    found, other = best["verdict"]["validation"], nearest["verdict"]["validation"]
    assert found["accuracy"] >= other["accuracy"] and found["spread"] < 0.7 * other["spread"]
    notes = "\n".join(best["notes"])
    assert "Rounded on 1,100 training inputs" in notes and "to the nearest" in notes
    assert "nothing" not in notes
    kernel = model.get_layer("wide").kernel.numpy()
    assert len(np.unique(kernel)) > 1000, "the model itself is as it was"


def test_what_cannot_be_reconstructed_is_refused(model, data, tmp_path):
    with pytest.raises(UsageError, match="there are no data"):
        compressor.export(model, tmp_path / "m.onnx", quantize="int4", rounding="reconstruct")
    with pytest.raises(UsageError, match="rounds no weights"):
        compressor.export(model, tmp_path / "m.onnx", data, rounding="reconstruct")
    with pytest.raises(UsageError, match="unknown rounding"):
        compressor.export(model, tmp_path / "m.onnx", data, quantize="int4", rounding="up")


def checked(*, passed=True, accuracy=0.9, spread=0.1, size=10):
    heads = (Head("", "classification", (10,), 10),)
    values, own = {"accuracy": accuracy}, {"accuracy": 0.9}
    found = Comparison(100, heads, values, own, 0.1, 1.0, spread, 1.0, (spread,))
    verdict = SimpleNamespace(passed=passed, reason="it is garbage", chosen_on=found)
    return SimpleNamespace(verdict=verdict, size=size)


@pytest.mark.parametrize(
    ("rounded", "nearest", "reason"),
    [
        (checked(passed=False), checked(passed=False), "it is garbage"),
        (checked(accuracy=0.1), checked(passed=False), ""),
        (checked(accuracy=0.89), checked(), "accuracy on validation data is 89.00 %"),
        (checked(accuracy=0.91, spread=0.2), checked(), ""),
        (checked(spread=0.2), checked(), "no closer"),
        (checked(spread=0.05), checked(), ""),
    ],
)
def test_which_rounding_is_taken(rounded, nearest, reason):
    found = worse(rounded, nearest)
    assert reason in found and bool(reason) == bool(found)


def test_where_the_file_may_not_grow():
    better, small = checked(accuracy=0.95, size=11), checked()
    assert "11 bytes" in worse(better, small, may_grow=False)
    assert worse(better, checked(passed=False), may_grow=False) == ""


def test_the_command_line_refuses_a_rounding_of_all_formats(tmp_path):
    path = tmp_path / "m.keras"
    path.write_bytes(b"")
    done = command("export", path, "--format", "all", "--rounding", "nearest")
    assert done.code == 2 and "leave --rounding out" in done.stderr
