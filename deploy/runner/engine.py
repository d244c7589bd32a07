"""A runtime with an artefact loaded: what all engines have in common."""

from __future__ import annotations

import abc
import dataclasses
import gc
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from deploy.artifact_parts import DTYPES, Port, scores_first
from deploy.errors import EngineError, MissingEngineError, RequestError
from deploy.measurement import settle, timed

_SEED = 0
_LONGEST_LIST, _MOST_BATCHES = 200, 64
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Rows:
    """What runs are fed: `inputs` (n, ...) by name, `batch` rows at a time; None: random ones.

    With `copies` a run takes its inputs from numpy and gives its outputs to it; without, both stay
    in the runtime's memory.
    """

    inputs: Mapping[str, np.ndarray] | None
    batch: int
    copies: bool


class Engine(abc.ABC):
    """One artefact in one runtime.

    `inputs` and `outputs` are as the runtime reports them, `version` is the runtime's, `provider`
    its execution provider (ONNX Runtime), `delegate` what computes nodes in its place (TFLite),
    `arena_bytes` the memory that it needs for tensors and its own structures (TFLite Micro),
    `device` the accelerator; `import_ms` is the time to import the runtime, `load_ms` to load it.
    """

    runtime: ClassVar[str]
    copies_apart: ClassVar[bool] = False
    """whether inputs and outputs are copied to a memory of its own, such as a GPU's"""
    version: str
    provider: str | None = None
    delegate: dict[str, Any] | None = None
    arena_bytes: int | None = None
    device: dict[str, Any] | None = None
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    import_ms: float
    load_ms: float
    graph = reference = False  # of a probe, too, which loads nothing
    _bind_ns = 0

    def __init__(
        self,
        path: str,
        threads: int,
        graph: bool = False,
        version: str | None = None,
        reference: bool = False,
    ) -> None:
        """Load the artefact `path`, to run with `threads`, with `graph` as a CUDA graph.

        As a `reference` it runs as written, operator by operator, in the runtime's plain kernels:
        without delegate, fusion or any other optimisation.
        A runtime of another `version`, if given, is refused before it sees the artefact. Raises
        MissingEngineError if the runtime cannot be imported or is of another version, EngineError
        if it refuses the artefact, RequestError for a CUDA graph on a runtime without them.
        """
        if graph and not self.copies_apart:
            raise RequestError("this runtime has no CUDA graphs", value=self.runtime)
        if reference and self.copies_apart:
            raise RequestError("this runtime has no reference kernels", value=self.runtime)
        self.graph, self.reference = graph, reference
        start = time.perf_counter()
        self._import()
        imported = time.perf_counter()
        if version is not None and self.version != version:
            raise MissingEngineError(
                "the bundle was packed for another version of the runtime",
                value=f"{self.runtime} {self.version} is here, packed for {version}",
                hint="install that version, or try this one with --any-version",
            )
        self._load(path, threads)
        self.import_ms = 1e3 * (imported - start)
        self.load_ms = 1e3 * (time.perf_counter() - imported)
        self.inputs, self.outputs = self._ports()

    @classmethod
    def probe(cls) -> dict[str, Any]:
        """The runtime's version, provider and device; None for what it does not have.

        Raises MissingEngineError, with the reason, if it cannot run here.
        """
        engine = cls.__new__(cls)
        engine._import()
        engine._prove()
        return {"version": engine.version, "provider": cls.provider, "device": engine.device}

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.runtime,
            "version": self.version,
            "provider": self.provider,
            "device": self.device,
        }

    def device_memory_bytes(self) -> int | None:
        """Accelerator memory that this process holds; None if that is not known."""
        return None

    @abc.abstractmethod
    def _import(self) -> None:
        """Import the runtime, and set `version`."""

    def _prove(self) -> None:  # noqa: B027 - most need no proof
        """Raise MissingEngineError if the runtime is installed but cannot run anything."""

    @abc.abstractmethod
    def _load(self, path: str, threads: int) -> None: ...

    @abc.abstractmethod
    def _ports(self) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs."""

    @abc.abstractmethod
    def _run(self, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Run a batch, arrays in the order and dtypes of `inputs`; returns all outputs."""

    @abc.abstractmethod
    def _bind(self, arrays: Sequence[np.ndarray]) -> Callable[[], Any]:
        """Give the runtime a batch; returns a call that runs it and leaves outputs in place."""

    def predict(self, inputs: Mapping[str, np.ndarray], batch: int) -> np.ndarray:
        """Run arrays (n, ...) by the names of their inputs, `batch` rows at once: float32 (n, k).

        Several outputs stand side by side in each row, in the order of `scores_first`. An artefact
        of a fixed batch runs with that one; the last batch is padded. Raises RequestError if the
        arrays do not fit, EngineError if the runtime fails.
        """
        if not self.outputs:
            raise EngineError("the artefact has no output")
        arrays = self._arranged(inputs)
        rows, fixed = len(arrays[0]), self.fixed_batch()
        step = fixed or batch
        parts = []
        for start in range(0, rows, step):
            part = [array[start : start + step] for array in arrays]
            count = len(part[0])
            if fixed:
                part = [_filled(array, fixed) for array in part]
            found = self._guarded(self._run, part)
            parts.append(self._side_by_side(found, len(part[0]))[:count])
        return np.concatenate(parts)

    def _side_by_side(self, found: Sequence[np.ndarray], rows: int) -> np.ndarray:
        parts = []
        for place in scores_first(self.outputs):
            output = found[place]
            if output.ndim == 0 or len(output) != rows:
                raise EngineError(
                    "the output does not have one row an example",
                    value=f"{output.shape} for {rows} examples",
                )
            parts.append(_dequantized(output, self.outputs[place]))
        flat = [part.reshape(rows, -1) for part in parts]
        return np.concatenate(flat, axis=1) if len(parts) > 1 else parts[0]

    def warm_up(self, rows: Rows, *, seconds: float) -> dict[str, Any]:
        """Run until the times settle (`deploy.measurement.settle`); raises as `predict` does.

        `first_ns` is of the first run, which also builds what the runtime builds late.
        """
        self._bind_ns = 0
        run = self._repeated(rows)
        found = self._guarded(settle, run, seconds)
        # Giving a GPU its inputs may already build and run the graph.
        return found | {"first_ns": found["first_ns"] + self._bind_ns}

    def measure(self, rows: Rows, *, warmup: int, runs: int) -> list[int]:
        """Nanoseconds of each of `runs` runs of a batch, after `warmup` runs that do not count.

        Raises as `predict` does.
        """
        run = self._repeated(rows)

        def measured() -> list[int]:
            for _ in range(warmup):
                run()
            gc.collect()
            return timed(itertools.repeat(run, runs))

        return self._guarded(measured)

    def stream(self, rows: Rows, *, runs: int) -> tuple[int, int]:
        """Run batches back to back, timed together: how many examples, nanoseconds.

        Raises as `predict` does.
        """
        run = self._repeated(rows)

        def run_all() -> None:
            for _ in range(runs):
                run()

        gc.collect()
        nanoseconds = self._guarded(timed, [run_all])[0]
        return runs * (self.fixed_batch() or rows.batch), nanoseconds

    def _repeated(self, rows: Rows) -> Callable[[], Any]:
        """The call to time, which runs the next batch; without copies always the first one."""
        size = self.fixed_batch() or rows.batch
        given = self._random(size) if rows.inputs is None else rows.inputs
        arrays = self._arranged(given)
        count = min(max(len(arrays[0]) // size, 1), _MOST_BATCHES)
        batches = [
            [_filled(array[size * number : size * (number + 1)], size) for array in arrays]
            for number in range(count)
        ]
        if not rows.copies:
            start = time.perf_counter_ns()
            run = self._guarded(self._bind, batches[0])
            self._bind_ns = time.perf_counter_ns() - start
            return run
        turns = itertools.cycle(batches)
        return lambda: self._run(next(turns))

    def _guarded(self, run: Callable[..., T], *arguments: Any) -> T:
        try:
            return run(*arguments)
        except Exception as error:
            raise EngineError(f"{self.runtime} cannot run the artefact", value=error) from error

    def fixed_batch(self) -> int | None:
        """The batch size that the artefact was made for; None if that is open."""
        sizes = {port.shape[0] for port in self.inputs if port.shape} - {None}
        if len(sizes) > 1 or 0 in sizes:
            raise EngineError(
                "the inputs have different batch sizes", value=sorted(map(str, sizes))
            )
        return sizes.pop() if sizes else None

    def _arranged(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        given = self._by_port(inputs)
        arrays = [_fitted(given[port.name], port) for port in self.inputs]
        lengths = {len(array) for array in arrays}
        if len(lengths) != 1 or 0 in lengths:
            raise RequestError(
                "the inputs differ in their number of rows, or have none", value=sorted(lengths)
            )
        return arrays

    def _by_port(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays by the inputs' names in the file; they may be given by plain names."""
        names = {port.name: port.name for port in self.inputs}
        for port in self.inputs:
            names.setdefault(plain_name(port.name), port.name)
        found = {names[name]: array for name, array in inputs.items() if name in names}
        if len(found) != len(self.inputs) or len(inputs) != len(self.inputs):
            given, wanted = (
                ", ".join(map(str, part))[:_LONGEST_LIST]
                for part in (inputs, [port.name for port in self.inputs])
            )
            raise RequestError(
                "the arrays do not match the artefact's inputs",
                value=f"given {given}; the artefact has {wanted}",
            )
        return found

    def _random(self, rows: int) -> dict[str, np.ndarray]:
        """Random rows from 0 to 1; zeros for integers without a scale, such as tokens."""
        generator = np.random.default_rng(_SEED)
        found = {}
        for port in self.inputs:
            shape = (rows, *(size or 1 for size in port.shape[1:]))
            if port.scale is None and not port.dtype.startswith("float"):
                found[port.name] = np.zeros(shape, port.dtype)
            else:
                found[port.name] = generator.random(shape, np.float32)
        return found


def plain_name(name: str) -> str:
    """An input's name without what TensorFlow adds to it: x for serving_default_x:0."""
    prefix = "serving_default_"
    start = len(prefix) if name.startswith(prefix) else 0
    plain, colon, number = name[start:].rpartition(":")
    return plain if colon and number.isdigit() else name[start:]


def checked_dtype(dtype: str, name: str) -> str:
    """`dtype` if it is numeric; raises EngineError for a tensor of any other type."""
    if dtype not in DTYPES:
        raise EngineError(
            "the artefact has an input or output that is not numeric", value=f"{name} is {dtype}"
        )
    return dtype


def _fitted(array: np.ndarray, port: Port) -> np.ndarray:
    """The array in the dtype of the input; raises RequestError if that would change values."""
    shape = array.shape
    if len(shape) != len(port.shape) or any(
        wanted not in (None, size)
        for size, wanted in list(zip(shape, port.shape))[1:]  # noqa: B905 - Python 3.9
    ):
        raise RequestError(
            "the array does not fit the input",
            value=f"{port.name} takes {port.shape}, given {shape}",
        )
    wanted_type = np.dtype(port.dtype)
    if array.dtype == wanted_type:
        return np.ascontiguousarray(array)
    if port.scale is not None and wanted_type.kind in "iu" and array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise RequestError("the array holds NaN or infinity", value=port.name)
        limits = np.iinfo(wanted_type)
        levels = np.rint(array / np.float32(port.scale)) + port.zero_point
        return np.clip(levels, limits.min, limits.max).astype(wanted_type)
    if array.dtype.kind == "f" and wanted_type.kind != "f":
        raise RequestError(
            "the input takes integers",
            value=f"{port.name} takes {port.dtype}, given {array.dtype}",
        )
    cast = np.ascontiguousarray(array.astype(wanted_type))
    if wanted_type.kind in "iub" and not np.array_equal(cast, array):
        raise RequestError(
            "the array holds values out of range", value=f"{port.name} takes {port.dtype}"
        )
    return cast


def _filled(array: np.ndarray, rows: int) -> np.ndarray:
    """`rows` rows: those of `array`, repeated if there are fewer."""
    if len(array) == rows:
        return array
    return np.ascontiguousarray(np.resize(array, (rows, *array.shape[1:])))


def _dequantized(output: np.ndarray, port: Port) -> np.ndarray:
    if port.scale is not None and port.zero_point is not None and output.dtype.kind in "iu":
        return (output.astype(np.float32) - port.zero_point) * np.float32(port.scale)
    return output.astype(np.float32)
