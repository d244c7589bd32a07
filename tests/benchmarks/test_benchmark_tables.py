"""Tables say what the results say, rows included where we lose, and RESULTS.md holds no other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import tables
from benchmarks._record import RESULTS


def size_row(**changed: Any) -> dict[str, Any]:
    row = {
        "model": "90 %",
        "tool": "compressor",
        "form": "int8",
        "format": "tflite",
        "kind": "artefact",
        "file": "it.tflite",
        "bytes": 1200,
        "accuracy": 0.9907,
        "loads": True,
        "reason": None,
    }
    return row | changed


PEER = {"tool": "t", "form": "f", "bytes": 1000, "accuracy": 0.99, "ratio": 1.2}
BESIDE = {"alike": None, "loads": PEER | {"verdict": "larger"}, "packed": None}


def test_sizes_table_has_every_row_also_where_we_lose():
    rows = [
        size_row(beside=BESIDE),
        size_row(tool="stock", form="dense", file="stock.tflite", bytes=1000, accuracy=0.99),
        size_row(
            kind="packed",
            tool="stock",
            form="dense, gzip -9",
            file="stock.tflite.gz",
            unpacked="stock.tflite",
            bytes=777,
            accuracy=0.99,
            loads=False,
            reason="must be unpacked",
        ),
        size_row(
            tool="stock",
            form="both",
            file="both.tflite",
            bytes=555,
            accuracy=None,
            loads=False,
            reason="does not load: failed to delegate",
        ),
        size_row(
            tool="other",
            file="other.onnx",
            format="onnx",
            bytes=None,
            accuracy=None,
            loads=False,
            reason="not made: no wheel",
        ),
    ]
    text = tables.sizes_table({"rows": rows})
    lines = {line.split("|")[2].strip(): line for line in text.splitlines() if "|" in line}
    assert "1,200 (99.07) **- / 1.20 / -** ▲" in lines["compressor: int8"]
    assert "1,000 (99.00); gz 777 |" in lines["stock: dense"]
    assert "555 [1]" in lines["stock: both"]
    assert "not made [2]" in lines["other: int8"]
    assert "- [1] does not load: failed to delegate." in text
    assert "- [2] not made: no wheel." in text
    assert (
        "Of 1 artefacts of ours beside the smallest peer that loads: 0 smaller, 0 equal, 1" in text
    )
    assert "| int8, 1,200 | t: f, 1,000; ours is 1.20 times that, larger | none is as" in text


def test_pruning_table_has_median_range_and_every_seed():
    row = {
        "tool": "tfmot",
        "sparsity": 0.9,
        "schedule": "gradual",
        "training": {"steps": 516},
        "nonzeros": [374149, 374150, 374150],
        "accuracy": [0.9906, 0.9881, 0.9899],
    }
    found = {
        "seeds": [0, 1, 2],
        "dense": {"accuracy": [0.99, 0.991, 0.9905]},
        "tfmot": {"differences": ["dropout differs"]},
        "rows": [row],
    }
    text = tables.pruning_table(found)
    assert "Dense: 99.05 (99.00 to 99.10) %." in text
    assert (
        "| 90 % | gradual | tfmot | 374,149 to 374,150 | 516 | 98.99 (98.81 to 99.06) "
        "| 99.06, 98.81, 98.99 |" in text
    )
    assert "- dropout differs." in text


def test_reconstruction_table_has_every_method_and_says_what_was_missed():
    method = {
        "accuracy": [0.9851, 0.9862, 0.9849],
        "nonzeros": [64429] * 3,
        "cpu_seconds": [30.2, 41.0, 33.3],
        "peak_bytes": 1_600_000_000,
    }
    row = {"what": "98 %", "wanted": 0.989, "verdict": "MISSED"}
    row["methods"] = {"reconstruct": method, "magnitude": method | {"accuracy": [0.6] * 3}}
    found = {"dense": {"accuracy": 0.9911}, "notes": ["it is"], "rows": [row]}
    text = tables.reconstruction_table(found)
    assert text.startswith("Dense: 99.11 %.") and text.endswith("- it is.")
    assert (
        "| 98 % | 64,429 | 98.51 (98.49 to 98.62) | 60.00 (60.00 to 60.00) | 98.9, MISSED "
        "| 30 to 41 | 1.60 |" in text
    )


def test_networks_table_has_the_share_of_the_loss_and_the_wide_layer():
    row = {"name": "LSTM", "dense": [0.97], "magnitude": [0.5], "reconstruct": [0.9]}
    wide = {"seconds": 301.2, "peak_bytes": 4_100_000_000, "verdict": "reached"}
    found = {"rows": [row | {"share": 0.149, "verdict": "reached"}], "wide": wide}
    text = tables.reconstruction_networks_table(found)
    assert "| 90.00 (90.00 to 90.00) | 0.15, reached |" in text
    assert text.endswith("301 s, 4.1 GB (at most 600 s and 6 GB were asked for: reached).")


def test_tasks_table_shows_each_metric_in_its_own_way():
    row = {
        "name": "regression",
        "metric": "mean_absolute_error",
        "dense": [1.0],
        "pruned": [1.01],
        "artefact": [1.04],
        "lost": [0.04],
        "most": 0.03,
        "dense_bytes": [40_000],
        "bytes": [8_000],
        "verdict": "MISSED",
    }
    iou = row | {"metric": "box/box_iou", "lost": [0.002], "most": 0.01, "verdict": "reached"}
    text = tables.tasks_table({"rows": [row, iou]})
    assert "| 1 | 1.01 | 1.04 | 4.00 % (at most 3), MISSED | 5.0 |" in text
    assert "| 100.00 % | 101.00 % | 104.00 % | 0.20 points (at most 1), reached |" in text


def test_latency_table_marks_what_is_wrong_and_says_why_a_row_failed():
    def row(artefact: int, status: str, p50: float | None, reason: str | None = None) -> Any:
        return {
            "artefact": artefact,
            "runtime": "litert",
            "threads": 1,
            "batch": 32,
            "status": status,
            "reason": reason,
            "latency_ms": p50 and {"p50": {"value": p50}},
            "ratio": p50 and {"value": p50 / 2},
        }

    run = {
        "artefacts": [{"name": name} for name in ("a.tflite", "b.tflite", "c.tflite")],
        "rows": [
            row(0, "right", 2.0),
            row(1, "wrong", 0.5, "accuracy 12 %"),
            row(2, "failed", None, "the runtime crashed"),
        ],
    }
    text = tables.latency_table({"runs": {"90 %": run}})
    assert "threads 1, batch 32" in text
    assert "| a.tflite (litert) | 2.000 (1.00) |" in text
    assert "| b.tflite (litert) | 0.500 (0.25) WRONG |" in text
    assert "| c.tflite (litert) | failed: the runtime crashed |" in text


def test_scaling_table_has_every_phase():
    rows = [
        {"what": "proportions", "proportions": 1, "parameters": 99, "seconds": {"prune": 1.0}},
        {"what": "proportions", "proportions": 2, "parameters": 99, "seconds": {"retrain": 2.5}},
    ]
    text = tables.scaling_table({"rows": rows})
    assert "| grows | parameters | proportions | prune | retrain | all, seconds |" in text
    assert "| proportions | 99 | 2 | 0.0 | 2.5 | 2.5 |" in text


def test_machines_table_has_a_line_for_every_place_and_day(tmp_path):
    def ran(date, cpu):
        return {"conditions": {"date": date, "machine": {"cpu": cpu, "cores": 2}}}

    rows = [{"name": "old"}, {"name": "new", **ran("2026-02-02", "Other")}]
    (tmp_path / "one.json").write_text(json.dumps(ran("2026-01-01", "Some") | {"rows": rows}))
    (tmp_path / "two.json").write_text(json.dumps(ran("2026-03-03", "Some")))

    text = tables.fill("<!-- table machines -->\n<!-- end -->", tmp_path)

    assert text.splitlines()[3:-1] == [
        "| one | old | 2026-01-01 | Some | 2 |",
        "| one | new | 2026-02-02 | Other | 2 |",
        "| two | all | 2026-03-03 | Some | 2 |",
    ]


def test_fill_puts_results_in_and_leaves_the_rest(tmp_path):
    rows = [{"what": "w", "proportions": 1, "parameters": 9, "seconds": {"prune": 1.0}}]
    (tmp_path / "sweep-scaling.json").write_text(json.dumps({"rows": rows}))
    text = "a\n<!-- table sweep-scaling -->\nold\n<!-- end -->\nb\n<!-- table sizes -->\nas it is\n"
    filled = tables.fill(text + "<!-- end -->\n", tmp_path)
    assert "old" not in filled and "| w | 9 | 1 | 1.0 | 1.0 |" in filled
    assert filled.startswith("a\n") and "\nb\n<!-- table sizes -->\nas it is\n" in filled
    with pytest.raises(KeyError):
        (tmp_path / "no.json").write_text("{}")
        tables.fill("<!-- table no -->\n<!-- end -->", tmp_path)


def test_the_page_is_as_the_results_say():
    text = tables.PAGE.read_text()
    assert tables.fill(text, RESULTS) == text, "run python -m benchmarks.tables --write"
    assert "<!-- table sizes -->" in text and "<!-- table pruning -->" in text


def test_the_table_of_exports_says_what_does_not_pass():
    file = {"model": "dense", "optimize": "size", "bytes": 1234, "accuracy": 0.99, "passed": True}
    file["reference_accuracy"] = 0.991
    ratio = {"p50": 0.25}
    time = {"model": "dense", "format": "onnx", "optimize": "latency", "quantize": "int8"}
    time |= {"bytes": 99, "latency_ratio": ratio, "load_ratio": {"p50": 7.5}}
    result = {
        "conditions": {"versions": {"ai-edge-litert": "2", "onnxruntime-gpu": "1"}},
        "seed": 0,
        "files": [
            {**file, "format": "tflite", "quantize": "none"},
            {**file, "format": "onnx", "quantize": "int8", "passed": False},
            {"model": "dense", "format": "tflite", "optimize": "size", "quantize": "codebook"},
        ],
        "times": [time, {**time, "quantize": "none"}],
    }
    found = tables.TABLES["export"](result)
    assert "| dense | 99.10 | 1,234 (99.00) |" in found
    assert "1,234 (99.00): does not pass" in found and "codebook" not in found
    assert "| ONNX Runtime: dense, int8, for the latency | 99 | 0.250 | 7.500 |" in found
    assert "dense, none" not in found


def test_the_table_of_c_code_says_which_row_is_wrong():
    right = {"status": "right", "accuracy": 0.9906, "ratio": {"value": 0.02}}
    right["latency_ms"] = {"p50": {"value": 0.025}}
    rows = {"w2 C, AVX2": right, "w2 TFLite, int8": {"status": "wrong outputs"}}
    found = tables.TABLES["sparse_c"]({"rows": rows})
    assert "| w2 C, AVX2 | 99.06 | 25.0 | 1/50.0 |" in found and "wrong outputs" in found
