"""What is said of artefacts that are no classifiers."""

from __future__ import annotations

from typing import Any

from compressor.report.export import exports_text, verdict_text
from compressor.report.metrics import before_and_after, change, column_title, deciding, heads_in

MASKS: dict[str, Any] = {
    "heads": [
        {"name": "", "task": "segmentation", "shape": [4, 4, 2], "classes": 2, "threshold": None}
        | {"metric": "mean_iou", "shown": ["mean_iou", "accuracy"]}
    ],
    "examples": 100,
    **{"mean_iou": 0.812, "reference_mean_iou": 0.814, "accuracy": 0.9},
    **{"difference": 0.5, "scale": 9.0, "spread": 0.02, "agreement": None},
}
NUMBERS = {
    "name": "price",
    **{"task": "regression", "shape": [1], "classes": 0, "threshold": None},
    **{"metric": "mean_absolute_error", "shown": ["mean_absolute_error"]},
}
SEVERAL: dict[str, Any] = {
    "heads": [MASKS["heads"][0] | {"name": "mask"}, NUMBERS],
    **{"mask/mean_iou": 0.8, "mask/reference_mean_iou": 0.9},
    **{"price/mean_absolute_error": 2.5, "price/reference_mean_absolute_error": 2.0},
}
PLAIN: dict[str, Any] = {"accuracy": 0.99, "reference_accuracy": 0.991, "agreement": 0.998}


def _verdict(comparison: dict[str, Any]) -> dict[str, Any]:
    found = comparison | {"validation": comparison, "computation": None, "passed": True}
    return found | {"allowed_drop": {}, "allowed_difference": None, "reason": ""}


def test_a_verdict_names_the_metric_that_decided() -> None:
    assert verdict_text(_verdict(MASKS)) == (
        "right, mean IoU 81.20 % (model 81.40 %) of 100 examples to choose on, "
        "mean IoU 81.20 % (model 81.40 %) of 100 test examples, "
        "largest output difference 0.5 (of 9)"
    )


def test_of_several_outputs_each_is_named() -> None:
    heads = heads_in(SEVERAL)

    assert deciding(heads, SEVERAL) == "mask 80.00 %, price 2.5"
    assert before_and_after(SEVERAL) == (
        "validation mean IoU of mask 90.00 % before, 80.00 % after; "
        "validation mean absolute error of price 2 before, 2.5 after"
    )
    before = {"mask/mean_iou": 0.9, "price/mean_absolute_error": 2.0}
    assert change(heads, before, SEVERAL) == "mask −10.00 points, price +25.00 %"


def test_a_column_is_named_after_the_metric_that_all_share() -> None:
    assert column_title([PLAIN, PLAIN]) == "accuracy\n%"
    assert column_title([MASKS]) == "mean IoU"
    assert column_title([MASKS, PLAIN]) == column_title([SEVERAL]) == "metric"
    assert before_and_after(PLAIN) == "validation accuracy 99.10 % before, 99.00 % after"


def test_the_table_of_all_variants_shows_the_metric() -> None:
    record = {"format": "onnx", "quantize": "none", "bytes": 10, "dense_bytes": 20}
    record |= {"verdict": _verdict(MASKS), "runtime": "onnxruntime", "notes": [], "inputs": []}

    text = exports_text([record])

    assert "mean IoU" in text and "81.20 %" in text and "accuracy" not in text
