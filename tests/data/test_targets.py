"""Targets of every kind: class numbers where they can be, otherwise numbers as they are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from compressor.data import Dataset, TrainingData, draw_examples, load_dataset, rows, take
from compressor.data.dataset import array_digest


@pytest.fixture
def data(arrays):
    """Make the small data set with other targets."""

    def make(y_train, y_test, **options):
        return Dataset.from_arrays(
            "s", **{**arrays, "y_train": y_train, "y_test": y_test}, **options
        )

    return make


def multi_hot(rows, labels=3):
    return np.arange(rows * labels).reshape(rows, labels) % 2


@pytest.mark.parametrize(
    ("make", "dtype", "shape"),
    [
        (lambda n: np.arange(n) / 4, "float32", ()),
        (lambda n: np.linspace(-1, 1, n, dtype="float32"), "float32", ()),
        (lambda n: np.arange(n) - 1, "float32", ()),
        (lambda n: np.arange(n) + 250_000, "float32", ()),
        (lambda n: np.ones((n, 2)) / 2, "float32", (2,)),
        (multi_hot, "uint8", (3,)),
        (lambda n: multi_hot(n).astype(bool), "uint8", (3,)),
        (lambda n: multi_hot(n).astype(float), "float32", (3,)),
        (lambda n: np.full((n, 4, 4), 255), "uint8", (4, 4)),
        (lambda n: np.full((n, 4, 4), -1), "int32", (4, 4)),
        (lambda n: np.arange(n), "int64", ()),
        (lambda n: np.eye(6)[np.arange(n)], "int64", ()),
    ],
)
def test_targets_are_class_numbers_or_numbers_as_they_are(data, make, dtype, shape):
    found = data(make(6), make(4))
    assert found.y_train.dtype == found.y_test.dtype == dtype
    assert found.y_train.shape == (6, *shape)
    if dtype == "int64":
        assert found.describe()["classes"] == 6
    else:
        assert found.y_test.tolist() == make(4).tolist()
        described = json.loads(json.dumps(found.describe()))
        assert described["targets"] == {"": {"shape": list(shape), "dtype": dtype}}
        assert "classes" not in described


def test_both_parts_are_of_one_kind(data):
    found = data(np.array([0, 1, 2, 3, 4, 5.5]), np.arange(4))
    assert found.y_train.dtype == found.y_test.dtype == np.float32
    found = data(multi_hot(6), np.eye(4, 3, dtype=int) + np.eye(4, 3, -3, dtype=int))
    assert found.y_test.shape == (4, 3)


def test_targets_of_several_outputs_are_read_by_name(tmp_path, arrays):
    del arrays["y_train"], arrays["y_test"]
    kinds = {f"y_{part}/kind": np.arange(n) % 3 for part, n in (("train", 6), ("test", 4))}
    boxes = {f"y_{part}/box": np.ones((n, 4)) / 3 for part, n in (("train", 6), ("test", 4))}
    np.savez(tmp_path / "heads.npz", **arrays, **kinds, **boxes, w_train=np.ones(6) / 2)
    found = load_dataset(tmp_path / "heads.npz")
    assert {name: (y.dtype, y.shape) for name, y in found.y_train.items()} == {
        "box": (np.float32, (6, 4)),
        "kind": (np.int64, (6,)),
    }
    assert found.sample_weights.tolist() == [0.5] * 6
    assert rows(found.y_test) == 4
    assert take(found.y_train, [1, 4])["kind"].tolist() == [1, 1]
    part = TrainingData.of(found, 2)
    assert rows(part.training_part(2)[1]) == rows(part.choosing_part(2)[1]) == 2
    assert sorted(found.y_train["kind"][draw_examples(found.x_train, found.y_train, 3)]) == [
        0,
        1,
        2,
    ]
    with pytest.raises(TypeError):
        found.y_train["kind"] = None


def test_a_data_set_may_have_no_targets(tmp_path, arrays):
    del arrays["y_train"], arrays["y_test"]
    np.savez(tmp_path / "x.npz", **arrays)
    found = load_dataset(tmp_path / "x.npz")
    assert found.y_train is None and found.y_test is None
    assert found.digest == array_digest(found.x_train, found.x_test)
    part = TrainingData.of(found, 2)
    x, y = part.training_part(2)
    assert rows(x) == 2 and y is None
    assert part.validation_part()[1] is None
    assert part.choosing_part(4)[1] is None


def test_weights_and_other_targets_make_other_data(data):
    numbers = np.arange(6) / 2, np.arange(4) / 2
    digests = {
        data(*numbers).digest,
        data(*({"a": y} for y in numbers)).digest,
        data(*({"b": y} for y in numbers)).digest,
        data(*numbers, sample_weights=np.ones(6)).digest,
        data(None, None).digest,
    }
    assert len(digests) == 5
    named = data(np.arange(6), np.arange(4), labels=["a", "b", "c", "d", "e", "f"])
    assert named.labels == ("a", "b", "c", "d", "e", "f")


@pytest.mark.parametrize(
    ("y_train", "y_test", "options", "said"),
    [
        ([0, 1, 2, 3, 4, np.nan], [0.5] * 4, {}, "labels hold NaN or infinity: y_train"),
        ([0.5] * 6, [0, 1, 2, np.inf], {}, "labels hold NaN or infinity: y_test"),
        ([0.5] * 6, [1e39] * 4, {}, "labels hold values too large for float32: y_test"),
        ([None] * 6, [0] * 4, {}, "array of Python objects is refused: y_train"),
        (["a"] * 6, ["b"] * 4, {}, "cannot be used: y_train is <U1"),
        (0.5, [0] * 4, {}, "wrong number of dimensions"),
        ([0.5] * 5, [0.5] * 4, {}, "not as many labels as images: 6 images, 5 labels"),
        (multi_hot(6), multi_hot(4, 2), {}, "targets have different shapes: (3,) and (2,)"),
        ({"a": [0] * 6}, {"b": [0] * 4}, {}, "different targets: a and b"),
        ({"a": [0] * 6}, [0] * 4, {}, "different targets: a and one array"),
        ({"a": [0] * 5}, {"a": [0] * 4}, {}, "6 images, 5 labels of output a"),
        ({"a": [np.nan] * 6}, {"a": [0] * 4}, {}, "NaN or infinity: output a of y_train"),
        ([0] * 6, None, {}, "one part of the data set has targets and the other none: y_test"),
        ([0] * 6, [0] * 4, {"sample_weights": [1] * 5}, "6 images, 5 weights"),
        ([0] * 6, [0] * 4, {"sample_weights": [-1] * 6}, "sample weights must be 0 or more"),
        ([0] * 6, [0] * 4, {"sample_weights": [0] * 6}, "and not all 0"),
        ([0] * 6, [0] * 4, {"sample_weights": [np.nan] * 6}, "sample weights hold NaN"),
        ([0] * 6, [0] * 4, {"sample_weights": [[1]] * 6}, "one number a row"),
    ],
)
def test_targets_that_no_task_can_use(data, refused, y_train, y_test, options, said):
    def arrays_of(y):
        if isinstance(y, dict):
            return {name: np.array(part) for name, part in y.items()}
        return None if y is None else np.array(y)

    options = {name: np.array(value) for name, value in options.items()}
    assert said in refused(data, arrays_of(y_train), arrays_of(y_test), **options)


def test_named_targets_beside_plain_ones_are_refused(tmp_path, arrays, refused):
    np.savez(tmp_path / "a.npz", **arrays, **{"y_train/box": np.ones(6)})
    assert "mixes one array of targets with named" in refused(load_dataset, tmp_path / "a.npz")
    del arrays["y_train"], arrays["y_test"]
    np.savez(tmp_path / "b.npz", **arrays, **{"y_train/box": np.ones(6)})
    message = refused(load_dataset, tmp_path / "b.npz")
    assert "not the same targets for train and test" in message and "y_test/box" in message
