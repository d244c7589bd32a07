"""A bundle never makes its reader load a program."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.errors import EngineError
from deploy.model import Model
from deploy.runner.engines import NATIVE


@pytest.mark.parametrize("runtime", NATIVE)
def test_a_bundle_for_a_native_runtime_is_not_loaded(runtime: str) -> None:
    class Bundle:
        class manifest:  # noqa: N801
            name, runtime_version = "net", "1"

        @property
        def model(self) -> Any:
            raise AssertionError("its bytes were taken")

    Bundle.manifest.runtime = runtime  # type: ignore[attr-defined]
    with pytest.raises(EngineError, match="a bundle holds no programs"):
        Model.load(Bundle())  # type: ignore[arg-type]
