"""What `inspect` says of a model before and after."""

import json
import re

import numpy as np
import pytest
from command_line import compressor

from compressor.errors import CheckpointError, UsageError
from compressor.experiment.paper_checkpoint import write_sparse_checkpoint
from compressor.models.paper import paper_cnn
from compressor.report.inspection import inspect


@pytest.fixture(scope="module")
def files(keras, small_net, tmp_path_factory):
    """A model of 64 x 12 and 12 x 4 weights, pruned, sparse, with 6 units, and with a new layer."""
    folder = tmp_path_factory.mktemp("compared")
    model = small_net()
    for variable in model.weights:
        variable.assign(np.ones(variable.shape))
    model.save(folder / "dense.keras")
    kernel = np.ones((64, 12))
    kernel[:, 6:] = 0
    model.get_layer("hidden").kernel.assign(kernel)
    model.save(folder / "pruned.keras")
    write_sparse_checkpoint(model, ["hidden"], folder / "sparse.npz")
    layers = keras.layers
    narrow = [
        keras.Input((8, 8, 1)),
        layers.Flatten(name="flatten"),
        layers.Dense(6, activation="relu", name="hidden", kernel_initializer="ones"),
    ]
    scores = layers.Dense(4, name="scores", kernel_initializer="ones")
    keras.Sequential([*narrow, scores]).save(folder / "narrow.keras")
    between = layers.Dense(6, name="between", kernel_initializer="ones")
    keras.Sequential([*narrow, between, scores]).save(folder / "longer.keras")
    return folder


def rows_of(comparison):
    json.dumps(comparison, allow_nan=False)
    return {row["layer"]: (row["before"], row["after"]) for row in comparison["layers"]}


def counts(parameters, zeros, macs, macs_nonzero, size):
    return {
        "parameters": parameters,
        "zeros": zeros,
        "nonzeros": parameters - zeros,
        "macs": macs,
        "macs_nonzero": macs_nonzero,
        "bytes": size,
    }


def test_a_pruned_model(files):
    found = inspect(files / "dense.keras", files / "pruned.keras")
    assert found["kind"] == "comparison"
    assert found["before"] == inspect(files / "dense.keras")
    assert found["after"] == inspect(files / "pruned.keras")
    assert rows_of(found) == {
        "hidden": (counts(780, 0, 768, 768, 3120), counts(780, 384, 768, 384, 3120)),
        "scores": (counts(52, 0, 48, 48, 208), counts(52, 0, 48, 48, 208)),
    }
    totals, size = found["totals"], (files / "dense.keras").stat().st_size
    assert totals["before"] == counts(832, 0, 816, 816, 3328) | {"file_bytes": size}
    assert totals["ratio"]["parameters"] == totals["ratio"]["macs"] == 1
    assert totals["ratio"]["nonzeros"] == 832 / 448
    assert totals["ratio"]["macs_nonzero"] == 816 / 432
    assert totals["ratio"]["zeros"] == 0
    assert (
        inspect(files / "pruned.keras", files / "dense.keras")["totals"]["ratio"]["zeros"] is None
    )


def test_a_shrunk_model(files):
    found = inspect(files / "pruned.keras", files / "narrow.keras")
    _, after = rows_of(found)["hidden"]
    assert after == counts(390, 6, 384, 384, 1560)
    assert rows_of(found)["scores"][1] == counts(28, 4, 24, 24, 112)
    assert found["totals"]["ratio"]["macs"] == 2
    assert found["totals"]["ratio"]["bytes"] == 832 / 418


def test_a_sparse_checkpoint(files):
    found = inspect(files / "dense.keras", files / "sparse.npz")
    assert (found["before"]["kind"], found["after"]["kind"]) == ("dense", "sparse")
    before, after = rows_of(found)["hidden"]
    assert after == before | {
        "zeros": 384,
        "nonzeros": 396,
        "macs_nonzero": 384,
        "bytes": 24 * 384 + 4 * 12,
    }
    ratio = found["totals"]["ratio"]["file_bytes"]
    sizes = [(files / name).stat().st_size for name in ("dense.keras", "sparse.npz")]
    assert ratio == sizes[0] / sizes[1]


