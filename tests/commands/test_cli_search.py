"""The commands search and apply: what they refuse, print and exit with."""

from __future__ import annotations

import json

import pytest
from command_line import compressor

import compressor as package
from compressor.bundling import find_device

ROW = {
    "file": "trial-1-litert.tflite",
    "trial": "trial-1",
    "runtime": "litert",
    "quantize": "int8",
    "bytes": 1000,
    "nonzeros": 400,
    "validation_accuracy": 0.98,
    "latency_ms": 0.01,
    "ratio": 0.1,
    "accuracy": 0.981,
}
FOUND = {
    "met": True,
    "dense": {"nonzeros": 9000, "validation_accuracy": 0.99},
    "wanted_accuracy": 0.98,
    "accepted_accuracy": 0.979,
    "trials": [{"trial": "trial-1"}, {"trial": "trial-2", "error": "MemoryError: no room"}],
    "front": [ROW],
    "recommended": {"litert": "trial-1-litert.tflite"},
    "reasons": {"litert": "the smallest that keeps to the goal"},
    "runtimes": {"litert": {"bytes": 20000, "latency_ms": 0.1}},
    "failed": [],
}


@pytest.fixture
def found(monkeypatch):
    """What `compressor.search` is given, and returns."""
    given = {}

    def search(*arguments, **options):
        given.update(options, goal=arguments[2])
        return FOUND | given.pop("answer", {})

    monkeypatch.setattr(package, "search", search, raising=False)
    return given


def test_it_prints_the_front_and_what_it_recommends(found, small_file):
    outcome = compressor("search", small_file, "--time-budget", "1.5m", "--format", "tflite")

    assert outcome.code == 0, outcome.stderr
    assert "recommended for litert: artefacts/trial-1-litert.tflite" in outcome.stdout
    assert "the smallest that keeps to the goal" in outcome.stdout
    assert "trial failed: MemoryError: no room" in outcome.stdout
    assert found["time_budget"] == 90
    assert found["goal"].runtimes == ("litert",)


def test_a_device_gives_runtime_limit_and_preference(found, small_file):
    compressor("search", small_file, "--device", "android-arm64")

    goal = found["goal"]
    assert (goal.runtimes, goal.minimize, goal.max_bytes) == (("litert",), "size", 200_000_000)
    assert goal.max_ram == find_device("android-arm64").memory_bytes
    assert found["host"] is None


def test_it_is_told_and_shows_what_decides(found, small_file):
    error = {"validation_mean_absolute_error": 2.5}
    head = {"name": "", "task": "regression", "shape": [1], "classes": 0, "threshold": None}
    head |= {"metric": "mean_absolute_error", "shown": ["mean_absolute_error"]}
    found["answer"] = {
        **{"dense": FOUND["dense"] | error, "heads": [head]},
        "front": [ROW | error | {"mean_absolute_error": 2.75}],
        **{"wanted_mean_absolute_error": 2.75, "accepted_mean_absolute_error": 3.0},
        "standard_error_mean_absolute_error": 0.25,
    }

    outcome = compressor(
        *("search", small_file, "--max-error", 2.75, "--task", "regression"),
        *("--metric", "mean_absolute_error"),
    )

    assert outcome.code == 0, outcome.stderr
    assert (found["task"], found["metric"]) == ("regression", "mean_absolute_error")
    assert found["goal"].describe()["max_error"] == 2.75
    assert "accepted: 3 mean absolute error on the validation examples, for 2.75" in outcome.stdout
    assert "standard error on so many examples: 0.25\n" in outcome.stdout
    (line,) = [line for line in outcome.stdout.splitlines() if "trial-1-litert.tflite  " in line]
    assert line.split()[-2:] == ["2.5", "2.75"]
    assert "%" not in outcome.stdout


@pytest.mark.parametrize(
    ("where", "workers", "cluster"),
    [(("--workers", 2), 2, None), (("--cluster", "tcp://host:8786"), None, "tcp://host:8786")],
)
def test_limits_and_the_device_that_measures_are_passed_on(
    found, small_file, where, workers, cluster
):
    compressor(
        *("search", small_file, "--max-ram", "90000000", "--host", "pi@raspberry"),
        *("--trial-limit", "5m", *where),
    )

    assert found["goal"].max_ram == 90_000_000
    assert found["host"].name == "pi@raspberry"
    given = found["workers"], found["cluster"], found["trial_limit"]
    assert given == (workers, cluster, 300)


def test_a_goal_that_is_not_met_ends_in_exit_code_1(found, small_file):
    reason = "nothing keeps to the goal; the nearest: 1,000 bytes, 10 are allowed"
    found["answer"] = {"met": False, "reasons": {"litert": reason}}

    outcome = compressor("search", small_file, "--max-bytes", "10", "--json")

    assert outcome.code == 1
    assert "1,000 bytes, 10 are allowed" in outcome.stderr.splitlines()[-1]
    assert json.loads(outcome.stdout)["front"] == [ROW]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--time-budget", "soon"], "10m"),
        (["--format", "tflite,pdf"], "'pdf'"),
        (["--max-drop", "1", "--min-accuracy", "0.9"], "twice"),
        (["--min-accuracy", "99"], "0.99 is 99 %"),
        (["--device", "toaster"], "unknown device"),
        (["--device", "android-arm64", "--format", "onnx"], "--format"),
        (["--de-scheme", "best/3"], "best/3"),
        (["--de-population", "2"], "population"),
        (["--workers", "0"], "workers"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(words, said, small_file):
    assert said in compressor("search", small_file, *words).refusal()


def test_a_file_that_is_no_recipe_is_refused(small_file, tmp_path):
    path = tmp_path / "x.recipe.json"
    path.write_text('{"schema": "compressor.bench"}')

    assert "not a recipe" in compressor("apply", path, small_file).refusal()
