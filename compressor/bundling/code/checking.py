"""Running the check vectors of a bundle of C code, in Node.js: the modules of one for browsers."""

from __future__ import annotations

import importlib.resources
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from compressor.bundling.code.browser import SCALAR
from compressor.errors import CheckFailedError, MissingRuntimeError
from compressor.foundation import storage_errors, temporary_folder
from deploy.artifact_parts import C_INTERFACE
from deploy.bundle import Bundle
from deploy.vectors import CheckVectors

_SECONDS = 120
_MOST_PAGES = 4096
"""of 64 KiB: what an untrusted module may take"""


def check_code(bundle: Bundle) -> dict[str, Any]:
    """How the bundle's modules do on its check vectors: runtime, version, passed, difference, ...

    A module of an untrusted bundle can compute, in bounded memory and time, and nothing else.
    Raises MissingRuntimeError without Node.js and for firmware, CheckFailedError where outputs
    differ or a module does not run.
    """
    if not bundle.artifact.file.endswith(".wasm"):
        hint = "make -C FOLDER check runs it on an emulated board; --static checks the rest"
        raise MissingRuntimeError(
            "firmware is not run here", value=bundle.manifest.device, hint=hint
        )
    node = shutil.which("node")
    if node is None:
        hint = "install Node.js, or give --static: the page itself runs the check vectors"
        raise MissingRuntimeError("there is no Node.js to run WebAssembly in", hint=hint)
    vectors = bundle.vectors()
    found: dict[str, Any] = {}
    for name in (bundle.manifest.model, SCALAR):
        found = vectors.compare(run_module(node, bundle.members.get(name, b""), vectors)).describe()
        if not found["passed"]:
            raise CheckFailedError("the bundle does not compute what it should", value=name)
    return {
        **{"runtime": "c", "version": C_INTERFACE, "packed_for": bundle.manifest.runtime_version},
        **{"stands_in_for": None, **found},
    }


def run_module(node: str, module: bytes, vectors: CheckVectors) -> np.ndarray:
    """float32 (n, k); without rows where the module does not run."""
    program = importlib.resources.files(__package__) / "wasm" / "check.mjs"
    count, scores = vectors.outputs.shape
    rows = next(iter(vectors.inputs.values()))
    with temporary_folder("compressor-node-") as folder, storage_errors(folder):
        for name, content in (
            ("check.mjs", program.read_bytes()),
            ("module", module),
            ("inputs", np.ascontiguousarray(rows, "<f4").tobytes()),
        ):
            (folder / name).write_bytes(content)
        made = _said(node, folder, count, scores)
    whole = made[: len(made) // (4 * scores) * (4 * scores)]
    return np.frombuffer(whole, "<f4").reshape(-1, scores)


def _said(node: str, folder: Path, count: int, scores: int) -> bytes:
    arguments = ["check.mjs", "module", "inputs", str(count), str(scores)]
    try:
        return subprocess.run(
            [node, f"--wasm-max-mem-pages={_MOST_PAGES}", *arguments],
            cwd=folder,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return b""
