"""The endpoint served by waitress (WSGI, PEP 3333), where the device has it."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from deploy.serving.application import Application, Request, Response
from deploy.streams import short

_RECEIVE_SECONDS = 20
_LONGEST_HEAD = 2**16
_MORE_THREADS = 4

Environment = dict[str, Any]
StartResponse = Callable[..., Any]


def wsgi(application: Application) -> Callable[[Environment, StartResponse], Iterable[bytes]]:
    """The application as WSGI knows one."""

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
        return Response.error(400, "the Content-Length is no number")
    length = int(given) if given else None
    return application.handle(
        Request(
            environment["REQUEST_METHOD"],
            environment.get("SCRIPT_NAME", "") + environment.get("PATH_INFO", ""),
            environment.get("CONTENT_TYPE", ""),
            length,
            lambda: environment["wsgi.input"].read(length or 0),
            arrived=True,
        )
    )


class WaitressServer:
    """Serves `application` on a socket of `host` and `port`, to `connections` at once.

    Raises ImportError where waitress is not there, OSError where the address cannot be had.
    """

    name = "waitress"

    def __init__(
        self, application: Application, host: str, port: int, connections: int, concurrency: int
    ) -> None:
        create_server = importlib.import_module("waitress.server").create_server
        # It warns of every request that waits a moment for a thread.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._server = create_server(
            wsgi(application),
            host=host,
            port=port,
            # Those beyond the limit are there to say that it is reached.
            threads=concurrency + _MORE_THREADS,
            connection_limit=connections,
            channel_timeout=_RECEIVE_SECONDS,
            cleanup_interval=_RECEIVE_SECONDS // 4,
            max_request_header_size=_LONGEST_HEAD,
            # What is a little too long is answered in our own words.
            max_request_body_size=2 * application.most_bytes,
            ident="compressor",
            clear_untrusted_proxy_headers=True,
            asyncore_use_poll=True,
        )
        # A name may have several addresses: then there is a listener for each, all in one map.
        listeners = getattr(self._server, "map", None)
        for listener in [self._server] if listeners is None else list(listeners.values()):
            if hasattr(listener, "channel_class"):
                listener.channel_class = _channel_class()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        several = getattr(self._server, "effective_listen", None)
        found = several or [(self._server.effective_host, self._server.effective_port)]
        return [(str(host), int(port)) for host, port in found]

    def run(self) -> None:
        """Serve until SystemExit is raised in this thread; then end what is in work."""
        self._server.run()


@functools.cache
def _channel_class() -> type:
    """The connections of waitress, as strict as `standard_server`, which answer in JSON."""
    channel, parser, task = (
        importlib.import_module(f"waitress.{name}") for name in ("channel", "parser", "task")
    )

    class Parser(parser.HTTPRequestParser):  # type: ignore[name-defined]
        def parse_header(self, header_plus: bytes) -> None:
            super().parse_header(header_plus)
            fault = _fault(header_plus, self.version, self.headers, self.chunked)
            if fault:
                raise parser.ParsingError(fault)

    class ErrorTask(task.ErrorTask):  # type: ignore[name-defined]
        def execute(self) -> None:
            error = self.request.error
            response = Response.error(error.code, short(f"{error.reason}: {error.body}"))
            self.status = f"{error.code} {error.reason}"
            self.response_headers.append(("Content-Type", "application/json"))
            self.set_close_on_finish()
            self.content_length = len(response.body)
            self.write(response.body)

    class Channel(channel.HTTPChannel):  # type: ignore[name-defined]
        parser_class, error_task_class = Parser, ErrorTask

    return Channel


def _fault(head: bytes, version: str, headers: Mapping[str, str], chunked: bool) -> str:
    """What is wrong with a head that waitress takes; empty where nothing is."""
    if b"\r\n " in head or b"\r\n\t" in head:
        return "a header line is folded"
    # waitress joins what is there several times.
    if version == "1.1" and ("HOST" not in headers or "," in headers["HOST"]):
        return "the request needs one Host"
    if "CONTENT_LENGTH" in headers and (chunked or "TRANSFER_ENCODING" in headers):
        return "a Content-Length and a Transfer-Encoding contradict"
    return ""
