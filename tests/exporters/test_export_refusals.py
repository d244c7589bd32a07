"""Exports that must not leave a file under the name asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor as command

import compressor
from compressor import exporters
from compressor.data import Dataset
from compressor.errors import (
    CheckFailedError,
    MissingRuntimeError,
    ModelError,
    RunDirectoryError,
    UsageError,
)
from compressor.exporters import onnx, tflite
from compressor.models.files import load_model
from compressor.runtimes import Runner

assert exporters


@pytest.fixture
def another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make both exporters export another function than that of the model."""
    for module in (tflite, onnx):
        real = module.export

        def wrong(model: Any, request: Any, real: Any = real) -> Any:
            kernel = model.get_layer("scores").kernel
            kernel.assign(-kernel)
            try:
                return real(model, request)
            finally:
                kernel.assign(-kernel)

        monkeypatch.setattr(module, "export", wrong)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_wrong_artefact_is_kept_under_another_name(
    another_model: None,
    pruned_file: Path,
    tiny_data: Dataset,
    tmp_path: Path,
    rejected: Callable,
    file_format: str,
    quantize: Any,
) -> None:
    path = tmp_path / f"model.{file_format}"

    message = rejected(
        CheckFailedError, compressor.export, pruned_file, path, tiny_data, quantize=quantize
    )

    assert "does not do what the model does" in message
    assert {child.name for child in tmp_path.iterdir()} == {
        f"{path.name}.rejected",
        f"{path.name}.rejected.json",
    }
    report = json.loads((tmp_path / f"{path.name}.rejected.json").read_text())
    assert report["verdict"]["passed"] is False
    assert report["verdict"]["reason"] in message
    assert report["verdict"]["agreement"] < 0.9


def test_an_earlier_artefact_survives_a_failure(
    another_model: None, pruned_file: Path, tiny_data: Dataset, tmp_path: Path, rejected: Callable
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"what was there before")

    rejected(CheckFailedError, compressor.export, pruned_file, path, tiny_data, force=True)

    assert path.read_bytes() == b"what was there before"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("content", [b"", b"no model", b"\x1c\0\0\0TFL3" + bytes(64)])
