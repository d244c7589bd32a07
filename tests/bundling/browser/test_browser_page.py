"""The page in a browser: reads digits, proves itself, and is good to use."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
from browser import OpenPage
from drawing_page import DrawingPage
from handwriting import strokes_of

from compressor.data.mnist import load_mnist

LINE = [[(0.5, 0.2 + 0.05 * step) for step in range(13)]]
SEVEN = [
    [(0.28, 0.25), (0.45, 0.24), (0.6, 0.25), (0.74, 0.25), (0.66, 0.42), (0.55, 0.6), (0.47, 0.82)]
]
_OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll("#answer .top *, button, kbd")]
    .filter(node => node.offsetParent)
    .map(node => [node, node.getBoundingClientRect()]);
  const meet = ([node, a], [other, b]) => !node.contains(other) &&
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  return boxes.flatMap((box, index) => boxes.slice(index + 1)
    .filter(other => meet(box, other)).map(other => [box[0].outerHTML, other[0].outerHTML]));
}"""


def relative(requests: list[str], address: str) -> list[str]:
    assert all(url.startswith(address) for url in requests), requests
    return sorted(url.removeprefix(address) for url in requests)


@pytest.mark.slow
def test_it_reads_digits_that_are_drawn(browser, address) -> None:
    data = load_mnist()
    drawings = [strokes_of(image) for image in data.x_test[:100]]
    labels = [str(label) for label in data.y_test[:100]]
    with DrawingPage(browser, address) as shown:
        read = [shown.draw(strokes) for strokes in drawings]

        right = sum(map(str.__eq__, read, labels))
        assert right >= 95, list(zip(labels, read, strict=True))
        assert shown.complaints == []


def test_it_proves_itself_and_says_which_model_it_is(browser, address, digits) -> None:
    described = json.loads(digits.file.with_name("digits.onnx.json").read_text())
    with DrawingPage(browser, address) as shown:
        assert shown.state == "right"
        status = shown.text("status-text")
        assert status.startswith("16 of 16 check vectors right in onnxruntime-web 1.30.0")
        assert shown.text("title") == "Draw a digit"
        assert shown.text("size") == "32 kB" and "31,653 bytes" in shown.text("size-note")
        assert "4 bits a weight" in shown.text("size-note")
        assert shown.text("accuracy") == "99.24 %" and "10,000" in shown.text("accuracy-note")
        assert shown.text("sparsity") == f"{100 * described['provenance']['sparsity']:.1f} %"
        assert re.fullmatch(r"< 0\.1 ms|\d+\.\d ms|\d+ ms", shown.text("latency"))
        assert "one thread, onnxruntime-web 1.30.0" in shown.text("latency-note")
        identity = shown.text("identity")
        for value in ("digits-browser", described["sha256"], "codebook", "ai.onnx 18"):
            assert value in identity
        assert shown.complaints == []


def test_nothing_is_asked_of_another_server(browser, address, site) -> None:
    with DrawingPage(browser, address) as shown:
        assert shown.draw(SEVEN) == "7"
        asked = set(relative(shown.requests, address))

    assert {"", "manifest.json", "model/digits.onnx", "runtime/ort.wasm"} <= asked
    assert asked - {""} <= {str(path.relative_to(site)) for path in site.rglob("*")}
    policy = re.search(
        r'Content-Security-Policy" content="([^"]+)"', (site / "index.html").read_text()
    )
    assert policy is not None and policy[1].startswith("default-src 'none'; ")
    assert "unsafe-inline" not in policy[1] and "'unsafe-eval'" not in policy[1]
    assert "http" not in policy[1]


@pytest.mark.slow
def test_a_mouse_draws_and_what_is_drawn_can_be_taken_back(browser, address) -> None:
    with DrawingPage(browser, address) as shown:
        undo, clear = shown.page.locator("#undo"), shown.page.locator("#clear")
        assert shown.read() == "?" and undo.is_disabled() and clear.is_disabled()
        assert shown.draw_by_mouse(SEVEN) == "7"
        shares = shown.shares()
        assert list(shares) == [str(digit) for digit in range(10)]
        assert max(shares, key=shares.get) == "7" and sum(shares.values()) == pytest.approx(
            100, abs=1
        )
        assert shown.text("certainty").startswith(f"{shares['7']:.0f}"[:2])
        assert not shown.page.locator("#invitation").is_visible()

        assert shown.draw_by_mouse([[(0.1, 0.1), (0.9, 0.9)]]) != "?"
        undo.click()
        assert shown.read() == "7" and shown.shares() == shares
        shown.page.keyboard.press("Control+z")
        assert shown.read() == "?" and undo.is_disabled()
        assert shown.draw_by_mouse(LINE) == "1"
        clear.click()
        assert shown.read() == "?" and shown.page.locator("#invitation").is_visible()
        shown.draw_by_mouse(LINE)
        shown.page.keyboard.press("Escape")
        assert shown.read() == "?"


