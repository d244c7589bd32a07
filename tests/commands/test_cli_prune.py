"""Each option of prune, by what it changes in the files, the records and the text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Outcome, compressor

from compressor.foundation import quiet_tensorflow
from compressor.models.files import load_model
from compressor.pruning.magnitude import kept_weights

SIZES = {"first": 3 * 3 * 8, "second": 3 * 3 * 8 * 8, "third": 128 * 16, "scores": 16 * 4}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained CNN with names of its own, compiled with a loss."""
    _, keras = quiet_tensorflow.load()
    layers = keras.layers
    keras.utils.set_random_seed(1)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="first"),
            layers.Conv2D(8, 3, padding="same", activation="relu", name="second"),
            layers.Flatten(name="flat"),
            layers.Dense(16, activation="relu", name="third"),
            layers.Dense(4, activation="softmax", name="scores"),
        ]
    )
    network.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    path = tmp_path_factory.mktemp("own") / "net.keras"
    network.save(path)
    return path


Prune = Callable[..., Outcome]


@pytest.fixture
def prune(model: Path, quadrants: Path, tmp_path: Path) -> Prune:
    def run(*words: object, steps: int | None = 4) -> Outcome:
        length = () if steps is None else ("--max-steps", steps)
        return compressor(
            *("prune", model, "-o", tmp_path / "out", "--data", quadrants),
            *("--batch-size", 32, "--learning-rate", 0.01, *length, *words),
        )

    return run


def _kept(record: dict[str, Any]) -> dict[str, int]:
    return {row["layer"]: row["kept"] for row in record["layers"]}


def _kernel(folder: Path, layer: str) -> np.ndarray:
    return np.asarray(load_model(folder / "model.keras").get_layer(layer).kernel.numpy())


@pytest.mark.slow
def test_every_layer_loses_nine_tenths_by_default(prune: Prune, tmp_path: Path) -> None:
    records = prune("--json").json()

    assert list(records) == ["dense", "step_2_1", "step_2_2"]
    assert _kept(records["step_2_1"]) == {n: kept_weights(s, 0.9) for n, s in SIZES.items()}
    for layer, size in SIZES.items():
        kernel = _kernel(tmp_path / "out" / "step_2_2", layer)
        assert np.count_nonzero(kernel) == kept_weights(size, 0.9)


@pytest.mark.slow
def test_what_it_was_before_and_the_objective_are_said(
    prune: Prune, model: Path, quadrants: Path
) -> None:
    outcome = prune()
    evaluated = compressor("evaluate", model, "--data", quadrants, "--json").json()

    assert outcome.code == 0, outcome.stderr
    before = outcome.stdout.splitlines()[0]
    assert before.startswith(f"dense: accuracy {100 * evaluated['accuracy']:.2f} % on the test")
    assert outcome.stdout.count("loss categorical_crossentropy on probabilities (compiled)") == 2


@pytest.mark.slow
def test_a_sparsity_for_each_layer(prune: Prune) -> None:
    outcome = prune("--sparsity", "third=0.95, second=0.5", "--json")

    assert _kept(outcome.json()["step_2_1"]) == {
        "second": kept_weights(SIZES["second"], 0.5),
        "third": kept_weights(SIZES["third"], 0.95),
    }


def test_one_threshold_over_all_layers(prune: Prune) -> None:
    record = prune("--global", "--sparsity", "0.8", "--no-retrain", "--json").json()["step_2_1"]

    assert sum(_kept(record).values()) == kept_weights(sum(SIZES.values()), 0.8)
    assert len({row["threshold"] for row in record["layers"]}) == 1
    assert _kept(record) != {n: kept_weights(s, 0.8) for n, s in SIZES.items()}


@pytest.mark.slow
def test_n_of_m(prune: Prune, tmp_path: Path) -> None:
    outcome = prune("--granularity", "2:4")

    assert outcome.code == 0, outcome.stderr
    assert "\nstep_2_1: 50 % pruned, " in outcome.stdout
    assert "left alone: first: its 1 inputs do not divide into groups of 4" in outcome.stdout
    kernel = _kernel(tmp_path / "out" / "step_2_2", "second")
    rows = np.moveaxis(kernel, -1, 0).reshape(-1, 4)
    assert (np.count_nonzero(rows, axis=1) == 2).all()


