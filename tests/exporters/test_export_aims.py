"""What an export is made for where nothing was asked, and what it says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import compressor
from graph_files import WRITERS
from made_up_latencies import latencies_by_size

import compressor as library
from compressor.exporters import variants
from deploy import read_artifact


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return WRITERS["tflite"](tmp_path / "found.tflite", sparsity=0.9, hidden=512)


def kernel_of(record: Any) -> dict[str, Any]:
    """The largest of the weights."""
    found: dict[str, Any] = max(record["tensors"], key=lambda tensor: tensor["dense_bytes"])
    return found


@pytest.mark.slow
def test_one_quantisation_is_balanced_and_the_smallest_says_its_price(
    source: Path, tmp_path: Path
) -> None:
    found, notes = {}, {}
    for aim in (None, "size"):
        target = tmp_path / f"{aim}.tflite"
        record = library.export(source, target, quantize="dynamic", optimize=aim)  # type: ignore[arg-type]
        found[aim], notes[aim] = record, " ".join(record["notes"])
        assert record["optimize"] == (aim or "balanced")
        # Runners that were installed earlier know no other words.
        assert read_artifact(target).optimize == (aim or "latency")

    assert kernel_of(found[None])["encoding"] == "dense"
    assert kernel_of(found["size"])["encoding"] == "csr"
    assert found["size"]["bytes"] < found[None]["bytes"] / 2
    assert "times as long" in notes["size"] and "--optimize latency" in notes["size"]
    assert "times as long" not in notes[None] and "--optimize size" in notes[None]


def test_auto_is_balanced_and_the_output_says_what_it_chose(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "median_latencies", latencies_by_size)
    target = tmp_path / "auto.tflite"

    said = compressor("export", source, "--quantize", "auto", "-o", target)

    assert said.code == 0, said.stderr
    assert read_artifact(target).optimize == "latency"
    (line,) = (line for line in said.stdout.splitlines() if " variants " in line)
    assert "is the smallest, and takes at most 1.1 times as long as the fastest." in line


def test_all_variants_are_made_for_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(library, "export_all", lambda *_, **options: given.update(options) or [])
    model = tmp_path / "model.keras"
    model.touch()

    compressor("export", model, "--format", "all", "-o", tmp_path / "all")

    assert given["optimize"] == "size"
