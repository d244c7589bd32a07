"""What answers requests, and what reads the answers of devices, for `fuzzing`."""

from __future__ import annotations

import contextlib
import io
import json
import random
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from bundles import bundle_of
from fuzz_files import npy_of, write_artefact
from fuzz_pictures import sound_examples
from fuzzing import MIB, Attempt, Target
from mutators import PUNCTUATION, altered, damaged, npy, text_of
from runner_answers import HONEST, REQUESTS

from compressor.remote.ssh import SshHost
from compressor.remote.ssh_process import SshProcess
from deploy.bundle import open_bundle
from deploy.serving.application import Application

HEADS = (
    *(b"GET /healthz HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n", b"HEAD http://localhost/ HTTP/1.1\r\n"),
    *(b"POST /predict HTTP/1.1\r\n", b"POST /predict HTTP/1.0\r\n", b"PUT /x?y HTTP/1.1\r\n"),
    b"OPTIONS * HTTP/1.1\r\n",
)
HEADERS = (
    *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"Host: [::1]:8080\r\n"),
    *(b"Content-Type: application/json\r\n", b"X: " + b"y" * 3000 + b"\r\n", b"Upgrade: h2c\r\n"),
)
PIECES = (
    *(*PUNCTUATION, b","),
    *(b"\r\n\r\n", b"HTTP/1.1", b"HTTP/0.9", b"http://[::1", b"evil.example", b"\t", b"GET ", b";"),
    *(b"chunked", b"-1", b"+", b"0\r\n\r\n", b"A" * 70_000),
)
_MOST_SENT = 100_000
_KINDS = (b"image/png", b"application/x-npy", b"application/octet-stream", b"text/plain", b"")


def requests(sounds: list[bytes], chance: random.Random) -> bytes:
    """What a connection sends: one request or several, pieces of which are altered."""
    sent = b"".join(_request(sounds, chance) for _ in range(chance.choice((1, 1, 2, 3))))
    if chance.randrange(3):
        sent = (
            damaged(sent, chance, PIECES) if chance.randrange(3) else sent[: chance.randrange(400)]
        )
    return sent[:_MOST_SENT]


def _request(sounds: list[bytes], chance: random.Random) -> bytes:
    head = bytearray(chance.choice(HEADS) + b"Host: localhost\r\n")
    for _ in range(chance.choice((0, 0, 1, 2))):
        head += chance.choice(HEADERS)
    body = b""
    if head.startswith(b"P"):
        kind = chance.randrange(3)
        rows = {"instances": [np.zeros((8, 8, 1)).tolist()] * chance.choice((1, 2))}
        if kind == 0:
            body = text_of(rows, chance)
        else:
            body = npy(chance) if chance.randrange(3) == 0 else chance.choice(sounds)
            body = damaged(body, chance) if chance.randrange(2) else body
        head += (
            b"Content-Type: " + (chance.choice(_KINDS) if kind else b"application/json") + b"\r\n"
        )
        head += b"Content-Length: %d\r\n" % (
            len(body) if chance.randrange(9) else chance.randrange(99)
        )
    for _ in range(chance.choice((0, 0, 1, 2))):
        place = chance.randrange(len(head))
        head[place : place + chance.choice((0, 1, 1, 4))] = chance.choice(PIECES)
    return bytes(head) + b"\r\n" + body


def statuses(answers: bytes) -> list[int]:
    """Of each answer, which is JSON of one line, and no failure of the server."""
    found = []
    while answers:
        head, _, answers = answers.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1."), head
        found.append(int(head.split()[1]))
        assert found[-1] != 500, answers
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if length and not answers.startswith(b"HTTP/1."):  # as those to HEAD
            body, answers = answers[: int(length)], answers[int(length) :]
            assert not body or (json.loads(body) and body.count(b"\n") == 1), body
    return found


