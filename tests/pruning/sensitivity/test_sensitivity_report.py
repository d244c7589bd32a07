"""The table, the CSV and the figure of a sensitivity."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from compressor.errors import StorageError
from compressor.report.sensitivity import sensitivity_csv, sensitivity_text, write_sensitivity

FILES = [f"sensitivity{suffix}" for suffix in (".json", ".csv", ".png", ".svg")]


def _texts(path: Path) -> list[str]:
    root = ElementTree.fromstring(path.read_text())
    return [" ".join("".join(e.itertext()).split()) for e in root.iter() if e.tag.endswith("text")]


def test_the_table_has_a_row_for_each_layer(described_of):
    described = described_of(2, (0.1, 0.5, 0.95))
    described["layers"][1]["highest_sparsity"] = None
    lines = sensitivity_text(described).splitlines()

    assert "98.0 %" in lines[0]
    assert "1,000 validation examples" in lines[0]
    assert lines[2].split() == ["layer", "weights", *["10", "%", "50", "%", "95", "%"], "up", "to"]
    assert lines[4].split() == ["layer_0", "1,000", "98.0", "92.4", "24.7", "20", "%"]
    assert lines[5].split() == ["layer_1", "2,000", "98.0", "95.2", "61.3", "–"]
    assert len(lines) == 7


def test_the_table_says_what_is_not_plain(described_of):
    described = described_of(2)
    described["left_alone"] = {"odd": "it is\x1b[31m frozen"}
    described["layers"][0]["layers"] = ["layer_0", "other", "third"]
    described["layers"][0]["measurements"][0]["sparsity"] = 0.25
    text = sensitivity_text(described)

    assert "layer_0 (+2)  " in text
    assert "layer_0 (+2): layer_0, other, third lose channels together" in text
    assert "up to 5 points" in text
    assert "left alone: odd: " in text
    assert "\x1b" not in text


def test_the_csv_has_a_row_for_each_measurement(described_of):
    described = described_of(2)
    described["layers"][0]["layers"] = ["layer_0", "other"]
    rows = list(csv.DictReader(io.StringIO(sensitivity_csv(described))))

    assert len(rows) == 6
    assert rows[0]["layers"] == "layer_0 other"
    assert [float(row["sparsity"]) for row in rows] == [0.2, 0.5, 0.9] * 2
    for row in rows:
        layer = described["layers"][int(row["layer"][-1])]
        accuracies = [f["accuracy"] for f in layer["measurements"]]
        assert float(row["accuracy"]) in accuracies
        assert (row["dense_accuracy"], row["examples"]) == ("0.98", "1000")


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 6, 7, 30])
def test_a_figure_names_every_layer(described_of, tmp_path, layers):
    paths = write_sensitivity(described_of(layers), tmp_path)

    assert [path.name for path in paths] == FILES
    texts = _texts(tmp_path / "sensitivity.svg")
    assert {f"layer_{number}" for number in range(layers)} <= {*texts}
    assert any("98.0 %" in text for text in texts)
    assert any(text.startswith("accuracy (%)") for text in texts)
    assert "1,000 validation examples" in " ".join(texts)
    content = (tmp_path / "sensitivity.png").read_bytes()
    assert int.from_bytes(content[16:20]) >= 1200
    assert len(content) > 10_000


@pytest.mark.slow
def test_one_sparsity_is_a_line_for_each_layer(described_of, tmp_path):
    write_sensitivity(described_of(9, (0.5,)), tmp_path)

    texts = _texts(tmp_path / "sensitivity.svg")
    assert {"the layer alone at 50 %", "dense: 98.0 %", "layer_8"} <= {*texts}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("sparsities", [(0.5,), (0.5, 0.9)])
def test_a_model_that_loses_nothing(described_of, tmp_path, sparsities):
    described = described_of(2, sparsities) | {"dense_accuracy": 1.0}
    for row in described["layers"]:
        for found in row["measurements"]:
            found["accuracy"] = 1.0
    # A warning of an axis without length would be an error here.
    write_sensitivity(described, tmp_path)
    assert "dense: 100.0 %" in _texts(tmp_path / "sensitivity.svg")


def test_names_that_could_be_misread(described_of, tmp_path):
    described = described_of(2)
    names = ["_hidden", r"cost$\frac$"]
    for row, name in zip(described["layers"], names, strict=True):
        row |= {"layer": name, "layers": [name]}
    write_sensitivity(described, tmp_path)

    assert {*names} <= {*_texts(tmp_path / "sensitivity.svg")}


@pytest.mark.slow
def test_the_same_bytes_again_and_other_files_stay(described_of, tmp_path):
    described = described_of(3)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "sensitivity.csv").write_text("old")
    first = [path.read_bytes() for path in write_sensitivity(described, tmp_path)]
    again = [path.read_bytes() for path in write_sensitivity(described, tmp_path)]

    assert first == again
    assert json.loads(first[0]) == described
    assert first[1].decode() == sensitivity_csv(described)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*FILES, "notes.txt"])
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_one_line(described_of, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        write_sensitivity(described_of(1), tmp_path / "file" / "out")
