"""Programs run with nothing in their home and temporary directories, and what they do there."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_LEFT_OUT = re.compile(r"XDG_.*|MPLCONFIGDIR|KERAS_HOME|FONTCONFIG_.*|ORT_.*|COMPRESSOR_.*|CI|TMP")
_CALLS = re.compile(r"(socket\(AF_(?!UNIX)|connect\(|bind\().*")
# The C library asks these who the user is; DNS is another socket, of another family.
_ASKED_FOR_USERS = ("/run/nscd/socket", "/run/systemd/userdb/")


@functools.cache
def strace_works() -> bool:
    """Whether system calls can be watched here; containers may forbid it."""
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True)
    return tried.returncode == 0


needs_strace = pytest.mark.skipif(
    not strace_works(), reason="strace is not installed, or may not watch processes here"
)


class EmptyHome:
    """A home and a temporary directory below `folder`, empty before the first program."""

    def __init__(self, folder: Path) -> None:
        self.home, self.temporary = folder / "home", folder / "temporary"
        self._trace = str(folder / "trace")
        for made in (self.home, self.temporary):
            made.mkdir(parents=True)

    def environment(self) -> dict[str, str]:
        """That of a user who has set nothing."""
        kept = {n: value for n, value in os.environ.items() if not _LEFT_OUT.fullmatch(n)}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        return {**kept, "HOME": str(self.home), "TMPDIR": str(self.temporary)}

    def watched(self, *command: object) -> list[str]:
        """The command, under strace where that works."""
        words = list(map(str, command))
        if not strace_works():
            return words
        calls = ["-e", "trace=socket,connect,bind", "-e", "signal=none"]
        return ["strace", "-f", "--seccomp-bpf", "-qq", *calls, "-A", "-o", self._trace, *words]

    def run(self, *command: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, watched."""
        return subprocess.run(
            self.watched(*command),
            env=self.environment(),
            text=True,
            capture_output=True,
            timeout=300,
            **options,
        )

    @contextlib.contextmanager
    def started(self, *command: object) -> Iterator[subprocess.Popen[str]]:
        """A watched command, and its standard output; ended by SIGTERM, which must end it well."""
        process = subprocess.Popen(
            self.watched(*command),
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                # strace itself passes no signal on.
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
                watched = children.split() if strace_works() else [process.pid]
                for number in watched:
                    os.kill(int(number), signal.SIGTERM)
        assert process.returncode == 0

    def left(self) -> list[str]:
        """What is below both directories."""
        return [
            str(path.relative_to(self.home.parent))
            for folder in (self.home, self.temporary)
            for path in sorted(folder.rglob("*"))
        ]

    def network(self) -> list[str]:
        """The sockets that the watched commands made, bound and connected, as system calls."""
        return [
            call[0]
            for line in Path(self._trace).read_text(errors="replace").splitlines()
            if (call := _CALLS.search(line)) and not any(path in line for path in _ASKED_FOR_USERS)
        ]
