"""What `inspect` says of files, steps and runs."""

import json
import shutil

import numpy as np
import pytest

import compressor
from compressor.errors import CheckpointError, CompressorError, ModelError
from compressor.experiment import workflow
from compressor.pruning.plan import make_plan
from compressor.pruning.spec import PruningSpec
from compressor.report.inspection import inspect
from compressor.report.terminal import inspection_text


@pytest.fixture(scope="module")
def run(residual_net, tiny_data, tmp_path_factory):
    """A run directory with steps 2 and 3 of a model of 54 + 324 + 384 prunable weights."""
    folder = tmp_path_factory.mktemp("inspected")
    residual_net().save(folder / "mine.keras")
    spec = PruningSpec(sparsity=0.5, layers=("inner", "head"))
    plan = make_plan(tiny_data, sparsities=(0.5,), steps=2, batch_size=8, validation=16)
    records = compressor.prune_run(folder / "mine.keras", folder / "run", spec, plan)
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
        "macs": 4 * 4 * 54,
        "macs_nonzero": 4 * 4 * 54,
    }
    assert rows["stem", "bias"]["zeros"] == 6
    assert rows["stem", "bias"]["macs"] is rows["stem", "bias"]["macs_nonzero"] is None
    assert rows["norm", "gamma"]["macs"] is None
    assert found["macs"] == found["macs_nonzero"] == 16 * 54 + 16 * 324 + 384


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
    assert (rows["inner", "kernel"]["macs"], rows["head", "kernel"]["macs"]) == (16 * 324, 384)
    assert rows["inner", "kernel"]["macs_nonzero"] == 16 * (324 // 2 - 1)
    assert found["macs"] == 16 * 54 + 16 * 324 + 384
    assert found["macs_nonzero"] == 16 * 54 + 16 * 161 + 191


def test_a_sparse_step(run):
    folder, records = run
    found = inspect(folder / "run" / "step_3")
    assert (found["kind"], found["optimizer_values"]) == ("sparse", 0)
    rows, dense = rows_of(found), inspect(folder / "run" / "step_2_2")
    assert rows.keys() == rows_of(dense).keys()
    for key in ("parameters", "nonzeros", "macs", "macs_nonzero"):
        assert found[key] == dense[key] > 0
    for name, row in rows.items():
        assert row["macs"] == rows_of(dense)[name]["macs"]
        assert row["macs_nonzero"] == rows_of(dense)[name]["macs_nonzero"]
    for name, weights in (("inner", 324), ("head", 384)):
        row = rows[name, "kernel"]
        assert row["storage"] == "coo-paper"
        assert row["zeros"] == weights // 2 + 1
        assert row["bytes"] == 24 * (weights - row["zeros"])
        assert row["threshold"] == thresholds_of(records)[name]
    assert rows["stem", "kernel"]["storage"] == "dense"
    assert rows["stem", "kernel"]["bytes"] == 216


@pytest.mark.slow
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


def test_the_text_of_a_run_begins_with_all_its_steps(run):
    folder, _ = run
    found = inspect(folder / "run")
    head, *tables = inspection_text(found).split("\n\n")
    lines = {line.split()[0]: line.split()[1:] for line in head.splitlines()[3:]}
    assert list(lines) == ["step_2_1", "step_2_2", "step_3"]
    for name, cells in lines.items():
        size = (folder / "run" / name / "model.keras").with_name(
            "sparse.npz" if name == "step_3" else "model.keras"
        )
        assert cells[2:] == ["6,432", "3,631", f"{size.stat().st_size:,}"]
        assert cells[:2] == [f"{found['steps'][name][key]:,}" for key in ("parameters", "nonzeros")]
    assert [table.partition(":")[0] for table in tables] == [
        str(folder / "run" / name / file)
        for name, file in (
            ("step_2_1", "model.keras"),
            ("step_2_2", "model.keras"),
            ("step_3", "sparse.npz"),
        )
    ]


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
    np.savez(tmp_path / "masks.npz", hidden=np.ones((64, 13), bool))
    assert "hidden (64, 13)" in rejected(CheckpointError, inspect, tmp_path)
    np.savez(tmp_path / "masks.npz", other=np.ones((64, 12), bool))
    assert "other (64, 12)" in rejected(CheckpointError, inspect, tmp_path)


def test_another_file_in_the_folder_of_a_step_has_no_masks_and_thresholds(run, tmp_path):
    folder, _ = run
    step = tmp_path / "step_2_2"
    shutil.copytree(folder / "run" / "step_2_2", step)
    shutil.copy(folder / "mine.keras", step / "shrunk.keras")
    rows = inspect(step / "shrunk.keras")["layers"]
    assert {(row["masked"], row["threshold"]) for row in rows} == {(None, None)}


def test_masks_of_depthwise_and_further_kernels(keras, tmp_path):
    layers = keras.layers
    image = keras.Input((6, 5), name="image")
    x = layers.SeparableConv1D(4, 3, name="apart")(image)
    x = layers.DepthwiseConv1D(2, name="deep")(x)
    keras.Model(image, layers.LSTM(3, name="memory")(x)).save(tmp_path / "model.keras")
    sizes = {
        "apart": ((1, 5, 4), 1),
        "apart:depthwise_kernel": ((3, 5, 1), 2),
        "apart:bias": ((4,), 3),
        "deep": ((2, 4, 1), 4),
        "memory": ((4, 12), 5),
        "memory:recurrent_kernel": ((3, 12), 6),
    }
    masks = {}
    for name, (shape, masked) in sizes.items():
        masks[name] = np.ones(shape, bool)
        masks[name].flat[:masked] = False
    np.savez(tmp_path / "masks.npz", **masks)
    found = {key: row["masked"] for key, row in rows_of(inspect(tmp_path)).items()}
    assert found == {
        ("apart", "depthwise_kernel"): 2,
        ("apart", "pointwise_kernel"): 1,
        ("apart", "bias"): 3,
        ("deep", "kernel"): 4,
        ("deep", "bias"): None,
        ("memory", "kernel"): 5,
        ("memory", "recurrent_kernel"): 6,
        ("memory", "bias"): None,
    }


def test_sizes_that_are_not_fixed(keras, tmp_path):
    layers = keras.layers
    words = keras.Input((None, 3), name="words")
    model = keras.Model(words, layers.Dense(2, name="head")(layers.LSTM(4, name="memory")(words)))
    model.save(tmp_path / "open.keras")
    found = inspect(tmp_path / "open.keras")
    rows = rows_of(found)
    assert found["macs"] is found["macs_nonzero"] is rows["memory", "kernel"]["macs"] is None
    assert rows["head", "kernel"]["macs"] == 8
    text = inspection_text(found)
    assert "not known for every layer" in text
    (line,) = (line for line in text.splitlines() if line.startswith("memory/kernel"))
    assert line.split()[-3:] == ["–", "192", "dense"]


def test_a_sparse_checkpoint_of_which_no_model_can_be_built_has_no_macs(run, tmp_path):
    folder, _ = run
    with np.load(folder / "run" / "step_3" / "sparse.npz") as file:
        arrays = dict(file)
    model = json.loads(arrays["model"].tobytes())
    model["config"]["class_name"] = "Nothing"
    arrays["model"] = np.frombuffer(json.dumps(model).encode(), np.uint8)
    np.savez(tmp_path / "odd.npz", **arrays)
    found, whole = inspect(tmp_path / "odd.npz"), inspect(folder / "run" / "step_3")
    assert found["macs"] is None
    assert {row["macs"] for row in found["layers"]} == {None}
    assert found["nonzeros"] == whole["nonzeros"]
