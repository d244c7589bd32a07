"""Bringing bundles to a device through ssh: copied, verified there, switched, or left as it was.

What decides is the runner that was installed on the device, with the keys that are pinned in it:
this machine only asks it (`deploy.runner.commands.store`).
"""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from compressor._files import write_bytes
from compressor.bundling._errors import deploy_errors
from compressor.bundling.packaging import is_container
from compressor.errors import (
    BundleError,
    CheckFailedError,
    CompressorError,
    MissingRuntimeError,
    UsageError,
)
from compressor.remote_workspace import RemoteWorkspace
from compressor.ssh import CONNECTION_LOST, SshHost, in_home, last_line
from deploy.bundle import open_bundle
from deploy.runner.packing import pack
from deploy.signing import read_public_key
from deploy.store import FOLDER, RUNNER

Json = dict[str, Any]
Progress = Callable[[int, int], None]
"""Told how many bytes of how many have been sent."""

_CHUNK = 2**16
_NO_COMMAND = 127
_MOST_ATTEMPTS = 50
_MOST_IN_VAIN = 3
_SECONDS = 120.0
_ERRORS: dict[Any, type[CompressorError]] = {
    "bundle": BundleError,
    "check": CheckFailedError,
    "missing": MissingRuntimeError,
}


def deploy(
    bundle: Path | str,
    host: SshHost | str,
    *,
    folder: str = FOLDER,
    progress: Progress | None = None,
) -> Json:
    """Bring a bundle to a device, and let it be the one that is served there.

    It is copied to `folder` there, on from where an earlier copy broke off; verified by the runner
    that is installed there, static checks, signature and check vectors; then `current` is switched
    to it by one rename, and it is verified again. Where anything fails, the version that was served
    is served on.

    Returns a JSON object: host, name, sha256, bytes, copied_bytes (0 where it was there), current
    and previous (sha256 of what is served, and was before), verified. Raises BundleError for what
    is no bundle, or is refused there; CheckFailedError where it does not compute there what it
    should; MissingRuntimeError where there is no connection, no runner, or no runtime; UsageError
    for what is no bundle for a device with a runner.
    """
    path = Path(bundle)
    if path.is_dir():
        raise UsageError(
            "a folder for browsers is not deployed", value=path, hint="copy it to a web server"
        )
    with deploy_errors():
        opened = open_bundle(path, None)
    name, sha256, size = opened.manifest.name, opened.sha256, opened.size
    del opened
    with _Device.connected(SshHost.of(host), folder) as device:
        copied = _copy(device, path, name, sha256, size, progress or _silent)
        answer = device.ask("activate", name, "--sha256", sha256)
        return {
            **{"host": device.host.name, "name": name, "sha256": sha256, "bytes": size},
            "copied_bytes": copied,
            **{key: answer.get(key) for key in ("current", "previous", "verified")},
        }


def roll_back(name: str, host: SshHost | str, *, folder: str = FOLDER) -> Json:
    """Let the previous version of the bundle `name` be served again on a device, verified there.

    Returns host, name, current, previous, verified; raises as `deploy` does.
    """
    with _Device.connected(SshHost.of(host), folder) as device:
        answer = device.ask("rollback", name)
        kept = {key: answer.get(key) for key in ("current", "previous", "verified")}
        return {"host": device.host.name, "name": name, **kept}


def served(host: SshHost | str, *, folder: str = FOLDER) -> Json:
    """What is served on a device: host, bundles (a list of name, current, previous)."""
    with _Device.connected(SshHost.of(host), folder) as device:
        return {"host": device.host.name, "bundles": device.ask("list", "").get("bundles")}


def write_runner(keys: Sequence[Path | str], output: Path | str, *, force: bool = False) -> Json:
    """Write the runner that trusts bundles signed by one of `keys`, public keys of `keygen`.

    Returns path, bytes, keys (their identifiers). Raises UsageError where the file is there,
    unless `force`; BundleError for a file that holds no public key.
    """
    archive, identifiers = _runner(keys)
    path = Path(output)
    if path.exists() and not force:
        raise UsageError("there is a file already", value=path, hint="--force replaces it")
    if path.exists() and not is_container(path):
        raise UsageError("this is no runner, and is not replaced", value=path, hint="name another")
    write_bytes(path, archive)
    return {"path": str(path), "bytes": len(archive), "keys": identifiers}


def install_runner(
    keys: Sequence[Path | str],
    host: SshHost | str,
    *,
    folder: str = FOLDER,
    force: bool = False,
) -> Json:
    """Install the runner on a device, in `folder` there, at once.

    One that trusts other keys is replaced only with `force`. Returns host, path, bytes, keys,
    replaced_keys (null where there was none). Raises MissingRuntimeError where there is no
    connection or no Python, UsageError where the device refuses.
    """
    archive, identifiers = _runner(keys)
    host = SshHost.of(host)
    space = RemoteWorkspace(host, archive, timeout=_SECONDS)
    try:
        done = space.request({"op": "install", "folder": in_home(folder), "force": force})
    finally:
        space.close()
    return {
        "host": host.name,
        "path": str(done.get("path")),
        "bytes": int(done.get("bytes") or len(archive)),
        "keys": identifiers,
        "replaced_keys": done.get("before"),
    }


