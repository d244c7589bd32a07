"""store: the bundles that `compressor deploy` copies to a device; one JSON answer a call.

The answer is a line: {"ok": true, ...}, or {"ok": false, "kind": KIND, "error": ONE LINE, ...},
where KIND is bundle (refused), check (its outputs are wrong, or its runtime fails), missing (its
runtime is not installed), stale (another process has changed what the request is based on) or
request. If a bundle is named, `current` and `previous` say which
versions are kept for serving, even after a refusal, and `versions` how many there are; in a list,
`damaged` says whether the current one no longer has its sha256.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import deploy
from deploy.counters import raise_counter
from deploy.errors import (
    BundleError,
    DeployError,
    EngineError,
    MissingEngineError,
    RequestError,
    StaleError,
)
from deploy.runner.source import BundleSource
from deploy.store import FOLDER, Store, WrongOutputsError

SUMMARY = "manage the bundles of compressor deploy: receive, verify, switch, roll back, remove"
ACTIONS = ("list", "status", "receive", "activate", "rollback", "remove")

_SILENCE, _MOMENT = 60.0, 0.2
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from deploy.runner.__main__ import main; sys.exit(main())"
)
_CODES = {"check": 1, "missing": 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument("name", nargs="?", default="", help="the name of the bundle")
    parser.add_argument("--folder", default=FOLDER, help="where the bundles are (%(default)s)")
    parser.add_argument("--sha256", default="", help="the version")
    parser.add_argument("--bytes", type=int, default=0, help="its size")
    parser.add_argument("--offset", type=int, default=0, help="bytes that have arrived")
    parser.add_argument("--ticket", default="", help="of this copy: SESSION.ATTEMPT")


def execute(arguments: argparse.Namespace, source: BundleSource) -> int:
    store = None
    try:
        store = Store(arguments.folder)
        answer, code = {"ok": True, **_answer(arguments, store, source)}, 0
    except (DeployError, OSError, MemoryError, ModuleNotFoundError) as error:
        told = DeployError.of(error)
        kind = _kind(told)
        answer, code = {"ok": False, "kind": kind, "error": str(told)}, _CODES.get(kind, 2)
    if arguments.name and store is not None:
        with contextlib.suppress(RequestError):
            answer.update(store.status(arguments.name))
    print(json.dumps(answer), flush=True)
    return code


def _answer(arguments: argparse.Namespace, store: Store, source: BundleSource) -> dict[str, Any]:
    action, name, sha256 = arguments.action, arguments.name, arguments.sha256
    if action == "list":
        return {
            "bundles": [
                {**store.status(name), "damaged": store.is_damaged(name)} for name in store.names()
            ]
        }
    if action == "status":
        if not sha256:
            store.check_name(name)
            return {}
        return _received(store.received(name, sha256, arguments.ticket))
    if action == "receive":
        given = (arguments.bytes, arguments.offset, _Input(), arguments.ticket)
        taken = store.receive(name, sha256, *given)
        return _received(taken)
    if action == "remove":
        return {"removed": store.remove(name)}

    def verify(path: Path, expected: str) -> Any:
        return _verified(path, expected, name, source)

    def admit(found: Any) -> None:
        raise_counter(store.folder, name, found["signed_by"], found["counter"], sha256)

    if action == "activate":
        return {"verified": store.activate(name, sha256, verify, admit)}
    return {"verified": store.roll_back(name, verify)}


def _received(found: tuple[int, bool]) -> dict[str, Any]:
    return {"received": found[0], "complete": found[1]}


class _Input:
    """Bytes from standard input, b"" at its end, None if none arrive in a moment.

    A silent copy does not keep the lock for ever.
    """

    def __init__(self) -> None:
        self._heard = time.monotonic()

    def __call__(self, count: int) -> bytes | None:
        if select.select([0], [], [], _MOMENT)[0]:
            self._heard = time.monotonic()
            return os.read(0, count)
        if time.monotonic() - self._heard > _SILENCE:
            raise RequestError("the copy stopped", value=f"nothing arrived for {_SILENCE:g} s")
        return None


def _verified(path: Path, sha256: str, name: str, source: BundleSource) -> Any:
    """Check the bundle without running it, then its check vectors in another process."""
    bundle = source.open(path)
    if bundle.sha256 != sha256:
        raise BundleError("the file was altered", value=path)
    if bundle.manifest.name != name:
        raise BundleError(
            "the bundle has another name", value=f"{bundle.manifest.name}, not {name}"
        )
    return {
        "signed_by": bundle.signer,
        "counter": bundle.manifest.counter,
        "check": _checked_apart(path, source),
    }


def _checked_apart(path: Path, source: BundleSource) -> Any:
    """What `verify` finds in a process of its own, which may crash; raises its DeployError."""
    archive = str(Path(deploy.__path__[0]).parent)
    with contextlib.ExitStack() as stack:
        keys = _key_files(stack, source)
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROGRAM, archive, "verify", str(path), "--json", *keys],
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines()]
    said = next((line for line in reversed(lines) if line), "").replace("error: ", "", 1)
    try:
        found = _object(json.loads(done.stdout))
    except (ValueError, RecursionError):
        found = {}
    check = _object(found.get("check"))
    if done.returncode == 0 and check.get("passed") is True:
        return found
    if done.returncode == 1 and check.get("passed") is False:
        difference, tolerance = check.get("difference"), check.get("tolerance")
        wrong = "NaN, infinity or another shape"
        if difference is not None:
            wrong = f"they differ by {difference:.2g}, the tolerance is {tolerance:.2g}"
        raise WrongOutputsError("the outputs for the check vectors are wrong", value=wrong)
    if done.returncode == 2:
        raise BundleError(said or "the bundle is refused")
    if done.returncode == 3:
        raise MissingEngineError(said or "the runtime is not installed")
    code = done.returncode
    ending = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise EngineError("the runtime failed", value=f"{ending} {said}")


def _object(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _key_files(stack: contextlib.ExitStack, source: BundleSource) -> list[str]:
    """Options that pass the keys trusted here to another process."""
    from deploy.files import temporary_folder

    folder = stack.enter_context(temporary_folder("compressor-keys-"))
    words: list[str] = []
    for number, key in enumerate(source.keys or ()):
        path = folder / f"{number}.pub"
        path.write_text(key.pem())
        words += ["--key", str(path)]
    return words


def _kind(error: BaseException) -> str:
    if isinstance(error, MissingEngineError):
        return "missing"
    if isinstance(error, EngineError):
        return "check"
    if isinstance(error, StaleError):
        return "stale"
    return "bundle" if isinstance(error, BundleError) else "request"
