"""Folding BatchNormalization, and when it is left alone."""

from __future__ import annotations

import pytest

from compressor.shrinking import shrink


def _chain(keras, *middle):
    layers = keras.layers
    image = keras.Input((7, 7, 3))
    x = layers.Conv2D(4, 1, activation="relu", name="stem")(image)
    for layer in middle:
        x = layer(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(image, layers.Dense(2, name="head")(x))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Conv2D", {"filters": 5, "kernel_size": 3, "padding": "same"}),
        ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 2}),
        ("SeparableConv2D", {"filters": 5, "kernel_size": 3}),
        ("Dense", {"units": 5}),
    ],
)
def test_it_is_folded_into_every_kind_of_kernel(
    keras, seeded, liven, shrunk_alike, kind, options, bias
) -> None:
    kernel = getattr(keras.layers, kind)(use_bias=bias, name="kernel", **options)
    norm = keras.layers.BatchNormalization(scale=bias, center=bias, name="norm")
    model = _chain(keras, kernel, norm)
    liven(model)

    result = shrunk_alike(model)

    assert result.folded == ("norm",)
    assert result.removed == {}
    assert result.model.get_layer("kernel").use_bias
    assert shrunk_alike(model, fold_batchnorm=False, saved=False).folded == ()


def test_a_kernel_with_an_activation_or_another_reader_is_left_alone(
    keras, seeded, liven, shrunk_alike
) -> None:
    layers = keras.layers
    image = keras.Input((7, 7, 3))
    x = layers.Conv2D(4, 1, activation="relu", name="active")(image)
    x = layers.BatchNormalization(name="behind_relu")(x)
    x = layers.Conv2D(4, 1, name="read_twice")(x)
    x = layers.Add()([x, layers.BatchNormalization(name="second_reader")(x)])
    shared = layers.BatchNormalization(name="shared")
    x = layers.Add()([shared(layers.Conv2D(4, 1)(x)), shared(layers.Conv2D(4, 1)(x))])
    x = layers.BatchNormalization(name="as_in_training")(layers.Conv2D(4, 1)(x), training=True)
    x = layers.BatchNormalization(axis=1, name="rows")(layers.Conv2D(4, 1)(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.BatchNormalization(name="output")(layers.Dense(2)(x))
    model = keras.Model(image, x)
    liven(model)

    assert shrunk_alike(model).folded == ()


def test_a_fold_that_costs_accuracy_is_taken_back(keras, seeded) -> None:
    kernel = keras.layers.Conv2D(4, 3, name="kernel")
    norm = keras.layers.BatchNormalization(name="norm", epsilon=1e-12)
    model = _chain(keras, kernel, norm)
    # A far mean and a tiny variance: rounding of the kernel's output decides the result.
    kernel.bias.assign([3000.3] * 4)
    norm.moving_mean.assign([3000.3] * 4)
    norm.moving_variance.assign([1e-6] * 4)

    result = shrink(model)

    assert result.folded == ()
    assert result.difference <= 1e-5
    assert "norm" in [layer.name for layer in result.model.layers]


def test_a_model_of_which_nothing_goes_is_built_once(keras, seeded, monkeypatch) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()]
    )
    built: list[str] = []
    from_config = layers.Conv2D.from_config
    monkeypatch.setattr(
        layers.Conv2D, "from_config", lambda config: built.append("conv") or from_config(config)
    )
    shrunk = shrink(model)
    assert shrunk.folded and not shrunk.removed and shrunk.model is not model
    assert built == ["conv"]
