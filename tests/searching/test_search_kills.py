"""A search that is killed at random moments: the same command goes on, and finds the same."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import PATIENCE, compressor_alone, environment, start

from compressor import TrainingOptions, training
from compressor.runs import is_finished

pytestmark = [pytest.mark.slow, pytest.mark.race]
TRIALS = 5


@pytest.fixture(scope="module")
def model(keras, tiny_data, tmp_path_factory):
    keras.utils.set_random_seed(2)
    layers = [
        keras.Input((8, 8, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(4),
    ]
    model = keras.Sequential(layers)
    options = TrainingOptions(steps=60, batch_size=32, learning_rate=3e-3)
    training.fit(model, tiny_data.x_train, tiny_data.y_train, options, seed=0)
    path = tmp_path_factory.mktemp("dense") / "dense.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def words(model, tiny_file):
    def of(run: Path, *more: object) -> list[str]:
        given = ("search", model, "--data", tiny_file, "-o", run, "--format", "onnx")
        limits = ("--max-drop", 40, "--trials", TRIALS, "--max-steps", 8, "--validation", 24)
        evolution = ("--de-population", 5, "--de-generations", 1, "--threads", 1)
        return [str(word) for word in (*given, *limits, *evolution, *more)]

    return of


@pytest.fixture(scope="module")
def undisturbed(words, tmp_path_factory):
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    outcome = compressor_alone(*words(run))
    assert outcome.code == 0, outcome.stderr
    return _found(run)


@pytest.fixture
def moments(request):
    """Draws moments, others in each repetition of the race."""
    return random.Random(getattr(request.node, "callspec", None) and request.node.name)


def _found(run: Path) -> tuple:
    """What does not depend on the clock: the trials, and which of them is the best."""
    document = json.loads((run / "search.json").read_text())
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in document["trials"]]
    return rows, document["best"], document["state"]


def _finished(run: Path) -> set[str]:
    return {path.name for path in run.glob("trial-*") if is_finished(path)}


def _wait(moments: random.Random, run: Path, command: subprocess.Popen) -> None:
    """Until some trials are finished, and then a moment that is drawn."""
    deadline, wanted = time.monotonic() + PATIENCE, moments.randrange(TRIALS)
    while len(_finished(run)) < wanted and command.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(moments.uniform(0, 2))


def _children(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task")
    found = []
    for task in path.iterdir() if path.exists() else ():
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


@pytest.mark.parametrize("more", [(), ("--workers", "1")])
def test_the_command_is_killed(words, undisturbed, moments, tmp_path, more):
    run = tmp_path / "run"
    with start(*words(run, *more)) as command:
        _wait(moments, run, command)
        command.kill()
    before = _finished(run)
    times = {name: (run / name / "record.json").stat().st_mtime_ns for name in before}

    outcome = compressor_alone(*words(run, *more))

    assert outcome.code == 0, outcome.stderr
    assert _found(run) == undisturbed
    after = {name: (run / name / "record.json").stat().st_mtime_ns for name in before}
    assert after == times


def test_a_worker_process_is_killed(words, undisturbed, moments, tmp_path):
    run = tmp_path / "run"
    with start(*words(run, "--workers", "1")) as command:
        _wait(moments, run, command)
        for child in _children(command.pid):
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        _, errors = command.communicate(timeout=PATIENCE)

    assert command.returncode == 0, errors
    assert _found(run) == undisturbed


@pytest.fixture
def cluster(tmp_path):
    """The address of a Dask scheduler with a worker in a process of its own, under a nanny."""
    pytest.importorskip("distributed", reason="Dask is not installed")
    file, folder = tmp_path / "scheduler.json", tmp_path / "dask"
    dask = [sys.executable, "-m", "dask"]
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = ["worker", "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)]
    where = ["--scheduler-file", str(file)]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with contextlib.ExitStack() as stack:
        for words in (scheduler, worker):
            process = subprocess.Popen(
                [*dask, *words, *where],
                env=environment() | path,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            while not file.exists():
                time.sleep(0.05)
        yield json.loads(file.read_text())["address"]


def test_a_dask_worker_is_killed(words, undisturbed, moments, cluster, tmp_path):
    import distributed

    run = tmp_path / "run"
    with start(*words(run, "--cluster", cluster)) as command:
        _wait(moments, run, command)
        with distributed.Client(cluster, set_as_default=False) as client:
            for process in client.run(os.getpid).values():
                os.kill(process, signal.SIGKILL)
        _, errors = command.communicate(timeout=PATIENCE)

    assert command.returncode == 0, errors
    assert _found(run) == undisturbed
    assert all(np.isfinite(row["validation_loss"]) for row in undisturbed[0])
