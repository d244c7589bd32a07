"""The one timer of artefacts: interleaved rounds, and what is taken for the fastest."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import runnable_files

from compressor.errors import CheckFailedError
from compressor.exporters import exporting
from compressor.runtimes import median_latencies, timing
from compressor.runtimes.runner import Runner


@pytest.fixture
def content(tmp_path) -> bytes:
    path = tmp_path / "model.onnx"
    runnable_files.write_onnx(path)
    return path.read_bytes()


def test_artefacts_take_turns_in_paused_processes_of_their_own(content, monkeypatch) -> None:
    said, pinned = [], []
    for name in ("warm_up", "measure", "pause", "resume"):
        real = getattr(Runner, name)

        def noted(self, *args, real=real, name=name, **options):
            said.append((name, id(self)))
            return real(self, *args, **options)

        monkeypatch.setattr(Runner, name, noted)
    load = Runner.load

    def loaded(self, path):
        facts = load(self, path)
        pinned.append(facts["cpus"])
        return facts

    monkeypatch.setattr(Runner, "load", loaded)

    found = median_latencies([content, content], "onnxruntime", rounds=3)

    assert found.shape == (3, 2) and found.dtype == np.float64 and (found > 0).all()
    first, second = dict.fromkeys(runner for _, runner in said)
    turn = [(name, runner) for runner in (first, second) for name in ("resume", "measure", "pause")]
    started = [(name, runner) for runner in (first, second) for name in ("warm_up", "pause")]
    assert said == started + 3 * turn
    assert pinned == [timing.pinned_cpus(1)] * 2


def test_a_file_that_does_not_run_is_one_line(content) -> None:
    with pytest.raises(CheckFailedError) as caught:
        median_latencies([content, content[:100]], "onnxruntime", rounds=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("milliseconds", "sizes", "expected"),
    [
        ([2.0, 1.0, 3.0], [1, 9, 1], 1),
        ([1.019, 1.0, 1.021], [5, 9, 1], 0),  # within 2 % the smaller file wins
        ([1.0, 1.0], [9, 9], 0),
    ],
)
def test_within_two_percent_of_the_fastest_the_smaller_file_wins(
    monkeypatch, milliseconds, sizes, expected
) -> None:
    def measured(contents, runtime, *, rounds):
        assert runtime == "litert" and len(contents) == len(sizes)
        # One slow round changes nothing: medians over the rounds count.
        return np.array([milliseconds, np.multiply(milliseconds, 50)] + [milliseconds] * 5)

    verdict = SimpleNamespace(passed=True)
    made = [
        SimpleNamespace(file=SimpleNamespace(content=bytes(size)), size=size, verdict=verdict)
        for size in sizes
    ]
    monkeypatch.setattr(exporting, "median_latencies", measured)
    listener = SimpleNamespace(stage=lambda title: None)
    variants = exporting.Variants(None, "tflite", "litert", "latency", None, listener)
    monkeypatch.setattr(variants, "_check", lambda one, _: one)

    built = {number: (one, None) for number, one in enumerate(made)}
    assert variants._fastest(built) is made[expected]
