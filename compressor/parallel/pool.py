"""Calls side by side, each worker one at a time; a worker that is lost costs its call a repeat."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from typing import Any, Protocol

from compressor.parallel.there import NotPreparedError, WorkLostError, call, forget, prepare

_ATTEMPTS = 3
"""how often a call is begun whose worker is lost"""
_POLL = 0.2
_PREPARING = 600.0
"""seconds that a worker may take to prepare"""


class Worker(Protocol):
    """Does one call at a time."""

    lost: tuple[type[Exception], ...]
    """what a call raises whose process has died"""

    def executor(self) -> Executor:
        """Where its calls are submitted; made anew where it was ended."""

    def is_there(self) -> bool:
        """Whether what was submitted can still come to an end."""

    def end(self) -> bool:
        """End what it is doing, for it takes too long; whether it can be used again."""

    def abandon(self) -> None:
        """Nobody waits any more for what it is doing."""

    def close(self) -> None:
        """Let go of it; it is idle, or abandoned."""


class Crew(Protocol):
    """Where workers come from."""

    count: int
    """how many work side by side at first"""
    threads: int
    """that each of them computes with"""

    def start(self, pool: Pool) -> None:
        """Add workers to the pool, now and as they come."""


class _Job:
    """A call that waits for a worker, or is done by one."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments
        self.future: Future[Any] = Future()
        self.lost = 0


class _LostError(Exception):
    """The worker is gone, with what it was doing."""


class _TooLongError(Exception):
    """A call takes longer than it may."""


class Pool:
    """Does calls in the workers of a crew, as a context manager.

    A worker calls `preparation` with `arguments` once, and each submitted function with what that
    made. A call whose worker is lost is begun again, three times in all; one that takes longer than
    `limit` seconds is ended with its worker. Both then raise WorkLostError, which costs nothing
    else.
    """

    def __init__(
        self,
        crew: Crew,
        preparation: Callable[..., Any],
        arguments: tuple[Any, ...] = (),
        limit: float | None = None,
    ) -> None:
        self.count, self.limit, self.preparing = crew.count, limit, _PREPARING
        self._crew = crew
        self._token = uuid.uuid4().hex
        self._preparation = self._token, preparation, arguments
        self._numbers = itertools.count()
        self._jobs: queue.PriorityQueue[tuple[int, _Job | None]] = queue.PriorityQueue()
        self._waiting: set[_Job] = set()
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()
        self._failed: BaseException | None = None

    def __enter__(self) -> Pool:
        try:
            self._crew.start(self)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Nobody waits for what is not done."""
        self._closed.set()
        for number in range(len(self._threads)):
            self._jobs.put((-1 - number, None))
        for thread in self._threads:
            thread.join()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call `function` with what was prepared and `arguments` in a worker."""
        job = _Job(function, arguments)
        self._waiting.add(job)
        if self._failed is not None:
            self._settle(job, error=self._failed)
        else:
            self._jobs.put((next(self._numbers), job))
        return job.future

    def add(self, worker: Worker) -> None:
        """Have one more worker."""
        thread = threading.Thread(target=self._serve, args=(worker,), daemon=True)
        self._threads.append(thread)
        thread.start()

    @property
    def is_served(self) -> bool:
        """Whether any worker takes calls."""
        return any(thread.is_alive() for thread in self._threads)

    def fail(self, error: BaseException) -> None:
        """Let everything that is not done raise `error`: nobody will do it."""
        self._failed = error
        for job in list(self._waiting):
            self._settle(job, error=error)

    def _settle(self, job: _Job, result: Any = None, error: BaseException | None = None) -> None:
        self._waiting.discard(job)
        with contextlib.suppress(Exception):  # it failed already, with all others
            if error is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(error)

    def _serve(self, worker: Worker) -> None:
        prepared = False
        while not self._closed.is_set():
            number, job = self._jobs.get()
            if job is None or self._closed.is_set():
                break
            if job.future.done():
                continue
            if not worker.is_there():
                self._jobs.put((number, job))
                break
            try:
                if not prepared:
                    self._prepare(worker)
                    prepared = True
                work = self._token, job.function, job.arguments
                self._settle(job, self._wait(worker, self.limit, call, *work))
            except _LostError:
                prepared = False
                job.lost += 1
                if job.lost < _ATTEMPTS:
                    self._jobs.put((number, job))
                else:
                    what = f"its process was killed {_ATTEMPTS} times"
                    self._settle(job, error=WorkLostError(what))
                if not worker.is_there():
                    break
            except _TooLongError as error:
                prepared = False
                self._settle(job, error=WorkLostError(str(error)))
                if not worker.end():
                    break
            except BaseException as error:
                self._settle(job, error=error)
        if prepared and worker.is_there():
            with contextlib.suppress(Exception):
                worker.executor().submit(forget, self._token)
        worker.close()

    def _prepare(self, worker: Worker) -> None:
        try:
            self._wait(worker, self.preparing, prepare, *self._preparation)
        except (_LostError, _TooLongError):
            raise
        except BaseException as error:  # so it would be in the other workers
            self.fail(error)
            raise

    def _wait(self, worker: Worker, limit: float | None, *work: Any) -> Any:
        """The result of a call; raises _LostError, and _TooLongError after `limit` seconds."""
        started = time.monotonic()
        try:
            future = worker.executor().submit(*work)
        except (OSError, RuntimeError) as error:  # BrokenExecutor, and a client that was closed
            raise _LostError from error
        while not wait([future], _POLL).done:
            if self._closed.is_set():
                worker.abandon()
                raise _LostError
            if not worker.is_there():
                future.cancel()
                raise _LostError
            if limit is not None and time.monotonic() - started > limit:
                future.cancel()
                raise _TooLongError(f"it took longer than {limit:g} s")
        failure = None if future.cancelled() else future.exception()
        if future.cancelled() or isinstance(failure, (NotPreparedError, *worker.lost)):
            raise _LostError from failure
        return future.result()
