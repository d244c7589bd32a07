"""What a model, a checkpoint or a run holds, layer by layer, and what changed between two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.errors import CheckpointError, CompressorError, ModelError, UsageError
from compressor.experiment import is_sparse_checkpoint, read_sparse_checkpoint, sparse_predictor
from compressor.exporters import artifact_format, describe_artifact_file, weight_totals
from compressor.foundation import read_json
from compressor.importing import load_model, optimizer_variables
from compressor.models import (
    Uses,
    dense_variables,
    framed,
    kernel_uses,
    layer_weights,
    paper_name,
)
from compressor.pruning import load_masks, masked_variables, weights_by_key
from compressor.runs import (
    IDENTITY,
    MASKS,
    MODEL,
    RECORD,
    SPARSE,
    find_checkpoint,
    finished_steps,
    outdated_steps,
    read_record,
)


def inspect(path: Any, other: Any = None) -> dict[str, Any]:
    """Describe a model, a checkpoint, the folder of a step, a run directory, or an artefact.

    `path` and `other` are paths, or Keras models in memory: of those `path` is the name, and
    `file_bytes` is None.

    A JSON object: for a file `kind` (dense or sparse), `path`, `file_bytes`, `parameters`,
    `nonzeros`, `macs`, `macs_nonzero` and `layers`, a row for each variable: layer, variable,
    shape, parameters, zeros, masked, threshold (where its step recorded one), bytes, storage,
    macs and macs_nonzero. The MACs are the multiply-accumulates of one inference, with all weights
    and with the nonzero ones (`compressor.models.macs`); None for a variable that is no kernel, for
    a kernel whose MACs are not known, and for the whole of a model that has one. For a run
    directory `kind` run, `experiment` and `steps`, each described like a file.

    For a .tflite or .onnx file `kind` is tflite or onnx; `layers` has a row for each weight that it
    holds or decodes, with `values`, the type of the stored values, and no MACs; layer and variable
    are its name up to and behind the last slash; shape, parameters and zeros are None where they
    cannot be told. Further `inputs` and `outputs` (name, shape with None for a free size, dtype,
    scale, zero_point), `operators` (name, version, custom, count), `signatures` (TFLite),
    `ir_version`, `opsets`, `producer` and `functions` (ONNX), and `description`, that of the
    artefact where it lies beside it, or in `description_error` why it is none. Nothing is executed.

    With `other`, two files or steps are compared: `kind` comparison, `before` (`path`) and
    `after` (`other`), each described like a file; `layers`, a row for each layer: layer, before
    and after, each parameters, zeros, nonzeros, macs, macs_nonzero and bytes, or None where the
    model has no such layer; `totals`, before and after, the same of the whole model and
    file_bytes, and ratio, before divided by after, None where that cannot be told.

    Raises CheckpointError or ModelError when it is none of these, or damaged; UsageError for a
    whole run with `other`.
    """
    if other is None:
        is_run = not hasattr(path, "layers") and _is_run(Path(path))
        return _describe_run(Path(path)) if is_run else _describe(path)
    for compared in (path, other):
        if not hasattr(compared, "layers"):
            _refuse_run(Path(compared))
    return _compare(_describe(path), _describe(other))


def _describe(model: Any) -> dict[str, Any]:
    """Of a file, or of a Keras model in memory."""
    if not hasattr(model, "layers"):
        return _describe_file(Path(model))
    if not model.built:
        what = "the model was never built, so its weights have no shapes"
        raise ModelError(what, value=model.name, hint="call it once on a batch of its inputs")
    optimizer = getattr(model.optimizer, "variables", ()) if model.compiled else ()
    values = sum(math.prod(variable.shape) for variable in optimizer if variable.shape)
    described = _describe_model(framed(model), {}, {}) | {"optimizer_values": values}
    place = {"path": str(model.name), "file_bytes": None}
    return {**described, **place, **weight_totals(described["layers"])}


def _is_run(path: Path) -> bool:
    return path.is_dir() and ((path / IDENTITY).is_file() or any(path.glob("step_*")))


def _refuse_run(path: Path) -> None:
    if _is_run(path):
        named = [str(s.relative_to(path)) for s in finished_steps(path) if _has_checkpoint(s)]
        raise UsageError(
            "a whole run cannot be compared",
            value=path,
            hint=f"name one of its steps: {', '.join(named)}" if named else "name a model file",
        )


def _has_checkpoint(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (MODEL, SPARSE))


def _describe_file(path: Path) -> dict[str, Any]:
    source = find_checkpoint(path)
    if (file_format := artifact_format(source)) is not None:
        described = describe_artifact_file(source, file_format)
    elif is_sparse_checkpoint(source):
        described = _describe_sparse(source)
    else:
        described = _describe_dense(source)
    # The weights of an artefact may lie in another file.
    known = described.get("description") or {"bytes": source.stat().st_size}
    size = {"path": str(source), "file_bytes": known["bytes"]}
    return {**described, **size, **weight_totals(described["layers"])}


def _describe_dense(source: Path) -> dict[str, Any]:
    model = load_model(source)
    thresholds = _by_variable(model, _thresholds(source))
    described = _describe_model(model, _masked(source, model), thresholds)
    return described | {"optimizer_values": optimizer_variables(source)}


def _describe_model(
    model: Any, masked: Mapping[int, int], thresholds: Mapping[int, Any]
) -> dict[str, Any]:
    """The rows of a model; masked weights and thresholds by id of a variable."""
    uses = kernel_uses(model)
    rows = []
    for weight in layer_weights(model):
        key, array = id(weight.variable), weight.variable.numpy()
        row = _row(weight.path, weight.name, array.shape, int((array == 0).sum()), array.nbytes)
        extra = {"threshold": thresholds.get(key), "storage": "dense"}
        rows.append(row | _row_macs(row, uses) | {"masked": masked.get(key)} | extra)
    return {"kind": "dense", "layers": rows, **_sums(rows, uses)}


def _describe_sparse(source: Path) -> dict[str, Any]:
    checkpoint = read_sparse_checkpoint(source)
    try:
        model = sparse_predictor(checkpoint, source).model
    except CompressorError:
        # What the file stores can be shown although no model can be built of it.
        model = None
    uses = None if model is None else kernel_uses(model)
    names = {} if model is None else dense_variables(model, checkpoint.sparse)
    weights = {} if model is None else {id(w.variable): w for w in layer_weights(model)}
    recorded = _thresholds(source)
    thresholds = _by_variable(model, recorded)
    rows = []
    for name, encoded in checkpoint.sparse.items():
        zeros = math.prod(encoded.shape) - len(encoded.streams["values"])
        size = sum(stream.nbytes for stream in encoded.streams.values())
        row = _row(name, "kernel", encoded.shape, zeros, size)
        extra = {"threshold": recorded.get(name), "storage": encoded.encoding}
        rows.append(row | _row_macs(row, uses) | {"masked": None} | extra)
    for key, array in checkpoint.dense.items():
        name, _, stored = key.rpartition("/")
        variable = names.get(key)
        # A name that a layer uses twice is numbered in the file, but not in the model.
        if (weight := weights.get(id(variable))) is not None:
            name, stored = weight.path, weight.name
        row = _row(name, stored, array.shape, int((array == 0).sum()), array.nbytes)
        extra = {"threshold": thresholds.get(id(variable)), "storage": "dense"}
        rows.append(row | _row_macs(row, uses) | {"masked": None} | extra)
    return {"kind": "sparse", "layers": rows, "optimizer_values": 0, **_sums(rows, uses)}


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


def _row_macs(row: Mapping[str, Any], uses: Mapping[str, Uses] | None) -> dict[str, int | None]:
    times = (uses or {}).get(row["layer"], {}).get(row["variable"])
    if times is None:
        return {"macs": None, "macs_nonzero": None}
    total, zeros = row["parameters"], row["zeros"]
    return {"macs": times * total, "macs_nonzero": times * (total - zeros)}


def _sums(
    rows: Iterable[Mapping[str, Any]], uses: Mapping[str, Uses] | None
) -> dict[str, int | None]:
    known = uses is not None and not any(None in own.values() for own in uses.values())
    return {
        key: sum(row[key] or 0 for row in rows) if known else None
        for key in ("macs", "macs_nonzero")
    }


def _masked(source: Path, model: Any) -> dict[int, int]:
    """id of a variable -> how many of its weights the masks of its step hold at zero."""
    path = source.parent / MASKS
    # Another file in the folder of a step, such as a shrunk model, is not what the masks are for.
    if source.name != MODEL or not path.is_file():
        return {}
    return {
        id(variable): int(mask.size - mask.sum())
        for variable, mask in masked_variables(model, load_masks(path))
    }


def _by_variable(model: Any, values: Mapping[str, Any]) -> dict[int, Any]:
    """Values by the name of a kernel, PATH or PATH:VARIABLE -> by id of the variable."""
    if model is None or not values:
        return {}
    found = weights_by_key(model)
    return {id(found[name]): value for name, value in values.items() if name in found}


def _compare(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    first, last = _layer_counts(before), _layer_counts(after)
    totals = {
        side: _counts(described["layers"])
        | {key: described[key] for key in ("macs", "macs_nonzero", "file_bytes")}
        for side, described in (("before", before), ("after", after))
    }
    pairs = {key: (totals["before"][key], totals["after"][key]) for key in totals["before"]}
    ratio = {key: _ratio(*pair) for key, pair in pairs.items()}
    return {
        "kind": "comparison",
        "before": before,
        "after": after,
        "layers": [
            {"layer": name, "before": first.get(name), "after": last.get(name)}
            for name in _merged(list(first), list(last))
        ],
        "totals": totals | {"ratio": ratio},
    }


def _layer_counts(described: Mapping[str, Any]) -> dict[str, dict[str, int | None]]:
    # A sparse checkpoint lists its sparse kernels first; their layers' biases come later.
    layers: dict[str, list[Any]] = {}
    for row in described["layers"]:
        layers.setdefault(row["layer"], []).append(row)
    return {name: _counts(rows) for name, rows in layers.items()}


def _counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for key in ("parameters", "zeros", "nonzeros", "macs", "macs_nonzero", "bytes"):
        values = [row[key] for row in rows if row.get(key) is not None]
        # What has no kernel with known MACs, such as a normalization, has none to show.
        found[key] = sum(values) if values or not key.startswith("macs") else None
        # A weight that cannot be looked into leaves the sums without an answer.
        if key in ("parameters", "zeros") and len(values) < len(rows):
            found[key] = None
    return found | {"nonzeros": weight_totals(rows)["nonzeros"]}


def _merged(before: list[str], after: list[str]) -> list[str]:
    """The names of both, in the order of `before`; a new one comes after its predecessor."""
    names = list(before)
    for position, name in enumerate(after):
        if name not in names:
            known = [other for other in after[:position] if other in names]
            names.insert(names.index(known[-1]) + 1 if known else 0, name)
    return names


def _ratio(before: int | None, after: int | None) -> float | None:
    return None if before is None or not after else before / after


def _describe_run(path: Path) -> dict[str, Any]:
    experiment = read_json(path / IDENTITY) if (path / IDENTITY).is_file() else None
    described = {
        str(folder.relative_to(path)): _describe_file(folder)
        for folder in finished_steps(path)
        if _has_checkpoint(folder)
    }
    if not described:
        raise CheckpointError("the run directory has no finished step", value=path)
    return {"kind": "run", "path": str(path), "experiment": experiment, "steps": described}


def _thresholds(source: Path) -> dict[str, float]:
    """The thresholds that pruning recorded for the step that `source` is the file of, by kernel."""
    folder = source.parent
    if source.name not in (MODEL, SPARSE):
        return {}
    folders = [folder]
    pruned = folder.parent / "step_2_1"
    behind = folder.name in ("step_2_2", "step_3")
    if behind and not {folder.name, "step_2_1"} & {*outdated_steps(folder.parent)}:
        folders.append(pruned)
    for place in folders:
        if (place / RECORD).is_file():
            rows = read_record(place)["result"].get("layers", [])
            found = {row["layer"]: row["threshold"] for row in rows if "threshold" in row}
            if found:
                return found
    return {}
