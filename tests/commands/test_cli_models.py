"""prune, sparsify and inspect on a model that is not the paper's CNN."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Outcome, compressor, files

from compressor.foundation import quiet_tensorflow
from compressor.pruning.magnitude import kept_weights

WEIGHTS = {"first": 3 * 3 * 6, "second": 96 * 16, "scores": 16 * 4}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with names of its own, batch normalisation and a softmax; untrained."""
    _, keras = quiet_tensorflow.load()
    layers = keras.layers
    keras.utils.set_random_seed(1)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(6, 3, strides=2, padding="same", name="first"),
            layers.BatchNormalization(momentum=0.5, name="normal"),
            layers.ReLU(name="relu"),
            layers.Flatten(name="flat"),
            layers.Dense(16, activation="relu", name="second"),
            layers.Dense(4, activation="softmax", name="scores"),
        ]
    )
    path = tmp_path_factory.mktemp("own") / "net.keras"
    network.save(path)
    return path


@pytest.fixture(scope="module")
def pruned(model: Path, quadrants: Path) -> Outcome:
    """The model pruned with no output named: net-pruned beside it."""
    return compressor(
        *("prune", model, "--data", quadrants, "--sparsity", "0.8", "--max-steps", "60"),
        *("--batch-size", "32", "--learning-rate", "0.01", "--json"),
    )


def _nonzeros(folder: Path) -> dict[str, int]:
    rows = compressor("inspect", folder, "--json").json()["layers"]
    return {r["layer"]: r["parameters"] - r["zeros"] for r in rows if r["variable"] == "kernel"}


def test_prune_takes_all_layers_and_retrains(model: Path, pruned: Outcome) -> None:
    records = pruned.json()

    kept = {row["layer"]: row["kept"] for row in records["step_2_1"]["layers"]}
    assert kept == {name: kept_weights(weights, 0.8) for name, weights in WEIGHTS.items()}
    assert _nonzeros(model.with_name("net-pruned") / "step_2_2") == kept
    assert records["step_2_2"]["accuracy"] > 0.9 > records["step_2_1"]["accuracy"]
    assert pruned.stderr.splitlines()[-1] == f"written to: {model.with_name('net-pruned')}"


def test_the_model_itself_is_left_alone(model: Path, pruned: Outcome) -> None:
    assert pruned.code == 0
    assert all(_nonzeros(model).values())


def test_a_model_that_stock_keras_loads(model: Path, pruned: Outcome, quadrants: Path) -> None:
    _, keras = quiet_tensorflow.load()
    network = keras.saving.load_model(
        model.with_name("net-pruned") / "step_2_2" / "model.keras", compile=False
    )
    with np.load(quadrants / "d.npz") as data:
        scores = network.predict_on_batch(data["x_test"][..., None].astype("float32") / 255)
        accuracy = float(np.mean(scores.argmax(-1) == data["y_test"]))

    assert accuracy == pytest.approx(pruned.json()["step_2_2"]["accuracy"])


@pytest.mark.slow
def test_layers_by_name_leave_the_others(model: Path, quadrants: Path, tmp_path: Path) -> None:
    outcome = compressor(
        *("prune", model, "-o", tmp_path / "out", "--data", quadrants, "--layers", "second"),
        *("--sparsity", "0.5", "--no-retrain"),
    )

    assert outcome.code == 0, outcome.stderr
    assert not (tmp_path / "out" / "step_2_2").exists()
    assert _nonzeros(tmp_path / "out" / "step_2_1") == WEIGHTS | {
        "second": kept_weights(WEIGHTS["second"], 0.5)
    }


def test_sparsify_the_pruned_run(model: Path, pruned: Outcome, quadrants: Path) -> None:
    run = model.with_name("net-pruned")

    outcome = compressor("sparsify", run, "--data", quadrants)

    assert outcome.code == 0, outcome.stderr
    record = json.loads((run / "step_3" / "record.json").read_text())["result"]
    assert record["accuracy"] == pruned.json()["step_2_2"]["accuracy"]
    assert record["bytes"] == (run / "step_3" / "sparse.npz").stat().st_size
    assert f"{record['encodings']['coo-paper']:,}" in outcome.stdout
    kept = sum(kept_weights(weights, 0.8) for weights in WEIGHTS.values())
    dense = 6 + 4 * 6 + 16 + 4
    assert record["encodings"]["coo-paper"] == 24 * kept + 4 * dense


