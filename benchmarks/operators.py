"""Measure which operators a runtime has: it is asked to load one file for each, and version.

A TFLite file that names an operator which the runtime's resolver does not have, or not in that
version, is refused when it is loaded, before anything else is looked at; so a file that holds an
operator code and nothing more asks the resolver alone. Of ONNX Runtime the largest operator set is
found that it loads without being told to allow those under development.

    python -m benchmarks.operators                          # the runtimes at hand
    python -m benchmarks.operators --package onnxruntime==1.23.0   # another, in a folder of its own
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from compressor import runtimes
from compressor.foundation import write_json
from deploy.operator_table import TABLES, OperatorTable

_PROBE = Path(__file__).with_name("_operator_probe.py")
_MOST_VERSIONS = 20
_LARGEST_OPSET = 60
_SECONDS = 900
_UNKNOWN = ("Didn't find op for builtin opcode", "Op builtin_code out of range")
_RUNTIMES = {
    "ai-edge-litert": "litert",
    "tflite-runtime": "tflite-runtime",
    "onnxruntime": "onnxruntime",
}
_DOMAINS = {"ai.onnx": "", "ai.onnx.ml": "ai.onnx.ml"}
"""Domain, as descriptions name it -> as ONNX files do."""
_MEASURED = {
    "tflite": "each operator and version of the schema loaded by the runtime",
    "onnx": "operator sets loaded by the runtime, without those under development",
}


def measure(
    runtime: str, python: str, names: Iterable[str] | None = None, path: Path | None = None
) -> OperatorTable:
    """The table of the runtime that `python` has; of the operators `names`, or of all.

    `path` is a folder with the runtime's package, where it is not that Python's own.
    """
    tflite = runtime != "onnxruntime"
    files = _tflite_files(names) if tflite else _onnx_files()
    version, reasons = _ask(runtime, python, list(files.values()), path)
    known: dict[str, int] = {}
    for (name, number), reason in zip(files, reasons, strict=True):
        if reason is None or (tflite and not any(text in reason for text in _UNKNOWN)):
            known[name] = max(number, known.get(name, 0))
    return OperatorTable(runtime, version, _MEASURED["tflite" if tflite else "onnx"], known)


def builtin_operators() -> dict[str, int]:
    """Name -> number of every operator that the schema of TFLite files has."""
    from ai_edge_litert import schema_py_generated

    found = vars(schema_py_generated.BuiltinOperator)
    skipped = ("CUSTOM", "PLACEHOLDER_FOR_GREATER_OP_CODES", "DELEGATE")
    return {
        name: number
        for name, number in found.items()
        if isinstance(number, int) and not name.startswith("_") and name not in skipped
    }


def _tflite_files(names: Iterable[str] | None) -> Mapping[tuple[str, int], bytes]:
    operators = builtin_operators()
    return {
        (name, version): _tflite_file(operators[name], version)
        for name in (operators if names is None else names)
        for version in range(1, _MOST_VERSIONS + 1)
    }


def _tflite_file(number: int, version: int) -> bytes:
    """A file of one operator code, without a node that has it."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
    code.version = version
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _onnx_files() -> Mapping[tuple[str, int], bytes]:
    from onnx import helper

    value = [helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:]
    )
    files = {}
    for name, domain in _DOMAINS.items():
        for number in range(1, _LARGEST_OPSET + 1):
            sets = {"": 13, domain: number}
            imports = [helper.make_opsetid(*pair) for pair in sets.items()]
            model = helper.make_model(graph, opset_imports=imports, ir_version=8)
            files[name, number] = model.SerializeToString()
    return files


def _ask(
    runtime: str, python: str, files: list[bytes], path: Path | None
) -> tuple[str, list[str | None]]:
    request = json.dumps([runtime, [base64.b64encode(file).decode() for file in files]])
    done = subprocess.run(
        [python, str(_PROBE)],
        input=request + "\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=_SECONDS,
        env=None if path is None else {"PYTHONPATH": str(path)},
    )
    version, reasons = json.loads(done.stdout.splitlines()[-1])
    return version, reasons


def _at_hand() -> list[OperatorTable]:
    there = [name for name in _RUNTIMES.values() if runtimes.state(name).version is not None]
    return [measure(name, runtimes.python_of(name)) for name in there]


def _fetched(package: str) -> OperatorTable:
    """The table of a package that pip fetches into a folder of its own."""
    runtime = _RUNTIMES[package.partition("==")[0]]
    with tempfile.TemporaryDirectory() as folder:
        pip: list[Any] = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--only-binary",
            ":all:",
        ]
        subprocess.run([*pip, "--target", folder, *package.split()], check=True, timeout=_SECONDS)
        return measure(runtime, sys.executable, path=Path(folder))


def main() -> None:
    """Measure, and write deploy/operators/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--package", action="append", help="NAME==VERSION, and what goes with it, as pip takes it"
    )
    packages = parser.parse_args().package
    for table in map(_fetched, packages) if packages else _at_hand():
        path = TABLES / f"{table.runtime}-{table.version}.json"
        write_json(path, table.describe())
        print(f"{path}: {len(table.operators)} operators")


if __name__ == "__main__":
    main()
