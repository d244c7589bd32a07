"""A command on another machine, over ssh: its input, output and standard error.

The other end is untrusted: it may stop reading or writing, or write without end. So every wait for
it has a deadline, in `time.monotonic`, and everything that it writes has a limit.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import IO

from deploy.text import clean

_CHUNK = 2**16
_TAIL = 4096
_LONGEST_LINE = 200
_KILL_SECONDS = 5.0


class TooMuchError(Exception):
    """The other end writes more than allowed."""


class SshProcess:
    """A local process that runs `words`, with three pipes to it; `kill` must end it.

    Without `output`, its standard output is discarded; `variables` are its environment. Every
    method with a deadline raises TimeoutError once it has passed. Raises OSError where the process
    cannot be started.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        output: bool = True,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if output else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=variables,
            # Ctrl-C is for this process, which ends the other itself.
            start_new_session=True,
        )
        self._held = bytearray()
        self._tail = b""
        self._hears = True
        for pipe in self._pipes():
            os.set_blocking(pipe.fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self.poll() is not None

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    @property
    def said(self) -> str:
        """The last line on standard error."""
        return last_line(self._tail)

    def send(self, content: bytes, deadline: float) -> None:
        """Write to its standard input. Raises BrokenPipeError where it is closed."""
        assert self._process.stdin is not None
        handle, left = self._process.stdin.fileno(), memoryview(content)
        while left:
            self._wait(handle, select.POLLOUT, deadline)
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(handle, left[:_CHUNK]) :]

    def close_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def line(self, most: int, deadline: float) -> bytes:
        """The next line of output, b"" at its end; TooMuchError for more than `most` bytes."""
        seen = 0
        while (end := self._held.find(b"\n", seen)) < 0:
            seen = len(self._held)
            if seen > most:
                raise TooMuchError
            if not self._fill(deadline):
                return b""
        return self._take(end + 1)

    def rest(self, most: int, deadline: float) -> bytes:
        """The rest of its output; TooMuchError for more than `most` bytes."""
        while self._fill(deadline):
            if len(self._held) > most:
                raise TooMuchError
        return self._take(len(self._held))

    def copy(self, file: IO[bytes], count: int, deadline: float) -> None:
        """Write the next `count` bytes of its output to a file; EOFError if there are fewer."""
        while count:
            if not self._held and not self._fill(deadline):
                raise EOFError
            count -= file.write(self._take(min(count, len(self._held))))

    def hear(self, seconds: float) -> None:
        """Wait, reading standard error meanwhile."""
        with contextlib.suppress(TimeoutError):
            self._wait(None, 0, time.monotonic() + seconds)

    def finish(self, seconds: float) -> int:
        """Close its input, wait until it ends or kill it after `seconds`; its exit code."""
        deadline = time.monotonic() + seconds
        self.close_input()
        self.hear(seconds)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(max(deadline - time.monotonic(), 0.0))
        self.kill()
        return self._process.wait()

    def code(self, seconds: float) -> int | None:
        """Its exit code; None if it still runs after `seconds`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it and its children if it runs, and close the pipes."""
        if not self.ended:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self.code(_KILL_SECONDS)  # unless it hangs in the kernel
        self._hears = False
        for pipe in self._pipes():
            pipe.close()

    def _pipes(self) -> list[IO[bytes]]:
        process = self._process
        return [pipe for pipe in (process.stdin, process.stdout, process.stderr) if pipe]

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def _fill(self, deadline: float) -> bool:
        """Read what has arrived; False at the end of the output."""
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        self._wait(handle, select.POLLIN, deadline)
        chunk = os.read(handle, _CHUNK)
        self._held += chunk
        return bool(chunk)

    def _wait(self, handle: int | None, event: int, deadline: float) -> None:
        """Wait until a pipe is ready, or, for None, until standard error has ended.

        Standard error is read meanwhile, so that it never blocks the other end.
        """
        assert self._process.stderr is not None
        errors = self._process.stderr.fileno() if self._hears else None
        while handle is not None or self._hears:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            poll = select.poll()
            if handle is not None:
                poll.register(handle, event)
            if errors is not None:
                poll.register(errors, select.POLLIN)
            ready = dict(poll.poll(1e3 * left))
            if errors is not None and errors in ready:
                chunk = os.read(errors, _CHUNK)
                self._tail = (self._tail + chunk)[-_TAIL:]
                if not chunk:
                    self._hears, errors = False, None
            if handle in ready:
                return


def last_line(said: bytes) -> str:
    """The last line that is not empty, shortened."""
    lines = [line.strip() for line in said[-_TAIL:].decode(errors="replace").split("\n")]
    return clean(next((line for line in reversed(lines) if line), ""), _LONGEST_LINE)
