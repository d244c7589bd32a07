"""benchmarks.microcontrollers: what is counted becomes results and a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import compressor
from benchmarks import _cortex_m, _record, microcontrollers, tables
from compressor.errors import CheckFailedError


def record(model: Path, folder: Path, **asked: Any) -> dict[str, Any]:
    layers = [((2, 5, 5, 1), 10, 40, "8-bit offsets"), ((4, 10), 20, 20, "dense")]
    keys = ("shape", "zeros", "bytes", "encoding")
    return {
        "path": str(folder / "net.so"),
        "verdict": {"accuracy": None if asked["runtime"] == "cortex-m0" else 0.991},
        "tensors": [dict(zip(keys, layer, strict=True)) for layer in layers],
    }


@pytest.mark.parametrize("wrong", [0, 3])
def test_rows_are_kept_and_printed(
    wrong: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counted = _cortex_m.Counted(7984, 2320, 344, 794, 394_265.4, 8, wrong)
    monkeypatch.setattr(_cortex_m, "missing", lambda: "")
    monkeypatch.setattr(_cortex_m, "count", lambda *_: counted)
    monkeypatch.setattr(compressor, "export", record)
    monkeypatch.setattr(sys, "argv", ["microcontrollers", "some/digits.keras"])
    for module in (_record, tables):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(tables.read_result, "__defaults__", (tmp_path,))
    assert microcontrollers.main() == bool(wrong)
    result = json.loads((tmp_path / "microcontrollers.json").read_text())
    assert [(row["processor"], row["optimize"]) for row in result["rows"]] == [
        *(("cortex-m4", "latency"), ("cortex-m4", "size")),
        *(("cortex-m0", "latency"), ("cortex-m0", "size")),
    ]
    assert result["rows"][0].pop("conditions")["machine"]
    assert result["rows"][0] == {
        **{"model": "digits.keras", "processor": "cortex-m4", "optimize": "latency"},
        **{"accuracy": 0.991, "nonzeros": 60, "weight_bytes": 60},
        **{"encodings": ["8-bit offsets", "dense"], "flash_bytes": 7984, "ram_bytes": 3458},
        **{"instructions": 394_265, "wrong": wrong},
    }
    printed = capsys.readouterr().out
    assert "| digits.keras | 60 | cortex-m4 | latency | 99.10 | 60 | 7,984 | 3,458 | 394,265" in (
        printed
    )
    assert "| digits.keras | 60 | cortex-m0 | size | - |" in printed
    assert ("(3 WRONG)" in printed) is bool(wrong)


def test_what_does_not_fit_a_board_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def count(*_: object) -> None:
        raise CheckFailedError("the C compiler refuses the code", value="ld returned 1 exit status")

    monkeypatch.setattr(_cortex_m, "missing", lambda: "")
    monkeypatch.setattr(_cortex_m, "count", count)
    monkeypatch.setattr(compressor, "export", record)
    monkeypatch.setattr(_record, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["microcontrollers", "large.keras"])
    with pytest.raises(SystemExit, match="1"):
        microcontrollers.main()
    assert capsys.readouterr().err.splitlines() == [
        "the C compiler refuses the code: ld returned 1 exit status"
    ]
    assert not list(tmp_path.iterdir())
