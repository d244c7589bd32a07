"""TensorFlow is imported without looking for garbage, and afterwards all is as it was."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator

import pytest

from compressor.errors import MissingRuntimeError
from compressor.foundation import quiet_tensorflow


@pytest.fixture(params=[True, False])
def collects(request: pytest.FixtureRequest) -> Iterator[bool]:
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_garbage_is_looked_for_as_before_also_where_the_import_fails(
    collects: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def fail(name: str) -> None:
        seen.append(gc.isenabled())
        raise ImportError(name)

    monkeypatch.setattr(quiet_tensorflow, "_loaded", None)
    monkeypatch.setattr(importlib, "import_module", fail)

    with pytest.raises(MissingRuntimeError, match="TensorFlow cannot be imported: tensorflow"):
        quiet_tensorflow.load()

    assert seen == [False] and gc.isenabled() == collects
