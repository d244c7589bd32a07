"""Untrusted connections: the heads and targets of requests, and when there are too many."""

from __future__ import annotations

import contextlib
import io
import re
import socket

from deploy.serving.application import RETRY_SECONDS

RECEIVE_SECONDS = 20.0
"""How long a connection may take to send a request, headers and body."""

LONGEST_HEAD = 2**16
"""Bytes of the head of a request."""
# RFC 9112, 5.1, without line folding (5.2): a name, its colon at once, and no control characters.
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")
# RFC 9112, 3: HTTP/0.9 has no version, and lines end in CR LF.
_REQUEST_LINE = re.compile(
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e\x80-\xff]+ HTTP/[1-9][0-9.]{0,9}\r\n"
)
_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)


def is_request_line(line: bytes) -> bool:
    return _REQUEST_LINE.fullmatch(line) is not None


def authority(target: str) -> str | None:
    """The host and port in a request's target if it is a whole URL, else None."""
    found = _ABSOLUTE.match(target)
    return None if found is None else found[1]


def origin_form(target: str) -> str:
    """The path and query of a request's target, which may be a whole URL (RFC 9112, 3.2.2)."""
    found = _ABSOLUTE.match(target)
    if found is None:
        return target
    rest = target[found.end() :]
    return rest if rest.startswith("/") else f"/{rest}"


def send_away(connection: socket.socket) -> None:
    """Answer 503 and close the connection."""
    body = b'{"error": "too many connections"}\n'
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: {RETRY_SECONDS}\r\nConnection: close\r\n\r\n"
    )
    with contextlib.suppress(OSError):
        connection.settimeout(0.1)
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
    connection.close()


class HeadReader(io.BufferedReader):
    """A connection that checks the head of a request line by line against the standard.

    The library silently drops what it cannot parse, and with it the length of a body, which would
    then be taken for the next request. `fault` says what is wrong.
    """

    fault = ""
    _lines = _bytes = 0

    def begin(self) -> None:
        self.fault, self._lines, self._bytes = "", 0, 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self._lines += 1
        self._bytes += len(line)
        if self._lines == 1:
            return line
        if self._bytes > LONGEST_HEAD:
            self.fault = "the headers are too long"
            return b""
        if line != b"\r\n" and not _HEADER.fullmatch(line):
            self.fault = "a header line is malformed"
        return line
