"""The endpoint: no request is lost, malformed ones get 4xx, slow ones block nobody."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.util
import io
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import bundle_of, relisted
from device_runner import OWNER, DeviceRunner
from PIL import Image

from deploy.vectors import CheckVectors

CONNECTIONS, REQUESTS = 16, 1000
SERVERS = [
    "standard",
    pytest.param(
        "waitress",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("waitress") is None, reason="waitress is not installed"
        ),
    ),
]
PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def runner(tmp_path_factory: Any) -> DeviceRunner:
    return DeviceRunner.write(tmp_path_factory.mktemp("device") / "runner.pyz", OWNER)


@pytest.fixture(scope="module")
def bundle(artefacts: Path, tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("bundle") / "float.bundle"
    path.write_bytes(bundle_of(artefacts / "float.tflite", OWNER))
    return path


@pytest.fixture(scope="module", params=SERVERS)
def port(request: Any, runner: DeviceRunner, bundle: Path, tmp_path_factory: Any) -> Iterator[int]:
    log = tmp_path_factory.mktemp("log") / "stderr"
    options = ("--server", request.param, "--max-bytes", 100_000)
    with runner.serving(bundle, *options, log=log) as (_, port):
        yield port
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def pictures(tiny_data: Any) -> list[bytes]:
    found = []
    for image in tiny_data.x_test:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        found.append(stream.getvalue())
    return found


def ask(
    port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
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
        socket.create_connection(("127.0.0.1", port), timeout=30) as connection,
        contextlib.suppress(OSError),
    ):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


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
    array = io.BytesIO()
    np.save(array, images)
    idx = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in images.shape)
    rows = json.dumps({"instances": images.tolist()})
    answers = [
        ask(port, "POST", "/predict", body, {"Content-Type": kind})[2]["predictions"]
        for body, kind in (
            (array.getvalue(), "application/x-npy"),
            (idx + images.tobytes(), "application/octet-stream"),
            (rows, "application/json; charset=utf-8"),
        )
    ]
    single = ask(port, "POST", "/predict", pictures[6], PNG)[2]["predictions"]

    assert np.mean([found["class"] for found in answers[0]] == tiny_data.y_test) > 0.9
    for found in answers[1:]:
        assert [each["class"] for each in found] == [each["class"] for each in answers[0]]
    assert single[0]["class"] == answers[0][6]["class"]
    assert sum(single[0]["probabilities"]) == pytest.approx(1, abs=1e-4)


def test_a_thousand_requests_on_sixteen_connections_are_all_answered_right(
    port: int, pictures: list[bytes], tiny_data: Any
) -> None:
    array = io.BytesIO()
    np.save(array, tiny_data.x_test)
    kind = {"Content-Type": "application/x-npy"}
    known = ask(port, "POST", "/predict", array.getvalue(), kind)[2]["predictions"]
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
        thread.join(120)

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
        ("POST", "/predict", b"\x93NUMPY\x01\x00", {"Content-Type": "application/x-npy"}, 400),
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
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1e3\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n"
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


def test_slow_senders_block_nobody(port: int, pictures: list[bytes]) -> None:
    """More connections than the server keeps, each of which sends a part of a request."""
    started = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 900\r\n"
    )
    slow = []
    try:
        for number in range(90):
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
            connection.sendall(started + (b"\r\nabc" if number % 2 else b""))
            slow.append(connection)
        for _ in range(5):
            status, _, found = ask(port, "POST", "/predict", pictures[1], PNG)
            assert status == 200, found
    finally:
        for connection in slow:
            connection.close()


def test_more_requests_at_once_than_allowed_are_told_to_come_again(
    runner: DeviceRunner, bundle: Path, tmp_path: Path
) -> None:
    rows = np.zeros((1000, 8, 8), np.uint8)
    array = io.BytesIO()
    np.save(array, rows)
    found: list[tuple[int, dict[str, str]]] = []
    with runner.serving(
        bundle, "--concurrency", 1, "--server", "standard", log=tmp_path / "log"
    ) as (_, port):

        def work() -> None:
            for _ in range(12):
                kind = {"Content-Type": "application/x-npy"}
                found.append(ask(port, "POST", "/predict", array.getvalue(), kind)[:2])

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    assert {status for status, _ in found} == {200, 503}
    assert all(headers["Retry-After"] for status, headers in found if status == 503)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_cleanly(
    runner: DeviceRunner, bundle: Path, tmp_path: Path, server: str, number: int, code: int
) -> None:
    log = tmp_path / "log"
    with runner.serving(bundle, "--server", server, log=log) as (process, port):
        assert ask(port, "GET", "/healthz")[0] == 200
        process.send_signal(number)
        assert process.wait(20) == code
    assert "Traceback" not in log.read_text()


def test_an_address_that_is_taken_is_an_error_line(
    runner: DeviceRunner, bundle: Path, port: int
) -> None:
    done = runner("serve", bundle, "--port", port, "--server", "standard")

    assert done.code == 2
    assert f"127.0.0.1:{port}" in done.error


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
            thread.join(30)

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


def served(port: int) -> str:
    return str(ask(port, "GET", "/healthz")[2]["sha256"])


def until(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)
