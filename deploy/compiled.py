"""Models compiled from C to a shared library, called through ctypes."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deploy.artifact_parts import C_INTERFACE
from deploy.errors import ArtifactError, EngineError
from deploy.fields import Fields, parse_json

_LONGEST_FACTS = 4096
_ALIGNMENT = 8


class Compiled:
    """A model in a shared library that `compressor export --format c` compiled.

    Loading a library runs code of it: load none that you would not run as a program. `input_shape`
    and `output_shape` are (height, width, channels) of one example, `input_axes` and `output_axes`
    its shape as the model has it; an integer stands for scale * (integer - zero).
    """

    def __init__(self, path: Path | str) -> None:
        """Raises ArtifactError for a file that cannot be loaded, or is another library."""
        # A name without a folder would be looked for in the system's folders.
        where = str(Path(path).absolute())
        try:
            self._library = ctypes.CDLL(where)
            self._calls = {
                np.dtype(kind): self._library[f"compressor_{name}_{C_INTERFACE}"]
                for kind, name in (("int8", "run"), ("float32", "predict"))
            }
            facts = (ctypes.c_char * _LONGEST_FACTS).in_dll(self._library, "compressor_model").value
            workspace = ctypes.c_uint32.in_dll(self._library, "compressor_workspace").value
        except (OSError, AttributeError, ValueError) as error:
            raise ArtifactError(
                "this is no library of a model",
                value=f"{path} ({error})",
                hint="make one with compressor export --format c",
            ) from error
        fields = Fields(parse_json(facts, "the library's description"), "model")
        self.name = fields.text("name")
        self.input_shape, self.input_scale, self.input_zero = fields.one("input", _port)
        self.output_shape, self.output_scale, self.output_zero = fields.one("output", _port)
        shapes = self.input_shape, self.output_shape
        ranks = [1 if shape[:2] == (1, 1) else len(shape) for shape in shapes]
        if fields.has("ranks"):  # libraries of earlier versions do not say it
            ranks = fields.integers("ranks", 2, 0, len(self.input_shape))
        self.input_axes, self.output_axes = (
            shape[len(shape) - rank :]
            for shape, rank in zip(shapes, ranks)  # noqa: B905 - Python 3.9
        )
        for call in self._calls.values():
            call.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p]
            call.restype = ctypes.c_int
        self._workspace = np.zeros(workspace // _ALIGNMENT + 1, np.uint64)

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """int8 (n, *input_shape) to int8 (n, *output_shape), or float32 to float32.

        Real numbers are rounded to the integers of the input. Not for several threads at once.
        Raises EngineError for an array that does not fit.
        """
        call, outputs = self.bound(inputs)
        call()
        return outputs

    def bound(self, inputs: np.ndarray) -> tuple[Callable[[], None], np.ndarray]:
        """A call that computes the outputs of these inputs, as `run` has them, and the array in
        which it leaves them.
        """
        given = np.ascontiguousarray(inputs)
        size = math.prod(self.input_shape)
        if given.dtype not in self._calls or not given.ndim or given.size != len(given) * size:
            raise EngineError(
                "the array does not fit the library",
                value=f"it takes int8 or float32 (n, {', '.join(map(str, self.input_shape))}), "
                f"given {given.dtype} {given.shape}",
            )
        outputs = np.empty((len(given), *self.output_shape), given.dtype)
        arrays = (given, outputs, self._workspace)
        pointers = [array.ctypes.data for array in arrays]
        arguments = (pointers[0], pointers[1], ctypes.c_uint32(len(given)), pointers[2])
        function = self._calls[given.dtype]

        def call(held: tuple[np.ndarray, ...] = arrays) -> None:  # which keeps them in memory
            if function(*arguments) != 0:
                raise EngineError("the library refuses the run", value=self.name)

        return call, outputs


def levels(values: np.ndarray, scale: float, zero: int) -> np.ndarray:
    """Real numbers as integers, int8 of the same shape, as NAME_run_float of C code rounds them.

    Halves go up, in float32; what is no number becomes -128.
    """
    with np.errstate(over="ignore"):
        found = np.asarray(values, np.float32) / np.float32(scale) + np.float32(zero)
    found = np.where(found > -128, np.minimum(found, np.float32(127)), np.float32(-128))
    return (np.floor(found + np.float32(128.5)) - 128).astype(np.int8)


def _port(fields: Fields) -> tuple[tuple[int, ...], float, int]:
    """Shape, scale and zero."""
    return fields.sizes("shape"), fields.number("scale"), fields.integer("zero_point", -128, 127)