def test_what_the_runtime_cannot_load_is_rejected(
    pruned_file: Path,
    tiny_data: Dataset,
    tmp_path: Path,
    rejected: Callable,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
) -> None:
    import dataclasses

    real = tflite.export
    monkeypatch.setattr(
        tflite, "export", lambda *given: dataclasses.replace(real(*given), content=content)
    )
    path = tmp_path / "model.tflite"

    rejected(CheckFailedError, compressor.export, pruned_file, path, tiny_data)

    assert not path.exists()
    assert (tmp_path / "model.tflite.rejected").read_bytes() == content


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "tflite", "quantize": "codebook"}, "codebook"),
        ({"format": "tflite", "runtime": "onnxruntime"}, "onnxruntime does not run tflite"),
        ({"format": "onnx", "runtime": "onnx"}, "unknown runtime: onnx"),
        ({"format": "onnx", "quantize": "int2"}, "unknown quantisation: int2"),
        ({"format": "onnx", "optimize": "speed"}, "unknown aim: speed"),
        ({"format": "onnx", "encoding": "huffman"}, "huffman"),
        ({"format": "tflite", "encoding": "gap8"}, "gap8"),
        ({"format": "h5"}, "the format is not known: h5"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(
    pruned_file: Path,
    tiny_data: Dataset,
    tmp_path: Path,
    rejected: Callable,
    options: dict[str, Any],
    said: str,
) -> None:
    path = tmp_path / f"model.{options['format']}"

    message = rejected(
        (UsageError, ModelError), compressor.export, pruned_file, path, tiny_data, **options
    )

    assert said in message
    assert not list(tmp_path.iterdir())


@pytest.mark.sampled(1)
@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_what_the_runtime_computes_unlike_plain_kernels_is_rejected(
    keras: Any,
    tmp_path: Path,
    rejected: Callable,
    monkeypatch: pytest.MonkeyPatch,
    file_format: str,
) -> None:
    """Without data, when nothing says what differences from the model cost."""
    model = keras.Sequential([keras.Input((4,), name="row"), keras.layers.Dense(3)])
    load, predict = Runner.load, Runner.predict
    as_written: dict[Runner, bool] = {}

    def loaded(runner: Runner, path: Path, *, reference: bool = False, **options: Any) -> Any:
        as_written[runner] = reference
        return load(runner, path, reference=reference, **options)

    def bent(runner: Runner, inputs: Any, **options: Any) -> Any:
        return predict(runner, inputs, **options) * (1.0 if as_written[runner] else 1.1)

    monkeypatch.setattr(Runner, "load", loaded)
    monkeypatch.setattr(Runner, "predict", bent)
    path = tmp_path / f"model.{file_format}"

    message = rejected(CheckFailedError, compressor.export, model, path, quantize="dynamic")

    assert "from those of plain kernels on the same file; 0.03 is allowed" in message
    assert not path.exists()


@pytest.mark.parametrize("where", ["training", "test", "random"])
def test_a_model_of_infinite_outputs_is_refused_in_one_line(
    keras: Any, tmp_path: Path, rejected: Callable, where: str
) -> None:
    """Nothing can be compared with them, wherever they come up."""
    layers = [keras.Input((4,), name="row"), keras.layers.Dense(3, name="scores")]
    model = keras.Sequential(layers)
    large = 1e38 if where == "random" else 1e30
    model.set_weights([np.full((4, 3), large, np.float32) * 3, np.zeros(3, np.float32)])
    x = {"train": np.ones((48, 4), np.float32), "test": np.ones((6, 4), np.float32)}
    x["test" if where == "test" else "train"][1:3] = 1e9
    data = Dataset.from_arrays("rows", x["train"], np.arange(48) % 3, x["test"], np.arange(6) % 3)
    path = tmp_path / "model.tflite"

    message = rejected(
        ModelError, compressor.export, model, path, None if where == "random" else data
    )

    assert "the model's own outputs are NaN or infinite: for " in message
    found = {"training": "for 2 of 48 examples", "test": "for 2 of 6 test examples"}
    assert found.get(where, "of 256 random inputs") in message
    assert list(tmp_path.iterdir()) == []


def test_int8_needs_data(pruned_file: Path, tmp_path: Path, rejected: Callable) -> None:
    message = rejected(
        UsageError, compressor.export, pruned_file, tmp_path / "m.onnx", quantize="int8"
    )

    assert "int8 needs examples" in message


def test_a_file_that_is_there_stays(
    pruned_file: Path, tiny_data: Dataset, tmp_path: Path, rejected: Callable
) -> None:
    path = tmp_path / "model.tflite"
    path.write_text("mine")

    message = rejected(RunDirectoryError, compressor.export, pruned_file, path, tiny_data)

    assert "--force" in message
    assert path.read_text() == "mine"


def test_a_suffix_of_another_format_is_refused(
    pruned_file: Path, tiny_data: Dataset, tmp_path: Path, rejected: Callable
) -> None:
    message = rejected(
        UsageError,
        compressor.export,
        pruned_file,
        tmp_path / "model.onnx",
        tiny_data,
        format="tflite",
    )

    assert "a tflite artefact is a .tflite file" in message


def test_a_runtime_that_is_not_there_is_said_before_anything_is_built(
    pruned_file: Path,
    tiny_data: Dataset,
    tmp_path: Path,
    rejected: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(tflite, "export", None)

    message = rejected(
        MissingRuntimeError,
        compressor.export,
        pruned_file,
        tmp_path / "model.tflite",
        tiny_data,
        runtime="tflite-runtime",
    )

    assert "compressor runtimes install tflite-runtime" in message


@pytest.mark.slow
def test_the_model_file_is_not_touched(
    another_model: None, pruned_file: Path, tiny_data: Dataset, tmp_path: Path, rejected: Callable
) -> None:
    before = pruned_file.read_bytes()

    rejected(CheckFailedError, compressor.export, pruned_file, tmp_path / "m.tflite", tiny_data)

    assert pruned_file.read_bytes() == before
    assert load_model(pruned_file)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "all", "--quantize", "int8"], "--format all covers every quantisation"),
        (["--for", "litert,onnxruntime", "--format", "tflite"], "Give one runtime"),
        ([], "no format is given"),
        (["-o", "model.bin"], "the format is not known: bin"),
        (["-o", "m.onnx", "--max-slowdown", "0"], "a slowdown is a positive number: 0.0"),
        (["-o", "m.onnx", "--max-slowdown", "nan"], "a slowdown is a positive number: nan"),
        (["-o", "m.onnx", "--max-slowdown", "fast"], "'fast' is neither a ratio such as 1.05 nor"),
        (["--format", "all", "--max-slowdown", "1.1"], "--format all measures no latency"),
    ],
)
def test_the_command_refuses_in_one_line(small_file: Path, arguments: list[str], said: str) -> None:
    assert said in command("export", small_file, *arguments).refusal(after_stages=True)


@pytest.mark.slow
def test_inspecting_what_was_rejected_says_why(
    another_model: None, pruned_file: Path, tiny_data: Dataset, tmp_path: Path, rejected: Callable
) -> None:
    path = tmp_path / "model.tflite"
    rejected(CheckFailedError, compressor.export, pruned_file, path, tiny_data)

    found = compressor.inspect(f"{path}.rejected")

    assert found["kind"] == "tflite"
    assert found["description"] is None
    assert found["description_error"].startswith("it was rejected: outputs differ by")


@pytest.mark.parametrize("name", [' "b', "b ?", "<b>", "a\\b", "a\nb", "ü" * 120])
@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_a_file_name_that_no_artefact_can_have_is_refused_before_any_work(
    name: str, file_format: str, pruned_file: Path, tmp_path: Path
) -> None:
    told = command("export", pruned_file, "-o", tmp_path / f"{name}.{file_format}")
    assert told.code == 2 and "an artefact cannot have this file name" in told.stderr
    assert not list(tmp_path.iterdir())


def test_a_model_whose_name_no_artefact_can_have_is_refused_in_all_formats(
    pruned_file: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "my: net.keras"
    odd.write_bytes(pruned_file.read_bytes())
    with pytest.raises(UsageError, match="cannot have this file name: my: net-none"):
        compressor.export_all(odd, tmp_path / "all")
    assert list(tmp_path.iterdir()) == [odd]
