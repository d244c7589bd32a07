"""ONNX files whose weights are too large for one file: they lie in another one beside it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest

import compressor
from compressor.errors import (
    CheckFailedError,
    CheckpointError,
    ModelError,
    UsageError,
)
from compressor.exporters import onnx as onnx_exporter, processes
from compressor.exporters.onnx import apart
from compressor.foundation import quiet_tensorflow
from compressor.runtimes import Runner, median_latencies
from deploy.artifact import read_artifact
from deploy.errors import ArtifactError


@pytest.fixture(scope="module")
def model():
    """Two inputs and a recurrent layer: weights of several kinds, 40 kB in float32."""
    _, keras = quiet_tensorflow.load()
    keras.utils.set_random_seed(3)
    layers = keras.layers
    image, steps = keras.Input((8, 8, 1), name="image"), keras.Input((6, 5), name="steps")
    x = layers.Flatten()(layers.Conv2D(6, 3, activation="relu", name="conv")(image))
    x = layers.Concatenate()([x, layers.GRU(7, name="gru")(steps)])
    x = layers.Dense(40, activation="relu", name="wide")(x)
    return keras.Model([image, steps], layers.Dense(4, name="scores")(x))


def _as_if_a_file_held_little(patch):
    """20 kB: float32 is too large for it, fewer bits are not."""
    patch.setattr(onnx_exporter, "_MOST_WEIGHTS", 20_000)
    patch.setattr(apart, "LARGE", 256)


@pytest.fixture
def small_limit(monkeypatch):
    _as_if_a_file_held_little(monkeypatch)


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """The path of a file with its weights beside it, and its record."""
    path = tmp_path_factory.mktemp("made") / "large.onnx"
    with pytest.MonkeyPatch.context() as patch:
        _as_if_a_file_held_little(patch)
        return path, compressor.export(model, path)


@pytest.fixture
def written(made, tmp_path):
    """The same, to be changed."""
    path, record = made
    folder = shutil.copytree(path.parent, tmp_path / "made")
    return folder / path.name, record


def _weights(path):
    (found,) = path.parent.glob("weights-*.bin")
    return found


def test_weights_lie_beside_the_file_and_it_computes_what_the_model_does(written, model, tmp_path):
    path, record = written
    x = {
        "image": np.random.default_rng(0).random((3, 8, 8, 1), np.float32),
        "steps": np.random.default_rng(1).random((3, 6, 5), np.float32),
    }

    onnx.checker.check_model(str(path), full_check=True)
    with Runner("onnxruntime") as runner:
        runner.load(path)
        found = runner.predict(x)

    np.testing.assert_allclose(found, model.predict_on_batch(x), rtol=1e-4, atol=1e-5)
    data = _weights(path)
    assert path.stat().st_size < 8_000 < 30_000 < data.stat().st_size
    assert record["bytes"] == path.stat().st_size + data.stat().st_size
    assert any("2 GB" in note and data.name in note for note in record["notes"])
    others = {f"{path.name}{end}" for end in ("", ".json", ".check.npz")}
    assert {one.name for one in path.parent.iterdir()} == {data.name, *others}


@pytest.mark.slow
def test_the_same_values_are_in_one_file_and_in_two(written, model, tmp_path):
    path, _ = written
    compressor.export(model, tmp_path / "small.onnx")

    whole, loaded = onnx.load(str(tmp_path / "small.onnx")), onnx.load(str(path))

    values = [
        {one.name: onnx.numpy_helper.to_array(one) for one in found.graph.initializer}
        for found in (whole, loaded)
    ]
    assert values[0].keys() == values[1].keys()
    assert all(np.array_equal(values[0][name], values[1][name]) for name in values[0])


def test_the_description_holds_for_the_weights_too(written, rejected):
    path, _ = written
    data = _weights(path)

    described = read_artifact(path)
    assert described.data.file == data.name
    assert described.bytes == path.stat().st_size + data.stat().st_size

    content = bytearray(data.read_bytes())
    content[1000] ^= 1
    data.write_bytes(content[:-1])
    assert f"{len(content):,}" in rejected(ArtifactError, read_artifact, path)
    data.write_bytes(content)
    assert "weights are of another artefact" in rejected(ArtifactError, read_artifact, path)
    assert "another artefact" in rejected(CheckpointError, compressor.bench, [path])
    data.rename(path.with_name("elsewhere"))
    assert data.name in rejected(ArtifactError, read_artifact, path)
    data.symlink_to(path.with_name("elsewhere"))
    assert "link" in rejected(ArtifactError, read_artifact, path)


@pytest.mark.parametrize("name", ["../w.bin", "/w.bin", "large.onnx.json", "", "a\\b", "C:w"])
def test_a_description_names_no_file_elsewhere(written, name, rejected):
    path, _ = written
    beside = path.with_name(path.name + ".json")
    content = json.loads(beside.read_text())
    content["data"]["file"] = name
    beside.write_text(json.dumps(content))

    rejected(ArtifactError, read_artifact, path)


def test_it_is_measured_and_inspected(written):
    path, _ = written

    found = compressor.inspect(path)
    run = compressor.bench([path], rounds=2, round_seconds=0.02, starts=1)

    (row,) = run["rows"]
    assert row["status"] == "right"
    (artefact,) = run["artefacts"]
    assert artefact["bytes"] == path.stat().st_size + _weights(path).stat().st_size
    assert "external" in json.dumps(found) and found["file_bytes"] == artefact["bytes"]


@pytest.mark.slow
def test_it_is_timed_with_its_weights(written, rejected):
    path, _ = written
    data = {_weights(path).name: _weights(path).read_bytes()}

    found = median_latencies([path.read_bytes()], "onnxruntime", rounds=1, data=data)

    assert found.shape == (1, 1) and found > 0
    rejected(CheckFailedError, median_latencies, [path.read_bytes()], "onnxruntime", rounds=1)


def test_it_is_not_measured_over_ssh(written, rejected):
    path, _ = written

    line = rejected(UsageError, compressor.bench, [path], host="nobody@nowhere.invalid")

    assert "two files" in line and path.name in line


@pytest.mark.slow
def test_another_export_leaves_no_old_weights(model, written, monkeypatch):
    path, _ = written
    old, other = _weights(path), path.with_name("other.onnx")
    for end in ("", ".json"):
        shutil.copy(f"{path}{end}", f"{other}{end}")
    compressor.export(model, path, force=True)
    assert old.exists()  # the other one has them, too

    other.with_name(f"{other.name}.json").unlink()
    _as_if_a_file_held_little(monkeypatch)
    compressor.export(model, path, force=True)
    assert old.exists()
    monkeypatch.undo()
    compressor.export(model, path, force=True)
    assert not old.exists() and read_artifact(path).data is None


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["../mine.bin", "mine.bin", "", 3])
def test_nothing_is_removed_that_an_old_description_names_wrongly(model, written, name, tmp_path):
    path, _ = written
    mine = [tmp_path / "mine.bin", path.with_name("mine.bin")]
    for file in mine:
        file.write_bytes(b"mine")
    beside = path.with_name(path.name + ".json")
    content = json.loads(beside.read_text())
    content["data"]["file"] = name
    beside.write_text(json.dumps(content))

    compressor.export(model, path, force=True)

    assert all(file.read_bytes() == b"mine" for file in mine) and _weights(path)


@pytest.mark.slow
def test_weights_of_what_was_rejected_stay(model, written):
    path, _ = written
    report = {"notes": [f"the weights are in {_weights(path).name}"]}
    path.with_name("other.onnx.rejected.json").write_text(json.dumps(report))

    compressor.export(model, path, force=True)

    assert _weights(path)


def test_a_bundle_does_not_take_it(written, tmp_path, rejected):
    path, _ = written

    line = rejected(UsageError, compressor.package, [path], "linux-x86-64", tmp_path / "bundle")

    assert "one file" in line and path.name in line
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
def test_where_nothing_is_one_file_the_smaller_of_two_is_chosen_by_measuring(
    model, small_limit, tmp_path, monkeypatch
):
    monkeypatch.setattr(onnx_exporter, "_MOST_WEIGHTS", 3_000)

    record = compressor.export(model, tmp_path / "m.onnx", quantize="auto")

    assert record["quantize"] == "float16" and _weights(tmp_path / "m.onnx")
    assert record["speed"]["ratio"]["value"] > 0


@pytest.mark.slow
def test_fewer_bits_are_in_one_file_and_auto_takes_one_that_is(model, small_limit, tmp_path):
    for quantize in ("dynamic", "auto"):
        path = tmp_path / quantize / "model.onnx"
        record = compressor.export(model, path, quantize=quantize)
        assert record["bytes"] == path.stat().st_size < 25_000
        assert not list(path.parent.glob("*.bin"))


def test_int8_needs_all_weights_in_one_file(model, small_limit, tmp_path, rejected):
    line = rejected(
        ModelError,
        compressor.export,
        model,
        tmp_path / "m.onnx",
        quantize="int8",
        input_range=(0, 1),
    )

    assert "2 GB" in line and "dynamic" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_does_not_pass_is_kept_with_its_weights(
    model, small_limit, tmp_path, monkeypatch, rejected
):
    real = processes.run_examples
    monkeypatch.setattr(processes, "run_examples", lambda *a, **b: 1 + real(*a, **b))

    rejected(CheckFailedError, compressor.export, model, tmp_path / "m.onnx")

    kept = tmp_path / "m.onnx.rejected"
    assert _weights(kept).name in kept.read_bytes().decode(errors="replace")


def test_a_search_refuses_such_a_model_before_any_trial(
    small_file, tiny_data, small_limit, tmp_path, monkeypatch, rejected
):
    monkeypatch.setattr(onnx_exporter, "_MOST_WEIGHTS", 100)

    line = rejected(ModelError, compressor.search, small_file, tiny_data, output=tmp_path / "out")

    assert "2 GB" in line
    assert not list((tmp_path / "out").glob("trial-*"))
