"""The refusal of a model that needs classes of the user's own."""

from __future__ import annotations

import re
from typing import Any

from compressor.data import listed
from compressor.errors import ModelError
from compressor.foundation import custom_names

_MISSING = re.compile(r"Could not locate (class|function) '([^']{1,200})'")


def missing_class(error: BaseException, path: Any) -> ModelError | None:
    """What to tell of an error of Keras that misses a class or function; None for any other."""
    found = _MISSING.search(str(error))
    if found is None:
        return None
    kind, name = found.groups()
    return needs_custom(kind, name, path)


def needs_custom(kind: str, name: str, where: Any) -> ModelError:
    """The refusal of a class or function `name` that the user's own module would bring."""
    hint = "name its module: --custom FILE.py, or compressor.load_custom('FILE.py') in Python"
    if known := custom_names():
        hint = f"your modules give {listed(known)}"
    what = f"the model needs a {kind} that is not one of Keras's"
    return ModelError(what, value=f"{name.rpartition('>')[2]} ({where})", hint=hint)
