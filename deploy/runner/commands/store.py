"""store: the bundles that `compressor deploy` brings to a device; one JSON answer a call.

The answer is a line: {"ok": true, ...}, or {"ok": false, "kind": KIND, "error": ONE LINE, ...},
where KIND is bundle (refused), check (its outputs are others, or its runtime fails), missing (its
runtime is not there) or request. Where a bundle is named, `current` and `previous` say what is
served, also after a refusal, and `versions` how many are kept; in a list, `damaged` says whether
the current one has another content by now.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import deploy
from deploy.errors import (
    BundleError,
    DeployError,
    EngineError,
    MissingEngineError,
    RequestError,
)
from deploy.runner.source import BundleSource
from deploy.store import FOLDER, Store, WrongOutputsError

SUMMARY = (
    "keep the bundles that compressor deploy brings: receive, verify, switch, roll back, remove"
)
ACTIONS = ("list", "status", "receive", "activate", "rollback", "remove")

_SILENCE = 60.0
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from deploy.runner.__main__ import main; sys.exit(main())"
)
_CODES = {"check": 1, "missing": 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is done, with which version of which bundle."""
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument("name", nargs="?", default="", help="the name of the bundle")
    parser.add_argument("--folder", default=FOLDER, help="where the bundles are (%(default)s)")
    parser.add_argument("--sha256", default="", help="the version")
    parser.add_argument("--bytes", type=int, default=0, help="of the version")
    parser.add_argument("--offset", type=int, default=0, help="bytes that have arrived")


def execute(arguments: argparse.Namespace, source: BundleSource) -> int:
    """Do it, and print the answer."""
    store = Store(arguments.folder)
    try:
        answer, code = {"ok": True, **_answer(arguments, store, source)}, 0
    except (DeployError, OSError, MemoryError, ModuleNotFoundError) as error:
        kind, text = _kind(error), str(_said(error))
        answer, code = {"ok": False, "kind": kind, "error": text}, _CODES.get(kind, 2)
    if arguments.name:
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
        return _received(store.received(name, sha256))
    if action == "receive":
        taken = store.receive(name, sha256, arguments.bytes, arguments.offset, _read)
        return _received(taken)

    if action == "remove":
        return {"removed": store.remove(name)}

    def verify(path: Path, expected: str) -> Any:
        return _verified(path, expected, name, source)

    if action == "activate":
        return {"verified": store.activate(name, sha256, verify)}
    return {"verified": store.roll_back(name, verify)}


def _received(found: tuple[int, bool]) -> dict[str, Any]:
    return {"received": found[0], "complete": found[1]}


def _read(count: int) -> bytes:
    """Bytes from standard input, b"" at its end; a copy that fell silent does not keep the lock."""
    if not select.select([0], [], [], _SILENCE)[0]:
        raise RequestError("nothing arrived any more", value=f"for {_SILENCE:g} s")
    return os.read(0, count)


def _verified(path: Path, sha256: str, name: str, source: BundleSource) -> Any:
    """Check all that does not run, then the check vectors, in a process that may crash."""
    bundle = source.open(path)
    if bundle.sha256 != sha256:
        raise BundleError("the file was changed", value=path)
    if bundle.manifest.name != name:
        raise BundleError(
            "the bundle has another name", value=f"{bundle.manifest.name}, not {name}"
        )
    identifier = None if bundle.signed_by is None else bundle.signed_by.identifier
    return {"signed_by": identifier, "check": _checked_apart(path, source)}


def _checked_apart(path: Path, source: BundleSource) -> Any:
    """What `verify` says of the bundle. Raises the DeployError that it ended with."""
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
    found = _object(done.stdout)
    check = _object_in(found, "check")
    if done.returncode == 0 and check.get("passed") is True:
        return found
    if done.returncode == 1 and check.get("passed") is False:
        raise WrongOutputsError("the check vectors are not met", value=_difference(check))
    if done.returncode == 2:
        raise BundleError(said or "the bundle is refused")
    if done.returncode == 3:
        raise MissingEngineError(said or "the runtime is not there")
    raise EngineError("the runtime fails", value=f"{_ending(done.returncode)} {said}")


def _object(text: bytes) -> dict[str, Any]:
    """The JSON object that a process wrote; an empty one where it wrote another thing."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _object_in(found: dict[str, Any], key: str) -> dict[str, Any]:
    inner = found.get(key)
    return inner if isinstance(inner, dict) else {}


def _difference(check: dict[str, Any]) -> str:
    if check.get("difference") is None:
        return "outputs are no numbers, or of another shape"
    return f"outputs differ by {check['difference']:.2g}, at most {check['tolerance']:.2g}"


def _key_files(stack: contextlib.ExitStack, source: BundleSource) -> list[str]:
    """Options that give the keys that are trusted here, pinned or not, to another process."""
    import tempfile

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compressor-keys-")))
    words: list[str] = []
    for number, key in enumerate(source.keys or ()):
        path = folder / f"{number}.pub"
        path.write_text(key.pem())
        words += ["--key", str(path)]
    return words


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _said(error: BaseException) -> DeployError:
    """What an error says, in one line."""
    if isinstance(error, DeployError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return MissingEngineError(f"{error.name} is not there", hint=f"pip install {error.name}")
    return DeployError("the system refuses", value=error)


def _kind(error: BaseException) -> str:
    if isinstance(error, (MissingEngineError, ModuleNotFoundError)):
        return "missing"
    if isinstance(error, EngineError):
        return "check"
    return "bundle" if isinstance(error, BundleError) else "request"
