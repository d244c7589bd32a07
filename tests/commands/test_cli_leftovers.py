"""Commands in an empty home: what they leave there, and whom they talk to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from empty_home import EmptyHome, needs_strace

from compressor.commands.command_line import cli

# All in one process, since it takes TensorFlow seconds to start. `main` ends in SystemExit.
_PROGRAM = """
import json, sys
from compressor.commands.command_line import main
for words in json.load(sys.stdin):
    sys.argv = ["compressor", *words]
    try:
        main()
    except SystemExit as stopped:
        assert not stopped.code, words
"""
_OVER_SSH = {"deploy"}
_LONG = {"train", "sweep", "search", "apply"}  # they do what prune, sparsify, export and report do


def command_lines(folder: Path, model: Path, data: Path) -> list[list[str]]:
    """One of every other command, each with what those before it wrote."""
    with_data = ["--data", str(data)]
    # Trainings have two threads at least, and what is timed as many as it is told.
    short = [*with_data, "--max-steps", "1", "--threads", "2"]
    pruned, sparse, onnx, tflite, bundle, key = (
        str(folder / name) for name in ("pruned", "sparse", "s.onnx", "s.tflite", "s.bundle", "key")
    )
    return [
        ["prune", str(model), *short, "--sparsity", "0.8", "-o", pruned, "--force"],
        ["sparsify", f"{pruned}/step_2_2", *with_data, "-o", sparse],
        ["evaluate", f"{sparse}/step_3", *short],
        ["sensitivity", str(model), *with_data],
        ["import", str(model), "-o", str(folder / "imported.keras")],
        ["shrink", str(model), "-o", str(folder / "shrunk.keras")],
        ["export", pruned, *with_data, "-o", tflite],
        ["export", pruned, *with_data, "--quantize", "int8", "-o", onnx],
        ["inspect", str(model), onnx],
        ["bench", onnx, *with_data, "--rounds", "5", "--starts", "1", "-o", f"{folder}/bench.json"],
        ["report", pruned],
        ["keygen", key],
        ["runner", "--key", f"{key}.pub", "-o", str(folder / "runner.pyz")],
        ["package", onnx, "--device", "linux-x86-64", "--sign", f"{key}.key", "-o", bundle],
        ["verify", bundle, "--key", f"{key}.pub"],
        ["devices"],
        ["runtimes"],
    ]


def run_all(lines: list[list[str]], folder: Path) -> EmptyHome:
    """An empty home in which these commands were run."""
    found = EmptyHome(folder)
    done = found.run(sys.executable, "-c", _PROGRAM, input=json.dumps(lines))
    assert done.returncode == 0, done.stderr[-3000:]
    return found


@pytest.fixture(scope="module")
def walk(small_file: Path, tiny_file: Path, tmp_path_factory: Any) -> EmptyHome:
    folder = tmp_path_factory.mktemp("walk")
    lines = command_lines(folder, small_file, tiny_file)
    assert {words[0] for words in lines} | _LONG | _OVER_SSH == set(cli.commands)
    return run_all(lines, folder / "empty")


@pytest.mark.slow
def test_no_command_leaves_anything_in_an_empty_home(walk) -> None:
    assert walk.left() == []


@pytest.mark.slow
@needs_strace
def test_no_command_asks_the_network_for_anything(walk) -> None:
    assert walk.network() == []


@needs_strace
@pytest.mark.slow
def test_the_paper_s_commands_leave_and_ask_nothing_either(tiny_file: Path, tmp_path: Path) -> None:
    short = ["--data", str(tiny_file), "--max-steps", "1"]
    run, last, sweep = (str(tmp_path / name) for name in ("run", "last", "sweep"))
    lines = [
        ["train", "-1", "-2", "-3", *short, "--train-dir", run, "--variables-dir", last],
        ["sweep", *short, "--sparsities", "0.9", "--export", "-o", sweep],
    ]
    home = run_all(lines, tmp_path / "empty")

    assert home.left() == [] and home.network() == []
