"""A package index on loopback: files that caches may keep, and what was asked for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class PackageIndex:
    """`files`, path -> content type and content, at `url`; `asked` are the paths, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, tuple[str, bytes]] = {}
        self.asked: list[str] = []


@contextlib.contextmanager
def package_index() -> Iterator[PackageIndex]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            kind, content = index.files.get(self.path, ("text/plain", b""))
            self.send_response(200 if self.path in index.files else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "max-age=600")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index = PackageIndex(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
