"""What is timed: the files of the sizes that load, dense float32 first, in one run a model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import compressor
from benchmarks import _record, latency
from compressor.errors import UsageError


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "sizes" / "90"
    place.mkdir(parents=True)
    for name in ("a.onnx", "compressor-int8.tflite", "stock-dense.tflite", "refused.tflite"):
        (place / name).write_bytes(b"x")
        if name != "refused.tflite":
            (place / f"{name}.json").write_text("{}")
    (place / "stock-dense.tflite.gz").write_bytes(b"x")
    return place


def test_the_files_that_load_are_taken_dense_first(folder):
    assert [path.name for path in latency.loadable(folder)] == [
        "stock-dense.tflite",
        "a.onnx",
        "compressor-int8.tflite",
    ]


def test_without_files_it_says_how_to_make_them(tmp_path, rejected):
    message = rejected(UsageError, latency.loadable, tmp_path)
    assert message.endswith("; make them with python -m benchmarks.sizes")


def test_a_model_is_measured_in_one_run_with_all_threads_and_batches(
    folder, monkeypatch, tmp_path, capsys
):
    asked = []

    def bench(files, **options):
        asked.append((files, options))
        names = [{"name": path.name} for path in files]
        return {"artefacts": names, "rows": []}

    monkeypatch.setattr(compressor, "bench", bench)
    monkeypatch.setattr(_record, "RESULTS", tmp_path)
    monkeypatch.setattr(latency, "print_tables", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["latency", "--work", str(folder.parent), "--rounds", "2"])
    latency.main()
    ((files, options),) = asked
    assert files[0].name == latency.FIRST and len(files) == 3
    assert (options["threads"], options["batches"]) == ((1, 2), (1, 32))
    assert options["runtimes"] == ("litert", "onnxruntime") and options["rounds"] == 2
    assert (tmp_path / "latency.json").is_file()
    assert "90 %: 3 files" in capsys.readouterr().out


def test_a_folder_without_files_ends_in_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["latency", "--work", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        latency.main()
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
