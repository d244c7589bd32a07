"""Names that move a cursor, forge lines or turn the direction of writing: in whatever we print."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from command_line import Outcome, compressor, once, write_quadrants

from compressor.data import load_arrays, save_arrays
from compressor.runs.run_directory import read_record, write_record

# TensorFlow runs no layer of such a name, so the names are put into the files afterwards.
STAND_IN = "layer_with_another_name"
ODD = "odd\x1b[31m\nforged  9,999\u202e\u2028\u200b\ufe0f\x9b1m"
SHOWN = r"odd\x1b[31m\nforged  9,999\u202e\u2028\u200b\ufe0f\x9b1m"
IN_A_LINE = r"odd\x1b[31m forged 9,999\u202e \u200b\ufe0f\x9b1m"


def _renamed(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(STAND_IN, ODD)
    if isinstance(value, dict):
        return {_renamed(key): _renamed(item) for key, item in value.items()}
    return [_renamed(item) for item in value] if isinstance(value, list) else value


def _rename(folder: Path) -> None:
    """Exchange the name in all models, masks and documents."""
    for path in folder.rglob("*.keras"):
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        members["config.json"] = json.dumps(_renamed(json.loads(members["config.json"]))).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    for path in folder.rglob("masks.npz"):
        save_arrays(path, _renamed(load_arrays(path)))
    for path in folder.rglob("record.json"):
        record = read_record(path.parent)
        write_record(path.parent, _renamed(record["result"]), _renamed(record["config"]))


@pytest.fixture(scope="module")
def folder(keras: Any, quadrants: Path, shared: Path) -> Path:
    """model.keras and the run directory of its pruning, with a layer of the odd name."""

    def make(place: Path) -> str:
        layers = keras.layers
        network = keras.Sequential(
            [
                keras.Input((8, 8)),
                layers.Flatten(),
                layers.Dense(8, activation="relu", name=STAND_IN),
                layers.Dense(4, activation="softmax", name="scores"),
            ]
        )
        network.compile(loss="sparse_categorical_crossentropy")
        network.save(place / "model.keras")
        words = ("--data-dir", quadrants, "--max-steps", 2, "-o", place / "run")
        done = compressor("prune", place / "model.keras", *words)
        assert done.code == 0, done.stderr
        _rename(place)
        return str(place)

    return once(shared, "cli-hostile-names", make)[0]


def _seen(done: Outcome, code: int = 0) -> str:
    """What a command printed, all of it lines that can be seen."""
    assert done.code == code, done.stderr
    for text in (done.stdout, done.stderr):
        assert "\ufe0f" not in text
        assert all(line.isprintable() for line in text.split("\n"))
    return done.stdout


def test_inspect(folder: Path) -> None:
    lines = _seen(compressor("inspect", folder / "model.keras")).splitlines()

    assert len(lines) == 2 + 2 + 4
    assert [line.split("  ")[0] for line in lines[-4:]] == [
        *(f"{SHOWN.split('  ')[0]}",) * 2,
        *("scores/kernel", "scores/bias"),
    ]
    assert lines[4].startswith(f"{SHOWN}/kernel  ")


@pytest.mark.slow
def test_inspect_of_a_run_and_of_two_models(folder: Path) -> None:
    pruned = folder / "run" / "step_2_2" / "model.keras"

    assert _seen(compressor("inspect", folder / "run")).count(f"\n{SHOWN}/kernel  ") == 2
    compared = _seen(compressor("inspect", folder / "model.keras", pruned)).splitlines()
    assert [line.split("  ")[0] for line in compared].count("scores") == 1
    assert sum(line.startswith(SHOWN) for line in compared) == 1
    assert len(compared) == 2 + 3 + 4 + 1


def test_json_has_the_name_itself(folder: Path) -> None:
    found = compressor("inspect", "--json", folder / "model.keras")

    assert {row["layer"] for row in found.json()["layers"]} == {ODD, "scores"}
    _seen(found)


@pytest.mark.slow
def test_shrink(folder: Path, tmp_path: Path) -> None:
    model = folder / "run" / "step_2_2" / "model.keras"

    assert SHOWN in _seen(compressor("shrink", model, "-o", tmp_path / "small.keras"))


def test_the_report(folder: Path) -> None:
    _seen(compressor("report", folder / "run"))

    for name in ("report.html", "report.md"):
        text = (folder / "run" / name).read_text()
        # A space that ends no line is ours: between a number and its unit.
        assert all(line.replace("\u00a0", " ").isprintable() for line in text.split("\n"))
        assert "\ufe0f" not in text
    page, markdown = ((folder / "run" / f"report.{kind}").read_text() for kind in ("html", "md"))
    assert f">{IN_A_LINE}</td>" in page
    escaped = IN_A_LINE.replace("[", r"\[")
    assert f"| {escaped} | Dense" in markdown
    drawings = list((folder / "run" / "figures").glob("*.svg"))
    assert drawings
    for drawing in drawings:
        ElementTree.parse(drawing)


@pytest.mark.parametrize("command", ["sensitivity", "prune", "export"])
def test_what_tensorflow_cannot_run_is_refused(
    command: str, folder: Path, quadrants: Path, tmp_path: Path
) -> None:
    words = ("--data-dir", quadrants, "-o", tmp_path / "new.tflite")
    refused = compressor(command, folder / "model.keras", *words)

    assert refused.refusal(after_stages=True).startswith(
        f"error: TensorFlow cannot run a layer of this name: {IN_A_LINE}; "
    )
    _seen(refused, 2)


def test_the_folder_of_a_data_set_and_of_what_is_written(
    keras: Any, folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / ODD
    data = write_quadrants(place / "d.npz")
    layers = keras.layers
    network = keras.Sequential(
        [keras.Input((8, 8)), layers.Flatten(), layers.Dense(4, name="scores")]
    )
    network.compile(loss="sparse_categorical_crossentropy")
    network.save(place / "model.keras")
    missing = compressor("prune", place / "model.keras", "--data-dir", place / "none.npz")
    options = ("--data-dir", data, "--sparsities", "0.5", "-o", place / "out")
    text = _seen(compressor("sensitivity", place / "model.keras", *options)).splitlines()

    assert IN_A_LINE in missing.refusal()
    _seen(missing, 2)
    assert text[0].startswith(f"{tmp_path}/{SHOWN}/model.keras: dense accuracy")
    assert text[-1] == f"written to: {tmp_path}/{SHOWN}/out"
    (place / "d.npz").write_bytes(b"no zip")
    damaged = compressor("prune", place / "model.keras", "--data-dir", data)
    assert IN_A_LINE in damaged.refusal()
    _seen(damaged, 2)
