"""The parts of the endpoint without a socket: what is served, its limits, and its replacement."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from device_runner import OWNER
from http_requests import idx, npy

from deploy.bundle import open_bundle
from deploy.errors import BundleError, RequestError
from deploy.images.reader import ExampleReader, TooManyExamplesError
from deploy.serving.application import Application, Request
from deploy.serving.current import Current, Follower
from deploy.serving.served import Served
from deploy.serving.standard_server import StandardServer
from deploy.serving.trust import Trust


class Scaled:
    """A stand-in for a served bundle whose stored examples are multiplied by `scale`."""

    def __init__(self, name: str, scale: int) -> None:
        self.name, self.scale, self.closed = name, scale, False
        self.bundle: Any = SimpleNamespace(
            manifest=SimpleNamespace(name=name), sha256=name, signed_by=OWNER.public
        )
        self.model = self
        self.on_read: Callable[[], None] = lambda: None

    def read(self, body: bytes) -> dict[str, np.ndarray]:
        self.on_read()
        return {"x": np.full((1, 1), self.scale)}

    def classify(self, stored: dict[str, np.ndarray], batch: int) -> Any:
        assert not self.closed and stored["x"][0, 0] == self.scale
        return _Nothing()

    def close(self) -> None:
        self.closed = True


class _Nothing:
    def __len__(self) -> int:
        return 1

    def describe(self, number: int) -> dict[str, Any]:
        return {}


def current(served: Any) -> Current:
    return Current(served, Path(served.name))


def post(application: Application, body: bytes = b"x", length: int | None = None) -> Any:
    size = len(body) if length is None else length
    answer = application.handle(Request("POST", "/predict", "image/png", size, lambda: body))
    return answer.status, json.loads(answer.body)


def test_a_request_is_computed_by_the_bundle_that_read_it() -> None:
    first, second = Scaled("first", 1), Scaled("second", 255)
    serving = current(first)
    application = Application(serving, most_bytes=100, concurrency=2)
    first.on_read = lambda: serving.replace(second, Path("second"))  # type: ignore[arg-type]

    assert post(application)[1]["name"] == "first"
    assert first.closed
    assert post(application)[1]["name"] == "second"
    assert not second.closed


def test_a_bundle_that_nobody_uses_is_closed_at_once() -> None:
    first, second = Scaled("first", 1), Scaled("second", 2)
    serving = current(first)
    serving.replace(second, Path("second"))  # type: ignore[arg-type]
    assert first.closed


def test_what_nobody_thought_of_is_answered_with_500(capsys: Any) -> None:
    served = Scaled("some", 1)
    application = Application(current(served), most_bytes=100, concurrency=1)

    def fail() -> None:
        raise ImportError("bad\nmagic")

    served.on_read = fail
    for _ in range(3):
        assert post(application)[0] == 500
    assert capsys.readouterr().err.splitlines()[0] == (
        "error: a request failed: ImportError: bad magic"
    )
    served.on_read = lambda: None
    assert post(application)[0] == 200


def test_at_most_two_bodies_are_unpacked_at_once() -> None:
    """The others wait packed: unpacked ones may be a thousand times as large."""
    served = Scaled("some", 1)
    application = Application(current(served), most_bytes=100, concurrency=16)
    reading: list[int] = []
    most = [0]
    pause = threading.Event()

    def count() -> None:
        reading.append(1)
        most[0] = max(most[0], len(reading))
        pause.wait(0.02)
        reading.pop()

    served.on_read = count
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(post(application)[0])) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * 12
    assert most[0] <= 2


def test_a_body_that_has_no_room_is_told_to_come_again() -> None:
    application = Application(current(Scaled("some", 1)), most_bytes=100, concurrency=1)
    answer = application.handle(Request("POST", "/predict", "image/png", 9, lambda: None))

    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert post(application)[0] == 200


def test_bytes_of_requests_in_work_are_bounded() -> None:
    application = Application(current(Scaled("some", 1)), most_bytes=100, concurrency=1)
    server = StandardServer(application, "127.0.0.1", 0, 4)
    ours, theirs = socket.socketpair()
    try:
        server.waits(ours)
        server.waits(theirs)
        assert server.hold(ours, 64 * 2**20)
        server.received(ours)
        assert not server.hold(theirs, 1)
        server.waits(ours)
        assert server.hold(theirs, 1)
    finally:
        server.server_close()
        ours.close()
        theirs.close()


@pytest.fixture
def served(bundle: Path) -> Served:
    """The bundle, without a runtime."""
    engine = SimpleNamespace(runtime="none", version="0", provider=None)
    model: Any = SimpleNamespace(engine=engine)
    return Served(open_bundle(bundle, None), model, resize=False, invert=False)


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": ["%s"%s]}' % (b"a" * 4000, b", 1" * 1000),
        b'{"instances": [[["%s"%s]]]}' % (b"a" * 4000, b", 1" * 65_000),
        b'{"instances": [[%s[]]]}' % (b"[]," * 500_000),
        b'{"instances": [%s1]}' % (b"1," * 1_000_000),
    ],
    ids=["a text among numbers", "within lists", "empty lists", "numbers"],
)
def test_json_costs_no_more_memory_than_its_text_suggests(served: Served, body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RequestError):
            served.instances(body)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_as_many_examples_as_are_taken_fit_as_json(served: Served) -> None:
    rows = np.full((1024, 8, 8, 1), 0.25).tolist()
    (found,) = served.instances(json.dumps({"instances": rows}).encode()).values()
    assert found.shape == (1024, 8, 8, 1)
    assert found.dtype == np.float32
    (found,) = served.instances(b'{"instances": [{"image": [1, 2]}]}').values()
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("digits", "more", "said"),
    [
        (19, "", ""),
        (38, ", 1, -2", ""),
        (19, ", 0.5", ""),
        (40, "", "does not fit a float32"),
        (400, "", "does not fit float64"),
    ],
)
def test_integers_of_any_size_are_numbers(
    served: Served, digits: int, more: str, said: str
) -> None:
    body = f'{{"instances": [[1{"0" * digits}{more}]]}}'.encode()
    if said:
        with pytest.raises(RequestError, match=f"a number is too large: it {said}"):
            served.instances(body)
        return
    (found,) = served.instances(body).values()
    assert found.dtype == np.float32
    assert found[0, 0] == np.float32(10.0**digits)


def test_a_model_of_integers_takes_none_that_it_would_round(served: Served) -> None:
    rule = SimpleNamespace(source="words", dtype="int32")
    served.bundle = SimpleNamespace(  # type: ignore[assignment]
        artifact=SimpleNamespace(preprocessing=[rule])
    )
    with pytest.raises(RequestError, match="a number is too large: it does not fit int64"):
        served.instances(b'{"instances": [[1, 10000000000000000000]]}')


def test_a_list_is_no_instance_of_several_inputs(served: Served) -> None:
    rules = [SimpleNamespace(source=name, dtype="float32") for name in ("words", "picture")]
    served.bundle = SimpleNamespace(  # type: ignore[assignment]
        artifact=SimpleNamespace(preprocessing=rules)
    )
    with pytest.raises(RequestError, match=r'each is {"words": ..., "picture": ...}'):
        served.instances(b'{"instances": [[1, 2, 3, 4]]}')
    both = served.instances(b'{"instances": [{"words": [1], "picture": [2]}]}')
    assert set(both) == {"words", "picture"}


def test_headers_are_held_against_the_limits_before_anything_is_unpacked(
    served: Served, bundle: Path, pictures: list[bytes], monkeypatch: Any
) -> None:
    for name in ("png.decode_png", "idx.decode_idx"):
        monkeypatch.setattr(f"deploy.images.{name}", None)
    large = bytearray(pictures[0])
    large[16:24] = (1000).to_bytes(4, "big") * 2
    many = idx(np.zeros((1025, 8, 8), np.uint8))

    with pytest.raises(RequestError, match="1000 x 1000, the model takes 8 x 8"):
        served.read(bytes(large))
    for content in (many, gzip.compress(many)):
        with pytest.raises(TooManyExamplesError, match="1,025"):
            served.read(content)
    with pytest.raises(RequestError, match="larger than the model takes"):
        served.read(gzip.compress(idx(np.zeros((3, 400, 400), np.uint8))))


def test_a_large_picture_is_no_row_of_examples(bundle: Path) -> None:
    opened = open_bundle(bundle, None)
    reader = ExampleReader(opened.artifact, opened.vectors, resize=True, most_examples=9)
    (found,) = reader.read(npy(np.zeros((40, 20, 3), np.uint8)), "it").values()
    assert found.shape[0] == 1


class Versions:
    """What a follower finds and loads: `path` is current, and fails to load while `fails`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fails, self.loads = folder, True, 0
        self.said: list[str] = []
        for name in "AB":
            (folder / name).write_text(name)
        self.path: Path | None = folder / "B"
        self.current = Current(Scaled("A", 1), folder / "A")  # type: ignore[arg-type]

    def follower(self, again: float) -> Follower:
        return Follower(
            self.current, self.find, self.load, self.said.append, Trust((), ()), again=again
        )

    def find(self) -> Path:
        if self.path is None:
            raise BundleError("no bundle of this name is here", value="digits")
        return self.path

    def load(self, path: Path) -> Any:
        self.loads += 1
        if self.fails:
            raise MemoryError("for once")
        return Scaled(path.name, 1)


