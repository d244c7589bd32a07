"""The machine that a measurement was made on, and the memory that this process took."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_GOVERNOR = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"


def describe_machine() -> dict[str, Any]:
    """The processor, cores, memory and system, as a JSON object.

    `cores` counts the processors that this process may use; `memory_bytes` is the total memory, 0
    if it cannot be read.
    """
    return {
        "cpu": _cpu_model(),
        "cores": len(_cpus()),
        "memory_bytes": _memory_bytes(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def governor() -> str | None:
    """The frequency governor of the processors, such as performance; None if it cannot be read.

    Several are separated by commas, if the processors that this process may use differ.
    """
    try:
        found = {Path(_GOVERNOR.format(cpu)).read_text().strip() for cpu in _cpus()}
        return ", ".join(sorted(found))
    except OSError:
        return None


def load_average() -> float | None:
    """The load average of the last minute; None if it is not known."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def usable_cores() -> list[list[int]]:
    """The processors that this process may use, grouped by core; empty if that is not known."""
    cores: dict[str, list[int]] = {}
    for cpu in _cpus() if hasattr(os, "sched_getaffinity") else ():
        cores.setdefault(_siblings(cpu), []).append(cpu)
    return list(cores.values())


def _siblings(cpu: int) -> str:
    """A name for the core of a processor; the processor's number if the system does not say."""
    try:
        return Path(_SIBLINGS.format(cpu)).read_text().strip()
    except OSError:
        return str(cpu)


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model", "Hardware"):
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


def peak_memory_bytes() -> int:
    """The peak resident set of this process so far, in bytes; 0 if it cannot be read.

    On Linux from VmHWM: `ru_maxrss` starts at that of the process that started this one.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:  # not POSIX
        return 0
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest
