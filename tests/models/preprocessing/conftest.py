"""Models as they come from a user's file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def reloaded(tmp_path_factory, keras) -> Callable[[Any], Any]:
    """Save a model and load it again."""
    path = tmp_path_factory.mktemp("reloaded") / "model.keras"

    def save_and_load(model: Any) -> Any:
        model.save(path)
        return keras.saving.load_model(path, compile=False)

    return save_and_load
