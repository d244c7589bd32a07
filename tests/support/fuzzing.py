"""Feeding damaged inputs to everything that reads what others wrote: `make fuzz`.

An input is named by its target and number; with the seed they give the same bytes again:
`make fuzz COUNT=1 SEED=0 TARGETS=tflite FIRST=1234`. Inputs are tried in child processes. What is
anything but taken, or refused in one line, is a fault: another exception, output of its own, a
crash, more seconds or memory than allowed, a file written outside of the child's folder, a process
started, a connection made, something unpickled.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import json
import mmap
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fuzz_watch import Watch

MIB = 2**20
MOST_RESIDENT = 1024 * MIB
"""Bytes of memory that a child may take in all."""
CPU_SECONDS = 10.0
"""Of one input."""
_WALL_SECONDS = 120.0
_LARGEST_FILE = 64 * MIB
_LONGEST_MESSAGE = 1500
_CHUNK = 25_000
_MOST_FAULTS = 20

Attempt = Callable[[random.Random], bool]
"""Makes an input, and tries it: whether it was taken; or raises an error of ours."""


@dataclasses.dataclass(frozen=True)
class Target:
    """What reads inputs; `prepare` is called once in a folder of the child, and may be slow."""

    prepare: Callable[[Path], Attempt]
    share: float = 1.0
    """of the inputs of all targets"""
    memory: int = 200 * MIB
    """bytes that it may take beyond what it has once it is prepared"""
    quick: int = 300
    """inputs in `make test`"""
    chatty: bool = False
    """whether a library writes to standard error"""
    starts: bool = False
    """whether it reads in processes of its own"""


@dataclasses.dataclass
class Outcome:
    """What became of the inputs of a target."""

    target: str
    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    peak: int = 0
    faults: dict[str, str] = dataclasses.field(default_factory=dict)
    """place -> what happened there first, and to which input"""

    def add(self, other: Outcome) -> None:
        self.inputs += other.inputs
        self.refused += other.refused
        self.seconds += other.seconds
        self.peak = max(self.peak, other.peak)
        self.faults = {**other.faults, **self.faults}

    def line(self) -> str:
        taken = self.inputs - self.refused - len(self.faults)
        return (
            f"{self.target:<20}{self.inputs:>9,} inputs {self.seconds:>8.1f} s"
            f"{self.refused:>9,} refused{taken:>9,} taken{self.peak / MIB:>6.0f} MiB"
            f"{len(self.faults):>4} faults"
        )


# In the child.


def chance_of(seed: int, target: str, number: int) -> random.Random:
    return random.Random(f"{seed} {target} {number}")


def _tried(
    name: str, target: Target, seed: int, numbers: range, folder: Path, watch: Watch,
    progress: mmap.mmap, cpu_seconds: float,
) -> Outcome:  # fmt: skip
    attempt = target.prepare(folder)
    outcome, said = Outcome(name), _Said(target.chatty)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _limit(resource.RLIMIT_AS, used + target.memory)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of this target
    start = time.process_time()
    for number in numbers:
        struct.pack_into("<q", progress, 0, number)
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        signal.setitimer(signal.ITIMER_REAL, _WALL_SECONDS)
        watch.on, watch.starts = True, target.starts
        try:
            taken, fault = attempt(chance_of(seed, name, number)), None
        except BaseException as error:
            taken, fault = False, _fault(error)
        watch.on = False
        if words := said.since():
            fault = f"wrote {words!r:.80}", words
        if watch.seen:
            fault = f"did {watch.seen[0]}", ""
            watch.seen.clear()
        outcome.inputs += 1
        if fault is not None:
            place, text = fault
            outcome.faults.setdefault(place, f"{name} {number}: {place}\n{text}")
        elif not taken:
            outcome.refused += 1
    for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
        signal.setitimer(timer, 0)
    outcome.seconds = time.process_time() - start
    outcome.peak = _peak()
    _limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
    if outcome.peak > MOST_RESIDENT:
        outcome.faults["memory"] = f"{name}: {outcome.peak / MIB:.0f} MiB"
    return outcome


def _fault(error: BaseException) -> tuple[str, str] | None:
    """Where an error came from, and what it is; None for a refusal."""
    from compressor.errors import CompressorError
    from deploy.errors import DeployError

    if isinstance(error, (CompressorError, DeployError)):
        message = str(error)
        if not message.isprintable() or len(message) > _LONGEST_MESSAGE:
            return f"message of {type(error).__name__} {error.what}", repr(message)[:2000]
        if not isinstance(error.__cause__, MemoryError):
            return None
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = "".join(traceback.format_exception(error))
    return f"{type(error).__name__} at {last.filename}:{last.lineno}", text[-6000:]


class _Said:
    """What was written to the descriptors 1 and 2, which lead to one file."""

    def __init__(self, chatty: bool) -> None:
        self._chatty, self._end = chatty, os.fstat(2).st_size

    def since(self) -> str:
        end = os.fstat(2).st_size
        start, self._end = self._end, end
        if start == end or self._chatty:
            return ""
        return os.pread(2, 2000, start).decode(errors="replace")


def _limit(what: int, most: int) -> None:
    resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


def _peak() -> int:
    """The most memory that was resident at once."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def _child(asked: dict[str, Any]) -> None:
    """Try the inputs of one target after the other; write a line of JSON after each."""
    folder = Path(asked["folder"])
    os.chdir(folder)
    os.fsync = lambda handle: None  # type: ignore[assignment]  # the disk is not tried here
    results = os.fdopen(os.dup(1), "w")
    said = os.open(folder / "said", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    for handle in (1, 2):
        os.dup2(said, handle)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource.RLIMIT_FSIZE, _LARGEST_FILE)
    targets = importlib.import_module(asked["module"]).TARGETS
    watch = Watch(folder)
    with open(folder / "progress", "r+b") as file, mmap.mmap(file.fileno(), 8) as progress:
        for number, (name, first, count) in enumerate(asked["targets"]):
            place = folder / f"{number}"
            place.mkdir()
            numbers = range(first, first + count)
            found = _tried(
                *(name, targets[name], asked["seed"], numbers, place, watch, progress),
                asked["cpu_seconds"],
            )
            print(json.dumps(dataclasses.asdict(found)), file=results, flush=True)


