"""The one timer of artefacts: warmed up until they settle, then timed in interleaved rounds.

Artefacts take turns, A B C A B C, so that a machine that slows down slows all alike. Each runs in
its own process, pinned to fixed processors and stopped (SIGSTOP) outside its turn, since some
runtimes' threads go on spinning after a run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from compressor.foundation import temporary_folder
from compressor.remote import SshHost
from compressor.runtimes.registry import find
from compressor.runtimes.runner import Facts, Runner
from deploy.machine import usable_cores

ROUND_SECONDS = 0.1
WARMUP_SECONDS = 3.0
_FEWEST_RUNS, _MOST_RUNS = 5, 300
_ROUND_WARMUP = 2


class Timer:
    """Times the artefact that `runner` has loaded; `rows` are what `Runner.measure` is fed.

    Every method raises as `Runner` does.
    """

    def __init__(self, runner: Runner, round_seconds: float = ROUND_SECONDS, **rows: Any) -> None:
        self._runner, self._round_seconds, self._rows = runner, round_seconds, rows
        self._runs = _FEWEST_RUNS

    def warm_up(self, seconds: float = WARMUP_SECONDS) -> Facts:
        """Run until the median settles, for at most `seconds`; what `Runner.warm_up` returns."""
        warm = self._runner.warm_up(seconds=seconds, **self._rows)
        wanted = self._round_seconds * 1e9 / max(warm["median_ns"], 1.0)
        self._runs = int(min(max(wanted, _FEWEST_RUNS), _MOST_RUNS))
        return warm

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Resume the process for the body, and pause it again."""
        self._runner.resume()
        yield
        self._runner.pause()

    def latencies(self) -> np.ndarray:
        """Milliseconds of each run of a round, float64."""
        times = self._runner.measure(runs=self._runs, warmup=_ROUND_WARMUP, **self._rows)
        return np.array(times, np.float64) / 1e6

    def throughput(self) -> float:
        """Examples a second over as many runs."""
        examples, nanoseconds = self._runner.stream(runs=self._runs, **self._rows)
        return 1e9 * examples / max(nanoseconds, 1)


def median_latencies(
    artefacts: Sequence[bytes],
    runtime: str,
    *,
    rounds: int,
    host: SshHost | None = None,
    data: Mapping[str, bytes] | None = None,
    inputs: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Median milliseconds on one thread at batch 1, float64 (rounds, artefacts); compare in rows.

    Here, or on the `host`. `data` are files that the artefacts open, by their names; these are not
    sent to a host. `inputs` are an example (1, ...) for each input, by default a random one, in
    which open sizes are 1. Raises as `Runner` does.
    """
    known = find(runtime)
    cpus = None if known.gpu or host is not None else pinned_cpus(1)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("compressor-timing-"))
        for name, part in (data or {}).items():
            (folder / name).write_bytes(part)
        timers = []
        for number, content in enumerate(artefacts):
            path = folder / f"{number}.{known.format}"
            path.write_bytes(content)
            runner = stack.enter_context(Runner(runtime, cpus=cpus, host=host))
            runner.load(path)
            timers.append(Timer(runner, batch=1, copies=True, inputs=inputs))
            timers[-1].warm_up()
            runner.pause()
        return np.array([[_median_of(timer) for timer in timers] for _ in range(rounds)])


def peak_memories(
    artefacts: Sequence[bytes],
    runtime: str,
    host: SshHost | None = None,
    inputs: Mapping[str, np.ndarray] | None = None,
) -> list[int]:
    """The most bytes that a fresh process takes which loads an artefact and runs one example.

    Resident memory, that of the runtime included, as `bench` measures it; here, or on the `host`.
    `inputs` and errors as of `median_latencies`.
    """
    found = []
    with temporary_folder("compressor-memory-") as folder:
        path = folder / f"measured.{find(runtime).format}"
        for content in artefacts:
            path.write_bytes(content)
            with Runner(runtime, host=host) as runner:
                runner.load(path)
                first = runner.warm_up(seconds=0.0, batch=1, copies=True, inputs=inputs)
            found.append(int(first["peak_memory_bytes"]))
    return found


def _median_of(timer: Timer) -> float:
    with timer.turn():
        return float(np.median(timer.latencies()))


def pinned_cpus(threads: int, cores: Sequence[Sequence[int]] | None = None) -> list[int] | None:
    """The processors to pin a process of so many threads to; None where that is not possible.

    `cores` are those of the machine that measures, by default this one. Threads share a core only
    once all cores are taken; the last cores come first, since systems do their own work on the
    first.
    """
    cores = usable_cores() if cores is None else cores
    turns = max(map(len, cores), default=0)
    ordered = [core[turn] for turn in range(turns) for core in reversed(cores) if turn < len(core)]
    return sorted(ordered[:threads]) or None
