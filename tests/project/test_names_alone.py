"""One name where several are taken is one name, not its letters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import compressor
from compressor import Dataset, Goal, PruningSpec, SshHost, make_plan


def test_layers_of_a_pruning(small_net, tiny_data):
    spec = PruningSpec(0.5, layers="hidden")
    assert spec == PruningSpec(0.5, layers=("hidden",))
    found = compressor.prune(small_net(), tiny_data, spec, retrain=False)
    assert [row["layer"] for row in found.layers] == ["hidden"]


def test_layers_of_a_plan_and_of_a_sensitivity(small_net, tiny_data):
    assert make_plan(tiny_data, layers="fc1", steps=2).layers == ("fc1",)
    found = compressor.sensitivity(small_net(), tiny_data, layers="hidden", sparsities=[0.5])
    assert [row.layer for row in found.layers] == ["hidden"]


def test_runtimes_options_and_labels():
    assert Goal(runtimes="litert").runtimes == ("litert",)
    assert SshHost("host", options="Port=2222").options == ("Port=2222",)
    x, y = np.zeros((2, 3), np.float32), np.zeros(2, np.int64)
    assert Dataset.from_arrays("one", x, y, x, y, labels="all").labels == ("all",)


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["text", "path"])
def test_artefacts_and_keys(tmp_path, kind: Any):
    with pytest.raises(compressor.CompressorError, match=r"none\.tflite"):
        compressor.bench(kind(tmp_path / "none.tflite"))
    with pytest.raises(compressor.CompressorError, match=r"none\.tflite"):
        compressor.package(kind(tmp_path / "none.tflite"), "linux-x86-64", tmp_path / "out")
    compressor.keygen(tmp_path / "mine")
    (public,) = tmp_path.glob("mine*.pub")
    written = compressor.write_runner(kind(public), tmp_path / "runner.pyz")
    assert len(written["keys"]) == 1


def test_runtimes_of_all_exports(small_file, tiny_data, tmp_path):
    with pytest.raises(compressor.CompressorError, match="onnxruntimes"):
        compressor.export_all(small_file, tmp_path / "all", tiny_data, runtimes="onnxruntimes")
