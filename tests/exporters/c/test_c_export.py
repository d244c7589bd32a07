"""export --format c: the folder, its proof, the library in numpy, and what is refused."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import pytest

import compressor
from compressor.errors import (
    CheckpointError,
    MissingRuntimeError,
    ModelError,
    RunDirectoryError,
    UsageError,
)
from deploy import Artifact, read_artifact

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)


def net(keras: Any, *layers: Any) -> Any:
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input((8, 8, 2), name="picture"), *layers], name="net")


@pytest.fixture(scope="module")
def model(keras: Any) -> Any:
    layers = keras.layers
    found = net(
        keras,
        layers.Conv2D(4, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.DepthwiseConv2D(3, activation="relu6"),
        layers.Flatten(),
        layers.Dense(12, activation="sigmoid"),
        layers.Dense(3, activation="softmax"),
    )
    generator = np.random.default_rng(4)
    for layer in found.layers:
        if isinstance(layer, layers.Dense):
            kernel = layer.kernel.numpy()
            layer.kernel.assign(kernel * (generator.random(kernel.shape) < 0.2))
    return found


@pytest.fixture(scope="module")
def exported(model: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("c") / "firmware"
    record = compressor.export(model, folder, format="c", runtime="cortex-m4", input_range=(0, 1))
    return folder, record


@needs_compiler
def test_the_folder_holds_code_that_passes_its_self_test(exported: Any) -> None:
    folder, record = exported
    name = Path(record["path"]).stem
    assert record["c"]["target"] == "cortex-m4" and record["c"]["workspace_bytes"] > 0
    assert {path.name for path in folder.iterdir()} == {
        *(f"{name}{end}" for end in (".h", ".c", "_weights.h", "_selftest.c", "_library.c", ".so")),
        *(f"{name}.so.json", f"{name}.so.check.npz", "Makefile", "CMakeLists.txt"),
    }
    done = subprocess.run(["make", "-C", folder, "check"], capture_output=True, text=True)
    assert done.returncode == 0 and "8 check vectors, 0 values wrong" in done.stdout
    assert "warning" not in done.stderr


@needs_compiler
def test_make_leaves_the_library_that_was_exported(exported: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(exported[0], tmp_path / "firmware")
    library = folder / Path(exported[1]["path"]).name
    next(folder.glob("*_library.c")).touch()  # newer than what was compiled of it
    for target, built in (("library", True), ("clean", False)):
        subprocess.run(["make", "-C", folder, target], check=True, capture_output=True)
        assert (folder / "build" / library.name).exists() is built
        assert read_artifact(library).format == "c"


@needs_compiler
def test_the_library_computes_in_numpy_what_the_model_does(exported: Any, model: Any) -> None:
    library = compressor.load(exported[1]["path"])
    x = np.random.default_rng(1).random((5, 8, 8, 2), np.float32)
    found = library.run(x)
    assert found.shape == (5, 1, 1, 3) and found.dtype == np.float32
    assert np.abs(found.reshape(5, 3) - model.predict(x, verbose=0)).max() < 0.05
    levels = np.clip(np.rint(x / library.input_scale) + library.input_zero, -128, 127)
    integers = library.run(levels.astype(np.int8)).astype(int)
    assert np.abs((integers - library.output_zero) * library.output_scale - found).max() < 0.01
    assert np.isfinite(library.run(np.full((1, 8, 8, 2), np.nan, np.float32))).all()


@pytest.mark.slow
@needs_compiler
def test_asked_for_fewer_bits_no_weight_has_more(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    model = net(keras, layers.Flatten(), layers.Dense(60, activation="relu"), layers.Dense(3))
    kernel = model.layers[1].kernel
    kernel.assign(kernel.numpy() * (np.random.default_rng(4).random(kernel.shape) < 0.1))
    asked: dict[str, Any] = {"format": "c", "runtime": "portable", "optimize": "size"}
    taken = {}
    for values in (8, 5):
        folder = tmp_path / str(values)
        record = compressor.export(model, folder, values=values, input_range=(0, 1), **asked)
        decoded = [one for one in record["tensors"] if "-bit values" in one["encoding"]]
        widths = [int(one["encoding"].split("-bit values")[0].split()[-1]) for one in decoded]
        assert (max(widths) <= 5) is (values == 5)
        taken[values] = sum(one["bytes"] for one in record["tensors"])
    assert taken[5] < taken[8]
    asked["runtime"] = "host"
    with pytest.raises(UsageError, match="C code for small devices, has values of fewer bits: 5"):
        compressor.export(model, tmp_path / "host", values=5, **asked)
    assert not (tmp_path / "host").exists()


@needs_compiler
def test_the_description_says_what_the_library_is(exported: Any) -> None:
    artifact = read_artifact(Path(exported[1]["path"]))
    assert (artifact.format, artifact.runtime, artifact.quantize) == ("c", "c", "int8")
    assert artifact.code is not None and artifact.code.target == "cortex-m4"
    folder = exported[0]
    sources = [path for path in folder.iterdir() if path.suffix in (".c", ".h")]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources}
    assert artifact.code.sources == digests and len(digests) == 5
    assert Artifact.parse(artifact.describe()) == artifact
    encodings = {tensor.encoding for tensor in artifact.tensors}
    assert "8-bit gaps" in encodings and all(tensor.bytes > 0 for tensor in artifact.tensors)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("quantize", ["int8", "none"])
def test_a_tflite_file_becomes_the_code_that_its_model_becomes(
    quantize: Any, model: Any, exported: Any, tmp_path: Path
) -> None:
    file = tmp_path / "net.tflite"
    compressor.export(model, file, quantize=quantize, input_range=(0, 1))
    given = {} if quantize == "int8" else {"input_range": (0, 1)}
    record = compressor.export(file, tmp_path / "c", format="c", runtime="cortex-m4", **given)
    assert record["c"]["target"] == "cortex-m4"
    x = np.random.default_rng(1).random((9, 8, 8, 2), np.float32)
    found = compressor.load(record["path"]).run(x)
    assert np.abs(found - compressor.load(exported[1]["path"]).run(x)).max() <= 0.04


def test_an_onnx_file_becomes_no_c_code(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"any")
    with pytest.raises(UsageError, match=r"C code is made of Keras models and \.tflite files"):
        compressor.export(tmp_path / "net.onnx", tmp_path / "c", format="c")


def test_an_operator_that_is_not_there_is_refused_by_its_name(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    model = net(keras, layers.Conv2D(2, 3), layers.Permute((2, 1, 3)), layers.Flatten())
    with pytest.raises(ModelError, match="cannot compute this operator: TRANSPOSE"):
        compressor.export(model, tmp_path / "c", format="c", input_range=(0, 1))
    assert not (tmp_path / "c").exists()


def test_without_a_compiler_it_ends_in_one_line(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(MissingRuntimeError, match="has no C compiler; install gcc or clang"):
        compressor.export(model, tmp_path / "c", format="c", input_range=(0, 1))


@needs_compiler
def test_a_folder_with_other_files_is_left_alone(model: Any, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("mine")
    with pytest.raises(RunDirectoryError, match="the folder is not empty"):
        compressor.export(model, tmp_path, format="c", input_range=(0, 1))
    assert (tmp_path / "Makefile").read_text() == "mine"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"quantize": "float16"}, "C code computes in int8: float16"),
        ({"encoding": "csr"}, "C code takes no encoding: csr"),
        ({"runtime": "litert"}, "unknown processor: litert; choose from portable, cortex-m0"),
    ],
)
def test_what_c_code_has_not_is_refused_before_any_work(
    asked: dict[str, str], said: str, model: Any, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        compressor.export(model, tmp_path / "c", format="c", **asked)


def test_a_file_that_is_no_library_of_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.so").write_bytes(b"\x7fELF nothing")
    with pytest.raises(CheckpointError, match="this is no library of a model"):
        compressor.load(tmp_path / "net.so")
    told = command_line.compressor("inspect", tmp_path / "net.so")
    assert told.code == 2 and "a compiled library cannot be inspected" in told.stderr


def test_runtimes_lists_c() -> None:
    rows = command_line.compressor("runtimes", "list", "--json").json()
    assert [row["format"] for row in rows if row["name"] == "c"] == ["c"]
