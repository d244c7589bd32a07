"""Measures ONNX artefacts on a GPU: `python measure.py`, beside what `benchmarks.gpu` prepared.

Needs Python 3.9 and numpy, CUDA and cuDNN from pip's nvidia-* packages or the system, and
onnxruntime-gpu: installed, or as a wheel beside this file, whole or in parts (NAME.whl.part00, ...;
with NAME.whl.sha256 if it is to be proven). The wheel is installed into the folder `installed`
here; nothing else is changed, and no network is used.

The most important rows come first, and the results are written after every row. The same command
goes on where it was. Each row is measured in turns with the first artefact. transfer: `copies` from
numpy and to it in every run, `device` with inputs and outputs in the GPU's memory (I/O binding),
`graph` the same as a CUDA graph.

Exit codes: 0 what was measured is right, 1 a row failed or is wrong, or none was measured, 2 bad
input or usage, 3 a runtime asked for is not there, 130 interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.errors import DeployError, MissingEngineError

from .plan import BATCHES, RUNTIMES, TRANSFERS
from .process import Clock, Facts, OutOfTimeError, RowError, Runner
from .wheels import install

_FAILED, _USAGE, _MISSING, _INTERRUPTED = 1, 2, 3, 130


def main(folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Install what lies in `folder`, measure, and write the results; the exit code."""
    options = _options(arguments)
    clock = Clock(options.minutes)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends a command that is late
    options.package = folder / "runner.pyz"
    try:
        sys.path[:0] = map(str, install(folder))
        with tempfile.TemporaryDirectory(prefix="gpu-bench-") as work:
            options.work = Path(work)
            return _measure(folder, options, clock)
    except KeyboardInterrupt:
        print("interrupted: the rows that were measured are kept", file=sys.stderr)
        return _INTERRUPTED
    except (DeployError, ModuleNotFoundError, OSError, MemoryError) as error:
        told = DeployError.of(error)
        print(f"error: {told}", file=sys.stderr)
        return _MISSING if isinstance(told, MissingEngineError) else _USAGE


def _measure(folder: Path, options: argparse.Namespace, clock: Clock) -> int:
    # These need numpy.
    from .bench import Bench
    from .material import Material
    from .record import open_record

    material = Material(folder, options.work)
    device: Facts | None = None
    try:
        for runtime in options.runtime:
            device = _probed(runtime, options, clock)
    except OutOfTimeError:
        print("error: the time is over before the runtime has started", file=sys.stderr)
        return _FAILED
    record = open_record(options, material, device)
    with Bench(options, material, record, clock) as bench:
        bench.run()
    rows = record["rows"]
    if rows:
        print(f"written to: {options.out}, {options.out.with_suffix('.md')}")
    return int(not rows or any(row["status"] != "right" for row in rows))


def _probed(runtime: str, options: argparse.Namespace, clock: Clock) -> Facts | None:
    """The device that a runtime computes on; raises MissingEngineError if it cannot run."""
    with Runner(options.package, runtime, options.time_limit, clock) as runner:
        try:
            probed = runner.ask("probe", runtime=runtime)
        except RowError as error:
            raise MissingEngineError(f"{runtime} cannot run here", value=error) from error
    print(f"{runtime}: onnxruntime {probed['version']}, {probed['provider']}", flush=True)
    device: Facts | None = probed["device"]
    return device


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="measure.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--minutes", type=float, default=6.0, help="ends within them (default: 6)")
    add("--runtime", type=_names(RUNTIMES), default=["cuda"], help=f"{','.join(RUNTIMES)}")
    add("--batches", type=_numbers, default=list(BATCHES), help="such as 1,1024")
    add("--transfers", type=_names(TRANSFERS), default=list(TRANSFERS))
    add("--out", type=Path, help="default: gpu.json, or cpu.json of a dry run on the CPU")
    add("--rounds", type=int, default=10)
    add("--round-seconds", type=float, default=0.1, help="of each artefact")
    add("--warmup-seconds", type=float, default=1.0, help="at most, of a row")
    add("--threads", type=int, default=1, help="of the processor")
    add("--time-limit", type=float, default=60.0, help="seconds of a request")
    options = parser.parse_args(arguments)
    on_cpu = "onnxruntime" in options.runtime
    if on_cpu and len(options.runtime) > 1:
        parser.error("onnxruntime is a dry run on the CPU: measure it by itself")
    options.benchmark = "cpu" if on_cpu else "gpu"
    options.out = options.out or Path(f"{options.benchmark}.json")
    if on_cpu and "gpu" in options.out.stem.lower():
        parser.error(f"a dry run on the CPU must not be called {options.out}")
    seconds = (options.round_seconds, options.warmup_seconds, options.time_limit)
    if min(options.rounds, options.threads) < 1 or not all(0 < one <= 3600 for one in seconds):
        parser.error(
            "rounds, threads, seconds and the time limit are above zero, and not too large"
        )
    if not 0 < options.minutes <= 24 * 60:
        parser.error("the minutes are above zero, and at most a day")
    return options


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1 or max(numbers) > 2**20:
        raise argparse.ArgumentTypeError(f"no batch sizes: {text}")
    return list(dict.fromkeys(numbers))


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = list(dict.fromkeys(text.split(",")))
        if not set(names) <= set(known):
            raise argparse.ArgumentTypeError(f"{text}: choose from {', '.join(known)}")
        return names

    return parse
