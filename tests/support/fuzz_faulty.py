"""Targets that do all that none may do, to test `fuzzing` itself: each with its input 3."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzzing import MIB, Attempt, Target

from compressor.errors import DataError


def _does(what: Callable[[Path], Any]) -> Target:
    def prepare(folder: Path) -> Attempt:
        tried: list[int] = []

        def attempt(chance: random.Random) -> bool:
            tried.append(1)
            if len(tried) == 4:
                what(folder)
            if len(tried) % 2:
                raise DataError("refused", value=chance.random())
            return True

        return attempt

    return Target(prepare)


def _refuse_for_memory(folder: Path) -> None:
    try:
        bytearray(900 * MIB)
    except MemoryError as error:
        raise DataError("too large") from error


def _refuse(what: str) -> Callable[[Path], None]:
    def refuse(folder: Path) -> None:
        error = DataError("x")
        error.args = (what,)
        raise error

    return refuse


def _wait(folder: Path) -> None:
    while True:
        pass


TARGETS: dict[str, Target] = {
    "sound": _does(lambda folder: (folder / "x").write_text("inside")),
    "traceback": _does(lambda folder: 1 // 0),
    "memory": _does(_refuse_for_memory),
    "line": _does(_refuse("two\nlines")),
    "length": _does(_refuse("x" * 5000)),
    "outside": _does(lambda folder: (folder.parent.parent / "fuzz-outside").write_text("x")),
    "link": _does(lambda folder: (folder.parent.parent / "fuzz-link").symlink_to("x")),
    "process": _does(lambda folder: subprocess.run([sys.executable, "-V"])),
    "pickle": _does(lambda folder: __import__("pickle").loads(b"cos\nsystem\n.")),
    "output": _does(lambda folder: os.write(2, b"noise")),
    "crash": _does(lambda folder: os._exit(7)),
    "hang": _does(_wait),
}
