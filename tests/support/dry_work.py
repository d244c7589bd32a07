"""Work for pools that needs no model: it answers, waits, dies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any


def prepared(what: Any) -> dict[str, Any]:
    return {"what": what}


def refuse() -> None:
    raise ValueError("this cannot be prepared")


def answer(state: dict[str, Any], number: int) -> tuple[Any, int, int]:
    """What was prepared, the number, and the process."""
    return state["what"], number, os.getpid()


def die(_: Any) -> None:
    os.kill(os.getpid(), 9)


def die_once(_: Any, marker: str) -> str:
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), 9)
    return "lived"


def hang(_: Any) -> None:
    threading.Event().wait()


def fail(_: Any) -> None:
    raise ValueError("no")


def wait_for(_: Any, there: str, wanted: str) -> str:
    """Say that this has begun, and wait until it may go on."""
    Path(there).touch()
    while not Path(wanted).exists():
        threading.Event().wait(0.01)
    return "done"


class DryLaboratory:
    """Stands in for `Laboratory`: the result of a trial follows from its step.

    A trial appends its process to the file BEGUN-NUMBER in `folder`, and waits for GO-NUMBER.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder

    def do(self, task: Any, progress: Any = None) -> Any:
        from compressor.searching.laboratory import Done

        number = task.step["steps"]
        if self._folder is not None:
            folder = Path(self._folder)
            with (folder / f"begun-{number}").open("a") as begun:
                begun.write(f"{os.getpid()}\n")
            while not (folder / f"go-{number}").exists():
                threading.Event().wait(0.01)
        content = task.start.read_bytes() + json.dumps(dict(task.step), sort_keys=True).encode()
        size = int.from_bytes(hashlib.sha256(content).digest()[:2])
        result = {
            **{"parameters": size, "weights": size, "nonzeros": size, "macs": size},
            **{"validation_accuracy": size / 2**16, "validation_loss": 1.0, "seconds": 0.0},
            "kernel_bytes": size,
        }
        return Done(result, content[-200:])


def dry_search(run: Path, dense: Path, crew: Any, folder: str | None, count: int = 6) -> list[str]:
    """Do `count` trials in `run`, each on the model of the one before; the best ones first."""
    from compressor.foundation import SilentListener
    from compressor.parallel import Pool
    from compressor.runs import RunDirectory
    from compressor.searching import Goal
    from compressor.searching.document import best_first
    from compressor.searching.laboratory import Workers
    from compressor.searching.standard import Standard
    from compressor.searching.trials import Budget, Trials

    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(RunDirectory(run, {"kind": "search"}))
        pool = None
        if crew is not None:
            pool = Workers(stack.enter_context(Pool(crew, DryLaboratory, (folder,))))
        laboratory: Any = DryLaboratory(folder)
        budget, listener = Budget(None, None), SilentListener()
        trials = Trials(directory, dense, laboratory, budget, listener, pool)
        parent = None
        for number in range(1, count + 1):
            step = {"kind": "train", "steps": number, "batch_size": 8, "teacher": 0}
            parent = trials.train([(parent, step)], f"trial {number}")[0]
        return [trial.name for trial in best_first(trials.done, Goal(), Standard.of_accuracy(0.5))]


if __name__ == "__main__":
    from compressor.parallel.processes import Processes

    print(*dry_search(Path(sys.argv[1]), Path(sys.argv[2]), Processes(1, 1), sys.argv[3]))
