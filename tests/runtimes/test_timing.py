"""The one timer of artefacts, in interleaved rounds."""

from __future__ import annotations

import numpy as np
import pytest
import runnable_files

from compressor.errors import CheckFailedError
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
