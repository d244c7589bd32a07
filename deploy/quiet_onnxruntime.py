"""ONNX Runtime, imported with its telemetry off.

Its telemetry is on by default: it writes a device id and queued events to the home directory, a
session file to the temporary directory, and looks a collector up by DNS. So only this module
imports it.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

VARIABLES = {"ORT_DISABLE_TELEMETRY": "1"}
"""What the environment of a process must have before it imports ONNX Runtime."""


def load(module: str = "onnxruntime") -> Any:
    """The module of ONNX Runtime by that name. Raises ImportError where it is not installed."""
    os.environ.update(VARIABLES)
    return importlib.import_module(module)
