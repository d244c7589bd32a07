"""The variants of one export begin with the same graph, which is converted once."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from compressor.exporters import job as jobs
from compressor.exporters.conversions import MOST, Conversions

RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime"}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("file_format", RUNTIMES)
def test_each_variant_is_the_file_that_it_is_alone(
    residual_net: Any, tiny_data: Any, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    model = residual_net()
    module = importlib.import_module(f"compressor.exporters.{file_format}.convert")
    exporter = importlib.import_module(f"compressor.exporters.{file_format}")
    convert, called = module.convert, []

    def counted(*arguments: Any, **options: Any) -> Any:
        called.append(arguments)
        return convert(*arguments, **options)

    for place in (module, exporter):
        if hasattr(place, "convert") and callable(place.convert):
            monkeypatch.setattr(place, "convert", counted)

    def files(job: Any, quantize: str) -> list[bytes]:
        runtime = RUNTIMES[file_format]
        aims = [job.request(runtime, quantize, aim, None) for aim in ("size", "latency")]
        return [job.build(file_format, request).content for request in aims]

    kinds = ("none", "int8", "int4")
    job = jobs.ExportJob(model, tiny_data)
    together = {kind: files(job, kind) for kind in [*kinds, *reversed(kinds)]}
    assert len(called) == (1 if file_format == "onnx" else 2)  # TFLite's int8 is its converter's

    monkeypatch.setattr(jobs.ExportJob, "conversions", Conversions())
    alone = jobs.ExportJob(model, tiny_data)
    assert {kind: files(alone, kind) for kind in kinds} == together
    assert len(called) > 2 * len(kinds)


def test_a_large_model_is_not_kept_in_memory_once_more() -> None:
    conversions, made = Conversions(MOST + 1), []

    for _ in range(2):
        assert conversions.of("model", "onnx", lambda: made.append(1) or "graph") == "graph"

    assert len(made) == 2


def test_other_models_and_ways_have_graphs_of_their_own() -> None:
    conversions, made = Conversions(1), iter(range(9))
    models = [np.zeros(1), np.zeros(1)]

    found = [conversions.of(m, how, lambda: next(made)) for m in models for how in ("a", "b")]

    assert found == [0, 1, 2, 3]
    assert [conversions.of(m, "b", lambda: next(made)) for m in models] == [1, 3]
