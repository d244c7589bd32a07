"""Drawing a few examples over all classes."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.data import Dataset, TrainingData, draw_examples, judged_part

SORTED = np.repeat(np.arange(10), 100)


@pytest.mark.parametrize("count", [10, 16, 250])
def test_draws_every_class_of_a_sorted_set_alike(count):
    drawn = draw_examples(SORTED, SORTED, count)
    counts = np.bincount(SORTED[drawn], minlength=10)
    assert len(drawn) == len(set(drawn)) == count and np.all(np.diff(drawn) > 0)
    assert counts.min() >= count // 10 and counts.max() <= count // 10 + 1


def test_is_proportional_and_leaves_no_rare_class_out():
    labels = np.repeat([0, 1, 2], [900, 97, 3])
    counts = np.bincount(labels[draw_examples(labels, labels, 100)])
    assert counts[2] >= 1 and abs(counts[1] - 9.7) < 2 and abs(counts[0] - 90) < 3


def test_takes_different_classes_where_there_are_more_than_examples():
    labels = np.repeat(np.arange(50), 20)
    drawn = labels[draw_examples(labels, labels, 16)]
    assert len(set(drawn)) == 16 and drawn.max() > 16


@pytest.mark.parametrize("targets", [None, np.linspace(0, 1, 1000)], ids=["none", "real"])
def test_draws_from_all_rows_without_classes(targets):
    x = {"a": np.zeros((1000, 2)), "b": np.zeros(1000)}
    drawn = draw_examples(x, targets, 50)
    assert len(set(drawn)) == 50 and drawn.max() > 800
    assert len(np.histogram(drawn, 5, (0, 1000))[0].nonzero()[0]) == 5


def test_depends_on_the_seed_alone():
    first = draw_examples(SORTED, SORTED, 16, seed=1)
    draw_examples(SORTED, SORTED, 99, seed=2)
    np.testing.assert_array_equal(first, draw_examples(SORTED, SORTED, 16, seed=1))
    assert not np.array_equal(first, draw_examples(SORTED, SORTED, 16, seed=2))


def test_draws_all_where_there_are_not_more():
    np.testing.assert_array_equal(draw_examples(SORTED[:5], None, 9), np.arange(5))


def test_wide_outputs_are_judged_on_as_many_as_fit_the_memory():
    x = np.zeros((1000, 1), np.uint8)
    whole, labels = judged_part(x, SORTED, columns=1000)
    assert whole is x and labels is SORTED
    few, labels = judged_part(x, SORTED, columns=2**17)
    assert len(few) == len(labels) == 512 and set(labels) == set(range(10))
    fewest, _ = judged_part(x, None, columns=2**30)
    assert len(fewest) == 256


def test_parts_of_training_data_hold_all_classes():
    x = np.zeros((1000, 2), np.uint8)
    part = TrainingData.of(Dataset.from_arrays("sorted", x, SORTED, x, SORTED))
    for draw in (part.training_part, part.validation_part):
        assert len(set(draw(12)[1])) == 10
