"""Images of handwriting as strokes of a pen, to draw them again on a page."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

Stroke = list[tuple[float, float]]
"""Points (x, y), 0 to 1 of the picture's sides."""

_FINE = 4
_NEIGHBOURS = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
"""Clockwise from north, (row, column)."""


def strokes_of(image: np.ndarray) -> list[Stroke]:
    """The middle lines of the light parts of an image, (height, width) uint8."""
    fine = ndimage.zoom(
        image.astype(np.float32), _FINE, order=1, grid_mode=True, mode="grid-constant"
    )
    lines = _thinned(fine > 0.45 * image.max())
    size = np.array(lines.shape[::-1])
    strokes = [[(np.array(point[::-1]) + 0.5) / size for point in walk] for walk in _walks(lines)]
    return [
        [(float(x), float(y)) for x, y in [*stroke[:-1:_FINE], stroke[-1]]] for stroke in strokes
    ]


def _thinned(ink: np.ndarray) -> np.ndarray:
    """Lines of one pixel in the middle of `ink` (Zhang and Suen, 1984)."""
    ink = np.pad(ink, 1)
    while True:
        before = ink.copy()
        for first, second in (((0, 2, 4), (2, 4, 6)), ((0, 2, 6), (0, 4, 6))):
            ring = [np.roll(ink, (-row, -column), (0, 1)) for row, column in _NEIGHBOURS]
            count = np.sum(ring, axis=0)
            pairs = zip(ring, [*ring[1:], ring[0]], strict=True)
            begins = np.sum([~here & there for here, there in pairs], axis=0)
            open_ = [~np.all([ring[side] for side in sides], axis=0) for sides in (first, second)]
            ink = ink & ~((count >= 2) & (count <= 6) & (begins == 1) & open_[0] & open_[1])
        if np.array_equal(ink, before):
            return ink[1:-1, 1:-1]


def _walks(lines: np.ndarray) -> list[list[tuple[int, int]]]:
    """The lines as walks over each link of two pixels once, from ends where there are some."""
    links = _links({(int(row), int(column)) for row, column in np.argwhere(lines)})
    walks = [[pixel] for pixel, linked in links.items() if not linked]
    while any(links.values()):
        begin = min((pixel for pixel in links if links[pixel]), key=lambda at: len(links[at]) != 1)
        walk = [begin]
        while links[walk[-1]]:
            here = walk[-1]
            there = min(links[here])
            links[here].discard(there)
            links[there].discard(here)
            walk.append(there)
        walks.append(walk)
    return walks


def _links(pixels: set[tuple[int, int]]) -> dict[tuple[int, int], set[tuple[int, int]]]:
    """The neighbours of each pixel; diagonal ones only where no third pixel joins the two."""
    links: dict[tuple[int, int], set[tuple[int, int]]] = {}
    for row, column in sorted(pixels):
        around = {
            (down, right) for down, right in _NEIGHBOURS if (row + down, column + right) in pixels
        }
        links[row, column] = {
            (row + down, column + right)
            for down, right in around
            if not (down and right and {(down, 0), (0, right)} & around)
        }
    return links
