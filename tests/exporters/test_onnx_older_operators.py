"""ONNX files of old operator sets compute, once they are opened, what they did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graph_files import onnx_model, weights
from onnx import helper
from stock_runtimes import run_artefact

import compressor as library
from compressor.errors import ModelError
from compressor.exporters.onnx import older_operators
from compressor.exporters.onnx.kernels import open_model, write

IMAGE = np.random.default_rng(3).standard_normal((2, 3, 7, 5)).astype(np.float32)
SCALES = {
    "larger": (1, 1, 1.7, 2),
    "smaller": (1, 1, 0.5, 0.7),
}


def _model(operator: str, opset: int, scales: Any = None, **attributes: Any) -> Any:
    """A convolution of images, and an operator after it."""
    arrays, inputs = {"w": weights(3, 3, 1, 1)}, ["c"]
    if scales is not None and opset < 9:
        attributes["scales"] = [float(scale) for scale in scales]
    elif scales is not None:
        arrays["s"] = np.array(scales, np.float32)
        inputs.append("s")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node(operator, inputs, ["y"], **attributes),
    ]
    ports = {"x": ("N", 3, 7, 5)}, {"y": ("N", None, None, None)}
    return onnx_model(nodes, arrays, *ports, opset=opset, ir_version=6)


OLD = {
    **{
        f"{operator}-{opset}, {mode}, {size}": _model(operator, opset, SCALES[size], mode=mode)
        for operator, opset, sizes in (
            ("Upsample", 7, ("larger",)),
            ("Upsample", 9, ("larger",)),
            ("Resize", 10, ("larger", "smaller")),
        )
        for mode in ("nearest", "linear")
        for size in sizes
    },
    "Resize-10, linear, both": _model("Resize", 10, (1, 1, 0.6, 1.7), mode="linear"),
    "Hardmax-7": _model("Hardmax", 7),
    "Hardmax-9, axis 0": _model("Hardmax", 9, axis=0),
    "Hardmax-12, axis 2": _model("Hardmax", 12, axis=2),
    "Hardmax-12, axis -2": _model("Hardmax", 12, axis=-2),
    "Softmax-9": _model("Softmax", 9),
    "LogSoftmax-12, axis 2": _model("LogSoftmax", 12, axis=2),
}


@pytest.mark.parametrize("name", OLD)
def test_what_an_old_operator_computes_stays(name: str, tmp_path: Path) -> None:
    onnx.save(OLD[name], tmp_path / "old.onnx")
    (tmp_path / "open.onnx").write_bytes(write(open_model(OLD[name].SerializeToString())))

    wanted, found = (run_artefact(tmp_path / f"{n}.onnx", {"x": IMAGE}) for n in ("old", "open"))

    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_resize_that_no_newer_one_is_like_is_named(rejected: Callable) -> None:
    model = _model("Resize", 10, (1, 1, 2, 0.5), mode="nearest")

    message = rejected(ModelError, open_model, model.SerializeToString())

    assert "Resize" in message and "scales 1, 1, 2, 0.5" in message


@pytest.mark.slow
def test_pruning_refuses_what_was_changed_before_it(
    tmp_path: Path, monkeypatch: Any, rejected: Callable
) -> None:
    """Operators of which nobody knows that ONNX's converter changes them."""
    source = tmp_path / "old.onnx"
    onnx.save(OLD["Resize-10, linear, smaller"], source)
    monkeypatch.setattr(older_operators, "keep_coordinates", lambda model: None)

    message = rejected(ModelError, library.prune_graph, source)

    assert "computes something else in the form that can be pruned" in message
    assert "opset 18 or newer" in message
    assert [*tmp_path.iterdir()] == [source]


@pytest.mark.slow
def test_a_file_whose_outputs_are_random_is_pruned(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("RandomNormalLike", ["m"], ["r"]),
        helper.make_node("Add", ["m", "r"], ["y"]),
    ]
    model = onnx_model(nodes, {"w": weights(8, 4)}, {"x": ("N", 8)}, {"y": ("N", 4)}, opset=18)
    onnx.save(model, tmp_path / "noise.onnx")
    found = library.prune_graph(tmp_path / "noise.onnx", output=tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").exists() and found
