"""Timing: turns, warm-up, percentiles, and a module that goes to a device alone."""

import dataclasses
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deploy import LatencyStatistics, describe_machine, measure_latency

BATCHES = [np.full((5, 2), number, np.float32) for number in range(3)]


def test_predictors_take_turns_after_a_round_of_warming_up():
    calls = []
    predictors = {
        name: (lambda batch, name=name: calls.append((name, int(batch[0, 0])))) for name in "abc"
    }
    found = measure_latency(predictors, BATCHES, threads=4, rounds=2)
    one_round = [(name, number) for name in "abc" for number in range(3)]
    assert calls == one_round * 3
    for statistics in found.values():
        assert dataclasses.replace(statistics, total_ms={}, batch_ms={}) == LatencyStatistics(
            batch_size=5, batches=3, rounds=2, threads=4, total_ms={}, batch_ms={}
        )


def test_times_are_milliseconds_of_the_measured_rounds_alone(monkeypatch):
    now = [0]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])
    took = iter([900, 900, 900, 1, 2, 3, 4, 5, 6])

    def predict(_):
        now[0] += next(took) * 1_000_000

    found = measure_latency({"a": predict}, BATCHES, threads=1, rounds=2)["a"]
    # Rounds of 6 and 15 ms; batches of 1 to 6 ms.
    assert found.total_ms == {"p50": 10.5, "p90": 14.1, "p99": 14.91}
    assert found.batch_ms == {"p50": 3.5, "p90": 5.5, "p99": 5.95}


def test_a_slower_predictor_is_found_slower():
    found = measure_latency(
        {"slow": lambda _: time.sleep(0.004), "fast": lambda _: None}, BATCHES, threads=1, rounds=3
    )
    slow, fast = found["slow"], found["fast"]
    assert slow.batch_ms["p50"] >= 4 > fast.batch_ms["p50"]
    assert slow.total_ms["p50"] >= 12
    for statistics in found.values():
        for times in (statistics.total_ms, statistics.batch_ms):
            assert times["p50"] <= times["p90"] <= times["p99"]
    assert json.loads(json.dumps(slow.describe()))["batch_ms"] == slow.batch_ms


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_rests_and_is_as_before(enabled):
    was, seen = gc.isenabled(), []
    try:
        (gc.enable if enabled else gc.disable)()
        measure_latency({"a": lambda _: seen.append(gc.isenabled())}, BATCHES, threads=1)
        assert set(seen) == {False} and gc.isenabled() is enabled

        def fail(_):
            raise ValueError

        with pytest.raises(ValueError):
            measure_latency({"a": fail}, BATCHES, threads=1)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()


def test_the_machine_is_described():
    machine = describe_machine()
    assert set(machine) == {"cpu", "cores", "memory_bytes", "system"}
    assert machine["cores"] >= 1 and machine["memory_bytes"] > 2**20
    assert machine["cpu"] and machine["system"]
    assert json.loads(json.dumps(machine)) == machine


def test_it_needs_neither_compressor_nor_tensorflow():
    root = Path(__file__).resolve().parents[2]
    code = (
        "import sys, deploy; print(sorted({n.split('.')[0] for n in sys.modules}"
        " & {'compressor', 'tensorflow', 'keras', 'scipy', 'h5py'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr
