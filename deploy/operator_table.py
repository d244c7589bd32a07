"""Measured tables: which operators a version of a runtime has, and up to which version of each.

A table is a JSON file of exactly these fields, named RUNTIME-VERSION.json:

schema     {name: "compressor-operators", version: 1}
runtime    litert, tflite-runtime, tflite-micro, or onnxruntime, whose GPU and browser packages have
           the same
version    of the runtime
measured   how
operators  TFLite: each supported operator of the schema -> its largest version; ONNX: domain ->
           the largest operator set

`python -m benchmarks.operators` makes them.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from deploy.errors import ArtifactError
from deploy.fields import Fields, Reader, parse_json
from deploy.files import read_regular

SCHEMA = {"name": "compressor-operators", "version": 1}
TABLES = Path(__file__).parent / "operators"
"""The folder of the tables."""

MEASURED = ("litert", "tflite-runtime", "tflite-micro", "onnxruntime")
FAMILIES = {"cuda": "onnxruntime", "tensorrt": "onnxruntime", "onnxruntime-web": "onnxruntime"}
"""Runtime -> the runtime whose tables it shares: both are built from the same sources."""

_MOST_BYTES = 2**20
_LARGEST_VERSION = 1000


@dataclasses.dataclass(frozen=True)
class OperatorTable:
    """The operators of one version of a runtime; the module says what the fields mean."""

    runtime: str
    version: str
    measured: str
    operators: dict[str, int]

    def describe(self) -> dict[str, Any]:
        operators = dict(sorted(self.operators.items()))
        return {"schema": dict(SCHEMA), **dataclasses.asdict(self), "operators": operators}

    @classmethod
    def parse(cls, content: Any) -> OperatorTable:
        """Raises ArtifactError for anything but a table."""
        fields = Fields(content, "operators")
        fields.schema("schema", SCHEMA, "table")
        return fields.make(cls, _READERS)


@functools.cache
def find_table(runtime: str, version: str) -> OperatorTable | None:
    """The measured table of this version of a runtime, else of the newest version before it.

    Later versions keep what earlier ones had. None if only later ones were measured. Raises
    ArtifactError for a damaged table.
    """
    family = FAMILIES.get(runtime, runtime)
    found = {
        _key(path.stem[len(family) + 1 :]): path
        for path in TABLES.glob(f"{family}-*.json")
        if path.stem[len(family) + 1 :][:1].isdigit()
    }
    before = [key for key in found if key <= _key(version)]
    return read_table(found[max(before)]) if before else None


def read_table(path: Path) -> OperatorTable:
    """Raises ArtifactError if the file is not a table, or is named for another one."""
    table = OperatorTable.parse(parse_json(read_regular(path, _MOST_BYTES), str(path)))
    if path.stem != f"{table.runtime}-{table.version}":
        raise ArtifactError("the operator table does not match its file name", value=path)
    return table


def _version(fields: Fields, name: str) -> int:
    return fields.integer(name, 1, _LARGEST_VERSION)


_READERS: dict[str, Reader] = {
    "runtime": lambda fields, key: fields.choice(key, MEASURED),
    "operators": lambda fields, key: fields.mapping(key, _version),
}


def _key(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, to compare by."""
    parts = []
    for part in version.split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)
