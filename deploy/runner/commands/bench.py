"""bench: how fast the bundle runs on this machine."""

from __future__ import annotations

import argparse
import json
import math
from typing import TYPE_CHECKING, Any

from deploy.runner.commands.options import add_count, add_engine_options
from deploy.runner.source import BundleSource

if TYPE_CHECKING:
    from deploy.model import Model

SUMMARY = "measure import, load, latency, throughput and memory"
DESCRIPTION = (
    "Run the check vectors, then measure the bundle on them: the latency of a batch, in rounds, "
    "with 95 % confidence intervals (whole rounds are resampled), and the throughput of batches "
    "back to back."
)

_MOST_BATCH = 2**16
_MOST_SECONDS = 600
_WARM_UP_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_count(parser, "--batch", _MOST_BATCH, 1, "examples that run at once")
    add_count(parser, "--rounds", 1000, 10, "rounds")
    add_count(parser, "--seconds", _MOST_SECONDS, 5, "how long to measure in total")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    add_engine_options(parser)


def execute(arguments: argparse.Namespace, source: BundleSource) -> int:
    """Raises EngineError for wrong outputs: the speed of a wrong artefact means nothing."""
    bundle = source.open()
    from deploy.answers import proven
    from deploy.model import Model
    from deploy.runner.commands.verify import described

    model = Model.load(bundle, arguments.threads, arguments.any_version)
    check = model.require_right().describe()
    heads = bundle.artifact.tasks
    keys = [head.key(metric) for head in heads for metric in head.shown]
    verified = [
        {
            "runtime": one.runtime,
            "examples": one.examples,
            "metrics": {key: one.value(key) for key in keys},
        }
        for one in bundle.artifact.verified
    ]
    found = {
        **described(bundle),
        "check": check,
        "verified": verified,
        **_measured(model, arguments),
    }
    if arguments.json:
        print(json.dumps(found, allow_nan=False))
        return 0
    metrics = [
        f"metrics      {text} of {one.examples:,} examples, in {one.runtime} when it was exported"
        for one in bundle.artifact.verified
        if (text := proven(heads, one))
    ]
    print("\n".join([*_lines(found), *metrics]))
    return 0


def _measured(model: Model, arguments: argparse.Namespace) -> dict[str, Any]:
    import platform

    import numpy as np

    from deploy.machine import describe_machine, governor, load_average, peak_memory_bytes
    from deploy.measurement import timer_costs
    from deploy.runner.engine import Rows
    from deploy.statistics import median_interval, percentile_intervals

    engine = model.engine
    load = load_average()
    rows = Rows(model.bundle.vectors().inputs, arguments.batch, copies=True)
    batch = engine.fixed_batch() or arguments.batch
    warm = engine.warm_up(rows, seconds=_WARM_UP_SECONDS)
    nanoseconds = 1e9 * arguments.seconds / 2 / arguments.rounds
    runs = min(max(math.ceil(nanoseconds / max(warm["median_ns"], 1.0)), 1), 10**6)
    times, speeds = [], []
    for _ in range(arguments.rounds):
        times.append(np.array(engine.measure(rows, warmup=1, runs=runs)) / 1e6)
        examples, taken = engine.stream(rows, runs=runs)
        speeds.append(examples / (taken / 1e9))
    return {
        "runtime": {**engine.describe(), "delegate": engine.delegate},
        "threads": arguments.threads,
        "batch": batch,
        "import_ms": engine.import_ms,
        "load_ms": engine.load_ms,
        "first_ms": warm["first_ns"] / 1e6,
        "latency_ms": {
            **percentile_intervals(times),
            "samples": runs * arguments.rounds,
            "rounds": arguments.rounds,
        },
        "throughput": median_interval(np.array(speeds)),
        "warmup": {"runs": warm["runs"], "settled": warm["settled"]},
        **timer_costs(),
        "peak_memory_bytes": peak_memory_bytes(),
        "gpu_memory_bytes": engine.device_memory_bytes(),
        "machine": {
            **describe_machine(),
            "governor": governor(),
            "load_average": [load, load_average()],
        },
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _lines(found: dict[str, Any]) -> list[str]:
    machine, runtime = found["machine"], found["runtime"]
    provider = f", {runtime['provider']}" if runtime["provider"] else ""
    delegate = runtime["delegate"]
    taken = f", {delegate['name']} {delegate['nodes']}/{delegate['of']} nodes" if delegate else ""
    latency = found["latency_ms"]
    lines = [
        f"bundle       {found['name']} for {found['device']} ({found['artefact']['file']})",
        f"machine      {machine['cpu']}, {machine['cores']} cores, {machine['system']}",
        f"runtime      {runtime['name']} {runtime['version']}{provider}{taken}",
        f"start        import {found['import_ms']:.1f} ms, load {found['load_ms']:.1f} ms, "
        f"first run {found['first_ms']:.2f} ms",
    ]
    for name in ("p50", "p90", "p99"):
        lines.append(f"latency {name}  {_interval(latency[name], '.4g')} ms")
    lines += [
        f"             batch {found['batch']}, threads {found['threads']}, "
        f"{latency['samples']:,} runs in {latency['rounds']} rounds",
        f"throughput   {_interval(found['throughput'], ',.0f')} examples/s",
        f"memory       {found['peak_memory_bytes'] / 1e6:,.1f} MB peak",
    ]
    if not found["warmup"]["settled"]:
        lines.append("note         the times did not settle: the machine was busy")
    return lines


def _interval(found: dict[str, float], form: str) -> str:
    return f"{found['value']:{form}} ({found['low']:{form}} to {found['high']:{form}})"
