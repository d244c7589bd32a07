"""The data set in memory, and the embedded MNIST."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import compressor.data
from compressor.data import Dataset, load_dataset, mnist
from compressor.data.dataset import array_digest
from compressor.data.mnist import load_mnist

MNIST_DIGEST = "5c253c44a8ba46c4fab0a6f1805a91fdf660e732190251bec4b54f0131afc5bb"


def test_exported_names():
    assert compressor.data.__all__ == [
        "Array",
        "Dataset",
        "Inputs",
        "Targets",
        "TrainingData",
        "draw_examples",
        "judged_part",
        "listed",
        "load_arrays",
        "load_dataset",
        "named",
        "rows",
        "save_arrays",
        "take",
    ]


def test_import_is_light():
    code = "import sys, compressor.data; print({'tensorflow', 'keras', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_embedded_mnist_is_the_official_one(embedded):
    assert embedded.x_train.shape == (60000, 28, 28)
    assert embedded.x_test.shape == (10000, 28, 28)
    assert embedded.x_train.dtype == embedded.x_test.dtype == np.uint8
    assert embedded.y_train.dtype == embedded.y_test.dtype == np.int64
    assert embedded.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert embedded.y_test[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(embedded.y_train).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert embedded.digest == MNIST_DIGEST
    assert json.loads(json.dumps(embedded.describe())) == {
        "name": "mnist",
        "digest": MNIST_DIGEST,
        "train": 60000,
        "test": 10000,
        "image_shape": [28, 28],
        "dtype": "uint8",
        "classes": 10,
    }


def test_embedded_files_read_as_a_directory_are_the_same_data(embedded):
    assert load_dataset(Path(compressor.data.__file__).parent).digest == embedded.digest


def test_none_is_the_embedded_mnist(embedded, monkeypatch):
    monkeypatch.setattr(mnist, "load_mnist", lambda: embedded)
    assert load_dataset(None) is embedded


def test_tampered_content_is_detected(monkeypatch, refused):
    def tampered(name):
        with open(Path(mnist.__file__).parent / f"{name}.gz", "rb") as file:
            content = bytearray(gzip.decompress(file.read()))
        content[-1] ^= 1
        return io.BytesIO(gzip.compress(content, 1, mtime=0))

    monkeypatch.setattr(mnist, "FILES", mnist.FILES[::-1])  # the small file first
    monkeypatch.setattr(mnist, "_open_embedded", tampered)
    message = refused(load_mnist)
    assert message.startswith("embedded MNIST file is not the official one: t10k-labels-idx1-ubyte")
    assert "install the package again" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not the official one"),
        (b"no gzip at all", "gzip file is damaged"),
        (gzip.compress(bytes(1000), mtime=0)[:-9], "gzip file is truncated"),
    ],
)
def test_damaged_embedded_file_is_detected(monkeypatch, refused, content, said):
    monkeypatch.setattr(mnist, "_open_embedded", lambda name: io.BytesIO(content))
    assert said in refused(load_mnist)


def test_missing_embedded_file(monkeypatch, refused):
    def missing(name):
        raise FileNotFoundError(2, "No such file or directory", name)

    monkeypatch.setattr(mnist, "_open_embedded", missing)
    message = refused(load_mnist)
    assert "embedded train-images-idx3-ubyte.gz" in message
    assert "No such file" in message


def test_split_is_a_seeded_partition(arrays):
    data = Dataset.from_arrays("small", **arrays)
    train, validation = data.split(2, seed=3)
    assert train.dtype == validation.dtype == np.int64
    assert len(validation) == 2
    assert sorted([*train, *validation]) == list(range(6))
    again = data.split(2, seed=3)
    assert np.array_equal(train, again[0])
    assert np.array_equal(validation, again[1])
    chosen = {tuple(data.split(2, seed=seed)[1]) for seed in range(20)}
    assert len(chosen) > 5


def test_split_of_mnist_is_pinned(embedded):
    """A result is reproducible only as long as the same images are held out."""
    _, validation = embedded.split(5, seed=0)
    assert validation.tolist() == [4013, 23840, 29603, 43011, 58703]


def test_split_of_nothing_keeps_all(arrays):
    train, validation = Dataset.from_arrays("small", **arrays).split(0, seed=0)
    assert train.tolist() == list(range(6))
    assert validation.shape == (0,)


@pytest.mark.parametrize("validation", [6, 7, 10**30, -1])
def test_split_that_leaves_no_image_is_refused(arrays, refused, validation):
    message = refused(Dataset.from_arrays("small", **arrays).split, validation, 0)
    assert f"{validation} of 6 images" in message
    assert "choose 0 to 5" in message


def test_negative_seed_is_refused(arrays, refused):
    assert refused(Dataset.from_arrays("small", **arrays).split, 1, -1) == "seed is negative: -1"


def test_arrays_are_read_only_and_the_callers_are_not(arrays):
    data = Dataset.from_arrays("small", **arrays)
    with pytest.raises(ValueError, match="read-only"):
        data.x_train[0] = 0
    arrays["x_train"][0] = 0


def test_digest_depends_on_dtype_shape_order_and_values():
    array = np.arange(12, dtype=np.uint8)
    digests = {
        array_digest(array),
        array_digest(array.view(np.int8)),
        array_digest(array.reshape(3, 4)),
        array_digest(array[::-1]),
        array_digest(array, array),
        array_digest(array[:6], array[6:]),
        array_digest(array[6:], array[:6]),
    }
    assert len(digests) == 7


def test_digest_does_not_depend_on_layout():
    array = np.arange(12, dtype="<i4").reshape(3, 4)
    assert array_digest(array) == array_digest(array.astype(">i4"))
    assert array_digest(array) == array_digest(np.asfortranarray(array))
