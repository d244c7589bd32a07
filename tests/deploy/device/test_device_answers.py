"""What the runner answers where a model gives no classes, or several outputs."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploy.answers import Answers, answers_of
from deploy.arrays import write_arrays
from deploy.errors import RequestError
from deploy.images.masks import encode_mask
from deploy.runner.commands import run
from deploy.runner.commands.targets import Collected
from deploy.tasks import Head

X = np.arange(12, dtype=np.float32).reshape(2, 6)
LOGITS = {"outputs_are": "logits"}


def _answers(head: Head, outputs: Any, labels: tuple[str, ...] | None = None) -> Answers:
    found = np.asarray(outputs, np.float32)
    return answers_of((head,), found.reshape(len(found), -1), [X], labels)


def test_a_regression_gives_its_numbers() -> None:
    answers = _answers(Head("", "regression", (2,)), [[0.5, -3], [1e6, 2.25]])

    assert answers.describe(0) == {"values": [0.5, -3.0]}
    assert answers.texts(1, 1) == ["1e+06 2.25"]


def test_many_numbers_are_cut_in_a_line_only() -> None:
    answers = _answers(Head("", "regression", (4, 5)), np.zeros((1, 20)))

    assert answers.texts(0, 1)[0].endswith(" ...")
    assert np.shape(answers.describe(0)["values"]) == (4, 5)


def test_several_labels_may_hold_or_none() -> None:
    head = Head("", "multi-label", (3,), 3, 0.0, **LOGITS)
    answers = _answers(head, [[1, -1, 2], [-1, -1, -1]], ("red", "round", "large"))

    assert answers.texts(0, 1) == ["red large"] and answers.texts(1, 1) == ["-"]
    assert answers.describe(0)["labels"] == ["red", "large"]
    assert answers.describe(0)["probabilities"] == pytest.approx([0.731059, 0.268941, 0.880797])


def test_a_reconstruction_gives_an_anomaly_score() -> None:
    answers = _answers(Head("", "reconstruction", (6,)), X + np.array([[0.0], [2.0]]))

    assert [answers.describe(n) for n in (0, 1)] == [
        {"reconstruction_error": 0.0},
        {"reconstruction_error": 4.0},
    ]


def test_several_outputs_are_answered_by_name() -> None:
    heads = (
        Head("kind", "classification", (2,), 2, **LOGITS),
        Head("box", "regression", (4,)),
    )
    answers = answers_of(heads, np.array([[0, 9, 1, 2, 3, 4]], np.float32), [X], ("cat", "dog"))

    found = answers.describe(0)["outputs"]
    assert found["kind"]["label"] == "dog" and found["box"] == {"values": [1, 2, 3, 4]}
    assert answers.texts(0, 1) == ["kind=dog 0.9999", "box=1 2 3 4"]


def test_a_mask_is_a_picture_of_class_numbers() -> None:
    mask = np.arange(12).reshape(3, 4)

    picture = Image.open(io.BytesIO(encode_mask(mask)))

    assert picture.mode == "P" and np.array_equal(np.asarray(picture), mask)
    colours = picture.convert("RGB")
    assert [colours.getpixel((x, 0)) for x in range(3)] == [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    for strange in (np.zeros((2, 2, 2), int), np.full((2, 2), 256)):
        with pytest.raises(RequestError, match="no picture"):
            encode_mask(strange)


HEADS = {
    "segmentation": Head("", "segmentation", (2, 2, 2), 2, **LOGITS),
    "reconstruction": Head("", "reconstruction", (6,)),
    "regression": Head("", "regression", (6,)),
}


def _run(monkeypatch: Any, head: Head, outputs: np.ndarray, file: Path, *options: str) -> list[str]:
    """What `run` prints of a model whose runtime gives these outputs for X."""
    np.save(file, X)
    artifact = SimpleNamespace(tasks=(head,), heads=(head,), file="some.onnx", labels=None)
    bundle = SimpleNamespace(artifact=artifact, vectors=None)
    reader = SimpleNamespace(read=lambda content, where: {"": X})
    flat = outputs.astype(np.float32).reshape(2, -1)
    model = SimpleNamespace(
        classify=lambda part, batch: answers_of((head,), flat[: len(part[""])], [part[""]], None)
    )
    monkeypatch.setattr("deploy.images.reader.ExampleReader", lambda *_, **__: reader)
    monkeypatch.setattr("deploy.model.Model.load", lambda *_: model)
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    source: Any = SimpleNamespace(open=lambda: bundle)
    printed: list[str] = []
    monkeypatch.setattr("builtins.print", lambda line: printed.append(line))
    assert run.execute(parser.parse_args([*options, str(file), "--batch", "2"]), source) == 0
    return printed


def test_masks_are_written_beside_their_file_or_into_a_folder(monkeypatch, tmp_path) -> None:
    outputs = np.eye(2)[np.array([[[0, 1], [1, 1]], [[0, 0], [0, 0]]])]
    file, folder = tmp_path / "x.npy", tmp_path / "masks"
    folder.mkdir()

    lines = _run(monkeypatch, HEADS["segmentation"], outputs, file)
    (first, _) = _run(
        *(monkeypatch, HEADS["segmentation"], outputs, file),
        *("--json", "--masks", str(folder)),
    )

    assert lines[0].split("\t")[1:] == [
        *("0", "0:0.2500 1:0.7500", str(tmp_path / "x.npy-0.mask.png"))
    ]
    described = json.loads(first)
    assert described["shares"] == {"0": 0.25, "1": 0.75}
    mask = np.asarray(Image.open(described["mask"]))
    assert Path(described["mask"]).parent == folder and mask.tolist() == [[0, 1], [1, 1]]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        *("x.npy-0.mask.png", "x.npy-1.mask.png")
    ]


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("regression", ["--masks", "."], "gives no masks"),
        ("segmentation", ["--masks", "nowhere"], "no such folder for masks"),
        ("segmentation", ["x.npy"], "the same masks"),
        ("segmentation", ["-"], "standard input has no folder"),
    ],
)
def test_masks_without_a_place_are_refused_before_anything_runs(
    monkeypatch, tmp_path, task, options, said
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(RequestError, match=said):
        _run(monkeypatch, HEADS[task], np.zeros((2, 8)), Path("x.npy"), *options)


def test_the_metrics_of_examples_with_targets_are_printed_last(monkeypatch, tmp_path) -> None:
    np.save(tmp_path / "y.npy", np.array([0, 1]))
    targets = ("--targets", str(tmp_path / "y.npy"))

    lines = _run(
        monkeypatch, HEADS["reconstruction"], X + np.array([[0], [2]]), tmp_path / "x.npy", *targets
    )
    np.save(tmp_path / "y.npy", X + 1)
    said = _run(
        *(monkeypatch, HEADS["regression"], X, tmp_path / "x.npy"),
        *("--json", *targets),
    )

    assert lines[2:] == ["auc\t100.00 %\t2 examples", "reconstruction_error\t2\t2 examples"]
    assert json.loads(said[-1]) == {"examples": 2, "metrics": {"mean_absolute_error": 1.0}}


@pytest.mark.parametrize(
    ("task", "targets", "said"),
    [
        ("regression", np.zeros((2, 5)), "do not fit the outputs"),
        ("regression", np.full((2, 6), np.nan), "no numbers"),
        ("regression", np.array(["a", "b"]), "y.npy"),
        ("segmentation", np.full((2, 2, 2), 2), "out of range"),
        ("segmentation", np.full((2, 2, 2), 0.5), "no classes"),
        ("reconstruction", np.array([0, 2]), "out of range"),
    ],
)
def test_targets_that_are_none_are_refused(task, targets, said) -> None:
    file = io.BytesIO()
    np.save(file, targets)

    with pytest.raises(RequestError, match=said):
        Collected.of((HEADS[task],), file.getvalue(), "y.npy")


def test_what_a_mask_ignores_counts_nowhere_on_a_device() -> None:
    mask = dataclasses.replace(HEADS["segmentation"], ignored=255)
    outputs = np.zeros((2, *mask.shape), np.float32)
    targets = np.zeros((2, *mask.shape[:-1]), np.uint8)
    targets[0], targets[1, 0] = 255, 1
    said = answers_of((mask,), outputs.reshape(2, -1), [X], None)

    collected = Collected.of((mask,), _bytes(targets), "y.npy")
    collected.add(said)

    expected = dataclasses.replace(mask, ignored=None).values(outputs[1:], targets[1:])
    (line,) = collected.lines(as_json=True)
    assert json.loads(line)["metrics"] == expected
    targets[1, 1] = 254
    with pytest.raises(RequestError, match="out of range"):
        Collected.of((mask,), _bytes(targets), "y.npy")


def test_targets_of_several_outputs_go_by_their_names() -> None:
    heads = (Head("kind", "classification", (2,), 2, **LOGITS), Head("box", "regression", (4,)))
    file = io.BytesIO()
    write_arrays(file, {"kind": np.array([1, 0]), "box": np.ones((2, 4), np.float32)})
    outputs = np.array([[0, 9, 1, 1, 1, 1], [0, 9, 1, 1, 1, 3]], np.float32)

    collected = Collected.of(heads, file.getvalue(), "y.npz")
    collected.add(answers_of(heads, outputs, [X], None))

    assert list(collected.lines(as_json=False)) == [
        *("kind/accuracy\t50.00 %\t2 examples", "box/mean_absolute_error\t0.25\t2 examples")
    ]
    with pytest.raises(RequestError, match="not those of the outputs"):
        Collected.of(heads, _bytes(np.zeros(2)), "y.npy")


def _bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
