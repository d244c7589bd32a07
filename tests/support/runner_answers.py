"""An honest answer of a runner to each request, for tests of what reads them."""

from __future__ import annotations

from typing import Any

PORT = {"name": "x", "shape": [None, 8], "dtype": "int8", "scale": 0.5, "zero_point": -3}
GPU = {"name": "G", "driver": None, "memory_bytes": 5, "compute_capability": "9.0"}
MEMORY = {"peak_memory_bytes": 0}
REQUESTS: dict[str, dict[str, Any]] = {
    "probe": {"op": "probe"},
    "load": {"op": "load", "runtime": "cuda", "threads": 2},
    "predict": {"op": "predict"},
    "check": {"op": "check"},
    "warm_up": {"op": "warm_up"},
    "measure": {"op": "measure", "runs": 3},
    "stream": {"op": "stream", "runs": 3},
}
PROBED = {"version": "1.0", "provider": None, "device": {**GPU, "cuda": "13.0", "cudnn": None}}
HONEST: dict[str, dict[str, Any]] = {
    "probe": PROBED,
    "load": {
        **PROBED,
        **{"runtime": "cuda", "numpy": "2", "python": "3", "threads": 2, "cpus": [0, 1]},
        **{"import_ms": 1.0, "load_ms": 0, "inputs": [PORT, PORT], "outputs": [PORT], **MEMORY},
        "delegate": {"name": "XNNPACK", "nodes": 1, "of": 2},
    },
    "predict": {"shape": [6, 4], **MEMORY},
    "check": {"passed": True, "examples": 6, "difference": 0.1, "tolerance": 0.2},
    "warm_up": {
        **{"first_ns": 5, "runs": 1, "settled": False, "median_ns": 5.0, "timer_ns": 0.0},
        **{"call_ns": 1, "device_memory_bytes": 7, **MEMORY},
    },
    "measure": {"ns": [5, 6, 7], "batch": 1, **MEMORY},
    "stream": {"examples": 3, "ns": 5},
}
