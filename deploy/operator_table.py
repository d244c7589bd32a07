"""Which operators a version of a runtime has, and up to which of their versions: measured tables.

A table is a JSON file of these fields and no others, named RUNTIME-VERSION.json:

schema     {name: "compressor-operators", version: 1}
runtime    litert, tflite-runtime, or onnxruntime, whose GPU and browser packages have the same
version    of the runtime
measured   how
operators  TFLite: every operator of the schema that it has -> its largest version there; ONNX:
           domain -> the largest operator set

`python -m benchmarks.operators` makes them.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from deploy.errors import ArtifactError
from deploy.fields import Fields, parse_json
from deploy.files import read_regular

SCHEMA = {"name": "compressor-operators", "version": 1}
TABLES = Path(__file__).parent / "operators"
"""The folder of the tables."""

MEASURED = ("litert", "tflite-runtime", "onnxruntime")
FAMILIES = {"cuda": "onnxruntime", "tensorrt": "onnxruntime", "onnxruntime-web": "onnxruntime"}
"""Runtime -> the one whose tables are its own, too: they are built from the same sources."""

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
        """The table as a JSON object, which `parse` reads."""
        operators = dict(sorted(self.operators.items()))
        return {"schema": dict(SCHEMA), **dataclasses.asdict(self), "operators": operators}

    @classmethod
    def parse(cls, content: Any) -> OperatorTable:
        """Read a table. Raises ArtifactError, in one line, where it is none."""
        fields = Fields(content, "operators")
        fields.schema("schema", SCHEMA, "table")
        table = cls(
            fields.choice("runtime", MEASURED),
            fields.text("version"),
            fields.text("measured"),
            fields.mapping("operators", _version),
        )
        fields.done()
        return table


@functools.cache
def find_table(runtime: str, version: str) -> OperatorTable | None:
    """The measured table of this version of a runtime, else of the newest one before it.

    Later versions keep what earlier ones had. None where only later ones were measured. Raises
    ArtifactError for a table that is damaged.
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
    """The table in a file. Raises ArtifactError where it is none, or is another's."""
    table = OperatorTable.parse(parse_json(read_regular(path, _MOST_BYTES), str(path)))
    if path.stem != f"{table.runtime}-{table.version}":
        raise ArtifactError("a table of operators has another's name", value=path)
    return table


def _version(fields: Fields, name: str) -> int:
    return fields.integer(name, 1, _LARGEST_VERSION)


def _key(version: str) -> tuple[int, ...]:
    """What versions are compared by; what follows the numbers does not count."""
    parts = []
    for part in version.split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)