@pytest.mark.slow
def test_a_finger_draws_and_the_page_stays_where_it_is(browser, address) -> None:
    with DrawingPage(browser, address, width=390, has_touch=True, is_mobile=True) as shown:
        assert shown.draw_by_touch(LINE) == "1"
        shown.page.locator("#clear").tap()
        assert shown.draw_by_touch(SEVEN) == "7"
        assert shown.evaluate("scrollY") == 0
        verdict = shown.page.locator("#verdict").bounding_box()
        assert verdict["y"] + verdict["height"] < 844  # on a telephone's first screen
        assert shown.complaints == []


@pytest.mark.parametrize("size", [0.3, 0.6, 0.9])
@pytest.mark.slow
def test_it_does_not_matter_how_large_or_where_one_draws(browser, address, size) -> None:
    moved = [[(0.02 + size * x, 0.05 + size * y) for x, y in stroke] for stroke in SEVEN]
    with DrawingPage(browser, address) as shown:
        assert shown.draw(moved) == "7"
        seen = shown.evaluate(
            """() => {
              const { width, height } = document.getElementById("seen");
              const context = document.getElementById("seen").getContext("2d");
              return Array.from(context.getImageData(0, 0, width, height).data);
            }"""
        )
    lit = [pixel for pixel in range(28 * 28) if seen[4 * pixel] > 0]
    rows, columns = [pixel // 28 for pixel in lit], [pixel % 28 for pixel in lit]
    assert len(seen) == 4 * 28 * 28
    assert 19 <= max(rows) - min(rows) + 1 <= 21  # fitted into 20 pixels, proportions kept
    assert max(columns) - min(columns) + 1 < 21
    mass = sum(seen[4 * pixel] for pixel in lit)
    across = sum(seen[4 * pixel] * (pixel % 28 + 0.5) for pixel in lit) / mass
    assert across == pytest.approx(14, abs=0.2)  # its centre of mass is the picture's centre


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        *((1280, "light"), (320, "dark")),
        *(
            pytest.param(width, scheme, marks=pytest.mark.slow)
            for width, scheme in itertools.product((1280, 800, 390, 320), ("light", "dark"))
            if (width, scheme) not in ((1280, "light"), (320, "dark"))
        ),
    ],
)
@pytest.mark.slow
def test_it_fits_and_every_word_can_be_read(browser, address, width, scheme, tmp_path) -> None:
    with DrawingPage(browser, address, width=width, scheme=scheme) as shown:
        shown.page.screenshot(path=tmp_path / "empty.png", full_page=True)
        assert shown.draw(SEVEN) == "7"
        shown.page.screenshot(path=tmp_path / "drawn.png", full_page=True)
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.faint_texts() == []
        assert shown.evaluate(_OVERLAPS) == []
        ink = shown.evaluate(
            """() => {
              const pad = document.getElementById("pad");
              const side = pad.width;
              const at = (x, y) => pad.getContext("2d").getImageData(x * side, y * side, 1, 1).data;
              return [Array.from(at(0.28, 0.25)), at(0.9, 0.9)[3]];
            }"""
        )
        assert (ink[0][0] > 128) == (scheme == "dark") and ink[0][3] == 255 and ink[1] == 0
        buttons = shown.evaluate(
            "[...document.querySelectorAll('button')].map(b => b.getBoundingClientRect().height)"
        )
        assert min(buttons) >= 44  # a fingertip


def test_over_file_it_says_what_to_do(browser, site: Path) -> None:
    with OpenPage(browser, site / "index.html") as shown:
        text = shown.page.locator("#status-text").inner_text()
        assert "python3 -m http.server" in text
        assert shown.page.locator("#status").get_attribute("data-state") == "failed"
