"""Which predictor a folder gets, and what is said of it."""

import json
import shutil

import numpy as np
import pytest

import compressor
from compressor.data import Dataset
from compressor.errors import CheckpointError, CompressorError, DataError, ModelError, UsageError
from compressor.experiment.paper_checkpoint import write_sparse_checkpoint
from compressor.experiment.predictors import (
    Predictor,
    evaluate_predictor,
    load_predictor,
    prediction_times,
)
from compressor.models.files import load_model


@pytest.fixture
def folder(small_file, tmp_path):
    """A folder with a dense and one with a sparse step."""
    (tmp_path / "step_2_2").mkdir()
    shutil.copyfile(small_file, tmp_path / "step_2_2" / "model.keras")
    write_sparse_checkpoint(load_model(small_file), ["hidden"], tmp_path / "step_3" / "sparse.npz")
    return tmp_path


def test_dense_or_sparse_by_what_is_there(folder):
    dense, sparse = (load_predictor(folder / name) for name in ("step_2_2", "step_3"))
    assert (dense.kind, sparse.kind) == ("dense", "sparse")
    assert load_predictor(folder / "step_2_2" / "model.keras").kind == "dense"
    assert load_predictor(str(folder / "step_3" / "sparse.npz")).kind == "sparse"
    x = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    np.testing.assert_allclose(dense.predict(x), sparse.predict(x), atol=1e-5)


def test_a_folder_with_neither_or_both(rejected, folder, tmp_path):
    message = rejected(CheckpointError, load_predictor, folder)
    assert "no checkpoint" in message and "step_2_2, step_3" in message
    shutil.copyfile(folder / "step_3" / "sparse.npz", folder / "step_2_2" / "sparse.npz")
    assert "two checkpoints" in rejected(CheckpointError, load_predictor, folder / "step_2_2")
    (tmp_path / "empty").mkdir()
    assert "no checkpoint" in rejected(CheckpointError, load_predictor, tmp_path / "empty")
    assert "no such" in rejected(CheckpointError, load_predictor, tmp_path / "none")


def test_files_of_another_kind(rejected, folder, tmp_path):
    dense = folder / "step_2_2" / "model.keras"
    sparse = folder / "step_3" / "sparse.npz"
    shutil.copyfile(dense, tmp_path / "named.npz")
    rejected(CheckpointError, load_predictor, tmp_path / "named.npz")
    shutil.copyfile(sparse, tmp_path / "named.keras")
    rejected(ModelError, load_predictor, tmp_path / "named.keras")
    np.savez(tmp_path / "masks.npz", hidden=np.ones((64, 12), bool))
    message = rejected(CheckpointError, load_predictor, tmp_path / "masks.npz")
    assert "not a sparse checkpoint" in message


@pytest.fixture
def brightness(keras, tmp_path):
    """A model made by hand: class 1 when the mean of the image is above a half."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((2, 2)), layers.Flatten(), layers.Dense(2, name="d")])
    kernel = np.zeros((4, 2), np.float32)
    kernel[:, 1] = 0.25
    model.get_layer("d").set_weights([kernel, np.array([0.5, 0], np.float32)])
    model.save(tmp_path / "model.keras")
    write_sparse_checkpoint(model, ["d"], tmp_path / "sparse.npz")
    return tmp_path


def bright_data(flipped):
    x = np.repeat(np.linspace(0, 255, 20).astype(np.uint8), 4).reshape(20, 2, 2)
    y = (np.arange(20) >= 10).astype(int)
    wrong = y.copy()
    wrong[:flipped] = 1
    return Dataset.from_arrays("bright", x, y, x, wrong)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["model.keras", "sparse.npz"])
@pytest.mark.parametrize("flipped", [0, 3])
def test_accuracy_of_a_model_made_by_hand(brightness, name, flipped):
    found = compressor.evaluate(brightness / name, bright_data(flipped), batch_size=3, max_steps=2)
    assert found.accuracy == (20 - flipped) / 20
    assert found.images == 20
    assert found.kind == ("dense" if name == "model.keras" else "sparse")
    times = found.prediction_time
    assert (times.batch_size, times.batches) == (3, 2)
    described = json.loads(json.dumps(found.describe()))
    assert described["accuracy"] == found.accuracy
    assert described["path"] == str(brightness / name)
    assert described["prediction_time"]["total_ms"] == times.total_ms


def test_images_of_another_shape(rejected, brightness, tiny_data):
    message = rejected(DataError, compressor.evaluate, brightness / "model.keras", tiny_data)
    assert "(8, 8)" in message and "(2, 2)" in message


def test_batches_are_what_was_asked_for_and_take_turns(brightness):
    calls, model = [], load_model(brightness / "model.keras")

    def predictor(name):
        def predict(x):
            calls.append((name, x.shape, float(x.max())))
            return np.zeros((len(x), 2))

        return Predictor("dense", model, predict, name)

    images = bright_data(0).x_test
    both = {name: predictor(name) for name in ("a", "b")}
    times = prediction_times(both, images, batch_size=8, batches=3)
    assert list(times) == ["a", "b"]
    assert {shape for _, shape, _ in calls} == {(8, 2, 2)}
    assert max(top for *_, top in calls) == 1.0
    # 24 images are wanted and there are 20: they come again from the first.
    assert calls[2][2] == 1.0
    names = [name for name, *_ in calls]
    assert names == (["a"] * 3 + ["b"] * 3) * (len(names) // 6)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"max_steps": 0}, {"batch_size": -3}])
def test_batches_that_cannot_be(rejected, brightness, wrong):
    predictor = load_predictor(brightness / "model.keras")
    rejected(UsageError, evaluate_predictor, predictor, bright_data(0), **wrong)


def test_more_classes_than_the_model_has_is_no_crash(brightness):
    x = np.zeros((4, 2, 2), np.uint8)
    data = Dataset.from_arrays("many", x, np.arange(4), x, np.arange(4))
    try:
        assert compressor.evaluate(brightness / "model.keras", data, max_steps=1).accuracy == 0.25
    except CompressorError as error:
        assert str(error).isprintable()
