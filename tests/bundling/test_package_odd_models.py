"""Bundles of models and files that were once refused on the device, or answered wrongly there."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import compressor
from device_runner import DeviceRunner
from http_requests import idx
from onnx import TensorProto, helper, numpy_helper

from compressor.bundling.keys import read_private_key
from compressor.errors import BundleError
from deploy.artifact_parts import InputRule, Port
from deploy.errors import RequestError
from deploy.images.reader import ExampleReader

FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


def bundle_of(
    folder: Path,
    nodes: Sequence[Any],
    x: tuple[int, Sequence[Any]],
    y: tuple[int, Sequence[Any]],
    more: Sequence[object] = (),
    **constants: np.ndarray,
) -> DeviceRunner:
    """A packed ONNX model with input x and output y: (element type, shape)."""
    ports = [helper.make_tensor_value_info(name, *one) for name, one in (("x", x), ("y", y))]
    kept = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], kept)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / "m.onnx")
    bundle = folder / "m.bundle"
    words = ("package", folder / "m.onnx", "--device", "linux-x86-64", "-o", bundle)
    said = compressor(*words, *more)
    assert said.code == 0, said.stderr
    return DeviceRunner(bundle)


def test_an_output_of_one_number_a_row_is_right_on_the_device_too(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["d"]),
        helper.make_node("Squeeze", ["d", "axes"], ["y"]),
    ]
    weights = np.arange(4, dtype=np.float32).reshape(4, 1)
    flat = (FLOAT, ["n"])
    found = bundle_of(
        tmp_path, nodes, (FLOAT, ["n", 4]), flat, w=weights, axes=np.array([1], np.int64)
    )

    verified = found("verify")

    assert verified.code == 0, verified.stderr
    assert compressor("verify", tmp_path / "m.bundle").code == 0


def test_numbers_for_a_float64_input_keep_their_digits(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sub", ["x", "start"], ["d"]),
        helper.make_node("Cast", ["d"], ["y"], to=FLOAT),
    ]
    start = np.array([1.7e9, 1.7e9])
    known = 1.7e9 + np.arange(200).reshape(100, 2) / 8
    data = tmp_path / "d.npz"
    np.savez(data, x_train=known[:80], y_train=known[:80] - 1.7e9, x_test=known[80:])
    stored = dict(np.load(data)) | {"y_test": known[80:] - 1.7e9}
    np.savez(data, **stored)
    shape = ["n", 2]
    more = ("--data", data)
    found = bundle_of(tmp_path, nodes, (DOUBLE, shape), (FLOAT, shape), more, start=start)
    np.save(tmp_path / "whole.npy", np.array([[1700000001, 1700000033]]))

    said = found("run", tmp_path / "whole.npy", "--json")

    outputs = json.dumps(json.loads(said.stdout))
    assert "[1.0, 33.0]" in outputs, outputs
    rows = [[1700000001.5, 1700000033.25], [1700000001, 1700000002]]
    with found.serving(log=tmp_path / "log") as (_, port):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/predict",
            json.dumps({"instances": rows}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            told = answer.read().decode()
    assert "[1.5, 33.25]" in told and "[1.0, 2.0]" in told, told


def test_the_labels_of_a_sequence_are_run_without_a_picture(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(2, 3)).astype(np.float32)
    x = generator.normal(size=(40, 5, 2)).astype(np.float32)
    y = (x @ weights).argmax(axis=-1)
    np.savez(tmp_path / "d.npz", x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:])
    np.save(tmp_path / "x.npy", x[:2])
    (tmp_path / "loop").symlink_to("loop")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    more = ("--data", tmp_path / "d.npz")
    found = bundle_of(tmp_path, nodes, (FLOAT, ["n", 5, 2]), (FLOAT, ["n", 5, 3]), more, w=weights)

    said = found("run", tmp_path / "x.npy", "--json")

    assert said.code == 0, said.stderr
    assert json.dumps(y[0].tolist()) in said.stdout
    assert not [*tmp_path.glob("*.mask.png")]
    refused = found("run", tmp_path / "x.npy", "--masks", tmp_path)
    assert refused.code == 2 and "this mask is no picture" in refused.stderr
    assert found("run", tmp_path / "loop").code == 2


def reader(
    *inputs: tuple[str, tuple[int | None, ...], float], bits: bool = False, **options: bool
) -> ExampleReader:
    """Of a model whose inputs have these shapes, and check vectors from 0 to this, or of bits."""
    rules = [InputRule(name, name, shape, "float32", 1.0, "") for name, shape, _ in inputs]
    ports = [Port(name, (None, *shape), "float32") for name, shape, _ in inputs]
    known = {
        name: np.linspace(0, most, 8 * int(np.prod([n or 2 for n in shape])), dtype=np.float32)
        for name, shape, most in inputs
    }
    known = {name: np.rint(values) if bits else values for name, values in known.items()}
    artifact: Any = SimpleNamespace(preprocessing=rules, inputs=ports)
    vectors: Any = SimpleNamespace(inputs=known)
    return ExampleReader(artifact, lambda: vectors, **options)  # type: ignore[arg-type]


def npz(path: Path, **arrays: np.ndarray) -> bytes:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path.read_bytes()


def npy(path: Path, array: np.ndarray) -> bytes:
    np.save(path, array)
    return path.read_bytes()


def test_bytes_in_an_npz_are_what_they_are_in_an_npy(tmp_path: Path) -> None:
    pictures = np.full((3, 4, 4, 1), 51, np.uint8)
    pictures[0, 0, 0] = 255
    one = ("x", (4, 4, 1), 1.0)
    alone, both = reader(one), reader(one, ("b", (1,), 9.0))
    numbers = np.array([[7], [0], [1]], np.uint8)

    plain = alone.read(npy(tmp_path / "a.npy", pictures), "a")["x"]
    named = alone.read(npz(tmp_path / "a.npz", x=pictures), "a")["x"]
    several = both.read(npz(tmp_path / "b.npz", x=pictures, b=numbers), "b")

    assert plain.max() == 1 and plain.min() == pytest.approx(0.2)
    np.testing.assert_array_equal(named, plain)
    np.testing.assert_array_equal(several["x"], plain)
    np.testing.assert_array_equal(several["b"], numbers)
    inverted = reader(one, invert=True).read(npz(tmp_path / "a.npz", x=pictures), "a")["x"]
    assert inverted.min() == 0 and inverted.max() == pytest.approx(0.8)
    with pytest.raises(RequestError, match="cannot be inverted"):
        reader(one, ("b", (1,), 9.0), invert=True).read((tmp_path / "b.npz").read_bytes(), "b")


@pytest.mark.parametrize("shape", [(4,), (20, 4), (8, 8, 1)])
@pytest.mark.parametrize("form", ["npy", "npz"])
def test_bits_are_no_bytes_of_a_picture(tmp_path: Path, shape: tuple[int, ...], form: str) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (3, *shape), dtype=np.uint8)

    def read(takes: ExampleReader, array: np.ndarray) -> np.ndarray:
        path = tmp_path / f"x.{form}"
        content = npy(path, array) if form == "npy" else npz(path, x=array)
        return np.asarray(takes.read(content, "x")["x"]).reshape(array.shape)

    only_bits = reader(("x", shape, 1.0), bits=True)
    np.testing.assert_array_equal(read(only_bits, bits), bits)
    if len(shape) > 1 or form == "npy":
        np.testing.assert_array_equal(read(only_bits, 255 * bits), bits)
        # Where the model knows what lies between, these are dark.
        assert read(reader(("x", shape, 1.0)), bits).max() == pytest.approx(1 / 255)


def test_a_dark_picture_stays_dark() -> None:
    takes = reader(("x", (784,), 1.0), bits=True)
    dark = np.zeros((2, 28, 28, 1), np.uint8)
    dark[0, 0] = 1

    assert takes.read(idx(dark[..., 0]), "x")["x"].max() == pytest.approx(1 / 255)
    assert takes._fitted(dark, "x").max() == pytest.approx(1 / 255)


def test_counts_of_a_row_are_numbers_in_an_npz(tmp_path: Path) -> None:
    counts = np.arange(18, dtype=np.uint8).reshape(3, 6)
    takes = reader(("x", (6,), -3.0))

    found = takes.read(npz(tmp_path / "x.npz", x=counts), "x")["x"]

    np.testing.assert_array_equal(found, counts)


def test_pictures_of_as_many_channels_as_the_model_takes_are_taken(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 2), dtype=np.uint8)

    found = reader(("x", (8, 8, 2), 255.0)).read(npy(tmp_path / "x.npy", pictures), "x")["x"]

    np.testing.assert_array_equal(found, pictures)


def test_a_grey_picture_is_not_given_alpha_to_fill_a_row(tmp_path: Path) -> None:
    grey = np.zeros((2, 14, 14, 1), np.uint8)

    with pytest.raises(RequestError):
        reader(("x", (784,), 255.0))._fitted(grey, "x")
    assert reader(("x", (196,), 255.0))._fitted(grey, "x").size == grey.size
    alpha = np.zeros((2, 14, 14, 4), np.uint8)
    assert reader(("x", (784,), 255.0))._fitted(alpha, "x").size == alpha.size


@pytest.mark.slow
def test_a_name_that_no_device_takes_is_refused_before_anything_is_written(
    artefacts: Path, tmp_path: Path
) -> None:
    model = tmp_path / f"{'m' * 187}.tflite"
    model.write_bytes((artefacts / "small.tflite").read_bytes())
    words = ("package", model, "--device", "raspberrypi-4", "-o", tmp_path / "b.bundle")

    said = compressor(*words)

    assert said.code == 2 and "--name" in said.stderr
    assert not (tmp_path / "b.bundle").exists()
    assert compressor(*words, "--name", "short").code == 0


def test_the_public_key_is_not_to_be_hidden(tmp_path: Path) -> None:
    assert compressor("keygen", tmp_path / "release").code == 0
    (tmp_path / "release.pub").chmod(0o644)

    with pytest.raises(BundleError, match=r"ends in \.key"):
        read_private_key(tmp_path / "release.pub")
