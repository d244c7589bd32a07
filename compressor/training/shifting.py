"""Images moved by a few pixels: more examples for a training that knows each by heart."""

from __future__ import annotations

from typing import Any

import numpy as np

from compressor.errors import UsageError
from compressor.foundation import quiet_tensorflow
from compressor.models import Objective, Preprocessing
from deploy.tasks import CLASSIFYING, MULTI_LABEL

_LEAST, _PART, _MOST_CHANNELS = 16, 28, 4


def usual_shift(feed: Preprocessing, objective: Objective) -> int:
    """How many pixels are enough: a 28th of the smaller side, at least one.

    0 for inputs that are no images, one of (height, width, up to 4 channels) with at least 16
    pixels each way, and where targets would have to move along: only classes stay what they are.
    """
    still = all(head.task in (*CLASSIFYING, MULTI_LABEL) for head in objective.heads)
    if not still or len(feed.row_shapes) != 1 or len(feed.row_shapes[0]) != 3:
        return 0
    height, width, channels = feed.row_shapes[0]
    if min(height, width) < _LEAST or channels > _MOST_CHANNELS:
        return 0
    return max(min(height, width) // _PART, 1)


def check_shift(shift: int, feed: Preprocessing, objective: Objective) -> None:
    """Raise UsageError where so many pixels cannot be shifted; 0 always can."""
    if not shift:
        return
    if not usual_shift(feed, objective):
        shapes = ", ".join(str(shape) for shape in feed.row_shapes)
        tasks = ", ".join(head.task for head in objective.heads)
        raise UsageError(
            "only images of a classifier are shifted",
            value=f"inputs {shapes}, for {tasks}",
            hint=f"one input of (height, width, up to {_MOST_CHANNELS} channels), at least "
            f"{_LEAST} pixels each way, or no shift",
        )
    if shift >= min(feed.row_shapes[0][:2]):
        raise UsageError("the shift is less than the image", value=shift)


def offsets(shift: int, steps: int, seed: int) -> np.ndarray:
    """Drawn by `seed` for each step: how far down and right, int32 (steps, 2)."""
    drawn = np.random.default_rng(seed).integers(0, 2 * shift, (steps, 2), endpoint=True)
    return drawn.astype(np.int32)


def shifted(inputs: Any, offset: Any, shift: int) -> Any:
    """Tensors of images (b, height, width, channels), in any structure, all moved alike.

    `offset` is two numbers from 0 to 2 x `shift`, of which `shift` leaves them where they are. What
    comes in at the border mirrors what is there.
    """
    tensorflow, _ = quiet_tensorflow.load()

    def move(images: Any) -> Any:
        padding = [[0, 0], [shift, shift], [shift, shift], [0, 0]]
        padded = tensorflow.pad(images, padding, mode="SYMMETRIC")
        found = tensorflow.slice(padded, [0, offset[0], offset[1], 0], tensorflow.shape(images))
        return tensorflow.ensure_shape(found, images.shape)

    return tensorflow.nest.map_structure(move, inputs)
