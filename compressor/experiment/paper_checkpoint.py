"""The paper's sparse checkpoint (step_3), which stores only the non-zero weights.

The file is an uncompressed .npz. A pruned kernel is three arrays, 24 bytes a non-zero, as
TensorFlow's `embedding_lookup_sparse` takes them: two int64 coordinates, an int32 id and a
float32 value (see `compressor.encodings`, `coo-paper`). What was not pruned stays dense.

    model                  uint8, JSON: schema, the Keras configuration, the sparse layers
    sparse/LAYER/indices, ids, values
    dense/LAYER/VARIABLE   every other variable; names that a layer uses twice are numbered
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data import load_arrays
from compressor.encodings import SparseKernel
from compressor.errors import CheckFailedError, CheckpointError, ModelError
from compressor.foundation import atomic_path, quiet_tensorflow
from compressor.models import data_digest, dense_variables, refuse_opaque, resolve_layers
from deploy.text import clean

SCHEMA = "compressor.sparse-checkpoint"
SCHEMA_VERSION = 1
_MOST_OUTPUTS = 2**24


@dataclasses.dataclass(frozen=True)
class SparseCheckpoint:
    """A sparse checkpoint in memory, its kernels still encoded."""

    config: dict[str, Any]
    """the Keras configuration of the model, as `keras.saving.serialize_keras_object` gives it"""
    sparse: Mapping[str, SparseKernel]
    """layer name -> its kernel in the encoding `coo-paper`"""
    dense: Mapping[str, np.ndarray]
    """LAYER/VARIABLE -> biases and unpruned kernels"""
    data: str | None = None
    """digest of the data that the model was trained on, where it is known"""


def has_sparse_form(layer: Any) -> bool:
    """Whether the sparse predictor can compute with this Dense layer or convolution."""
    order = getattr(layer, "data_format", "channels_last")
    return order == "channels_last" and getattr(layer, "groups", 1) == 1


def write_sparse_checkpoint(model: Any, layers: Sequence[str], path: Path | str) -> int:
    """Write the paper's sparse checkpoint of `model`, with `layers` sparse; return its bytes.

    `layers` are layer names, the paper's names, or `all`. Before the file is renamed into place it
    is read back and compared with the model; a difference raises CheckFailedError.
    """
    _, keras = quiet_tensorflow.load()
    refuse_opaque(model, "a sparse checkpoint")
    chosen = resolve_layers(model, layers)
    for name, layer in chosen.items():
        if not has_sparse_form(layer):
            raise ModelError(
                "a convolution that is grouped or has its channels first has no sparse form",
                value=name,
                hint="leave it out of --layers",
            )
    sparse = {name: SparseKernel.encode(layer.kernel.numpy()) for name, layer in chosen.items()}
    dense = {name: variable.numpy() for name, variable in dense_variables(model, chosen).items()}
    description = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "data": data_digest(model),
        "config": keras.saving.serialize_keras_object(model),
        "sparse": {name: list(encoded.shape) for name, encoded in sparse.items()},
    }
    # A predictor needs neither optimizer nor loss, which may name the user's own code.
    description["config"].pop("compile_config", None)
    arrays = {"model": np.frombuffer(json.dumps(description).encode(), np.uint8)}
    for name, encoded in sparse.items():
        arrays |= {f"sparse/{name}/{stream}": data for stream, data in encoded.streams.items()}
    arrays |= {f"dense/{name}": data for name, data in dense.items()}
    with atomic_path(Path(path)) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        _compare(read_sparse_checkpoint(temporary), chosen, dense)
    return Path(path).stat().st_size


def read_sparse_checkpoint(path: Path | str) -> SparseCheckpoint:
    """Read a sparse checkpoint, and check every stream.

    Raises CheckpointError for a file that is damaged, of another kind or schema, or whose indices
    do not fit the shapes.
    """
    path = Path(path)
    arrays = load_arrays(path)
    description = _description(arrays, path)
    sparse = {}
    for name, shape in description["sparse"].items():
        sparse[name] = SparseKernel(_shape(shape, path), _below(f"sparse/{name}/", arrays))
        sparse[name].check()
    dense, data = _below("dense/", arrays), description.get("data")
    return SparseCheckpoint(
        description["config"], sparse, dense, data if isinstance(data, str) else None
    )


def _below(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}


def is_sparse_checkpoint(path: Path) -> bool:
    """Whether `path` names a sparse checkpoint, by its suffix."""
    return path.suffix == ".npz"


def _description(arrays: dict[str, np.ndarray], path: Path) -> dict[str, Any]:
    try:
        description = json.loads(arrays["model"].tobytes().decode())
        parts = (description["config"], description["sparse"])
        if description["schema"] != SCHEMA or not all(isinstance(part, dict) for part in parts):
            raise KeyError("schema")
        version = description["schema_version"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            "the file is not a sparse checkpoint",
            value=path,
            hint="make one with compressor sparsify",
        ) from error
    if version != SCHEMA_VERSION:
        raise CheckpointError(
            "the sparse checkpoint has another schema version",
            value=f"{clean(version)} ({path})",
            hint=f"this program reads version {SCHEMA_VERSION}",
        )
    return description


def _shape(shape: Any, path: Path) -> tuple[int, ...]:
    if not (
        isinstance(shape, list)
        and 1 <= len(shape) <= 8
        and all(isinstance(size, int) and size > 0 for size in shape)
        and math.prod(shape) < 2**31
        and shape[-1] <= _MOST_OUTPUTS
    ):
        raise CheckpointError(
            "a sparse kernel has an impossible shape", value=f"{clean(shape)} ({path})"
        )
    return tuple(shape)


def _compare(
    read: SparseCheckpoint, layers: Mapping[str, Any], dense: Mapping[str, np.ndarray]
) -> None:
    same = read.dense.keys() == dense.keys() and all(
        np.array_equal(read.dense[name], array) for name, array in dense.items()
    )
    for name, layer in layers.items():
        same = same and np.array_equal(read.sparse[name].dense(), layer.kernel.numpy())
    if not same:
        raise CheckFailedError("the sparse checkpoint does not read back as the model")
