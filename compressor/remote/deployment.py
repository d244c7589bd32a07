"""Deploying bundles over ssh: copied, verified on the device, then switched to.

The runner that is installed on the device decides, by the keys pinned in it; this machine only
sends requests (`deploy.runner.commands.store`).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compressor.errors import CompressorError, MissingRuntimeError, UsageError
from compressor.foundation import deploy_errors, several, write_bytes
from compressor.remote.device_store import Arrived, CutError, DeviceStore, StaleError
from compressor.remote.ssh import SshHost, in_home
from compressor.remote.workspace import RemoteWorkspace
from deploy.bundle import open_bundle
from deploy.container import MOST_BYTES, is_bundle_name, read_container
from deploy.errors import DeployError
from deploy.fields import LONGEST_PATH, Fields
from deploy.files import read_regular
from deploy.manifest import MANIFEST
from deploy.runner.packing import pack
from deploy.signing import read_public_key
from deploy.store import FOLDER
from deploy.text import clean

Json = dict[str, Any]
CopyProgress = Callable[[int, int], None]
"""Called with the bytes sent, and those of the bundle."""

_CHUNK = 2**16
_MOST_ATTEMPTS = 50
_MOST_IN_VAIN = 3
_SECONDS = 120.0
_RUNNER_PART = "deploy/runner/__init__.py"


def deploy(
    bundle: Path | str,
    host: SshHost | str,
    *,
    folder: str = FOLDER,
    progress: CopyProgress | None = None,
) -> Json:
    """Deploy a bundle to a device, where it is then the version that is served.

    It is copied to `folder` there, resuming an earlier copy; verified by the runner installed there
    (static checks, signature, check vectors); then `current` is switched to it by one rename, and
    it is verified again. If anything fails, the version served before stays.

    Returns a JSON object: host, name, sha256, bytes, copied_bytes (0 where it was there), current
    and previous (sha256), verified. Raises BundleError for what is no bundle, or is refused there;
    CheckFailedError where it computes something else there, or the answer is missing or invalid;
    MissingRuntimeError where there is no connection, runner or runtime; UsageError for a bundle
    for browsers.
    """
    path = Path(bundle)
    if path.is_dir():
        hint = "copy it to a web server"
        raise UsageError("a folder for browsers is not deployed", value=path, hint=hint)
    with deploy_errors():
        opened = open_bundle(path, None)
    name, sha256, size = opened.manifest.name, opened.sha256, opened.size
    del opened
    with DeviceStore.connected(SshHost.of(host), folder) as device:
        copied = _copy(device, path, name, sha256, size, progress or (lambda *_: None))
        return {
            **{"host": device.host.name, "name": name, "sha256": sha256, "bytes": size},
            "copied_bytes": copied,
            **device.activate(name, sha256),
        }


def roll_back(name: str, host: SshHost | str, *, folder: str = FOLDER) -> Json:
    """Return to the previous version of the bundle `name` on a device, verified there.

    Returns host, name, current, previous, verified; raises as `deploy` does.
    """
    _check_name(name)
    with DeviceStore.connected(SshHost.of(host), folder) as device:
        return {"host": device.host.name, "name": name, **device.roll_back(name)}


def remove_bundle(name: str, host: SshHost | str, *, folder: str = FOLDER) -> Json:
    """Remove the bundle `name` with all its versions from a device.

    A server running there keeps what it has loaded, and says that it is gone. Returns host, name,
    versions (how many there were); raises as `deploy` does, and UsageError for an unknown name.
    """
    _check_name(name)
    with DeviceStore.connected(SshHost.of(host), folder) as device:
        return {"host": device.host.name, "name": name, "versions": device.remove(name)}


def _check_name(name: str) -> None:
    if not is_bundle_name(name):
        raise UsageError("no name of a bundle", value=name)


def served(host: SshHost | str, *, folder: str = FOLDER) -> Json:
    """The bundles on a device: host, bundles (name, current, previous, versions, damaged).

    `current` and `previous` are sha256s or None, `versions` is their number, `damaged` whether the
    file of the current one has another sha256 by now.
    """
    with DeviceStore.connected(SshHost.of(host), folder) as device:
        return {"host": device.host.name, "bundles": device.bundles()}


def write_runner(keys: Sequence[Path | str], output: Path | str, *, force: bool = False) -> Json:
    """Write the runner that trusts bundles signed by one of `keys`, public keys of `keygen`.

    Returns path, bytes, keys (their identifiers). Raises UsageError where the file exists, unless
    `force` and it is a runner; BundleError for a file without a public key.
    """
    archive, identifiers = _runner(keys)
    path = Path(output)
    if path.exists() and not force:
        raise UsageError("there is a file already", value=path, hint="--force replaces it")
    if path.exists() and not _is_runner(path):
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
    """Install the runner on a device, in `folder` there.

    One that trusts other keys is replaced only with `force`. Returns host, path, bytes, keys,
    replaced_keys (null where there was none), lacks (packages that the Python there still needs).
    Raises MissingRuntimeError where there is no connection or no Python, UsageError where the
    device refuses.
    """
    archive, identifiers = _runner(keys)
    host = SshHost.of(host)
    with contextlib.closing(RemoteWorkspace(host, archive, timeout=_SECONDS)) as space:
        done = space.request({"op": "install", "folder": in_home(folder), "force": force})
    with host.keeping_to_the_protocol():
        answer = Fields(done, "answer")
        if sorted(set(answer.texts("keys"))) != identifiers:
            raise DeployError("a runner with other keys was installed")
        before = answer.optional("before", answer.texts)
        return {
            "host": host.name,
            "path": clean(answer.text("path", longest=LONGEST_PATH), LONGEST_PATH),
            "bytes": answer.integer("bytes", 1),
            "keys": identifiers,
            "replaced_keys": None if before is None else list(map(clean, before)),
            "lacks": list(map(clean, answer.texts("lacks"))),
        }


def _is_runner(path: Path) -> bool:
    """Whether a file is a runner of any version and keys, not a bundle that holds one."""
    try:
        members = read_container(read_regular(path, MOST_BYTES))
    except DeployError:
        return False
    return _RUNNER_PART in members and MANIFEST not in members


def _runner(keys: Sequence[Path | str]) -> tuple[bytes, list[str]]:
    if not keys:
        what = "a runner trusts the keys that are pinned in it"
        raise UsageError(what, value="no key", hint="give one with --key PUB")
    with deploy_errors():
        trusted = [read_public_key(key) for key in several(keys)]
    return pack(trusted), sorted({key.identifier for key in trusted})


def _copy(
    device: DeviceStore, path: Path, name: str, sha256: str, size: int, progress: CopyProgress
) -> int:
    """Copy what is missing of a version, resuming after cuts while it advances; the bytes sent."""
    # What was sent before a cut may still be arriving there: a new ticket ends that.
    tickets = map(f"{secrets.token_hex(8)}.{{:04}}".format, itertools.count())
    ticket = next(tickets)
    there = device.status(name, sha256, size, ticket)
    begun = have = there.bytes
    attempts = in_vain = 0
    while not there.whole:
        attempts += 1
        send = functools.partial(_send, path=path, start=have, size=size, progress=progress)
        failed: CompressorError | None = None
        try:
            there = device.receive(name, sha256, size, have, ticket, send)
        except (CutError, StaleError) as error:
            failed, ticket = error, next(tickets)
            there = _after_cut(device, name, sha256, have, size, ticket, error)
        in_vain = 0 if there.bytes > have else in_vain + 1
        if not there.whole and (in_vain == _MOST_IN_VAIN or attempts == _MOST_ATTEMPTS):
            if isinstance(failed, StaleError):
                raise failed
            raise _broken_off(device, there.bytes, size)
        time.sleep(in_vain)
        have = there.bytes
    progress(size, size)
    return size - begun


def _after_cut(
    device: DeviceStore,
    name: str,
    sha256: str,
    have: int,
    size: int,
    ticket: str,
    cut: CompressorError,
) -> Arrived:
    try:
        return device.status(name, sha256, size, ticket)
    except CutError:
        raise _broken_off(device, have, size) from cut


def _broken_off(device: DeviceStore, have: int, size: int) -> MissingRuntimeError:
    return MissingRuntimeError(
        "the connection to the device was cut",
        value=f"{device.host.name}, at least {have:,} of {size:,} bytes have arrived",
        hint="the same command goes on from there; what was served is served on",
    )


def _send(
    sink: Callable[[bytes], None], path: Path, start: int, size: int, progress: CopyProgress
) -> None:
    with open(path, "rb") as file:
        file.seek(start)
        done = start
        while chunk := file.read(_CHUNK):
            progress(done, size)
            sink(chunk)
            done += len(chunk)
