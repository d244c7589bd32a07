"""The examples on which a bench proves its rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compressor.data import Dataset
from compressor.errors import UsageError
from compressor.measuring.benching import _examples
from compressor.measuring.proof import Examples, outcome
from deploy.artifact_parts import InputRule

LABELS = np.repeat(np.arange(5), 40)
X = np.stack([LABELS, np.arange(200)], axis=1).astype(np.float32)
RULES = (InputRule("x", "", (2,), "float32", 1.0, "as stored"),)


def test_some_examples_are_of_all_classes_and_keep_their_labels() -> None:
    examples = Examples.of(Dataset.from_arrays("sorted", X, LABELS, X, LABELS), 20)

    fed = examples.inputs(RULES, slice(None))["x"]
    assert np.bincount(examples.targets).tolist() == [4] * 5
    assert not examples.complete
    np.testing.assert_array_equal(fed[:, 0], examples.targets)
    np.testing.assert_array_equal(examples.inputs(RULES, slice(3, 5))["x"], fed[3:5])
    assert len(set(examples.drawn(5).targets)) == 5


def test_all_examples_stay_in_their_order() -> None:
    examples = Examples.of(Dataset.from_arrays("sorted", X, LABELS, X, LABELS), None)

    assert examples.complete and examples.count == 200
    np.testing.assert_array_equal(examples.inputs(RULES, slice(None))["x"], X)


@pytest.mark.parametrize("shape", [(20,), (20, 3, 4), (20, 0)])
def test_an_output_that_nothing_describes_has_no_accuracy_and_is_no_failure(
    shape: tuple[int, ...],
) -> None:
    examples = Examples.of(Dataset.from_arrays("sorted", X, LABELS, X, LABELS), 20)
    subject: Any = SimpleNamespace(artifact=None)

    found = outcome(lambda _: np.zeros(shape), RULES, examples, subject, [PORT], 32)

    assert (found.count, found.values, found.classes) == (20, {}, None)


def test_several_outputs_without_scores_have_no_accuracy() -> None:
    examples = Examples.of(Dataset.from_arrays("sorted", X, LABELS, X, LABELS), 20)
    subject: Any = SimpleNamespace(artifact=None)
    maps = [PORT | {"name": name, "shape": [None, 4, 4, 3]} for name in "yz"]

    found = outcome(lambda _: np.zeros((20, 96)), RULES, examples, subject, maps, 32)

    assert (found.values, found.classes) == ({}, None)


PORT = {"name": "y", "shape": [None, 5], "dtype": "float32", "scale": None, "zero_point": None}


def test_a_number_of_examples_needs_some() -> None:
    with pytest.raises(UsageError, match="--examples needs data"):
        _examples([], None, 50)
    assert _examples([], None, None) is None
