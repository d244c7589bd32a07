"""Layer-wise least squares beside weights that must not change."""

from __future__ import annotations

from typing import Any

import pytest

import compressor
from compressor import PruningSpec, TrainingOptions
from compressor.report import records_text

FROZEN = "by cutting its inputs alone: it is frozen, so it cannot make up for them"


@pytest.fixture(scope="module")
def build(keras):
    def made(**of_second: Any) -> Any:
        layers = keras.layers
        keras.utils.set_random_seed(3)
        return keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Flatten(),
                layers.Dense(16, activation="relu", name="first"),
                layers.Dense(12, "relu", bias_initializer="ones", name="second", **of_second),
                layers.Dense(4, name="last"),
            ]
        )

    return made


def prune(model, data, *arguments, **options):
    spec = PruningSpec(*arguments, **{"criterion": "reconstruct", **options})
    return compressor.prune(model, data, spec, retrain=False)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_frozen_layer_loses_inputs_and_nothing_else(build, tiny_data, scope):
    model = build()
    model.get_layer("second").trainable = False

    found = prune(model, tiny_data, 0.5, granularity="channel", scope=scope)

    kernel, bias = found.model.get_layer("second").get_weights()
    before, bias_before = model.get_layer("second").get_weights()
    rows = {row.tobytes() for row in before}
    assert kernel.shape == (8, 12) and {row.tobytes() for row in kernel} <= rows
    assert (bias == bias_before).all()
    report = found.reconstruction
    assert report["second"] == {"note": FROZEN}
    text = records_text({"step_2_1": {"layers": found.layers, "reconstruction": report}})
    assert f"second: pruned {FROZEN}" in text


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_a_frozen_bias_stays(build, tiny_data, granularity):
    model = build()
    model.get_layer("second").bias.trainable = False
    wanted = ("first",) if granularity == "channel" else ("all",)

    found = prune(model, tiny_data, 0.5, wanted, granularity=granularity)

    assert (found.model.get_layer("second").bias.numpy() == 1).all()
    report = found.reconstruction["second"]
    assert report["error"] < report["magnitude_error"] and "refined" in report


def test_a_frozen_bias_or_kernel_is_neither_pruned_nor_trained(build, tiny_data):
    model = build()
    model.get_layer("first").kernel.trainable = model.get_layer("second").bias.trainable = False
    options = TrainingOptions(steps=4, batch_size=32, learning_rate=0.01)

    found = compressor.prune(model, tiny_data, PruningSpec(0.5), options=options)

    assert found.left_alone == {"first": "it is frozen"}
    (kernel, bias), (_, other) = (
        found.model.get_layer(n).get_weights() for n in ("first", "second")
    )
    assert (kernel == model.get_layer("first").kernel.numpy()).all() and bias.any()
    assert (other == 1).all()


@pytest.mark.parametrize("granularity", ["weight", "channel"])
@pytest.mark.parametrize("of", ["kernel", "bias"])
def test_constraints_of_the_users_hold(build, keras, tiny_data, of, granularity):
    model = build(**{f"{of}_constraint": keras.constraints.NonNeg()})
    second = model.get_layer("second")
    second.kernel.assign(abs(second.kernel.numpy()))
    second.bias.assign([0.0, 0.001, 0.01] * 4)
    wanted = ("first",) if granularity == "channel" else ("all",)

    found = prune(model, tiny_data, 0.5, wanted, granularity=granularity)

    after = found.model.get_layer("second")
    assert getattr(after, of).numpy().min() >= 0
    note = found.reconstruction["second"].get("note")
    assert (note == "by magnitude: it has a constraint of its own") == (of == "kernel")
