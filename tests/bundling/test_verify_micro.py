"""What TFLite Micro would read out of bounds is refused before the runtime sees it."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import bundle_of
from descriptions import DESCRIPTION
from layer_graphs import VECTOR, integer_graph

import compressor
from compressor.bundling.micro import _arena
from compressor.errors import CheckpointError
from compressor.exporters.request import MICRO, Request
from compressor.exporters.tflite import decode_codes, micro
from compressor.runtimes import Runner
from deploy.vectors import CheckVectors


class LoadedError(Exception):
    """The runtime was given the file."""


@pytest.fixture(autouse=True)
def loading(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Runner, path: Path, **options: Any) -> None:
        raise LoadedError

    monkeypatch.setattr(Runner, "load", load)


def pruned_file() -> tuple[bytes, bytes]:
    """A right file, and one whose mask asks for more values than there are."""
    generator = np.random.default_rng(0)
    weights = np.rint(generator.laplace(0, 12, (40, 300))).clip(-127, 127)
    weights = (weights * (generator.random((40, 300)) < 0.03)).astype(np.int8)
    graph = integer_graph(VECTOR, weights, np.full(1, 0.02, np.float32), (300,), 0.5)
    right = micro.finished(graph, {}, Request(MICRO, "none"), ("x",), ()).content
    coded = decode_codes.pruned(weights)
    assert coded is not None and right.count(coded.stream) == 1
    return right, right.replace(coded.stream, b"\xff" * len(coded.stream))


def artefact(folder: Path, content: bytes) -> Path:
    rows = DESCRIPTION["inputs"][0]["shape"][1:]
    inputs = {
        "serving_default_picture:0": np.zeros((1, *rows), np.float32),
        "tokens": np.zeros((1, 1), np.int32),
    }
    vectors = CheckVectors(inputs, np.zeros((1, 4), np.float32), 1.0).to_bytes()
    described = DESCRIPTION | {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "vectors_sha256": hashlib.sha256(vectors).hexdigest(),
    }
    path = folder / "digits.tflite"
    path.write_bytes(content)
    path.with_name("digits.tflite.json").write_text(json.dumps(described))
    path.with_name("digits.tflite.check.npz").write_bytes(vectors)
    return path


def test_verify_refuses_it_before_it_is_run(tmp_path: Path) -> None:
    for content, error in zip(pruned_file(), (LoadedError, CheckpointError), strict=True):
        packed = bundle_of(artefact(tmp_path, content), runtime=MICRO, runner=False)
        (tmp_path / "digits.bundle").write_bytes(packed)
        with pytest.raises(error):
            compressor.verify(tmp_path / "digits.bundle")


def test_package_refuses_it_before_its_arena_is_measured() -> None:
    for content, error in zip(pruned_file(), (LoadedError, CheckpointError), strict=True):
        with pytest.raises(error):
            _arena("digits.tflite", content)


def test_a_bench_refuses_it_in_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "probe", lambda self: {"version": "1", "provider": None})
    path = tmp_path / "found.tflite"
    for content, error in zip(pruned_file(), (LoadedError, None), strict=True):
        path.write_bytes(content)
        output = tmp_path / f"{error}.json"
        measure = functools.partial(
            compressor.bench, [path], runtimes=[MICRO], rounds=1, starts=1, output=output
        )
        if error is not None:
            with pytest.raises(error):
                measure()
        else:
            (row,) = measure()["rows"]
            assert row["status"] == "failed" and "found.tflite: " in row["reason"]
