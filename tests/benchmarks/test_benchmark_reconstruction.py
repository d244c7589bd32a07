"""The benchmark's criteria, what it keeps, and what it calls reached."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from benchmarks import reconstruction
from compressor import Dataset, PruningSpec
from compressor.data import TrainingData
from compressor.pruning.magnitude import keep_highest
from compressor.pruning.reconstruction_solver import LayerProblem


@pytest.fixture
def problem():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(1, 50, 8)).astype(np.float32)
    rows[..., 0] *= 100
    weights = generator.normal(size=(1, 8, 4)).astype(np.float32)
    return LayerProblem(
        rows,
        rows @ weights,
        weights,
        np.ones((1, 4), np.float32),
        has_bias=True,
        rectified=False,
        keep=lambda scores, _: keep_highest(scores.ravel(), 12)[1].reshape(scores.shape),
    )


def test_wanda_keeps_what_has_large_inputs_and_refitting_keeps_its_choice(problem):
    weights, mask = reconstruction.wanda(problem)
    assert mask[0, 0].all() and mask.sum() == 12
    np.testing.assert_array_equal(weights, problem.weights * mask)
    refitted, same = reconstruction.wanda_refitted(problem)
    np.testing.assert_array_equal(same, mask)
    errors = [np.square(problem.inputs @ w - problem.outputs).sum() for w in (weights, refitted)]
    assert errors[1] < errors[0]


def test_a_run_is_kept_until_the_model_changes(tmp_path, monkeypatch):
    base = tmp_path / "model.keras"
    base.write_bytes(b"one")
    jobs = []

    def run(command, **options):
        jobs.append(json.loads(command[-1]))
        return subprocess.CompletedProcess(command, 0, 'said before\n{"accuracy": 0.5}\n')

    monkeypatch.setattr(subprocess, "run", run)
    for _ in range(2):
        found = reconstruction.measured(tmp_path / "runs", base, "2:4", "wanda, refitted", 1)
        assert found["accuracy"] == 0.5
    assert [job["seed"] for job in jobs] == [1]
    base.write_bytes(b"two")
    reconstruction.measured(tmp_path / "runs", base, "2:4", "wanda, refitted", 1)
    assert len(jobs) == 2


@pytest.mark.parametrize(("accuracy", "verdict"), [(0.984, "reached"), (0.9839, "MISSED")])
def test_the_median_is_held_to_what_was_asked(accuracy, verdict):
    run = {"nonzeros": 9, "seconds": 1.0, "cpu_seconds": 2.0, "peak_bytes": 5}
    runs = [run | {"accuracy": value} for value in (0.5, accuracy, 0.99)]
    assert reconstruction.summary("98 %", {"reconstruct": runs})["verdict"] == verdict


@pytest.mark.parametrize(
    ("row", "steps", "distilled"), [("98 %, retrained", 859, False), ("8k, retrained", 859, True)]
)
def test_each_round_of_a_retrained_row_has_its_part_of_the_steps(row, steps, distilled):
    images, labels = np.zeros((60_000, 2, 2), np.uint8), np.arange(60_000) % 10
    data = Dataset.from_arrays("zeros", images, labels, images[:10], labels[:10])
    spec = PruningSpec(criterion="reconstruct", **reconstruction.ROWS[row]["spec"])
    options = reconstruction.retraining(row, spec, TrainingData.of(data))
    assert (options.steps, options.distillation is not None) == (steps, distilled)
