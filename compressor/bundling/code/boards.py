"""Programs of generated C code for Cortex-M: built by gcc-arm-none-eabi, with our own start-up.

The folder firmware holds the pieces: the linker script, the start-up with semihosting, an
application to start from, and the self-test, which also counts.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from compressor.errors import CheckFailedError, MissingRuntimeError
from compressor.runtimes import run_compiler
from deploy.profile import DeviceProfile

PIECES = Path(__file__).with_name("firmware")
COMPILER = "arm-none-eabi-gcc"
RAM_AT = 0x20000000
LINKER_SCRIPT = "cortex-m.ld"

_FLAGS = (
    *("-mthumb", "-std=gnu99", "-ffunction-sections", "-fdata-sections", "-nostartfiles"),
    *("--specs=nano.specs", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments"),
)
_SPACE = 2**26
"""bytes of flash and of RAM while it is not known whether a program fits"""
_FRAME = re.compile(r"\t(\d+)\t(static|dynamic,bounded)$")
_BESIDE_FRAMES = 256
"""bytes of stack for what the compiler's library calls, and for an exception"""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Where flash and RAM lie, and their bytes."""

    flash_at: int
    flash: int
    ram_at: int
    ram: int

    @classmethod
    def of(cls, profile: DeviceProfile) -> Memory:
        """Raises ValueError for a device that is no microcontroller."""
        chip = profile.microcontroller
        if chip is None:
            raise ValueError(f"{profile.name} is no microcontroller")
        return cls(
            *(chip.flash_start, profile.storage_bytes),
            *(chip.ram_start, profile.available_memory_bytes),
        )

    def options(self) -> list[str]:
        """For the linker."""
        places = {
            **{"FLASH_AT": self.flash_at, "FLASH_SIZE": self.flash},
            **{"RAM_AT": self.ram_at, "RAM_SIZE": self.ram},
        }
        return [f"-Wl,--defsym={key}={value:#x}" for key, value in places.items()]


@dataclasses.dataclass(frozen=True)
class Emulated:
    """A board that QEMU has."""

    machine: str
    memory: Memory


_MPS2 = Memory(0, 4 * 2**20, RAM_AT, 4 * 2**20)
_MICROBIT = Emulated("microbit", Memory(0, 256 * 2**10, RAM_AT, 16 * 2**10))
EMULATED = {
    "cortex-m0": _MICROBIT,
    "cortex-m0plus": _MICROBIT,
    "cortex-m3": Emulated("mps2-an385", _MPS2),
    "cortex-m4": Emulated("mps2-an386", _MPS2),
    "cortex-m7": Emulated("mps2-an500", _MPS2),
}
"""Processor, as gcc names it -> the board that stands in for it."""


def emulated(processor: str, flash: int, ram: int) -> Emulated:
    """The board for a program of so many bytes.

    A Cortex-M3 runs what a Cortex-M0 does; QEMU has no larger board with one of those.
    """
    board = EMULATED[processor]
    fits = flash <= board.memory.flash and ram <= board.memory.ram
    return board if fits else EMULATED["cortex-m3"]


def target_flags(processor: str) -> list[str]:
    return [f"-mcpu={processor}", *_FLAGS]


def link_flags(memory: Memory, script: str) -> list[str]:
    return ["-T", script, *memory.options()]


@dataclasses.dataclass(frozen=True)
class Taken:
    """What a program takes, in bytes; `ram` with the stack, of which `stack` bounds the depth."""

    flash: int
    ram: int
    stack: int

    def text(self, profile: DeviceProfile) -> str:
        return (
            f"takes {self.flash:,} of {profile.storage_bytes:,} bytes of flash and {self.ram:,} of "
            f"{profile.available_memory_bytes:,} bytes of RAM, {self.stack:,} of them for the "
            "deepest stack that can be"
        )


def build(
    program: Path, sources: Sequence[Path], processor: str, memory: Memory, options: Sequence[str]
) -> None:
    """Build `program`, an ELF file, of C files, with `options` such as macros.

    Raises MissingRuntimeError without the compiler, CheckFailedError where it refuses the code.
    """
    if shutil.which(COMPILER) is None:
        raise MissingRuntimeError(f"{COMPILER} is not installed", hint="install gcc-arm-none-eabi")
    command = [COMPILER, *target_flags(processor), *options]
    objects = []
    for number, source in enumerate((PIECES / "start.c", *sources)):
        # Two sources may have one name, but not what gcc writes of each.
        objects.append(f"{program.stem}-{number}.o")
        run_compiler([*command, "-c", "-o", objects[-1], str(source)], program.parent)
    linked = [*link_flags(memory, str(PIECES / LINKER_SCRIPT)), "-o", program.name, *objects]
    run_compiler([*command, *linked], program.parent)


def measure(folder: Path, sources: Sequence[Path], processor: str, options: Sequence[str]) -> Taken:
    """What a program of these files takes, wherever it lies; `folder` is for what is built."""
    program = folder / "measured.elf"
    anywhere = Memory(0, _SPACE, RAM_AT, _SPACE)
    build(program, sources, processor, anywhere, ["-fstack-usage", *options])
    printed = run_compiler(["arm-none-eabi-size", "-A", program.name], folder)
    found = re.findall(r"^(\.\S+)\s+(\d+)\s+\d+$", printed, re.MULTILINE)
    sizes = {name: int(size) for name, size in found}
    flash = sum(sizes.get(name, 0) for name in (".boot2", ".text", ".ARM.exidx", ".data"))
    every = range(1 + len(sources))
    frames = sum(_frames(program.with_name(f"{program.stem}-{number}.su")) for number in every)
    stack = _BESIDE_FRAMES + frames
    return Taken(flash, sizes.get(".data", 0) + sizes.get(".bss", 0) + stack, stack)


def flash_image(program: Path) -> bytes:
    """The bytes that an ELF file puts into flash, from its start."""
    image = program.with_suffix(".bin")
    run_compiler(
        ["arm-none-eabi-objcopy", "-O", "binary", program.name, image.name], program.parent
    )
    return image.read_bytes()


def _frames(listed: Path) -> int:
    """The sum of all functions' frames: no path of calls is deeper, since nothing recurs."""
    total = 0
    if not listed.is_file():
        what = "the compiler does not say what stack the code takes"
        raise CheckFailedError(what, value=listed.name)
    for line in listed.read_text(errors="replace").splitlines():
        found = _FRAME.search(line)
        if found is None:
            raise CheckFailedError("the stack that the code takes is not bounded", value=line[:200])
        total += int(found[1])
    return total
