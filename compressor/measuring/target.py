"""The machine that measures: this one, or one that ssh reaches."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from compressor.errors import CheckFailedError, CompressorError
from compressor.remote import RemoteWorkspace, SshHost
from compressor.runtimes import Runner
from deploy.machine import describe_machine, governor, load_average, usable_cores
from deploy.runner.packing import pack
from deploy.text import clean

_MOST_CPUS = 4096
_SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Target:
    """Where artefacts are measured; `host` is None for this machine.

    `cores` are the usable logical CPUs grouped by core; empty where the system does not tell.
    `facts` are machine, governor and load_average at the start.
    """

    host: SshHost | None
    cores: list[list[int]]
    facts: Mapping[str, Any]

    @classmethod
    def find(cls, host: SshHost | None) -> Target:
        """This machine, or `host`.

        Raises MissingRuntimeError where there is no connection or no such Python.
        """
        if host is None:
            facts: dict[str, Any] = {"machine": describe_machine(), "governor": governor()}
            return cls(None, usable_cores(), facts | {"load_average": load_average()})
        facts = _ask(host)
        try:
            return cls(host, _cores(facts["cores"]), _checked(facts))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckFailedError(
                "the device does not describe itself properly", value=f"{host.name} ({error})"
            ) from error

    def describe(self) -> dict[str, Any]:
        """The machine as in a run of bench.json, with the load at the start."""
        name = {} if self.host is None else {"host": self.host.name}
        found = {**name, **self.facts["machine"], "governor": self.facts["governor"]}
        return {**found, "load_average": [self.facts["load_average"], None], "gpu": None}

    def load(self) -> float | None:
        """The load average now; None where it cannot be said."""
        if self.host is None:
            return load_average()
        with contextlib.suppress(CompressorError, KeyError, TypeError, ValueError):
            found = _checked(_ask(self.host))["load_average"]
            return None if found is None else float(found)
        return None

    def runner(
        self, runtime: str, *, timeout: float, threads: int = 1, cpus: Sequence[int] | None = None
    ) -> Runner:
        return Runner(runtime, threads=threads, timeout=timeout, cpus=cpus, host=self.host)


def _ask(host: SshHost) -> dict[str, Any]:
    with contextlib.closing(RemoteWorkspace(host, pack(), timeout=_SECONDS)) as space:
        return space.request({"op": "machine"})


def _cores(found: Any) -> list[list[int]]:
    cores = [[int(cpu) for cpu in core] for core in found]
    cpus = [cpu for core in cores for cpu in core]
    if not all(cores) or len(set(cpus)) < len(cpus) or not set(cpus) <= set(range(_MOST_CPUS)):
        raise ValueError("no processors")
    return cores


def _checked(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a device says of itself, with the types of a run in bench.json."""
    machine, said, load = facts["machine"], facts["governor"], facts["load_average"]
    return {
        "machine": {
            "cpu": _text(machine["cpu"]),
            "cores": max(int(machine["cores"]), 1),
            "memory_bytes": max(int(machine["memory_bytes"]), 0),
            "system": _text(machine["system"]),
        },
        "governor": None if said is None else _text(said),
        "load_average": None if load is None else max(float(load), 0.0),
    }


def _text(found: Any) -> str:
    return clean(found, 200)
