"""The paper's results: the numbers of its Tables 4 to 9, and its claims.

Source: "Exploiting the Relationship between Pruning Ratio and Compression Effect for
Neural Network Model Based on TensorFlow", Security and Communication Networks, 2020,
Section 5. It gives thresholds, counts and sizes as numbers, but accuracy and prediction time only
in words, so there is nothing to draw for those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

PARAMETERS = 3_274_634
"""Parameters of the paper's model, weights and biases."""

DENSE_MIB = 37.5
"""Size of the original model in MiB: a checkpoint with Adam's two moments."""

SHAPES: dict[str, tuple[int, ...]] = {"w_fc1": (3136, 1024), "w_fc2": (1024, 10)}
"""The layers that the paper prunes, under its own names."""

CLAIMS = {
    "size": "the pruning proportion is positively correlated with the compression scale "
    "of the model",
    "accuracy": "there is no positive relationship between pruning proportion and accuracy",
    "prediction_time": "there is no positive relationship between pruning ratio and "
    "computing time for predictions",
}
"""The hypothesis (Section 1) and what the paper concludes (Section 5.7), in its words."""

FIGURE_WORDS = {
    "accuracy": "“the testing accuracy … has no obvious changes”",
    "prediction_time": "“the computing time for prediction … changes irregularly”",
}
"""What Section 5.7 says of Figures 6 and 7."""


@dataclass(frozen=True)
class PaperRow:
    """One of the paper's Tables 4 to 9.

    `thresholds` and `kept` are by the paper's layer names; `size_mib` is the sparse
    model's size in MiB; `accuracy` and `prediction_time` are the paper's words for the
    change against the original model.
    """

    table: int
    thresholds: dict[str, float]
    kept: dict[str, int]
    size_mib: float
    accuracy: str
    prediction_time: str


def _fc(fc1: float, fc2: float) -> dict[str, Any]:
    return {"w_fc1": fc1, "w_fc2": fc2}


_SAME, _LOWER = "does not change", "slightly decreases"
_LONGER, _SHORTER = "slightly increases", "slightly decreases"

ROWS: dict[float, PaperRow] = {
    0.1: PaperRow(4, _fc(0.012034996, 0.013038448), _fc(2_890_137, 9_215), 66.5, _SAME, _LONGER),
    0.3: PaperRow(5, _fc(0.036936015, 0.039559085), _fc(2_247_884, 7_167), 51.8, _SAME, _LONGER),
    0.5: PaperRow(6, _fc(0.06429165, 0.068891354), _fc(1_605_631, 5_119), 37.1, _LOWER, _SHORTER),
    0.7: PaperRow(7, _fc(0.09749276, 0.10360378), _fc(963_379, 3_071), 22.3, _LOWER, _SHORTER),
    0.8: PaperRow(8, _fc(0.11903707, 0.12662686), _fc(642_252, 2_047), 14.9, _LOWER, _LONGER),
    0.9: PaperRow(9, _fc(0.14814831, 0.15710811), _fc(321_126, 1_023), 7.6, _LOWER, _SHORTER),
}
"""The paper's tables by sparsity, 0 to 1."""


def row(sparsity: float) -> PaperRow | None:
    """The paper's table at `sparsity` (0 to 1), or None where it has none."""
    near = (found for own, found in ROWS.items() if math.isclose(own, sparsity, abs_tol=1e-9))
    return next(near, None)
