"""The archive for the GPU's machine, from a finished sweep."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from benchmarks.gpu import prepare
from benchmarks.gpu.there.material import Material
from compressor import PruningSpec
from compressor.data import Dataset


@pytest.mark.slow
def test_an_archive_of_a_sweep_is_what_measure_py_takes(
    pruned_file: Path, tiny_data: Dataset, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(prepare, "load_dataset", lambda _: tiny_data)
    monkeypatch.setattr(prepare, "STEPS", {"dense": "step_1"})
    monkeypatch.setattr(prepare, "CHANNEL_STEPS", 1)
    narrow = PruningSpec(0.5, layers=("wide",), granularity="channel")
    monkeypatch.setattr(prepare, "CHANNELS", narrow)
    step = tmp_path / "run" / "seed-1" / "step_1"
    step.mkdir(parents=True)
    shutil.copyfile(pruned_file, step / "model.keras")
    (step / "record.json").write_text("{}")
    archive = prepare.prepare(tmp_path / "run", tmp_path / "work")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    names = {path.name for path in (tmp_path / "gpu").iterdir()}
    assert {"measure.py", "runner.pyz", "there", "images.npz"} <= names

    material = Material(tmp_path / "gpu", tmp_path)
    shown = [artefact["name"] for artefact in material.artefacts]
    assert len(shown) == len(set(shown)) == 8 and shown[0] == "dense, float32"
    assert {name.partition(",")[0] for name in shown} == {"dense", "channels"}
    for artefact in material.artefacts:
        assert abs(artefact["accuracy"] - artefact["reference_accuracy"]) < 0.05
        assert (tmp_path / "gpu" / (artefact["file"] + ".check.npz")).is_file()
    assert len(material.labels) == len(tiny_data.y_test)
