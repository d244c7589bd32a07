"""Stored examples as an artefact takes them, and its scores as classes."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.artifact_parts import InputRule
from deploy.errors import RequestError
from deploy.examples import artifact_inputs, row_shape
from deploy.metrics import classes_of


def rule(
    name: str, shape: tuple[int | None, ...], scale: float = 1.0, source: str = ""
) -> InputRule:
    return InputRule(name, source, shape, "float32", scale, "because")


def test_bytes_are_scaled_and_rows_take_the_input_s_shape() -> None:
    stored = np.array([[0, 51], [102, 255]], np.uint8)

    found = artifact_inputs([rule("x", (1, 2), 1 / 255)], {"": stored})

    assert found["x"].shape == (2, 1, 2) and found["x"].dtype == np.float32
    np.testing.assert_allclose(found["x"][:, 0], [[0, 0.2], [0.4, 1]], atol=1e-7)


@pytest.mark.parametrize("stored_as", [np.int32, np.uint8, bool])
def test_whole_numbers_for_a_real_input_are_real_numbers(stored_as: type) -> None:
    """An int8 input would take them for its levels."""
    stored = np.array([[0, 1], [1, 0]], stored_as)
    real, tokens = (InputRule("x", "", (2,), of, 1.0, "as stored") for of in ("float32", "int32"))

    fed = artifact_inputs([real], {"": stored})["x"]

    assert fed.dtype == np.float32
    np.testing.assert_array_equal(fed, stored)
    assert artifact_inputs([tokens], {"": stored})["x"].dtype == stored.dtype


def test_several_inputs_are_found_by_the_names_they_are_stored_under() -> None:
    rules = [rule("serving_a:0", (2,), source="a"), rule("serving_b:0", (None, 3), source="b")]
    stored = {"b": np.ones((4, 6)), "a": np.zeros((4, 2))}

    found = artifact_inputs(rules, stored)

    assert found["serving_b:0"].shape == (4, 2, 3) and not found["serving_a:0"].any()


@pytest.mark.parametrize(
    ("rules", "stored", "said"),
    [
        ([rule("x", (3,))], {"": np.ones((2, 4))}, r"x takes \[3\], given \[4\]"),
        ([rule("x", (None, None))], {"": np.ones((2, 4, 3, 2))}, "do not fit"),
        ([rule("x", (8, 8, 3))], {"": np.ones((2, 3, 8, 8))}, r"\[8, 8, 3\], given \[3, 8, 8\]"),
        ([rule("x", (28, 28, 1))], {"": np.ones((2, 14, 56))}, r"\[28, 28, 1\], given \[14, 56\]"),
        ([rule("x", (28, 28, 1))], {"": np.ones((2, 28, 14, 2))}, "do not fit"),
        ([rule("x", (None,))], {"": np.ones((2, 5, 2))}, r"\[None\], given \[5, 2\]"),
        ([rule("x", (None, 4))], {"": np.ones((2, 4, 3))}, "do not fit"),
        ([rule("a", (4,), source="a"), rule("b", (4,), source="b")], {"a": np.ones((2, 4))}, "'b'"),
    ],
)
def test_what_does_not_fit_is_refused(rules, stored, said) -> None:
    with pytest.raises(RequestError, match=said):
        artifact_inputs(rules, stored)


@pytest.mark.parametrize(
    ("wanted", "given", "found"),
    [
        ((28, 28, 1), (28, 28), (28, 28, 1)),
        ((28, 28, 1), (784,), (28, 28, 1)),
        ((784,), (28, 28), (784,)),
        ((1, 28, 28), (28, 28, 1), (1, 28, 28)),
        ((1,), (), (1,)),
        ((5, 1, 4), (5, 4), (5, 1, 4)),
        ((None, 3), (1, 3), (1, 3)),
        ((None, 28, 1), (7, 28), (7, 28, 1)),
        ((None, None), (7,), (7, 1)),
        ((None,), (9, 1), (9,)),
        ((None, 3), (12,), (4, 3)),
    ],
)
def test_axes_of_length_one_and_flat_rows_are_all_that_a_layout_may_differ_by(
    wanted: tuple[int | None, ...], given: tuple[int, ...], found: tuple[int, ...]
) -> None:
    assert row_shape(wanted, given) == found


def test_classes_are_the_largest_score_or_on_one_side_of_the_threshold() -> None:
    assert classes_of(np.array([[0.1, 3.0, 2.0], [5.0, 0.0, 1.0]]), None).tolist() == [1, 0]
    assert classes_of(np.array([[0.4], [0.6]]), 0.5).tolist() == [0, 1]


def test_numbers_that_were_scaled_before_are_refused() -> None:
    rule = InputRule("image", "", (2, 2), "float32", 1 / 255, "uint8 scaled to 0..1")
    bright = np.full((1, 2, 2), 0.5, np.float32)

    with pytest.raises(RequestError, match="scaled already"):
        artifact_inputs([rule], {"": bright})
    with pytest.raises(RequestError, match="scaled already"):
        artifact_inputs([rule], {"": np.eye(2, dtype=bool)[None]})
    for fine in (np.zeros_like(bright), 255 * bright, (255 * bright).astype(np.uint8)):
        assert artifact_inputs([rule], {"": fine})["image"].max() <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_examples_that_are_no_numbers_are_refused(value: float) -> None:
    rule = InputRule("image", "", (2,), "float32", 1.0, "as it is")

    with pytest.raises(RequestError, match="NaN or infinity"):
        artifact_inputs([rule], {"": np.array([[0.0, value]], np.float32)})
