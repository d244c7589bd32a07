"""Exported C code on Cortex-M, built by gcc-arm-none-eabi and run by QEMU, which counts.

Method: with `-icount shift=0` every instruction takes one nanosecond of virtual time, whatever it
is; SysTick counts that time, and a loop of 8,000,000 instructions says how many are a tick. These
are instructions, not cycles: a load takes two cycles on a Cortex-M4, a taken branch up to four.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from compressor.bundling.code import boards

_LOOP_INSTRUCTIONS = 8_000_000
_SECONDS = 300
_SELFTEST = {"flash": 2**16, "ram": 2**10}
"""bytes that the self-test takes beside an application, at most"""

TARGETS = ("cortex-m4", "cortex-m0")
"""of the exporter"""


@dataclasses.dataclass(frozen=True)
class Counted:
    """What a firmware takes, in bytes, and the instructions of a run."""

    flash: int
    """of the application: with start-up and its main, without the self-test"""
    workspace: int
    stack: int
    """the deepest that was used, by the self-test, too"""
    ports: int
    """an input and an output"""
    instructions: float
    vectors: int
    wrong: int
    """integers that differ from the check vectors"""

    @property
    def ram(self) -> int:
        return self.workspace + self.stack + self.ports


def missing() -> str:
    """The programs that are not installed, or empty."""
    programs = (boards.COMPILER, "qemu-system-arm")
    return ", ".join(name for name in programs if shutil.which(name) is None)


def count(exported: Path, name: str, target: str, program: Path, *flags: str) -> Counted:
    """Build the code NAME of an exported folder with its self-test as `program`, with `-O2` and
    other flags of gcc, and run it.

    Raises CheckFailedError where it does not build.
    """
    options = [*selftest_options(exported, name), *flags]
    code = exported / f"{name}.c"
    taken = boards.measure(program.parent, [boards.PIECES / "main.c", code], target, options)
    needed = (taken.flash + _SELFTEST["flash"], taken.ram + _SELFTEST["ram"])
    board = boards.emulated(target, *needed)
    found = run_selftest(program, [code], target, board, options)
    return Counted(
        flash=taken.flash,
        workspace=found["memory"],
        stack=found["stack"],
        ports=found["result"] + found["inputs"] // found["vectors"],
        instructions=instructions(found),
        vectors=found["vectors"],
        wrong=found["wrong"],
    )


def selftest_options(exported: Path, name: str) -> list[str]:
    """Options of gcc for an application of the code NAME, and for its self-test."""
    prefix = name.upper()
    defined = {
        "INPUTS": f"{prefix}_INPUT_SIZE",
        "OUTPUTS": f"{prefix}_OUTPUT_SIZE",
        "WORKSPACE": f"{prefix}_WORKSPACE_SIZE",
        "RUN": f"{name}_run",
        "SELFTEST": f'"{name}_selftest.c"',
    }
    defined["HEADER"] = f'"{name}.h"'
    return ["-O2", f"-I{exported}", *(f"-D{key}={value}" for key, value in defined.items())]


def run_selftest(
    program: Path,
    sources: Sequence[Path],
    target: str,
    board: boards.Emulated,
    options: Sequence[str],
) -> dict[str, int]:
    """What the self-test of a model in `sources` prints on a board, and the bytes of its arrays.

    Raises CheckFailedError where it does not build.
    """
    selftest = boards.PIECES / "selftest.c"
    boards.build(program, [selftest, *sources], target, board.memory, options)
    held = {
        symbol: int(size, 16)
        for size, symbol in re.findall(
            r"^\S+ (\S+) \S (\S+)$", _said("arm-none-eabi-nm", "-S", str(program)), re.M
        )
    }
    printed = _said(
        *("qemu-system-arm", "-M", board.machine, "-nographic", "-kernel", str(program)),
        *("-semihosting-config", "enable=on,target=native", "-icount", "shift=0"),
    )
    return held | {key: int(value) for key, value in re.findall(r"(\w+) (\d+)", printed)}


def instructions(found: dict[str, int]) -> float:
    """Of a run, by what a self-test printed."""
    return found["ticks"] * _LOOP_INSTRUCTIONS / found["loop"] / found["vectors"]


def _said(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
    )
    return done.stdout + done.stderr
