"""Which workers a command has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from compressor.errors import UsageError
from compressor.foundation import custom_digests
from compressor.parallel.cluster import Cluster
from compressor.parallel.pool import Crew
from compressor.parallel.processes import Processes


def check_workers(workers: int | None, cluster: str | None) -> None:
    """Raise UsageError for workers that cannot be had."""
    if workers is not None and workers < 1:
        raise UsageError("the number of workers must be at least 1", value=workers)
    if cluster is not None and workers is not None:
        raise UsageError(
            "the workers are those of the cluster", value=cluster, hint="leave --workers out"
        )
    if (cluster is not None or workers is not None) and custom_digests():
        what = "modules of your own are not known to other processes"
        hint = "leave --workers and --cluster out"
        raise UsageError(what, value=workers or cluster, hint=hint)


@contextlib.contextmanager
def crew_of(workers: int | None, cluster: str | None, threads: int) -> Iterator[Crew | None]:
    """The workers of a command that has `threads`; None: this process. Raises as `Cluster` does."""
    if cluster is not None:
        with contextlib.closing(Cluster(cluster)) as found:
            yield found
    else:
        yield None if workers is None else Processes(workers, threads)
