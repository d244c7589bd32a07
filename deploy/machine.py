"""The machine that a measurement was made on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_GOVERNOR = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"


def describe_machine() -> dict[str, Any]:
    """The processor, cores, memory and system, as a JSON object.

    `cores` are those that this process may use; `memory_bytes` is the whole memory, 0 where
    it cannot be read.
    """
    return {
        "cpu": _cpu_model(),
        "cores": _usable_cores(),
        "memory_bytes": _memory_bytes(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def governor() -> str | None:
    """What sets the processors' frequency, such as performance; None where it cannot be read.

    Several, separated by commas, where the processors that this process may use differ.
    """
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(_usable_cores())
    try:
        return ", ".join(sorted({Path(_GOVERNOR.format(cpu)).read_text().strip() for cpu in cpus}))
    except OSError:
        return None


def load_average() -> float | None:
    """Processes that wanted a processor, the mean of the last minute; None where not known."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def usable_cores() -> list[list[int]]:
    """The processors that this process may use, those of one core together, in ascending order.

    None where the system does not say.
    """
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cores: dict[str, list[int]] = {}
    for cpu in cpus:
        cores.setdefault(_siblings(cpu), []).append(cpu)
    return list(cores.values())


def _siblings(cpu: int) -> str:
    """What names the core of a processor; its own number where the system does not say."""
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


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
