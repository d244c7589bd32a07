"""How much memory this process has needed."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_memory_bytes() -> int:
    """The largest resident set of this process up to now, in bytes; 0 where it cannot be read.

    On Linux by VmHWM: `ru_maxrss` starts at what the process had that started this one.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:  # no POSIX
        return 0
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest
