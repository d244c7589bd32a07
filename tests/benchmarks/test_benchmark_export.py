"""The benchmark of exports: what its accuracies are of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import export


def test_accuracies_are_those_on_the_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those on the images that a file is chosen on."""

    def checked(accuracy: float) -> Any:
        verdict = SimpleNamespace(
            accuracy=accuracy,
            reported=SimpleNamespace(reference_accuracy=accuracy),
            describe=lambda: {"difference": 0.0},
            passed=True,
        )
        return SimpleNamespace(size=9, verdict=verdict, file=SimpleNamespace(tensors=()))

    job = SimpleNamespace(
        request=lambda *_: None,
        build=lambda *_: None,
        check=lambda *_: checked(0.25),
        on_test=lambda found: checked(found.verdict.accuracy + 0.5),
    )
    saved: dict[str, Any] = {}
    monkeypatch.setattr("sys.argv", ["export"])
    monkeypatch.setattr(export, "_models", lambda work, seed: {"50 %": work / "model.keras"})
    monkeypatch.setattr(export, "load_dataset", lambda name: None)
    monkeypatch.setattr(export, "ExportJob", lambda source, data: job)
    monkeypatch.setattr(export, "_times", lambda file_format, forms: [])
    monkeypatch.setattr(export, "save", lambda name, content: saved.update(content))
    monkeypatch.setattr(
        export.quiet_tensorflow, "NativeOutput", lambda: SimpleNamespace(hold_back=lambda: None)
    )

    export.main()

    assert {row["accuracy"] for row in saved["files"]} == {0.75}
