"""The notes of several exports, below their table."""

from __future__ import annotations

from typing import Any

from compressor.report.export import exports_text


def made(quantize: str, *notes: str) -> dict[str, Any]:
    verdict = {"accuracy": None, "difference": 0.0}
    sizes = {"bytes": 9, "dense_bytes": 9, "notes": list(notes)}
    asked = {"format": "onnx", "runtime": "onnxruntime", "quantize": quantize}
    return asked | sizes | {"verdict": verdict}


def test_each_note_stands_once_with_the_artefacts_that_it_is_about() -> None:
    failed = {"format": "onnx", "quantize": "int4", "error": "no", "exit_code": 2}
    records = [made("none", "as it is"), made("int8", "as it is", "made up"), failed]

    lines = exports_text(records).splitlines()

    assert [line for line in lines if "note" in line] == [
        "note: as it is",
        "note on onnx int8: made up",
    ]
