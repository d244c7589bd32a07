"""A search whose trials need no model is killed at known moments, and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import dry_work
import pytest

from compressor.parallel.cluster import Cluster
from compressor.runs import is_finished


@pytest.fixture
def dense(tmp_path):
    path = tmp_path / "dense.keras"
    path.write_bytes(b"dense")
    return path


@pytest.fixture
def undisturbed(dense, tmp_path):
    return dry_work.dry_search(tmp_path / "undisturbed", dense, None, None)


def _finished(run: Path) -> int:
    return sum(map(is_finished, run.glob("trial-*")))


def _begun(folder: Path, number: int, times: int = 1) -> list[int]:
    """Wait until a trial has begun so often; the processes that did it."""
    path = folder / f"begun-{number}"
    while not path.exists() or len(path.read_text().splitlines()) < times:
        threading.Event().wait(0.01)
    return [int(line) for line in path.read_text().splitlines()]


def _go(folder: Path, *numbers: int) -> None:
    for number in numbers:
        (folder / f"go-{number}").touch()


def test_a_search_goes_on_after_its_command_and_its_worker_were_killed(
    dense, undisturbed, tmp_path
):
    run, folder = tmp_path / "run", tmp_path / "gates"
    folder.mkdir()
    words = [sys.executable, "-m", "dry_work", str(run), str(dense), str(folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)

    with start() as command:
        _go(folder, 1, 2)
        _begun(folder, 3)
        command.kill()
    assert _finished(run) == 2

    with start() as command:
        (worker,) = set(_begun(folder, 3, 2)[1:])
        os.kill(worker, signal.SIGKILL)
        _begun(folder, 3, 3)
        _go(folder, 3, 4, 5, 6)
        said, _ = command.communicate()

    assert said.split() == undisturbed
    assert [len(_begun(folder, number)) for number in (1, 2, 4, 5, 6)] == [1, 1, 1, 1, 1]
    assert not list(run.glob(".*.new"))


@pytest.mark.slow
def test_a_cluster_of_one_worker_finds_the_same_front(dense, undisturbed, tmp_path):
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    with distributed.LocalCluster(
        n_workers=1, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
    ) as local:
        found = Cluster(local.scheduler_address)
        try:
            front = dry_work.dry_search(tmp_path / "run", dense, found, None)
        finally:
            found.close()

    assert front == undisturbed
