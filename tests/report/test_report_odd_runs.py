"""Runs whose parts do not belong together, and numbers that cannot be drawn or compared."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings

import numpy as np
import onnx
import pytest
from bench_documents import bench_document
from command_line import compressor as command
from onnx import TensorProto, helper, numpy_helper
from results_documents import make_results

import compressor
from compressor.foundation import write_json
from compressor.report import formatting as form, plotting as plot
from compressor.report.artefacts import artefact_table, failed_exports
from compressor.report.headline import headline
from compressor.report.markdown import report_markdown
from compressor.report.networks import LayerSummary, Network
from compressor.report.run_contents import RunContents, read_run
from compressor.report.sections import build_report
from compressor.report.structure import layer_figure
from compressor.runs import outdated_steps
from compressor.runs.run_directory import _digest


@pytest.fixture(scope="module")
def pruned(keras, tmp_path_factory):
    """A run of prune, stored sparse and exported, and the words that do it; not to be written."""
    folder = tmp_path_factory.mktemp("odd")
    generator = np.random.default_rng(0)
    x, y = generator.random((80, 30)).astype(np.float32), np.arange(80) % 2
    data = folder / "d.npz"
    np.savez(data, x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    layers = [keras.Input((30,)), keras.layers.Dense(20, "relu"), keras.layers.Dense(2)]
    keras.Sequential(layers).save(folder / "m.keras")
    run = folder / "run"
    prune = ("prune", folder / "m.keras", "--data", data, "--max-steps", 2, "--force", "-o")
    for words in (
        (*prune, run, "--sparsity", 0.5),
        ("sparsify", run),
        ("export", run, "-o", run / "half.onnx"),
    ):
        assert command(*words).code == 0
    return run, prune


def text_of(run):
    return report_markdown(build_report(read_run(run)))


def test_what_was_made_of_an_earlier_pruning_is_not_said_of_the_new_one(pruned, tmp_path):
    run = shutil.copytree(pruned[0], tmp_path / "run")
    before = text_of(run)

    assert command(*pruned[1], run, "--sparsity", 0.9).code == 0
    text = text_of(run)

    assert "stored sparse" in before and "half.onnx" in before and "left out" not in before
    assert "pruned by 90 %" in text and "stored sparse" not in text
    assert "step_3 is left out" in text and "half.onnx was made of another model" in text
    assert "half.onnx" not in repr(headline(read_run(run)))
    known = re.compile(r'"threshold": \d')
    assert known.search(command("inspect", pruned[0] / "step_3", "--json").stdout)
    assert not known.search(command("inspect", run / "step_3", "--json").stdout)


def test_an_interrupted_pruning_is_not_reported_with_the_model_of_the_one_before(pruned, tmp_path):
    run = shutil.copytree(pruned[0], tmp_path / "run")
    assert command(*pruned[1], tmp_path / "new", "--sparsity", 0.9).code == 0
    shutil.rmtree(run / "step_2_1")
    shutil.copytree(tmp_path / "new" / "step_2_1", run / "step_2_1")

    text, refusal = text_of(run), command("export", run, "-o", tmp_path / "a.onnx")

    left = compressor.inspect(run / "step_2_1")["nonzeros"]
    assert "A model, pruned; pruned by 90 %." in text and f"**{left}**" in text
    assert "step_2_2 is left out" in text
    assert refusal.code == 2 and "prune again with --force" in refusal.stderr
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize(
    ("sparsity", "shown"),
    [
        (0.9, "90 %"),
        (0.999, "99.9 %"),
        (0.99999, "99.999 %"),
        (1 - 1e-7, "99.99999 %"),
        (1.0, "100 %"),
        (0.00001, "0.001 %"),
        (0.0, "0 %"),
        (0.123456, "12.35 %"),
    ],
)
def test_a_proportion_is_not_rounded_to_nothing_or_all(sparsity, shown):
    assert form.proportion(sparsity) == shown


def test_the_dense_model_is_not_the_one_that_was_pruned_at_0():
    results = make_results()
    lost = [{"format": "onnx", "form": "float32", "error": "no room"}]
    results["dense"][0]["export_errors"] = lost
    results["proportions"][0]["sparsity"] = 0.0

    assert failed_exports(results)[0].startswith("dense, seed 0, ONNX float32: no room")
    assert [row[0] for row in artefact_table(results).rows][:2] == ["dense", "0 %"]


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_counted_and_not_drawn(tmp_path, odd):
    for name, first in (("a", odd), ("b", 1.0)):
        kernel = np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32)
        kernel[0, 0] = first
        write_product(tmp_path / f"{name}.onnx", kernel, r"\[here](http://a.example)")

    written = compressor.report_run(tmp_path)

    text = written.markdown.read_text()
    assert "1 of them infinite or no numbers" in text
    assert r"\[here](http" in text and r"\\\[here](http" in text
    assert r"[here](http" not in text.replace(r"\\\[here](http", "")


def write_product(path, kernel, name):
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", w]) for n, w in SIZES]
    node = helper.make_node("MatMul", ["x", name], ["y"])
    graph = helper.make_graph(
        [node], "g", values[:1], values[1:], [numpy_helper.from_array(kernel, name)]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


SIZES = (("x", 30), ("y", 40))


def test_a_long_title_leaves_room_for_the_layers():
    layers = [LayerSummary("a" * 40, "DepthwiseConv2D" * 2, (7, 7, 6), 900, 90) for _ in range(9)]
    network = Network("for litert and for onnxruntime-web as well", layers, ())

    with plot.style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = layer_figure(network, network).draw()
        figure.canvas.draw()

    edge = figure.axes[0].get_legend().get_window_extent()
    assert edge.x0 >= 0 and edge.x1 <= figure.bbox.width


@pytest.mark.parametrize("status", ["wrong", "right"])
def test_nothing_is_faster_than_what_is_wrong(status):
    bench = bench_document(((1, 1),))
    bench["runs"][0]["rows"][0]["status"] = status
    contents = RunContents("run", bench=bench)

    told, first = report_markdown(build_report(contents)), repr(headline(contents))

    assert ("as fast as the first" in told) == (status == "right")
    assert ("faster" in first) == (status == "right") and "ms" in first


def test_what_was_shrunk_of_an_earlier_pruning_is_not_that_of_the_new_one(pruned, tmp_path):
    run = shutil.copytree(pruned[0], tmp_path / "run")
    assert command("shrink", run).code == 0
    assert command("export", run / "shrunk.keras", "-o", run / "small.onnx").code == 0
    before = read_run(run)

    assert command(*pruned[1], run, "--sparsity", 0.9).code == 0
    after = read_run(run)

    assert [network.title for network in before.after] == ["50 % pruned", "shrunk"]
    assert [network.title for network in after.after] == ["90 % pruned"]
    assert not [note for note in before.notes if "small.onnx" in note]
    assert [note for note in after.notes if "small.onnx was made of another model" in note]


def test_steps_are_outdated_by_what_came_after_them_alone(pruned, tmp_path):
    run = shutil.copytree(pruned[0], tmp_path / "run")
    assert outdated_steps(run) == []
    # Another model was trained here before: what was pruned since is no less current for that.
    other = shutil.copytree(run / "step_2_2", run / "step_1")
    record = json.loads((other / "record.json").read_text())
    record.pop("digest")
    record["sha256"]["model.keras"] = "0" * 64
    write_json(other / "record.json", record | {"digest": _digest(record)})
    stamp = (run / "step_2_1" / "record.json").stat().st_mtime_ns
    for apart, found in ((-1000, []), (1000, ["step_2_1", "step_2_2", "step_3"])):
        os.utime(other / "record.json", ns=(stamp, stamp + apart * 10**9))
        assert outdated_steps(run) == found


def test_a_damaged_record_does_not_keep_other_steps_from_being_used(pruned, tmp_path):
    run = shutil.copytree(pruned[0], tmp_path / "run")
    (run / "step_3" / "record.json").write_text("{broken")

    assert command("export", run, "-o", tmp_path / "a.onnx").code == 0
    assert command("sparsify", run, "--force").code == 0
    assert outdated_steps(run) == []


def test_a_pruning_that_is_refused_leaves_the_run_as_it_was(pruned, tmp_path):
    run = shutil.copytree(pruned[0], tmp_path / "run")
    words = [word for word in pruned[1] if word != "--force"]
    shutil.rmtree(run / "step_2_1")  # as a gradual schedule leaves it
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}

    for more in (("--sparsity", 0.8), ("--sparsity", 0.5, "--pruning-schedule", "gradual")):
        said = command(*words, run, *more)
        assert said.code == 2 and "done before with other options" in said.stderr
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
