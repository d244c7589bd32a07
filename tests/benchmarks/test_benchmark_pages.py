"""The benchmark of pages: bytes of the folders and times in turns."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from browser import NAMES
from code_folders import digits_inputs, digits_network, write_code

from benchmarks import pages
from compressor.runtimes import ZIGLANG


@pytest.mark.slow
@pytest.mark.skipif(bool(ZIGLANG.missing()), reason="ziglang is not installed")
@pytest.mark.skipif(not any(map(shutil.which, NAMES)), reason="Chromium is not installed")
def test_each_page_gets_a_row(tmp_path: Path) -> None:
    pytest.importorskip("playwright.sync_api")
    code = write_code(tmp_path / "net-c", digits_network(), digits_inputs(4))
    (row,) = pages.rows([code], 2)
    assert (row["artefact"], row["runtime"]) == ("net-c", "WebAssembly with SIMD")
    assert 50_000 < row["bytes"] < 120_000 and row["latency_us"]["p50"] > 0
    assert row["latency_us"]["samples"] == 2
