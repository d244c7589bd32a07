"""Inputs that are made up, where an export has no data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from compressor.data import Dataset
from compressor.errors import UsageError
from compressor.foundation import quiet_tensorflow
from compressor.models import Sizes, input_names, random_inputs

CHECKED, CALIBRATED = 0, 1
"""Seeds: int8 is not checked on the inputs that it is calibrated on."""


@dataclasses.dataclass(frozen=True)
class MadeInputs:
    """Random inputs, real numbers uniform in a range: what outputs are compared on without data.

    int8 is calibrated on others like them, but only in a range that was `given`, (low, high): on
    numbers in 0 to 1 a model that takes 0 to 255 would become garbage.
    """

    given: tuple[float, float] | None = None

    @classmethod
    def within(cls, given: Sequence[float] | None) -> MadeInputs:
        """Raises UsageError where these are no bounds, or none that float32 holds."""
        if given is None:
            return cls()
        try:
            low, high = map(float, given)
        except (TypeError, ValueError, OverflowError):
            low = high = math.nan
        # NaN is in no order, and infinity more than the largest float32.
        if low < high and max(-low, high, high - low) <= float(np.finfo(np.float32).max):
            return cls((low, high))
        raise UsageError(
            "an input range is two numbers, the lower one first",
            value=given,
            hint="--input-range 0,255 (in Python, input_range=(0, 255))",
        )

    def refuse_idle(self, real: Sequence[str], data: Dataset | None) -> None:
        """Raise UsageError where a range was given, and there is nothing to draw in it.

        `real` are the names of the inputs that take real numbers.
        """
        if self.given is None:
            return
        if data is not None:
            what, hint = "an input range is for exports without data", "the data have their own"
        elif not real:
            what, hint = "no input of the model takes real numbers in a range", "give the data"
        else:
            return
        low, high = self.given
        raise UsageError(what, value=f"{low:g},{high:g}", hint=f"leave it out: {hint}")

    def draw(self, model: Any, count: int, sizes: Sizes, seed: int = CHECKED) -> Any:
        """Random inputs for `model`, `count` of them, as a data set stores them."""
        _, keras = quiet_tensorflow.load()
        made = random_inputs(model, count, seed, sizes=sizes, between=self.given or (0.0, 1.0))
        arrays, names = keras.tree.flatten(made), input_names(model)
        return arrays[0] if len(arrays) == 1 else dict(zip(names, arrays, strict=True))

    def calibration(self, model: Any, count: int, sizes: Sizes) -> Any:
        """Inputs to calibrate int8 on; raises UsageError where no range was given."""
        self.check_calibrates()
        return self.draw(model, count, sizes, CALIBRATED)

    def check_calibrates(self) -> None:
        """Raise UsageError where no range was given to make up inputs in."""
        if self.given is None:
            raise UsageError(
                "int8 needs examples to find the ranges of activations on",
                value="no data",
                hint="give the data that the model was trained on, or the range of its inputs, "
                "--input-range LOW,HIGH (in Python, input_range), to make some up",
            )

    @property
    def shown(self) -> str:
        """What int8 is calibrated on, where that is made up, else empty."""
        if self.given is None:
            return ""
        low, high = self.given
        return f"made-up inputs between {low:g} and {high:g}"
