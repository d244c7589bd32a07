"""Bad input to prune and shrink: one line, exit code 2, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor, files

from compressor.foundation import quiet_tensorflow


def _network(keras: Any, **options: Any) -> Any:
    layers = keras.layers
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu", name="first"),
            layers.Flatten(name="flat"),
            layers.Dense(8, activation="relu", name="second"),
            layers.Dense(options.get("classes", 4), name="scores"),
        ],
        name="net",
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model files: net, frozen, lambda, three classes, unpooled; not to be written to."""
    _, keras = quiet_tensorflow.load()
    folder = tmp_path_factory.mktemp("models")
    _network(keras).save(folder / "net.keras")
    _network(keras, classes=3).save(folder / "three.keras")
    frozen = _network(keras)
    frozen.trainable = False
    frozen.save(folder / "frozen.keras")
    coded = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Lambda(lambda x: x * 2),
            keras.layers.Dense(4),
        ]
    )
    coded.save(folder / "lambda.keras")
    kernelless = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.AveragePooling2D(4), keras.layers.Flatten()]
    )
    kernelless.save(folder / "kernelless.keras")
    whole = (folder / "net.keras").read_bytes()
    (folder / "cut.keras").write_bytes(whole[: len(whole) // 2])
    (folder / "text.keras").write_text("no model at all")
    (folder / "empty.keras").write_bytes(b"")
    return folder


Refusal = Callable[..., str]


@pytest.fixture
def refusal(models: Path, quadrants: Path, tmp_path: Path) -> Refusal:
    """Prune, and give the one line of the refusal; nothing may have been written."""

    def run(*words: object, model: str = "net", data: Path | None = None) -> str:
        before = files(models)
        line = compressor(
            *("prune", models / f"{model}.keras", "-o", tmp_path / "out"),
            *("--data", data or quadrants, "--max-steps", 2, *words),
        ).refusal(after_stages=True)
        assert not (tmp_path / "out").exists()
        assert files(models) == before
        return line

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sparsity", "1"], "below 1: 1.0"),
        (["--sparsity", "-0.1"], "below 1: -0.1"),
        (["--sparsity", "nan"], "below 1: nan"),
        (["--sparsity", "second=1.5"], "below 1: 1.5"),
        (["--sparsity", "second=-1,scores=0.5"], "below 1: -1.0"),
        (["--sparsity", "1.0", "--granularity", "1x4"], "below 1: 1.0"),
        (["--sparsity", "1.0", "--granularity", "channel"], "below 1: 1.0"),
        (["--sparsity", "2", "--global"], "below 1: 2.0"),
        (["--sparsity", "0.9", "--granularity", "2:4"], "2:4 fixes the sparsity to 0.5: 0.9"),
        (["--sparsity", "much"], "'much' is neither a number nor like fc1=0.95"),
        (["--sparsity", "second=much"], "neither a number nor like"),
        (["--sparsity", "second=0.5,second=0.6"], "does not name each layer once"),
        (["--sparsity", "=0.5"], "does not name each layer once"),
        (["--sparsity", "secnd=0.5"], "secnd; did you mean second?"),
        (["--sparsity", "second=0.5", "--global"], "a global threshold takes one sparsity"),
        (
            ["--sparsity", "second=0.5", "--layers", "scores"],
            "the sparsities name the layers already",
        ),
        (["--layers", "secnd"], "the model has no such layer: secnd; did you mean second?"),
        (["--layers", "w_fc1"], "w_fc1"),
        (["--layers", "flat"], "flat (Flatten); choose from first, second, scores"),
        (["--layers", "second,second"], "layers must be given, and differ"),
        (["--granularity", "3x3"], "unknown granularity: 3x3; choose weight, 1x4"),
        (["--granularity", "1x5", "--layers", "second"], "do not divide into blocks of 5"),
        (["--granularity", "1x1000"], "no layer of the model can be pruned as 1x1000"),
        (["--granularity", "2:4", "--layers", "first"], "first: its 1 inputs do not divide"),
        (["--granularity", "2:4", "--global"], "n:m has no global threshold"),
        (["--criterion", "size"], "size; choose from magnitude, reconstruct, taylor"),
        (["--calibration", "0"], "calibration"),
        (["--pruning-schedule", "often"], "'often' is not one of"),
        (["--pruning-schedule", "gradual", "--no-retrain"], "gradual pruning retrains"),
        (["--pruning-schedule", "iterative", "--no-retrain"], "iterative pruning retrains"),
        (["--pruning-schedule", "gradual", "--ramp", "0"], "above 0 and at most 1: 0.0"),
        (["--pruning-schedule", "gradual", "--ramp", "0.1"], "too few steps for gradual"),
        (["--pruning-schedule", "iterative", "--rounds", "0"], "rounds"),
        (["--pruning-schedule", "iterative", "--rounds", "101"], "between 1 and 100: 101"),
        (["--epochs", "2"], "given twice"),
        (["--rounds", "4"], "--rounds has no effect without --pruning-schedule iterative"),
        (["--ramp", "0.5"], "--ramp has no effect without --pruning-schedule gradual"),
        (["--calibration", "50"], "--calibration has no effect without --criterion taylor"),
        (["--temperature", "2"], "--temperature has no effect without --distill"),
        (["--distill-weight", "0.5"], "--distill-weight has no effect without --distill"),
        (["--rewind", "--no-retrain"], "--rewind has no effect without retraining"),
        (["--distill", "--distill-weight", "0"], "above 0 and at most 1: 0.0"),
        (["--distill", "--temperature", "0"], "between 0.1 and 100: 0.0"),
    ],
)
def test_options_that_cannot_be(refusal: Refusal, words: list[str], said: str) -> None:
    assert said in refusal(*words)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("frozen", "no trainable kernel: all its layers are frozen: net"),
        ("kernelless", "no layer whose kernel can be pruned"),
        ("lambda", "Lambda code, which is never run"),
        ("cut", "cut.keras"),
        ("text", "text.keras"),
        ("empty", "empty.keras"),
        ("nothing", "nothing.keras"),
        ("three", "data 4, model 3"),
    ],
)
def test_models_that_cannot_be_pruned(refusal: Refusal, model: str, said: str) -> None:
    assert said in refusal(model=model)


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_data_of_another_shape(refusal: Refusal, tmp_path: Path, granularity: str) -> None:
    images, labels = np.zeros((40, 9, 9), np.uint8), np.arange(40, dtype=np.uint8) % 4
    wide = tmp_path / "wide.npz"
    np.savez(wide, x_train=images, y_train=labels, x_test=images, y_test=labels)

    line = refusal("--granularity", granularity, data=wide)

    assert "(9, 9)" in line and "(8, 8, 1)" in line


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("lambda", "Lambda"),
        ("cut", "cut.keras"),
        ("text", "text.keras"),
        ("nothing", "nothing"),
    ],
)
def test_models_that_cannot_be_shrunk(models: Path, tmp_path: Path, model: str, said: str) -> None:
    before = files(models)
    line = compressor("shrink", models / f"{model}.keras", "-o", tmp_path / "small.keras").refusal()

    assert said in line
    assert files(models) == before and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--round-to", "0"], "round-to"),
        (["-o", "small.h5"], "the shrunk model is a .keras file: small.h5"),
        (["--data", "nothing.npz"], "nothing.npz"),
    ],
)
def test_shrinkings_that_cannot_be(
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = files(models)

    assert said in compressor("shrink", models / "net.keras", *words).refusal()
    assert files(models) == before and not list(tmp_path.iterdir())


def test_shrinking_to_the_model_itself(models: Path) -> None:
    before = files(models)
    model = models / "net.keras"

    line = compressor("shrink", model, "-o", model, "--force").refusal()

    assert "would replace the model itself" in line
    assert files(models) == before
