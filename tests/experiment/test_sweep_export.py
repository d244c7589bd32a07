"""A sweep that exports: files that were verified, columns, and going on."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from command_line import compressor, files, results_of, signal_when, start, step_times
from made_up_latencies import latencies_by_size

from compressor.exporters import variants
from compressor.runs import results_schema
from deploy import read_artifact

pytestmark = pytest.mark.slow

FORMS = {
    (file_format, form) for file_format in ("tflite", "onnx") for form in ("float32", "smallest")
}


@pytest.fixture(scope="module", autouse=True)
def same_latency() -> Iterator[None]:
    """Measured latencies take their time, and would choose other files on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "median_latencies", latencies_by_size)
        yield


@pytest.fixture(scope="module")
def exported(
    same_latency: None, undisturbed: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any, str]:
    """A sweep that was done without, and then asked to export: times of steps, and output."""
    run = undisturbed.copy(tmp_path_factory.mktemp("exported"))
    before = step_times(run)
    outcome = compressor(*undisturbed.words(run, "--export"))
    assert outcome.code == 0, outcome.stderr
    return run, before, outcome.stdout


def test_nothing_that_was_done_is_done_again(exported: Any) -> None:
    run, before, _ = exported
    after = step_times(run)

    assert before.items() <= after.items()
    added = {f"seed-0/{part}artefacts" for part in ("", "0.5/", "0.9/")}
    assert after.keys() - before.keys() == added


def test_every_model_is_there_in_both_formats_and_was_run(exported: Any) -> None:
    run, _, _ = exported
    results = results_of(run)
    jsonschema.Draft202012Validator(results_schema()).validate(results)

    rows = {"": results["dense"][0]}
    rows |= {f"{row['sparsity']:g}/": row for row in results["proportions"]}
    for part, row in rows.items():
        assert {(found["format"], found["form"]) for found in row["artefacts"]} == FORMS
        reference = row["accuracy"] if not part else row["retrained"]["accuracy"]
        for found in row["artefacts"]:
            path = run / "seed-0" / f"{part}artefacts" / found["file"]
            assert found["bytes"] == path.stat().st_size
            artifact = read_artifact(path)
            assert artifact.verified[0].accuracy == found["accuracy"]
            assert artifact.provenance.seed == 0
            examples = artifact.verified[0].examples
            assert found["accuracy"] >= reference - max(0.002, 1 / examples) - 1e-9


def test_pruned_artefacts_are_smaller_than_those_of_the_dense_model(exported: Any) -> None:
    results = results_of(exported[0])
    sizes = {
        sparsity: {(a["format"], a["form"]): a["bytes"] for a in row["artefacts"]}
        for sparsity, row in [
            (0, results["dense"][0]),
            *((row["sparsity"], row) for row in results["proportions"]),
        ]
    }

    for form in FORMS:
        assert sizes[0.5][form] <= sizes[0][form]
        assert sizes[0.9][form] < 0.4 * sizes[0][form]


def test_the_columns_are_in_the_report_the_table_and_on_the_terminal(exported: Any) -> None:
    run, _, printed = exported
    (last,) = [row for row in results_of(run)["proportions"] if row["sparsity"] == 0.9]
    size = next(
        a["bytes"] for a in last["artefacts"] if (a["format"], a["form"]) == ("onnx", "smallest")
    )
    with open(run / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))

    assert rows[-1]["onnx_smallest_bytes"] == str(size)
    assert float(rows[-1]["tflite_float32_accuracy"]) > 0.5
    assert rows[-1]["dense_tflite_float32_bytes"]
    assert "## Artefacts" in (run / "report.md").read_text()
    assert f"{size:,}" in (run / "report.md").read_text()
    assert f"{size:,}" in printed


def test_the_same_command_without_it_keeps_them(exported: Any, undisturbed: Any) -> None:
    run, _, _ = exported
    before = files(run)

    assert compressor(*undisturbed.words(run)).code == 0

    assert files(run) == before


@pytest.mark.slow
def test_stopped_in_the_middle_it_goes_on(exported: Any, undisturbed: Any, tmp_path: Path) -> None:
    run = undisturbed.copy(tmp_path)
    process = start(*undisturbed.words(run, "--export"))
    part = run / "seed-0" / "0.5" / ".artefacts.new"

    stopped = signal_when(process, part.is_dir, signal.SIGKILL)

    assert stopped.code == -signal.SIGKILL
    assert (run / "seed-0" / "artefacts" / "record.json").is_file()
    first = files(run / "seed-0" / "artefacts")  # by latencies that were measured
    assert compressor(*undisturbed.words(run, "--export")).code == 0
    ours, theirs = files(run), files(exported[0])
    assert ours.keys() == theirs.keys()
    assert files(run / "seed-0" / "artefacts") == first
    artefacts = {
        name
        for name in ours
        if name.endswith((".tflite", ".onnx")) and not name.startswith("seed-0/artefacts/")
    }
    assert artefacts
    assert {name: ours[name] for name in artefacts} == {name: theirs[name] for name in artefacts}
