"""shrink: a smaller file that computes the same, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor, files

from compressor.foundation import quiet_tensorflow


def _kill(layer: Any, units: list[int], bias: float = 0.0) -> None:
    kernel, biases = layer.get_weights()
    kernel[..., units], biases[units] = 0, bias
    layer.set_weights([kernel, biases])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CNN with a BatchNormalization, in which 3 of 8 filters and 7 of 20 units are dead."""
    _, keras = quiet_tensorflow.load()
    layers = keras.layers
    keras.utils.set_random_seed(1)
    generator = np.random.default_rng(1)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, name="first"),
            layers.BatchNormalization(name="normal"),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(name="flat"),
            layers.Dense(20, activation="relu", name="second"),
            layers.Dense(4, name="scores"),
        ],
        name="net",
    )
    normal = network.get_layer("normal")
    normal.set_weights([generator.uniform(0.5, 1.5, 8).astype("float32") for _ in range(4)])
    for layer in ("first", "second"):
        kernel, bias = network.get_layer(layer).get_weights()
        bias = generator.normal(0, 0.3, bias.shape)
        network.get_layer(layer).set_weights([kernel, bias])
    _kill(network.get_layer("first"), [0, 3, 7])
    _kill(network.get_layer("second"), [0, 1, 2, 3, 4, 18, 19], bias=0.5)
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    path = tmp_path_factory.mktemp("own") / "net.keras"
    network.save(path)
    return path


def _same_function(first: Path, second: Path) -> None:
    _, keras = quiet_tensorflow.load()
    before, after = (keras.saving.load_model(path, compile=False) for path in (first, second))
    x = np.random.default_rng(4).random((64, 8, 8, 1), np.float32)
    expected = before.predict_on_batch(x)
    difference = np.abs(after.predict_on_batch(x) - expected).max()
    assert difference <= 1e-5 * np.abs(expected).max()


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    _, keras = quiet_tensorflow.load()
    network = keras.saving.load_model(path, compile=False)
    return {la.name: tuple(la.kernel.shape) for la in network.layers if hasattr(la, "kernel")}


def test_what_is_dead_goes_and_the_function_stays(model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.keras"
    record = compressor("shrink", model, "-o", small, "--json").json()

    _same_function(model, small)
    assert _shapes(small) == {"first": (3, 3, 1, 5), "second": (45, 13), "scores": (13, 4)}
    assert record["removed"] == {"first": 3, "second": 7}
    assert record["folded"] == ["normal"]
    assert record["difference"] <= 1e-5 and record["output"] == str(small)
    assert small.stat().st_size < model.stat().st_size
    assert "accuracy" not in record and record["checked_on"] == "random inputs"
    _, keras = quiet_tensorflow.load()
    assert "normal" not in [layer.name for layer in keras.saving.load_model(small).layers]


@pytest.mark.slow
def test_the_compiled_loss_stays(model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.keras"
    assert compressor("shrink", model, "-o", small).code == 0
    _, keras = quiet_tensorflow.load()
    network = keras.saving.load_model(small, compile=True)

    assert network.loss.name == "sparse_categorical_crossentropy" and network.loss.from_logits
    x = np.random.default_rng(4).random((64, 8, 8, 1), np.float32)
    network.fit(x, np.arange(64) % 4, verbose=0)


@pytest.mark.slow
def test_widths_are_rounded(model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.keras"
    record = compressor("shrink", model, "-o", small, "--round-to", "8", "--json").json()

    _same_function(model, small)
    shapes = _shapes(small)
    assert shapes["second"][-1] == 16 and shapes["first"][-1] == 8
    assert record["removed"] == {"second": 4}


@pytest.mark.slow
def test_batch_normalization_can_stay(model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.keras"
    words = ["shrink", model, "-o", small, "--no-fold-batchnorm", "--json"]
    record = compressor(*words).json()

    _same_function(model, small)
    assert record["folded"] == []
    _, keras = quiet_tensorflow.load()
    network = keras.saving.load_model(small, compile=False)
    assert network.get_layer("normal").gamma.shape == network.get_layer("first").bias.shape


@pytest.mark.slow
def test_accuracy_before_and_after_on_data(model: Path, quadrants: Path, tmp_path: Path) -> None:
    outcome = compressor("shrink", model, "-o", tmp_path / "small.keras", "--data", quadrants)

    assert outcome.code == 0, outcome.stderr
    assert "checked on 50 validation examples" in outcome.stdout
    assert "units removed: first 3, second 7" in outcome.stdout
    assert "BatchNormalization folded: normal" in outcome.stdout
    line = next(line for line in outcome.stdout.splitlines() if line.startswith("accuracy: "))
    evaluated = compressor("evaluate", model, "--data", quadrants, "--json").json()
    told = f"{100 * evaluated['accuracy']:.2f}"
    assert line == f"accuracy: {told} % before, {told} % after"


def test_a_file_that_is_there_is_kept_without_force(model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.keras"
    small.write_text("precious")

    refusal = compressor("shrink", model, "-o", small).refusal()

    assert f"there already: {small}" in refusal and "--force" in refusal
    assert small.read_text() == "precious"
    assert compressor("shrink", model, "-o", small, "--force").code == 0
    _same_function(model, small)


@pytest.mark.slow
def test_the_default_name_is_beside_the_model(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "net.keras"
    copy.write_bytes(model.read_bytes())

    outcome = compressor("shrink", copy)

    assert outcome.code == 0, outcome.stderr
    assert files(tmp_path).keys() == {"net.keras", "net-shrunk.keras"}
    assert copy.read_bytes() == model.read_bytes()
    assert outcome.stdout.splitlines()[-1] == f"written to: {tmp_path / 'net-shrunk.keras'}"


@pytest.mark.slow
def test_a_run_directory(model: Path, quadrants: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pruned = compressor(
        *("prune", model, "-o", run, "--data", quadrants, "--max-steps", 3),
        *("--sparsity", 0.98, "--json"),
    )
    accuracy = pruned.json()["step_2_2"]["accuracy"]
    before = files(run)

    record = compressor("shrink", run, "--data", quadrants, "--json").json()

    assert record["output"] == str(run / "shrunk.keras")
    assert record["accuracy"] == {"before": accuracy, "after": accuracy}
    assert sum(record["removed"].values()) > 0
    _same_function(run / "step_2_2" / "model.keras", run / "shrunk.keras")
    assert {name: digest for name, digest in files(run).items() if name in before} == before
    # The run goes on as before: its files are those it knows.
    again = compressor(
        *("prune", model, "-o", run, "--data", quadrants, "--max-steps", 3),
        *("--sparsity", 0.98, "--json"),
    )
    assert again.json() == pruned.json()


@pytest.mark.slow
def test_the_folder_of_a_step_needs_a_name(model: Path, quadrants: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["prune", model, "-o", run, "--data", quadrants, "--no-retrain"]
    assert compressor(*words).code == 0

    assert "name a file with -o" in compressor("shrink", run / "step_2_1").refusal()

    small = tmp_path / "small.keras"
    assert compressor("shrink", run / "step_2_1", "-o", small).code == 0
    _same_function(run / "step_2_1" / "model.keras", small)


@pytest.mark.slow
def test_the_comparison_is_part_of_the_json(model: Path, tmp_path: Path) -> None:
    record = compressor("shrink", model, "-o", tmp_path / "s.keras", "--json").json()

    assert record["comparison"]
    assert json.dumps(record)
