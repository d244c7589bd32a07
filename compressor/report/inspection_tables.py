"""What `compressor inspect` prints of a .tflite or .onnx file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.report.formatting import NOTHING, count, known, mib, percent, proportion, text_table
from deploy.text import clean

_LONGEST = 60


def artifact_text(inspection: Mapping[str, Any]) -> str:
    """The weights of an artefact and how they are stored, its operators, inputs and description."""
    lines = [
        f"{inspection['path']}: {inspection['kind']}, {mib(inspection['file_bytes'])} MiB, "
        f"{known(inspection['parameters'])} parameters, {known(inspection['nonzeros'])} not zero",
        *(_ports(side, inspection[side]) for side in ("inputs", "outputs")),
        f"operators: {', '.join(map(_operator, inspection['operators'])) or 'none'}",
        *_description(inspection),
    ]
    header = ["weight", "shape", "parameters", "zeros", "sparsity", "bytes", "as", "values"]
    return "\n".join(lines) + "\n" + text_table(header, list(map(_weight, inspection["layers"])))


def shown(name: str) -> str:
    """A name; of a long one the end, which tells it from others."""
    return clean(name, _LONGEST, tail=True)


def _weight(row: Mapping[str, Any]) -> list[str]:
    zeros, parameters = row["zeros"], row["parameters"]
    return [
        shown("/".join(part for part in (row["layer"], row["variable"]) if part)),
        NOTHING if row["shape"] is None else _shape(row["shape"]),
        known(parameters),
        known(zeros),
        NOTHING if zeros is None else proportion(zeros / max(parameters, 1)),
        count(row["bytes"]),
        shown(row["storage"]),
        row["values"],
    ]


def _ports(side: str, ports: Sequence[Mapping[str, Any]]) -> str:
    found = []
    for port in ports:
        shape = "" if port["shape"] is None else f" {_shape(port['shape'])}"
        scale = "" if port["scale"] is None else f", scale {port['scale']:.6g}"
        found.append(f"{shown(port['name'])} ({port['dtype']}{shape}{scale})")
    return f"{side}: {', '.join(found) or 'none'}"


def _shape(shape: Sequence[int | None]) -> str:
    """A shape, with a star where a size is free."""
    return " x ".join("*" if size is None else str(size) for size in shape) or "1"


def _operator(row: Mapping[str, Any]) -> str:
    version = "" if row["version"] is None else f" v{row['version']}"
    times = "" if row["count"] == 1 else f" ({row['count']} times)"
    return f"{shown(row['name'])}{version}{times}"


def _description(inspection: Mapping[str, Any]) -> list[str]:
    if inspection["description_error"] is not None:
        return [f"description: {inspection['description_error']}"]
    described = inspection["description"]
    if described is None:
        return []
    lines = [
        f"made for {shown(described['runtime'])}, quantize {described['quantize']}, "
        f"optimize {described['optimize']}"
    ]
    for check in described["verified"]:
        accuracy, reference = check["accuracy"], check["reference_accuracy"]
        found = f"verified in {shown(check['runtime'])} {shown(check['version'])}"
        if accuracy is not None:
            found += f": accuracy {percent(accuracy)} %"
        if reference is not None:
            found += f" (Keras model {percent(reference)} %)"
        lines.append(f"{found}, {count(check['examples'])} examples")
    return lines
