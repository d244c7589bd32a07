"""What a model, a checkpoint or a run holds, layer by layer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from compressor import steps
from compressor._files import read_json
from compressor.errors import CheckpointError
from compressor.exporters.paper import is_sparse_checkpoint, is_weight, read_sparse_checkpoint
from compressor.models import load_model, optimizer_variables
from compressor.predictors import find_checkpoint
from compressor.pruning.layers import all_layers, paper_name, prunable_layers
from compressor.pruning.masks import load_masks
from compressor.run_directory import IDENTITY, RECORD, finished_steps, read_record, same_pruning


def inspect(path: Path | str) -> dict[str, Any]:
    """Describe a .keras file, a sparse checkpoint, the folder of a step, or a run directory.

    A JSON object: for a file `kind` (dense or sparse), `path`, `file_bytes`, `parameters`,
    `nonzeros` and `layers`, a row for each variable: layer, variable, shape, parameters, zeros,
    masked, threshold (where its step recorded one), bytes and storage. For a run directory
    `kind` run, `experiment` and `steps`, each described like a file. Raises CheckpointError or
    ModelError when it is none of these, or damaged.
    """
    path = Path(path)
    if path.is_dir() and ((path / IDENTITY).is_file() or any(path.glob("step_*"))):
        return _describe_run(path)
    source = find_checkpoint(path)
    describe = _describe_sparse if is_sparse_checkpoint(source) else _describe_dense
    described = describe(source)
    thresholds = _thresholds(source.parent)
    for row in described["layers"]:
        row["threshold"] = thresholds.get(row["layer"]) if row["variable"] == "kernel" else None
    return {
        **described,
        "path": str(source),
        "file_bytes": source.stat().st_size,
        "parameters": sum(row["parameters"] for row in described["layers"]),
        "nonzeros": sum(row["parameters"] - row["zeros"] for row in described["layers"]),
    }


def _describe_dense(source: Path) -> dict[str, Any]:
    model = load_model(source)
    masks = {}
    if (source.parent / steps.MASKS).is_file():
        masks = load_masks(source.parent / steps.MASKS)
    prunable = prunable_layers(model)
    rows = []
    for name, layer in all_layers(model).items():
        for variable in layer.weights:
            if not is_weight(variable):
                continue
            array = variable.numpy()
            mask = masks.get(name) if name in prunable and variable is layer.kernel else None
            rows.append(
                _row(name, variable.name, array.shape, int((array == 0).sum()), array.nbytes)
                | {
                    "masked": None if mask is None else int(mask.size - mask.sum()),
                    "storage": "dense",
                }
            )
    return {"kind": "dense", "layers": rows, "optimizer_values": optimizer_variables(source)}


def _describe_sparse(source: Path) -> dict[str, Any]:
    checkpoint = read_sparse_checkpoint(source)
    rows = []
    for name, encoded in checkpoint.sparse.items():
        zeros = math.prod(encoded.shape) - len(encoded.streams["values"])
        size = sum(stream.nbytes for stream in encoded.streams.values())
        row = _row(name, "kernel", encoded.shape, zeros, size)
        rows.append(row | {"masked": None, "storage": encoded.encoding})
    for key, array in checkpoint.dense.items():
        name, _, variable = key.rpartition("/")
        row = _row(name, variable, array.shape, int((array == 0).sum()), array.nbytes)
        rows.append(row | {"masked": None, "storage": "dense"})
    return {"kind": "sparse", "layers": rows, "optimizer_values": 0}


def _row(
    layer: str, variable: str, shape: tuple[int, ...], zeros: int, size: int
) -> dict[str, Any]:
    return {
        "layer": layer,
        "variable": variable,
        "paper_name": paper_name(layer) if variable == "kernel" else None,
        "shape": list(shape),
        "parameters": math.prod(shape),
        "zeros": zeros,
        "bytes": size,
    }


def _describe_run(path: Path) -> dict[str, Any]:
    experiment = read_json(path / IDENTITY) if (path / IDENTITY).is_file() else None
    described = {}
    for folder in finished_steps(path):
        if any((folder / name).is_file() for name in (steps.MODEL, steps.SPARSE)):
            described[str(folder.relative_to(path))] = inspect(folder)
    if not described:
        raise CheckpointError("the run directory has no finished step", value=path)
    return {"kind": "run", "path": str(path), "experiment": experiment, "steps": described}


def _thresholds(folder: Path) -> dict[str, float]:
    """The thresholds that pruning recorded for the step in `folder`, by layer."""
    folders = [folder]
    pruned = folder.parent / "step_2_1"
    if folder.name in ("step_2_2", "step_3") and same_pruning(pruned, folder.parent / "step_2_2"):
        folders.append(pruned)
    for place in folders:
        if (place / RECORD).is_file():
            rows = read_record(place)["result"].get("layers", [])
            found = {row["layer"]: row["threshold"] for row in rows if "threshold" in row}
            if found:
                return found
    return {}
