"""Calls side by side in processes of this machine: what is lost, what hangs, what fails."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import dry_work
import pytest

from compressor.errors import UsageError
from compressor.parallel import Pool, WorkLostError, check_workers, opening
from compressor.parallel.processes import Processes


@pytest.fixture(scope="module")
def pool():
    with Pool(Processes(2, 2), dry_work.prepared, ("data",)) as opened:
        yield opened


def test_calls_get_what_was_prepared_in_processes_of_their_own(pool):
    futures = [pool.submit(dry_work.answer, number) for number in range(6)]

    found = [future.result() for future in futures]

    assert [(what, number) for what, number, _ in found] == [("data", n) for n in range(6)]
    assert len({process for _, _, process in found}) <= 2


def test_two_run_side_by_side(pool, tmp_path):
    one, two = str(tmp_path / "one"), str(tmp_path / "two")

    first = pool.submit(dry_work.wait_for, one, two)
    second = pool.submit(dry_work.wait_for, two, one)

    assert (first.result(), second.result()) == ("done", "done")


def test_a_call_whose_process_is_killed_is_begun_again(pool, tmp_path):
    assert pool.submit(dry_work.die_once, str(tmp_path / "marker")).result() == "lived"


def test_a_call_that_kills_its_process_again_and_again_costs_itself(pool):
    deadly, other = pool.submit(dry_work.die), pool.submit(dry_work.answer, 7)

    with pytest.raises(WorkLostError, match="killed 3 times"):
        deadly.result()
    assert other.result()[1] == 7


def test_an_error_is_raised_here(pool):
    with pytest.raises(ValueError, match="no"):
        pool.submit(dry_work.fail).result()
    assert pool.submit(dry_work.answer, 8).result()[1] == 8


def test_a_call_that_hangs_costs_itself():
    with Pool(Processes(1, 1), dry_work.prepared, ("data",), limit=0.5) as one:
        hanging = one.submit(dry_work.hang)
        with pytest.raises(WorkLostError, match=r"longer than 0\.5 s"):
            hanging.result()


def test_who_leaves_waits_for_nothing_and_leaves_no_process():
    before = multiprocessing.active_children()

    with Pool(Processes(1, 1), dry_work.prepared, ("data",)) as one:
        one.submit(dry_work.answer, 1).result()
        one.submit(dry_work.hang)

    assert set(multiprocessing.active_children()) <= set(before)


def test_what_cannot_be_prepared_fails_every_call():
    with Pool(Processes(1, 1), dry_work.refuse) as one:
        futures = [one.submit(dry_work.answer, number) for number in range(3)]
        for future in futures:
            with pytest.raises(ValueError, match="cannot be prepared"):
                future.result()


class _Worker:
    """A worker in a thread of this process, which is there or not."""

    lost = ()

    def __init__(self, there):
        self.there, self.threads = there, ThreadPoolExecutor(1)

    def executor(self):
        assert self.there
        return self.threads

    def is_there(self):
        return self.there

    def end(self):
        return False

    def abandon(self):
        pass

    def close(self):
        self.threads.shutdown(wait=False)


class _Crew:
    count = threads = 1

    def __init__(self, *workers):
        self.workers = workers

    def start(self, pool):
        for worker in self.workers:
            pool.add(worker)


def test_workers_that_are_gone_cost_a_call_nothing():
    gone = [_Worker(False) for _ in range(5)]
    with Pool(_Crew(*gone), dry_work.prepared, ("data",)) as pool:
        answers = [pool.submit(dry_work.answer, number) for number in range(5)]
        pool.add(_Worker(True))

        assert [answer.result()[1] for answer in answers] == [0, 1, 2, 3, 4]


def test_a_worker_that_cannot_be_ended_is_not_used_again():
    stuck = _Worker(True)
    stuck.threads = SimpleNamespace(submit=lambda *_: Future(), shutdown=lambda wait: None)
    with Pool(_Crew(stuck), dry_work.prepared, ("data",)) as pool:
        pool.preparing = 0.0
        with pytest.raises(WorkLostError, match="longer"):
            pool.submit(dry_work.answer, 1).result()
        pool.preparing = 600.0
        pool.add(_Worker(True))
        assert pool.submit(dry_work.answer, 1).result()[1] == 1


@pytest.mark.parametrize(
    ("workers", "cluster", "said"),
    [(0, None, "at least 1"), (2, "tcp://localhost:8786", "those of the cluster")],
)
def test_workers_that_cannot_be_had_are_refused(workers, cluster, said, rejected):
    assert said in rejected(UsageError, check_workers, workers, cluster)


@pytest.mark.parametrize("given", [(1, None), (2, None), (None, "tcp://localhost:8786")])
def test_other_processes_do_not_know_modules_of_ones_own(given, monkeypatch, rejected):
    monkeypatch.setattr(opening, "custom_digests", lambda: {"mine.py": "a" * 64})

    assert "leave --workers and --cluster out" in rejected(UsageError, check_workers, *given)
    check_workers(None, None)
