"""A results document made of formulas, so that tests know every number in it."""

from __future__ import annotations

import math
from typing import Any

from compressor.experiment.statistics import hypothesis

PAPER_SPARSITIES = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9)
SHAPES = {
    "conv1": (5, 5, 1, 32),
    "conv2": (5, 5, 32, 64),
    "fc1": (3136, 1024),
    "fc2": (1024, 10),
}
PARAMETERS = 3_274_634


def prediction_time(milliseconds: float) -> dict[str, Any]:
    percentiles = {"p50": milliseconds, "p90": milliseconds * 1.08, "p99": milliseconds * 1.3}
    return {
        "batch_size": 32,
        "batches": 10,
        "rounds": 50,
        "threads": 2,
        "total_ms": percentiles,
        "batch_ms": {name: value / 10 for name, value in percentiles.items()},
    }


def make_results(
    seeds: int = 1,
    sparsities: tuple[float, ...] = PAPER_SPARSITIES,
    layers: tuple[str, ...] = ("fc1", "fc2"),
) -> dict[str, Any]:
    """A results document of `seeds` seeds, with the sizes of the paper's encoding.

    Every number follows from the seed and the sparsity; accuracy and time wobble without
    a trend.
    """
    training = {
        "steps": 2000,
        "batch_size": 32,
        "learning_rate": 1e-4,
        "learning_rate_schedule": "constant",
        "dropout_scale": 1.0,
    }
    proportions = [
        _proportion(seed, index, sparsity, layers)
        for seed in range(seeds)
        for index, sparsity in enumerate(sparsities)
    ]
    return {
        "schema": "compressor.results",
        "schema_version": 1,
        "compressor_version": "0.1.0",
        "experiment": {
            "preset": "quick",
            "sparsities": list(sparsities),
            "layers": list(layers),
            "seeds": list(range(seeds)),
            "training": training,
            "retraining": {f"{s:g}": training | {"steps": 500} for s in sparsities},
            "validation_images": 5000,
            "data": {
                "name": "mnist",
                "digest": "ab" * 32,
                "train": 60000,
                "test": 10000,
                "image_shape": [28, 28],
                "dtype": "uint8",
                "classes": 10,
            },
            "threads": 2,
        },
        "environment": {
            "python": "3.11.9",
            "machine": {
                "cpu": "Imaginary | CPU @ 2.00 GHz",
                "cores": 2,
                "memory_bytes": 8 * 2**30,
                "system": "Linux 6.1",
            },
            "versions": {"tensorflow": "2.21.0", "keras": "3.15.1", "numpy": "2.4.6"},
        },
        "dense": [_dense(seed) for seed in range(seeds)],
        "proportions": proportions,
        "encodings": [
            _encoding("dense", None, None),
            _encoding("coo-paper", 0.5, 0.8333),
            _encoding("coo", 0.0, 0.6667),
            _encoding("csr", 0.0, 0.51),
            _encoding("bitmask", 0.0, 0.0317),
            _encoding("gap8", 0.0, 0.21),
            _encoding("entropy", 0.0, 0.0, bound=True),
        ],
        "hypothesis": hypothesis(proportions),
    }


def _encoding(
    name: str, checkpoint: float | None, weights: float | None, bound: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "description": f"the {name} encoding",
        "bound": bound,
        "break_even": {
            "checkpoint": {"computed": checkpoint, "measured": 0.5 if checkpoint else None},
            "weights": {"computed": weights, "measured": None},
        },
    }


def _dense(seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "parameters": PARAMETERS,
        "checkpoint_bytes": PARAMETERS * 12,
        "optimizer_values": PARAMETERS * 2,
        "weights_bytes": PARAMETERS * 4,
        "validation_accuracy": 0.9872,
        "accuracy": 0.9890 + 0.0006 * math.sin(7 * seed),
        "prediction_time": prediction_time(61.25 + 2 * math.sin(seed)),
        "layers": [
            {
                "layer": name,
                "paper_name": f"w_{name}",
                "shape": list(shape),
                "parameters": math.prod(shape),
                "nonzeros": math.prod(shape),
            }
            for name, shape in SHAPES.items()
        ],
    }


def _proportion(seed: int, index: int, sparsity: float, layers: tuple[str, ...]) -> dict[str, Any]:
    wobble = math.sin(3.1 * index + 2 * seed)
    pruned = [
        {
            "layer": name,
            "paper_name": f"w_{name}",
            "shape": list(SHAPES[name]),
            "parameters": math.prod(SHAPES[name]),
            "threshold": 0.16 * sparsity + 0.0004 * seed,
            "kept": math.prod(SHAPES[name]) - math.floor(math.prod(SHAPES[name]) * sparsity) - 1,
        }
        for name in layers
    ]
    kept = sum(layer["kept"] for layer in pruned)
    rest = PARAMETERS - sum(layer["parameters"] for layer in pruned)
    accuracy = 0.9888 + 0.0008 * wobble
    weights = PARAMETERS - rest
    encodings = {
        "dense": PARAMETERS * 4,
        "coo-paper": 24 * kept + 4 * rest,
        "coo": 12 * kept + 4 * rest,
        "csr": 8 * kept + 4 * rest + 12_000,
        "bitmask": 4 * kept + weights // 8 + 4 * rest,
        "gap8": 5 * kept + 4 * rest,
        "entropy": int(3.4 * kept) + 4 * rest,
    }
    return {
        "seed": seed,
        "sparsity": sparsity,
        "layers": pruned,
        "pruned": {
            "validation_accuracy": 0.98 - 0.4 * sparsity**6,
            "accuracy": 0.981 - 0.4 * sparsity**6,
        },
        "retrained": {
            "training": {
                "steps": 500,
                "batch_size": 32,
                "learning_rate": 1e-4,
                "learning_rate_schedule": "constant",
                "dropout_scale": 1 - sparsity / 2,
            },
            "validation_accuracy": accuracy - 0.001,
            "accuracy": accuracy,
            "checkpoint_bytes": PARAMETERS * 12,
            "prediction_time": prediction_time(61 + wobble),
            "nonzeros": kept + rest,
        },
        "sparse": {
            "bytes": encodings["coo-paper"] + 1024,
            "accuracy": accuracy,
            "prediction_time": prediction_time(84.5 + 6 * math.sin(5 * index + seed)),
        },
        "encodings": encodings,
    }