def test_a_layer_that_only_one_of_them_has(files):
    longer = rows_of(inspect(files / "narrow.keras", files / "longer.keras"))
    assert list(longer) == ["hidden", "between", "scores"]
    assert longer["between"] == (None, counts(42, 6, 36, 36, 168))
    shorter = rows_of(inspect(files / "longer.keras", files / "narrow.keras"))
    assert list(shorter) == ["hidden", "between", "scores"]
    assert shorter["between"] == (counts(42, 6, 36, 36, 168), None)
    text = compressor("inspect", files / "narrow.keras", files / "longer.keras").stdout
    (line,) = (line for line in text.splitlines() if line.startswith("between"))
    assert re.split(r"\s{2,}", line)[1:4] == ["– -> 42", "– -> 36", "– -> 36"]


def test_sizes_that_are_not_fixed(keras, files, tmp_path):
    words = keras.Input((None, 3))
    keras.Model(words, keras.layers.LSTM(4, name="memory")(words)).save(tmp_path / "open.keras")
    found = inspect(files / "dense.keras", tmp_path / "open.keras")
    assert rows_of(found)["memory"][1]["macs"] is None
    assert found["totals"]["after"]["macs"] is found["totals"]["ratio"]["macs"] is None
    assert found["totals"]["ratio"]["parameters"] == 832 / 128


@pytest.mark.slow
def test_the_command(files):
    paths = files / "dense.keras", files / "pruned.keras"
    assert compressor("inspect", *paths, "--json").json() == inspect(*paths)
    lines = compressor("inspect", *paths).stdout.splitlines()
    assert lines[0].startswith(f"before: {paths[0]} (dense, ")
    assert lines[1].startswith(f"after:  {paths[1]} (dense, ")
    found = {row[0]: row[1:] for row in (re.split(r"\s{2,}", line) for line in lines[5:])}
    assert found["hidden"] == ["780", "780 -> 396", "768", "768 -> 384", "3,120"]
    assert found["scores"] == ["52", "52", "48", "48", "208"]
    assert found["total"] == ["832", "832 -> 448", "816", "816 -> 432", "3,328"]
    assert found["ratio"] == ["1.00x", "1.86x", "1.00x", "1.89x", "1.00x"]
    assert lines[-1].startswith("bytes of the file: ")


@pytest.mark.slow
def test_the_tables_of_the_paper_s_cnn_are_not_wide(tmp_path):
    model = paper_cnn()
    model.save(tmp_path / "a.keras")
    for name in ("fc1", "fc2"):
        kernel = model.get_layer(name).kernel
        values = kernel.numpy()
        values[np.abs(values) < 0.16] = 0
        kernel.assign(values)
    write_sparse_checkpoint(model, ["fc1", "fc2"], tmp_path / "b.npz")
    for paths in ([tmp_path / "a.keras"], [tmp_path / "b.npz"], sorted(tmp_path.iterdir())):
        lines = compressor("inspect", *paths).stdout.replace(str(tmp_path), "").splitlines()
        assert max(map(len, lines)) <= 110


def test_what_cannot_be_compared(files, rejected, tmp_path):
    run, file = tmp_path / "run", files / "dense.keras"
    (run / "step_1").mkdir(parents=True)
    assert "a whole run cannot be compared" in rejected(UsageError, inspect, run, file)
    (run / "step_1" / "record.json").write_text("{}")
    (run / "step_1" / "model.keras").write_bytes(file.read_bytes())
    assert "step_1" in rejected(UsageError, inspect, file, run).partition(";")[2]
    assert "a whole run" in compressor("inspect", run, run).refusal()
    assert rejected(CheckpointError, inspect, file, tmp_path / "none")
