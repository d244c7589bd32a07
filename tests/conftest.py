"""Small models and data sets, and a check of the form of an error, for tests that need Keras."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from compressor import TrainingOptions, export, load_dataset, training
from compressor.data import Dataset
from compressor.errors import CompressorError
from compressor.foundation import quiet_tensorflow
from compressor.pruning.magnitude import magnitude_prune


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--races", type=int, default=1, help="do each test of a race so often")


def pytest_configure(config: pytest.Config) -> None:
    # In the background of a shell, and under nohup, what tests start would ignore what they ignore:
    # those that send a signal waited forever.
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: lambda *_: None}
    for number, handler in handlers.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    # Tracing makes many objects, and few cycles of them: a tenth of the time went into looking.
    gc.set_threshold(20_000, 10, 10)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the cases of a test that is `sampled`, all but so many are slow: evenly apart."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sampled"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for found in cases.values():
        (count,) = found[0].get_closest_marker("sampled").args  # type: ignore[union-attr]
        kept = np.linspace(0, len(found) - 1, count).round().astype(int)
        for number, item in enumerate(found):
            if number not in kept:
                item.add_marker(pytest.mark.slow)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    count = metafunc.config.getoption("--races")
    if count > 1 and metafunc.definition.get_closest_marker("race"):
        metafunc.fixturenames.append("race")
        metafunc.parametrize("race", range(count))


@pytest.fixture(scope="session", autouse=True)
def untrained_models_may_be_pruned() -> Iterator[Any]:
    """Most tests prune models that know nothing; those of the refusal ask for `refusing`."""
    from compressor.pruning import rounds

    refuse = rounds.refuse_no_better
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "refuse_no_better", lambda found: None)
        yield refuse


@pytest.fixture
def refusing(untrained_models_may_be_pruned: Any, monkeypatch: Any) -> None:
    """A model that is no better than the same answer to everything is not retrained."""
    monkeypatch.setattr(
        "compressor.pruning.rounds.refuse_no_better", untrained_models_may_be_pruned
    )


@pytest.fixture(scope="session")
def keras() -> Any:
    return quiet_tensorflow.load()[1]


@pytest.fixture(scope="session")
def rejected() -> Callable[..., str]:
    """Call something that must refuse with `kind`; give its message, checked to be one line."""

    def call(kind: type[CompressorError], function: Callable[..., Any], *arguments, **options):
        with pytest.raises(kind) as caught:
            function(*arguments, **options)
        message = str(caught.value)
        assert message and message.isprintable()
        return message

    return call


@pytest.fixture(scope="session")
def tiny_data() -> Dataset:
    """96 + 40 images of 8 x 8, uint8, four classes: which quarter is bright."""
    generator = np.random.default_rng(5)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 4
        images = generator.integers(0, 90, (count, 8, 8), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 2)
            image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 150
        return images, labels

    return Dataset.from_arrays("quarters", *part(96), *part(40))


@pytest.fixture(scope="session")
def small_net(keras) -> Callable[..., Any]:
    """Build a fully connected classifier of 8 x 8 images with four classes, always the same."""

    def build(*, last: Mapping[str, Any] = MappingProxyType({}), **options: Any) -> Any:
        layers = keras.layers
        keras.utils.set_random_seed(3)
        return keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Flatten(name="flatten"),
                layers.Dense(12, activation="relu", name="hidden", **options),
                layers.Dense(4, name="scores", **last),
            ],
            name="small",
        )

    return build


@pytest.fixture(scope="session")
def residual_net(keras) -> Callable[[], Any]:
    """Build a Functional classifier that is not the paper's: a skip, a stride, a BatchNorm."""

    def build() -> Any:
        layers = keras.layers
        keras.utils.set_random_seed(4)
        image = keras.Input((8, 8, 1), name="picture")
        x = layers.Conv2D(6, 3, strides=2, padding="same", name="stem")(image)
        y = layers.BatchNormalization(name="norm")(x)
        y = layers.Conv2D(6, 3, padding="same", activation="relu", name="inner")(y)
        x = layers.Add(name="skip")([x, y])
        x = layers.Flatten(name="flat")(x)
        x = layers.Dropout(0.25, name="drop")(x)
        return keras.Model(image, layers.Dense(4, name="head")(x), name="residual")

    return build


@pytest.fixture(scope="session")
def small_file(small_net, tmp_path_factory) -> Path:
    """A .keras file of `small_net`; not to be written to."""
    path = tmp_path_factory.mktemp("small") / "small.keras"
    small_net().save(path)
    return path


@pytest.fixture(scope="session")
def pruned_file(keras: Any, tiny_data: Dataset, tmp_path_factory: Any) -> Path:
    """A wide network for `tiny_data`, nine tenths of whose weights are zero; not to be written."""
    keras.utils.set_random_seed(2)
    layers = [
        keras.Input((8, 8, 1), name="quarters"),
        keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(300, activation="relu", name="wide"),
        keras.layers.Dense(4, name="scores"),
    ]
    model = keras.Sequential(layers, name="pruned")
    options = TrainingOptions(steps=60, batch_size=32, learning_rate=3e-3)
    training.fit(model, tiny_data.x_train, tiny_data.y_train, options, seed=0)
    kernel = model.get_layer("wide").kernel
    kernel.assign(kernel.numpy() * magnitude_prune(kernel.numpy(), 0.9).mask)
    path = tmp_path_factory.mktemp("pruned") / "pruned.keras"
    model.save(path)
    return path


@pytest.fixture(scope="session")
def tiny_file(tiny_data: Dataset, tmp_path_factory: Any) -> Path:
    """`tiny_data` as an .npz file."""
    path = tmp_path_factory.mktemp("data") / "quarters.npz"
    parts = ("x_train", "y_train", "x_test", "y_test")
    np.savez(path, **{part: getattr(tiny_data, part) for part in parts})
    return path


@pytest.fixture(scope="session")
def artefacts(pruned_file: Path, tiny_file: Path, tmp_path_factory: Any) -> Path:
    """A folder of artefacts of the pruned network, with descriptions; not to be written to."""
    folder = tmp_path_factory.mktemp("artefacts")
    data = load_dataset(tiny_file)
    export(pruned_file, folder / "float.tflite", data, encoding="dense")
    export(pruned_file, folder / "small.tflite", data, quantize="int8")
    export(pruned_file, folder / "small.onnx", data)
    return folder