@pytest.mark.slow
def test_sparsify_one_file_beside_itself(model: Path, pruned: Outcome, quadrants: Path) -> None:
    source = model.with_name("net-pruned") / "step_2_2" / "model.keras"
    copy = model.with_name("copy.keras")
    copy.write_bytes(source.read_bytes())

    outcome = compressor("sparsify", copy, "--data", quadrants, "--json")

    # Without masks beside it, the layers with zeros are those that were pruned.
    assert outcome.json()["step_3"]["accuracy"] == pruned.json()["step_2_2"]["accuracy"]
    assert (model.with_name("copy-sparse") / "step_3" / "sparse.npz").is_file()


def test_sparsify_refuses_a_dense_model(model: Path, quadrants: Path, tmp_path: Path) -> None:
    outcome = compressor("sparsify", model, "-o", tmp_path / "out", "--data", quadrants)

    assert "nothing to sparsify" in outcome.refusal(after_stages=True)
    assert not (tmp_path / "out").exists()


def test_an_unknown_layer_is_answered_with_near_names(
    model: Path, quadrants: Path, tmp_path: Path
) -> None:
    outcome = compressor(
        *("prune", model, "-o", tmp_path / "out", "--data", quadrants, "--layers", "secnd")
    )

    assert "secnd; did you mean second" in outcome.refusal(after_stages=True)
    assert not any((tmp_path / "out").rglob("step_*"))


def test_a_layer_that_cannot_be_pruned(model: Path, quadrants: Path, tmp_path: Path) -> None:
    outcome = compressor(
        *("prune", model, "-o", tmp_path / "out", "--data", quadrants, "--layers", "normal")
    )

    assert "normal (BatchNormalization)" in outcome.refusal(after_stages=True)


def test_inspect_a_model_in_text(model: Path, pruned: Outcome) -> None:
    folder = model.with_name("net-pruned") / "step_2_2"
    outcome = compressor("inspect", folder)

    text = outcome.stdout
    assert text.splitlines()[0].startswith(f"{folder / 'model.keras'}: dense, ")
    row = next(line for line in text.splitlines() if line.startswith("second/kernel")).split()
    assert row[:4] == ["second/kernel", "96", "x", "16"]
    zeros = WEIGHTS["second"] - kept_weights(WEIGHTS["second"], 0.8)
    assert f"{zeros:,}" in row
    thresholds = {
        layer["layer"]: layer["threshold"] for layer in pruned.json()["step_2_1"]["layers"]
    }
    assert f"{thresholds['second']:.5f}"[:6] in " ".join(row)


@pytest.mark.slow
def test_inspect_a_run(model: Path, pruned: Outcome) -> None:
    run = model.with_name("net-pruned")
    described = compressor("inspect", run, "--json").json()

    assert described["kind"] == "run"
    assert {"step_2_1", "step_2_2"} <= set(described["steps"])
    assert "scores/kernel" in compressor("inspect", run).stdout


@pytest.mark.parametrize("name", ["net.keras", "empty", "text.keras", "nothing"])
def test_inspect_refuses_what_is_no_model(model: Path, name: str, tmp_path: Path) -> None:
    (tmp_path / "net.keras").write_bytes(model.read_bytes()[:5000])
    (tmp_path / "text.keras").write_text("no model")
    (tmp_path / "empty").mkdir()
    before = files(tmp_path)

    assert str(tmp_path / name) in compressor("inspect", tmp_path / name).refusal()
    assert files(tmp_path) == before


def test_data_that_does_not_fit_the_model(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "wide.npz"
    images = np.zeros((40, 9, 9), np.uint8)
    labels = np.arange(40, dtype=np.uint8) % 4
    np.savez(data, x_train=images, y_train=labels, x_test=images, y_test=labels)

    for words in (["prune", model, "-o", tmp_path / "out"], ["evaluate", model]):
        refusal = compressor(*words, "--data", data).refusal(after_stages=True)
        assert "(9, 9)" in refusal
        assert "(8, 8, 1)" in refusal


def test_a_named_output_that_holds_other_files(
    model: Path, quadrants: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")

    outcome = compressor("prune", model, "-o", tmp_path, "--data", quadrants, "--force")

    assert "thesis.tex" in outcome.refusal()
    assert files(tmp_path).keys() == {"thesis.tex"}


@pytest.mark.slow
def test_pruning_again_is_refused_or_forced(model: Path, quadrants: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["prune", model, "-o", out, "--data", quadrants, "--no-retrain"]
    assert compressor(*words).code == 0
    before: Any = files(out)

    refusal = compressor(*words, "--sparsity", "0.5").refusal(after_stages=True)

    assert "sparsity was 0.9, is now 0.5" in refusal
    assert files(out) == before
    assert compressor(*words, "--sparsity", "0.5", "--force").code == 0
    assert _nonzeros(out / "step_2_1")["second"] == kept_weights(WEIGHTS["second"], 0.5)
