"""The endpoint served by waitress (WSGI, PEP 3333), if the device has it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import logging
import math
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from deploy.errors import DeployError
from deploy.serving.application import Application, Request, Response
from deploy.serving.connections import (
    LONGEST_HEAD,
    RECEIVE_SECONDS,
    authority,
    is_request_line,
    send_away,
)
from deploy.text import clean

_MORE_THREADS = 4
_CLOSING_CONNECTIONS = 128
_MOST_SECONDS = 120  # its own time for a connection without a request; ours is shorter

Environment = dict[str, Any]
StartResponse = Callable[..., Any]


def wsgi(application: Application) -> Callable[[Environment, StartResponse], Iterable[bytes]]:
    def serve(environment: Environment, start_response: StartResponse) -> Iterable[bytes]:
        response = _handled(application, environment)
        status = HTTPStatus(response.status)
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(response.body))),
            *response.headers.items(),
        ]
        start_response(f"{status.value} {status.phrase}", headers)
        return [] if environment["REQUEST_METHOD"] == "HEAD" else [response.body]

    return serve


def _handled(application: Application, environment: Environment) -> Response:
    given = environment.get("CONTENT_LENGTH") or ""
    if given and not (given.isascii() and given.isdigit() and len(given) <= 15):
        return Response.error(400, "the Content-Length is not a number")
    length = int(given) if given else None
    return application.handle(
        Request(
            environment["REQUEST_METHOD"],
            environment.get("SCRIPT_NAME", "") + environment.get("PATH_INFO", "") or "/",
            environment.get("CONTENT_TYPE", ""),
            length,
            lambda: environment["wsgi.input"].read(length or 0),
            arrived=True,
        )
    )


class WaitressServer:
    """Serves `application` on `host` and `port` to `connections` connections, as `StandardServer`.

    Raises ImportError if waitress is not installed, OSError if the address cannot be used.
    """

    name = "waitress"

    def __init__(
        self, application: Application, host: str, port: int, connections: int, concurrency: int
    ) -> None:
        create_server = importlib.import_module("waitress.server").create_server
        # It warns of every request that waits for a thread.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._server = create_server(
            wsgi(application),
            host=host,
            port=port,
            # Those beyond the limit say that it is reached.
            threads=concurrency + _MORE_THREADS,
            # At its own limit it would accept no one; ours comes first.
            connection_limit=connections + _CLOSING_CONNECTIONS,
            channel_timeout=_MOST_SECONDS,
            max_request_header_size=LONGEST_HEAD,
            # A slightly too long body is read, so that its sender can read the answer.
            max_request_body_size=2 * application.most_bytes,
            ident="compressor",
            clear_untrusted_proxy_headers=True,
            asyncore_use_poll=True,
        )
        # A name with several addresses has a listener for each, all in one map.
        listeners = getattr(self._server, "map", None)
        kind = _channel_class(application, connections)
        for listener in [self._server] if listeners is None else list(listeners.values()):
            if hasattr(listener, "channel_class"):
                listener.channel_class = kind

    @property
    def addresses(self) -> list[tuple[str, int]]:
        several = getattr(self._server, "effective_listen", None)
        found = several or [(self._server.effective_host, self._server.effective_port)]
        return [(str(host), int(port)) for host, port in found]

    def run(self) -> None:
        """Serve until SystemExit is raised in this thread; then finish the requests in work."""
        self._server.run()


@dataclasses.dataclass(frozen=True)
class _Refusal:
    """An answer in place of waitress's own error, which has a code."""

    response: Response

    @property
    def code(self) -> int:
        return self.response.status


