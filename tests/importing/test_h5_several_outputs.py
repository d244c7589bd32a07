"""What a legacy HDF5 file of several outputs was compiled with is that of its .keras twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor

from compressor.importing import load_model
from compressor.models import objective_of

LOSSES = {"cls": "sparse_categorical_crossentropy", "box": "mae"}
METRICS = {"cls": ["accuracy"], "box": ["mse"]}


def two_outputs(keras: Any, form: str) -> Any:
    keras.utils.set_random_seed(0)
    entering = keras.Input((4,))
    hidden = keras.layers.Dense(8, "relu")(entering)
    scores = keras.layers.Dense(3, "softmax", name="cls")(hidden)
    model = keras.Model(entering, [scores, keras.layers.Dense(2, name="box")(hidden)])
    given: dict[str, Any] = {"loss": LOSSES, "metrics": METRICS, "loss_weights": WEIGHTS}
    if form == "list":
        given = {what: [*one.values()] for what, one in given.items()}
    elif form == "objects":
        given["loss"] = {"cls": keras.losses.SparseCategoricalCrossentropy(), "box": "huber"}
    elif form == "losses alone":
        given = {"loss": LOSSES}
    model.compile("sgd", **given)
    return model


WEIGHTS = {"cls": 1.0, "box": 5.0}


@pytest.mark.parametrize("form", ["dict", "list", "objects", "losses alone"])
def test_losses_weights_and_metrics_by_output(keras: Any, tmp_path: Path, form: str) -> None:
    model = two_outputs(keras, form)
    paths = [tmp_path / f"m.{kind}" for kind in ("keras", "h5")]
    for path in paths:
        model.save(path)

    new, old = (objective_of(load_model(path)) for path in paths)

    assert old.notes == new.notes == ()
    assert [aim.weight for aim in old.aims] == [aim.weight for aim in new.aims]
    assert [aim.head for aim in old.aims] == [aim.head for aim in new.aims]
    assert [str(getattr(aim.loss, "name", aim.loss)) for aim in old.aims] == [
        str(getattr(aim.loss, "name", aim.loss)) for aim in new.aims
    ]
    assert old.aims[1].head.task == "regression"
    if form != "losses alone":
        assert [aim.weight for aim in old.aims] == [1.0, 5.0]


@pytest.mark.slow
def test_such_a_file_is_pruned(keras: Any, tmp_path: Path) -> None:
    two_outputs(keras, "dict").save(tmp_path / "m.h5")
    x = np.random.default_rng(0).random((80, 4)).astype(np.float32)
    classes, boxes = (x[:, 0] * 3).astype(np.int64), x[:, :2] * 3
    np.savez(tmp_path / "d.npz", **{"x": x, "y/cls": classes, "y/box": boxes})  # type: ignore[arg-type]

    said = compressor(
        *("prune", tmp_path / "m.h5", "--data", tmp_path / "d.npz", "--sparsity", 0.3),
        *("--max-steps", 3, "-o", tmp_path / "run"),
    )

    assert said.code == 0, said.stderr
    assert "box: mae (compiled)" in said.stdout + said.stderr
