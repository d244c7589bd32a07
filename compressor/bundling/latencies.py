"""The latencies of an artefact in a bench.json, and what to say about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.errors import UsageError
from compressor.runs import Bench, BenchRun, read_bench
from deploy.artifact import Artifact
from deploy.manifest import Latency
from deploy.profile import DeviceProfile

_Setting = tuple[str, int, int]
"""runtime, threads, batch"""

_TIE = 1.05
"""By how much a median may be larger and still say nothing."""


def latencies_of(artifact: Artifact, path: Path) -> tuple[Latency, ...]:
    """The artefact's latencies in the bench.json `path`: its newest sound row of each setting.

    Raises UsageError where there are none.
    """
    found = _measured(artifact, _read(path)["runs"])
    if not found:
        value = f"{path} holds nothing right of sha256 {artifact.sha256[:16]}"
        hint = "run compressor bench on it"
        raise UsageError("this bench.json has not measured the artefact", value=value, hint=hint)
    return tuple(found[setting] for setting in sorted(found))


def latency_notes(
    chosen: Artifact, others: Sequence[Artifact], profile: DeviceProfile, path: Path
) -> list[str]:
    """What a reader of the latencies of the chosen artefact should know, a sentence each."""
    bench = _read(path)
    own = _measured(chosen, bench["runs"])
    notes = []
    elsewhere = sorted(
        {
            found.cpu
            for found in own.values()
            if profile.cpu.architecture not in _architecture(found)
        }
    )
    if elsewhere:
        where = f"{profile.name} ({profile.cpu.architecture})"
        notes.append(f"the latencies were measured on {', '.join(elsewhere)}, not on {where}")
    for other in others:
        for (runtime, threads, batch), (mine, found) in _together(chosen, other, bench).items():
            if mine.p50_ms > _TIE * found.p50_ms:
                notes.append(
                    f"{chosen.file} ({chosen.quantize}) was measured slower than {other.file} "
                    f"({other.quantize}): {mine.p50_ms:.3g} ms against {found.p50_ms:.3g} ms in "
                    f"{runtime}, {threads} threads, batch {batch}"
                )
    return notes


def _read(path: Path) -> Bench:
    if not path.is_file():
        raise UsageError("no such file", value=path)
    return read_bench(path)


def _architecture(found: Latency) -> str:
    """The words of a system, with the names of architectures that profiles use."""
    return found.system.replace("x86_64", "x86-64").replace("armv7l", "armhf")


def _together(one: Artifact, other: Artifact, bench: Bench) -> dict[_Setting, Any]:
    """Setting -> the latencies of two artefacts in the newest run that has both: one machine's."""
    found: dict[_Setting, Any] = {}
    for run in bench["runs"]:
        first, second = _measured(one, [run]), _measured(other, [run])
        found |= {setting: (first[setting], second[setting]) for setting in {*first} & {*second}}
    return dict(sorted(found.items()))


def _measured(artifact: Artifact, runs: Sequence[BenchRun]) -> dict[_Setting, Latency]:
    """The newest sound row of the artefact in each setting."""
    found: dict[_Setting, Latency] = {}
    for run in runs:
        digests = [measured["sha256"] for measured in run["artefacts"]]
        names = [number for number, digest in enumerate(digests) if digest == artifact.sha256]
        for row in run["rows"]:
            sound = row["status"] == "right" and row["transfer"] == "copies"
            said = row.get("latency_ms") and row.get("version")
            if row["artefact"] in names and sound and said:
                setting = (row["runtime"], row["threads"], row["batch"])
                found[setting] = _latency(run["machine"], row)
    return found


def _latency(machine: Mapping[str, Any], row: Mapping[str, Any]) -> Latency:
    times = row["latency_ms"]
    return Latency(
        runtime=row["runtime"],
        version=row["version"],
        cpu=machine["cpu"],
        system=machine["system"],
        threads=row["threads"],
        batch=row["batch"],
        **{f"{name}_ms": times[name]["value"] for name in ("p50", "p90", "p99")},
        samples=times["samples"],
    )
