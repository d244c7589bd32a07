"""Latencies of several artefacts, measured in turns in processes of their own."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compressor.runtimes import Runner

ROUNDS = 7
_RUNS = 30
_WARMUP = 10
_TIE = 1.02

Measured = tuple[str, str, bytes]
"""What is measured: runtime, format, and the content of the file."""


def latencies(
    artefacts: Sequence[Measured], *, rounds: int = ROUNDS, runs: int = _RUNS, batch: int = 1
) -> np.ndarray:
    """Median milliseconds of `runs` inferences, float64 (rounds, artefacts), on one thread.

    Each artefact is loaded by a process of its own; they take turns, a round each (A B C A B C), so
    that a machine that becomes slower meanwhile slows all alike: compare within a row.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runners = []
        for number, (runtime, file_format, content) in enumerate(artefacts):
            path = folder / f"{number}.{file_format}"
            path.write_bytes(content)
            runner = stack.enter_context(Runner(runtime, threads=1))
            runner.load(path)
            runners.append(runner)
        measured = [
            [
                np.median(runner.measure(batch=batch, warmup=_WARMUP, runs=runs))
                for runner in runners
            ]
            for _ in range(rounds)
        ]
    return np.array(measured, np.float64) / 1e6


def fastest(artefacts: Sequence[Measured]) -> int:
    """The number of the artefact of the smallest median latency at batch 1.

    Within 2 % of it the smaller file wins.
    """
    medians = np.median(latencies(artefacts), axis=0)
    close = np.flatnonzero(medians <= _TIE * medians.min())
    return min(map(int, close), key=lambda number: len(artefacts[number][2]))
