"""What arrays of images and labels become, and which are refused."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.data import Dataset
from compressor.data.checks import as_images, as_labels


@pytest.mark.parametrize("dtype", ["uint8", "int8", ">u2", "int64", "uint64"])
def test_only_what_is_stored_as_bytes_is_bytes(dtype):
    images = as_images(np.array([[[0, 1], [126, 127]]], dtype), "x")
    assert images.dtype == (np.uint8 if dtype == "uint8" else np.int32)
    assert images.dtype.isnative and images.flags.c_contiguous
    assert images.tolist() == [[[0, 1], [126, 127]]]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 256], "int64"),
        ([-1, 5], "int8"),
        ([-(2**31), 2**31 - 1], "int64"),
        ([0, 2**31 - 1], "uint64"),
        ([7, 65535], ">u2"),
    ],
)
def test_integers_beyond_a_byte_become_int32(values, dtype):
    tokens = as_images(np.array([values], dtype), "x")
    assert tokens.dtype == np.int32
    assert tokens.dtype.isnative
    assert tokens.tolist() == [values]


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4", "float64", "longdouble"])
def test_float_images_become_float32(dtype):
    images = as_images(np.array([[0.5, -2.0]], dtype), "x")
    assert images.dtype == np.float32
    assert images.dtype.isnative
    assert images.tolist() == [[0.5, -2.0]]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.array([[0, 2**31]]), "do not fit into int32: x holds 0..2147483648"),
        (np.array([[-(2**31) - 1, 5]]), "do not fit into int32: x holds -2147483649..5"),
        (np.array([[2**64 - 1]], np.uint64), "do not fit into int32"),
        (np.array([[0.0, np.nan]]), "NaN or infinity: x"),
        (np.array([[0.0, -np.inf]], np.float32), "NaN or infinity: x"),
        (np.array([[0.0, 1e39]]), "too large for float32: x holds 0..1e+39"),
        (np.array([[-1e300, 0.0]]), "too large for float32"),
        (np.array([[np.finfo(np.longdouble).max]]), "too large for float32"),
        (np.zeros((0, 28, 28), np.uint8), "there are no images: x has shape (0, 28, 28)"),
        (np.zeros((5, 0, 28), np.uint8), "there are no images"),
        (np.zeros(5, np.uint8), "wrong number of dimensions"),
        (np.array(5), "wrong number of dimensions"),
        (np.zeros((2, 2), bool), "cannot be used: x is bool"),
        (np.zeros((2, 2), complex), "cannot be used: x is complex128"),
        (np.zeros((2, 2), "U3"), "cannot be used: x is <U3"),
        (np.zeros((2, 2), "M8[s]"), "cannot be used: x is datetime64[s]"),
        (np.zeros((2, 2), "u1,u1"), "cannot be used: x is [('f0'"),
        (np.full((2, 2), None), "array of Python objects is refused: x"),
    ],
)
def test_refused_images(refused, images, said):
    assert said in refused(as_images, images, "x")


@pytest.mark.parametrize(
    "labels",
    [
        np.array([2, 0, 1], np.uint8),
        np.array([2, 0, 1], ">i8"),
        np.array([2, 0, 1], np.uint64),
        np.array([[2], [0], [1]]),
        np.array([2.0, -0.0, 1.0], np.float16),
        np.array([[2.0], [0.0], [1.0]]),
        np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], np.uint8),
        np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]]),
        np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], bool),
    ],
)
def test_labels_become_int64(labels):
    result = as_labels(labels, "y")
    assert result.dtype == np.int64
    assert result.tolist() == [2, 0, 1]


def test_largest_label():
    assert as_labels(np.array([65535]), "y").tolist() == [65535]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array([0, -1]), "label is negative: -1 in y"),
        (np.array([0.0, -1.0]), "label is negative: -1.0 in y"),
        (np.array([0, 65536]), "label is above 65535: 65536 in y"),
        (np.array([2**64 - 1], np.uint64), "label is above 65535: 18446744073709551615"),
        (np.array([1e300]), "label is above 65535"),
        (np.array([0.0, np.nan]), "labels hold NaN or infinity: y"),
        (np.array([0.0, np.inf]), "labels hold NaN or infinity: y"),
        (np.array([0.0, 1.5]), "label is not a whole number: 1.5 in y"),
        (np.zeros(0, np.uint8), "there are no labels"),
        (np.zeros((3, 0), np.uint8), "there are no labels"),
        (np.zeros((2, 2, 2), np.uint8), "wrong number of dimensions of labels"),
        (np.array(3), "wrong number of dimensions of labels"),
        (np.array([[0, 1], [0, 0]]), "not one-hot: row 1 of y, shape (2, 2)"),
        (np.array([[0, 1], [1, 1]]), "not one-hot: row 1"),
        (np.array([[0, 2], [1, 0]]), "not one-hot: row 0"),
        (np.array([[1, -1], [1, 0]]), "not one-hot: row 0"),
        (np.array([[1, 0.5], [1, 0]]), "not one-hot: row 0"),
        (np.array([[1, np.nan], [1, 0]]), "not one-hot: row 0"),
        (np.array(["0", "1"]), "cannot be used: y is <U1"),
        (np.array([0, 1], complex), "cannot be used: y is complex128"),
        (np.array([0, None]), "array of Python objects is refused: y"),
    ],
)
def test_refused_labels(refused, labels, said):
    assert said in refused(as_labels, labels, "y")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"y_train": np.zeros(5, int)},
            "train set has not as many labels as images: 6 images, 5 labels",
        ),
        (
            {"y_test": np.zeros(5, int)},
            "test set has not as many labels as images: 4 images, 5 labels",
        ),
        ({"x_test": np.zeros((4, 3, 4), np.uint8)}, "different shapes: (4, 3) and (3, 4)"),
        ({"x_test": np.zeros((4, 4, 3))}, "different types: uint8 and float32"),
        ({"x_test": np.zeros((4, 4, 3), np.int64)}, "different types: uint8 and int32"),
        (
            {"x_train": np.full((6, 4, 3), 300), "x_test": np.zeros((4, 4, 3))},
            "different types: int32 and float32",
        ),
    ],
)
def test_arrays_that_do_not_fit_each_other(arrays, refused, changes, said):
    assert said in refused(Dataset.from_arrays, "small", **{**arrays, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"y_test": np.array([0, 1, 2, 3])},
            "labels out of range: test set has 0..3, train set 0..2",
        ),
        (
            {"y_train": np.array([1, 1, 2, 2, 1, 1])},
            "labels out of range: test set has 0..2, train set 1..2",
        ),
        ({"y_test": np.array([0, 1, 2, -1])}, "label is negative: -1.0 in y_test"),
        (
            {"y_train": np.array([0, 1, 2, 2, 1, 0.5])},
            "label is not a whole number: 0.5 in y_train",
        ),
        ({"y_train": None, "y_test": None}, "the data set has no labels: y_train"),
        ({"y_train": {"a": np.zeros(6)}, "y_test": {"a": np.ones(4)}}, "several outputs"),
    ],
)
def test_targets_that_are_no_classes_are_refused_where_classes_are_needed(
    arrays, refused, changes, said
):
    data = Dataset.from_arrays("small", **{**arrays, **changes})
    assert said in refused(lambda: data.classes)


def test_classes_counts_from_zero(arrays):
    assert Dataset.from_arrays("small", **arrays).classes == 3
    arrays["y_train"] = arrays["y_train"] + 4
    arrays["y_test"] = arrays["y_test"] + 4
    assert Dataset.from_arrays("small", **arrays).classes == 7