def application(folder: Path) -> Application:
    """Of a bundle whose runtime finds every class alike."""
    from deploy.model import Model
    from deploy.serving.current import Current
    from deploy.serving.served import Served

    path = folder / "served.bundle"
    path.write_bytes(bundle_of(write_artefact(folder), runner=False))

    def predict(fed: dict[str, np.ndarray], batch: int) -> np.ndarray:
        return np.zeros((len(next(iter(fed.values()))), 4), np.float32)

    engine: Any = SimpleNamespace(runtime="none", version="0", provider=None, predict=predict)
    bundle = open_bundle(path, None)
    served = Served(bundle, Model(bundle, engine), resize=True, invert=False)
    return Application(Current(served, path), most_bytes=_MOST_SENT // 2, concurrency=1)


def _connection(serve: Callable[[socket.socket], None]) -> Attempt:
    """Send what a client sends on one connection, and look at what comes back."""
    sounds = sound_examples()

    def attempt(chance: random.Random) -> bool:
        client, served = socket.socketpair()
        with client:
            client.sendall(requests(sounds, chance))
            client.shutdown(socket.SHUT_WR)
            serve(served)
            client.setblocking(False)
            answers = b""
            with contextlib.suppress(BlockingIOError, ConnectionError):
                while chunk := client.recv(2**16):
                    answers += chunk
        return 200 in statuses(answers)

    return attempt


def standard_server(folder: Path) -> Attempt:
    """The server of the standard library, a connection at a time and in this thread."""
    from deploy.serving.standard_server import StandardServer

    server = StandardServer(application(folder), "127.0.0.1", 0, 64)
    # The connections here are not of TCP.
    server.RequestHandlerClass.disable_nagle_algorithm = False  # type: ignore[attr-defined]
    return _connection(lambda served: server.process_request_thread(served, ("127.0.0.1", 1)))


def waitress_server(folder: Path) -> Attempt:
    """waitress, with our connections, its tasks done in this thread."""
    from waitress import wasyncore

    from deploy.serving.waitress_server import WaitressServer

    server: Any = WaitressServer(application(folder), "127.0.0.1", 0, 64, 1)._server
    server.task_dispatcher.shutdown()
    tasks: list[Any] = []
    server.task_dispatcher = SimpleNamespace(add_task=tasks.append)
    server.pull_trigger = lambda: None

    def serve(served: socket.socket) -> None:
        connections: dict[int, Any] = {}
        server.channel_class(server, served, ("127.0.0.1", 1), server.adj, map=connections)
        for _ in range(200):
            if not connections:
                return
            wasyncore.loop(timeout=0, use_poll=True, map=connections, count=1)
            while tasks:
                tasks.pop(0).service()
        wasyncore.close_all(connections)

    return _connection(serve)


def answers(folder: Path) -> Attempt:
    """A line of a runner."""
    from compressor.runtimes.answers import read_answer, read_outputs

    right, path = np.arange(24, dtype=np.float32).reshape(6, 4), folder / "o.npy"
    sound = npy_of(right)

    def attempt(chance: random.Random) -> bool:
        if not chance.randrange(6):
            path.write_bytes(npy(chance) if chance.randrange(2) else damaged(sound, chance))
            assert read_outputs(path, (6, 4)).nbytes == right.nbytes
            return True
        op = chance.choice(list(HONEST))
        found = read_answer(text_of({"ok": True, **HONEST[op]}, chance), REQUESTS[op])
        json.dumps(found, allow_nan=False, default=repr)
        return True

    return attempt


class _Fed(SshProcess):
    """A process on a device that has written all this already."""

    def __init__(self, output: bytes, code: int, said: bytes) -> None:
        self._left, self._code, self._tail = io.BytesIO(output), code, said
        self._held, self._hears = bytearray(), False

    def _fill(self, deadline: float) -> bool:
        chunk = self._left.read(2**16)
        self._held += chunk
        return bool(chunk)

    def send(self, content: bytes, deadline: float) -> None:
        pass

    def close_input(self) -> None:
        pass

    def hear(self, seconds: float) -> None:
        pass

    def finish(self, seconds: float) -> int:
        return self._code

    def code(self, seconds: float) -> int:
        return self._code

    def kill(self) -> None:
        pass


class _Host(SshHost):
    """A device that answers this to the next program that is started there."""

    answers: tuple[bytes, int, bytes] = (b"", 0, b"")

    def start(self, words: Any, *, output: bool = True) -> SshProcess:
        return _Fed(*_Host.answers)


def _ending(chance: random.Random) -> tuple[int, bytes]:
    said = damaged(
        b"Warning: a device says this\nlast line\n", chance, (b"\x1b[2J", b"\xff", b"\r")
    )
    return chance.choice((0, 0, 1, 127, 255, -9)), said


def _altered_line(value: Any, chance: random.Random) -> bytes:
    return text_of(value, chance).replace(b"\n", b" ") + b"\n"


def devices(folder: Path) -> Attempt:
    """What a device answers to `bench --host`, from its machine to the outputs of an artefact."""
    from compressor.runtimes import processes
    from compressor.runtimes.runner import Runner

    processes.pack = lambda: b"runner"  # type: ignore[attr-defined]
    artefact, host = write_artefact(folder), _Host("h")
    inputs = {"x": np.zeros((6, 8), np.float32)}
    load = {**HONEST["load"], "runtime": "litert", "threads": 1}
    asked = [{"ok": True, **found} for found in (HONEST["probe"], load, HONEST["predict"])]
    ok, put = {"ok": True}, {"ok": True, "path": "/there/x"}
    got = npy_of(np.arange(24, dtype=np.float32).reshape(6, 4))
    probe, loaded, predict = ({"ok": True, "answer": json.dumps(found)} for found in asked)
    lines: list[Any] = [{"ok": True, "folder": "/there"}, ok, probe, put, loaded, put, predict]
    lines.append({"ok": True, "bytes": len(got)})

    def output(chance: random.Random) -> bytes:
        place, inner = chance.randrange(len(lines) + 1), chance.randrange(3)
        written = [json.dumps(line).encode() + b"\n" for line in lines] + [got]
        if place == len(lines):
            written[-1] = npy(chance) if chance.randrange(2) else damaged(got, chance)
        elif "answer" in lines[place] and inner:
            content = altered(json.loads(lines[place]["answer"]), chance)
            written[place] = (
                json.dumps({"ok": True, "answer": json.dumps(content)}).encode() + b"\n"
            )
        else:
            written[place] = _altered_line(lines[place], chance)
        return b"".join(written)

    def run() -> None:
        with Runner("litert", host=host) as runner:
            runner.probe()
            runner.load(artefact)
            assert runner.predict(inputs).shape == (6, 4)

    def attempt(chance: random.Random) -> bool:
        _Host.answers = (output(chance), *_ending(chance))
        run()
        return True

    _Host.answers = b"".join(json.dumps(line).encode() + b"\n" for line in lines) + got, 0, b""
    run()
    return attempt


def device_stores(folder: Path) -> Attempt:
    """What a device answers to `deploy`."""
    from compressor.remote.device_store import DeviceStore

    digest = "a" * 64
    check = {"passed": True, "examples": 3, "difference": 0.1, "tolerance": 0.2}
    runtime = {"name": "litert", "version": "2", "provider": None}
    proven = {"name": "n", "sha256": digest, "runtime": runtime, "check": check}
    verified = {"signed_by": "b" * 16, "check": proven}
    switched = {"ok": True, "current": digest, "previous": None, "verified": verified}
    held = {"name": "n", "current": digest, "previous": None, "versions": 1, "damaged": False}
    store = DeviceStore(_Host("h"), "~/x")
    asked: list[tuple[Callable[[], Any], dict[str, Any]]] = [
        (store.bundles, {"ok": True, "bundles": [held, held]}),
        (
            lambda: store.status("n", digest, 9, "t" * 32),
            {"ok": True, "received": 9, "complete": True},
        ),
        (lambda: store.activate("n", digest), switched),
        (lambda: store.roll_back("n"), switched),
        (lambda: store.remove("n"), {"ok": True, "removed": 1}),
        (
            lambda: store.activate("n", digest),
            {"ok": False, "kind": "bundle", "error": "no", "current": digest},
        ),
    ]

    def attempt(chance: random.Random) -> bool:
        ask, answer = chance.choice(asked)
        before = chance.choice((b"", b"", b"Welcome!\n", b"\xff\n"))
        _Host.answers = (before + _altered_line(answer, chance), *_ending(chance))
        json.dumps(ask(), allow_nan=False)
        return True

    for ask, answer in asked[:-1]:
        _Host.answers = json.dumps(answer).encode() + b"\n", 0, b""
        ask()
    return attempt


TARGETS: dict[str, Target] = {
    "standard-server": Target(standard_server, 8, quick=600),
    "waitress": Target(waitress_server, 6, memory=400 * MIB, quick=400),
    "answers": Target(answers, 8, quick=1500),
    "devices": Target(devices, 2, quick=150),
    "device-stores": Target(device_stores, 4),
}
