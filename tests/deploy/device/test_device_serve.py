"""The endpoint: no request is lost, malformed ones get 4xx, slow ones block nobody."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import importlib.metadata
import json
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import Signer, bundle_of, relisted
from device_runner import OWNER, DeviceRunner, complaints
from http_requests import (
    IDX,
    JSON,
    NPY,
    PATIENCE,
    PNG,
    SERVERS,
    ask,
    idx,
    npy,
    served,
    talk,
    until,
)

from deploy.runner.packing import pack
from deploy.vectors import CheckVectors

CONNECTIONS, REQUESTS = 16, 1000


def test_it_says_what_it_serves(port: int, bundle: Path) -> None:
    status, _, found = ask(port, "GET", "/")
    healthy, _, health = ask(port, "GET", "/healthz")

    assert status == healthy == 200
    assert found["artefact"]["file"] == "float.tflite"
    assert found["inputs"][0]["shape"] == [8, 8, 1]
    assert found["verified"][0]["accuracy"] > 0.9
    assert health["status"] == "ok"
    assert health["sha256"] == found["sha256"]
    assert health["signed_by"] == OWNER.public.identifier
    assert ask(port, "HEAD", "/healthz")[0] == 200


def test_every_form_of_an_example_gets_the_same_answer(
    port: int, tiny_data: Any, pictures: list[bytes]
) -> None:
    images = tiny_data.x_test
    rows = json.dumps({"instances": images.tolist()})
    answers = [
        ask(port, "POST", "/predict", body, {"Content-Type": kind})[2]["predictions"]
        for body, kind in (
            (npy(images), "application/x-npy"),
            (idx(images), "application/octet-stream"),
            (rows, "application/json; charset=utf-8"),
        )
    ]
    single = ask(port, "POST", "/predict", pictures[6], PNG)[2]["predictions"]

    assert np.mean([found["class"] for found in answers[0]] == tiny_data.y_test) > 0.9
    for found in answers[1:]:
        assert [each["class"] for each in found] == [each["class"] for each in answers[0]]
    assert single[0]["class"] == answers[0][6]["class"]
    assert sum(single[0]["probabilities"]) == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_a_thousand_requests_on_sixteen_connections_are_all_answered_right(
    port: int, pictures: list[bytes], tiny_data: Any
) -> None:
    known = ask(port, "POST", "/predict", npy(tiny_data.x_test), NPY)[2]["predictions"]
    wrong: list[Any] = []
    answered: list[int] = []

    def work(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            for number in range(first, REQUESTS, CONNECTIONS):
                place = number % len(pictures)
                connection.request("POST", "/predict", pictures[place], PNG)
                response = connection.getresponse()
                content = json.loads(response.read())
                if (
                    response.status != 200
                    or content["predictions"][0]["class"] != known[place]["class"]
                ):
                    wrong.append((number, response.status, content))
                answered.append(number)
        except Exception as error:
            wrong.append((first, error))
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(first,)) for first in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
        assert not thread.is_alive()

    assert wrong == []
    assert sorted(answered) == list(range(REQUESTS))


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/nothing", None, {}, 404),
        ("GET", "/../etc/passwd", None, {}, 404),
        ("GET", "/predict", None, {}, 405),
        ("POST", "/healthz", b"", {}, 405),
        ("DELETE", "/", None, {}, 405),
        ("BREW", "/predict", None, {}, 405),
        ("POST", "/predict", b"x", {"Content-Type": "text/plain"}, 415),
        ("POST", "/predict", b"x", {}, 415),
        ("POST", "/predict", b"", PNG, 400),
        ("POST", "/predict", b"x", PNG, 400),
        ("POST", "/predict", bytes(150_000), PNG, 413),
        ("POST", "/predict", b"\x89PNG\r\n\x1a\n", PNG, 400),
        ("POST", "/predict", b"\x93NUMPY\x01\x00", NPY, 400),
        ("POST", "/predict", npy(np.full((8, 8), np.nan, np.float32)), NPY, 400),
        ("POST", "/predict", npy(np.full((8, 8), 1e300)), NPY, 400),
        ("POST", "/predict", npy(np.zeros((1025, 8, 8), np.uint8)), NPY, 413),
        ("POST", "/predict", gzip.compress(idx(np.zeros((1025, 8, 8), np.uint8))), IDX, 413),
        ("POST", "/predict", gzip.compress(idx(np.zeros((2, 999, 999), np.uint8))), IDX, 400),
        ("POST", "/predict", b"{", JSON, 400),
        ("POST", "/predict", b"[" * 50_000, JSON, 400),
        ("POST", "/predict", b"[]", JSON, 400),
        ("POST", "/predict", b"{}", JSON, 400),
        ("POST", "/predict", b'{"instances": []}', JSON, 400),
        ("POST", "/predict", b'{"instances": 3}', JSON, 400),
        ("POST", "/predict", b'{"instances": ["a"]}', JSON, 400),
        ("POST", "/predict", b'{"instances": [null]}', JSON, 400),
        ("POST", "/predict", b'{"instances": [[1, 2], [3]]}', JSON, 400),
        ("POST", "/predict", b'{"instances": [[1, 2, 3]]}', JSON, 400),
        ("POST", "/predict", b'{"instances": [{"x": 1}, {"y": 2}]}', JSON, 400),
        ("POST", "/predict", b'{"instances": [1e999]}', JSON, 400),
        ("POST", "/predict", b'{"instances": [[NaN]]}', JSON, 400),
        ("POST", "/predict", b'{"instances": [[1e39]]}', JSON, 400),
        ("POST", "/predict", b'{"instances": [[1%s]]}' % (b"0" * 300), JSON, 400),
        ("POST", "/predict", b'{"instances": [[1%s]]}' % (b"0" * 90_000), JSON, 400),
        ("POST", "/predict", b'{"instances": [[true]]}', JSON, 400),
        ("POST", "/predict", b'{"instances": [[1], [[1]]]}', JSON, 400),
        ("POST", "/predict", b'{"instances": [[[]]]}', JSON, 400),
        ("POST", "/predict", b'{"instances": [%s1%s]}' % (b"[" * 900, b"]" * 900), JSON, 400),
        ("POST", "/predict", b'{"instances": [[0]], "more": 1}', JSON, 400),
        ("POST", "/predict", json.dumps({"instances": [[0]] * 2000}).encode(), JSON, 413),
    ],
)
def test_what_cannot_be_served_gets_4xx_and_a_reason(
    port: int, method: str, path: str, body: Any, headers: dict[str, str], status: int
) -> None:
    found, given, content = ask(port, method, path, body, headers)

    assert found == status, content
    assert content["error"].isprintable()
    if status == 405:
        assert given["Allow"]
    assert ask(port, "GET", "/healthz")[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1e3\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n"
        + b"".join(b"a%d: b\r\n" % n for n in range(9999))
        + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_an_error_and_no_more(port: int, sent: bytes) -> None:
    answer = talk(port, sent)

    # Where it has sent more than was read, the system may take the answer back.
    assert not answer or 400 <= int(answer.split()[1]) < 500
    assert ask(port, "GET", "/healthz")[0] == 200


HIDDEN = b"GET /hiddenone HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Host: localhost\r\nno colon\r\nContent-Length: 36\r\n",
        b"Host: localhost\r\nContent-Length : 36\r\n",
        b"Host: localhost\r\n Content-Length: 36\r\n",
        b"Host: localhost\r\nA: b\r\n c\r\nContent-Length: 36\r\n",
        b"Host: localhost\r\nA: b\rContent-Length: 36\r\n",
        b"Host: localhost\r\nA: b\nContent-Length: 36\r\n",
        b"From x\r\nHost: localhost\r\nContent-Length: 36\r\n",
        b"Host: localhost\r\n: b\r\nContent-Length: 36\r\n",
        b"Host: localhost\r\nContent-Length: 36\r\nContent-Length: 0\r\n",
        b"Host: localhost\r\nContent-Length: 36\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 36\r\n",
        b"Host: localhost\r\nHost: y\r\nContent-Length: 36\r\n",
    ],
)
def test_a_head_that_may_be_read_in_two_ways_ends_the_connection(port: int, headers: bytes) -> None:
    """Else what one takes for the body of a request, the next takes for a request (smuggling)."""
    assert len(HIDDEN) == 36
    answer = talk(port, b"GET /healthz HTTP/1.1\r\n" + headers + b"\r\n" + HIDDEN)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert b"application/json" in head
    assert json.loads(body)["error"].isprintable()


def test_whole_heads_are_served_one_after_the_other(port: int) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Word: \xe9\t b\r\nEmpty:\r\n"
    answer = talk(port, request + b"\r\n" + request + b"Connection: close\r\n\r\n")

    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_slow_senders_of_large_bodies_are_sent_away(
    runner: DeviceRunner, bundle: Path, pictures: list[bytes], tmp_path: Path
) -> None:
    """Their bytes are bounded together; the one that has been slow the longest goes first."""
    options = ("--server", "standard", "--max-bytes", 32 * 2**20)
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    size = 30 * 2**20
    slow: list[socket.socket] = []
    with runner.serving(bundle, *options, log=tmp_path / "log") as (_, port):
        try:
            for _ in range(3):
                slow.append(socket.create_connection(("127.0.0.1", port), PATIENCE))
                slow[-1].sendall(head + b"Content-Length: %d\r\n\r\n" % size + bytes(size - 1))
            with contextlib.suppress(ConnectionError):
                slow[0].recv(1)  # its end, long before the time to send is over
            status, _, found = ask(port, "POST", "/predict", pictures[1], PNG)
            assert status == 200, found
            assert ask(port, "POST", "/predict", bytes(size), PNG)[0] == 400
        finally:
            for connection in slow:
                connection.close()


STARTED = (
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: image/png\r\nContent-Length: 900\r\n"
)


@pytest.mark.parametrize("server", SERVERS)
def test_slow_senders_block_nobody(
    runner: DeviceRunner, bundle: Path, pictures: list[bytes], tmp_path: Path, server: str
) -> None:
    """More connections than the server keeps, each of which sends a part of a request, or none."""
    log = tmp_path / "log"
    slow: list[socket.socket] = []
    with runner.serving(bundle, "--concurrency", 1, "--server", server, log=log) as (_, port):
        try:
            for number in range(64 + 90):
                connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
                connection.sendall((b"", STARTED, STARTED + b"\r\nabc")[number % 3])
                slow.append(connection)
            for _ in range(5):
                assert ask(port, "GET", "/healthz")[0] == 200
                status, _, found = ask(port, "POST", "/predict", pictures[1], PNG)
                assert status == 200, found
            slow[0].settimeout(PATIENCE)
            with contextlib.suppress(ConnectionError):
                assert slow[0].recv(1) == b""  # the first is cut for those that came later
        finally:
            for connection in slow:
                connection.close()
    assert complaints(log.read_text()) == []


class Impatient(DeviceRunner):
    """A runner whose endpoint waits for a request for two seconds, and not for twenty."""

    def command(self, *arguments: object) -> list[str]:
        program = (
            f"import sys; sys.path.insert(0, {str(self.path)!r})\n"
            "from deploy.serving import connections\n"
            "connections.RECEIVE_SECONDS = 2.0\n"
            "from deploy.runner.__main__ import main\n"
            "sys.exit(main())\n"
        )
        return [sys.executable, "-I", "-c", program, *map(str, arguments)]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.slow
def test_a_request_must_be_there_in_time_however_it_trickles(
    bundle: Path, tmp_path: Path, server: str
) -> None:
    DeviceRunner.write(tmp_path / "runner.pyz")
    impatient, key = Impatient(tmp_path / "runner.pyz"), OWNER.write_public(tmp_path / "owner.pub")
    options = (bundle, "--key", key, "--server", server)
    with impatient.serving(*options, log=tmp_path / "log") as (_, port):
        end = time.monotonic() + PATIENCE
        with socket.create_connection(("127.0.0.1", port), 0.1) as connection:
            connection.sendall(STARTED + b"\r\n")
            with contextlib.suppress(ConnectionError):
                while time.monotonic() < end:
                    connection.sendall(b"a")
                    with contextlib.suppress(TimeoutError):
                        if connection.recv(1) == b"":
                            break
            assert time.monotonic() < end, "it waits for ever"
        assert ask(port, "GET", "/healthz")[0] == 200


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (
            b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
            200,
            '"status": "ok"',
        ),
        (b"GET HTTP://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, '"inputs"'),
        (b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n", 505, "9.9"),
        (
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            411,
            "needs a Content-Length",
        ),
        (
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Content-Length: 999999\r\n\r\n",
            413,
            "has 999,999 bytes, at most 100,000",
        ),
        (
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Expect: 100-continue\r\nContent-Length: 999999\r\n\r\n",
            413,
            "has 999,999 bytes, at most 100,000",
        ),
    ],
)
def test_both_servers_answer_alike(port: int, sent: bytes, status: int, said: str) -> None:
    head, _, body = talk(port, sent).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert said in body.decode()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("server", SERVERS)
def test_more_requests_at_once_than_allowed_are_told_to_come_again(
    runner: DeviceRunner, bundle: Path, tmp_path: Path, server: str
) -> None:
    rows = npy(np.zeros((1000, 8, 8), np.uint8))
    found: list[tuple[int, dict[str, str]]] = []
    log, end = tmp_path / "log", time.monotonic() + PATIENCE
    with runner.serving(bundle, "--concurrency", 1, "--server", server, log=log) as (_, port):

        def work() -> None:
            while {status for status, _ in found} != {200, 503} and time.monotonic() < end:
                found.append(ask(port, "POST", "/predict", rows, NPY)[:2])

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * PATIENCE)
            assert not thread.is_alive()

    assert {status for status, _ in found} == {200, 503}
    assert all(headers["Retry-After"] for status, headers in found if status == 503)
    # The clients were told: it is no line for each request on the server's terminal, too.
    assert complaints(log.read_text()) == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.race
def test_a_signal_ends_it_cleanly(
    runner: DeviceRunner, bundle: Path, tmp_path: Path, server: str, number: int, code: int
) -> None:
    log = tmp_path / "log"
    with runner.serving(bundle, "--server", server, log=log) as (process, port):
        assert ask(port, "GET", "/healthz")[0] == 200
        process.send_signal(number)
        assert process.wait(PATIENCE) == code
    ending = ["error: interrupted"] if number == signal.SIGINT else []
    assert complaints(log.read_text()) == ending


@pytest.mark.sampled(1)
def test_an_address_that_is_taken_is_an_error_line(
    runner: DeviceRunner, bundle: Path, port: int
) -> None:
    done = runner("serve", bundle, "--port", port, "--server", "standard")

    assert done.code == 2
    assert f"127.0.0.1:{port}" in done.error


@pytest.mark.sampled(1)
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("host", ["", " ", "a..b"])
def test_what_is_no_address_is_an_error_line(
    runner: DeviceRunner, bundle: Path, server: str, host: str
) -> None:
    done = runner("serve", bundle, "--port", 0, "--server", server, "--host", host)

    assert done.code == 2
    assert "listen" in done.error


def test_the_help_tells_the_limits(runner: DeviceRunner) -> None:
    said = " ".join(runner("serve", "--help").stdout.split())

    for limit in ("1,024 examples", "1,048,576 pixels", "20 seconds", "64", "8,388,608"):
        assert limit in said
    assert "~/.local/share/compressor" in said
    assert "--json has all" in runner("run", "--help").stdout


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_a_runner_that_is_replaced_goes_on_answering(
    runner: DeviceRunner,
    bundle: Path,
    artefacts: Path,
    pictures: list[bytes],
    tiny_data: Any,
    tmp_path: Path,
    server: str,
) -> None:
    """`compressor runner` and deploying replace the file that serves."""
    installed = DeviceRunner(tmp_path / "runner.pyz")
    shutil.copy(runner.path, installed.path)
    store, log = Versions(tmp_path / "store" / "digits"), tmp_path / "log"
    store.activate(bundle.read_bytes())
    version = importlib.metadata.version("onnxruntime-gpu")
    other = bundle_of(artefacts / "small.onnx", OWNER, runtime="onnxruntime", version=version)
    colour = np.zeros((8, 8, 3), np.uint8)
    bodies = [
        (pictures[0], PNG),
        (npy(tiny_data.x_test), NPY),
        (npy(colour), NPY),
        (gzip.compress(idx(tiny_data.x_test)), IDX),
        (json.dumps({"instances": tiny_data.x_test.tolist()}), JSON),
    ]
    options = ("--store", "digits", "--folder", tmp_path / "store", "--server", server)

    with installed.serving(*options, log=log) as (_, port):
        # Its members are elsewhere in the file by now.
        DeviceRunner.write(tmp_path / "new.pyz", OWNER, Signer(2)).path.replace(installed.path)
        until(lambda: Signer(2).public.identifier in log.read_text())
        for body, kind in bodies:
            status, _, found = ask(port, "POST", "/predict", body, kind)
            assert status == 200, found
        assert ask(port, "POST", "/predict", b"GIF89a", PNG)[0] == 400
        new = store.activate(other)
        until(lambda: served(port) == new)
        for body, kind in bodies:
            assert ask(port, "POST", "/predict", body, kind)[0] == 200
    assert "error" not in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("pinned", [True, False])
def test_what_a_revoked_key_signed_is_served_no_longer(
    runner: DeviceRunner, bundle: Path, artefacts: Path, tmp_path: Path, pinned: bool
) -> None:
    """`compressor runner --key NEW --force` takes a key from a device, whatever runs there."""
    installed, key = DeviceRunner(tmp_path / "runner.pyz"), tmp_path / "owner.pub"
    installed.path.write_bytes(pack([OWNER.public] if pinned else []))
    OWNER.write_public(key)
    store, log = Versions(tmp_path / "store" / "digits"), tmp_path / "log"
    store.activate(bundle.read_bytes())
    heir = Signer(2)
    options = ("--store", "digits", "--folder", tmp_path / "store")

    with installed.serving(*options, *(() if pinned else ("--key", key)), log=log) as (_, port):
        broken = installed.path if pinned else key
        kept = broken.read_bytes()
        broken.write_bytes(kept[:50])
        until(lambda: "the keys read before stay trusted" in log.read_text())
        assert ask(port, "GET", "/healthz")[0] == 200
        if pinned:
            DeviceRunner.write(tmp_path / "new.pyz", heir).path.replace(installed.path)
        else:
            heir.write_public(key)
        until(lambda: "is no longer served" in log.read_text())
        for method, path in (("GET", "/healthz"), ("GET", "/"), ("POST", "/predict")):
            status, _, found = ask(port, method, path, npy(np.zeros((8, 8), np.uint8)), NPY)
            assert status == 503 and "no longer trusted" in found["error"]
        new = store.activate(bundle_of(artefacts / "small.tflite", heir))
        until(lambda: ask(port, "GET", "/healthz")[2].get("sha256") == new)
    assert f"signed by {OWNER.public.identifier}" in log.read_text()


def test_the_current_version_of_a_store_is_served(
    runner: DeviceRunner, artefacts: Path, bundle: Path, tmp_path: Path, pictures: list[bytes]
) -> None:
    """A new version is switched to while requests go on; a bad one changes nothing."""
    store, log = Versions(tmp_path / "store" / "digits"), tmp_path / "log"
    first = bundle.read_bytes()
    second = bundle_of(artefacts / "small.tflite", OWNER)
    vectors = CheckVectors.read(artefacts / "float.tflite.check.npz")
    wrong = CheckVectors(vectors.inputs, vectors.outputs + 9, vectors.tolerance).to_bytes()
    failing = relisted(first, {"check.npz": wrong}, OWNER)
    old = store.activate(first)
    statuses: list[int] = []
    ended = threading.Event()

    with runner.serving(*("--store", "digits", "--folder", tmp_path / "store"), log=log) as (
        _,
        port,
    ):

        def work() -> None:
            while not ended.is_set():
                statuses.append(ask(port, "POST", "/predict", pictures[0], PNG)[0])

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert served(port) == old
            store.activate(failing)
            until(lambda: "check vectors" in log.read_text())
            assert served(port) == old
            store.activate(first[:5000])
            until(lambda: "the version before stays" in log.read_text().partition("vectors")[2])
            assert served(port) == old
            new = store.activate(second)
            until(lambda: served(port) == new)
            store.activate(first)
            until(lambda: served(port) == old)
        finally:
            ended.set()
            thread.join(PATIENCE)

    assert set(statuses) == {200}


class Versions:
    """The versions of a bundle on a device, laid out as `deploy.store` does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "versions").mkdir(parents=True)

    def activate(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "versions" / f"{digest}.bundle").write_bytes(content)
        link = self.folder / "new"
        link.symlink_to(f"versions/{digest}.bundle")
        link.replace(self.folder / "current")
        return digest