def _runner(keys: Sequence[Path | str]) -> tuple[bytes, list[str]]:
    if not keys:
        raise UsageError(
            "a runner trusts the keys that are pinned in it",
            value="no key",
            hint="give one with --key PUB",
        )
    with deploy_errors():
        trusted = [read_public_key(key) for key in keys]
    return pack(trusted), sorted({key.identifier for key in trusted})


class _Device:
    """The store of a device, at the other end of an open connection."""

    def __init__(self, host: SshHost, folder: str) -> None:
        self.host, self._folder = host, in_home(folder)

    @classmethod
    @contextlib.contextmanager
    def connected(cls, host: SshHost, folder: str) -> Any:
        with host.connected() as shared:
            yield cls(shared, folder)

    def ask(self, action: str, name: str, *words: str) -> Json:
        """The answer to a request, without ok; raises the CompressorError that it says."""
        return self.exchange(action, name, words, None)

    def exchange(
        self,
        action: str,
        name: str,
        words: Sequence[str],
        send: Callable[[IO[bytes]], None] | None,
    ) -> Json:
        """`ask`, while `send` writes to the other's standard input.

        Raises _CutError where the connection ends before there is an answer.
        """
        program = f"{self._folder}/{RUNNER}"
        options = [*words, "--folder", self._folder]
        command = self.host.python_command(
            [program, "store", action, *([name] * bool(name)), *options]
        )
        with tempfile.TemporaryFile() as said:
            process = self.host.start(
                command,
                stdin=subprocess.PIPE if send else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
            )
            with process:
                try:
                    if send is not None:
                        assert process.stdin is not None
                        with contextlib.suppress(BrokenPipeError):
                            send(process.stdin)
                        with contextlib.suppress(BrokenPipeError):
                            process.stdin.close()
                    assert process.stdout is not None
                    output = process.stdout.read()
                except BaseException:
                    process.kill()
                    raise
            return self._parse(output, process.returncode, last_line(said), program)

    def _parse(self, output: bytes, code: int, said: str, program: str) -> Json:
        where = f"{self.host.name} ({said})" if said else self.host.name
        lines = output.splitlines()
        answer = None
        with contextlib.suppress(ValueError, RecursionError):
            answer = json.loads(lines[-1]) if lines else None
        if isinstance(answer, dict) and answer.pop("ok", None) is True:
            return answer
        if isinstance(answer, dict) and "error" in answer:
            raise self._refusal(answer)
        if code == CONNECTION_LOST or code < 0:
            raise _CutError("the connection to the device was cut", value=where)
        if code == _NO_COMMAND:
            raise MissingRuntimeError(
                "there is no such Python on the device",
                value=f"{self.host.python} on {where}",
                hint="name one with --python",
            )
        raise MissingRuntimeError(
            "there is no runner on the device that answers",
            value=f"{program} on {where}",
            hint=f"compressor runner --key PUB --host {self.host.name} installs one",
        )

    def _refusal(self, answer: Json) -> CompressorError:
        kind = _ERRORS.get(answer.get("kind"), UsageError)
        hint = ""
        if "current" in answer:
            current = answer["current"]
            hint = f"{str(current)[:16]}... is still served" if current else "nothing is served"
        return kind("the device refuses", value=f"{self.host.name}: {answer['error']}", hint=hint)


class _CutError(MissingRuntimeError):
    """The connection was cut."""


def _copy(
    device: _Device, path: Path, name: str, sha256: str, size: int, progress: Progress
) -> int:
    """Copy a version that is not there, through cuts as long as it advances; the bytes sent."""
    status = device.ask("status", name, "--sha256", sha256)
    begun = have = int(status["received"])
    attempts = in_vain = 0
    while not status["complete"]:
        attempts += 1
        words = ["--sha256", sha256, "--bytes", str(size), "--offset", str(have)]
        try:
            send = functools.partial(_send, path=path, start=have, size=size, progress=progress)
            status = device.exchange("receive", name, words, send)
            arrived = int(status["received"])
        except _CutError as error:
            status = _after_cut(device, name, sha256, have, size, error)
            arrived = int(status["received"])
        in_vain = 0 if arrived > have else in_vain + 1
        if not status["complete"] and (in_vain == _MOST_IN_VAIN or attempts == _MOST_ATTEMPTS):
            raise _broken_off(device, arrived, size)
        time.sleep(in_vain)
        have = arrived
    progress(size, size)
    return size - begun


def _after_cut(
    device: _Device, name: str, sha256: str, have: int, size: int, cut: CompressorError
) -> Json:
    """What has arrived of a copy that was cut."""
    try:
        return device.ask("status", name, "--sha256", sha256)
    except _CutError:
        raise _broken_off(device, have, size) from cut


def _broken_off(device: _Device, have: int, size: int) -> MissingRuntimeError:
    return MissingRuntimeError(
        "the connection to the device was cut",
        value=f"{device.host.name}, at least {have:,} of {size:,} bytes have arrived",
        hint="the same command goes on from there; what was served is served on",
    )


def _send(sink: IO[bytes], path: Path, start: int, size: int, progress: Progress) -> None:
    with open(path, "rb") as file:
        file.seek(start)
        done = start
        while chunk := file.read(_CHUNK):
            progress(done, size)
            sink.write(chunk)
            done += len(chunk)


def _silent(done: int, size: int) -> None:
    pass
