"""Requests to an endpoint, as a client sends them, and as one that knows no HTTP does."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import io
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

SERVERS = [
    "standard",
    pytest.param(
        "waitress",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("waitress") is None, reason="waitress is not installed"
        ),
    ),
]
PATIENCE = 120.0
"""Seconds until something that a busy machine does at its own pace is given up."""
PNG = {"Content-Type": "image/png"}
NPY = {"Content-Type": "application/x-npy"}
IDX = {"Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}


def ask(
    port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        is_json = response.getheader("Content-Type") == "application/json" and content
        found = json.loads(content) if is_json else content
        return response.status, dict(response.getheaders()), found
    finally:
        connection.close()


def talk(port: int, sent: bytes) -> bytes:
    """What comes back for raw bytes, until the connection is closed."""
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection,
        contextlib.suppress(OSError),
    ):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def served(port: int) -> str:
    """The sha256 of what is served."""
    return str(ask(port, "GET", "/healthz")[2]["sha256"])


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def idx(array: np.ndarray) -> bytes:
    """An IDX file of bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
