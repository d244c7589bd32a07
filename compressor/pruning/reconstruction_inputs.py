"""What enters the layers of a model while it computes calibration inputs."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from compressor.foundation import quiet_tensorflow
from compressor.pruning.reconstruction_layouts import Layout

MOST_ROWS = 8192
_MOST_VALUES = 2**26
"""Of the rows of one kernel, with what they are to make: 256 MiB."""
_LEAST_ROWS = 256


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Inputs without labels, as the model takes them, and what its outputs mean."""

    batches: Sequence[Callable[[], Any]]
    """each makes a batch"""
    logits: Callable[[list[Any]], list[Any]]
    """the model's outputs, a tensor each -> logits, or numbers of one scale"""
    seed: int


@dataclasses.dataclass
class Seen:
    """What one batch tells about a kernel."""

    calls: int = 0
    """of its layer, in one run of the model"""
    importance: np.ndarray | None = None
    """float32 (groups * out,): root mean square of the change of the logits with each output"""
    places: int = 1
    """outputs of one example that each weight adds to"""


class _Entered(BaseException):
    """Ends a run of the model; no Exception, which Keras would wrap."""


def survey(model: Any, layouts: Mapping[str, Layout], calibration: Calibration) -> dict[str, Seen]:
    """What the first batch tells, for each kernel whose layer it enters, in the order of calls."""
    tensorflow, keras = quiet_tensorflow.load()
    outputs: dict[int, list[Any]] = {}
    watched = {id(layout.layer): layout.layer for layout in layouts.values()}
    batch = calibration.batches[0]()
    # Slopes by kernels would take most of the time, and nobody asks for them.
    with (
        tensorflow.GradientTape(watch_accessed_variables=False) as tape,
        contextlib.ExitStack() as stack,
    ):
        for key, layer in watched.items():

            def note(_: Any, output: Any, key: int = key) -> None:
                if tensorflow.is_tensor(output) and not tensorflow.is_symbolic_tensor(output):
                    tape.watch(output)
                    outputs.setdefault(key, []).append(output)

            stack.enter_context(watching(layer, note))
        made = keras.tree.flatten(model(batch, training=False))
        logits = calibration.logits(made)
        generator = np.random.default_rng([calibration.seed, 1])
        total = sum(
            tensorflow.reduce_sum(part * signs(generator, part.shape, part.dtype))
            for part in logits
        )
    zero = tensorflow.UnconnectedGradients.ZERO
    gradients = tape.gradient(total, outputs, unconnected_gradients=zero)
    found = {}
    for key, tensors in outputs.items():
        for name, layout in sorted(layouts.items(), key=lambda pair: pair[1].stage):
            if id(layout.layer) == key:
                examples = len(tensors[0])
                found[name] = Seen(
                    len(tensors),
                    _importance(layout, tensors, gradients[key]),
                    max(sum(math.prod(t.shape[1:-1]) for t in tensors), 1) if examples else 1,
                )
    return found


def signs(generator: np.random.Generator, shape: Any, dtype: Any) -> Any:
    """A tensor of -1 and 1."""
    tensorflow, _ = quiet_tensorflow.load()
    signs = generator.integers(0, 2, tuple(shape)) * 2.0 - 1.0
    return tensorflow.cast(tensorflow.constant(signs), dtype)


