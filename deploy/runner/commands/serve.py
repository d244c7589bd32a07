"""serve: answer HTTP requests with the model's predictions."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.errors import RequestError
from deploy.runner.commands.options import (
    add_count,
    add_engine_options,
    add_picture_options,
    whole,
)
from deploy.runner.source import BundleSource
from deploy.text import clean

if TYPE_CHECKING:
    from deploy.serving.application import Application
    from deploy.serving.served import Served
    from deploy.serving.standard_server import StandardServer
    from deploy.serving.trust import Trust
    from deploy.serving.waitress_server import WaitressServer

SUMMARY = "answer HTTP requests on this machine: POST /predict, GET /healthz, GET /"
DESCRIPTION = (
    "Serve the bundle. POST /predict takes a picture (image/png), an array (application/x-npy), an "
    'IDX file (application/octet-stream) or {"instances": [...]} (application/json): at most 1,024 '
    "examples, a picture of at most 1,048,576 pixels. A model of several inputs takes .npz, or an "
    'object for each instance: {"instances": [{"INPUT": [...], ...}]}. A request must arrive '
    "within 20 seconds. There may be 4 connections for each request of --concurrency, at least 64; "
    "one more closes the one that has waited the longest. Requests to another Host than localhost, "
    "--host or --allow-host get 421, so that no page reaches the model under a name of its own "
    "(DNS rebinding). Served by waitress if installed, else by the standard library. If the key of "
    "the bundle is removed from the runner's file, or from that of --key, requests get 503. There "
    "are no users and no encryption: put a proxy before it to serve beyond this machine."
)

_FEWEST_CONNECTIONS = 64
_LONGEST_LINE = 1000
# The runner's file may be replaced, so nothing is imported from it later.
_IMPORTED_LATER = (
    *("deploy.arrays", "deploy.vectors", "deploy.bundle", "deploy.signing", "deploy.streams"),
    *("deploy.images.colours", "deploy.images.idx", "deploy.images.png"),
)
_OF_OTHER_VERSIONS = ("deploy.runner.onnx_engines", "deploy.runner.tflite_engines")


class _Stopped(SystemExit):
    """A signal ends the server."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument(
        "--port",
        type=whole(0, 65535),
        default=8080,
        metavar="NUMBER",
        help="0 takes any free port (8080)",
    )
    add_count(parser, "--max-bytes", 2**30, 8 * 2**20, "largest request body")
    add_count(parser, "--concurrency", 512, 32, "requests in work or waiting; more get 503")
    parser.add_argument(
        "--server",
        choices=("auto", "waitress", "standard"),
        default="auto",
        help="auto takes waitress if it is installed",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name that requests may be sent to, such as a proxy's; may be repeated. "
        "localhost, --host and, where that is not of this machine alone, addresses are answered",
    )
    add_picture_options(parser)
    add_engine_options(parser)
    parser.set_defaults(store=None)


def add_installed_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of an installed runner, which may follow a store."""
    from deploy.store import FOLDER

    parser.add_argument(
        "--store",
        metavar="NAME",
        help="serve the current version of a bundle in the store, and follow it",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(FOLDER),
        metavar="FOLDER",
        help=f"the store ({FOLDER})",
    )


def execute(arguments: argparse.Namespace, source: BundleSource) -> int:
    """Serve until SIGTERM or SIGINT, which raises KeyboardInterrupt."""
    signals: list[int] = []

    def stop(number: int, frame: Any) -> None:
        signals.append(number)
        raise _Stopped(0)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with contextlib.suppress(_Stopped):
            _serve(arguments, source)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signals[:1] == [signal.SIGINT]:
        raise KeyboardInterrupt
    return 0


def _serve(arguments: argparse.Namespace, source: BundleSource) -> None:
    find = _finder(arguments, source)
    path = find()
    bundle = source.open(path)
    from deploy.serving.application import Application
    from deploy.serving.current import Current, Follower
    from deploy.serving.hosts import Hosts
    from deploy.serving.served import Served
    from deploy.serving.trust import Trust

    # A self-running bundle trusts no keys.
    trust = None if source.keys is None else Trust(source.keys, arguments.key)
    options = {
        name: getattr(arguments, name) for name in ("threads", "any_version", "resize", "invert")
    }
    served = Served.load(bundle, **options)
    current = Current(served, path)
    hosts = Hosts(arguments.host, arguments.allow_host)
    limits = {"most_bytes": arguments.max_bytes, "concurrency": arguments.concurrency}
    for module in (*_IMPORTED_LATER, *(_OF_OTHER_VERSIONS if arguments.store else ())):
        importlib.import_module(module)
    server = _server(arguments, Application(current, hosts=hosts, **limits))
    print(
        f"serving {bundle.manifest.name}, sha256 {bundle.sha256}, on "
        f"{' and '.join(map(_url, server.addresses))} by {server.name}",
        flush=True,
    )
    if trust is not None:
        load = functools.partial(_load, trust, options)
        Follower(current, find, load, _say, trust).start()
    server.run()


def _say(line: str) -> None:
    print(clean(line, _LONGEST_LINE), file=sys.stderr, flush=True)


def _url(address: tuple[str, int]) -> str:
    host, port = address
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _load(trust: Trust, options: dict[str, Any], path: Path) -> Served:
    from deploy.serving.served import Served

    return Served.load(BundleSource(path, trust.keys).open(), **options)


def _finder(arguments: argparse.Namespace, source: BundleSource) -> Callable[[], Path]:
    if arguments.store is None:
        if source.path is None:
            raise RequestError("nothing to serve", hint="give a bundle, or --store NAME")
        path = source.path
        return lambda: path
    if source.path is not None:
        raise RequestError(
            "cannot serve both a bundle and a store", value=source.path, hint="leave one out"
        )
    from deploy.store import Store

    store = Store(arguments.folder)
    # The file itself, not the link, which may lead to another one a moment later.
    return lambda: Path(store.current(arguments.store)).resolve(strict=True)


def _server(
    arguments: argparse.Namespace, application: Application
) -> StandardServer | WaitressServer:
    if not arguments.host.strip():
        raise RequestError("no address to listen on", hint="--host 0.0.0.0 is any IPv4 address")
    connections = max(_FEWEST_CONNECTIONS, 4 * arguments.concurrency)
    at = (application, arguments.host, arguments.port, connections)
    try:
        if arguments.server != "standard":
            from deploy.serving.waitress_server import WaitressServer

            try:
                return WaitressServer(*at, arguments.concurrency)
            except ImportError as error:
                if arguments.server == "waitress":
                    hint = "pip install waitress"
                    raise RequestError(
                        "waitress is not installed", value=error, hint=hint
                    ) from error
        from deploy.serving.standard_server import StandardServer

        return StandardServer(*at)
    except (OSError, TypeError, ValueError) as error:
        where = f"{arguments.host}:{arguments.port} ({error})"
        raise RequestError("cannot listen", value=where) from error
