"""A model of which nothing goes: no second one is built for an export."""

from __future__ import annotations

import numpy as np

from compressor.exporters.job import ExportJob
from compressor.models import files
from compressor.shrinking import removal, shrink


def dense(keras, zeros=()):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(6, activation="relu"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    kernel = model.layers[0].kernel.numpy()
    kernel[:, list(zeros)] = 0
    model.layers[0].kernel.assign(kernel)
    return model


def test_an_export_of_a_model_of_which_nothing_goes_builds_no_second_one(keras, monkeypatch):
    built = []
    rebuild = removal.rebuild
    monkeypatch.setattr(removal, "rebuild", lambda *a, **k: built.append(1) or rebuild(*a, **k))
    model = dense(keras)
    assert ExportJob(model).shrunk.model is model and not built
    narrower = ExportJob(dense(keras, [2]))
    assert list(narrower.removed.values()) == [1] and built


def test_without_being_asked_the_model_is_a_new_one(keras):
    model = dense(keras)
    assert shrink(model).model is not model
    assert shrink(model, share=True).model is model
    narrow = dense(keras, [1, 4])
    assert shrink(narrow, share=True).model.layers[0].units == 4


def test_large_weights_are_read_from_the_disk_and_are_the_same(keras, tmp_path, monkeypatch):
    from keras.src.saving import saving_lib

    model, path = dense(keras), tmp_path / "model.keras"
    model.save(path)
    sufficient = []
    monkeypatch.setattr(
        saving_lib, "is_memory_sufficient", lambda model: sufficient.append(1) or True
    )
    monkeypatch.setattr(files, "_MOST_IN_MEMORY", 8)
    loaded = files.load_model(path)
    pairs = zip(model.weights, loaded.weights, strict=True)
    assert all(np.array_equal(one.numpy(), other.numpy()) for one, other in pairs)
    assert not sufficient and [one.name for one in tmp_path.iterdir()] == ["model.keras"]
