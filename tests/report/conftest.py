"""A results document made of formulas, so that tests know every number in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from results_documents import make_results


@pytest.fixture
def results_of() -> Callable[..., dict[str, Any]]:
    """The function that makes a results document."""
    return make_results


@pytest.fixture
def results() -> dict[str, Any]:
    """A results document of one seed at the paper's six proportions."""
    return make_results()
