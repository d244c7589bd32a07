"""Work on a Dask cluster of this machine."""

from __future__ import annotations

import socket
import sys

import dry_work
import pytest

from compressor.errors import MissingRuntimeError, UsageError
from compressor.parallel import Pool, cluster


@pytest.fixture(scope="module")
def distributed():
    return pytest.importorskip("distributed", reason="Dask is not installed")


@pytest.fixture(scope="module")
def address(distributed):
    """A scheduler with two workers in threads of this process."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=2,
        processes=False,
        protocol="tcp://",
        dashboard_address="127.0.0.1:0",
    ) as local:
        yield local.scheduler_address


def test_a_cluster_does_calls_with_what_was_prepared(address):
    found = cluster.Cluster(address)
    try:
        with Pool(found, dry_work.prepared, ("data",)) as pool:
            answers = [pool.submit(dry_work.answer, number) for number in range(5)]
            assert [answer.result()[:2] for answer in answers] == [("data", n) for n in range(5)]
            with pytest.raises(ValueError, match="no"):
                pool.submit(dry_work.fail).result()
        assert (found.count, found.threads) == (2, 2)
    finally:
        found.close()


def test_a_cluster_with_another_version_is_refused(address, monkeypatch, rejected):
    versions = cluster.experiment_versions() | {"compressor": "99.0"}
    monkeypatch.setattr(cluster, "experiment_versions", lambda: versions)

    message = rejected(MissingRuntimeError, cluster.Cluster, address)

    assert "has compressor 0." in message and "this machine 99.0" in message


def test_a_cluster_without_workers_is_refused(distributed, monkeypatch, rejected):
    monkeypatch.setattr(cluster, "_ARRIVING", 0.0)
    with distributed.LocalCluster(
        n_workers=0, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
    ) as local:
        message = rejected(MissingRuntimeError, cluster.Cluster, local.scheduler_address)

    assert "has no worker" in message


def test_a_cluster_that_is_not_there_is_refused(distributed, monkeypatch, rejected):
    monkeypatch.setattr(cluster, "_CONNECTING", 0.2)
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"

        message = rejected(MissingRuntimeError, cluster.Cluster, address)

    assert "no Dask cluster answers" in message


@pytest.mark.parametrize(
    "address", ["", "localhost", "localhost:8786", "http://x:1", "tcp://a b:1"]
)
def test_what_is_no_address_is_refused(address, rejected):
    assert "no address" in rejected(UsageError, cluster.Cluster, address)


def test_without_dask_it_says_what_to_install(monkeypatch, rejected):
    monkeypatch.setitem(sys.modules, "distributed", None)

    message = rejected(MissingRuntimeError, cluster.Cluster, "tcp://localhost:8786")

    assert "compressor[cluster]" in message
