"""ONNX's own test models: brought to the form that is exported, they compute what they computed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from compressor.errors import CompressorError
from compressor.exporters.onnx.canonical import keep_names, put_in_order
from compressor.exporters.onnx.foreign import standard_form
from compressor.exporters.onnx.passes import tidy

_FOLDER = Path(onnx.__file__).parent / "backend/test/data"
_KINDS = ("pytorch-converted", "pytorch-operator", "simple")
_AT_LEAST = 50
_TOLERANCE = 1e-4


def _models() -> Iterator[tuple[Path, Any]]:
    """Those with weights, that ONNX Runtime loads."""
    for kind in _KINDS:
        for path in sorted((_FOLDER / kind).glob("*/model.onnx")):
            model = onnx.load(path)
            constants = {one.name for one in model.graph.initializer}
            constants |= {n.output[0] for n in model.graph.node if n.op_type == "Constant"}
            if constants or (path.parent / "test_data_set_0" / "input_1.pb").exists():
                yield path, model


def _run(model: bytes, inputs: dict[str, np.ndarray]) -> Any:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    wanted = {value.name for value in session.get_inputs()}
    return session.run(None, {name: x for name, x in inputs.items() if name in wanted})


def _frozen(path: Path, model: Any) -> dict[str, np.ndarray]:
    """Makes all inputs but the first weights of the model; gives the first one's values."""
    arrays = []
    for part in sorted((path.parent / "test_data_set_0").glob("input_*.pb")):
        arrays.append(numpy_helper.to_array(onnx.load_tensor(part)))
    constants = {one.name for one in model.graph.initializer}
    free = [entry for entry in model.graph.input if entry.name not in constants]
    for entry, array in list(zip(free, arrays, strict=True))[1:]:
        model.graph.initializer.append(numpy_helper.from_array(array, entry.name))
    return {free[0].name: arrays[0]}


def test_at_least_fifty_pass_unchanged_in_result() -> None:
    same, refused, other = 0, [], []
    for path, model in _models():
        try:
            inputs = _frozen(path, model)
            expected = _run(model.SerializeToString(), inputs)
        except Exception:  # one that the runtime does not take, or without plain inputs
            continue
        try:
            standard, _ = standard_form(model.SerializeToString())
            put_in_order(standard.graph)
            keep_names(standard.graph)
            tidy(standard)
            found = _run(standard.SerializeToString(), inputs)
        except CompressorError as error:
            refused.append(f"{path.parent.name}: {error}")
            continue
        close = all(
            np.allclose(one, two, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
            for one, two in zip(found, expected, strict=True)
        )
        if close:
            same += 1
        else:
            other.append(path.parent.name)

    assert not other
    assert same >= _AT_LEAST, refused
