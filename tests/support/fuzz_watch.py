"""What an input of `fuzzing` does to the world outside of its folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Watch:
    """Hears by Python's audit hooks what an input does to the world."""

    _WRITES = frozenset(
        f"os.{name}"
        for name in ("mkdir", "rename", "remove", "rmdir", "symlink", "link", "truncate", "chmod")
    )
    _NEVER = frozenset(
        (
            *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"),
            *("pickle.find_class", "socket.connect", "socket.getaddrinfo", "pty.spawn"),
        )
    )
    _FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def __init__(self, folder: Path) -> None:
        self._inside = f"{os.path.realpath(folder)}/"
        self.on = self.starts = False
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if self.starts and event in ("subprocess.Popen", "os.posix_spawn"):
            return
        if event in self._NEVER:
            self.seen.append(f"{event} {arguments[:2]!r:.200}")
        elif event in self._WRITES:
            # What a link leads to is not written.
            self._write(event, arguments[event in ("os.symlink", "os.link") : 2])
        elif event == "open" and arguments[2] & self._FLAGS:
            self._write(event, arguments[:1])

    def _write(self, event: str, paths: Iterable[Any]) -> None:
        self.on = False
        for path in paths:
            if isinstance(path, (str, bytes, os.PathLike)):
                name = os.fsdecode(path)
                holder, last = os.path.split(name)
                real = os.path.join(os.path.realpath(holder or "."), last)  # noqa: PTH118
                if not real.startswith(self._inside) and name != os.devnull:
                    self.seen.append(f"{event} {name!r:.200}")
        self.on = True