@pytest.mark.slow
def test_blocks(prune: Prune, tmp_path: Path) -> None:
    record = prune("--granularity", "1x4", "--sparsity", "0.75", "--json").json()["step_2_1"]

    assert _kept(record) == {"second": 576 // 4, "third": 2048 // 4, "scores": 64 // 4}
    blocks = _kernel(tmp_path / "out" / "step_2_2", "third").T.reshape(-1, 4)
    assert set(np.count_nonzero(blocks, axis=1)) == {0, 4}


@pytest.mark.slow
def test_channels(prune: Prune, tmp_path: Path) -> None:
    outcome = prune("--granularity", "channel", "--sparsity", "0.5")

    assert outcome.code == 0, outcome.stderr
    table = [line.split() for line in outcome.stdout.splitlines()]
    assert ["layer", "weights", "kept", "units", "kept", "threshold"] in table
    row = next(line for line in table if line[:1] == ["third"])
    assert row[1:5] == ["2,048", "512", "16", "8"]
    assert "left alone: scores: " in outcome.stdout
    assert _kernel(tmp_path / "out" / "step_2_2", "third").shape == (64, 8)
    assert _kernel(tmp_path / "out" / "step_2_2", "third").all()


def test_a_named_output_has_no_channels_to_lose(prune: Prune, tmp_path: Path) -> None:
    outcome = prune("--granularity", "channel", "--layers", "scores")

    assert "cannot be pruned as channel: scores: " in outcome.refusal(after_stages=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_taylor_on_as_many_images_as_asked(prune: Prune, tmp_path: Path) -> None:
    first = prune("--criterion", "taylor", "--calibration", 50, "--no-retrain", "--json").json()
    masks = [_kernel(tmp_path / "out" / "step_2_1", "third") != 0]
    assert _kept(first["step_2_1"])["third"] == kept_weights(SIZES["third"], 0.9)
    record = json.loads((tmp_path / "out" / "step_2_1" / "record.json").read_text())
    assert (record["config"]["criterion"], record["config"]["calibration"]) == ("taylor", 50)
    for words in (["--criterion", "taylor", "--calibration", 500], ["--criterion", "magnitude"]):
        assert prune(*words, "--no-retrain", "--force").code == 0
        masks.append(_kernel(tmp_path / "out" / "step_2_1", "third") != 0)

    assert (masks[0] != masks[1]).any() and (masks[1] != masks[2]).any()


@pytest.mark.slow
def test_an_installed_criterion(
    prune: Prune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site"
    info = package / "scores_by_input-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "scores_by_input.py").write_text(
        "import numpy\nfrom compressor import Criterion\n"
        "def score(weights, gradients):\n"
        "    inputs = numpy.arange(weights.shape[-2])[:, None]\n"
        "    return numpy.broadcast_to(inputs, weights.shape)\n"
        "CRITERION = Criterion('by-input', score)\n"
    )
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scores-by-input\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[compressor.criteria]\nby-input = scores_by_input:CRITERION\n"
    )
    monkeypatch.syspath_prepend(package)

    outcome = prune("--criterion", "by-input", "--sparsity", "0.5", "--no-retrain")

    assert outcome.code == 0, outcome.stderr
    kernel = _kernel(tmp_path / "out" / "step_2_1", "third")
    assert not kernel[:64].any() and kernel[65:].all()


def test_gradual_pruning(prune: Prune, tmp_path: Path) -> None:
    outcome = prune("--pruning-schedule", "gradual", "--ramp", "0.5", steps=10)

    assert outcome.code == 0, outcome.stderr
    assert not (tmp_path / "out" / "step_2_1").exists()
    record = json.loads((tmp_path / "out" / "step_2_2" / "record.json").read_text())
    assert (record["config"]["pruning_schedule"], record["config"]["ramp"]) == ("gradual", 0.5)
    kept = {n: kept_weights(s, 0.9) for n, s in SIZES.items()}
    assert _kept(record["result"]["pruning"]) == kept
    assert f"{kept['third']:,}" in outcome.stdout and "90 % pruned" in outcome.stdout
    assert all(row["threshold"] >= 0 for row in record["result"]["pruning"]["layers"])
    kernel = _kernel(tmp_path / "out" / "step_2_2", "third")
    assert np.count_nonzero(kernel) == kept["third"]


@pytest.mark.slow
def test_iterative_pruning_in_rounds(prune: Prune, tmp_path: Path) -> None:
    words = ["--pruning-schedule", "iterative", "--rounds", "2", "--sparsity", "0.75", "--json"]
    records = prune(*words).json()

    assert list(records) == [
        *("dense", "round-1/step_2_1", "round-1/step_2_2", "step_2_1", "step_2_2"),
    ]
    assert _kept(records["round-1/step_2_1"])["third"] == kept_weights(SIZES["third"], 0.5)
    assert _kept(records["step_2_1"])["third"] == kept_weights(SIZES["third"], 0.75)
    assert prune(*words).json() == records


@pytest.mark.slow
def test_the_length_in_epochs(prune: Prune) -> None:
    records = prune("--epochs", "0.5", "--json", steps=None).json()

    # 600 images, 50 of them set aside; half of the rest in batches of 32.
    assert records["step_2_2"]["training"]["steps"] == round(0.5 * 550 / 32)


@pytest.mark.slow
def test_rewinding_and_distilling(prune: Prune) -> None:
    records = prune(
        *("--rewind", "--distill", "--distill-weight", "0.4", "--temperature", "2", "--json")
    ).json()

    trained = records["step_2_2"]["training"]
    assert trained["rewind"] == 4
    assert trained["distillation"] == {"weight": 0.4, "temperature": 2.0}
    assert trained["learning_rate"] == 0.01
    plain = prune("--json", "--force").json()["step_2_2"]["training"]
    assert not {"rewind", "distillation"} & plain.keys()


def test_a_layer_that_is_pruned_away_is_said(prune: Prune) -> None:
    outcome = prune("--sparsity", "0.99", "--layers", "first,third", "--no-retrain")

    assert outcome.code == 0, outcome.stderr
    assert "warning: all weights of layer first were pruned away" in outcome.stdout
    assert outcome.stdout.count("warning") == 1


@pytest.mark.parametrize("granularity", ["weight", "channel"])
@pytest.mark.parametrize("schedule", ["one-shot", pytest.param("gradual", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_what_is_written_loads_in_stock_keras(
    prune: Prune, quadrants: Path, tmp_path: Path, granularity: str, schedule: str
) -> None:
    words = ["--granularity", granularity, "--pruning-schedule", schedule, "--distill", "--rewind"]
    records = prune(*words, "--sparsity", "0.5", "--json").json()
    _, keras = quiet_tensorflow.load()
    network = keras.saving.load_model(tmp_path / "out" / "step_2_2" / "model.keras", compile=True)
    with np.load(quadrants / "d.npz") as data:
        x, y = data["x_test"][..., None].astype("float32") / 255, data["y_test"]

    assert network.loss == "categorical_crossentropy"
    found = network.evaluate(x, np.eye(4)[y], verbose=0, return_dict=True)
    assert found["accuracy"] == pytest.approx(records["step_2_2"]["accuracy"])


@pytest.mark.slow
def test_reconstruct_says_how_well_it_did_by_layer(prune, tmp_path):
    words = ("--criterion", "reconstruct", "--calibration", 40, "--no-retrain", "--sparsity", 0.5)
    text = prune(*words).stdout
    heading = next(line for line in text.splitlines() if "rows" in line)
    assert heading.split() == ["layer", "magnitude", "error", "rows", "s", "MiB"]
    assert not (tmp_path / "out" / "step_2_2").exists()
    record = json.loads(prune(*words, "--json").stdout)["step_2_1"]
    assert _kept(record) == {name: kept_weights(size, 0.5) for name, size in SIZES.items()}
    for report in record["reconstruction"].values():
        assert report["error"] <= report["magnitude_error"]
    kernel = load_model(tmp_path / "out" / "step_2_1" / "model.keras").get_layer("third").kernel
    assert np.count_nonzero(kernel) == record["layers"][2]["kept"]
