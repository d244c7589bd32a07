"""The paper's CNN, and the paper's names of its layers."""

from __future__ import annotations

from typing import Any

from compressor.errors import ModelError
from compressor.foundation import quiet_tensorflow

PAPER_NAMES = {"w_conv1": "conv1", "w_conv2": "conv2", "w_fc1": "fc1", "w_fc2": "fc2"}
"""The paper's name of the weights -> layer."""


def paper_cnn(
    image_shape: tuple[int, int, int] = (28, 28, 1), classes: int = 10, dropout: float = 0.5
) -> Any:
    """Build the paper's CNN, untrained: `image_shape` float32 in, `classes` logits out.

    conv 5x5x32, same, ReLU - max-pool 2 - conv 5x5x64, same, ReLU - max-pool 2 - fc 1024, ReLU -
    dropout - fc `classes`. Weights: truncated normal with standard deviation 0.1; biases 0.1.
    With the defaults 3,274,634 parameters. Source: the paper's Figure 4 and TensorFlow's
    "Deep MNIST for experts" tutorial, whose initialisation gives the paper's thresholds.
    """
    _, keras = quiet_tensorflow.load()
    check_image_shape(image_shape)

    def kernels(units: int, name: str, **options: Any) -> dict[str, Any]:
        return {
            "name": name,
            "kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.1),
            "bias_initializer": keras.initializers.Constant(0.1),
            **options,
        } | ({"units": units} if name.startswith("fc") else {"filters": units, "kernel_size": 5})

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(image_shape, name="image"),
            layers.Conv2D(**kernels(32, "conv1", padding="same", activation="relu")),
            layers.MaxPooling2D(name="pool1"),
            layers.Conv2D(**kernels(64, "conv2", padding="same", activation="relu")),
            layers.MaxPooling2D(name="pool2"),
            layers.Flatten(name="flatten"),
            layers.Dense(**kernels(1024, "fc1", activation="relu")),
            layers.Dropout(dropout, name="dropout"),
            layers.Dense(**kernels(classes, "fc2")),
        ],
        name="paper_cnn",
    )


def check_image_shape(image_shape: tuple[int, int, int]) -> None:
    """Raise ModelError for images too small to survive the two poolings of the paper's CNN."""
    height, width, _ = image_shape
    if height < 4 or width < 4:
        raise ModelError(
            "images are too small for the paper's CNN",
            value=f"{height} x {width}",
            hint="two poolings need at least 4 x 4 pixels",
        )