def _channel_class(application: Application, most: int) -> type:
    """Connections of waitress that are as strict as `standard_server` and answer in JSON.

    There are at most `most`. One without a request in work may wait for RECEIVE_SECONDS in total,
    whatever it sends meanwhile.
    """
    channel, parser, task = (
        importlib.import_module(f"waitress.{name}") for name in ("channel", "parser", "task")
    )

    class Parser(parser.HTTPRequestParser):  # type: ignore[name-defined]
        def received(self, data: bytes) -> int:
            # It skips any white space, such as the end of a line that others take for a request.
            if self.body_rcv is None and not self.header_plus and data[:1].isspace():
                self.error = _Refusal(Response.error(400, "the request line is malformed"))
                self.completed = True
                return len(data)
            consumed: int = super().received(data)
            if self.error is not None:
                # Else it says 100 Continue, and reads what follows as more of the same head.
                self.expect_continue = False
            if self.headers_finished and not self.empty:
                refusal = _refusal(application, self)
                if refusal is not None:
                    self.error, self.completed = _Refusal(refusal), True
                    self.expect_continue = False
            return consumed

        def parse_header(self, header_plus: bytes) -> None:
            try:
                super().parse_header(header_plus)
            except ValueError as error:  # such as http://[ and numbers of thousands of digits
                raise parser.ParsingError("the request is malformed") from error
            fault = _fault(header_plus, self.version, self.headers)
            if fault:
                raise parser.ParsingError(fault)

    class ErrorTask(task.ErrorTask):  # type: ignore[name-defined]
        def execute(self) -> None:
            error = self.request.error
            if isinstance(error, _Refusal):
                response = error.response
            else:
                response = Response.error(error.code, clean(f"{error.reason}: {error.body}"))
            self.status = f"{response.status} {HTTPStatus(response.status).phrase}"
            self.response_headers.append(("Content-Type", "application/json"))
            self.response_headers.extend(response.headers.items())
            self.set_close_on_finish()
            self.content_length = len(response.body)
            self.write(response.body)

    class Channel(channel.HTTPChannel):  # type: ignore[name-defined]
        parser_class, error_task_class = Parser, ErrorTask

        def __init__(self, server: Any, sock: Any, addr: Any, adj: Any, map: Any = None) -> None:
            self.since = time.monotonic()
            super().__init__(server, sock, addr, adj, map=map)
            others = [
                found
                for found in list(self._map.values())
                if isinstance(found, Channel) and found is not self and not found.will_close
            ]
            if len(others) < most:
                return
            waiting = [found for found in others if not found.requests]
            if waiting:
                min(waiting, key=lambda found: found.since).cut()
            else:
                send_away(sock)
                self.handle_close()

        def service(self) -> None:
            self.since = math.inf  # until it is answered
            super().service()
            self.since = time.monotonic()

        def readable(self) -> bool:
            """Called at least once a second; cuts a connection that has waited too long."""
            late = time.monotonic() - RECEIVE_SECONDS
            if not self.requests and self.since < late and not self.will_close:
                self.cut()
            return bool(super().readable())

        def handle_error(self) -> None:
            """Report what nobody thought of in one line, and close the connection."""
            error = sys.exc_info()[1]
            told = DeployError("a connection has failed", value=f"{type(error).__name__}: {error}")
            print(f"error: {told}", file=sys.stderr)
            self.handle_close()

        def cut(self) -> None:
            # The loop sees the end of the connection and closes it.
            self.will_close = True
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    return Channel


def _refusal(application: Application, request: Any) -> Response | None:
    """The answer of `standard_server` to a head that waitress accepts or refuses otherwise."""
    if request.error is not None:
        too_long = getattr(request.error, "code", 0) == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return application.refusal(request.content_length) if too_long else None
    major = request.version.partition(".")[0]
    if major.isdigit() and int(major) > 1:
        return Response.error(505, f"unknown version of HTTP: {request.version}")
    hosts = authority(request.request_uri), request.headers.get("HOST")
    misdirected = application.misdirected(*hosts)
    if misdirected is not None:
        return misdirected
    return application.refusal(None) if request.chunked else None


def _fault(head: bytes, version: str, headers: Mapping[str, str]) -> str:
    """What is wrong with a head that waitress accepts; empty if nothing is."""
    if not is_request_line(head[: head.find(b"\r\n") + 2]):
        return "the request line is malformed"
    if b"\r\n " in head or b"\r\n\t" in head:
        return "a header line is folded"
    # waitress joins repeated headers, and forgets of which encodings a body is.
    if "," in headers.get("HOST", "" if version == "1.0" else ","):
        return "the request needs exactly one Host header"
    encodings = head.lower().count(b"\r\ntransfer-encoding:")
    if encodings > 1 or (encodings and "CONTENT_LENGTH" in headers):
        return "a request has one Content-Length or Transfer-Encoding"
    return ""
