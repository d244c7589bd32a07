"""A sweep that trains in workers has the results of one that trains in its own process."""

from __future__ import annotations

import shutil

import pytest
from command_line import compressor, files, results_of, without_times


@pytest.mark.slow
def test_workers_find_what_one_process_finds(undisturbed, tmp_path):
    run = tmp_path / "run"

    outcome = compressor(*undisturbed.words(run, "--workers", "1"))

    assert outcome.code == 0, outcome.stderr
    assert "seed 0, 50 %: done" in outcome.stderr
    assert without_times(results_of(run)) == without_times(undisturbed.results)
    assert files(run).keys() == files(undisturbed.run).keys()


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--workers", 2, "--cluster", "tcp://127.0.0.1:1"), 2, "leave --workers out"),
        (("--cluster", "localhost"), 2, "tcp://HOST:8786"),
        (("--cluster", "tcp://127.0.0.1:1"), 3, "tcp://127.0.0.1:1"),
    ],
)
@pytest.mark.parametrize("command", ["sweep", "search"])
def test_a_cluster_that_is_not_there_is_one_line(
    command, words, code, said, small_file, tiny_file, tmp_path, monkeypatch
):
    monkeypatch.setattr("compressor.parallel.cluster._CONNECTING", 0.2)
    model = [small_file] if command == "search" else []

    outcome = compressor(command, *model, "--data", tiny_file, "-o", tmp_path / "run", *words)

    assert outcome.code == code
    assert outcome.stderr.startswith("error: ") and said in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("what", ["altered", "missing"])
def test_workers_train_nothing_from_an_altered_basic_model(undisturbed, tmp_path, what):
    run = undisturbed.copy(tmp_path)
    shutil.rmtree(run / "seed-0" / "0.9")
    model = run / "seed-0" / "step_1" / "model.keras"
    content = model.read_bytes()
    model.unlink()
    if what == "altered":
        model.write_bytes(content + b"\0")
    before = files(run)

    refusal = compressor(*undisturbed.words(run, "--workers", "1")).refusal(after_stages=True)

    assert f"missing or was altered: {model}" in refusal
    assert files(run) == before
