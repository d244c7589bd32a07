"""The examples on which a bench proves its rows."""

from __future__ import annotations

import numpy as np

from compressor.data import Dataset
from compressor.measuring.proof import Examples
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
