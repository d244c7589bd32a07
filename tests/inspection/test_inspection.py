"""What `inspect` says of files, steps and runs."""

import json

import numpy as np
import pytest

from compressor import workflow
from compressor.errors import CheckpointError, CompressorError, ModelError
from compressor.inspection import inspect
from compressor.plan import make_plan


@pytest.fixture(scope="module")
def run(residual_net, tiny_data, tmp_path_factory):
    """A run directory with steps 2 and 3 of a model of 54 + 324 + 384 prunable weights."""
    folder = tmp_path_factory.mktemp("inspected")
    residual_net().save(folder / "mine.keras")
    plan = make_plan(
        tiny_data, layers=("inner", "head"), sparsities=(0.5,), steps=2, batch_size=8, validation=16
    )
    records = workflow.prune(folder / "mine.keras", folder / "run", plan)
    source = folder / "run" / "step_2_2" / "model.keras"
    workflow.sparsify(source, folder / "run", tiny_data)
    return folder, records


def rows_of(described):
    json.dumps(described)
    return {(row["layer"], row["variable"]): row for row in described["layers"]}


def thresholds_of(records):
    return {row["layer"]: row["threshold"] for row in records["step_2_1"]["layers"]}


def test_a_dense_file(run):
    folder, _ = run
    found = inspect(folder / "mine.keras")
    assert (found["kind"], found["optimizer_values"]) == ("dense", 0)
    assert found["path"] == str(folder / "mine.keras")
    assert found["file_bytes"] == (folder / "mine.keras").stat().st_size
    rows = rows_of(found)
    assert len(rows) == 3 * 2 + 4
    assert found["parameters"] == 54 + 6 + 24 + 324 + 6 + 384 + 4
    # Biases and beta begin with zeros, and so does the mean of the normalization.
    assert found["nonzeros"] == found["parameters"] - (6 + 12 + 6 + 4)
    assert rows["stem", "kernel"] == {
        "layer": "stem",
        "variable": "kernel",
        "paper_name": None,
        "shape": [3, 3, 1, 6],
        "parameters": 54,
        "zeros": 0,
        "bytes": 216,
        "masked": None,
        "storage": "dense",
        "threshold": None,
    }
    assert rows["stem", "bias"]["zeros"] == 6


def test_a_retrained_step(run):
    folder, records = run
    found = inspect(folder / "run" / "step_2_2")
    rows = rows_of(found)
    trainable = found["parameters"] - 12
    assert found["optimizer_values"] == 2 * trainable
    for name, weights in (("inner", 324), ("head", 384)):
        row = rows[name, "kernel"]
        assert row["masked"] == row["zeros"] == weights // 2 + 1
        assert row["threshold"] == thresholds_of(records)[name] > 0
        assert rows[name, "bias"]["masked"] is None and rows[name, "bias"]["threshold"] is None
    assert rows["stem", "kernel"]["masked"] is None
    assert rows["stem", "kernel"]["threshold"] is None


def test_a_sparse_step(run):
    folder, records = run
    found = inspect(folder / "run" / "step_3")
    assert (found["kind"], found["optimizer_values"]) == ("sparse", 0)
    rows, dense = rows_of(found), inspect(folder / "run" / "step_2_2")
    assert rows.keys() == rows_of(dense).keys()
    assert (found["parameters"], found["nonzeros"]) == (dense["parameters"], dense["nonzeros"])
    for name, weights in (("inner", 324), ("head", 384)):
        row = rows[name, "kernel"]
        assert row["storage"] == "coo-paper"
        assert row["zeros"] == weights // 2 + 1
        assert row["bytes"] == 24 * (weights - row["zeros"])
        assert row["threshold"] == thresholds_of(records)[name]
    assert rows["stem", "kernel"]["storage"] == "dense"
    assert rows["stem", "kernel"]["bytes"] == 216


def test_a_run(run):
    folder, _ = run
    found = inspect(folder / "run")
    assert found["kind"] == "run"
    assert {name: step["kind"] for name, step in found["steps"].items()} == {
        "step_2_1": "dense",
        "step_2_2": "dense",
        "step_3": "sparse",
    }
    assert found["steps"]["step_2_2"] == inspect(folder / "run" / "step_2_2")


def test_what_is_none_of_these(rejected, tmp_path):
    rejected(CheckpointError, inspect, tmp_path / "none")
    rejected(CheckpointError, inspect, tmp_path)
    (tmp_path / "step_1").mkdir()
    assert "no finished step" in rejected(CheckpointError, inspect, tmp_path)
    (tmp_path / "m.keras").write_bytes(b"x")
    rejected(ModelError, inspect, tmp_path / "m.keras")
    (tmp_path / "s.npz").write_bytes(b"x")
    rejected(CheckpointError, inspect, tmp_path / "s.npz")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"result": 5}', '{"result": {"layers": 5}}'])
def test_a_damaged_record(rejected, small_file, tmp_path, content):
    (tmp_path / "model.keras").write_bytes(small_file.read_bytes())
    (tmp_path / "record.json").write_text(content)
    rejected(CompressorError, inspect, tmp_path)


def test_masks_of_another_model_beside_it(rejected, small_file, tmp_path):
    (tmp_path / "model.keras").write_bytes(small_file.read_bytes())
    np.savez(tmp_path / "masks.npz", hidden=np.ones((64, 12), np.float32))
    rejected(CheckpointError, inspect, tmp_path)