# In the parent.

Share = tuple[str, int, int]
"""A target, the number of its first input, and how many."""


def run_child(
    shares: Sequence[Share],
    seed: int,
    *,
    module: str = "fuzz_targets",
    cpu_seconds: float = CPU_SECONDS,
) -> Iterator[Outcome]:
    """The outcome of each share, tried in a process of its own; a new one goes on after a crash."""
    left = list(shares)
    while left:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as made:
            folder = Path(made).resolve()
            (folder / "progress").write_bytes(struct.pack("<q", -1))
            asked = {
                **{"folder": str(folder), "module": module, "targets": left, "seed": seed},
                "cpu_seconds": cpu_seconds,
            }
            done = subprocess.run(
                [sys.executable, "-m", "fuzzing", "--child", json.dumps(asked)],
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
                env=_environment(folder),
            )
            ended = [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]
            yield from ended
            left = left[len(ended) :]
            if not left:
                return
            number = struct.unpack("<q", (folder / "progress").read_bytes())[0]
            said = (folder / "said").read_text(errors="replace")
        name, first, count = left[0]
        tried = number - first + 1
        if not 0 < tried <= count:
            raise RuntimeError(f"{name} cannot be prepared: {said[-3000:]}")
        yield Outcome(name, tried, faults={f"crash {number}": _crash(name, number, done, said)})
        left[0] = name, number + 1, count - tried
        if count == tried:
            del left[0]


def _crash(name: str, number: int, done: Any, said: str) -> str:
    kinds = {-signal.SIGPROF: "took too many seconds", -signal.SIGALRM: "waits for ever"}
    how = kinds.get(done.returncode, f"ended the process with {done.returncode}")
    return f"{name} {number}: {how}; {said[-1000:]}"


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    root = Path(__file__).parents[2]
    return {
        **kept,
        **{"HOME": str(folder), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        **{"PYTHONPATH": f"{root / 'tests' / 'support'}:{root}", "PYTHONFAULTHANDLER": "1"},
        **{"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    }


def run_all(names: Sequence[str], count: int, seed: int, first: int, processes: int) -> bool:
    """Try `count` inputs, shared out over the targets; print a line each; whether all went well."""
    targets = importlib.import_module("fuzz_targets").TARGETS
    whole = sum(targets[name].share for name in names)
    counts = {name: max(1, round(count * targets[name].share / whole)) for name in names}
    chunks = [
        (name, first + start, min(_CHUNK, counts[name] - start))
        for name in names
        for start in range(0, counts[name], _CHUNK)
    ]
    found = {name: Outcome(name) for name in names}
    missing = {name: sum(chunk[0] == name for chunk in chunks) for name in names}

    def try_one(chunk: Share) -> None:
        for outcome in run_child([chunk], seed):
            found[chunk[0]].add(outcome)
        missing[chunk[0]] -= 1
        if not missing[chunk[0]]:
            print(found[chunk[0]].line(), flush=True)

    start = time.monotonic()
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(try_one, chunks))
    total = Outcome("all")
    for outcome in found.values():
        total.add(outcome)
    print(f"{total.line()}, seed {seed}, {time.monotonic() - start:.0f} s")
    for fault in list(total.faults.values())[:_MOST_FAULTS]:
        print(f"\n{fault}")
    return not total.faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="of inputs, of all targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--targets", nargs="*", default=[])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(json.loads(given.child))
        return 0
    with contextlib.suppress(KeyboardInterrupt):
        known = list(importlib.import_module("fuzz_targets").TARGETS)
        names = given.targets or known
        return not run_all(names, given.count, given.seed, given.first, given.processes)
    return 130


if __name__ == "__main__":
    sys.exit(main())
