"""A search takes classifiers, and says of any other model what it is."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.errors import ModelError
from compressor.models import Objective
from compressor.models.aims import Aim
from compressor.searching.base import check_classifier
from deploy.tasks import BINARY, REGRESSION, SEGMENTATION, Head


def _objective(*heads: Head) -> Objective:
    aims = [Aim(head, head.name, None, (), "numbers", "numbers", reason="by mse") for head in heads]
    return Objective(tuple(aims), "inferred")


@pytest.mark.parametrize(
    ("heads", "said"),
    [
        ([Head("", REGRESSION, (78,))], "this model gives 78 numbers, not classes"),
        (
            [Head("", SEGMENTATION, (8, 8, 3), 3)],
            "this model gives 3 classes at each of 8 x 8 positions",
        ),
        (
            [Head("a", BINARY, (1,), 2, 0.5), Head("b", REGRESSION, (4,))],
            r"several outputs: a \(binary\), b \(regression\)",
        ),
    ],
)
def test_the_task_comes_first_in_what_is_said(heads: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        check_classifier(_objective(*heads))


def test_a_classifier_may_have_other_metrics() -> None:
    head = Head("", BINARY, (1,), 2, 0.5, "recall", ("recall", "accuracy"))

    check_classifier(_objective(head))
