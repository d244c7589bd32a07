"""--custom: models with layers of the user's own, in every command that takes one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Outcome, compressor
from own_layers import write_model, write_module

from compressor.foundation import custom_modules


@pytest.fixture(autouse=True)
def fresh(keras: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command is a process of its own, which knows no class of an earlier one."""
    registry = keras.saving.get_custom_objects()
    before = dict(registry)
    monkeypatch.setattr(custom_modules, "_loaded", {})
    yield
    registry.clear()
    registry.update(before)
    for name in ("mine", "custom_mine"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_module(tmp_path_factory.mktemp("own") / "mine.py")


@pytest.fixture(scope="module")
def model(keras: Any, module: Path) -> Path:
    return write_model(keras, module, module.with_name("net.keras"))


def _prune(model: Path, module: Path | None, data: Path, run: Path, *more: object) -> Outcome:
    custom = () if module is None else ("--custom", module)
    return compressor(
        *("prune", model, "--data", data, "-o", run, "--sparsity", "0.5", "--max-steps", "3"),
        *("--batch-size", "16", "--json", *custom, *more),
    )


def test_without_it_the_refusal_names_class_option_and_call(model: Path, tmp_path: Path) -> None:
    for words in (("inspect", model), ("export", model, "-o", tmp_path / "a.tflite")):
        message = compressor(*words).refusal(after_stages=True)
        assert "swishy" in message
        assert "--custom" in message
        assert "load_custom(" in message


def test_a_module_without_the_class_is_told(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "mine.py"
    other.write_text("def other(x):\n    return x\n")

    message = compressor("inspect", model, "--custom", other).refusal()

    assert "swishy" in message
    assert "your modules give other" in message


def test_a_broken_module_ends_in_one_line(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("print('no')\nimport sys\nsys.exit(0)\n")

    message = compressor("inspect", model, "--custom", tmp_path / "mine.py").refusal()

    assert "line 3: SystemExit: 0" in message


def test_nothing_but_the_results_is_printed(model: Path, module: Path) -> None:
    found = compressor("inspect", model, "--json", "--custom", module).json()

    assert "scale" in {row["layer"] for row in found["layers"]}


@pytest.mark.slow
def test_a_run_resumes_with_its_module_and_notices_a_changed_one(
    model: Path, module: Path, quadrants: Path, tmp_path: Path, fresh: None
) -> None:
    run = tmp_path / "run"
    own = write_module(tmp_path / "mine.py")
    first = _prune(model, own, quadrants, run).json()
    changed = (run / "step_2_2" / "model.keras").stat().st_mtime_ns

    assert _prune(model, own, quadrants, run).json() == first
    assert (run / "step_2_2" / "model.keras").stat().st_mtime_ns == changed

    write_module(own, "\nMORE = 1\n")
    message = _prune(model, own, quadrants, run).refusal(after_stages=True)
    assert "other modules of your own" in message
    assert "mine.py" in message

    assert _prune(model, own, quadrants, run, "--force").code == 0


@pytest.mark.slow
def test_what_follows_a_pruning_takes_it(
    keras: Any, model: Path, module: Path, quadrants: Path, tmp_path: Path
) -> None:
    run, custom = tmp_path / "run", ("--custom", module)
    _prune(model, module, quadrants, run).json()

    assert {*compressor("inspect", run, "--json", *custom).json()["steps"]} >= {"step_2_2"}
    sparse = compressor("sparsify", run, *custom, "--json").json()
    assert sparse["step_3"]["bytes"] > 0
    evaluated = compressor(
        *("evaluate", run / "step_3", "--data", quadrants, "--max-steps", "1", "--json", *custom)
    ).json()
    assert evaluated["kind"] == "sparse"
    assert compressor("report", run, *custom).code == 0
    assert "left out" not in (run / "report.md").read_text()
    shrunk = compressor("shrink", run, *custom, "--json").json()
    assert Path(shrunk["output"]).is_file()
    exported = compressor("export", run, "-o", run / "a.tflite", *custom, "--json").json()
    assert exported["verdict"]["passed"]
