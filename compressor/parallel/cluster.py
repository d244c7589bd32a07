"""Workers of a Dask cluster, which come and go while it is in use."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import logging
import platform
import re
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from compressor.errors import MissingRuntimeError, UsageError
from compressor.foundation import experiment_versions
from compressor.parallel.pool import Pool

_ADDRESS = re.compile(r"(tcp|tls)://[^\s/:]{1,253}:[0-9]{1,5}")
_CONNECTING = 10.0
"""seconds in which the scheduler has to answer"""
_ARRIVING = 30.0
"""seconds in which a first worker has to be there"""
_PATIENCE = 60.0
"""seconds without any worker after which the cluster is given up"""
_INTERVAL = 0.5


class Cluster:
    """The workers of the Dask scheduler at `address`, tcp://HOST:PORT.

    Each computes with as many threads as the smallest of them was given. Raises UsageError for what
    is no address, MissingRuntimeError where no scheduler answers, no worker is there, or one of
    them has other versions of the libraries.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._client = _connected(address)
        self.lost: tuple[type[Exception], ...] = (
            importlib.import_module("distributed").KilledWorker,
        )
        self._gone = threading.Event()
        self._workers: dict[str, Any] = {}
        try:
            until = time.monotonic() + _ARRIVING
            while not (workers := self._listed()):
                if time.monotonic() > until:
                    hint = f"start one with dask worker {address}"
                    raise MissingRuntimeError("the cluster has no worker", value=address, hint=hint)
                time.sleep(_INTERVAL)
            if difference := self._difference(list(workers)):
                hint = "install the same on all machines, and start the workers again"
                what = "a worker of the cluster has other versions, or does not answer"
                raise MissingRuntimeError(what, value=difference, hint=hint)
        except BaseException:
            self.close()
            raise
        self.count = len(workers)
        self.threads = min(worker["nthreads"] for worker in workers.values())
        self._workers = workers

    def start(self, pool: Pool) -> None:
        """Add the workers that are there, and from now on those that come."""
        for name in self._workers:
            pool.add(ClusterWorker(self, name))
        threading.Thread(target=self._watch, args=(pool,), daemon=True).start()

    def close(self) -> None:
        """Leave the cluster; its workers stay."""
        self._gone.set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._client.close(timeout=2)

    def has(self, name: str) -> bool:
        """Whether the worker at this address is there."""
        return name in self._workers and not self._gone.is_set()

    def executor(self, name: str) -> Executor:
        """What hands calls to one worker."""
        found: Executor = self._client.get_executor(
            workers=[name], allow_other_workers=False, pure=False
        )
        return found

    def restart(self, name: str) -> None:
        """Kill the process of a worker; its nanny, if it has one, starts another one."""
        try:
            self._client.restart_workers([name], timeout=30, raise_for_error=False)
        except Exception as error:  # it has none, or is gone already
            logging.getLogger(__name__).debug("%s was not restarted: %s", name, error)

    def _listed(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return dict(found)

    def _watch(self, pool: Pool) -> None:
        """Follow who is there; without anybody for long, nothing will be done any more."""
        seen, refused = set(self._workers), set[str]()
        last = time.monotonic()
        while not self._gone.wait(_INTERVAL):
            answered = False
            # A scheduler that does not answer, whatever the reason, may do so again.
            with contextlib.suppress(Exception):
                there = self._listed()
                new = set(there) - seen
                refused |= {name for name in new if self._difference([name])}
                self._workers = {n: w for n, w in there.items() if n not in refused}
                for name in new - refused:
                    pool.add(ClusterWorker(self, name))
                seen, answered = set(there), True
            if answered and self._workers and pool.is_served:
                last = time.monotonic()
            elif time.monotonic() - last > _PATIENCE and not self._gone.is_set():
                what = "the cluster has lost its workers"
                hint = "the same command goes on when it is there again"
                pool.fail(MissingRuntimeError(what, value=self.address, hint=hint))
                return

    def _difference(self, names: list[str]) -> str:
        """What a worker has in another version than this process, or that one does not answer;
        empty where none is so."""
        for library, here in experiment_versions().items():
            ask: tuple[Callable[..., str], ...] | tuple[Any, ...]
            ask = (importlib.metadata.version, library)
            if library == "python":
                ask = (platform.python_version,)
            ran = functools.partial(self._client.run, *ask, workers=names, on_error="return")
            try:
                answers = _in_time(ran, _CONNECTING)
            except TimeoutError:
                return f"{', '.join(names)}: no answer in {_CONNECTING:g} s"
            for name, there in answers.items():
                if there != here:
                    has = there if isinstance(there, str) else "none"
                    return f"{name} has {library} {has}, this machine {here}"
        return ""


class ClusterWorker:
    """A worker of a cluster, as long as it is there."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster, self._name = cluster, name
        self.lost = cluster.lost
        self._executor: Executor | None = None

    def executor(self) -> Executor:
        """What hands calls to it."""
        self._executor = self._executor or self._cluster.executor(self._name)
        return self._executor

    def is_there(self) -> bool:
        """Whether the scheduler knows it."""
        return self._cluster.has(self._name)

    def end(self) -> bool:
        """Have its process killed; what comes after it is another worker."""
        self._cluster.restart(self._name)
        return False

    def abandon(self) -> None:
        """Leave it alone: others may use it, too."""

    def close(self) -> None:
        """Ask for nothing more."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)


def _in_time(work: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """What `work` returns; raises TimeoutError where that takes longer, and what `work` raises."""
    future: Future[dict[str, Any]] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()  # nobody waits for it at the end
    return future.result(seconds)


def _connected(address: str) -> Any:
    if not _ADDRESS.fullmatch(address):
        hint = "name it as tcp://HOST:8786"
        raise UsageError("this is no address of a Dask scheduler", value=address, hint=hint)
    try:
        distributed = importlib.import_module("distributed")
    except ImportError as error:
        hint = 'pip install "compressor[cluster]"'
        raise MissingRuntimeError("Dask is not installed", value=error, hint=hint) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # versions are compared by us
            return distributed.Client(address, timeout=_CONNECTING, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:
        hint = "start one with dask scheduler"
        raise MissingRuntimeError("no Dask cluster answers", value=address, hint=hint) from error
