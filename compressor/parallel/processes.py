"""Workers that are processes of this machine."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor

from compressor.parallel.pool import Pool
from compressor.parallel.there import belong_to_parent


class Processes:
    """So many processes, each with its share of the threads."""

    def __init__(self, count: int, threads: int) -> None:
        self.count, self.threads = count, max(threads // count, 1)

    def start(self, pool: Pool) -> None:
        """Add a worker for each; its process starts with its first call."""
        for _ in range(self.count):
            pool.add(Process())


class Process:
    """A worker with a process of its own, so that its death costs no other one anything."""

    lost: tuple[type[Exception], ...] = (BrokenExecutor,)

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def executor(self) -> ProcessPoolExecutor:
        """Its process, started where there is none or it has died."""
        if self._pool is None or self._pool._broken:
            self.close()
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, context, initializer=belong_to_parent)
        return self._pool

    def is_there(self) -> bool:
        """Whether a call can come to an end: it does, by an error where the process dies."""
        return True

    def end(self) -> bool:
        """Kill the process; the next call starts another one."""
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.kill()
            self.close()
        return True

    def abandon(self) -> None:
        """Kill the process."""
        self.end()

    def close(self) -> None:
        """Wait for the process to end."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
