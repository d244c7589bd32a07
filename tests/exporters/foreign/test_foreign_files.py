"""The same models as files, by the command line: prune, shrink, evaluate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor

from compressor.data import Dataset
from compressor.foundation import quiet_tensorflow


def write(path: Path, data: Dataset) -> Path:
    arrays: dict[str, Any] = {"y_train": data.y_train, "y_test": data.y_test}
    for part, x in (("x_train", data.x_train), ("x_test", data.x_test)):
        if isinstance(x, np.ndarray):
            arrays[part] = x
        else:
            arrays |= {f"{part}/{name}": array for name, array in x.items()}
    np.savez(path, **arrays)
    return path


def stock_accuracy(path: Path, data: Dataset) -> float:
    """With Keras alone, and inputs scaled as the models were trained."""
    _, keras = quiet_tensorflow.load()
    model = keras.saving.load_model(path, compile=False)
    x = data.x_test
    if isinstance(x, np.ndarray):
        fed: Any = x.reshape(-1, *model.inputs[0].shape[1:]).astype("float32") / 255
    else:
        fed = [x[name][..., None].astype("float32") / 255 for name in ("upper", "lower")]
    scores = np.asarray(model.predict(fed, verbose=0))
    return float((scores.argmax(axis=1) == data.y_test).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "granularity"), [("residual", "channel"), ("two inputs", "weight")]
)
def test_prune_shrink_and_evaluate(
    foreign: Callable, tmp_path: Path, name: str, granularity: str
) -> None:
    given = foreign(name)
    data, run = write(tmp_path / "data.npz", given.data), tmp_path / "run"

    records = compressor(
        *("prune", given.path, "-o", run, "--data", data, "--granularity", granularity),
        *("--sparsity", 0.5, "--max-steps", 80, "--batch-size", 32),
        *("--learning-rate", 0.03, "--json"),
    ).json()

    retrained = records["step_2_2"]
    assert retrained["accuracy"] > given.accuracy - 0.1
    assert retrained["accuracy"] == stock_accuracy(run / "step_2_2" / "model.keras", given.data)
    small = tmp_path / "small.keras"
    shrunk = compressor("shrink", run, "-o", small, "--data", data, "--json").json()
    assert shrunk["difference"] <= 1e-5
    assert shrunk["accuracy"] == {
        "before": retrained["accuracy"],
        "after": retrained["accuracy"],
    }
    evaluated = compressor(*("evaluate", small, "--data", data, "--max-steps", 1, "--json")).json()
    assert evaluated["accuracy"] == stock_accuracy(small, given.data) == retrained["accuracy"]
    if granularity == "channel":
        _, keras = quiet_tensorflow.load()
        narrow = keras.saving.load_model(small, compile=False)
        assert narrow.count_params() < 0.6 * given.model.count_params()


@pytest.mark.slow
def test_inputs_by_wrong_names_are_refused(foreign: Callable, tmp_path: Path) -> None:
    given = foreign("two inputs")
    renamed = Dataset.from_arrays(
        "renamed",
        {"uper": given.data.x_train["upper"], "lower": given.data.x_train["lower"]},
        given.data.y_train,
        {"uper": given.data.x_test["upper"], "lower": given.data.x_test["lower"]},
        given.data.y_test,
    )
    data = write(tmp_path / "data.npz", renamed)

    outcome = compressor("prune", given.path, "-o", tmp_path / "run", "--data", data)

    assert "did you mean upper for uper?" in outcome.refusal(after_stages=True)
    assert not (tmp_path / "run").exists()
