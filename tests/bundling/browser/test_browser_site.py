"""The folder for browsers: what is in it, for which models, and which are refused."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from drawing_page import DrawingPage, serving
from onnx import TensorProto, helper, numpy_helper

from compressor.bundling.browser import site_members
from compressor.errors import UsageError
from deploy import quiet_onnxruntime
from deploy.artifact import Artifact
from deploy.bundle import open_bundle, pack_members
from deploy.manifest import VECTORS, Manifest
from deploy.vectors import CheckVectors

onnxruntime = quiet_onnxruntime.load()


def network(kernel: np.ndarray, last: str, sides: tuple[int, ...]) -> bytes:
    """Flatten, a matrix, and an activation or none: float32 (n, *sides) -> (n, classes)."""
    nodes = [
        helper.make_node("Flatten", ["picture"], ["flat"]),
        helper.make_node("MatMul", ["flat", "kernel"], ["product"]),
        helper.make_node(last, ["product"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", *sides])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", kernel.shape[1]])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def site_of(
    digits: Any, model: bytes, rows: np.ndarray, tarball: Path, folder: Path, **changes: Any
) -> Path:
    """The folder of a bundle of another model than the digits'."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {"picture": rows})
    inputs, scores = digits.artifact.inputs[0], digits.artifact.outputs[0]
    rule = digits.artifact.preprocessing[0]
    row = rows.shape[1:]
    vectors = CheckVectors({"picture": rows}, outputs, 1e-5)
    artifact: Artifact = dataclasses.replace(
        digits.artifact,
        file="net.onnx",
        bytes=len(model),
        sha256=hashlib.sha256(model).hexdigest(),
        vectors_sha256=hashlib.sha256(vectors.to_bytes()).hexdigest(),
        inputs=(dataclasses.replace(inputs, name="picture", shape=(None, *row)),),
        outputs=(dataclasses.replace(scores, shape=(None, outputs.shape[1])),),
        preprocessing=(dataclasses.replace(rule, name="picture", shape=row),),
        **changes,
    )
    members = site_members(artifact, model, vectors, tarball=tarball)
    manifest = Manifest(
        "net-browser", "browser", "onnxruntime-web", "1.30.0", artifact, (), (), "tests"
    )
    packed = pack_members(manifest, {**members, VECTORS: vectors.to_bytes()})
    for name, content in packed.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_the_folder_is_whole_and_the_same_every_time(site, digits, tarball) -> None:
    members = site_members(
        digits.artifact, digits.file.read_bytes(), digits.vectors, tarball=tarball
    )

    assert open_bundle(site, None).artifact == digits.artifact
    for name, content in members.items():
        assert (site / name).read_bytes() == content
    assert {"index.html", "app.js", "style.css", "check.json", "runtime/LICENSE"} < set(members)
    assert members["model/digits.onnx"] == digits.file.read_bytes()
    assert members["runtime/ort.wasm"].startswith(b"\0asm")
    assert b"v1.30.0" in members["runtime/ort.js"][:100]
    assert b"Microsoft Corporation" in members["runtime/LICENSE"]


def test_the_vectors_of_the_page_are_those_of_the_artefact(digits, tarball) -> None:
    members = site_members(digits.artifact, b"", digits.vectors, tarball=tarball)
    check = json.loads(members["check.json"])

    assert check["input"] == {"name": "image", "height": 28, "width": 28, "paper": 0.0, "ink": 1.0}
    for name, expected in (
        ("inputs", digits.vectors.inputs["image"]),
        ("outputs", digits.vectors.outputs),
    ):
        found = np.frombuffer(base64.b64decode(check[name]), "<f4").reshape(expected.shape)
        assert np.array_equal(found, expected)
    assert (check["examples"], check["tolerance"]) == (16, digits.vectors.tolerance)


