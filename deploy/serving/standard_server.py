"""The endpoint served by the standard library: HTTP/1.1, a bounded number of threads."""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import sys
import threading
import time
from typing import Any

from deploy.errors import DeployError
from deploy.serving.application import METHODS, Application, Request, Response
from deploy.serving.connections import (
    RECEIVE_SECONDS,
    HeadReader,
    authority,
    is_request_line,
    origin_form,
    send_away,
)

_MOST_HELD = 64 * 2**20
_CHUNK = 2**16
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 2**26
_DRAIN_SECONDS = 5.0
_SEND_SECONDS = 30.0
_POLL_SECONDS = 0.2
_BLANK = " \t"  # RFC 9110, 5.6.3; str.strip takes more


class StandardServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves `application` on `host` and `port` to at most `connections` connections.

    One more closes the one that has waited for a request the longest, or gets 503 if requests of
    all are being answered. The bytes of bodies are limited likewise. Raises OSError if the address
    cannot be used.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    name = "http.server"

    def __init__(self, application: Application, host: str, port: int, connections: int) -> None:
        self.application, self._most = application, connections
        self._lock = threading.Lock()
        self._waiting: dict[socket.socket, float] = {}
        self._busy: set[socket.socket] = set()
        self._held: dict[socket.socket, int] = {}
        self._most_held = max(_MOST_HELD, 2 * application.most_bytes)
        self.closing = False
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def run(self) -> None:
        """Serve until an exception is raised in this thread; then finish the requests in work."""
        try:
            self.serve_forever(_POLL_SECONDS)
        finally:
            self.closing = True
            self.socket.close()
            self._drain()

    def service_actions(self) -> None:
        """Close connections that have not sent a request in time."""
        late = time.monotonic() - RECEIVE_SECONDS
        with self._lock:
            for connection in [found for found, since in self._waiting.items() if since < late]:
                self._cut(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._waiting) + len(self._busy) >= self._most:
                if not self._waiting:
                    send_away(request)
                    return
                self._cut(min(self._waiting, key=lambda found: self._waiting[found]))
            self._waiting[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._waiting.pop(request, None)
            self._busy.discard(request)
            self._held.pop(request, None)
        super().shutdown_request(request)

    def waits(self, connection: socket.socket) -> None:
        with self._lock:
            self._busy.discard(connection)
            self._held.pop(connection, None)
            self._waiting[connection] = time.monotonic()

    def received(self, connection: socket.socket) -> None:
        with self._lock:
            self._waiting.pop(connection, None)
            self._busy.add(connection)

    def hold(self, connection: socket.socket, count: int) -> bool:
        """Make room for `count` more bytes of the request's body; False if there is none."""
        with self._lock:
            while sum(self._held.values()) + count > self._most_held:
                slow = self._waiting.keys() & self._held.keys() - {connection}
                if not slow:
                    return False
                self._cut(min(slow, key=lambda found: self._waiting[found]))
            self._held[connection] = self._held.get(connection, 0) + count
            return True

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(str(self.server_address[0]), int(self.server_address[1]))]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report anything but a broken connection, in one line."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            told = DeployError("a connection has failed", value=f"{type(error).__name__}: {error}")
            print(f"error: {told}", file=sys.stderr)

    def _cut(self, connection: socket.socket) -> None:
        """Shut a connection down, which wakes the thread that waits for it."""
        self._waiting.pop(connection, None)
        self._held.pop(connection, None)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def _drain(self) -> None:
        end = time.monotonic() + _DRAIN_SECONDS
        while self._busy and time.monotonic() < end:
            time.sleep(0.01)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "compressor", ""
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = _SEND_SECONDS
    server: StandardServer
    rfile: HeadReader
    raw_requestline: bytes

    def setup(self) -> None:
        super().setup()
        self.rfile = HeadReader(self.rfile.detach())

    def handle_one_request(self) -> None:
        self._unread = 0
        self.rfile.begin()
        self.server.waits(self.connection)
        super().handle_one_request()
        if self.server.closing:
            self.close_connection = True

    def parse_request(self) -> bool:
        if is_request_line(self.raw_requestline):
            return super().parse_request()
        self.command, self.path, self.requestline = "GET", "/", ""
        self.request_version = self.protocol_version
        self._unread, self.close_connection = 1, True
        self._answer(Response.error(400, "the request line is malformed"))
        return False

    def handle_expect_100(self) -> bool:
        length = self._length()
        if isinstance(length, Response):
            refusal: Response | None = length
        else:
            refusal = self.server.application.refusal(length)
        if refusal is None:
            return super().handle_expect_100()
        self._unread = 1
        self._answer(refusal)
        return False

    def _serve(self) -> None:
        length = self._length()
        if isinstance(length, Response):
            self._unread = 1
            self._answer(length)
            return
        self._unread = length or 0
        if length is None and "Transfer-Encoding" in self.headers:
            self._unread = 1
        if not self._unread:
            self.server.received(self.connection)
        kind = self.headers.get("Content-Type") or ""
        request = Request(self.command, origin_form(self.path), kind, length, self._body)
        self._answer(self.server.application.handle(request))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815

    def _length(self) -> int | Response | None:
        """The body's length, None if there is none; or the answer to a malformed request."""
        if self.rfile.fault:
            return Response.error(400, self.rfile.fault)
        hosts, encodings, given = (
            self.headers.get_all(name) or []
            for name in ("Host", "Transfer-Encoding", "Content-Length")
        )
        if len(hosts) > 1 or (self.request_version == "HTTP/1.1" and not hosts):
            return Response.error(400, "the request needs exactly one Host header")
        named = (host.strip(_BLANK) for host in hosts)
        misdirected = self.server.application.misdirected(authority(self.path), *named)
        if misdirected is not None:
            return misdirected
        if encodings and (given or len(encodings) > 1):
            return Response.error(400, "a request has one Content-Length or Transfer-Encoding")
        if not given:
            return None
        text = given[0].strip(_BLANK)
        if len(given) > 1 or not (text.isascii() and text.isdigit()) or len(text) > 15:
            return Response.error(400, "the Content-Length is not a number")
        return int(text)

    def _body(self) -> bytes | None:
        chunks = []
        with contextlib.suppress(OSError):  # the sender is gone, the body too short
            while self._unread:
                if not self.server.hold(self.connection, min(_CHUNK, self._unread)):
                    return None
                chunk = self.rfile.read(min(_CHUNK, self._unread))
                if not chunk:
                    break
                self._unread -= len(chunk)
                chunks.append(chunk)
        self.server.received(self.connection)
        return b"".join(chunks)

    def _answer(self, response: Response) -> None:
        if self._unread:
            self.close_connection = True
        # A server that ends takes no second request.
        closes = self.close_connection or self.server.closing
        self.send_response(response.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(response.body)))
        for name, text in response.headers.items():
            self.send_header(name, text)
        if closes:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()
        if self._unread:
            self._linger()

    def _linger(self) -> None:
        """Read some of what still comes: closing at once would destroy the answer."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_SECONDS)
            taken, end = 0, time.monotonic() + _LINGER_SECONDS
            while taken < _LINGER_BYTES and time.monotonic() < end:
                chunk = self.rfile.read1(2**16)
                if not chunk:
                    return
                taken += len(chunk)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.close_connection = True
        if self.request_version == "HTTP/0.9":  # http.server, of a line that it cannot read
            self.request_version = "HTTP/1.0"  # or the status would not be sent
        self._unread = 0
        if code == 501:  # an unknown method
            methods = METHODS.get(origin_form(self.path).partition("?")[0])
            allowed = ", ".join(methods or ("GET", "HEAD", "POST"))
            self._answer(Response.error(405, "this endpoint has no such method", Allow=allowed))
        else:
            self._answer(Response.error(code, message or "the request is malformed"))

    def log_message(self, format: str, *args: Any) -> None:
        """Log no requests."""
