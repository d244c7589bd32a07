"""--data and the options that say how it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor
from PIL import Image


@pytest.fixture(scope="module")
def model(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of pictures 6 x 5 in grey, and three classes: how bright the picture is."""
    network = keras.Sequential(
        [keras.Input((6, 5, 1)), keras.layers.Flatten(), keras.layers.Dense(3, name="scores")]
    )
    means = np.full((30, 3), [0.0, 0.5, 1.0], np.float32) / 30
    network.layers[-1].set_weights([means, np.array([0, -0.125, -0.5], np.float32)])
    path = tmp_path_factory.mktemp("model") / "m.keras"
    network.save(path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Dark, grey and light ones in colour, of two sizes."""
    for level, name in enumerate(("a_dark", "b_grey", "c_light")):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(8):
            shade = np.full((12 + number % 2, 10, 3), 20 + 100 * level, np.uint8)
            Image.fromarray(shade).save(folder / f"{number}.png")
    return tmp_path / "pictures"


def test_pictures_get_the_models_size_and_give_the_artefact_its_labels(
    model: Path, pictures: Path, tmp_path: Path
) -> None:
    outcome = compressor("export", model, "--data", pictures, "-o", tmp_path / "m.tflite")

    assert outcome.code == 0
    assert "note: no test part: 5 of 24 examples, drawn with seed 0, are set" in outcome.stderr
    described = json.loads((tmp_path / "m.tflite.json").read_text())
    assert described["labels"] == ["a_dark", "b_grey", "c_light"]
    assert described["verified"][0]["accuracy"] == 1.0


def test_a_table_is_taken_by_its_label(model: Path, tmp_path: Path) -> None:
    header = ",".join(f"p{n}" for n in range(30))
    rows = "".join(f"{','.join([str(level / 2)] * 30)},{level}\n" for level in (0, 1, 2) * 8)
    (tmp_path / "t.csv").write_text(f"{header},level\n{rows}")
    words = ("--data", tmp_path / "t.csv", "--label", "level", "--test", "0.25")
    outcome = compressor("sensitivity", model, *words, "--sparsities", "0.5", "--validation", "0.5")

    assert outcome.code == 0
    assert "6 of 24 examples" in outcome.stderr
    assert "9 validation examples" in outcome.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--label", "level"), "--label has no effect without --data"),
        (("--data", "mnist", "--test", "0.5"), "--test has no effect"),
        (("--data", "mnist", "--x", "pictures"), "--x has no effect on the embedded MNIST"),
        (("--data", "mnist", "--test", "2"), "2.0 is not in the range 0<x<1"),
        (("--validation", "1.5"), "neither a number of examples nor a fraction below 1"),
    ],
)
def test_options_that_have_no_effect_are_refused(
    model: Path, words: tuple[str, ...], said: str
) -> None:
    outcome = compressor("sensitivity", model, *words)

    assert outcome.code == 2
    assert said in outcome.stderr
