"""What both servers do with connections and the targets of requests."""

from __future__ import annotations

import contextlib
import re
import socket

from deploy.serving.application import RETRY_SECONDS

RECEIVE_SECONDS = 20.0
"""How long a connection may take until a request is there, headers and body."""

_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


def origin_form(target: str) -> str:
    """The path and the query of a request's target, which may be a whole URL (RFC 9112, 3.2.2)."""
    found = _ABSOLUTE.match(target)
    if found is None:
        return target
    rest = target[found.end() :]
    return rest if rest.startswith("/") else f"/{rest}"


def send_away(connection: socket.socket) -> None:
    """Close a connection for which there is no room, after 503."""
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
