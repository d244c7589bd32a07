"""Pruning without labels and without retraining: networks that are not the paper's, three seeds.

    python -m benchmarks.reconstruction_networks [--only NAME ...] [--seeds SEED ...]
                                                 [--file MODEL LOW HIGH ...]

Five small networks, trained on part of the embedded MNIST, lose 80 % of their weights: what least
squares loses of their accuracy, beside what magnitude pruning loses. And one layer of 9,216 x 4,096
weights, on made inputs: how long that takes, and how much memory. A seed gives the weights that a
training starts from, and the inputs that are calibrated on. A .tflite or .onnx file of any origin
loses half of its weights on inputs that are made, uniform between LOW and HIGH; what becomes of its
outputs is measured on others.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._record import save
from benchmarks.tables import print_tables
from compressor import Dataset, PruningSpec, load_dataset, prune, prune_graph
from compressor.exporters import FORMATS
from compressor.foundation import quiet_tensorflow
from compressor.models import accuracy_of
from compressor.runtimes import Runner

SEEDS = (0, 1, 2)
SPARSITY = 0.8
SHARE = 1 / 3
"""Of magnitude's loss, at most."""
WIDE = (9216, 4096)
WIDE_SECONDS, WIDE_BYTES = 600, 6e9
FILE_SPARSITY, FILE_SHARE = 0.5, 1 / 2
"""What a file loses, and of magnitude's squared error of the outputs at most."""
_INPUTS = 512
_TRAINED, _TESTED, _EPOCHS = 9000, 4000, 6


