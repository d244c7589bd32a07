"""Models compiled from C, which run without any runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deploy.artifact_parts import C_INTERFACE, Port
from deploy.compiled import Compiled
from deploy.errors import ArtifactError, EngineError
from deploy.runner.engine import Engine

INPUT, OUTPUT = "input", "output"


class CEngine(Engine):
    """A shared library of generated C code, on one thread."""

    runtime = "c"

    def _import(self) -> None:
        self.version = C_INTERFACE

    def _load(self, path: str, threads: int) -> None:
        if self.reference:
            raise EngineError("the code has no other kernels", value=path)
        try:
            self._compiled = Compiled(path)
        except ArtifactError as error:
            raise EngineError("c refuses the artefact", value=error) from error

    def _ports(self) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        model = self._compiled
        given, made = (
            Port(name, (None, *shape), "float32")
            for name, shape in ((INPUT, model.input_axes), (OUTPUT, model.output_axes))
        )
        return (given,), (made,)

    def _run(self, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        outputs = self._compiled.run(arrays[0])
        return [outputs.reshape(len(outputs), *self._compiled.output_axes)]

    def _bind(self, arrays: Sequence[np.ndarray]) -> Callable[[], Any]:
        call: Callable[[], Any] = self._compiled.bound(arrays[0])[0]
        return call
