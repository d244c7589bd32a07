"""Images that are shifted while training: how far, which ones, and what it is good for."""

from __future__ import annotations

import numpy as np
import pytest

from compressor import TrainingOptions, training
from compressor.data import Dataset, TrainingData
from compressor.errors import UsageError
from compressor.models import objective_for, preprocessing_of
from compressor.searching.laboratory import tolerated_shift
from compressor.training.shifting import offsets, shifted, usual_shift


def rows_of_light(rows: list[int], count: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Images of 16 x 16 with one bright row, float32; which of `rows` it is, is the class."""
    labels = np.arange(count) % len(rows)
    images = np.zeros((count, 16, 16, 1), np.float32)
    images[np.arange(count), np.array(rows)[labels]] = 1
    return images, labels


@pytest.fixture
def linear(keras):
    def make(shape=(16, 16, 1), classes=2):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Flatten(), keras.layers.Dense(classes)]
        return keras.Sequential([keras.Input(shape), *layers])

    return make


@pytest.mark.parametrize("offset", [(0, 0), (0, 4), (2, 2), (3, 1), (4, 4)])
def test_a_batch_is_moved_and_its_border_is_mirrored(offset):
    images = np.random.default_rng(0).random((3, 16, 20, 2), np.float32)

    found = np.asarray(shifted({"image": images}, offset, 2)["image"])

    padded = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)], mode="symmetric")
    down, right = offset
    assert np.array_equal(found, padded[:, down : down + 16, right : right + 20])
    assert np.array_equal(found, images) == (offset == (2, 2))


def test_every_offset_is_drawn_and_the_seed_decides():
    drawn = offsets(1, 200, 5)

    assert {tuple(pair) for pair in drawn.tolist()} == {(a, b) for a in range(3) for b in range(3)}
    assert np.array_equal(drawn, offsets(1, 200, 5))
    assert not np.array_equal(drawn, offsets(1, 200, 6))


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [
        ((28, 28, 1), 1),
        ((16, 40, 3), 1),
        ((96, 96, 3), 3),
        ((224, 300, 3), 8),
        ((8, 8, 1), 0),
        ((15, 28, 1), 0),
        ((1, 28, 28), 0),
        ((49, 10, 1), 0),
        ((28, 28, 8), 0),
    ],
)
def test_large_images_are_shifted_further_and_what_is_no_image_is_not(linear, shape, pixels):
    model = linear(shape)
    x, y = np.zeros((4, *shape), np.float32), np.arange(4) % 2
    data = Dataset.from_arrays("images", x, y, x, y)
    assert usual_shift(preprocessing_of(model, x), objective_for(model, data)) == pixels


def test_a_shifted_training_knows_what_it_has_not_seen(linear):
    """A row beside those of the training images: nothing else tells its class."""
    images, labels = rows_of_light([4, 11])
    reached = {}
    for shift in (0, 1):
        model = linear()
        options = TrainingOptions(60, 16, 0.05, shift=shift)
        training.fit(model, images, labels, options, seed=0)
        weights = model.layers[-1].kernel.numpy().reshape(16, 16, 2).sum(1)
        # How far each row speaks for its class.
        reached[shift] = [weights[row, label] - weights[row, 1 - label] for row, label in
                          ((3, 0), (5, 0), (10, 1), (12, 1))]  # fmt: skip

    assert min(reached[1]) > 1
    assert np.abs(reached[0]).max() < 1


def test_a_shifted_training_is_repeated_by_its_seed(linear):
    images, labels = rows_of_light([4, 11])

    def weights(seed: int) -> np.ndarray:
        model = linear()
        training.fit(model, images, labels, TrainingOptions(9, 16, 0.05, shift=1), seed=seed)
        return np.asarray(model.get_weights()[0])

    assert np.array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))


@pytest.mark.parametrize("shift", [-1, 0.5, True, "1"])
def test_a_shift_is_a_whole_number_of_pixels(rejected, shift):
    assert "the shift is a whole number of pixels" in rejected(
        UsageError, TrainingOptions, 5, shift=shift
    )


def test_what_cannot_be_shifted_is_refused(linear, keras, rejected):
    images, labels = rows_of_light([4, 11])

    def refused(model, x, y, shift):
        options = TrainingOptions(2, 16, shift=shift)
        return rejected(UsageError, training.fit, model, x, y, options, seed=0)

    assert (
        "only images of a classifier are shifted: inputs (8, 8, 1), for classification"
        in refused(linear((8, 8, 1)), images[:, :8, :8], labels, 1)
    )
    assert "the shift is less than the image: 16" in refused(linear(), images, labels, 16)
    masks = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Conv2D(2, 1)])
    masks.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert "inputs (16, 16, 1), for segmentation" in refused(
        masks, images, images[..., 0].astype(int), 1
    )


@pytest.mark.parametrize(
    ("rows", "wrong", "pixels"),
    [
        ([4, 11], 0, 1),
        ([4, 5], 0, 0),
        ([2, 7, 13], 0, 1),
        ([2, 4, 13], 0, 0),
        ([4, 11], 0.3, 1),
        ([4, 5], 0.3, 0),
    ],
)
def test_a_search_shifts_only_what_stays_what_it_is(linear, rows, wrong, pixels):
    """A model knows best: here its class is the nearest of the rows, wherever light falls.

    Also where many labels are wrong, so that it seems to err.
    """
    images, labels = rows_of_light(rows, 120)
    labels = np.where(np.arange(120) % 10 < 10 * wrong, (labels + 1) % len(rows), labels)
    model = linear(classes=len(rows))
    near = -np.abs(np.arange(16)[:, None] - np.array(rows)).astype(np.float32)
    model.layers[-1].set_weights([np.repeat(near, 16, axis=0), np.zeros(len(rows), np.float32)])
    data = Dataset.from_arrays("rows", images, labels, images, labels)

    found = tolerated_shift(model, TrainingData.of(data, 60), objective_for(model, data))

    assert found == pixels
