"""The costs by which the exporter of C code chooses how weights are stored.

    python -m benchmarks.calibrate [cortex-m0 | cortex-m4 | host ...]

Layers of many shapes and sparsities are generated, each in every form that its weights can have. On
a Cortex-M the instructions of a run are counted (`benchmarks._cortex_m`); on this machine its time
is measured, in cycles, for which it should have nothing else to do. Least squares over the forms of
each layer say what a kind of work costs, and that is written where the exporter reads it; what a
processor never does keeps its cost.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from scipy.optimize import nnls

from benchmarks import _cortex_m
from compressor.errors import CheckFailedError, CompressorError, MissingRuntimeError
from compressor.exporters.c import choosing, plan, reference
from compressor.exporters.c.compiling import FLAGS, compile_library
from compressor.exporters.c.costs import COSTS, FILE, HOST, KINDS
from compressor.exporters.c.emission import Source, emit
from compressor.exporters.c.narrowing import narrow
from compressor.exporters.c.network import (
    LEAST,
    MOST,
    Convolution,
    Dense,
    Network,
    Rescale,
    Shape,
    Tensor,
    multiplier_of,
)
from compressor.exporters.c.planes import planes_in
from compressor.foundation import write_json
from compressor.report.formatting import text_table
from compressor.runtimes import c_compiler, run_compiler
from deploy.compiled import Compiled

_VECTORS = 4
_SHARED = ("-fno-ipa-cp", "-fno-inline-functions-called-once")
"""so that code is not made for the only layer, as it is not where several use it"""
_ROUNDS, _ROUND_SECONDS, _STEPS = 15, 0.005, 20_000_000
_CLOCK = """#include <stdint.h>
uint64_t steps(uint64_t count);
uint64_t steps(uint64_t count)
{
    uint64_t x = count;
    for (; count > 0; count--)
        x = x * UINT64_C(6364136223846793005) + 1;
    return x;
}
"""
_STEP_CYCLES = 4
"""a multiplication takes three, and an addition one; each waits for the one before"""


@dataclasses.dataclass(frozen=True)
class Measured:
    """A layer in one form, and what a run takes."""

    besides: tuple[object, ...]
    """what decides what a run takes besides its weights"""
    work: choosing.Work
    taken: float


def layers(seed: int) -> Iterator[Network]:
    """Networks of one layer: convolutions of 8 bits, and packed; fully connected ones."""
    rng = np.random.default_rng(seed)
    for width, density in itertools.product((2, 3, 5, 8, 14), (0.5, 0.15)):
        kernel = _sparse(rng, (8, 3, 3, 4), density, 5)
        window: dict[str, Any] = {"stride": (1, 1), "dilation": (1, 1), "before": (0, 0)}
        layer = Convolution((0,), 1, kernel, *_finish(rng, 8), **window, groups=1)
        network = _alone(layer, (width + 2, width + 2, 4), (width, width, 8))
        yield from (network, narrow(network))
    for density, bits in itertools.product((0.5, 0.2, 0.05), (3, 5, 8)):
        kernel = _sparse(rng, (32, 256), density, bits)
        yield _alone(Dense((0,), 1, kernel, *_finish(rng, 32)), (1, 1, 256), (1, 1, 32))


def _sparse(
    rng: np.random.Generator, shape: tuple[int, ...], density: float, bits: int
) -> np.ndarray:
    """Weights of which few are large, as in trained layers: int8."""
    most = 2 ** (bits - 1) - 1
    values = rng.binomial(2 * most, 0.5, shape) - most
    return np.where(rng.random(shape) < density, np.where(values, values, 1), 0).astype(np.int8)


def _finish(rng: np.random.Generator, filters: int) -> tuple[np.ndarray, Rescale]:
    multiplier, shift = multiplier_of(0.001)
    each = np.full(filters, multiplier, np.int64), np.full(filters, shift, np.int64)
    return rng.integers(-500, 500, filters), Rescale(*each, 0, LEAST, MOST)


def _alone(layer: Convolution | Dense, given: Shape, made: Shape) -> Network:
    tensors = Tensor("input", given, 0.01, LEAST), Tensor("output", made, 0.01, 0)
    return Network(tensors, (layer,), 0, 1)


class _Pick:
    """In place of `choosing.choose`: form NUMBER of the only layer, and its work."""

    def __init__(self, number: int) -> None:
        self.number, self.work = number, choosing.Work()

    def __call__(self, forms: Mapping[int, list[Any]], *_: str) -> dict[int, Any]:
        ((layer, found),) = forms.items()
        stored, self.work = found[self.number]
        return {layer: stored}


def in_forms(network: Network, target: str) -> Iterator[tuple[choosing.Work, Source]]:
    """A network of one layer in each form: the work of a run, and the code."""
    inputs = _integers((_VECTORS, *network.tensors[0].shape))
    vectors = inputs, reference.run(network, inputs)
    ways: tuple[Callable[..., Any], ...] = (lambda *_: {}, lambda laid, _: planes_in(laid))
    for planes_of in ways[: 1 + (target == HOST)]:
        for pick in map(_Pick, itertools.count()):
            with (
                mock.patch.object(choosing, "choose", pick),
                mock.patch.object(plan, "planes_of", planes_of),
            ):
                try:
                    source = emit(network, "layer", target, "latency", vectors)
                except IndexError:
                    break
            if pick.work:
                yield pick.work, source


def _integers(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(LEAST, MOST + 1, shape).astype(np.int8)


def counted(source: Source, target: str) -> float:
    """Instructions of a run on an emulated board; raises CheckFailedError for a wrong result."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in source.files.items():
            Path(folder, name).write_text(content)
        program = Path(folder, "layer.elf")
        found = _cortex_m.count(Path(folder), source.name, target, program, *_SHARED)
    if found.wrong or not found.vectors:
        raise CheckFailedError("a board computes something else", value=f"{found.wrong} integers")
    return found.instructions


