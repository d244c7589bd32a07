"""Generated C code in a browser: compiled to WebAssembly, with and without SIMD.

`model/NAME.wasm` uses 128-bit vectors and is the artefact; `scalar.wasm` is of the same code for
browsers that have none. Neither imports anything, so that all they can do is compute.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources

from compressor.bundling.code.folder import Code
from compressor.foundation import temporary_folder
from compressor.runtimes import zig_cc
from deploy.artifact import Artifact
from deploy.vectors import CheckVectors

SCALAR = "scalar.wasm"
_PROGRAM = "wasm-page.c"
_SIMD = ("-mcpu=generic+simd128+bulk_memory",)
_PLAIN = ("-mcpu=generic",)
_FLAGS = (
    *("-target", "wasm32-freestanding", "-std=c99", "-O2", "-fno-builtin", "-nostdlib"),
    *("-Ic-library", "-Wl,--no-entry", "-Wl,-s"),
    *(f"-Wl,--export={name}" for name in ("input", "output", "run")),
)
_VECTORS_BYTES = 20_000
"""of the inputs of check vectors: a visitor downloads them"""


@dataclasses.dataclass(frozen=True)
class BrowserCode:
    """What a page runs: `artifact` describes `simd`, `scalar` is the same without vectors."""

    code: Code
    artifact: Artifact
    vectors: CheckVectors
    simd: bytes
    scalar: bytes


def browser_code(code: Code) -> BrowserCode:
    """Compile generated code for browsers.

    The same code gives the same bytes. Raises MissingRuntimeError where ziglang is not installed,
    CheckFailedError where it refuses the code.
    """
    simd, scalar = (_compiled(code, *flags) for flags in (_SIMD, _PLAIN))
    vectors = code.few_vectors(_VECTORS_BYTES)
    artifact = dataclasses.replace(
        code.artifact,
        file=f"{code.name}.wasm",
        bytes=len(simd),
        sha256=hashlib.sha256(simd).hexdigest(),
        vectors_sha256=hashlib.sha256(vectors.to_bytes()).hexdigest(),
    )
    return BrowserCode(code, artifact, vectors, simd, scalar)


def _compiled(code: Code, *flags: str) -> bytes:
    around = importlib.resources.files(__package__) / "wasm"
    with temporary_folder("compressor-wasm-") as folder:
        for name, content in code.files.items():
            (folder / name).write_bytes(content)
        # No file of the code has a dash in its name, and string.h may be one of them.
        (folder / _PROGRAM).write_bytes((around / _PROGRAM).read_bytes())
        (folder / "c-library").mkdir()
        (folder / "c-library" / "string.h").write_bytes((around / "string.h").read_bytes())
        definitions = code.definitions("run_float", "FLOAT_WORKSPACE_SIZE")
        sources = [f"{code.name}.c", _PROGRAM]
        zig_cc([*_FLAGS, *flags, *definitions, *sources, "-o", "made-wasm"], folder)
        return (folder / "made-wasm").read_bytes()
