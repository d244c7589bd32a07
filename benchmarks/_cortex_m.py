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
from pathlib import Path

from compressor.bundling.code import boards

_LOOP_INSTRUCTIONS = 8_000_000
_SECONDS = 300

BOARDS = {name: boards.EMULATED[name] for name in ("cortex-m4", "cortex-m0")}
"""Target of the exporter -> board."""


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
    board, prefix = BOARDS[target], name.upper()
    defined = {
        "INPUTS": f"{prefix}_INPUT_SIZE",
        "OUTPUTS": f"{prefix}_OUTPUT_SIZE",
        "WORKSPACE": f"{prefix}_WORKSPACE_SIZE",
        "RUN": f"{name}_run",
        "SELFTEST": f'"{name}_selftest.c"',
    }
    defined["HEADER"] = f'"{name}.h"'
    options = ["-O2", *flags, f"-I{exported}"]
    options += [f"-D{key}={value}" for key, value in defined.items()]
    code = exported / f"{name}.c"
    taken = boards.measure(program.parent, [boards.PIECES / "main.c", code], target, options)
    sources = [boards.PIECES / "selftest.c", code]
    boards.build(program, sources, target, board.memory, options)
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
    found = {key: int(value) for key, value in re.findall(r"(\w+) (\d+)", printed)}
    return Counted(
        flash=taken.flash,
        workspace=held["memory"],
        stack=found["stack"],
        ports=held["result"] + held["inputs"] // found["vectors"],
        instructions=found["ticks"] * _LOOP_INSTRUCTIONS / found["loop"] / found["vectors"],
        vectors=found["vectors"],
        wrong=found["wrong"],
    )


def _said(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
    )
    return done.stdout + done.stderr