def timed(sources: list[Source]) -> list[float]:
    """Cycles of a run of each on this machine: medians of rounds in turns."""
    with tempfile.TemporaryDirectory() as folder:
        step = _clock(Path(folder))
        calls = []
        for number, source in enumerate(sources):
            library = Path(folder, f"{number}.so")
            library.write_bytes(compile_library(source))
            model = Compiled(library)
            call, _ = model.bound(_integers((100, *model.input_shape)))
            calls.append((call, max(int(_ROUND_SECONDS / _seconds(call, 1)), 1)))
        taken = [
            [_seconds(call, times) / step(_STEPS) for call, times in calls] for _ in range(_ROUNDS)
        ]
    return [float(one) * _STEP_CYCLES / 100 for one in np.median(taken, axis=0)]


def _seconds(call: Callable[[], Any], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def _clock(folder: Path) -> Callable[[int], float]:
    """Seconds of a step of a loop whose cycles are known, measured over so many."""
    (folder / "clock.c").write_text(_CLOCK)
    compiler = c_compiler()
    if compiler is None:
        raise MissingRuntimeError("there is no C compiler", hint="install gcc or clang")
    run_compiler([compiler, *FLAGS, "-fvisibility=default", "-o", "clock.so", "clock.c"], folder)
    steps = ctypes.CDLL(str(folder / "clock.so")).steps
    steps.argtypes = [ctypes.c_uint64]
    return lambda count: _seconds(lambda: steps(count), 1) / count


def measure(target: str, seed: int = 0) -> list[Measured]:
    """Every layer in every form on a processor."""
    found = [
        ((network.tensors[1].shape, getattr(network.layers[0], "packed", False)), *form)
        for network in layers(seed)
        for form in in_forms(network, target)
    ]
    sources = [source for *_, source in found]
    taken = timed(sources) if target == HOST else [counted(one, target) for one in sources]
    return [Measured(*one[:2], cost) for one, cost in zip(found, taken, strict=True)]


def fitted(rows: list[Measured]) -> tuple[dict[str, float], float]:
    """Kind of work -> its cost, and the median relative error of what the rows take: the least
    squares of relative errors, with an amount of its own for what a run takes besides."""
    kinds = [kind for kind in KINDS if any(row.work.get(kind) for row in rows)]
    besides = list(dict.fromkeys(row.besides for row in rows))
    matrix = np.array(
        [
            [row.work.get(kind, 0.0) for kind in kinds] + [row.besides == one for one in besides]
            for row in rows
        ]
    )
    taken = np.array([row.taken for row in rows])
    solved, _ = nnls(matrix / taken[:, None], np.ones(len(rows)), maxiter=10_000)
    errors = np.abs(matrix @ solved / taken - 1)
    costs = dict(zip(kinds, np.round(solved, 1).tolist(), strict=False))
    return costs, float(np.median(errors))


def main() -> int:
    """Measure, print, and write what the exporter reads."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", metavar="TARGET", nargs="*", default=["cortex-m0", "cortex-m4"])
    targets = parser.parse_args().targets
    unknown = [one for one in targets if one not in (*_cortex_m.TARGETS, HOST)]
    if unknown:
        parser.error(f"TARGET is cortex-m0, cortex-m4 or host, not {unknown[0]}")
    if set(targets) - {HOST} and (missing := _cortex_m.missing()):
        print(f"error: not installed: {missing}", file=sys.stderr)
        return 3
    for target in targets:
        try:
            costs, error = fitted(measure(target))
        except CompressorError as failed:
            parser.exit(failed.exit_code, f"{failed}\n")
        rows = [[kind, f"{COSTS[target][kind]:g}", f"{cost:g}"] for kind, cost in costs.items()]
        print(text_table([target, "before", "now"], rows))
        print(f"Half of the layers are within {error:.1%}.")
        COSTS[target].update(costs)
        write_json(FILE, COSTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
