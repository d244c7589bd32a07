"""What is measured where: the rows that artefacts, runtimes, threads and batches make."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from compressor.errors import CheckpointError, MissingRuntimeError, UsageError
from compressor.measuring import cases as planning
from compressor.measuring.cases import plan_cases
from compressor.measuring.subjects import default_output, find_subjects
from compressor.runtimes import timing
from compressor.runtimes.timing import pinned_cpus


def planned(folder: Path, runtimes=None, threads=(1,), batches=(1,)) -> list[list[tuple]]:
    tables = plan_cases(find_subjects([folder]), runtimes, threads, batches)
    return [
        [(c.subject.name, c.runtime, c.threads, c.batch, c.transfer) for c in table]
        for table in tables
    ]


def test_a_folder_gives_its_artefacts_the_largest_first(artefacts) -> None:
    subjects = find_subjects([artefacts])

    assert [subject.name for subject in subjects] == ["float.tflite", "small.onnx", "small.tflite"]
    sizes = [subject.bytes for subject in subjects]
    assert sizes == sorted(sizes, reverse=True)
    assert all(subject.artifact and subject.vectors for subject in subjects)


def test_each_artefact_runs_where_it_was_exported_for(artefacts) -> None:
    (table,) = planned(artefacts)

    assert table == [
        ("float.tflite", "litert", 1, 1, "copies"),
        ("small.onnx", "onnxruntime", 1, 1, "copies"),
        ("small.tflite", "litert", 1, 1, "copies"),
    ]


def test_every_setting_is_a_table_and_a_gpu_has_three_rows(artefacts, monkeypatch) -> None:
    monkeypatch.setattr(planning, "usable_cores", lambda: [[0], [1]])

    tables = planned(artefacts / "small.onnx", ("onnxruntime", "cuda"), (1, 2), (1, 32))

    assert [table[0][2:4] for table in tables] == [(1, 1), (1, 32), (2, 1), (2, 32)]
    assert [row[1::3] for row in tables[0]] == [
        ("onnxruntime", "copies"),
        ("cuda", "copies"),
        ("cuda", "device"),
        ("cuda", "graph"),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"runtimes": ("cobol",)}, "cobol"),
        ({"runtimes": ("litert",)}, "small.onnx.*add onnxruntime"),
        ({"runtimes": ("litert", "onnxruntime", "litert")}, "twice"),
        ({"threads": (4096,)}, "4096; this process may use"),
        ({"threads": (0,)}, "0; this process"),
        ({"batches": (0,)}, "examples: 0"),
        ({"batches": (1, 1)}, "twice"),
    ],
)
def test_what_cannot_be_measured_is_refused(artefacts, rejected, options, said) -> None:
    import re

    message = rejected(UsageError, planned, artefacts, **options)

    assert re.search(said, message), message


def test_a_runtime_with_nothing_to_run_is_refused(artefacts, rejected) -> None:
    message = rejected(UsageError, planned, artefacts / "small.onnx", ("onnxruntime", "litert"))

    assert "none of the artefacts is for litert" in message


def test_what_lies_in_a_folder_but_is_no_artefact_is_passed_over(artefacts, tmp_path, rejected):
    (tmp_path / ".new").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    shutil.copy(artefacts / "small.onnx", tmp_path / ".new" / "half.onnx")
    assert "no .tflite" in rejected(UsageError, find_subjects, [tmp_path])
    assert "notes.txt" in rejected(UsageError, find_subjects, [tmp_path / "notes.txt"])
    assert "no such" in rejected(UsageError, find_subjects, [tmp_path / "missing.onnx"])
    twice = [artefacts, artefacts / "small.onnx"]
    assert "named twice" in rejected(UsageError, find_subjects, twice)


def test_files_of_one_name_are_told_apart_by_their_folders(artefacts, tmp_path) -> None:
    for name in ("a", "b"):
        shutil.copytree(artefacts, tmp_path / name)

    names = [subject.name for subject in find_subjects([tmp_path / "a", tmp_path / "b"])]

    assert "a/small.onnx" in names and "b/small.onnx" in names and len(set(names)) == 6


def test_another_file_s_description_is_refused(artefacts, tmp_path, rejected) -> None:
    folder = Path(shutil.copytree(artefacts, tmp_path / "changed"))
    with open(folder / "small.onnx", "ab") as file:
        file.write(b"x")

    assert "description is of another file" in rejected(CheckpointError, find_subjects, [folder])


def test_an_artefact_for_the_web_is_not_measured_under_its_name(artefacts, tmp_path, rejected):
    folder = Path(shutil.copytree(artefacts, tmp_path / "web"))
    description = folder / "small.onnx.json"
    for said, measured in (("onnxruntime-web", None), ("onnxruntime-gpu", "cuda")):
        text = (artefacts / "small.onnx.json").read_text()
        description.write_text(text.replace('"runtime": "onnxruntime"', f'"runtime": "{said}"', 1))
        if measured:
            assert {row[1] for row in planned(folder / "small.onnx")[0]} == {measured}
        else:
            message = rejected(MissingRuntimeError, planned, folder / "small.onnx")
            assert said in message and "--runtime onnxruntime" in message


def test_results_go_to_the_run_directory_or_beside_the_artefact(artefacts, tmp_path) -> None:
    run = tmp_path / "run"
    (run / "seed-0" / "0.9").mkdir(parents=True)
    (run / "experiment.json").write_text("{}")

    assert default_output(run / "seed-0" / "0.9" / "a.onnx") == run / "bench.json"
    assert default_output(run) == run / "bench.json"
    assert default_output(artefacts / "small.onnx") == artefacts / "bench.json"
    assert default_output(artefacts) == artefacts / "bench.json"


def test_threads_get_a_core_each_before_they_share_one(monkeypatch) -> None:
    monkeypatch.setattr(timing, "usable_cores", lambda: [[0, 2], [1, 3]])

    assert pinned_cpus(1) == [1]
    assert pinned_cpus(2) == [0, 1]
    assert pinned_cpus(3) == [0, 1, 3]
    assert pinned_cpus(4) == [0, 1, 2, 3]


def test_no_processors_known_are_none_kept_to(monkeypatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")

    assert pinned_cpus(1) is None
