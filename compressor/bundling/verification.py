"""Checking a bundle on the host: statically first, then the check vectors in the runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compressor import runtimes
from compressor.bundling.code import BUILT, MAKEFILE
from compressor.bundling.code.checking import check_code
from compressor.errors import CheckFailedError, MissingRuntimeError
from compressor.exporters import load_untrusted
from compressor.foundation import deploy_errors, several, storage_errors, temporary_folder
from compressor.runtimes import Runner
from deploy.bundle import Bundle, open_bundle
from deploy.errors import DeployError
from deploy.manifest import VECTORS
from deploy.signing import PublicKey, read_public_key

_STAND_IN = "onnxruntime"
"""Runs ONNX artefacts here whose own runtime needs a GPU or a browser."""


def verify(
    bundle: Path | str, *, keys: Sequence[Path | str] = (), static: bool = False
) -> dict[str, Any]:
    """Check an untrusted bundle: a file, or the folder of one for browsers.

    Statically: the container is byte for byte the one that we write for its members, the manifest
    follows our schema, every member has its digest, and with `keys`, public keys of `keygen`, the
    signature is by one of them. Then, unless `static`, the check vectors run in the bundle's
    runtime; where that needs a GPU or a browser, ONNX Runtime on the CPU stands in, and the result
    says so. WebAssembly of C code runs in Node.js. The program in the bundle is not run.

    Returns a JSON object: path, name, device, bytes, sha256, members, signed, signed_by (the
    trusted key; null without `keys`), counter (null where the manifest has none), artefact, check
    (null where `static`): runtime, version, packed_for (the version there), stands_in_for, passed,
    examples, difference, tolerance.
    Raises BundleError for a refused bundle, CheckpointError for a file that TFLite Micro would
    read out of bounds, CheckFailedError where the outputs differ,
    MissingRuntimeError where the runtime is not installed.
    """
    with deploy_errors():
        trusted = [read_public_key(key) for key in several(keys)] or None
        opened = _opened(Path(bundle), trusted)
        opened.vectors()
    artifact = opened.artifact
    return {
        "path": str(bundle),
        "name": opened.manifest.name,
        "device": opened.manifest.device,
        "bytes": opened.size,
        "sha256": opened.sha256,
        "members": len(opened.members),
        "signed": opened.signed,
        "signed_by": None if opened.signed_by is None else opened.signed_by.identifier,
        "counter": opened.manifest.counter,
        "artefact": {
            "file": artifact.file,
            "bytes": artifact.bytes,
            "sha256": artifact.sha256,
            "runtime": opened.manifest.runtime,
        },
        "check": None if static else _check(opened),
    }


def _opened(path: Path, keys: Sequence[PublicKey] | None) -> Bundle:
    try:
        return open_bundle(path, keys)
    except DeployError as error:
        if (path / MAKEFILE).is_file() and any((path / file).is_file() for file in BUILT):
            hint = f"run make clean in {path} first: what was built is no part of the bundle"
            raise type(error)(error.what, value=error.value, hint=hint) from error
        raise


def _check(bundle: Bundle) -> dict[str, Any]:
    if bundle.artifact.format == "c":
        return check_code(bundle)
    wanted = bundle.manifest.runtime
    name = _runtime_here(wanted)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("compressor-verify-"))
        with storage_errors(folder):
            # Our own names: never a name that the bundle chose.
            artefact = folder / f"artefact.{bundle.artifact.format}"
            artefact.write_bytes(bundle.model)
            (folder / VECTORS).write_bytes(bundle.members[VECTORS])
        runner = stack.enter_context(Runner(name))
        facts = load_untrusted(runner, artefact)
        result = runner.check(folder / VECTORS)
    if not result["passed"]:
        found = result["difference"]
        raise CheckFailedError(
            f"the bundle does not compute in {name} {facts['version']} what it should",
            value="outputs are no numbers, or of another shape"
            if found is None
            else f"outputs differ by {found:.2g}, {result['tolerance']:.2g} is the tolerance",
        )
    return {
        "runtime": name,
        "version": facts["version"],
        "packed_for": bundle.manifest.runtime_version,
        "stands_in_for": None if name == wanted else wanted,
        **result,
    }


def _runtime_here(wanted: str) -> str:
    if wanted not in runtimes.RUNTIMES:
        raise MissingRuntimeError("the bundle is for a runtime that is not known", value=wanted)
    runtime = runtimes.find(wanted)
    own = runtime.format != "onnx" or not (runtime.gpu or runtime.substitute)
    if own or (runtime.gpu and runtimes.state(wanted).version is not None):
        return wanted
    return _STAND_IN
