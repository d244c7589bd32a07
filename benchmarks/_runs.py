"""Runs of a benchmark that are kept, so that a killed one goes on where it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks._record import run_command
from compressor.foundation import write_json
from compressor.runs import MODEL

_ONE = "--one"
SWEEP = "sweep --preset quick --seeds 0 --sparsities 0.9"


def trained(work: Path) -> Path:
    """The dense model of seed 0 of a quick sweep in `work`."""
    run_command(*SWEEP.split(), "-o", str(work / "sweep"))
    return work / "sweep" / "seed-0" / "step_1" / MODEL


def kept(path: Path, key: Mapping[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, a JSON object; kept in `path`, and done only once for this `key`."""
    asked = json.loads(json.dumps(key))
    if path.is_file():
        before: dict[str, Any] = json.loads(path.read_text())
        if before["key"] == asked:
            return dict(before["found"])
    found = work()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"key": asked, "found": found})
    return found


def does_job(work: Callable[..., dict[str, Any]]) -> bool:
    """Do the job that `alone` started this process for, and print what `work` returns; else False.

    To be asked before the command line is read, which a job has none of.
    """
    given = sys.argv[1:]
    if given[:1] != [_ONE]:
        return False
    print(json.dumps(work(**json.loads(given[1]))))
    return True


def alone(module: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """What `python -m MODULE --one JOB` prints in its last line, a JSON object; see `does_job`."""
    command = [sys.executable, "-m", module, _ONE, json.dumps(job)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
