"""Python programs that stand in for a runtime's process, and break as real ones do.

Each answers as the runner does until it comes to the request named, by which it crashes, hangs,
runs out of memory, or talks nonsense.
"""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAM = """#!{python}
import json, os, resource, sys, time

def crash():
    os.kill(os.getpid(), 11)

def killed():
    os.kill(os.getpid(), 9)

def hang():
    time.sleep(600)

def memory():
    resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))
    bytearray(2**31)

def nonsense():
    print("hello", flush=True)

PORT = {{"name": "x", "shape": [None, 8, 8, 1], "dtype": "float32", "scale": None,
        "zero_point": None}}
LOADED = {{"runtime": "tflite-runtime", "version": "0.0", "provider": None,
          "delegate": None, "device": None, "numpy": "0", "python": "0",
          "threads": 1, "cpus": None, "import_ms": 1.0, "load_ms": 1.0,
          "inputs": [PORT], "outputs": [PORT], "peak_memory_bytes": 1}}
WARM = {{"first_ns": 10, "runs": 1, "settled": True, "median_ns": 10.0, "timer_ns": 1.0,
        "call_ns": 1.0, "peak_memory_bytes": 1, "device_memory_bytes": None}}
ANSWERS = {{"load": LOADED, "warm_up": WARM,
           "check": {{"passed": True, "examples": 1, "difference": 0.0, "tolerance": 0.1}},
           "probe": {{"version": "0.0", "provider": None, "device": None}}}}
for line in sys.stdin:
    request = json.loads(line)
    op, runs = request["op"], request.get("runs", 0)
    ANSWERS["measure"] = {{"ns": [10] * runs, "batch": 1, "peak_memory_bytes": 1}}
    ANSWERS["stream"] = {{"examples": runs, "ns": 10}}
    if op == {at!r}:
        {how}()
    print(json.dumps({{"ok": True}} | ANSWERS.get(op, {{}})), flush=True)
"""


def write_false_runtime(path: Path, how: str, at: str) -> str:
    """Write the program: `how` (crash, killed, hang, memory, nonsense) it breaks `at` a request."""
    path.write_text(_PROGRAM.format(python=sys.executable, how=how, at=at))
    path.chmod(0o755)
    return str(path)
