"""The report of a .tflite or .onnx file and of what was made of it."""

from __future__ import annotations

from pathlib import Path

from command_line import compressor
from graph_files import dense_onnx, dense_tflite


def test_a_folder_of_graph_files_is_reported(tmp_path: Path) -> None:
    dense_onnx(tmp_path / "found.onnx", hidden=16)
    dense_onnx(tmp_path / "pruned.onnx", sparsity=0.75, hidden=16)
    dense_tflite(tmp_path / "other.tflite", hidden=8)

    said = compressor("report", tmp_path)

    assert said.code == 0, said.stderr
    text = (tmp_path / "report.md").read_text()
    assert "found.onnx" in text and "other.tflite" not in text
    assert "fc1.weight, pruned.onnx.** 128 of 512 weights are left" in text
    assert "retrained" not in text
