"""Requests of a client that is an enemy: each is refused, by both servers alike.

A server runs in this process, without a runtime; what one connection sends is all that matters.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from http_requests import SERVERS, talk
from mutators import PUNCTUATION

from deploy.bundle import open_bundle
from deploy.errors import RequestError
from deploy.fields import parse_json
from deploy.serving.application import Application
from deploy.serving.current import Current
from deploy.serving.hosts import Hosts
from deploy.serving.served import Served
from deploy.serving.standard_server import StandardServer

HIDDEN = b"GET /hiddenone HTTP/1.1\r\nHost: localhost\r\n\r\n"
OPEN = b"Host: localhost\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(HIDDEN)


class _Stopped(BaseException):
    pass


@contextlib.contextmanager
def serving(served: Any, kind: str, **options: Any) -> Iterator[int]:
    """The port of a server of `served` in this process."""
    current = Current(served, Path("any"))
    application = Application(current, most_bytes=9_000_000, concurrency=1, **options)
    if kind == "standard":
        server = StandardServer(application, "127.0.0.1", 0, 64)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        end: Callable[[], None] = server.shutdown
    else:
        from waitress.server import wasyncore

        from deploy.serving.waitress_server import WaitressServer

        waitress: Any = WaitressServer(application, "127.0.0.1", 0, 64, 1)
        ended = threading.Event()

        def turns() -> None:
            while not ended.is_set():
                wasyncore.loop(timeout=0.01, map=waitress._server._map, use_poll=True, count=1)

        thread, end = threading.Thread(target=turns), ended.set
    thread.start()
    try:
        yield (server.addresses if kind == "standard" else waitress.addresses)[0][1]
    finally:
        end()
        thread.join(60)
        if kind == "standard":
            server.server_close()
        else:
            waitress._server.task_dispatcher.shutdown()
            wasyncore.close_all(waitress._server._map)


@pytest.fixture(scope="module")
def served(bundle: Path) -> Served:
    engine = SimpleNamespace(runtime="none", version="0", provider=None)
    model: Any = SimpleNamespace(engine=engine)
    return Served(open_bundle(bundle, None), model, resize=False, invert=False)


@pytest.fixture(params=SERVERS)
def port(request: Any, served: Served, capfd: Any) -> Iterator[int]:
    with serving(served, request.param) as port:
        yield port
    assert capfd.readouterr().err == ""


def status(answer: bytes) -> int:
    """The status of the only answer, which is one line of JSON."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.") == 1, answer
    assert head.startswith(b"HTTP/1.") and b"application/json" in head
    said = json.loads(body)["error"]
    assert said.isprintable() and len(said) <= 300
    return int(head.split()[1])


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz\r\n",
        b"GET /healthz\r\n" + OPEN,
        b"GET /healthz HTTP/0.9\r\n" + OPEN,
        b"GET  /healthz HTTP/1.1\r\n" + OPEN,
        b"GET /healthz  HTTP/1.1\r\n" + OPEN,
        b"GET /heal thz HTTP/1.1\r\n" + OPEN,
        b"GET\t/healthz HTTP/1.1\r\n" + OPEN,
        b"GET /healthz HTTP/1.1 \r\n" + OPEN,
        b"GET /healthz http/1.1\r\n" + OPEN,
        b"GET /healthz HTTP/+1.1\r\n" + OPEN,
        b"GET /healthz HTTP/1.1\n" + OPEN,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\nA: b\r\n",
        b"GET /healthz HTTP/1.1\r\n" + OPEN + b"A: b\r\n c\r\n",
        b"GET /healthz HTTP/1.1\r\n" + OPEN + b"A: b\r\n\tc\r\n",
        b"GET /healthz HTTP/1.1\r\n A: b\r\n" + OPEN,
        b" GET /healthz HTTP/1.1\r\n" + OPEN,
        b"\nGET /healthz HTTP/1.1\r\n" + OPEN,
        b"\r\n\nGET /healthz HTTP/1.1\r\n" + OPEN,
        b"\x0bGET /healthz HTTP/1.1\r\n" + OPEN,
        b"GET http://[::1 HTTP/1.1\r\n" + OPEN,
        b"GET http://[ HTTP/1.1\r\n" + OPEN,
        b"GET http://a]b[/ HTTP/1.1\r\n" + OPEN,
        b"GET http://[v1.x]/ HTTP/1.1\r\n" + OPEN,
        b"GET //[::1 HTTP/1.1\r\n",
        b"GET /healthz HTTP/1.1\r\n" + OPEN + b"Content-Length: " + b"9" * 5000 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n" + OPEN + b"Content-Length: 0, 0\r\n",
        b"GET /healthz HTTP/1.1\r\n" + OPEN + OPEN + b"Expect: 100-continue\r\n",
        b"GET /healthz HTTP/1.1\r\n" + OPEN + b"A: b\r\n c\r\nExpect: 100-continue\r\n",
    ],
)
def test_a_head_that_the_standard_does_not_know_is_refused(port: int, head: bytes) -> None:
    assert 400 <= status(talk(port, head + b"\r\n")) < 500


