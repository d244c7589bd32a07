"""The machine that measures: this one, or one that ssh reaches."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from compressor.errors import CompressorError
from compressor.remote import RemoteWorkspace, SshHost
from compressor.runtimes import Runner
from deploy.errors import ArtifactError
from deploy.fields import Fields
from deploy.machine import describe_machine, governor, load_average, usable_cores
from deploy.runner.packing import pack
from deploy.text import clean

_MOST_CPUS = 4096
_HIGHEST_LOAD = 1e6
_LONGEST_WORDS = 200
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
        cores, facts = _asked(host)
        return cls(host, cores, facts)

    def describe(self) -> dict[str, Any]:
        """The machine as in a run of bench.json, with the load at the start."""
        name = {} if self.host is None else {"host": self.host.name}
        found = {**name, **self.facts["machine"], "governor": self.facts["governor"]}
        return {**found, "load_average": [self.facts["load_average"], None], "gpu": None}

    def load(self) -> float | None:
        """The load average now; None where it cannot be said."""
        if self.host is None:
            return load_average()
        with contextlib.suppress(CompressorError):
            found: float | None = _asked(self.host)[1]["load_average"]
            return found
        return None

    def runner(
        self, runtime: str, *, timeout: float, threads: int = 1, cpus: Sequence[int] | None = None
    ) -> Runner:
        return Runner(runtime, threads=threads, timeout=timeout, cpus=cpus, host=self.host)


def _asked(host: SshHost) -> tuple[list[list[int]], dict[str, Any]]:
    """The cores of a device, and the facts that it tells of itself, checked field by field."""
    with contextlib.closing(RemoteWorkspace(host, pack(), timeout=_SECONDS)) as space:
        answer = Fields(space.request({"op": "machine"}), "answer")
    with host.keeping_to_the_protocol():
        machine = Fields(answer.object("machine"), "machine")
        facts = {
            "machine": {
                "cpu": _words(machine, "cpu"),
                "cores": machine.integer("cores", 1, _MOST_CPUS),
                "memory_bytes": machine.integer("memory_bytes"),
                "system": _words(machine, "system"),
            },
            "governor": answer.optional("governor", lambda key: _words(answer, key)),
            "load_average": answer.optional("load_average", answer.number, 0.0, _HIGHEST_LOAD),
        }
        return _cores(answer), facts


def _cores(answer: Fields) -> list[list[int]]:
    cores = answer.items("cores", _MOST_CPUS)
    listed = Fields({str(number): core for number, core in enumerate(cores)}, "cores")
    found = [listed.integers(str(n), _MOST_CPUS, 0, _MOST_CPUS - 1) for n in range(len(cores))]
    cpus = [cpu for core in found for cpu in core]
    if not all(found) or len(set(cpus)) < len(cpus):
        raise ArtifactError("a core has no processor, or one of another", value=cpus)
    return found


def _words(fields: Fields, key: str) -> str:
    return clean(fields.string(key), _LONGEST_WORDS)
