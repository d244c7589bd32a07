"""Undoing the filters of PNG rows (section 9 of the standard).

A byte is predicted from those to its left, above, and above to the left, so neither a row nor a
column can be computed at once. But all bytes on a diagonal from top right to bottom left can: they
need only the two diagonals before. That takes on the order of width + height numpy calls, not of
their product.
"""

from __future__ import annotations

import numpy as np


def unfilter(filtered: np.ndarray, unit: int) -> np.ndarray:
    """The bytes (rows, length) of rows (rows, 1 + length) that begin with their filter's number.

    `unit` is the bytes of a pixel, at least 1, and divides `length`. Filters are 0 to 4.
    """
    filters, content = filtered[:, 0], filtered[:, 1:]
    if not filters.any():
        return np.ascontiguousarray(content)
    rows, width = len(content), content.shape[1] // unit
    # Row 0 and column 0 are the zeros around the picture.
    padded = np.zeros((rows + 1, width + 1, unit), np.uint8)
    padded[1:, 1:] = content.reshape(rows, width, unit)
    pixels = padded.reshape(-1, unit)
    step = width  # to the pixel one row down and one column to the left
    kinds = filters[:, None]
    for diagonal in range(rows + width - 1):
        first = max(diagonal - width + 1, 0)
        count = min(diagonal, rows - 1) - first + 1
        place = (first + 1) * (width + 1) + diagonal - first + 1
        here, left, above, corner = (
            pixels[start : start + step * (count - 1) + 1 : step]
            for start in (place, place - 1, place - width - 1, place - width - 2)
        )
        here += _prediction(kinds[first : first + count], left, above, corner)
    return np.ascontiguousarray(padded[1:, 1:]).reshape(rows, width * unit)


def _prediction(
    kinds: np.ndarray, left: np.ndarray, above: np.ndarray, corner: np.ndarray
) -> np.ndarray:
    """The prediction of each pixel (n, unit) by the filter (n, 1) of its row."""
    a, b, c = (part.astype(np.int16) for part in (left, above, corner))
    to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest = np.where((to_a <= to_b) & (to_a <= to_c), left, np.where(to_b <= to_c, above, corner))
    mean = ((a + b) >> 1).astype(np.uint8)
    return np.choose(kinds, (np.zeros_like(left), left, above, mean, nearest))
