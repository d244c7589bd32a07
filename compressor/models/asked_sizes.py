"""What a .keras file asks for, held against what it holds, before anything is allocated.

Eleven kilobytes can ask for a layer of 500,000,000 units, and Keras makes it before it looks for
its weights. So the model is built without values first, by shapes alone, which takes a third of
the time of loading it.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from compressor.errors import ModelError
from compressor.foundation import quiet_tensorflow
from deploy.errors import ArtifactError

MOST_OF_CONFIG = 32 * 2**20
"""Bytes of config.json."""

_MOST_OBJECTS = 50_000
"""Layers, initializers, constraints, ... in config.json; NASNet-Large has 7,000."""
_MOST_REPETITIONS = 10_000
# Arguments of layers and metrics that Keras counts up to when it makes or calls them.
_REPETITIONS = (
    *("bins", "chain_depth", "ngrams", "num_chains", "num_classes", "num_ops"),
    *("num_thresholds", "power_iterations"),
)
_MOST_OF_TENSOR = 2**28
# The states of random generators may not be in the file, and what is small does no harm.
_FREE = 2**20
_MOST_SECONDS = 300.0


def stored_shapes(weights: IO[bytes], size: int, where: object) -> dict[str, tuple[int, ...]]:
    """The shape of each dataset in an HDF5 file of `size` bytes, by its name.

    Raises ArtifactError, naming `where`, if one is in another file, or if they take more memory
    than the file has bytes; whatever h5py raises for a damaged file.
    """
    h5py = importlib.import_module("h5py")
    links: list[tuple[str, Any]] = []
    found: dict[str, tuple[int, ...]] = {}
    needed = 0
    with h5py.File(weights, "r") as file:
        # What this calls may raise nothing, and ends the visit by any value but None.
        file.visititems_links(lambda name, link: links.append((name, link)))
        for name, link in links:
            if not isinstance(link, h5py.HardLink):
                what = "the weights of the model are a link"
                raise ArtifactError(what, value=f"{name} in {where}")
            item = file[name]
            if not isinstance(item, h5py.Dataset):
                continue
            if item.external or item.is_virtual:
                what = "the weights of the model are in another file"
                raise ArtifactError(what, value=f"{name} in {where}")
            found[name] = item.shape or ()
            # A chunk is unpacked whole, even one that is larger than its dataset.
            needed += item.dtype.itemsize * max(map(math.prod, (found[name], item.chunks or ())))
            if needed > size:
                shape = list(found[name])
                raise ArtifactError(
                    "the weights of the model unpack to more than they are",
                    value=f"{name} in {where} has shape {shape}, all have {size:,} bytes",
                )
    return found


def check_asked(
    config: bytes, stored: int, custom_objects: Mapping[str, Any] | None = None
) -> None:
    """Refuse a model that asks for more than the `stored` values of its file, or for huge tensors.

    `config` is config.json; `custom_objects` has classes of ours, by name. Raises ModelError, and
    whatever Keras raises for a configuration that it cannot make.
    """
    content = restrained(config)

    def make() -> Any:
        _, keras = quiet_tensorflow.load()
        return keras.saving.deserialize_keras_object(
            content, custom_objects=custom_objects, safe_mode=True
        )

    check_made(make, stored)


def restrained(config: bytes) -> Any:
    """The JSON of a model's configuration, altered so that nothing repeats for ever.

    Raises ModelError for one of too many objects, ValueError for what is no JSON.
    """
    if config.count(b'"class_name"') > _MOST_OBJECTS:
        raise ModelError("the model has too many layers", value=f"more than {_MOST_OBJECTS:,}")
    return json.loads(config, object_hook=_restrained)


def check_made(make: Callable[[], Any], stored: int) -> None:
    """Refuse the model that `make` makes as `check_asked` does; it is made of shapes alone."""
    made = _without_values(make)
    asked = sum(math.prod(variable.shape) for variable in getattr(made, "variables", ()))
    if asked > stored + _FREE:
        raise ModelError(
            "the model asks for more weights than its file holds",
            value=f"{asked:,} values, it holds {stored:,}",
        )
    for name, shape in _tensors(made):
        if (count := math.prod(size or 1 for size in shape)) > _MOST_OF_TENSOR:
            raise ModelError(
                "one example takes too much in the model",
                value=f"{count:,} values of {name}, at most {_MOST_OF_TENSOR:,}",
            )


def _restrained(content: dict[str, Any]) -> dict[str, Any]:
    """An object of config.json that makes no values; raises ModelError for endless repetition."""
    for name in _REPETITIONS:
        count = content.get(name)
        if isinstance(count, (int, float)) and count > _MOST_REPETITIONS:
            most = f"{count:g}, at most {_MOST_REPETITIONS:,}"
            raise ModelError(f"the model's {name} is too large", value=most)
    # A stateful RNN makes its state at once; it is no larger than its output.
    return content | {name: None for name in ("compile_config", "stateful") if content.get(name)}


def _without_values(make_model: Callable[[], Any]) -> Any:
    """The model, made of shapes alone; raises what Keras does."""
    _, keras = quiet_tensorflow.load()
    done: list[Any] = []

    def make() -> None:
        try:
            # Here variables have no values until the scope ends, and then neither.
            with keras.StatelessScope(initialize_variables=False):
                done.append(make_model())
        except BaseException as error:
            done.append(error)

    # Keras counts names, and keeps variables without values, for each thread.
    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    thread.join(_MOST_SECONDS)
    if thread.is_alive():
        number = ctypes.c_ulong(thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(TimeoutError))
        thread.join(_MOST_SECONDS)
        raise ModelError("the model takes too long to make", value=f"over {_MOST_SECONDS:g} s")
    if isinstance(done[0], BaseException):
        raise done[0]
    return done[0]


def _tensors(model: Any) -> Iterator[tuple[str, tuple[int | None, ...]]]:
    """The name and shape of each input and of each operation's output, of nested models too."""
    for tensor in getattr(model, "inputs", None) or ():
        yield str(tensor.name), tuple(tensor.shape)
    operations: Any = getattr(model, "operations", None) or getattr(model, "layers", ())
    for operation in operations:
        for node in getattr(operation, "_inbound_nodes", ()):
            for tensor in node.output_tensors:
                yield str(operation.name), tuple(tensor.shape)
        yield from _tensors(operation)