def _importance(layout: Layout, tensors: list[Any], gradients: list[Any]) -> np.ndarray | None:
    if not layout.per_output:
        return None
    squares = []
    for tensor, gradient in zip(tensors, gradients, strict=True):
        change = np.asarray(gradient, np.float64)
        if layout.rectified:
            change = change * (np.asarray(tensor, np.float32) > 0)
        if getattr(layout.layer, "data_format", None) == "channels_first":
            change = np.moveaxis(change, 1, -1)
        squares.append(np.square(change).reshape(-1, change.shape[-1]))
    found = np.sqrt(np.concatenate(squares).mean(axis=0)).astype(np.float32)
    return found if np.isfinite(found).all() and found.any() else None


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which rows of a kernel are taken."""

    layout: Layout
    calls: int
    """of its layer, in one run of the model"""
    most: int
    """of its rows, about"""
    place: int
    """its number among the kernels: which rows are drawn depends on the seed and this alone"""
    values: int
    """of its rows, at most"""


def wanted_rows(layout: Layout, seen: Seen, shape: tuple[int, ...], place: int) -> Wanted:
    """Which rows of a kernel whose matrix has this `shape`, (groups, in, out)."""
    groups, inputs, outputs = shape
    most = most_rows(groups, inputs, outputs)
    return Wanted(layout, seen.calls, most, place, groups * inputs * most)


def importance_of(seen: Seen, shape: tuple[int, ...]) -> np.ndarray:
    """How much each output of a matrix (groups, in, out) counts, float32 (groups, out)."""
    groups, _, outputs = shape
    if seen.importance is None or seen.importance.size != groups * outputs:
        return np.ones((groups, outputs), np.float32)
    return seen.importance.reshape(groups, outputs)


def rows_of(
    model: Any, wanted: Mapping[str, Wanted], calibration: Calibration
) -> dict[str, np.ndarray]:
    """The rows that enter each kernel, float32 (groups, rows, in), in one run of the inputs."""
    draws = {name: _draw(part, calibration) for name, part in wanted.items()}
    calls = {id(part.layout.layer): (part.layout.layer, part.calls) for part in wanted.values()}
    found: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
    for batch in calibration.batches:
        given = entered(model, calls, batch())
        for name, part in wanted.items():
            layout = part.layout
            found[name] += [layout.rows(x, draws[name]) for x in given[id(layout.layer)]]
    return {name: np.concatenate(found.pop(name), axis=1) for name in wanted}


def _draw(wanted: Wanted, calibration: Calibration) -> Callable[[int], np.ndarray]:
    generator = np.random.default_rng([calibration.seed, 2, wanted.place])
    share = -(-wanted.most // (len(calibration.batches) * wanted.calls))

    def draw(count: int) -> np.ndarray:
        if count <= share:
            return np.arange(count)
        return np.sort(generator.choice(count, share, replace=False))

    return draw


def most_rows(groups: int, inputs: int, outputs: int) -> int:
    """How many rows of a kernel are taken at most: MOST_ROWS, or fewer of long ones."""
    fit = _MOST_VALUES // (groups * (inputs + outputs))
    return max(min(MOST_ROWS, fit), _LEAST_ROWS)


def entered(
    model: Any, calls: Mapping[int, tuple[Any, int]], batch: Any
) -> dict[int, list[np.ndarray]]:
    """What each layer is called with in one run of the model, float32, in the order of its calls.

    `calls`: id of a layer -> the layer, and how often it is called.
    """
    found: dict[int, list[np.ndarray]] = {key: [] for key in calls}
    left = sum(count for _, count in calls.values())
    with contextlib.ExitStack() as stack:
        for key, (layer, count) in calls.items():

            def note(given: Any, _: Any, key: int = key, count: int = count) -> None:
                nonlocal left
                if len(found[key]) < count:
                    found[key].append(np.asarray(given, np.float32))
                    left -= 1
                if left == 0:
                    raise _Entered

            stack.enter_context(watching(layer, note))
        with contextlib.suppress(_Entered):
            model(batch, training=False)
    return found


@contextlib.contextmanager
def watching(layer: Any, note: Callable[[Any, Any], None]) -> Iterator[None]:
    """Call `note` with the input and the output of every call of `layer` in the body."""
    original = layer.call

    def call(*arguments: Any, **options: Any) -> Any:
        output = original(*arguments, **options)
        note(arguments[0] if arguments else next(iter(options.values())), output)
        return output

    vars(layer)["call"] = call
    try:
        yield
    finally:
        del vars(layer)["call"]
