"""Other keys, .npy files, and data sets without a test part."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.data import TrainingData, load_dataset, stored
from compressor.data.dataset import array_digest
from compressor.errors import UsageError


@pytest.fixture
def x():
    return np.arange(40 * 12, dtype=np.uint8).reshape(40, 4, 3)


Y = np.repeat([0, 1, 2, 3], [1, 3, 6, 30])


@pytest.mark.parametrize("names", [("x", "y"), ("x_train", "y_train")])
def test_a_test_part_is_set_aside_and_said(tmp_path, x, names):
    np.savez(tmp_path / "a.npz", **dict(zip(names, (x, Y), strict=True)))
    data = load_dataset(tmp_path / "a.npz")
    assert (len(data.x_train), len(data.x_test)) == (32, 8)
    assert data.notes == (
        "no test part: 8 of 40 examples, drawn with seed 0, are set aside for testing",
    )
    both = np.concatenate([data.x_train, data.x_test])
    assert sorted(both[:, 0, 0]) == sorted(x[:, 0, 0])
    assert set(data.y_train) == {0, 1, 2, 3}
    assert data.digest == load_dataset(tmp_path / "a.npz").digest
    assert load_dataset(tmp_path / "a.npz", test=0.5).x_test.shape[0] == 20


def test_inputs_alone_have_no_targets(tmp_path, x):
    np.save(tmp_path / "spectra.npy", x)
    data = load_dataset(tmp_path / "spectra.npy")
    assert data.y_train is None and len(data.x_test) == 8 and data.name == "spectra"
    np.savez(tmp_path / "a.npz", x=x, w=np.arange(40.0))
    assert load_dataset(tmp_path / "a.npz").sample_weights.shape == (32,)


def test_other_keys_are_taken(tmp_path, x):
    np.savez(tmp_path / "a.npz", pictures=x, digits=Y, more=x[:4], few=Y[:4], odd=np.array("text"))
    data = load_dataset(tmp_path / "a.npz", x="pictures", y="digits")
    assert len(data.x_test) == 8
    data = load_dataset(tmp_path / "a.npz", x=("pictures", "more"), y=("digits", "few"))
    assert array_digest(data.x_train) == array_digest(x) and len(data.x_test) == 4
    assert load_dataset(tmp_path / "a.npz", x="pictures").y_train is None


def test_npy_files_are_read_by_their_names(tmp_path, x):
    for name, array in {"x_train": x, "y_train": Y, "x_test": x[:4], "y_test": Y[:4]}.items():
        np.save(tmp_path / f"{name}.npy", array)
    data = load_dataset(tmp_path)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=Y, x_test=x[:4], y_test=Y[:4])
    assert data.digest == load_dataset(tmp_path / "a.npz").digest and data.notes == ()
    pair = load_dataset(tmp_path / "x_train.npy", y="y_train.npy")
    assert len(pair.x_train) == 32 and set(pair.y_train) == {0, 1, 2, 3}


def test_large_npy_files_stay_on_the_disk(tmp_path, x, monkeypatch):
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", Y)
    whole = load_dataset(tmp_path)
    monkeypatch.setattr(stored, "MOST_IN_MEMORY", 200)
    data = load_dataset(tmp_path)
    assert isinstance(data.x_train, stored.StoredRows)
    assert data.digest == whole.digest
    np.save(tmp_path / "x.npy", x.astype(">f8") / 3)
    data = load_dataset(tmp_path)
    assert isinstance(data.x_train, stored.StoredRows) and data.x_train.dtype == np.float32
    monkeypatch.undo()
    assert data.digest == load_dataset(tmp_path).digest


def test_validation_may_be_a_fraction(tmp_path, x):
    np.savez(tmp_path / "a.npz", x=x, y=Y)
    data = load_dataset(tmp_path / "a.npz")
    assert len(TrainingData.of(data, 0.25).validation) == 8
    assert len(TrainingData.of(data, 0.001).validation) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"x": "digits"}, "lacks digits"),
        ({"y": ("a", "b")}, "need as many keys"),
        ({"x": ("a", "b", "c")}, "one of the training and one of the test part"),
        ({"label": "digit"}, "--label has no effect on an .npz file"),
        ({"test": 1.0}, "must lie between 0 and 1"),
        ({"resize": (8, 8)}, "--resize has no effect on an .npz file"),
        ({"resize": (0, 8)}, "is HEIGHTxWIDTH"),
    ],
)
def test_options_that_cannot_be_used(tmp_path, x, options, said):
    np.savez(tmp_path / "a.npz", x=x, y=Y)
    with pytest.raises(Exception, match=said.replace(".", r"\.")) as caught:
        load_dataset(tmp_path / "a.npz", **options)
    assert caught.value.exit_code == 2


def test_a_fraction_has_no_effect_where_there_is_a_test_part(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UsageError, match="--test has no effect"):
        load_dataset(tmp_path / "a.npz", test=0.5)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.zeros((9, 2)), "y": np.zeros(8)}, "9 x_train in"),
        ({"x": np.zeros((1, 2)), "y": np.zeros(1)}, "too few examples"),
        ({"x": np.float32(3), "y": np.zeros(1)}, "is one number"),
    ],
)
def test_arrays_that_cannot_be_split(tmp_path, refused, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    assert said in refused(load_dataset, tmp_path / "a.npz")


def test_damaged_npy_files(tmp_path, refused, x, monkeypatch):
    np.save(tmp_path / "x.npy", x)
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:-9])
    refused(load_dataset, tmp_path / "x.npy")
    monkeypatch.setattr(stored, "MOST_IN_MEMORY", 200)
    refused(load_dataset, tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.full((9, 99), None), allow_pickle=True)
    assert "Python objects" in refused(load_dataset, tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", x)
    assert "lacks labels.npy" in refused(load_dataset, tmp_path, y="labels")
