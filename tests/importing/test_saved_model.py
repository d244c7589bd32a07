"""SavedModels: read as data, and run only where they compute and do nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from old_models import entry, functional, given, write_saved_model

from compressor.errors import ModelError
from compressor.importing import load_model
from compressor.importing.loading import read_source
from compressor.importing.proof import proof_of
from compressor.importing.serving import check_serving
from compressor.runs import model_digest

KERNEL = np.arange(12, dtype=np.float32).reshape(4, 3) / 10
BIAS = np.array([-1, 0, 1], np.float32)


def described() -> dict[str, Any]:
    dense = {"units": 3, "activation": "relu", "use_bias": True, "kernel_constraint": None}
    layers = [given("x", 4), entry("Dense", "d", "x", **dense)]
    return functional(layers, ["x"], ["d"])


def serve(inputs: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    product = inputs["x"] @ variables["d/kernel"] + variables["d/bias"]
    return {"d": (product + abs(product)) / 2}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def call(serving: Any = serve, **options: Any) -> Path:
        folder = tmp_path_factory.mktemp("made") / "model"
        arrays = {"d": [("kernel", KERNEL), ("bias", BIAS)]}
        return write_saved_model(folder, described(), arrays, serving, {"x": [4]}, **options)

    return call


@pytest.fixture(scope="module")
def sound(make: Callable[..., Path]) -> Path:
    return make()


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "copy"))


@pytest.mark.parametrize("beside", [True, False])
def test_configuration_and_weights_are_those_of_keras(
    beside: bool, make: Callable[..., Path], sound: Path
) -> None:
    folder = sound if beside else make(beside=False)
    assert (folder / "keras_metadata.pb").exists() is beside

    loaded = load_model(folder)

    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    expected = np.maximum(x @ KERNEL + BIAS, 0)
    np.testing.assert_allclose(loaded.predict_on_batch(x), expected, atol=1e-6)


def test_a_saved_model_of_another_kind_says_what_would_do(
    keras: Any, copy: Path, tmp_path: Path, rejected: Any
) -> None:
    (copy / "keras_metadata.pb").unlink()
    message = rejected(ModelError, load_model, copy)
    assert "was not written by Keras" in message and "TFLite" in message and "ONNX" in message

    exported = tmp_path / "exported"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).export(exported, verbose=False)
    assert "was not written by Keras" in rejected(ModelError, load_model, exported)


def test_files_that_are_cut_or_gone(copy: Path, rejected: Any) -> None:
    for name in ("saved_model.pb", "keras_metadata.pb", "variables/variables.index"):
        path = copy / name
        whole = path.read_bytes()
        for content in (whole[: len(whole) // 2], b"", b"\xff" * 100):
            path.write_bytes(content)
            assert str(copy) in rejected(ModelError, load_model, copy), name
        path.write_bytes(whole)
    data = copy / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-40])
    rejected(ModelError, load_model, copy)
    data.unlink()
    rejected(ModelError, load_model, copy)


def test_more_than_its_files_hold(copy: Path, rejected: Any) -> None:
    metadata = copy / "keras_metadata.pb"
    content = metadata.read_bytes()
    assert b'"units": 3,' in content
    metadata.write_bytes(content.replace(b'"units": 3,', b'"units":9e9'[:11]))
    rejected(ModelError, load_model, copy)


def test_its_digest_is_that_of_its_content(sound: Path, copy: Path) -> None:
    assert model_digest(copy) == model_digest(sound)
    (copy / "fingerprint.pb").write_bytes(b"other")  # says nothing about the model
    assert model_digest(copy) == model_digest(sound)
    (copy / "keras_metadata.pb").write_bytes(b"")
    assert model_digest(copy) != model_digest(sound)


def reading(inputs: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    import compressor.foundation.quiet_tensorflow as quiet

    tensorflow, _ = quiet.load()
    text = tensorflow.io.read_file("/etc/hostname")
    size = tensorflow.cast(tensorflow.strings.length(text), "float32")
    return {"d": serve(inputs, variables)["d"] + size}


def writing(inputs: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    import compressor.foundation.quiet_tensorflow as quiet

    tensorflow, _ = quiet.load()
    with tensorflow.control_dependencies([tensorflow.io.write_file("owned", "text")]):
        return {"d": tensorflow.identity(serve(inputs, variables)["d"])}


def calling(inputs: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    import compressor.foundation.quiet_tensorflow as quiet

    tensorflow, _ = quiet.load()
    called = tensorflow.numpy_function(lambda x: x, [inputs["x"]], "float32")
    return {"d": serve(inputs, variables)["d"] + tensorflow.reduce_sum(called)}


@pytest.mark.parametrize(
    ("serving", "operation"), [(reading, "ReadFile"), (writing, "WriteFile"), (calling, "PyFunc")]
)
def test_what_would_do_more_than_compute_is_named_and_not_run(
    serving: Any,
    operation: str,
    make: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rejected: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make(serving)
    loaded = load_model(folder)  # its graph is not looked at: layers and weights are data

    message = rejected(ModelError, proof_of, loaded, folder)

    assert "would do more than compute, and is not run" in message and operation in message
    assert not list(tmp_path.iterdir())


def test_what_computes_is_allowed(sound: Path) -> None:
    assert check_serving(sound) == ["serve"]


@pytest.mark.slow
def test_the_serving_function_proves_the_import(sound: Path) -> None:
    proof = proof_of(load_model(sound), sound)
    assert proof.difference < 1e-6 and proof.by == "its serving function"
    assert proof.examples == 192


def test_the_source_holds_no_more_than_its_checkpoint(sound: Path) -> None:
    source = read_source(sound)
    assert source.stored >= 15 and source.is_old