@pytest.mark.slow
def test_another_size_many_labels_and_dark_ink(browser, digits, tarball, tmp_path) -> None:
    """A picture of 12 x 20 on which 255 is paper; each class is a column of it."""
    kernel = np.zeros((12, 20, 20), np.float32)
    for column in range(20):
        kernel[:, column, column] = -0.05
    rows = np.full((4, 12, 20), 255, np.float32)
    for row in range(4):
        rows[row, :, 3 * row] = 0
    labels = tuple(f"column {column:02d}" for column in range(20))
    site = site_of(
        digits,
        network(kernel.reshape(240, 20), "Softmax", (12, 20)),
        rows,
        tarball,
        tmp_path,
        classes=20,
        labels=labels,
        outputs_are="probabilities",
        verified=(),
    )
    with serving(site) as address, DrawingPage(browser, address, width=390) as shown:
        assert shown.state == "right"
        assert shown.text("status-text").startswith("4 of 4 check vectors right")
        assert shown.text("title") == "Draw" and "12\u00a0×\u00a020" in shown.text("seen-note")
        assert shown.text("accuracy") == "–"
        # A line down is moved to the middle: the tenth or the eleventh column.
        assert shown.draw([[(0.1, 0.1), (0.1, 0.5), (0.1, 0.9)]]) in labels[9:11]
        shares = shown.shares()
        assert len(shares) == 12  # the most probable ones, in that order
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert next(iter(shares)) == shown.text("verdict")
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390
        assert shown.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("outputs_are", ["logits", "probabilities"])
def test_one_score_says_one_of_two_classes(browser, digits, tarball, tmp_path, outputs_are) -> None:
    """Much ink is class "full"."""
    last, weight = ("Identity" if outputs_are == "logits" else "Tanh"), 0.2
    rows = np.zeros((2, 8, 8, 1), np.float32)
    rows[1] = 1
    site = site_of(
        digits,
        network(np.full((64, 1), weight, np.float32), last, (8, 8, 1)),
        rows,
        tarball,
        tmp_path,
        classes=2,
        threshold=0.8,
        labels=("bare", "full"),
        outputs_are=outputs_are,
    )
    zigzag = [[(0.1 + 0.8 * (step % 2), 0.1 + 0.05 * step) for step in range(17)]]
    with serving(site) as address, DrawingPage(browser, address) as shown:
        assert shown.draw([[(0.5, 0.5)]]) == "bare"
        assert sum(shown.shares().values()) == pytest.approx(100, abs=0.2)
        assert shown.draw(zigzag) == "full"
        assert list(shown.shares()) == ["bare", "full"]


def _port(digits: Any, **changes: Any) -> dict[str, Any]:
    return {"inputs": (dataclasses.replace(digits.artifact.inputs[0], **changes),)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (lambda digits: {"format": "tflite"}, "browsers run ONNX: digits.onnx is tflite"),
        (lambda digits: {"inputs": digits.artifact.inputs * 2}, "several inputs: 2"),
        (lambda digits: _port(digits, dtype="uint8"), "uint8 and float32"),
        (lambda digits: _port(digits, shape=(None, 28, 28, 3)), "?x28x28x3"),
        (lambda digits: _port(digits, shape=(None, 784)), "?x784"),
        (lambda digits: _port(digits, shape=(None, None, 28, 1)), "?x?x28x1"),
        (lambda digits: _port(digits, shape=(16, 28, 28, 1)), "16x28x28x1"),
        (lambda digits: _port(digits, shape=(None, 4096, 4096)), "?x4096x4096"),
        (lambda digits: _port(digits, name="another"), "another"),
        (lambda digits: _port(digits, shape=(None, 28, 29, 1)), "check vectors"),
    ],
)
def test_what_nobody_can_draw_for_is_refused(digits, rejected, changes, said) -> None:
    artifact = dataclasses.replace(digits.artifact, **changes(digits))
    # The tarball is not looked at: a model that does not fit needs no download.
    message = rejected(
        UsageError, site_members, artifact, b"", digits.vectors, tarball=Path("/nowhere")
    )

    assert said in message and "one picture of one channel" in message
