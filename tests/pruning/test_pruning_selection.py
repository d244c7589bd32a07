"""How much goes of each layer: one sparsity, one for each, or one threshold over all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compressor.errors import ModelError, UsageError
from compressor.models.paper import paper_cnn
from compressor.pruning import kept_weights, magnitude_prune
from compressor.pruning.granularity import Weight
from compressor.pruning.kernels import weights_by_key
from compressor.pruning.pruner import Pruner, Pruning
from compressor.pruning.selection import share_out
from compressor.pruning.spec import PruningSpec


def kernels(model):
    return {layer.name: layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")}


@pytest.fixture
def residual(residual_net):
    return residual_net()


def pruned(model, *arguments, **options) -> Pruning:
    return Pruner(model, PruningSpec(*arguments, **options)).prune()


@pytest.mark.parametrize("sparsity", [0.0, 0.29, 0.5, 0.9])
def test_single_weights_are_counted_and_chosen_as_in_the_paper(residual, sparsity):
    before = kernels(residual)
    found = pruned(residual, sparsity)
    assert list(found.masks) == ["stem", "inner", "head"]
    for row in found.rows:
        expected = magnitude_prune(before[row["layer"]], sparsity)
        np.testing.assert_array_equal(found.masks[row["layer"]], expected.mask)
        assert row["threshold"] == expected.threshold
        assert row["kept"] == kept_weights(before[row["layer"]].size, sparsity)
        assert row["shape"] == list(before[row["layer"]].shape)


@pytest.mark.parametrize("sparsity", [0.3, 0.8, 0.95])
def test_a_global_threshold_is_that_of_all_weights_together(residual, sparsity):
    residual.get_layer("stem").kernel.assign(residual.get_layer("stem").kernel * 3)
    before = kernels(residual)
    everything = np.concatenate([np.abs(kernel).ravel() for kernel in before.values()])
    index = int(everything.size * round(sparsity * 100)) // 100
    threshold = np.sort(everything)[index]

    found = pruned(residual, sparsity, scope="global")

    assert sum(row["kept"] for row in found.rows) == kept_weights(everything.size, sparsity)
    for name, kernel in before.items():
        np.testing.assert_array_equal(found.masks[name], np.abs(kernel) > threshold)
    assert {row["threshold"] for row in found.rows} == {float(threshold)}
    shares = {row["layer"]: row["kept"] / row["parameters"] for row in found.rows}
    assert shares["stem"] > 1.2 * shares["inner"]


def test_a_global_threshold_of_named_layers_leaves_the_others(residual):
    before = kernels(residual)
    found = pruned(residual, 0.5, scope="global", layers=("inner", "head"))
    assert sum(row["kept"] for row in found.rows) == kept_weights(324 + 384, 0.5)
    np.testing.assert_array_equal(residual.get_layer("stem").kernel.numpy(), before["stem"])


def test_a_share_of_all_is_exact_where_scores_are_alike_and_brings_nothing_back():
    costs = {"zero": np.zeros(50), "alike": np.ones(50), "gone": np.r_[np.full(9, -1.0), 1e-9]}

    assert share_out(costs, 0.5, Weight()) == {"zero": 3, "alike": 50, "gone": 1}
    assert share_out(costs, 0.9, Weight()) == {"zero": 1, "alike": 8, "gone": 1}
    assert share_out(costs, 0.0, Weight()) == {"zero": 50, "alike": 50, "gone": 1}


def test_global_blocks(keras):
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(12, name="a"), layers.Dense(8, name="b")]
    )
    before = kernels(model)
    found = pruned(model, 0.5, scope="global", granularity="1x4")
    means = {n: np.abs(k.T).reshape(-1, 4).mean(axis=1) for n, k in before.items()}
    limit = np.sort(np.concatenate(list(means.values())))[24 + 24 - 24]
    for name, values in means.items():
        stay = np.repeat(values >= limit, 4).reshape(before[name].T.shape).T
        np.testing.assert_array_equal(found.masks[name], stay)


def test_each_layer_has_its_own_sparsity_and_others_are_left(residual):
    before = kernels(residual)
    found = pruned(residual, {"head": 0.9, "stem": 0.25})
    kept = {row["layer"]: row["kept"] for row in found.rows}
    assert kept == {"stem": kept_weights(54, 0.25), "head": kept_weights(384, 0.9)}
    np.testing.assert_array_equal(residual.get_layer("inner").kernel.numpy(), before["inner"])


def test_the_papers_names_name_layers_in_a_mapping_too():
    model = paper_cnn((8, 8, 1), 4)
    found = pruned(model, {"w_fc1": 0.95, "conv2": 0.8, "w_fc2": 0.5})
    kept = {row["layer"]: row["kept"] for row in found.rows}
    assert kept == {
        "conv2": kept_weights(51_200, 0.8),
        "fc1": kept_weights(256 * 1024, 0.95),
        "fc2": kept_weights(4096, 0.5),
    }
    assert {row["layer"]: row["paper_name"] for row in found.rows}["fc1"] == "w_fc1"


@pytest.mark.parametrize(
    ("sparsity", "options", "said"),
    [
        ({"fc1": 0.5, "w_fc1": 0.9}, {}, "a layer has two sparsities: fc1, w_fc1"),
        ({"fc1": 0.5}, {"scope": "global"}, "one sparsity, not one per layer: fc1=0.5"),
        ({"fc1": 0.5}, {"layers": ("fc2",)}, "the sparsities name the layers already: fc2"),
        ({"all": 0.5}, {}, "'all' cannot be mixed"),
        ({}, {}, "no layer has a sparsity"),
        ({"fc1": 1.0}, {}, "below 1: 1.0"),
        ({"fc1": -0.1}, {}, "below 1: -0.1"),
        (1.0, {}, "below 1: 1.0"),
        (float("nan"), {}, "below 1: nan"),
        (0.5, {"layers": ()}, "layers must be given"),
        (0.5, {"layers": ("fc1", "fc1")}, "and differ"),
        (0.5, {"scope": "model"}, "unknown scope: model; choose layer or global"),
        (0.5, {"schedule": "often"}, "unknown pruning schedule: often"),
        (0.5, {"criterion": "size"}, "choose from magnitude, reconstruct, taylor"),
        (0.5, {"rounds": 0}, "between 1 and 100: 0"),
        (0.5, {"ramp": 0.0}, "above 0 and at most 1: 0.0"),
        (0.5, {"ramp": 1.5}, "above 0 and at most 1: 1.5"),
        (0.5, {"calibration": 0}, "calibration example"),
    ],
)
def test_specifications_that_cannot_be(rejected, sparsity, options, said):
    assert said in rejected(UsageError, PruningSpec, sparsity, **options)


def test_layers_may_repeat_the_names_of_the_mapping():
    assert PruningSpec({"w_fc1": 0.5}, layers=("w_fc1",)).layers == ("fc1",)
    assert PruningSpec({"w_fc1": 0.5}, layers=("fc1",)).sparsity == {"fc1": 0.5}


def test_unknown_layers_are_answered_with_near_names(rejected, residual):
    for spec in (PruningSpec({"iner": 0.5}), PruningSpec(0.5, layers=("iner",))):
        assert "iner; did you mean inner?" in rejected(UsageError, Pruner, residual, spec)
    message = rejected(UsageError, Pruner, residual, PruningSpec(layers=("norm",)))
    assert "norm (BatchNormalization)" in message and "stem, inner, head" in message


@pytest.fixture(scope="module")
def sequence_net(keras):
    def build() -> Any:
        layers = keras.layers
        return keras.Sequential(
            [
                keras.Input((8,)),
                layers.Embedding(20, 6, name="words"),
                layers.LSTM(5, return_sequences=True, name="long"),
                layers.GRU(4, return_sequences=True, name="gated"),
                layers.SeparableConv1D(3, 3, name="separable"),
                layers.DepthwiseConv1D(3, name="depthwise"),
                layers.Flatten(),
                layers.Dense(4, name="out"),
            ]
        )

    return build


SIZES = {
    **{"words": 120, "long": 6 * 20, "long:recurrent_kernel": 5 * 20},
    **{"gated": 5 * 12, "gated:recurrent_kernel": 4 * 12},
    **{"separable": 4 * 3, "separable:depthwise_kernel": 3 * 4},
    **{"depthwise": 3 * 3, "out": 4 * 3 * 4},
}


def test_every_kind_of_kernel_loses_single_weights(sequence_net):
    model = sequence_net()
    found = pruned(model, 0.5)
    assert {row["layer"]: row["parameters"] for row in found.rows} == SIZES
    for name, size in SIZES.items():
        assert np.count_nonzero(weights_by_key(model)[name].numpy()) == kept_weights(size, 0.5)


def test_a_layer_means_all_its_kernels_and_a_kernel_itself(sequence_net):
    both = pruned(sequence_net(), 0.5, layers=("long",))
    assert list(both.masks) == ["long", "long:recurrent_kernel"]
    one = pruned(sequence_net(), 0.5, layers=("long:recurrent_kernel",))
    assert list(one.masks) == ["long:recurrent_kernel"]
    each = pruned(sequence_net(), {"long": 0.5, "gated:recurrent_kernel": 0.75})
    kept = {row["layer"]: row["kept"] for row in each.rows}
    assert kept == {
        "long": kept_weights(120, 0.5),
        "long:recurrent_kernel": kept_weights(100, 0.5),
        "gated:recurrent_kernel": kept_weights(48, 0.75),
    }


def test_frozen_layers_are_left_alone_and_refused_by_name(rejected, residual):
    residual.get_layer("stem").trainable = False
    found = pruned(residual, 0.5)
    assert list(found.masks) == ["inner", "head"] and found.left_alone == {"stem": "it is frozen"}
    assert "stem: it is frozen" in rejected(
        UsageError, Pruner, residual, PruningSpec(layers=("stem",))
    )


def test_a_model_that_is_frozen_altogether(rejected, residual):
    residual.trainable = False
    message = rejected(ModelError, Pruner, residual, PruningSpec())
    assert "all its layers are frozen: residual" in message


def test_layers_that_nobody_prunes_are_said(keras):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.PReLU(name="bend"),
            layers.Flatten(),
            layers.Dense(4, name="out"),
        ]
    )
    found = pruned(model, 0.5)
    assert found.left_alone == {"bend:alpha": "pruned only where it is named"}


def test_a_layer_that_is_pruned_away_is_said(keras):
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(9, name="wide"), layers.Dense(1, name="gone")]
    )
    found = pruned(model, 0.9)
    assert found.warnings == ("all weights of layer gone were pruned away",)
    assert found.describe()["warnings"] == list(found.warnings)
    assert "warnings" not in pruned(model, 0.2).describe()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers(rejected, residual, bad):
    kernel = residual.get_layer("inner").kernel.numpy()
    kernel[0, 0, 0, 0] = bad
    residual.get_layer("inner").kernel.assign(kernel)
    assert "NaN or infinite" in rejected(ModelError, Pruner(residual, PruningSpec()).prune)
