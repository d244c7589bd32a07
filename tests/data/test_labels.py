"""The names of the classes of data, and of a model or an artefact."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from compressor.data import Dataset
from compressor.data.labels import check_label_names, numbered_as
from compressor.exporters.job import ExportJob
from compressor.foundation import quiet_tensorflow
from compressor.models import check_fit

X = np.arange(12, dtype=np.float32).reshape(6, 2)
Y = np.array([0, 1, 2, 2, 1, 0])


@pytest.fixture
def data() -> Dataset:
    return Dataset.from_arrays("d", X, Y, X[:3], Y[:3], labels=("ape", "cow", "dog"))


def test_names_get_the_numbers_that_the_artefact_gives_them(data, refused):
    # Data without bees: the numbers of cows and dogs are those of bees and cows.
    found = numbered_as(data, ("ape", "bee", "cow", "dog"), 4, "a.tflite")
    assert found.y_train.tolist() == [0, 2, 3, 3, 2, 0] and found.y_test.tolist() == [0, 2, 3]
    assert found.labels == ("ape", "bee", "cow", "dog") and found.digest != data.digest
    assert numbered_as(data, ("ape", "cow", "dog"), 3, "a.tflite") is data
    assert numbered_as(dataclasses.replace(data, labels=None), ("a", "b"), 2, "a") is not None
    said = refused(numbered_as, data, ("ape", "bee", "cow"), 3, "a.tflite")
    assert "does not know: dog; a.tflite has ape, bee, cow" in said
    assert "the data have 3 classes, the model 4" in refused(numbered_as, data, None, 4, "a")


def test_names_must_be_as_many_as_classes(data, refused):
    check_label_names(data, 3)
    check_label_names(data, 0)
    said = refused(check_label_names, data, 4)
    assert "the data have 3 classes, the model 4: ape, cow, dog; give data with all" in said


def test_a_model_of_other_classes_is_neither_pruned_nor_exported(data, refused):
    _, keras = quiet_tensorflow.load()
    for classes in (3, 4):
        softmax = keras.layers.Dense(classes, activation="softmax")
        model = keras.Sequential([keras.Input((2,)), softmax])
        if classes == 3:
            check_fit(model, data)
            continue
        for use in (check_fit, ExportJob):
            assert "the data have 3 classes, the model 4" in refused(use, model, data)
