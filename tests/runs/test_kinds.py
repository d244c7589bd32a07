"""What a model file is, by its content; and what is said of the files of other programs."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import pytest
from artifact_files import small_onnx, small_tflite

from compressor.errors import CheckpointError, CompressorError, ModelError
from compressor.runs import find_checkpoint, keras_file, model_kind


def torch_file() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("model/data/0", bytes(16))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("any.bin", small_tflite(), ["a TFLite file", "converted from"]),
        ("model.onnx", small_onnx(), ["an ONNX file"]),
        ("model.pt", pickle.dumps({"a": 1}, protocol=2), ["pickle", "never run"]),
        ("saved_model.pb", b"\x08\x01\x12", ["name its folder"]),
        ("model.pb", b"\x0a\x05", ["a TensorFlow graph"]),
        ("x.ckpt.index", b"\0", ["a TensorFlow checkpoint"]),
        ("checkpoint", b'model_checkpoint_path: "x"', ["a TensorFlow checkpoint"]),
        ("w.safetensors", b"\x20" + bytes(7) + b'{"a": 1}', ["safetensors", "weights"]),
        ("model.json", b'{"class_name": "Sequential"}', ["without weights"]),
    ],
)
def test_a_file_of_another_program_is_named(
    name: str, content: bytes, said: list[str], tmp_path: Path, rejected
) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    message = rejected(ModelError, keras_file, path)

    assert all(part in message for part in [*said, str(path), "not a Keras model"]), message


def test_a_pytorch_file_is_named(tmp_path: Path, rejected) -> None:
    from compressor.importing import load_model

    path = tmp_path / "model.pth"
    path.write_bytes(torch_file())

    assert "PyTorch" in rejected(ModelError, load_model, path)


def test_a_folder_of_another_program_is_named(tmp_path: Path, rejected) -> None:
    (tmp_path / "model-1.index").write_bytes(b"")
    assert "a TensorFlow checkpoint" in rejected(ModelError, keras_file, tmp_path)


def test_the_name_does_not_matter(small_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(small_file.read_bytes())

    assert model_kind(path) == "keras" and keras_file(path) == path


def test_what_is_none_of_these(tmp_path: Path, rejected) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"some words")
    assert "takes a Keras model or a run directory" in rejected(CompressorError, keras_file, path)
    for find in (find_checkpoint, keras_file):
        assert "no such file" in rejected(CheckpointError, find, tmp_path / "none.keras")
