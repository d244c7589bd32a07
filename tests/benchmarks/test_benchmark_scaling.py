"""How a sweep's time grows: what is timed has the sizes that the rows name."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import _clock, _scaling
from compressor import load_dataset, make_plan
from compressor.data import draw_examples
from compressor.experiment.steps import check_paper_model, image_shape
from compressor.models.layers import count_parameters
from compressor.models.paper import paper_cnn


@pytest.mark.slow
@pytest.mark.parametrize(("side", "weights"), [(14, 589_824), (28, 3_211_264), (56, 12_845_056)])
def test_images_are_of_another_size_and_the_paper_s_cnn_takes_them(side, weights):
    data = _scaling._resized(load_dataset(None), side, 20)
    assert data.x_train.shape == (120, side, side) and data.x_test.shape == (20, side, side)
    check_paper_model(make_plan(data, sparsities=[0.9]))
    model = paper_cnn(image_shape(data))
    assert model.get_layer("fc1").kernel.shape == (weights // 1024, 1024)
    assert count_parameters(model) == weights + 800 + 32 + 51_200 + 64 + 1024 + 10_250


def test_images_of_mnist_s_size_are_mnist_s():
    whole = load_dataset(None)
    data = _scaling._resized(whole, 28, 20)
    for x, y, of, labels in (
        (data.x_test, data.y_test, whole.x_test, whole.y_test),
        (data.x_train, data.y_train, whole.x_train, whole.y_train),
    ):
        index = draw_examples(of, labels, len(y))
        assert np.array_equal(x, of[index]) and np.array_equal(y, labels[index])
    assert set(data.y_test) == set(range(10))


def test_the_clock_adds_up_the_phases_of_one_kind(monkeypatch):
    now = iter([0.0, 1.0, 1.0, 3.0, 3.0, 7.0, 7.0, 8.0, 8.0])
    monkeypatch.setattr(_clock, "time", SimpleNamespace(monotonic=lambda: next(now)))
    clock = _clock.Clock()
    for title in ("seed 0: 50 %, prune", "50 %, retrain", "90 %, prune"):
        clock.stage(title)
    clock.close()
    assert dict(clock.seconds) == {"start": 1.0, "prune": 3.0, "retrain": 4.0}
