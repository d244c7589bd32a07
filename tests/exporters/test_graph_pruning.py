"""Pruning .tflite and .onnx files of any origin: what goes, what stays, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import compressor
from graph_files import WRITERS
from onnx.reference import ReferenceEvaluator
from onnx_styles import write_style

import compressor as library
from compressor.commands.pruning import _before_and_after
from compressor.errors import CheckFailedError, ModelError, RunDirectoryError, UsageError
from compressor.pruning import check_drop
from deploy.tasks import Head

FORMATS = ("tflite", "onnx")
FIRST = {"tflite": "net/fc1/MatMul", "onnx": "fc1.weight"}


def _zeros(path: Path) -> dict[str, float]:
    """Weight -> the fraction that is zero, by inspect."""
    rows = library.inspect(path)["layers"]
    named = {"/".join(filter(None, (row["layer"], row["variable"]))): row for row in rows}
    return {
        name: row["zeros"] / row["parameters"] for name, row in named.items() if row["parameters"]
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_the_largest_weights_of_each_kernel_stay(kind: str, tmp_path: Path) -> None:
    source, target = WRITERS[kind](tmp_path / f"found.{kind}"), tmp_path / f"pruned.{kind}"

    said = compressor("prune", source, "--no-retrain", "--sparsity", 0.75, "-o", target)

    assert said.code == 0, said.stderr
    assert "accuracy not measured" in said.stdout
    zeros = _zeros(target)
    assert 0.75 < zeros[FIRST[kind]] < 0.76
    assert sum(share > 0.7 for share in zeros.values()) == 2  # no bias
    small = library.export(target, tmp_path / f"small.{kind}")
    assert small["bytes"] < 0.75 * source.stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("granularity", "width"), [("1x4", 4), ("2:4", 4)])
def test_groups_run_along_the_inputs(
    kind: str, granularity: str, width: int, tmp_path: Path
) -> None:
    source, target = WRITERS[kind](tmp_path / f"found.{kind}"), tmp_path / f"pruned.{kind}"
    spec = library.PruningSpec(None if ":" in granularity else 0.5, granularity=granularity)

    record = library.prune_graph(source, target, spec)

    row = next(row for row in record["layers"] if row["layer"] == FIRST[kind])
    assert row["kept"] == row["parameters"] / 2
    if kind == "onnx":
        arrays = {one.name: onnx.numpy_helper.to_array(one) for one in _initializers(target)}
        left = np.count_nonzero(arrays["fc1.weight"].reshape(-1, width), axis=1)
        assert set(left) == ({2} if ":" in granularity else {0, 4})


def _initializers(path: Path):
    return onnx.load(path).graph.initializer


@pytest.mark.slow
def test_layers_are_named_as_their_weights(tmp_path: Path) -> None:
    source = WRITERS["onnx"](tmp_path / "found.onnx")

    record = library.prune_graph(
        source, tmp_path / "pruned.onnx", library.PruningSpec({"fc2.weight": 0.5})
    )

    assert [row["layer"] for row in record["layers"]] == ["fc2.weight"]
    with pytest.raises(UsageError, match=r"fc1\.weight"):
        library.prune_graph(
            source, tmp_path / "x.onnx", library.PruningSpec(layers=("fc1.weigth",))
        )


@pytest.mark.slow
def test_data_tell_what_pruning_cost(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.random((60, 32), np.float32), np.arange(60) % 5
    np.savez(tmp_path / "data.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    source = WRITERS["onnx"](tmp_path / "found.onnx")

    said = compressor(
        *("prune", source, "--no-retrain", "--sparsity", 0.5),
        *("--data", tmp_path / "data.npz", "-o", tmp_path / "pruned.onnx"),
    )

    assert said.code == 0, said.stderr
    assert "% before" in said.stdout and "% after" in said.stdout


@pytest.mark.slow
def test_a_file_is_judged_as_asked_and_may_lose_no_more_than_allowed(tmp_path: Path) -> None:
    """A regression of what the file itself gives; the exit code says what it lost."""
    source, target = WRITERS["onnx"](tmp_path / "found.onnx"), tmp_path / "pruned.onnx"
    x = np.random.default_rng(0).random((60, 32), np.float32)
    (y,) = ReferenceEvaluator(onnx.load(source)).run(None, {"x": x})
    y += np.float32(0.01)
    np.savez(tmp_path / "data.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    plain = ("prune", source, "--no-retrain", "--sparsity", 0.9, "-o", target)
    asked = ("--task", "regression", "--metric", "root_mean_squared_error")

    message = compressor(*plain, *asked).refusal()
    assert "--task, --metric and --max-drop need data" in message and not target.exists()
    data = ("--data", tmp_path / "data.npz")
    said = compressor(*plain, *data, *asked, "--max-drop", 1e6)
    assert said.code == 0, said.stderr
    assert "root mean squared error" in said.stdout and " before" in said.stdout
    again = compressor(*plain, *data, *asked, "--max-drop", 0, "--force")
    assert again.code == 1 and "lost more than it may" in again.stderr
    assert "root_mean_squared_error" in again.stderr and target.exists()


def test_a_drop_counts_where_the_metric_that_decides_has_no_value() -> None:
    """An AUC of examples of one class has none: then the accuracy decides."""
    head = Head("", "binary", (1,), 2, 0.5, "auc", ("auc", "accuracy"))
    values = {"accuracy": 0.5, "reference_accuracy": 0.9, "auc": None, "reference_auc": None}
    comparison = {"heads": [head.describe()], **values}

    with pytest.raises(CheckFailedError, match=r"40\.00 points"):
        check_drop(_before_and_after(comparison), 10.0)


@pytest.mark.slow
def test_what_needs_the_keras_model_says_so(tmp_path: Path) -> None:
    source, target = WRITERS["onnx"](tmp_path / "found.onnx"), tmp_path / "pruned.onnx"
    plain = ("prune", source, "-o", target)

    for more in (
        (),
        ("--no-retrain", "--criterion", "taylor"),
        ("--no-retrain", "--pruning-schedule", "iterative"),
    ):
        assert "Keras model" in compressor(*plain, *more).refusal(after_stages=True)
    assert not target.exists()
    write_style(tmp_path / "integers.onnx", "integers")
    with pytest.raises(ModelError, match="integers"):
        library.prune_graph(tmp_path / "integers.onnx", target)
    with pytest.raises(RunDirectoryError, match="there already"):
        library.prune_graph(source, source, force=True)


def _spread(record: dict) -> float:
    return record["comparison"]["spread"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_least_squares_changes_outputs_less_than_magnitude(kind: str, tmp_path: Path) -> None:
    source, target = WRITERS[kind](tmp_path / f"found.{kind}"), tmp_path / f"pruned.{kind}"
    made = {"input_range": (0, 1), "force": True}
    plain = library.prune_graph(source, target, library.PruningSpec(0.7), **made)
    spec = library.PruningSpec(0.7, criterion="reconstruct", calibration=512)

    record = library.prune_graph(source, target, spec, **made)

    assert _spread(record) < _spread(plain) / 2
    rows = {row["layer"]: row["kept"] for row in record["layers"]}
    assert rows == {row["layer"]: row["kept"] for row in plain["layers"]}
    for report in record["reconstruction"].values():
        assert report["error"] <= report["magnitude_error"]
    again = library.prune_graph(source, tmp_path / f"again.{kind}", spec, input_range=(0, 1))
    assert (tmp_path / f"again.{kind}").read_bytes() == target.read_bytes()
    assert again["reconstruction"] == record["reconstruction"]


@pytest.mark.slow
@pytest.mark.parametrize("style", ["depthwise", "channels last", "batch normalization 9"])
def test_convolutions_are_seen_into(style: str, tmp_path: Path) -> None:
    source = write_style(tmp_path / "found.onnx", style)
    spec = library.PruningSpec(0.5, criterion="reconstruct", calibration=128)

    record = library.prune_graph(source, tmp_path / "pruned.onnx", spec, input_range=(0, 1))

    reports = record["reconstruction"].values()
    assert all(report["error"] <= report["magnitude_error"] for report in reports)
    assert any(report["error"] < 0.7 * report["magnitude_error"] for report in reports)


@pytest.mark.slow
def test_what_cannot_be_seen_into_goes_by_magnitude(tmp_path: Path) -> None:
    source = write_style(tmp_path / "found.onnx", "GRU")
    spec = library.PruningSpec(0.5, criterion="reconstruct", calibration=64)

    record = library.prune_graph(source, tmp_path / "pruned.onnx", spec, input_range=(0, 1))

    notes = [report.get("note", "") for report in record["reconstruction"].values()]
    assert sum("by magnitude: what" in note for note in notes) == 2
    with pytest.raises(UsageError, match="--input-range"):
        library.prune_graph(source, tmp_path / "x.onnx", spec)
