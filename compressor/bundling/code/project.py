"""A firmware project of generated C code, and a library for Arduino, for a microcontroller.

The application is built once, and must fit: its flash image is the artefact of the bundle. Nothing
is run; `make check` in the project runs the self-test on an emulated board.
"""

from __future__ import annotations

import dataclasses
import hashlib
from string import Template

from compressor.bundling.code import boards
from compressor.bundling.code.folder import Code
from compressor.errors import UsageError
from compressor.foundation import temporary_folder
from deploy.artifact import Artifact
from deploy.manifest import MODEL_FOLDER, VECTORS
from deploy.profile import DeviceProfile

_PIECES = ("start.c", "cortex-m.h", boards.LINKER_SCRIPT, "main.c", "selftest.c")
BUILT = ("build/firmware.elf", "build/firmware.bin", "build/selftest.elf", "build/check.elf")
"""What is built in the project."""
MAKEFILE = "Makefile"
_VECTORS_BYTES = 20_000
_OPTIMIZE = "-O2"
_SELF_TEST = 8192
"""bytes of flash, and of RAM a quarter, that the self-test takes beside its vectors at most"""


@dataclasses.dataclass(frozen=True)
class Project:
    """The artefact, what it takes of the device, and the members of the bundle."""

    artifact: Artifact
    taken: boards.Taken
    members: dict[str, bytes]


def firmware_project(code: Code, profile: DeviceProfile) -> Project:
    """Build the application for a microcontroller; nothing is written that does not fit.

    Raises UsageError where flash or RAM is too small, MissingRuntimeError without
    gcc-arm-none-eabi, CheckFailedError where it refuses the code.
    """
    image, taken = _built(code, profile)
    vectors = code.few_vectors(_VECTORS_BYTES).to_bytes()
    artifact = dataclasses.replace(
        code.artifact,
        file=f"{code.name}.bin",
        bytes=len(image),
        sha256=hashlib.sha256(image).hexdigest(),
        vectors_sha256=hashlib.sha256(vectors).hexdigest(),
    )
    members = {MODEL_FOLDER + artifact.file: image, VECTORS: vectors}
    members |= {name: (boards.PIECES / name).read_bytes() for name in (*_PIECES, *_boot(profile))}
    members |= {MAKEFILE: _makefile(code, profile, taken)} | _arduino(code)
    return Project(artifact, taken, members)


def _built(code: Code, profile: DeviceProfile) -> tuple[bytes, boards.Taken]:
    chip = profile.microcontroller
    assert chip is not None
    options = [_OPTIMIZE, *code.definitions("run", "WORKSPACE_SIZE"), "-iquote", "sources"]
    with temporary_folder("compressor-firmware-") as folder:
        (folder / "sources").mkdir()
        for name, content in code.files.items():
            (folder / "sources" / name).write_bytes(content)
        sources = [boards.PIECES / "main.c", folder / "sources" / f"{code.name}.c"]
        sources += [boards.PIECES / name for name in _boot(profile)]
        taken = boards.measure(folder, sources, chip.processor, options)
        memory = boards.Memory.of(profile)
        short = [
            f"{what} {needed:,} bytes of {there:,}"
            for what, needed, there in (
                ("flash", taken.flash, memory.flash),
                ("RAM", taken.ram, memory.ram),
            )
            if needed > there
        ]
        if short:
            hint = "prune or narrow the model further, or export it with --optimize size"
            raise UsageError(f"does not fit on {profile.name}", value=", ".join(short), hint=hint)
        program = folder / "firmware.elf"
        boards.build(program, sources, chip.processor, memory, options)
        return boards.flash_image(program), taken


def _boot(profile: DeviceProfile) -> tuple[str, ...]:
    """The piece that a chip wants in front of the program."""
    chip = profile.microcontroller
    return ("rp2040.c",) if chip is not None and chip.boot == "rp2040" else ()


def _makefile(code: Code, profile: DeviceProfile, taken: boards.Taken) -> bytes:
    chip = profile.microcontroller
    assert chip is not None
    # A value of the vectors takes more characters in the source than bytes in the program.
    flash = taken.flash + len(code.selftest) + _SELF_TEST
    emulated = boards.emulated(chip.processor, flash, taken.ram + _SELF_TEST // 4)
    return _template(
        "Makefile.in",
        code,
        device=profile.name,
        processor=chip.processor,
        flags=" ".join(boards.target_flags(chip.processor)),
        board=" ".join(boards.link_flags(boards.Memory.of(profile), boards.LINKER_SCRIPT)),
        emulated=" ".join(boards.link_flags(emulated.memory, boards.LINKER_SCRIPT)),
        boot="".join(f" {name}" for name in _boot(profile)),
        machine=emulated.machine,
        built=" ".join(BUILT),
    )


def _arduino(code: Code) -> dict[str, bytes]:
    """A library folder, whose sources are those of the project, too."""
    folder = f"arduino/{code.name}"
    example = f"{folder}/examples/SelfTest"
    return {
        f"{folder}/library.properties": _template("library.properties.in", code),
        **{f"{folder}/src/{name}": content for name, content in code.files.items()},
        f"{example}/SelfTest.ino": _template("SelfTest.ino.in", code),
        f"{example}/{code.name}_selftest.h": code.selftest,
    }


def _template(file: str, code: Code, **values: str) -> bytes:
    text = Template((boards.PIECES / file).read_text())
    return text.substitute(values, name=code.name, prefix=code.name.upper()).encode()
