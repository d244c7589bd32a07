"""The page on which one draws, on a web server of its own, in a browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from browser import OpenPage
from handwriting import Stroke

from benchmarks.pages import serving as serving

PATIENCE_MS = 60_000

# One call for a whole drawing: by Playwright's mouse each point waits for a frame of the screen.
_DRAW = """strokes => {
  const pad = document.getElementById("pad");
  const box = pad.getBoundingClientRect();
  const tell = (name, button, [x, y]) => pad.dispatchEvent(new PointerEvent(name, {
    pointerId: 7, pointerType: "pen", isPrimary: true, bubbles: true, cancelable: true, button,
    clientX: box.left + x * box.width, clientY: box.top + y * box.height,
  }));
  for (const stroke of strokes) {
    tell("pointerdown", 0, stroke[0]);
    stroke.slice(1).forEach(point => tell("pointermove", -1, point));
    tell("pointerup", 0, stroke.at(-1));
  }
}"""


class DrawingPage(OpenPage):
    """The page at an address, once it has said how its checks went."""

    def __init__(self, browser: Any, address: Path | str, **options: Any):
        super().__init__(browser, address, **options)
        loaded = self.page.locator("#status:not([data-state=loading])")
        loaded.wait_for(timeout=PATIENCE_MS)

    @property
    def state(self) -> str:
        """right, wrong (a check failed) or failed (it cannot run)."""
        return str(self.page.locator("#status").get_attribute("data-state"))

    def text(self, name: str) -> str:
        """What one reads in the element of this id."""
        return str(self.page.locator(f"#{name}").inner_text())

    def read(self) -> str:
        """The answer to what is drawn, once it is there."""
        self.page.locator("#answer[aria-busy=false]").wait_for()
        return self.text("verdict")

    def shares(self) -> dict[str, float]:
        """Class -> per cent, as the bars say."""
        labels = self.page.locator("#bars .label").all_inner_texts()
        shares = self.page.locator("#bars .share").all_inner_texts()
        return {
            label: float(share.removesuffix(" %"))
            for label, share in zip(labels, shares, strict=True)
        }

    def draw(self, strokes: Sequence[Stroke]) -> str:
        """Draw on an empty pad, all at once; gives the answer."""
        self.page.keyboard.press("Escape")
        self.page.evaluate(_DRAW, list(strokes))
        return self.read()

    def draw_by_mouse(self, strokes: Sequence[Stroke]) -> str:
        """Draw by a mouse that really moves; gives the answer."""
        for stroke in strokes:
            first, *others = map(self._place, stroke)
            self.page.mouse.move(*first)
            self.page.mouse.down()
            for point in others:
                self.page.mouse.move(*point)
            self.page.mouse.up()
        return self.read()

    def draw_by_touch(self, strokes: Sequence[Stroke]) -> str:
        """Draw by a finger on a screen; gives the answer."""
        session = self.page.context.new_cdp_session(self.page)

        def touch(kind: str, *points: tuple[float, float]) -> None:
            places = [{"x": x, "y": y, "id": 1} for x, y in points]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

        for stroke in strokes:
            first, *others = map(self._place, stroke)
            touch("touchStart", first)
            for point in others:
                touch("touchMove", point)
            touch("touchEnd")
        return self.read()

    def _place(self, point: tuple[float, float]) -> tuple[float, float]:
        box = self.page.locator("#pad").bounding_box()
        return box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"]
