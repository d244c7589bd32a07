"""Converting pictures to the channels and the size that a model takes."""

from __future__ import annotations

import numpy as np

from deploy.errors import RequestError

# Luma of ITU-R BT.601, in 1/65536.
_LUMA = np.array([19595, 38470, 7471], np.uint32)
_NAMES = {1: "grey", 2: "grey with alpha", 3: "colour", 4: "colour with alpha"}


def to_bytes(values: np.ndarray) -> np.ndarray:
    """16-bit samples, 0 to 65535, rounded to 8 bits; others unchanged."""
    if values.dtype != np.uint16:
        return values
    return ((values.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)


def with_channels(pictures: np.ndarray, channels: int) -> np.ndarray:
    """Pictures (n, h, w, any) as uint8 (n, h, w, channels) of 1, 3 or 4 channels, or as they are.

    Transparent pixels are blended with white, unless the model takes alpha. Grey is the luma of a
    colour. Raises RequestError for other numbers of channels.
    """
    given = pictures.shape[3]
    if given == channels:
        return pictures
    if channels not in (1, 3, 4) or given not in _NAMES:
        raise RequestError(
            "the picture's channels do not fit the model",
            value=f"it takes {channels}, given {given}",
            hint="give an .npy of the rows that the model takes",
        )
    if channels == 4:
        alpha = pictures[..., -1:] if given in (2, 4) else np.full_like(pictures[..., :1], 255)
        coloured = pictures[..., :-1] if given in (2, 4) else pictures
        return np.concatenate([_colour(coloured), alpha], axis=3)
    if given in (2, 4):
        pictures = _over_white(pictures)
    return _colour(pictures) if channels == 3 else _grey(pictures)


def resized(pictures: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pictures uint8 (n, h, w, c) in another size: each value is the mean of the area it covers."""
    rows = _areas(pictures.shape[1], height)
    columns = _areas(pictures.shape[2], width)
    means = np.einsum("yh,nhwc->nywc", rows, pictures.astype(np.float32), optimize=True)
    means = np.einsum("xw,nywc->nyxc", columns, means, optimize=True)
    return np.clip(np.rint(means), 0, 255).astype(np.uint8)


def _areas(size: int, wanted: int) -> np.ndarray:
    """Weights (wanted, size): how much of each of `size` cells lies in each of `wanted`."""
    edges = np.arange(wanted + 1) * (size / wanted)
    cells = np.arange(size)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    weights = np.clip(overlap, 0, None)
    normal: np.ndarray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normal


def _over_white(pictures: np.ndarray) -> np.ndarray:
    alpha = pictures[..., -1:].astype(np.uint32)
    mixed = pictures[..., :-1] * alpha + 255 * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def _grey(pictures: np.ndarray) -> np.ndarray:
    if pictures.shape[3] == 1:
        return pictures
    luma = (pictures.astype(np.uint32) * _LUMA).sum(axis=3, keepdims=True, dtype=np.uint32)
    return ((luma + 32768) >> 16).astype(np.uint8)


def _colour(pictures: np.ndarray) -> np.ndarray:
    return pictures if pictures.shape[3] == 3 else np.repeat(pictures, 3, axis=3)
