"""The description of an artefact with everything in it, for tests of what reads it."""

from __future__ import annotations

import hashlib
from typing import Any

CONTENT = b"what a runtime executes"
DESCRIPTION: dict[str, Any] = {
    "schema": {"name": "compressor-artifact", "version": 2},
    "format": "tflite",
    "file": "digits.tflite",
    "bytes": len(CONTENT),
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
    "vectors_sha256": hashlib.sha256(b"vectors").hexdigest(),
    "quantize": "int8",
    "optimize": "size",
    "runtime": "litert",
    "inputs": [
        {
            "name": "serving_default_picture:0",
            "shape": [None, 8, 8, 1],
            "dtype": "int8",
            "scale": 0.00392,
            "zero_point": -128,
        },
        {
            "name": "tokens",
            "shape": [None, None],
            "dtype": "int32",
            "scale": None,
            "zero_point": None,
        },
    ],
    "outputs": [
        {
            "name": "scores",
            "shape": [None, 4],
            "dtype": "float32",
            "scale": None,
            "zero_point": None,
        }
    ],
    "preprocessing": [
        {
            "name": "serving_default_picture:0",
            "source": "picture",
            "shape": [8, 8, 1],
            "dtype": "float32",
            "scale": 1 / 255,
            "reason": "uint8 scaled to 0..1",
        },
        {
            "name": "tokens",
            "source": "tokens",
            "shape": [None],
            "dtype": "int32",
            "scale": 1.0,
            "reason": "as stored",
        },
    ],
    "outputs_are": "logits",
    "classes": 4,
    "threshold": None,
    "labels": ["north", "east", "south", "wést"],
    "tensors": [
        {
            "name": "hidden/kernel",
            "shape": [12, 64],
            "zeros": 700,
            "encoding": "csr",
            "values": "int8",
            "bytes": 150,
        }
    ],
    "needs": {"DENSIFY": 1, "FULLY_CONNECTED": 9},
    "verified": [
        {
            "runtime": "litert",
            "version": "2.3.0",
            "provider": None,
            "batch": 32,
            "examples": 40,
            "accuracy": 0.975,
            "reference_accuracy": 1.0,
            "difference": 0.02,
            "validation_accuracy": 0.97,
            "validation_reference_accuracy": None,
        }
    ],
    "provenance": {
        "sparsity": 0.9,
        "seed": 0,
        "data_sha256": "0" * 64,
        "source_sha256": None,
        "versions": {"keras": "3.15.1", "tensorflow": "2.21.0"},
        "created_by": "compressor 0.1.0",
    },
}
