"""The endpoint's requests and answers; `deploy.serving` says which."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from deploy.errors import DeployError, RequestError
from deploy.model import Predictions
from deploy.serving.served import Current, Served

MOST_EXAMPLES = 1024
"""Of one request."""
METHODS = {"/": ("GET", "HEAD"), "/healthz": ("GET", "HEAD"), "/predict": ("POST",)}
PICTURES = ("image/png", "application/x-npy", "application/octet-stream")
JSON = "application/json"
RETRY_SECONDS = 1


@dataclasses.dataclass(frozen=True)
class Request:
    """A request whose body, of `length` bytes, `read` gives when it is called."""

    method: str
    path: str
    content_type: str
    length: int | None
    read: Callable[[], bytes]


@dataclasses.dataclass(frozen=True)
class Response:
    """An answer: its status, its body, a JSON text, and further headers."""

    status: int
    body: bytes
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, status: int, content: Any, **headers: str) -> Response:
        """The answer of a JSON object; `headers` with _ for -."""
        encoded = json.dumps(content, allow_nan=False).encode() + b"\n"
        return cls(
            status, encoded, {name.replace("_", "-"): text for name, text in headers.items()}
        )

    @classmethod
    def error(cls, status: int, message: str, **headers: str) -> Response:
        """The answer to a request that cannot be served."""
        return cls.of(status, {"error": message}, **headers)


class Application:
    """Answers requests about what is served at the time.

    Bodies of more than `most_bytes` are not read. At most `concurrency` predictions are in work or
    wait for the runtime, which computes one at a time.
    """

    def __init__(self, current: Current, *, most_bytes: int, concurrency: int) -> None:
        self._current, self.most_bytes = current, most_bytes
        self._free = threading.BoundedSemaphore(concurrency)

    def handle(self, request: Request) -> Response:
        """The answer to a request; raises nothing on purpose."""
        path = request.path.partition("?")[0]
        if path not in METHODS:
            return Response.error(404, f"nothing is here; there is {', '.join(METHODS)}")
        if request.method not in METHODS[path]:
            allowed = ", ".join(METHODS[path])
            return Response.error(405, f"{path} takes {allowed}", Allow=allowed)
        if path == "/predict":
            return self._limited(request)
        served = self._current.served
        return Response.of(200, served.health() if path == "/healthz" else served.describe())

    def refusal(self, length: int | None) -> Response | None:
        """The answer to a body of this length that is not to be read; None for one that is."""
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
            return Response.error(415, f"no type that /predict takes: {takes}")
        # The body is read before: a slow sender is to hold no place.
        body = request.read()
        if len(body) != request.length:
            return Response.error(400, "the body is shorter than its Content-Length")
        if not self._free.acquire(blocking=False):
            return Response.error(503, "too many requests at once", Retry_After=str(RETRY_SECONDS))
        try:
            return self._predict(kind, body)
        except RequestError as error:
            return Response.error(400, str(error))
        except (DeployError, MemoryError) as error:
            return Response.error(500, str(error) or "memory has run out")
        finally:
            self._free.release()

    def _predict(self, kind: str, body: bytes) -> Response:
        served = self._current.served
        stored = served.instances(body) if kind == JSON else served.read(body)
        lengths = {len(array) if array.ndim else 0 for array in stored.values()}
        if len(lengths) != 1 or 0 in lengths:
            return Response.error(400, "the arrays have not one number of rows")
        if max(lengths) > MOST_EXAMPLES:
            return Response.error(413, f"more than {MOST_EXAMPLES:,} examples at once")
        served, predictions, seconds = self._current.classify(stored)
        return Response.of(200, _predicted(served, predictions, seconds))


def _predicted(served: Served, predictions: Predictions, seconds: float) -> dict[str, Any]:
    return {
        "name": served.bundle.manifest.name,
        "sha256": served.bundle.sha256,
        "latency_ms": round(1e3 * seconds, 3),
        "predictions": [predictions.describe(number) for number in range(len(predictions))],
    }
