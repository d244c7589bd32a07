"""Rounding weights to what a file can hold, by what enters their layers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from compressor.data import TrainingData, listed
from compressor.errors import CompressorError
from compressor.exporters.conversions import Conversions
from compressor.exporters.request import EncodedTensor, ExportedFile, Request
from compressor.exporters.tracing import cause
from compressor.models import Objective
from compressor.pruning import GRIDS, RoundedKernel, Rounding, all_kernels, calibration_inputs

Build = Callable[[Request], ExportedFile]

EXAMPLES = 4096
"""Training inputs, without their labels, that weights are rounded on."""


class Rounder:
    """Rounds the weights of a model on training inputs, which `seed` draws."""

    def __init__(self, model: Any, data: TrainingData, objective: Objective, seed: int = 0) -> None:
        self._model = model
        self._calibration = calibration_inputs(model, data, objective, EXAMPLES, seed)
        self._examples = min(EXAMPLES, len(data.train))

    def rounded(
        self, build: Build, request: Request, nearest: ExportedFile
    ) -> tuple[Request, ExportedFile] | str:
        """The request and the file that `build` makes of the rounded model, or why there is none.

        `nearest` is the file of this request with its weights rounded to the nearest values.
        """
        try:
            with self._applied(nearest.tensors) as note:
                if not note:
                    return "no other rounding brings the outputs of a layer closer"
                request = dataclasses.replace(
                    request, rounding="reconstruct", conversions=Conversions()
                )
                file = build(request)
        except CompressorError as error:
            return str(error)
        except Exception as error:  # layers raise what they like
            return cause(error)
        return request, dataclasses.replace(file, notes=(*file.notes, note))

    @contextlib.contextmanager
    def _applied(self, tensors: Sequence[EncodedTensor]) -> Iterator[str]:
        """Within, the weights of the model are what a file with these tensors can hold.

        Yields a note on what was done, empty where nothing was: only weights that are named after a
        variable of the model, and stored as a type of `GRIDS`, can be rounded.
        """
        kernels = all_kernels(self._model)
        names = {f"{k.layer_name}/{k.variable.name}": name for name, k in kernels.items()}
        values = {names[one.name]: one.values for one in tensors if one.name in names}
        values = {name: kind for name, kind in values.items() if kind in GRIDS}
        if not values:
            yield ""
            return
        chosen = {name: kernels[name] for name in values}
        with Rounding(self._model, chosen, self._calibration).applied(values) as done:
            yield self._note(done)

    def _note(self, done: dict[str, RoundedKernel]) -> str:
        rounded = [
            f"{name} {one.error:.2g} ({one.nearest_error:.2g})"
            for name, one in done.items()
            if not one.reason
        ]
        if not rounded:
            return ""
        others = [f"{name} ({one.reason})" for name, one in done.items() if one.reason]
        return (
            f"Rounded on {self._examples:,} training inputs; relative error of the outputs, and "
            f"rounded to the nearest: {listed(rounded)}."
            + (f" To the nearest: {listed(others)}." if others else "")
        )
