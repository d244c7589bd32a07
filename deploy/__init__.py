"""The device side of compressor: standard library and numpy only, no TensorFlow.

It never imports `compressor`, so that it can be copied to a device, and runs on Python 3.9. Modules
are imported when they are first used: a device compiles each one at every start.
"""

import importlib
from typing import Any

# Type checkers read them from __init__.pyi.
_NAMES = {
    "artifact": ("Artifact", "read_artifact"),
    "bundle": ("Bundle", "open_bundle"),
    "errors": ("ArtifactError", "BundleError", "DeployError"),
    "machine": ("describe_machine",),
    "manifest": ("Manifest",),
    "measurement": ("LatencyStatistics", "measure_latency"),
    "signing": ("PublicKey", "read_public_key"),
    "vectors": ("CheckVectors",),
}

__all__ = sorted(name for names in _NAMES.values() for name in names)


def __getattr__(name: str) -> Any:
    for module, names in _NAMES.items():
        if name in names:
            return getattr(importlib.import_module(f"deploy.{module}"), name)
    raise AttributeError(f"module 'deploy' has no attribute {name!r}")


def __dir__() -> "list[str]":
    return __all__
