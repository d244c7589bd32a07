"""How much work workers do side by side: dry trials that sleep, so that no processor limits them.

Processes of this machine, and a Dask scheduler with workers on loopback, each with one worker and
with more, through the pool that `search` and `sweep` use.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

from benchmarks._record import save
from compressor.parallel import Crew, Pool
from compressor.parallel.cluster import Cluster
from compressor.parallel.processes import Processes

TRIALS, SECONDS = 48, 0.5
PROCESSES, WORKERS = (1, 4), (1, 2)


def nothing() -> None:
    """Prepare nothing."""


def dry_trial(_: None) -> bytes:
    """Take as long as a trial does, and come back with as much."""
    time.sleep(SECONDS)
    return bytes(100_000)


def throughput(crew: Crew) -> float:
    """Trials a second, once every worker has started."""
    with Pool(crew, nothing) as pool:
        wait([pool.submit(dry_trial) for _ in range(2 * crew.count)])
        started = time.perf_counter()
        wait([pool.submit(dry_trial) for _ in range(TRIALS)])
        return TRIALS / (time.perf_counter() - started)


@contextlib.contextmanager
def dask(workers: int) -> Iterator[Cluster]:
    """A scheduler with so many workers, each in a process, on loopback."""
    words = [sys.executable, "-m", "dask"]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = folder / "scheduler.json"
        where = ["--scheduler-file", str(file), "--no-dashboard"]
        for part in (
            ["scheduler", "--host", "127.0.0.1", "--port", "0"],
            ["worker", "--nworkers", str(workers), "--nthreads", "1", "--local-directory", folder],
        ):
            process = subprocess.Popen(
                [*words, *part, *where], stderr=subprocess.DEVNULL, env=dict(os.environ)
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            while not file.exists():
                time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        while True:
            cluster = Cluster(address)
            if cluster.count == workers:
                break
            cluster.close()
            time.sleep(0.5)
        with contextlib.closing(cluster):
            yield cluster


def main() -> None:
    """Measure, print and save."""
    rows = {f"{n} processes": throughput(Processes(n, n)) for n in PROCESSES}
    for count in WORKERS:
        with dask(count) as cluster:
            rows[f"{count} Dask workers"] = throughput(cluster)
    ratios = {
        "processes, 4 against 1": rows["4 processes"] / rows["1 processes"],
        "Dask workers, 2 against 1": rows["2 Dask workers"] / rows["1 Dask workers"],
    }
    for name, value in (*rows.items(), *ratios.items()):
        print(f"{name:28} {value:6.2f}")
    save(
        "parallel",
        {"unit": "trials/s", "seconds": SECONDS, "trials": TRIALS, "rows": rows, "ratios": ratios},
    )


if __name__ == "__main__":
    main()
