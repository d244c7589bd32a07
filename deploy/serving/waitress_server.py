"""The endpoint served by waitress (WSGI, PEP 3333), where the device has it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from deploy.serving.application import Application, Request, Response

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

    @property
    def server_address(self) -> tuple[str, int]:
        """Where it listens."""
        return self._server.effective_host, int(self._server.effective_port)

    def run(self) -> None:
        """Serve until SystemExit is raised in this thread; then end what is in work."""
        self._server.run()
