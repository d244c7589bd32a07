"""Ten kinds of clothes as grey images of 28 x 28 pixels, drawn by rule: nothing to download."""

from __future__ import annotations

import numpy as np

SIZE = 28
KINDS = (
    *("shirt", "trousers", "pullover", "dress", "coat"),
    *("sandal", "top", "sneaker", "bag", "boot"),
)


def _silhouette(kind: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where the cloth is, bool; x and y run from -1 to 1, y downwards."""
    side = np.abs(x)
    body = (side < 0.45) & (np.abs(y) < 0.8)
    arms = (side < 0.95) & (y > -0.8)
    if kind == "shirt":
        return body | (arms & (y < -0.4))
    if kind == "trousers":
        return (side < 0.5) & (np.abs(y) < 0.9) & ((side > 0.12) | (y < -0.5))
    if kind == "pullover":
        return body | (arms & (side > 0.6) & (y < 0.7)) | (arms & (y < -0.5))
    if kind == "dress":
        return (side < 0.2 + 0.3 * (y + 0.9)) & (np.abs(y) < 0.9)
    if kind == "coat":
        long = (side < 0.55) & (np.abs(y) < 0.95) & (side > 0.06)
        return long | (arms & (side > 0.65) & (y < 0.6)) | (arms & (y < -0.6))
    if kind == "sandal":
        sole = (np.abs(y - 0.4) < 0.12) & (side < 0.9)
        return sole | ((np.abs(y + 0.6 * side - 0.3) < 0.1) & (side < 0.8))
    if kind == "top":
        return (side < 0.4) & (np.abs(y) < 0.8) & ~((side < 0.2) & (y < -0.4))
    if kind == "sneaker":
        return (side < 0.9) & (y < 0.45) & (y > -0.05 - 0.35 * (x < -0.1))
    if kind == "bag":
        ring = np.hypot(x, y + 0.3)
        return ((side < 0.75) & (np.abs(y - 0.25) < 0.45)) | ((ring < 0.55) & (ring > 0.38))
    shaft = (np.abs(x + 0.35) < 0.35) & (np.abs(y) < 0.85)
    return shaft | ((y > 0.35) & (y < 0.85) & (side < 0.8))


def clothes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (count, 28, 28) and their kinds int64 (count,), each kind equally often.

    Each is scaled, shifted and sheared at random, woven with a texture, and noisy.
    """
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % len(KINDS)
    grid = np.linspace(-1, 1, SIZE)
    across, down = np.meshgrid(grid, grid)
    images = np.empty((count, SIZE, SIZE), np.uint8)
    for image, label in zip(images, labels, strict=True):
        wide, high = generator.uniform(0.75, 1.0, 2)
        left, up, shear = generator.uniform(-0.12, 0.12, 3)
        x, y = (across - left + shear * down) / wide, (down - up) / high
        weave = 1 + 0.2 * np.sin(generator.uniform(4, 14) * (x if label % 2 else y))
        cloth = _silhouette(KINDS[label], x, y) * generator.uniform(110, 200) * weave
        image[:] = np.clip(cloth + generator.normal(12, 14, image.shape), 0, 255)
    return images, labels
