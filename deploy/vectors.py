"""Check vectors: a few inputs of an artefact and what it answered, in FILE.check.npz.

The file holds the arrays `inputs/NAME`, `outputs` and `tolerance`, and `factors` where the artefact
has several outputs, which stand side by side and may be of different sizes.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deploy.arrays import decode_arrays, read_arrays, write_arrays
from deploy.errors import ArtifactError

_INPUTS = "inputs/"
_FACTORS = "factors"
_MOST_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """How outputs compare with the expected ones."""

    passed: bool
    examples: int
    difference: float | None
    """the largest of an output; None if an output is NaN or infinite, or the shapes differ"""
    tolerance: float

    def describe(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def shortfall(self) -> str:
        if self.difference is None:
            return "they are NaN, infinite or of another shape"
        return f"they differ by {self.difference:.3g}, the tolerance is {self.tolerance:.3g}"


@dataclasses.dataclass(frozen=True)
class CheckVectors:
    """Inputs by name, each (n, ...), and the expected outputs, float32 (n, k).

    `tolerance` is by how much an output may differ, once it is multiplied by its one of `factors`,
    float32 (k,), as the expected ones are.
    """

    inputs: Mapping[str, np.ndarray]
    outputs: np.ndarray
    tolerance: float
    factors: np.ndarray | None = None

    def compare(self, outputs: np.ndarray) -> CheckResult:
        """Hold `outputs`, (n, ...), against the expected ones; NaN is never right."""
        examples = len(self.outputs)
        outputs = outputs if outputs.ndim in (0, 2) else outputs.reshape(len(outputs), -1)
        if outputs.shape != self.outputs.shape or not np.isfinite(outputs).all():
            return CheckResult(False, examples, None, self.tolerance)
        found = outputs.astype(np.float64)
        if self.factors is not None:
            found *= self.factors
        difference = float(np.max(np.abs(found - self.outputs)))
        return CheckResult(difference <= self.tolerance, examples, difference, self.tolerance)

    def to_bytes(self) -> bytes:
        """The .npz file; the same vectors give the same bytes.

        Raises ArtifactError for vectors that `read` would refuse.
        """
        self._check()
        stream = io.BytesIO()
        named = {_INPUTS + name: self.inputs[name] for name in sorted(self.inputs)}
        others: dict[str, np.ndarray] = {
            "outputs": np.asarray(self.outputs, np.float32),
            "tolerance": np.array(self.tolerance, np.float64),
        }
        if self.factors is not None:
            others[_FACTORS] = np.asarray(self.factors, np.float32)
        write_arrays(stream, named | others)
        return stream.getvalue()

    @classmethod
    def read(cls, path: Path | str) -> CheckVectors:
        """Read a file that nobody vouches for.

        Raises ArtifactError as `deploy.arrays.read_arrays` does, for arrays that are missing, not
        known, not finite or do not fit each other, and for more than 256 MiB.
        """
        return cls._of(read_arrays(path, _MOST_BYTES), path)

    @classmethod
    def parse(cls, content: bytes, where: object) -> CheckVectors:
        """`read` of the bytes of such a file; `where` names them in messages."""
        return cls._of(decode_arrays(content, where), where)

    @classmethod
    def _of(cls, arrays: Mapping[str, np.ndarray], where: object) -> CheckVectors:
        inputs = {
            name[len(_INPUTS) :]: array
            for name, array in arrays.items()
            if name.startswith(_INPUTS) and name != _INPUTS
        }
        others: dict[str, np.ndarray] = {
            name: array for name, array in arrays.items() if not name.startswith(_INPUTS)
        }
        factors = others.pop(_FACTORS, None)
        if set(others) != {"outputs", "tolerance"} or others["tolerance"].shape != ():
            raise ArtifactError(
                "the file holds no check vectors", value=f"{where} has {', '.join(sorted(arrays))}"
            )
        vectors = cls(inputs, others["outputs"], float(others["tolerance"]), factors)
        vectors._check()
        return vectors

    def _check(self) -> None:
        shapes = {name: np.shape(array) for name, array in self.inputs.items()}
        if not shapes or any(shape[:1] != self.outputs.shape[:1] for shape in shapes.values()):
            raise ArtifactError(
                "check vectors need as many inputs as outputs",
                value=f"inputs {shapes}, outputs {self.outputs.shape}",
            )
        if self.outputs.ndim != 2 or not self.outputs.size or self.outputs.dtype.kind != "f":
            raise ArtifactError(
                "check vectors need outputs of examples x scores",
                value=f"{self.outputs.dtype} {self.outputs.shape}",
            )
        if not (np.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ArtifactError("the tolerance of check vectors is none", value=self.tolerance)
        if not np.isfinite(self.outputs).all():
            raise ArtifactError("the outputs of check vectors are not finite")
        if self.factors is not None and not (
            self.factors.shape == self.outputs.shape[1:]
            and self.factors.dtype.kind == "f"
            and np.isfinite(self.factors).all()
            and (self.factors > 0).all()
        ):
            value = f"{self.factors.dtype} {self.factors.shape}"
            raise ArtifactError("the factors of check vectors do not fit the outputs", value=value)
