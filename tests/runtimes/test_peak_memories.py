"""The memory that an artefact takes in its runtime."""

from __future__ import annotations

from compressor.runtimes import peak_memories


def test_a_larger_artefact_takes_no_less_and_the_runtime_is_counted(artefacts):
    contents = [(artefacts / name).read_bytes() for name in ("float.tflite", "small.tflite")]

    found = peak_memories(contents, "litert")

    assert len(found) == 2
    assert all(10 * 2**20 < bytes_ < 2 * 2**30 for bytes_ in found)
