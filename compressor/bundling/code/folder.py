"""The folder that `compressor export --format c` writes, read for packing.

Its sources are those that the description names by their sha256, so that what is known of the
library holds for what is compiled of them for another processor.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from compressor.errors import UsageError
from compressor.foundation import deploy_errors
from deploy.artifact import (
    DESCRIPTION_SUFFIX,
    MOST_VECTORS_BYTES,
    VECTORS_SUFFIX,
    Artifact,
    read_artifact,
)
from deploy.compiled import levels
from deploy.files import read_regular
from deploy.profile import DeviceProfile
from deploy.vectors import CheckVectors

_LIBRARY = ".so"
_MOST_SOURCE = 256 * 2**20
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,60}")
_DEFINED = re.compile(r"^#define ([A-Z0-9_]{1,80}) ([0-9a-z().+-]{1,40})$", re.MULTILINE)
_AGAIN = "export it again"


@dataclasses.dataclass(frozen=True)
class Port:
    """How integers of the input or the output stand for real numbers."""

    scale: float
    zero: int

    def levels(self, values: np.ndarray) -> np.ndarray:
        """int8, as NAME_run_float rounds."""
        return levels(values, self.scale, self.zero)


@dataclasses.dataclass(frozen=True)
class Code:
    """Generated code with the description and the check vectors of its library."""

    name: str
    """of the functions and files"""
    artifact: Artifact
    vectors: CheckVectors
    files: dict[str, bytes]
    """file name -> content, what a program needs of them: NAME.c, NAME.h and NAME_weights.h"""
    selftest: bytes
    """NAME_selftest.c"""
    input: Port
    output: Port

    def definitions(self, run: str, workspace: str) -> list[str]:
        """The macros of a program around it, for a C compiler: HEADER, INPUTS, OUTPUTS, ..."""
        prefix = self.name.upper()
        named = {
            "HEADER": f'"{self.name}.h"',
            "INPUTS": f"{prefix}_INPUT_SIZE",
            "OUTPUTS": f"{prefix}_OUTPUT_SIZE",
            "WORKSPACE": f"{prefix}_{workspace}",
            "RUN": f"{self.name}_{run}",
        }
        return [f"-D{key}={value}" for key, value in named.items()]

    def notes(self, profile: DeviceProfile) -> tuple[str, ...]:
        """What to know before it is packed for a device."""
        made, wanted = self.artifact.code, code_target(profile)
        if made is None:
            what = f"{self.artifact.file}.json is of an older version and names no sources"
            return (f"{what}: nothing tells whether they were changed; {_AGAIN}",)
        if made.target in (wanted, "portable"):
            return ()
        hint = f"for {profile.name} export it with --format c --for {wanted}"
        return (f"the code was made for the processor {made.target}; {hint}",)

    def few_vectors(self, most_bytes: int) -> CheckVectors:
        """The first check vectors, one at least, whose inputs take `most_bytes` at most.

        Their tolerance is less than one integer of the output.
        """
        row = sum(rows[0].nbytes for rows in self.vectors.inputs.values())
        count = max(1, most_bytes // row)
        inputs = {name: rows[:count] for name, rows in self.vectors.inputs.items()}
        return CheckVectors(inputs, self.vectors.outputs[:count], self.output.scale / 2)


def code_target(profile: DeviceProfile) -> str:
    """The processor for which a device wants its code exported: `--for`."""
    chip = profile.microcontroller
    if chip is None:
        return "host"
    return "cortex-m0" if chip.processor in ("cortex-m0", "cortex-m0plus") else "cortex-m4"


def code_folder(path: Path) -> Path | None:
    """The folder of generated code that a path names, itself or by its library."""
    if path.suffix == _LIBRARY and path.is_file():
        return path.parent
    return path if path.is_dir() else None


def read_code(folder: Path) -> Code:
    """Raises UsageError for a folder without such code, BundleError for files that do not fit."""
    found = sorted(folder.glob(f"*{_LIBRARY}{DESCRIPTION_SUFFIX}"))
    if len(found) != 1:
        hint = "name the files in it, or one folder that compressor export --format c wrote"
        what = "a folder is no artefact" if not found else "the folder holds several artefacts"
        raise UsageError(what, value=folder, hint=hint)
    library = found[0].with_suffix("")
    name = library.stem
    if not _NAME.fullmatch(name):
        raise UsageError("generated code has no such name", value=name, hint=_AGAIN)
    with deploy_errors():
        artifact = read_artifact(library)
        beside = library.with_name(library.name + VECTORS_SUFFIX)
        content = read_regular(beside, MOST_VECTORS_BYTES)
        vectors = CheckVectors.parse(content, beside)
        files = dict(_sources(folder, name, (".c", ".h", "_weights.h")))
        selftest = dict(_sources(folder, name, ("_selftest.c",)))
    if artifact.format != "c" or len(artifact.inputs) != 1:
        raise UsageError("this is no generated code", value=f"{library} is {artifact.format}")
    if artifact.code is not None:
        for file, content in (files | selftest).items():
            if artifact.code.sources.get(file) != hashlib.sha256(content).hexdigest():
                what = "a source was changed since it was exported"
                raise UsageError(what, value=folder / file, hint=_AGAIN)
    header = files[f"{name}.h"].decode("utf-8", "replace")
    defined = dict(_DEFINED.findall(header))

    def number(what: str) -> float:
        text = defined.get(f"{name.upper()}_{what}", "")
        try:
            return float(text.strip("()").removesuffix("f"))
        except ValueError as error:
            missing = f"{name}.h lacks {name.upper()}_{what}"
            raise UsageError("this is no generated code", value=missing, hint=_AGAIN) from error

    def port(what: str) -> Port:
        scale, zero = number(f"{what}_SCALE"), number(f"{what}_ZERO")
        if not (0 < scale < math.inf and -128 <= zero <= 127):
            raise UsageError(
                "the scale or zero of generated code is none",
                value=f"{name}.h, {what}: {scale}, {zero}",
                hint=_AGAIN,
            )
        return Port(scale, int(zero))

    return Code(
        *(name, artifact, vectors, files, selftest[f"{name}_selftest.c"]),
        *(port("INPUT"), port("OUTPUT")),
    )


def _sources(folder: Path, name: str, ends: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for end in ends:
        yield name + end, read_regular(folder / (name + end), _MOST_SOURCE)
