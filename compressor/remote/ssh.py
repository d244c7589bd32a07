"""Another machine, through the user's own ssh and its configuration.

No password is asked for, stored or passed on (BatchMode): ssh has a key or an agent, or it refuses.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from compressor.errors import CheckFailedError, CompressorError, MissingRuntimeError, UsageError
from compressor.foundation import temporary_folder
from compressor.remote.ssh_process import SshProcess, last_line
from deploy.errors import DeployError

PYTHON = "python3"
"""What is called there, unless told otherwise."""

NO_COMMAND = 127
"""The exit code of a shell that does not find what it is to run."""
CONNECTION_LOST = 255
"""The exit code of ssh itself, for whatever goes wrong with the connection."""

_CONNECT_SECONDS = 20
_END_SECONDS = 5.0
_OPTIONS = (
    *("-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_SECONDS}"),
    # A connection that is cut without a word is given up after a minute.
    *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"),
    # Whatever the user has configured, no connection of ours stays open after us.
    *("-o", "ControlPersist=no"),
)
# It ends at the end of its input, a pipe of this process: however this process ends, the connection
# that others share does, too.
_HOLD = "cat"
# The shell removes the folder of the socket, which a process that is killed cannot.
_MASTER = '"$@"; rm -rf -- "$0"'


@dataclasses.dataclass(frozen=True)
class SshHost:
    """A machine that ssh reaches by `name`: [user@]host, or a name of the user's configuration.

    `python` is the Python there, `options` are for `ssh -o`, `config` is for `ssh -F`. `socket` is
    that of a connection that is open already. Raises UsageError for a name that ssh could take for
    an option, and for a `config` that is not there.
    """

    name: str
    python: str = PYTHON
    options: tuple[str, ...] = ()
    config: Path | None = None
    socket: Path | None = None

    def __post_init__(self) -> None:
        parts = self.name.split("@")
        fit = self.name.isprintable() and not any(c.isspace() for c in self.name)
        if not fit or not all(parts) or any(part.startswith("-") for part in parts):
            raise UsageError(
                "no host to connect to", value=self.name, hint="[user@]host, as ssh takes it"
            )
        # ssh takes "none" for no file at all.
        if self.config is not None and str(self.config) != "none" and not self.config.is_file():
            raise UsageError(
                "there is no such configuration of ssh", value=self.config, hint="name a file"
            )
        for what, text in (("option of ssh", self.options), ("Python", (self.python,))):
            if not all(word and word.isprintable() for word in text):
                raise UsageError(f"no {what}", value=", ".join(map(repr, text)))

    @classmethod
    def of(cls, host: SshHost | str) -> SshHost:
        """The host itself, or that of a name."""
        return host if isinstance(host, SshHost) else cls(host)

    def command(self, words: Sequence[str]) -> list[str]:
        """The command line of this machine that runs `words`, as they are, on the other."""
        # The user's shell there takes it apart again.
        return [*self._ssh(), "--", self.name, shlex.join(words)]

    def python_command(self, words: Sequence[str]) -> list[str]:
        """`command` of the Python there, without its user's variables and modules."""
        return self.command([in_home(self.python), "-I", *words])

    def _ssh(self) -> list[str]:
        words = ["ssh", *_OPTIONS]
        if self.config is not None:
            words += ["-F", str(self.config)]
        if self.socket is not None:
            words += ["-S", str(self.socket), "-o", "ControlMaster=no"]
        for option in self.options:
            words += ["-o", option]
        return words

    @contextlib.contextmanager
    def connected(self) -> Iterator[SshHost]:
        """Within it there is one open connection, which the commands of the given host share.

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
        """Start what `command` gave. Raises MissingRuntimeError where there is no ssh here."""
        try:
            return SshProcess(words, output=output)
        except OSError as error:
            raise _no_ssh(error.strerror) from error

    def unreachable(self, said: str) -> CompressorError:
        """The error of a connection that cannot be made; `said` is what ssh said of it.

        UsageError where ssh refuses the options or the configuration that it was given.
        """
        given = ["-F", str(self.config)] if self.config is not None else []
        for option in self.options:
            given += ["-o", option]
        if given and (refused := _refused_options([*given, "--", self.name])):
            return UsageError("ssh refuses its options", value=refused)
        return MissingRuntimeError(
            "cannot connect",
            value=f"{self.name} ({said})" if said else self.name,
            hint=f"try: {shlex.join(['ssh', *given, self.name])}",
        )

    def no_python(self, said: str) -> MissingRuntimeError:
        """The error of a Python that is not there; `said` is what its shell said of it."""
        return MissingRuntimeError(
            "there is no such Python on the device",
            value=f"{self.python} on {self.name}" + (f" ({said})" if said else ""),
            hint="name one with --python",
        )

    def nonsense(self, what: object) -> CheckFailedError:
        """The error of an answer that is none; `what` says why."""
        return CheckFailedError(
            "the device does not keep to the protocol", value=f"{self.name}: {what}"
        )

    @contextlib.contextmanager
    def keeping_to_the_protocol(self) -> Iterator[None]:
        """Turn what is wrong with an answer, a DeployError, into `nonsense`."""
        try:
            yield
        except DeployError as error:
            raise self.nonsense(error) from None


def in_home(path: str) -> str:
    """A path that the other machine takes from its user's home, where it is not absolute."""
    return path.removeprefix("~/") if len(path) > len("~/") else path


def _refused_options(words: Sequence[str]) -> str:
    """What ssh says of options that it does not take; empty where it takes them."""
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
    # It says which is bad, and in another line that it therefore ends.
    said = [line for line in done.stderr.splitlines() if b"terminating" not in line]
    return last_line(b"\n".join(said)) or f"exit code {done.returncode}"


def _no_ssh(reason: str | None) -> MissingRuntimeError:
    return MissingRuntimeError(
        "ssh cannot be started", value=reason, hint="install OpenSSH's client"
    )
