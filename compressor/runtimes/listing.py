"""Which runtimes are installed, and installing them; those for GPUs are tried."""

from __future__ import annotations

from typing import Any

from compressor.errors import CompressorError, MissingRuntimeError
from compressor.runtimes import keras2, registry
from compressor.runtimes.compilers import ZIGLANG
from compressor.runtimes.environments import Environment
from compressor.runtimes.registry import Runtime, State, find, python_of, state

_PROBE_SECONDS = 120.0  # TensorRT compiles what it tries


def describe() -> list[dict[str, Any]]:
    """Every runtime as a JSON object, as `install` gives it."""
    return [_describe(runtime) for runtime in registry.RUNTIMES.values()]


def install(name: str) -> dict[str, Any]:
    """Install a runtime, unless it is installed, and describe it.

    Returns name, format, version (null where missing), state (`installed`, `missing`, or
    `substituted` by another that verifies its artefacts), reason (of the state, or null), python
    (that executes its artefacts, or null). Raises UsageError for an unknown name,
    MissingRuntimeError where the runtime cannot be installed here. `tf-keras`, which reads legacy
    .h5 files, and `ziglang`, which compiles C code for browsers, are installed in the same way.
    """
    if name == keras2.NAME:
        return _installed(keras2.environment(), "h5")
    if name == ZIGLANG.name:
        return _installed(ZIGLANG, "c")
    runtime = find(name)
    if runtime.environment is not None:
        runtime.environment.install()
    if runtime.tarball is not None:
        runtime.tarball.fetch()
    python_of(name)  # says how to get one that lives in this Python
    described = _describe(runtime)
    if runtime.gpu and described["version"] is None:
        raise MissingRuntimeError(f"{name} cannot run here", value=described["reason"])
    return described


def _installed(found: Environment, file_format: str) -> dict[str, Any]:
    found.install()
    installed = {"name": found.name, "format": file_format, "version": found.version}
    return {**installed, "state": "installed", "reason": None, "python": str(found.python())}


def _tried(runtime: Runtime) -> State:
    """Whether the runtime runs on this machine's GPU, tried in a process of its own."""
    from compressor.runtimes.runner import Runner  # takes numpy

    try:
        with Runner(runtime.name, timeout=_PROBE_SECONDS) as runner:
            return State(str(runner.probe()["version"]), "")
    except MissingRuntimeError as error:
        return State(None, str(error.value).removeprefix(f"{runtime.name}: "))
    except CompressorError as error:  # it crashed, or took too long
        return State(None, str(error))


def _describe(runtime: Runtime) -> dict[str, Any]:
    found = state(runtime.name)
    if runtime.gpu and found.version is not None:
        found = _tried(runtime)
    there = found.version is not None
    kind, reason = ("installed" if there else "missing"), found.reason or None
    if runtime.substitute:
        kind = "substituted" if there else "missing"
        reason = f"artefacts for it are verified in {runtime.substitute} {reason or 'on the CPU'}"
        if runtime.tarball is not None:
            reason += f"; {runtime.tarball.state()}"
    elif runtime.environment is not None and not there:
        reason = f"{reason}; compressor runtimes install {runtime.name}"
    return {
        "name": runtime.name,
        "format": runtime.format,
        "version": found.version,
        "state": kind,
        "reason": reason,
        "python": python_of(runtime.name) if there else None,
    }