def main() -> None:
    """Train, prune both ways, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=[*NETWORKS, "wide"])
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument(
        "--file", nargs=3, action="append", default=[], metavar=("MODEL", "LOW", "HIGH")
    )
    options = parser.parse_args()
    quiet_tensorflow.NativeOutput().hold_back()
    names = options.only or [*NETWORKS, "wide"]
    # First, since the peak of memory is that of the process so far.
    wide_layer = measure_wide() if "wide" in names else None
    rows = [row(name, options.seeds) for name in names if name in NETWORKS]
    files = [
        measure_file(Path(path), (float(low), float(high)), options.seeds)
        for path, low, high in options.file
    ]
    result = {"seeds": options.seeds, "sparsity": SPARSITY, "rows": rows}
    result |= {"wide": wide_layer, "file_sparsity": FILE_SPARSITY, "files": files}
    save("reconstruction-networks", result)
    print_tables("reconstruction-networks")


def row(name: str, seeds: list[int]) -> dict[str, Any]:
    """One network, by seed: test accuracy when dense, and pruned either way."""
    found: dict[str, list[float]] = {"dense": [], "magnitude": [], "reconstruct": []}
    for seed in seeds:
        model, data = trained(name, seed)
        found["dense"].append(accuracy_of(model, data.x_test, data.y_test))
        for criterion in ("magnitude", "reconstruct"):
            spec = PruningSpec(SPARSITY, criterion=criterion)
            left = prune(model, data, spec, retrain=False, seed=seed).accuracy
            assert left is not None
            found[criterion].append(left)
        print(f"seed {seed}: {name}: {[round(each[-1], 4) for each in found.values()]}", flush=True)
    losses = {
        criterion: np.subtract(found["dense"], found[criterion])
        for criterion in ("magnitude", "reconstruct")
    }
    shares = losses["reconstruct"] / np.maximum(losses["magnitude"], 1e-9)
    share = float(np.median(shares))
    return {"name": name, **found, "share": share, "verdict": verdict(share <= SHARE)}


def verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED"


def trained(name: str, seed: int) -> tuple[Any, Dataset]:
    """A network, trained on part of the embedded MNIST, and those data."""
    _, keras = quiet_tensorflow.load()
    whole = load_dataset(None)
    halved = NETWORKS[name] is not _lenet
    parts = [
        (_halved(x[:count]) if halved else x[:count], y[:count])
        for x, y, count in (
            (np.asarray(whole.x_train), whole.y_train, _TRAINED),
            (np.asarray(whole.x_test), whole.y_test, _TESTED),
        )
    ]
    data = Dataset.from_arrays(name, *parts[0], *parts[1])
    keras.utils.set_random_seed(seed)
    model = NETWORKS[name](keras)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    images = parts[0][0].reshape(-1, *model.input_shape[1:]).astype(np.float32) / 255
    model.fit(images, parts[0][1], epochs=_EPOCHS, batch_size=64, verbose=0)
    return model, data


def _halved(images: np.ndarray) -> np.ndarray:
    """28 x 28 pixels as 14 x 14, uint8."""
    return images.reshape(-1, 14, 2, 14, 2).mean((2, 4)).astype(np.uint8)


def _lenet(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((28, 28))
    x = layers.Flatten()(image)
    for units in (300, 100):
        x = layers.Dense(units, activation="relu")(x)
    return keras.Model(image, layers.Dense(10)(x))


def _lstm(keras: Any) -> Any:
    image = keras.Input((14, 14))
    return keras.Model(image, keras.layers.Dense(10)(keras.layers.LSTM(64)(image)))


def _depthwise(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((14, 14, 1))
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(image)
    for channels in (24, 32):
        x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
        x = layers.Conv2D(channels, 1, activation="relu")(x)
    return keras.Model(image, layers.Dense(10)(layers.Flatten()(x)))


def _residual(keras: Any) -> Any:
    layers = keras.layers

    def normalized(x: Any) -> Any:
        x = layers.Conv2D(12, 3, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    image = keras.Input((14, 14, 1))
    x = layers.ReLU()(normalized(image))
    for _ in range(2):
        y = normalized(layers.ReLU()(normalized(x)))
        x = layers.MaxPooling2D()(layers.ReLU()(layers.Add()([x, y])))
    return keras.Model(image, layers.Dense(10)(layers.Flatten()(x)))


def _transformer(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((14, 14))
    x = layers.Dense(32)(image)
    for _ in range(2):
        attended = layers.MultiHeadAttention(2, 16)(x, x)
        x = layers.LayerNormalization()(layers.Add()([x, attended]))
        y = layers.Dense(32)(layers.Dense(64, activation="relu")(x))
        x = layers.LayerNormalization()(layers.Add()([x, y]))
    return keras.Model(image, layers.Dense(10)(layers.Flatten()(x)))


NETWORKS: dict[str, Callable[[Any], Any]] = {
    "LeNet-300-100": _lenet,
    "LSTM": _lstm,
    "depthwise CNN": _depthwise,
    "residual CNN": _residual,
    "transformer": _transformer,
}


def measure_wide() -> dict[str, Any]:
    """Prune a layer of `WIDE` weights by least squares on made inputs."""
    _, keras = quiet_tensorflow.load()
    keras.utils.set_random_seed(0)
    image = keras.Input(WIDE[:1])
    hidden = keras.layers.Dense(WIDE[1], activation="relu", name="wide")(image)
    model = keras.Model(image, keras.layers.Dense(10)(hidden))
    generator = np.random.default_rng(0)
    mixed = generator.normal(size=(64, WIDE[0])).astype(np.float32)
    x = generator.normal(size=(5000, 64)).astype(np.float32) @ mixed
    data = Dataset.from_arrays("made", x, np.arange(5000) % 10, x[:100], np.arange(100) % 10)
    spec = PruningSpec(SPARSITY, criterion="reconstruct", layers=("wide",))
    start = time.perf_counter()
    found = prune(model, data, spec, retrain=False)
    seconds = round(time.perf_counter() - start, 1)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (report,) = map(dict, found.reconstruction.values())
    report.pop("refined", None)
    reached = seconds <= WIDE_SECONDS and peak <= WIDE_BYTES
    return {"seconds": seconds, "peak_bytes": peak, "layer": report, "verdict": verdict(reached)}


def measure_file(path: Path, between: tuple[float, float], seeds: list[int]) -> dict[str, Any]:
    """Squared errors of a file's outputs, relative to how much they vary, by seed of the inputs."""
    errors: dict[str, list[float]] = {"magnitude": [], "reconstruct": []}
    with tempfile.TemporaryDirectory() as folder:
        for criterion, found in errors.items():
            small = Path(folder) / f"{criterion}{path.suffix}"
            spec = PruningSpec(FILE_SPARSITY, criterion=criterion)
            prune_graph(path, small, spec, input_range=between)
            for seed in seeds:
                dense, made = (_outputs(file, between, seed) for file in (path, small))
                spread = np.square(dense - dense.mean(axis=0)).sum()
                found.append(float(np.square(made - dense).sum() / spread))
    share = float(np.median(np.divide(errors["reconstruct"], errors["magnitude"])))
    print(f"{path.name}: {errors}", flush=True)
    return {
        "name": path.stem,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "between": between,
        "errors": errors,
        "share": share,
        "verdict": verdict(share <= FILE_SHARE),
    }


def _outputs(path: Path, between: tuple[float, float], seed: int) -> np.ndarray:
    """The first output of a file for made inputs, float64 (n, values)."""
    with Runner(FORMATS[path.suffix[1:]]) as runner:
        (given,) = runner.load(path)["inputs"]
        x = np.random.default_rng([seed, 7]).uniform(*between, (_INPUTS, *given["shape"][1:]))
        made = runner.predict({given["name"]: x.astype(np.float32)})
    return np.asarray(made, np.float64).reshape(_INPUTS, -1)


if __name__ == "__main__":
    main()
