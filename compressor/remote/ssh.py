"""Another machine, through the user's own ssh and its configuration.

Passwords are never asked for, stored or passed on (BatchMode): ssh needs a key or an agent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from compressor.errors import CheckFailedError, CompressorError, MissingRuntimeError, UsageError
from compressor.foundation import several, temporary_folder
from compressor.remote.ssh_process import SshProcess, last_line
from deploy.errors import DeployError

PYTHON = "python3"
NO_COMMAND = 127
"""Exit code of a shell that does not find the command."""
CONNECTION_LOST = 255
"""Exit code of ssh itself, for any failure of the connection."""

_CONNECT_SECONDS = 20
_END_SECONDS = 5.0
_OPTIONS = (
    *("-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_SECONDS}"),
    # A connection that dies silently is given up after a minute.
    *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"),
    # Whatever the user has configured, no connection of ours outlives us.
    *("-o", "ControlPersist=no"),
)
_IN_NAMES = frozenset("._-:%@+/[]=,#~\\")
_BEGINS_CODE = ("-", "#", "~", "=")
# Ends with its input, a pipe of this process: however this process ends, so does the shared
# connection.
_HOLD = "cat"
# The shell removes the socket's folder, which a killed process cannot.
_MASTER = '"$@"; rm -rf -- "$0"'


@dataclasses.dataclass(frozen=True)
class SshHost:
    """A machine that ssh reaches by `name`: [user@]host, or a name of the user's configuration.

    `python` is the Python there, `options` are for `ssh -o`, `config` is for `ssh -F`, `socket`
    belongs to a connection that is already open. Raises UsageError for a name that ssh, or a shell
    that it gives the name to, could take for an option or for code, and for a `config` that does
    not exist.
    """

    name: str
    python: str = PYTHON
    options: tuple[str, ...] = ()
    config: Path | None = None
    socket: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", several(self.options))
        if not _is_destination(self.name):
            hint = "[user@]host, as ssh takes it, of letters, digits and . - _ : % @ + / [ ]"
            raise UsageError("no host to connect to", value=self.name, hint=hint)
        # ssh takes "none" for no file at all.
        if self.config is not None and str(self.config) != "none" and not self.config.is_file():
            what = "there is no such configuration of ssh"
            raise UsageError(what, value=self.config, hint="name a file")
        for what, text in (("option of ssh", self.options), ("Python", (self.python,))):
            if not all(word and word.isprintable() for word in text):
                raise UsageError(f"no {what}", value=", ".join(map(repr, text)))

    @classmethod
    def of(cls, host: SshHost | str) -> SshHost:
        return host if isinstance(host, SshHost) else cls(host)

    def command(self, words: Sequence[str]) -> list[str]:
        """The local command line that runs `words` on the other machine, quoted for its shell."""
        return [*self._ssh(), "--", self.name, shlex.join(words)]

    def python_command(self, words: Sequence[str]) -> list[str]:
        """`command` of the Python there, isolated (-I)."""
        return self.command([in_home(self.python), "-I", *words])

    def _ssh(self) -> list[str]:
        shared = [] if self.socket is None else ["-S", str(self.socket), "-o", "ControlMaster=no"]
        return ["ssh", *_OPTIONS, *shared, *self._given()]

    def _given(self) -> list[str]:
        config = [] if self.config is None else ["-F", str(self.config)]
        return [*config, *(word for option in self.options for word in ("-o", option))]

    @contextlib.contextmanager
    def connected(self) -> Iterator[SshHost]:
        """Hold one connection open; the commands of the yielded host share it.

        Raises MissingRuntimeError where there is no ssh, or it cannot connect.
        """
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(temporary_folder("compressor-ssh-"))
            socket = folder / "s"
            if shutil.which("ssh") is None:
                raise _no_ssh("it is not in the PATH")
            words = [*self._ssh(), "-M", "-S", str(socket), "--", self.name, _HOLD]
            master = self.start(["sh", "-c", _MASTER, str(folder), *words], output=False)
            stack.callback(master.kill)
            stack.callback(master.finish, _END_SECONDS)
            deadline = time.monotonic() + 2 * _CONNECT_SECONDS
            while not socket.exists():
                if master.ended or time.monotonic() > deadline:
                    master.finish(_END_SECONDS)
                    raise self.unreachable(master.said)
                master.hear(0.01)
            yield dataclasses.replace(self, socket=socket)

    def start(self, words: Sequence[str], *, output: bool = True) -> SshProcess:
        """Start what `command` returned. Raises MissingRuntimeError where there is no ssh."""
        try:
            return SshProcess(words, output=output)
        except OSError as error:
            raise _no_ssh(error.strerror) from error

    def unreachable(self, said: str) -> CompressorError:
        """The error of a failed connection, of which ssh `said` so.

        UsageError where ssh refuses its options or configuration, else MissingRuntimeError.
        """
        given = self._given()
        if given and (refused := _refused_options([*given, "--", self.name])):
            return UsageError("ssh refuses its options", value=refused)
        return MissingRuntimeError(
            "cannot connect",
            value=f"{self.name} ({said})" if said else self.name,
            hint=f"try: {shlex.join(['ssh', *given, self.name])}",
        )

    def no_python(self, said: str) -> MissingRuntimeError:
        return MissingRuntimeError(
            "there is no such Python on the device",
            value=f"{self.python} on {self.name}" + (f" ({said})" if said else ""),
            hint="name one with --python",
        )

    def nonsense(self, what: object) -> CheckFailedError:
        """The error of an invalid answer; `what` says why."""
        error = "the device does not keep to the protocol"
        return CheckFailedError(error, value=f"{self.name}: {what}")

    @contextlib.contextmanager
    def keeping_to_the_protocol(self) -> Iterator[None]:
        """Turn the DeployError of an answer into `nonsense`."""
        try:
            yield
        except DeployError as error:
            raise self.nonsense(error) from None


def _is_destination(name: str) -> bool:
    """Whether a name is nothing but a name to ssh, and to a shell.

    The user's ProxyCommand or Match exec may put it into a command (CVE-2023-51385); ssh itself
    refuses this since 9.6. Backslashes are of users in a domain, before their name.
    """
    user, _, host = name.rpartition("@")
    parts = re.split(r"[@/\[\\]", name)
    return (
        all(c.isalnum() or c in _IN_NAMES for c in name)
        and all(name.split("@"))
        and not any(part[:1] in _BEGINS_CODE for part in parts if part)
        and "\\" not in host
        and not user.endswith("\\")
    )


def in_home(path: str) -> str:
    """A path for the other machine, relative to its user's home unless absolute."""
    return path.removeprefix("~/") if len(path) > len("~/") else path


def _refused_options(words: Sequence[str]) -> str:
    """What ssh says of options that it refuses; empty where it accepts them."""
    try:
        done = subprocess.run(
            ["ssh", "-G", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_CONNECT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if not done.returncode:
        return ""
    # It names the bad one, and in another line says that it terminates.
    said = [line for line in done.stderr.splitlines() if b"terminating" not in line]
    return last_line(b"\n".join(said)) or f"exit code {done.returncode}"


def _no_ssh(reason: str | None) -> MissingRuntimeError:
    hint = "install OpenSSH's client"
    return MissingRuntimeError("ssh cannot be started", value=reason, hint=hint)
