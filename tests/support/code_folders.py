"""Folders of generated C code, as `export --format c` writes them, but with no real library."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.mnist import load_mnist
from compressor.exporters.c import reference
from compressor.exporters.c.emission import emit
from compressor.exporters.c.network import (
    Dense,
    Network,
    Rescale,
    Reshaped,
    Tensor,
    multiplier_of,
)
from deploy.vectors import CheckVectors

LIBRARY = b"a library of another machine"
"""Packing reads it, to hold it against its description, and does not load it."""


@functools.cache
def digits_network() -> Network:
    """The class whose mean image is nearest: 82 % of MNIST, in one matrix."""
    data = load_mnist()
    pictures = data.x_train[:20_000].reshape(20_000, 784) / 255
    means = np.stack([pictures[data.y_train[:20_000] == digit].mean(axis=0) for digit in range(10)])
    centre = means.mean(axis=0)
    factor = 127 / np.abs(means - centre).max()
    kernel = np.rint((means - centre) * factor).astype(np.int8)
    bias = -0.5 * ((means**2).sum(axis=1) - (centre**2).sum()) * factor * 255
    multiplier, shift = multiplier_of(1 / 8000)
    each = [np.full(10, value, np.int64) for value in (multiplier, shift)]
    tensors = (
        Tensor("picture", (28, 28, 1), 1 / 255, -128),
        Tensor("flat", (1, 1, 784), 1 / 255, -128),
        Tensor("scores", (1, 1, 10), 0.2, 0),
    )
    dense = Dense((1,), 2, kernel, np.rint(bias).astype(np.int64), Rescale(*each, 0, -128, 127))
    return Network(tensors, (Reshaped((0,), 1), dense), 0, 2)


def digits_inputs(count: int) -> np.ndarray:
    """The integers of MNIST's first pictures."""
    pictures = load_mnist().x_test[:count].astype(int) - 128
    return pictures.astype(np.int8)[..., np.newaxis]


def write_code(
    folder: Path, network: Network, inputs: np.ndarray, target: str = "host", name: str = "net"
) -> Path:
    """The folder of a network's code, with check vectors of `inputs`, int8 (n, ...)."""
    outputs = reference.run(network, inputs)
    source = emit(network, name, target, "size", (inputs[:2], outputs[:2]))
    name = source.name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in source.files.items():
        (folder / file).write_text(text)
    given, made = network.tensors[network.input], network.tensors[network.output]
    real = ((inputs.astype(np.float64) - given.zero) * given.scale).astype(np.float32)
    scores = (outputs.astype(np.float64) - made.zero) * made.scale
    flat = scores.reshape(len(inputs), -1).astype(np.float32)
    vectors = CheckVectors({"input": real}, flat, 1.0).to_bytes()
    (folder / f"{name}.so").write_bytes(LIBRARY)
    (folder / f"{name}.so.check.npz").write_bytes(vectors)
    described = _description(f"{name}.so", real.shape[1:], flat.shape[1], vectors)
    (folder / f"{name}.so.json").write_text(json.dumps(described))
    tie(folder, target)
    return folder


def tie(folder: Path, target: str = "host") -> None:
    """Write the sources as they are now into the description."""
    (described,) = folder.glob("*.so.json")
    sources = [path for path in sorted(folder.iterdir()) if path.suffix in (".c", ".h")]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources}
    content = json.loads(described.read_text()) | {"code": {"target": target, "sources": digests}}
    described.write_text(json.dumps(content))


def _description(file: str, row: tuple[int, ...], scores: int, vectors: bytes) -> dict[str, Any]:
    port = {"dtype": "float32", "scale": None, "zero_point": None}
    rule = {"name": "input", "source": "", "shape": list(row), "dtype": "float32"}
    verified = {"runtime": "c", "version": "1", "provider": None, "batch": 1, "examples": 10_000}
    measured = ("accuracy", "reference_accuracy", "validation_accuracy")
    return {
        **{"schema": {"name": "compressor-artifact", "version": 2}, "format": "c", "file": file},
        **{"bytes": len(LIBRARY), "sha256": hashlib.sha256(LIBRARY).hexdigest()},
        "vectors_sha256": hashlib.sha256(vectors).hexdigest(),
        **{"quantize": "int8", "optimize": "size", "runtime": "c"},
        "inputs": [port | {"name": "input", "shape": [None, *row]}],
        "outputs": [port | {"name": "output", "shape": [None, scores]}],
        "preprocessing": [rule | {"scale": 1 / 255, "reason": "uint8 scaled to 0..1"}],
        **{"outputs_are": "logits", "classes": scores, "threshold": None, "labels": None},
        "tensors": [
            {"name": "layer_1_dense", "shape": [scores, 784], "zeros": 0, "encoding": "dense"}
            | {"values": "int8", "bytes": 4000}
        ],
        "needs": {},
        "verified": [
            verified
            | dict.fromkeys(measured, 0.82)
            | {"difference": 0.0}
            | {"validation_reference_accuracy": 0.82}
        ],
        "provenance": {
            **{"sparsity": 0.0, "seed": 0, "data_sha256": None, "source_sha256": None},
            **{"versions": {}, "created_by": "tests"},
        },
    }
