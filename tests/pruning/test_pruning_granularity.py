"""Blocks and n:m groups against loops over the layout that sparse kernels of runtimes take."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from compressor.errors import ModelError, UsageError
from compressor.pruning.granularity import parse_granularity
from compressor.pruning.pruner import Pruner, density_of
from compressor.pruning.schedules import cubic_sparsity
from compressor.pruning.spec import PruningSpec


@pytest.fixture(scope="module")
def one_kernel(keras):
    """Build a model of one prunable layer whose kernel has 32 inputs and 6 outputs."""

    def build(kind: str) -> Any:
        layers = keras.layers
        keras.utils.set_random_seed(9)
        shape, layer = {
            "Dense": ((32,), layers.Dense(6, name="it")),
            "Conv1D": ((7, 32), layers.Conv1D(6, 3, name="it")),
            "Conv2D": ((5, 6, 32), layers.Conv2D(6, (2, 3), name="it")),
        }[kind]
        return keras.Sequential([keras.Input(shape), layer])

    return build


def stored_rows(kernel):
    """(..., in, out) as TFLite stores it, [out, ..., in], one row for each output and place."""
    return np.moveaxis(kernel, -1, 0).reshape(-1, kernel.shape[-2])


def from_stored(rows, shape):
    return np.moveaxis(rows.reshape(shape[-1], *shape[:-1]), 0, -1)


def blocks_by_loops(kernel, size, sparsity):
    rows = np.abs(stored_rows(kernel)).astype(np.float64)
    means = [
        (sum(row[start : start + size]) / size, number, start)
        for number, row in enumerate(rows)
        for start in range(0, len(row), size)
    ]
    mask = np.ones(rows.shape, bool)
    for _, number, start in sorted(means)[: math.floor(len(means) * Fraction(str(sparsity)))]:
        mask[number, start : start + size] = False
    return from_stored(mask, kernel.shape)


def groups_by_loops(kernel, n, m):
    rows = np.abs(stored_rows(kernel))
    mask = np.zeros(rows.shape, bool)
    for number, row in enumerate(rows):
        for start in range(0, len(row), m):
            best = sorted(range(start, start + m), key=lambda place, row=row: row[place])[m - n :]
            mask[number, best] = True
    return from_stored(mask, kernel.shape)


def pruned(model, **options):
    before = model.get_layer("it").kernel.numpy()
    found = Pruner(model, PruningSpec(**options)).prune()
    mask = found.masks["it"]
    np.testing.assert_array_equal(
        model.get_layer("it").kernel.numpy(), np.where(mask, before, np.float32(0))
    )
    return before, mask, found


@pytest.mark.parametrize("kind", ["Dense", "Conv1D", "Conv2D"])
@pytest.mark.parametrize(("size", "sparsity"), [(4, 0.5), (4, 0.9), (16, 0.29), (16, 0.75)])
def test_blocks_are_those_that_loops_find(one_kernel, kind, size, sparsity):
    before, mask, found = pruned(one_kernel(kind), granularity=f"1x{size}", sparsity=sparsity)
    np.testing.assert_array_equal(mask, blocks_by_loops(before, size, sparsity))
    rows = stored_rows(mask).reshape(-1, size)
    assert (rows.all(axis=1) | ~rows.any(axis=1)).all()
    blocks = before.size // size
    kept = blocks - math.floor(blocks * Fraction(str(sparsity)))
    assert np.count_nonzero(rows.all(axis=1)) == kept
    assert found.rows[0]["kept"] == kept * size
    gone = np.abs(stored_rows(before)).reshape(-1, size).mean(axis=1)[~rows.all(axis=1)]
    assert found.rows[0]["threshold"] == pytest.approx(gone.max())


@pytest.mark.parametrize("kind", ["Dense", "Conv1D", "Conv2D"])
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8)])
def test_of_every_m_inputs_exactly_the_n_largest_stay(one_kernel, kind, n, m):
    before, mask, found = pruned(one_kernel(kind), granularity=f"{n}:{m}")
    np.testing.assert_array_equal(mask, groups_by_loops(before, n, m))
    assert (stored_rows(mask).reshape(-1, m).sum(axis=1) == n).all()
    assert found.rows[0]["kept"] == before.size * n // m
    assert density_of(found.rows) == n / m


def test_no_block_goes_at_sparsity_zero(one_kernel):
    _, mask, _ = pruned(one_kernel("Dense"), granularity="1x4", sparsity=0.0)
    assert mask.all()


def test_a_rising_level_takes_more_and_gives_nothing_back(one_kernel):
    for granularity, sparsity in (("1x4", 0.8), ("1:4", None), ("weight", 0.8)):
        pruner = Pruner(one_kernel("Conv2D"), PruningSpec(sparsity, granularity=granularity))
        masks = []
        for progress in (0.1, 0.4, 0.8, 1.0):
            done = pruner.prune(lambda target, at=progress: cubic_sparsity(target, at))
            masks.append(done.masks["it"])
        for earlier, later in itertools.pairwise(masks):
            assert not (later & ~earlier).any()
        kept = [np.count_nonzero(mask) for mask in masks]
        assert kept == sorted(kept, reverse=True) and len(set(kept)) > 1
        assert kept[-1] == pytest.approx(0.2 * masks[0].size, rel=0.3)


@pytest.fixture(scope="module")
def mixed(keras):
    """Build a model whose kernels do not all divide into fours."""

    def build() -> Any:
        layers = keras.layers
        return keras.Sequential(
            [
                keras.Input((6,)),
                layers.Embedding(12, 8, name="words"),
                layers.LSTM(8, return_sequences=True, name="memory"),
                layers.Reshape((6, 8, 1)),
                layers.DepthwiseConv2D(3, name="depthwise"),
                layers.Conv2D(8, 1, name="one"),
                layers.SeparableConv2D(6, 3, name="separable"),
                layers.Flatten(),
                layers.Dense(8, name="wide"),
                layers.Dense(4, name="out"),
            ]
        )

    return build


@pytest.mark.parametrize(
    ("granularity", "needs"),
    [
        ("1x4", "its 1 inputs do not divide into blocks of 4"),
        ("2:4", "its 1 inputs do not divide into groups of 4"),
    ],
)
def test_kernels_that_do_not_divide_are_left_alone_and_said(mixed, granularity, needs):
    model = mixed()
    before = {v.path: v.numpy() for v in model.variables}
    found = Pruner(model, PruningSpec(granularity=granularity)).prune()
    pruned = ["memory", "memory:recurrent_kernel", "separable", "wide", "out"]
    assert list(found.masks) == pruned
    assert found.left_alone["one"] == needs
    others = {"words", "depthwise"}
    assert others | {"one", "separable:depthwise_kernel"} == found.left_alone.keys()
    assert all("no input axis" in found.left_alone[name] for name in others)
    assert found.describe()["left_alone"] == dict(found.left_alone)
    for variable in model.variables:
        changed = not np.array_equal(before[variable.path], variable.numpy())
        touched = any(f"{name}/" in variable.path for name in ("memory", "wide", "out"))
        assert changed == (
            (touched and "kernel" in variable.path) or "pointwise_kernel" in variable.path
        )


@pytest.mark.parametrize("granularity", ["1x4", "2:4"])
@pytest.mark.parametrize("name", ["one", "words", "separable:depthwise_kernel", "depthwise"])
def test_one_that_was_named_is_refused_with_the_reason(rejected, mixed, granularity, name):
    message = rejected(
        UsageError, Pruner, mixed(), PruningSpec(granularity=granularity, layers=("wide", name))
    )
    assert f"cannot be pruned as {granularity}: {name}: it" in message
    assert "choose from memory, memory:recurrent_kernel, separable, wide, out" in message


def test_a_model_where_nothing_divides(rejected, keras):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, name="d")])
    message = rejected(ModelError, Pruner, model, PruningSpec(granularity="1x4"))
    assert "d: its 6 inputs do not divide into blocks of 4" in message


@pytest.mark.parametrize(
    "word", ["", "weights", "block", "2x4", "1x0", "1x", "4:4", "4:2", "0:4", "2:4:8", "Channel"]
)
def test_an_unknown_granularity(rejected, word):
    message = rejected(UsageError, PruningSpec, granularity=word)
    assert "unknown granularity" in message and "2:4" in message and "channel" in message


@pytest.mark.parametrize("word", ["weight", "1x4", "1x16", "2:4", "1:4", "4:8", "channel"])
def test_a_granularity_is_named_as_the_user_writes_it(word):
    assert parse_granularity(word).name == word


def test_n_of_m_brings_its_own_sparsity(rejected):
    assert PruningSpec(granularity="1:4").highest_sparsity == 0.75
    assert PruningSpec(0.75, granularity="1:4").highest_sparsity == 0.75
    assert "fixes the sparsity to 0.75" in rejected(UsageError, PruningSpec, 0.5, granularity="1:4")
    assert "fixes" in rejected(UsageError, PruningSpec, {"a": 0.75}, granularity="1:4")
    assert "no global" in rejected(UsageError, PruningSpec, granularity="1:4", scope="global")
