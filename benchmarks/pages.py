"""A model in a browser: C code as WebAssembly beside the same model in onnxruntime-web.

    python -m benchmarks.pages CODE ONNX

CODE is a folder of `compressor export --format c`, ONNX an artefact of the same model. Both become
pages, which headless Chromium opens from a server on loopback. Predictions of the first check
vector are timed in the pages in turns, one thread each, so many at once that the browser's clock,
which ticks in tenths of a millisecond, does not matter. Bytes are those of all files of a folder.
Measure on an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compressor
from benchmarks._record import save, summarize
from benchmarks.tables import print_tables

ROUNDS, ROUND_MS = 30, 50
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_LOAD = """async () => {
  const { readManifest, loadSite } = await import("./site.js");
  const { Classifier } = await import("./classifier.js");
  const site = await loadSite(await readManifest(), () => {});
  const classifier = await Classifier.create(site);
  const result = await classifier.check(site.check);
  const picture = site.check.inputs.slice(0, site.check.inputs.length / site.check.examples);
  window.timed = async (milliseconds) => {
    const before = performance.now();
    let runs = 0;
    let now = before;
    for (; now - before < milliseconds; now = performance.now(), runs += 10) {
      for (let run = 0; run < 10; run += 1) {
        await classifier.engine.run(picture);
      }
    }
    return (now - before) / runs;
  };
  await window.timed(500);
  return result.right === result.examples ? classifier.runtime : null;
}"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback, as any web server would; gives its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def rows(sources: list[Path], rounds: int) -> list[dict[str, Any]]:
    """What each page takes. Raises CompressorError, RuntimeError for a wrong page."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=program, args=["--no-sandbox"]
        )
        stack.callback(browser.close)
        pages: list[tuple[Any, str, int]] = []
        for number, source in enumerate(sources):
            site = folder / str(number)
            compressor.package([source], "browser", site)
            page = browser.new_page()
            page.goto(stack.enter_context(serving(site)))
            page.locator("#status:not([data-state=loading])").wait_for()
            runtime = page.evaluate(_LOAD)
            if runtime is None:
                raise RuntimeError(f"the page of {source} computes something else")
            size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
            pages.append((page, runtime, size))
        times: list[list[float]] = [[] for _ in pages]
        for _ in range(rounds):
            for (page, _, _), found in zip(pages, times, strict=True):
                found.append(page.evaluate(f"window.timed({ROUND_MS})"))
    return [
        {
            **{"artefact": source.name, "runtime": runtime, "bytes": size},
            "latency_us": summarize([1000 * one for one in found]),
        }
        for source, (_, runtime, size), found in zip(sources, pages, times, strict=True)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("code", metavar="CODE", type=Path)
    parser.add_argument("onnx", metavar="ONNX", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    if not any(map(shutil.which, _BROWSERS)):
        print("error: Chromium is not installed", file=sys.stderr)
        return 3
    save("pages", {"rows": rows([given.code, given.onnx], given.rounds), "threads": 1, "batch": 1})
    print_tables("pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