def test_a_version_that_failed_is_tried_again_later(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    patient, prompt = versions.follower(again=1000), versions.follower(again=0)
    for _ in range(3):
        patient.look()
    assert versions.loads == 1
    for _ in range(3):
        prompt.look()
    assert versions.loads == 4
    assert len(versions.said) == 2  # once by each
    versions.fails = False
    prompt.look()
    assert versions.current.version == tmp_path / "B"


def test_a_current_that_is_gone_is_told_as_what_it_is(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.path = None
    versions.follower(again=0).look()
    assert versions.said == [
        "error: the version before stays: no bundle of this name is here: digits"
    ]


@pytest.mark.parametrize("change", ["its file is replaced", "it is deployed anew"])
def test_a_version_that_failed_is_tried_at_once_where_it_changed(
    tmp_path: Path, change: str
) -> None:
    versions = Versions(tmp_path)
    follower = versions.follower(again=1000)
    follower.look()
    versions.fails = False
    if change == "its file is replaced":
        (tmp_path / "new").write_text("another")
        (tmp_path / "new").replace(tmp_path / "B")
    else:
        versions.path = tmp_path / "A"
        follower.look()
        versions.path = tmp_path / "B"
    follower.look()
    assert versions.current.version == tmp_path / "B"


def test_waitress_listens_on_every_address_of_a_name(monkeypatch: Any) -> None:
    pytest.importorskip("waitress")
    from deploy.serving.waitress_server import WaitressServer

    resolve = socket.getaddrinfo

    def both(host: Any, *arguments: Any, **options: Any) -> Any:
        if host != "localhost":
            return resolve(host, *arguments, **options)
        return [*resolve("127.0.0.1", *arguments, **options)] * 2

    monkeypatch.setattr(socket, "getaddrinfo", both)
    application = Application(current(Scaled("some", 1)), most_bytes=100, concurrency=1)
    server = WaitressServer(application, "localhost", 0, 64, 1)
    try:
        hosts, ports = zip(*server.addresses, strict=True)
        assert hosts == ("127.0.0.1", "127.0.0.1")
        assert min(ports) > 0
    finally:
        server._server.close()


def test_a_connection_for_which_waitress_has_no_room_is_told_to_come_again() -> None:
    pytest.importorskip("waitress")
    from deploy.serving.waitress_server import WaitressServer

    application = Application(current(Scaled("some", 1)), most_bytes=100, concurrency=1)
    server = WaitressServer(application, "127.0.0.1", 0, 0, 1)
    turn = server._server.asyncore.loop
    answer = b""
    try:
        with socket.create_connection(server.addresses[0], timeout=60) as connection:
            turn(timeout=60, map=server._server._map, use_poll=True, count=1)
            while chunk := connection.recv(4096):
                answer += chunk
    finally:
        server._server.close()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b'{"error": "too many connections"}\n')
