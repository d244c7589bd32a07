"""Both sides of the comparison get the same job, and what they prune is counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import compressor

from benchmarks import pruning
from compressor.models.files import load_model
from compressor.models.paper import paper_cnn
from compressor.pruning.magnitude import magnitude_prune
from compressor.runs.run_directory import RECORD
from compressor.training.loop import TrainingOptions

TRAINING = TrainingOptions(
    steps=516, learning_rate=1.8e-3, dropout_scale=0.3162277660168379
).describe()


def test_tfmot_is_told_to_do_what_compressor_did():
    job = pruning.tfmot_job(2, 0.9, "gradual", TRAINING)
    options = TrainingOptions(steps=516, learning_rate=1.8e-3)
    for name in ("steps", "batch_size", "learning_rate", "warmup_steps"):
        assert job[name] == getattr(options, name)
    assert job["schedule"] == "polynomial" and job["begin_step"] == 0
    # Its last update, the one that reaches the sparsity, is at a multiple of the frequency.
    assert job["end_step"] % job["frequency"] == 0
    assert 0 <= 0.6 * 516 - job["end_step"] < job["frequency"] + 1
    # As the retraining of `compressor prune` derives it: the batches are the same.
    assert job["seed"] == pruning.derive_seed(2, "step_2_2 0.9")


def test_constant_sparsity_begins_at_the_first_step():
    job = pruning.tfmot_job(0, 0.98, "one-shot", TRAINING)
    assert (job["schedule"], job["begin_step"]) == ("constant", 1)


@pytest.mark.parametrize("schedule", ["one-shot", "gradual"])
def test_our_command_is_understood_and_stops_at_the_missing_file(tmp_path, schedule):
    command = pruning.ours(str(tmp_path / "no.keras"), "1", 0.98, schedule)
    assert "no.keras" in compressor(*command).refusal()


@pytest.fixture(scope="module")
def pruned_cnn():
    model = paper_cnn()
    for name in pruning.LAYERS:
        kernel = model.get_layer(name).kernel
        kernel.assign(kernel.numpy() * magnitude_prune(kernel.numpy(), 0.9).mask)
    return model


@pytest.mark.slow
def test_nonzeros_are_counted_and_held_to_what_was_asked(pruned_cnn):
    found = pruning.check_nonzeros(pruned_cnn, 0.9)
    assert found == {"conv1": 800, "conv2": 51200, "fc1": 321126, "fc2": 1023}
    with pytest.raises(AssertionError, match=r"fc1 has 321126 non-zeros, 642252\.8 were asked for"):
        pruning.check_nonzeros(pruned_cnn, 0.8)


@pytest.mark.slow
def test_tfmot_is_given_our_weights_batches_and_options_and_runs_once(
    pruned_cnn, tiny_data, tmp_path, monkeypatch
):
    base = tmp_path / "base.keras"
    pruned_cnn.save(base)
    calls = []

    def run_in(environment, program, given):
        job = json.loads(Path(given).read_text())
        calls.append(job)
        with np.load(job["weights"]) as arrays, np.load(job["data"]) as data:
            # Every epoch visits every training example once.
            assert sorted(data["order"][: len(data["x"])]) == list(range(len(data["x"])))
            assert len(data["order"]) == job["steps"] * job["batch_size"]
            kernel = load_model(base).get_layer("fc1").kernel.numpy()
            assert np.array_equal(arrays["fc1/kernel"], kernel)
            np.savez(job["output"], **arrays)

    monkeypatch.setattr(pruning, "run_in", run_in)
    monkeypatch.setattr(
        pruning.Comparison, "_ours", lambda *_: TRAINING | {"steps": 5, "batch_size": 32}
    )
    # The images are not MNIST's: the model only has to be read, not to be right.
    monkeypatch.setattr(pruning, "accuracy_of", lambda *_: 0.5)
    comparison = pruning.Comparison(tmp_path / "work", tiny_data)
    for tool, dropout in (("tfmot", 0.5), (pruning.SCALED, 0.5 * TRAINING["dropout_scale"])):
        for _ in range(2):
            run = comparison.run(base, 0, tool, 0.9, "gradual")
        assert run["accuracy"] == 0.5 and run["nonzeros"]["fc2"] == 1023
        assert calls[-1]["dropout"] == dropout
    assert len(calls) == 2
    leftovers = {path.name for path in (tmp_path / "work").rglob("*.*") if path.is_file()}
    assert leftovers == {"weights.npz", "job.json"}


def test_bases_are_taken_from_the_sweeps_that_have_them(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(pruning, "run_command", lambda *command: commands.append(command))

    def finished(sweep: str, seed: int) -> None:
        folder = tmp_path / sweep / f"seed-{seed}" / "step_1"
        folder.mkdir(parents=True)
        (folder / RECORD).write_text("{}")

    finished("a", 0)
    finished("b", 1)
    pruning.find_bases([tmp_path / "a", tmp_path / "b", tmp_path / "own"])
    assert commands == [(*pruning.SWEEP, "-o", str(tmp_path / "own"))]
    finished("b", 2)
    commands.clear()
    found = pruning.find_bases([tmp_path / "a", tmp_path / "b", tmp_path / "own"])
    assert commands == []
    assert [found[seed].parts[-4] for seed in pruning.SEEDS] == ["a", "b", "b"]


def test_a_row_keeps_all_seeds_and_their_median():
    runs = [
        {"seed": s, "accuracy": a, "nonzeros": {"fc1": 10, "fc2": 2}, "training": TRAINING}
        for s, a in enumerate((0.97, 0.99, 0.98))
    ]
    row = pruning.summary("tfmot, 0.9, gradual", runs)
    assert row["median"] == 0.98 and row["range"] == [0.97, 0.99]
    assert row["accuracy"] == [0.97, 0.99, 0.98] and row["nonzeros"] == [12, 12, 12]
