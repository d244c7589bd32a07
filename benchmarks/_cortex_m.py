"""C code on Cortex-M, built by gcc-arm-none-eabi and run by QEMU, which counts instructions.

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

import numpy as np

from compressor.exporters.c import text
from compressor.exporters.c.emission import Source
from compressor.exporters.c.network import Network

_HERE = Path(__file__).parent / "cortex_m"
_LOOP_INSTRUCTIONS = 8_000_000
_SECONDS = 300


@dataclasses.dataclass(frozen=True)
class Board:
    """A board that QEMU has, and its memory."""

    processor: str
    machine: str
    flash: tuple[int, int]
    """where, bytes"""
    ram: tuple[int, int]


BOARDS = {
    "cortex-m4": Board("cortex-m4", "mps2-an386", (0, 4 * 2**20), (0x20000000, 4 * 2**20)),
    "cortex-m0": Board("cortex-m0", "microbit", (0, 256 * 2**10), (0x20000000, 16 * 2**10)),
}
"""Target of the exporter -> board."""


@dataclasses.dataclass(frozen=True)
class Counted:
    """What a firmware takes: bytes of flash with start-up, of RAM, and instructions a run."""

    flash: int
    """without the check vectors"""
    workspace: int
    stack: int
    image: int
    """bytes of an input in RAM"""
    instructions: float
    wrong: int

    @property
    def ram(self) -> int:
        """Of the workspace, the stack, an input and an output."""
        return self.workspace + self.stack + self.image


def missing() -> str:
    """What is not installed, or empty."""
    programs = ("arm-none-eabi-gcc", "qemu-system-arm")
    return ", ".join(name for name in programs if shutil.which(name) is None)


def count(
    source: Source,
    network: Network,
    target: str,
    vectors: tuple[np.ndarray, np.ndarray],
    folder: Path,
    optimize: str = "-O2",
) -> Counted:
    """Build the code with its check vectors in `folder`, run it, and count.

    Raises subprocess.CalledProcessError where it does not build.
    """
    board = BOARDS[target]
    for name, content in source.files.items():
        (folder / name).write_text(content)
    inputs, outputs = vectors
    given, made = network.tensors[network.input].size, network.tensors[network.output].size
    (folder / "vectors.h").write_text(
        f"#define VECTORS {len(inputs)}u\n#define INPUTS {given}u\n#define OUTPUTS {made}u\n"
        f"#define WORKSPACE {source.workspace}\n#define RUN {source.name}_run\n"
        + text.array("inputs", inputs)
        + text.array("outputs", outputs)
    )
    flags = [
        *("arm-none-eabi-gcc", f"-mcpu={board.processor}", "-mthumb", optimize, "-std=gnu99"),
        *("-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "-nostartfiles"),
        *("--specs=nano.specs", f"-I{folder}", f'-DNETWORK_HEADER="{source.name}.h"'),
        *(f"-Wl,--defsym=FLASH_AT={board.flash[0]}", f"-Wl,--defsym=FLASH_SIZE={board.flash[1]}"),
        *(f"-Wl,--defsym=RAM_AT={board.ram[0]}", f"-Wl,--defsym=RAM_SIZE={board.ram[1]}"),
        *("-T", str(_HERE / "cortex_m.ld"), "-Wl,--no-warn-rwx-segments"),
    ]
    program = folder / "firmware.elf"
    files = [_HERE / "start.c", _HERE / "count.c", folder / f"{source.name}.c"]
    subprocess.run([*flags, "-o", program, *files], check=True, timeout=_SECONDS)
    sections = subprocess.run(
        ["arm-none-eabi-size", program], check=True, capture_output=True, text=True
    ).stdout.split()
    said = subprocess.run(
        [
            *("qemu-system-arm", "-M", board.machine, "-nographic", "-kernel", program),
            *("-semihosting-config", "enable=on,target=native", "-icount", "shift=0"),
        ],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    found = {
        key: int(value) for key, value in re.findall(r"(\w+) (\d+)", said.stdout + said.stderr)
    }
    per_tick = _LOOP_INSTRUCTIONS / found["loop"]
    size = int(sections[sections.index("filename") + 1]) + int(sections[-5])
    return Counted(
        flash=size - inputs.nbytes - outputs.nbytes,
        workspace=source.workspace,
        stack=found["stack"],
        image=given + made,
        instructions=found["ticks"] * per_tick / found["vectors"],
        wrong=found["wrong"],
    )
