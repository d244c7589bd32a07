"""Packing .tflite and .onnx files of any origin: run once, described, and checked on arrival."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import compressor
from graph_files import WRITERS, dense_onnx, onnx_model, weights
from onnx import helper

import compressor as library
from compressor.bundling import devices
from compressor.bundling.latencies import latency_notes
from deploy.artifact import read_artifact
from deploy.bundle import open_bundle

DEVICES = {"tflite": "raspberrypi-4", "onnx": "linux-x86-64"}


def _described(bundle: Path) -> Any:
    with zipfile.ZipFile(bundle) as archive:
        return json.loads(archive.read("manifest.json"))["artifact"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_file_without_a_description_is_run_once_and_verifies(kind: str, tmp_path: Path) -> None:
    model, bundle = WRITERS[kind](tmp_path / f"found.{kind}"), tmp_path / "found.bundle"

    said = compressor("package", model, "--device", DEVICES[kind], "-o", bundle)

    assert said.code == 0, said.stderr
    assert "had no description" in said.stdout and "accuracy not measured" in said.stdout
    described = _described(bundle)
    assert described["bytes"] == model.stat().st_size
    assert (described["quantize"], described["classes"]) == ("none", 5)
    assert described["outputs_are"] == "probabilities"
    assert described["verified"][0]["accuracy"] is None
    assert library.verify(bundle)["check"]["passed"]


@pytest.mark.slow
def test_data_give_its_accuracy_and_labels_its_classes(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.random((60, 32), np.float32), np.arange(60) % 5
    np.savez(tmp_path / "data.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    model, bundle = dense_onnx(tmp_path / "m.onnx"), tmp_path / "m.bundle"

    said = compressor(
        *("package", model, "--device", "linux-x86-64", "-o", bundle),
        *("--data", tmp_path / "data.npz", "--labels", "a,b,c,d,e"),
    )

    assert said.code == 0, said.stderr
    assert "of 20 examples" in said.stdout
    described = _described(bundle)
    assert described["labels"] == ["a", "b", "c", "d", "e"]
    assert described["verified"][0]["accuracy"] is not None


@pytest.mark.slow
def test_external_data_are_packed_with_it(tmp_path: Path) -> None:
    model, bundle = dense_onnx(tmp_path / "m.onnx", hidden=128), tmp_path / "m.bundle"
    whole = onnx.load(model)
    onnx.save(whole, model, save_as_external_data=True, location="m.data", size_threshold=0)

    said = compressor("package", model, "--device", "linux-x86-64", "-o", bundle)

    assert said.code == 0, said.stderr
    assert _described(bundle)["bytes"] > 128 * 32 * 4
    assert library.verify(bundle)["check"]["passed"]


@pytest.mark.slow
def test_files_without_scores_are_packed_as_what_gives_numbers(tmp_path: Path) -> None:
    nodes = [helper.make_node("Split", ["x"], ["a", "b"], num_outputs=2, axis=1)]
    two = onnx_model(nodes, {}, {"x": ["N", 8, 1]}, {"a": ["N", 4, 1], "b": ["N", 4, 1]})
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    image = onnx_model(
        nodes, {"w": weights(3, 1, 3, 3)}, {"x": ["N", 1, 8, 8]}, {"y": ["N", 3, 6, 6]}
    )
    for name, model, shapes in (("two", two, [(4, 1), (4, 1)]), ("image", image, [(3, 6, 6)])):
        onnx.save(model, tmp_path / f"{name}.onnx")

        said = compressor(
            *("package", tmp_path / f"{name}.onnx", "--device", "linux-x86-64"),
            *("-o", tmp_path / f"{name}.bundle"),
        )

        assert said.code == 0, said.stderr
        bundle = open_bundle(tmp_path / f"{name}.bundle", None)
        heads = bundle.artifact.heads or ()
        assert [(head.task, head.shape) for head in heads] == [("regression", s) for s in shapes]
        assert b"numbers (regression)" in bundle.members["README.md"]


def test_options_that_say_nothing_new_are_refused(artefacts: Path, tmp_path: Path) -> None:
    message = compressor(
        *("package", artefacts / "small.tflite", "--device", "raspberrypi-4"),
        *("--labels", "a,b,c,d", "-o", tmp_path / "b.bundle"),
    ).refusal()

    assert "--labels" in message and "has a description" in message


@pytest.mark.slow
def test_latencies_of_another_processor_and_slower_choices_are_said(
    artefacts: Path, tmp_path: Path
) -> None:
    device = devices.find_device("raspberrypi-4")
    chosen, other = (
        read_artifact(path) for path in (artefacts / "small.tflite", artefacts / "float.tflite")
    )
    results = tmp_path / "bench.json"
    library.bench(
        [artefacts / "small.tflite", artefacts / "float.tflite"],
        output=results,
        rounds=2,
        round_seconds=0.01,
        starts=1,
    )
    document = json.loads(results.read_text())
    run = document["runs"][0]
    run["machine"]["system"], run["machine"]["cpu"] = "Linux x86_64", "A Desktop"
    for row, median in zip(run["rows"], (2.0, 1.0), strict=True):
        for name in ("p50", "p90", "p99"):
            row["latency_ms"][name] |= dict.fromkeys(("value", "low", "high"), median)
    results.write_text(json.dumps(document))

    elsewhere, slower = latency_notes(chosen, [other], device, results)

    assert "A Desktop" in elsewhere and "raspberrypi-4" in elsewhere
    assert "small.tflite" in slower and "2 ms against 1 ms" in slower
    document["runs"][0]["machine"]["system"] = "Linux aarch64"
    results.write_text(json.dumps(document))
    assert latency_notes(chosen, [], device, results) == []
    mine, other_run = run, json.loads(json.dumps(run))
    mine["rows"], other_run["rows"] = run["rows"][:1], run["rows"][1:]
    other_run["machine"]["cpu"] = "A Server"
    document["runs"] = [mine, other_run]
    results.write_text(json.dumps(document))
    assert latency_notes(chosen, [other], device, results) == []  # measured on other machines
