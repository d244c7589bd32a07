"""The paper's CNN, and loading and saving any Keras model."""

from __future__ import annotations

import importlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from compressor import _tensorflow
from compressor._files import atomic_path
from compressor.errors import ModelError
from compressor.objective import restore_compilation
from deploy.manifest import MANIFEST, VECTORS

PAPER_NAMES = {"w_conv1": "conv1", "w_conv2": "conv2", "w_fc1": "fc1", "w_fc2": "fc2"}
"""The paper's names of the weights, and the layers that hold them."""

# A .keras file stores its members uncompressed, so one that grows more than this on
# unpacking was made to exhaust memory.
_MAX_EXPANSION = 100
_MAX_UNPACKED_BYTES = 64 * 2**30
_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")


def paper_cnn(
    image_shape: tuple[int, int, int] = (28, 28, 1), classes: int = 10, dropout: float = 0.5
) -> Any:
    """Build the CNN of the paper, untrained: `image_shape` float32 in, `classes` logits out.

    conv 5x5x32, same, ReLU - max-pool 2 - conv 5x5x64, same, ReLU - max-pool 2 - fc 1024, ReLU -
    dropout - fc `classes`. Weights: truncated normal with standard deviation 0.1; biases 0.1.
    With the defaults 3,274,634 parameters. Source: the paper's Figure 4 and TensorFlow's
    "Deep MNIST for experts" tutorial, whose initialisation gives the paper's thresholds.
    """
    _, keras = _tensorflow.load()
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
    """Raise ModelError for images that the poolings of the paper's CNN leave nothing of."""
    height, width, _ = image_shape
    if height < 4 or width < 4:
        raise ModelError(
            "images are too small for the paper's CNN",
            value=f"{height} x {width}",
            hint="two poolings need at least 4 x 4 pixels",
        )


def load_model(path: Path | str) -> Any:
    """Load a .keras file in safe mode: code stored in it is never run.

    The model is compiled with the loss and metrics that it was saved with, as far as safe mode
    can make them, and with no optimizer's state; one saved uncompiled stays so. Raises ModelError,
    in one line, for a file that is truncated, is no Keras model, would unpack to far more than it
    holds, or needs code of its own (Lambda, custom classes).
    """
    path = Path(path)
    config = _check_archive(path)
    _, keras = _tensorflow.load()
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the damaged part makes it raise
        if "Lambda" in str(error) and "deserializ" in str(error).lower():
            raise ModelError(
                "the model holds Lambda code, which is never run",
                value=path,
                hint="replace the Lambda layer by a standard layer and save the model again",
            ) from error
        raise ModelError(
            "the file is no model that Keras can load",
            value=f"{path} ({reason_of(error)})",
            hint="save it again with model.save('NAME.keras')",
        ) from error
    if isinstance(config, dict):
        restore_compilation(model, config.get("compile_config"))
    return model


def save_model(model: Any, path: Path | str) -> None:
    """Save `model` as a .keras file that stock Keras loads: the old file or the new, never a part.

    A compiled model that was trained brings its optimizer's variables along.
    """
    with atomic_path(Path(path)) as temporary:
        model.save(temporary, overwrite=True)


def all_layers(model: Any, prefix: str = "") -> dict[str, Any]:
    """Every layer below `model` that is not itself a model, by its path of names."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for layer in model.layers:
        if hasattr(layer, "layers"):
            inner = all_layers(layer, f"{prefix}{layer.name}/")
        else:
            inner = {prefix + layer.name: layer}
        for name, item in inner.items():
            if id(item) not in seen:
                seen.add(id(item))
                found[name] = item
    return found


def optimizer_variables(path: Path | str) -> int:
    """The number of optimizer values (Adam: two moments a weight) that a .keras file holds."""
    h5py = importlib.import_module("h5py")
    total = 0

    def count(name: str, item: Any) -> None:
        nonlocal total
        if name.startswith("optimizer/") and isinstance(item, h5py.Dataset) and item.ndim > 0:
            total += int(item.size)

    try:
        with (
            zipfile.ZipFile(path) as archive,
            archive.open("model.weights.h5") as member,
            h5py.File(member, "r") as weights,
        ):
            weights.visititems(count)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError("cannot read the weights of the model", value=path) from error
    return total


def _check_archive(path: Path) -> Any:
    if not path.is_file():
        raise ModelError("no such model file", value=path, hint="give a .keras file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist()}
            missing = [name for name in _MEMBERS if name not in members]
            if missing:
                bundle = {MANIFEST, VECTORS} <= members.keys()
                raise ModelError(
                    "the file is no Keras model, it lacks",
                    value=f"{', '.join(missing)} ({path})",
                    hint="it is a bundle: compressor verify says what is in it" if bundle else "",
                )
            unpacked = sum(member.file_size for member in members.values())
            limit = max(path.stat().st_size, 2**20) * _MAX_EXPANSION
            if unpacked > min(_MAX_UNPACKED_BYTES, limit):
                raise ModelError(
                    "the model unpacks to far more than it holds and is refused",
                    value=f"{unpacked} bytes ({path})",
                )
            return json.loads(archive.read("config.json"))
    except ModelError:
        raise
    except Exception as error:  # zipfile raises many kinds for damaged archives
        raise ModelError(
            "the file is damaged or no Keras model",
            value=f"{path} ({reason_of(error)})",
            hint="give a .keras file saved by Keras 3",
        ) from error


def reason_of(error: BaseException) -> str:
    """What an error of Keras or zipfile says, in one line.

    Keras prints the configuration first, and what it met at the end.
    """
    text = str(error).rpartition("Exception encountered:")[2]
    text = re.sub("\x1b\\[[0-9;]*m", "", text).strip() or type(error).__name__
    return text.splitlines()[0][:200]
