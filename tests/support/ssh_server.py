"""An ssh server of the test's own: a process on a loopback port, with keys and a configuration.

Nothing of the system's or the user's ssh is read or written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NAME = "device"
"""What the configuration calls the server."""

PATIENCE = 120.0
"""Seconds until something that a busy machine does at its own pace is given up."""
_TRIES = 20
_SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
_SERVER = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PubkeyAuthentication yes
UsePAM no
StrictModes no
AllowTcpForwarding no
SetEnv TMPDIR={folder}/tmp
MaxStartups 100
"""
_CLIENT = """\
Host {name}
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/user
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
"""


@dataclasses.dataclass(frozen=True)
class SshServer:
    """A server that runs: its port, and its folder, in which `home` takes what is brought."""

    port: int
    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def temporary(self) -> Path:
        """Where what runs there puts what is temporary."""
        return self.folder / "tmp"

    @property
    def config(self) -> Path:
        return self.folder / "config"

    def config_by(self, port: int) -> Path:
        """A configuration that reaches the server through another port."""
        path = self.folder / f"config-{port}"
        _write_config(path, self.folder, port, self.port)
        return path


def missing_ssh() -> str:
    """Why there can be no server here; empty where there can."""
    if _SSHD is None:
        return "sshd is not installed (scripts/install-system-packages.sh)"
    for program in ("ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return ""


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """Run a server with keys of its own in `folder`; skips the test where none is installed."""
    if reason := missing_ssh():
        pytest.skip(reason)
    if os.geteuid() == 0:  # sshd wants this of root, and the service that makes it does not run
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("home", "tmp"):
        (folder / name).mkdir(parents=True)
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)],
            check=True,
        )
    process, port = _started(folder)
    try:
        yield SshServer(port, folder)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _started(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A server that answers, and its port: it takes none that is free, but the one it is told."""
    assert _SSHD is not None
    log = folder / "sshd.log"
    for _ in range(_TRIES):
        port = free_port()
        (folder / "sshd_config").write_text(_SERVER.format(port=port, folder=folder))
        process = subprocess.Popen(
            [_SSHD, "-D", "-f", str(folder / "sshd_config"), "-E", str(log)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(functools.partial(_has_started, process, log, port))
        if process.poll() is None:
            _write_config(folder / "config", folder, port, port)
            return process, port
        if "Address already in use" not in log.read_text():
            break
    raise AssertionError(f"sshd does not start: {log.read_text().strip()[-500:]}")


def _write_config(path: Path, folder: Path, port: int, of: int) -> None:
    key = (folder / "host.pub").read_text().split()[:2]
    known = folder / "known_hosts"
    lines = known.read_text() if known.exists() else ""
    known.write_text(lines + f"[127.0.0.1]:{port} {' '.join(key)}\n")
    user = getpass.getuser()
    path.write_text(_CLIENT.format(name=NAME, port=port, user=user, folder=folder))


class CuttingProxy:
    """Passes connections on to a port, and cuts the first `cuts` after so many bytes to the server.

    `cut()` cuts all that are open. One that `stalls` does not cut them, but passes no more on until
    `flow()`.
    """

    def __init__(
        self, port: int, *, bytes_each: int = 0, cuts: int = 0, stalls: bool = False
    ) -> None:
        self._target, self._bytes_each, self._cuts = port, bytes_each, cuts
        self._stalls = stalls
        self._flows = threading.Event()
        self.connections = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> CuttingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.flow()
        self.cut()
        self._thread.join(PATIENCE)

    def flow(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        for connection in self._open:
            _close(connection)
        self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open += [client, server]
            limit = self._bytes_each if self.connections <= self._cuts else None
            for source, sink, most in ((client, server, limit), (server, client, None)):
                stall = self._flows if self._stalls else None
                arguments = (source, sink, most, stall)
                threading.Thread(target=_pass_on, args=arguments, daemon=True).start()


def _pass_on(
    source: socket.socket, sink: socket.socket, most: int | None, stall: threading.Event | None
) -> None:
    """Pass `most` bytes on, or all; then the end, or after `stall` the others."""
    left = most
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536 if left is None else max(min(left, 65536), 1)):
            sink.sendall(chunk)
            if left is not None:
                left -= len(chunk)
                if left <= 0 and stall is None:
                    break
                if left <= 0 and stall is not None:
                    stall.wait()
                    left = None
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)  # so that what was passed on arrives
    _close(source)
    _close(sink)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until(moment: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not moment():
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.01)


def _has_started(process: subprocess.Popen[bytes], log: Path, port: int) -> bool:
    """Whether a server has ended, or says that it listens: another's may be on the port."""
    listens = f"listening on 127.0.0.1 port {port}"
    return process.poll() is not None or (log.exists() and listens in log.read_text())


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, and that nobody else gets meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that a test started."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
