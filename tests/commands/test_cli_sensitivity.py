"""compressor sensitivity: a table on the terminal, and files where they are asked for."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Outcome, compressor, files

FILES = ["sensitivity.csv", "sensitivity.json", "sensitivity.png", "sensitivity.svg"]


@pytest.fixture(scope="module")
def folder(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small network of 8 x 8 images and four classes; untrained."""
    layers = keras.layers
    keras.utils.set_random_seed(2)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, strides=2, name="first"),
            layers.Flatten(name="flat"),
            layers.Dense(8, activation="relu", name="second"),
            layers.Dense(4, name="scores"),
        ]
    )
    path = tmp_path_factory.mktemp("net")
    network.save(path / "model.keras")
    return path


@pytest.fixture(scope="module")
def written(folder: Path, quadrants: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    output = tmp_path_factory.mktemp("out") / "new"
    words = ("--data", quadrants, "--sparsities", "0.9,0.5", "--images", "30", "-o", output)
    return output, compressor("sensitivity", folder / "model.keras", *words)


def test_the_table_on_the_terminal(written: tuple[Path, Outcome], folder: Path) -> None:
    output, outcome = written

    assert outcome.code == 0
    lines = outcome.stdout.splitlines()
    assert str(folder / "model.keras") in lines[0]
    assert "30 validation examples" in lines[0]
    assert lines[2].split() == ["layer", "weights", "50", "%", "90", "%", "up", "to"]
    assert [line.split()[:2] for line in lines[4:7]] == [
        ["first", "36"],
        ["second", "288"],
        ["scores", "32"],
    ]
    assert lines[-1] == f"written to: {output}"
    progress = outcome.stderr.splitlines()
    assert len(progress) == 4
    assert "scores" in progress[-1]


def test_the_files(written: tuple[Path, Outcome]) -> None:
    output, outcome = written

    assert sorted(path.name for path in output.iterdir()) == FILES
    described = json.loads((output / "sensitivity.json").read_text())
    rows = list(csv.DictReader((output / "sensitivity.csv").read_text().splitlines()))
    assert len(rows) == 6
    for row in rows:
        shown = f"{100 * float(row['accuracy']):.1f}"
        line = next(li for li in outcome.stdout.splitlines() if li.startswith(row["layer"]))
        assert shown in line.split()
    assert {row["accuracy"] for row in rows} == {
        str(found["accuracy"]) for layer in described["layers"] for found in layer["measurements"]
    }


def test_json_of_a_folder_writes_nothing(
    folder: Path, quadrants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = files(folder)
    words = ("--layers", "second, scores", "--granularity", "2:4", "--json")
    found = compressor("sensitivity", folder, "--data", quadrants, *words).json()

    assert [layer["layer"] for layer in found["layers"]] == ["second", "scores"]
    assert [[f["sparsity"] for f in layer["measurements"]] for layer in found["layers"]] == [
        [0.5],
        [0.5],
    ]
    assert found["examples"] == 50
    assert list(tmp_path.iterdir()) == []
    assert files(folder) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--layers secnd", "secnd; did you mean second?"),
        ("--sparsities 1", "below 1: 1.0"),
        ("--sparsities 0.5,0.5", "[0.5, 0.5]"),
        ("--sparsities most", "'most' is not a list of numbers"),
        ("--images 0", "--images"),
        ("--validation 600", "600 of 600 images"),
        ("--granularity rows", "unknown granularity: rows"),
        ("--granularity 2:4 --sparsities 0.9", "2:4 fixes the sparsity to 0.5: 0.9"),
        ("--granularity 1x16 --layers second", "second: "),
        ("--granularity channel --layers scores", "the model's outputs"),
        ("--criterion luck", "unknown criterion: luck"),
        ("--data missing", "data set does not exist: missing"),
    ],
)
def test_a_bad_option_is_one_line(
    folder: Path,
    quadrants: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    output = ("--data", quadrants, "-o", "out")

    assert says in compressor("sensitivity", folder, *output, *words.split()).refusal()
    assert list(tmp_path.iterdir()) == []


def test_models_and_outputs_that_cannot_be_used(
    folder: Path, quadrants: Path, tmp_path: Path
) -> None:
    data = ("--data", quadrants)
    (tmp_path / "text.keras").write_text("no model")

    assert "missing" in compressor("sensitivity", tmp_path / "missing", *data).refusal()
    assert "text.keras" in compressor("sensitivity", tmp_path / "text.keras", *data).refusal()
    assert "holds no checkpoint" in compressor("sensitivity", tmp_path, *data).refusal()
    taken = ("-o", tmp_path / "text.keras")
    assert "text.keras" in compressor("sensitivity", folder, *data, *taken).refusal()
    assert "do not fit" in compressor("sensitivity", folder, "--data", "mnist").refusal()
    assert "--data" in compressor("sensitivity", folder).refusal()
