"""What an export and a report say about speed: what was measured, or that nothing was."""

from __future__ import annotations

from typing import Any

import pytest
from results_documents import make_results

from compressor.report import artefact_text
from compressor.report.artefacts import artefact_table
from compressor.report.export import export_text, exports_text, speed_text


def speed(low: float, host: str | None = None) -> dict[str, Any]:
    ratio = {"value": 1.13, "low": low, "high": 1.14}
    return {"runtime": "litert", "host": host, "ratio": ratio, "threads": 1, "batch": 1}


def test_an_export_names_what_is_slower_and_where_it_was_measured() -> None:
    surely, perhaps = speed_text(speed(1.12, "pi")), speed_text(speed(0.99))

    assert surely.startswith("SLOWER than dense: 1.13 (1.12 to 1.14) times the latency of dense")
    assert "in litert on pi, one thread, batch 1" in surely
    assert perhaps.startswith("1.13 (0.99 to 1.14) times the latency of dense float32 in litert,")
    assert speed_text(None).startswith("not measured")


def test_a_table_of_exports_says_that_speed_was_not_measured() -> None:
    verdict = {"accuracy": None, "difference": 0.0}
    made = {"format": "onnx", "quantize": "none", "bytes": 9, "dense_bytes": 9}
    made |= {"runtime": "onnxruntime", "verdict": verdict}
    asked = {"format": "onnx", "runtime": "onnxruntime", "quantize": "int8"}
    failed = asked | {"error": "no data", "exit_code": 2}

    assert "speed: not measured; compressor bench does" in exports_text([made, failed])
    assert "speed" not in exports_text([failed])


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (4_000, "4.00 times smaller than the model's 16,000 bytes"),
        (80_000, "5.00 times larger than the model's 16,000 bytes"),
    ],
)
def test_a_file_that_is_larger_than_the_weights_is_not_called_smaller(size: int, said: str) -> None:
    """A few weights in a large graph: 0.2 times smaller says nothing."""
    verdict = {"passed": True, "validation": None, "difference": 0.0, "accuracy": None}
    verdict |= {"examples": 9, "scale": 1.0, "computation": None}
    record = {"format": "tflite", "quantize": "none", "bytes": size, "dense_bytes": 16_000}
    record |= {"runtime": "litert", "runtime_version": "2", "verdict": verdict, "speed": None}
    parts = {"tensors": [], "removed": {}, "notes": [], "inputs": []}

    assert said in export_text(record | parts)
    few = " ".join(said.split()[0:3:2])  # without "times"
    assert few in exports_text([record])


@pytest.mark.parametrize(
    ("low", "said"), [(1.12, "1.13x the time, slower"), (0.99, "1.13x the time")]
)
def test_a_report_of_a_sweep_names_what_is_slower(low: float, said: str) -> None:
    results = make_results()
    made = {"file": "smallest.tflite", "form": "smallest", "format": "tflite", "quantize": "int8"}
    made |= {"runtime": "litert", "runtime_version": "2", "bytes": 9, "accuracy": 0.9}
    for row in (*results["dense"], *results["proportions"]):
        row["artefacts"] = [made | {"speed": speed(low)}]

    smallest = [row[3] for row in artefact_table(results).rows]

    assert all(cell.endswith(f"{said})") for cell in smallest)
    assert said in artefact_text(results)