@pytest.mark.parametrize(
    "headers",
    [
        LENGTH + b"Transfer-Encoding: chunked\r\n",
        LENGTH + b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n",
        LENGTH + b"Transfer-Encoding:\r\n",
        LENGTH + b"Transfer-Encoding: \t\r\nTransfer-Encoding: identity\r\n",
        LENGTH + b"transfer-ENCODING: x\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        LENGTH + LENGTH,
        LENGTH + b"Content-Length: 0\r\n",
        b"Content-Length: 0\r\n" + LENGTH,
        b"Content-Length: %d, %d\r\n" % (len(HIDDEN), len(HIDDEN)),
        b"Content-Length: +%d\r\n" % len(HIDDEN),
        b"Content-Length: 0x2b\r\n",
        b"Content-Length: %d\xa0\r\n" % len(HIDDEN),
        b"Content-Length: %d\x85\r\n" % len(HIDDEN),
        b"Content-Length: %d_0\r\n" % len(HIDDEN),
        b"Content-Length:\r\n",
    ],
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_length_that_may_be_read_in_two_ways_ends_the_connection(
    port: int, headers: bytes, version: bytes
) -> None:
    """Else what one takes for the body of a request, the next takes for a request (smuggling)."""
    sent = b"GET /healthz HTTP/" + version + b"\r\n" + OPEN + headers + b"\r\n" + HIDDEN

    assert status(talk(port, sent)) in (400, 501)


@pytest.mark.parametrize(
    "size", [b"0", b"5;a=b", b"+5", b"0x5", b"5 ", b"-1", b"5\n", b"f" * 99, b"", b"5\r"]
)
def test_no_body_in_chunks_is_read(port: int, size: bytes) -> None:
    head = b"POST /predict HTTP/1.1\r\n" + OPEN + b"Content-Type: image/png\r\n"
    chunks = size + b"\r\nabcde\r\n0\r\n\r\n" + HIDDEN
    assert status(talk(port, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)) == 411


@pytest.mark.parametrize(
    "host",
    [
        *(b"evil.example", b"evil.example:8080", b"localhost.evil.example", b"evil.localhost.x"),
        *(b"127.0.0.1.evil.example", b"10.0.0.1", b"[2001:db8::1]", b"[::ffff:10.0.0.1]", b""),
        *(b"localhost@evil.example", b"localhost:80:80", b"localhost/evil", b"[::1", b"::1", b"x"),
        *(b"localhost evil", b"\xe9", b"localhost, evil.example", b"0x7f.1", b"127.1"),
    ],
)
def test_another_host_is_refused(port: int, host: bytes) -> None:
    sent = b"GET /healthz HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
    assert status(talk(port, sent)) in (400, 421)
    if b"/" not in host:
        target = b"GET http://" + host + b"/healthz HTTP/1.1\r\n" + OPEN + b"\r\n"
        assert status(talk(port, target)) in (400, 421)


@pytest.mark.parametrize(
    "host",
    [
        *(
            b"localhost",
            b"LocalHost:8080",
            b"localhost.",
            b"127.0.0.1:1",
            b"127.9.9.9",
            b"[::1]:80",
        ),
        *(b"[::1]", b"a.localhost", b"kitchen.example", b"Kitchen.Example:8443"),
    ],
)
@pytest.mark.parametrize("kind", SERVERS)
def test_our_own_hosts_are_answered(served: Served, kind: str, host: bytes) -> None:
    with serving(served, kind, hosts=Hosts("127.0.0.1", ["kitchen.example"])) as port:
        for target in (b"/healthz", b"http://" + host + b"/healthz"):
            head = b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n"
            assert talk(port, head + b"\r\n").startswith(b"HTTP/1.1 200 ")
        assert talk(port, b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.")


def test_a_server_of_a_network_is_asked_by_any_address_but_by_no_other_name() -> None:
    for bound in ("0.0.0.0", "::", "192.168.1.5", "kitchen"):
        hosts = Hosts(bound)
        assert "192.168.1.5:8080" in hosts and "[fe80::1]" in hosts and "localhost" in hosts
        assert "evil.example" not in hosts and "evil" not in hosts
    assert "KITCHEN:8080" in Hosts("kitchen")
    assert "192.168.1.5" not in Hosts("localhost") and "192.168.1.5" not in Hosts("::1")
    for odd in ("", "a b", "*", "http://x", "é"):
        with pytest.raises(RequestError):
            Hosts("127.0.0.1", [odd])


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [%s]}' % (b"9" * 399 + b",") * 3,
        b"9" * 8_000_000,
        (b"9" * 399 + b"x") * 20_000,
        b'{"instances": [%s]}' % (b"9" * 7_000_000),
        b'{"instances": ["%s"]}' % (b"9" * 7_000_000),
        b'{"instances": [-%s.5e9]}' % (b"9" * 7_000_000),
    ],
    ids=["rows", "digits", "runs of digits", "a number", "a text", "a fraction"],
)
def test_digits_are_refused(served: Served, body: bytes) -> None:
    """Before they are converted, which takes time by the square of their number."""
    with pytest.raises(RequestError):
        served.instances(body)


def test_digits_within_a_text_are_no_number() -> None:
    text = b'{"a": "' + b"9" * 1000 + b'", "b": 12}'

    assert parse_json(text, "it") == {"a": "9" * 1000, "b": 12}


WHOLE = [
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b'Content-Length: 22\r\nConnection: close\r\n\r\n{"instances": ["some"]}',
    b"POST /predict HTTP/1.0\r\nTransfer-Encoding: chunked\r\n"
    b"Expect: 100-continue\r\n\r\n0\r\n\r\n",
    b"HEAD http://localhost/ HTTP/1.1\r\nHost: [::1]:8080\r\nContent-Length: 0\r\n\r\n",
]
PIECES = [*PUNCTUATION, b""]


def test_random_requests_are_answered_or_refused(port: int) -> None:
    """Pieces of whole requests are changed: no traceback, and the server goes on."""
    draw = random.Random(11)
    for _ in range(300):
        sent = bytearray(draw.choice(WHOLE))
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(sent))
            sent[place : place + draw.choice((0, 1, 1, 4))] = draw.choice(PIECES)
        answer = talk(port, bytes(sent))
        assert not answer or answer.startswith(b"HTTP/1.")
    assert talk(port, WHOLE[0]).startswith(b"HTTP/1.1 200 ")
