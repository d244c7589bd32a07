"""The endpoint's requests and answers, as `deploy.serving` lists them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from deploy.answers import Answers, Predictions
from deploy.errors import DeployError, RequestError
from deploy.images.reader import TooManyExamplesError
from deploy.serving.current import Current, WithdrawnError
from deploy.serving.hosts import Hosts
from deploy.serving.served import MOST_EXAMPLES, Served
from deploy.text import clean

METHODS = {"/": ("GET", "HEAD"), "/healthz": ("GET", "HEAD"), "/predict": ("POST",)}
PICTURES = ("image/png", "application/x-npy", "application/octet-stream")
JSON = "application/json"
RETRY_SECONDS = 1
_AT_WORK = 2


@dataclasses.dataclass(frozen=True)
class Request:
    """A request; `read` returns its body, of `length` bytes.

    If the body has `arrived`, `read` does not wait. It returns fewer bytes if the sender is gone,
    and None if there is no room for them.
    """

    method: str
    path: str
    content_type: str
    length: int | None
    read: Callable[[], bytes | None]
    arrived: bool = False


@dataclasses.dataclass(frozen=True)
class Response:
    """An answer: its status, its body (JSON), and further headers."""

    status: int
    body: bytes
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, status: int, content: Any, **headers: str) -> Response:
        encoded = json.dumps(content, allow_nan=False).encode() + b"\n"
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(status, encoded, named)

    @classmethod
    def error(cls, status: int, message: str, **headers: str) -> Response:
        return cls.of(status, {"error": message}, **headers)


class Application:
    """Answers requests to the current bundle.

    Only requests to one of `hosts` are answered, by default to this machine's own names. Bodies of
    more than `most_bytes` are not read. At most `concurrency` predictions are in work or wait. At
    most two are in work, one computed and one unpacked meanwhile, since unpacking may need much
    memory.
    """

    def __init__(
        self, current: Current, *, most_bytes: int, concurrency: int, hosts: Hosts | None = None
    ) -> None:
        self._current, self.most_bytes = current, most_bytes
        self._hosts = hosts or Hosts()
        self._free = threading.BoundedSemaphore(concurrency)
        self._work = threading.BoundedSemaphore(_AT_WORK)

    def handle(self, request: Request) -> Response:
        try:
            return self._answer(request)
        except WithdrawnError as error:
            return Response.error(503, str(error))
        except Exception as error:
            told = DeployError("a request failed", value=f"{type(error).__name__}: {error}")
            with contextlib.suppress(OSError, ValueError):  # standard error may be closed
                print(f"error: {told}", file=sys.stderr, flush=True)
            return Response.error(500, "the server failed; its standard error says why")

    def _answer(self, request: Request) -> Response:
        path = request.path.partition("?")[0]
        if path not in METHODS:
            return Response.error(404, f"not found; there is {', '.join(METHODS)}")
        if request.method not in METHODS[path]:
            allowed = ", ".join(METHODS[path])
            return Response.error(405, f"{path} takes {allowed}", Allow=allowed)
        if path == "/predict":
            return self._limited(request)
        served = self._current.served
        return Response.of(200, served.health() if path == "/healthz" else served.description)

    def misdirected(self, *hosts: str | None) -> Response | None:
        """The answer to a request for a host that is not ours; None is one that was not named."""
        for host in hosts:
            if host is not None and host not in self._hosts:
                hint = "serve --allow-host NAME answers to another name"
                return Response.error(421, f"this is not the host {clean(host)}; {hint}")
        return None

    def refusal(self, length: int | None) -> Response | None:
        """The answer to a body of this length if it must not be read."""
        if length is None:
            return Response.error(411, "the request needs a Content-Length")
        if length > self.most_bytes:
            return Response.error(
                413, f"the body has {length:,} bytes, at most {self.most_bytes:,}"
            )
        return None

    def _limited(self, request: Request) -> Response:
        refusal = self.refusal(request.length)
        if refusal is not None:
            return refusal
        kind = request.content_type.partition(";")[0].strip().lower()
        if kind not in (*PICTURES, JSON):
            takes = ", ".join((*PICTURES, JSON))
            return Response.error(415, f"/predict takes {takes}")
        # A slow sender must not hold a place, nor a waiting request more memory than needed.
        body = None if request.arrived else request.read()
        if not self._free.acquire(blocking=False):
            return busy("too many requests at once")
        try:
            with self._work:
                return self._predict(kind, request, request.read() if request.arrived else body)
        except WithdrawnError:
            raise
        except TooManyExamplesError as error:
            return Response.error(413, str(error))
        except RequestError as error:
            return Response.error(400, str(error))
        except (DeployError, MemoryError) as error:
            return Response.error(500, str(error) or "out of memory")
        finally:
            self._free.release()

    def _predict(self, kind: str, request: Request, body: bytes | None) -> Response:
        if body is None:
            return busy("too many bytes at once")
        if len(body) != request.length:
            return Response.error(400, "the body is shorter than its Content-Length")
        with self._current.held() as served:
            return self._predicted(
                served, served.instances(body) if kind == JSON else served.read(body)
            )

    def _predicted(self, served: Served, stored: Mapping[str, np.ndarray]) -> Response:
        lengths = {len(array) if array.ndim else 0 for array in stored.values()}
        if len(lengths) != 1 or 0 in lengths:
            return Response.error(400, "the arrays differ in their number of rows, or have none")
        if max(lengths) > MOST_EXAMPLES:
            return Response.error(413, f"more than {MOST_EXAMPLES:,} examples at once")
        predictions, seconds = self._current.classify(served, stored)
        return Response.of(200, _described(served, predictions, seconds))


def busy(message: str) -> Response:
    return Response.error(503, message, Retry_After=str(RETRY_SECONDS))


def _described(
    served: Served, predictions: Answers | Predictions, seconds: float
) -> dict[str, Any]:
    return {
        "name": served.bundle.manifest.name,
        "sha256": served.bundle.sha256,
        "latency_ms": round(1e3 * seconds, 3),
        "predictions": [predictions.describe(number) for number in range(len(predictions))],
    }
