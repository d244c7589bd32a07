"""A model before it was pruned: its weights, and what entered its kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from compressor.pruning.reconstruction_inputs import Calibration, Wanted, rows_of

_MOST_HELD = 2**26
"""Values of rows of the dense model that are held at a time: 256 MiB."""


class Dense:
    """What `model` is now, for the time when its variables have other values."""

    def __init__(self, model: Any, wanted: Mapping[str, Wanted], calibration: Calibration) -> None:
        self._model, self._wanted, self._calibration = model, wanted, calibration
        self._variables = list(model.variables)
        self._values = {id(v): np.array(v.numpy()) for v in self._variables}
        self._rows: dict[str, np.ndarray] = {}

    def of(self, variable: Any) -> np.ndarray:
        """The values of one of the variables, float32."""
        return self._values[id(variable)].astype(np.float32)

    def rows(self, name: str) -> np.ndarray:
        """The rows that entered a kernel, float32 (groups, rows, in).

        One run of the model gives those of the other kernels, too, as many as are held.
        """
        if name not in self._rows:
            self._rows = {}
            names = list(self._wanted)
            place, room = names.index(name), _MOST_HELD
            held: dict[str, Wanted] = {}
            for other in [*names[place:], *names[:place]]:
                room -= self._wanted[other].values
                if room >= 0 or not held:
                    held[other] = self._wanted[other]
            with self._back():
                self._rows = rows_of(self._model, held, self._calibration)
        return self._rows[name]

    def is_changed(self) -> bool:
        """Whether any variable has other values now."""
        return bool(self._changed())

    def restore(self) -> None:
        for variable in self._changed():
            variable.assign(self._values[id(variable)])

    def _changed(self) -> list[Any]:
        return [v for v in self._variables if not np.array_equal(v.numpy(), self._values[id(v)])]

    @contextlib.contextmanager
    def _back(self) -> Iterator[None]:
        """Give the variables these values for the body."""
        now = [(v, np.array(v.numpy())) for v in self._changed()]
        self.restore()
        try:
            yield
        finally:
            for variable, values in now:
                variable.assign(values)
