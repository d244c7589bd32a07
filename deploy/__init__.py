"""The device side of compressor: standard library and numpy only, no TensorFlow.

It never imports `compressor`, so that it can go to a device as it is, and runs on Python 3.9.
Nothing is imported before it is used: on a device each module is compiled at every start.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploy.artifact import Artifact, read_artifact
    from deploy.bundle import Bundle, open_bundle
    from deploy.errors import ArtifactError, BundleError, DeployError
    from deploy.machine import describe_machine
    from deploy.manifest import Manifest
    from deploy.measurement import LatencyStatistics, measure_latency
    from deploy.signing import PublicKey, read_public_key
    from deploy.vectors import CheckVectors

_HOMES = {
    "Artifact": "artifact",
    "ArtifactError": "errors",
    "Bundle": "bundle",
    "BundleError": "errors",
    "CheckVectors": "vectors",
    "DeployError": "errors",
    "LatencyStatistics": "measurement",
    "Manifest": "manifest",
    "PublicKey": "signing",
    "describe_machine": "machine",
    "measure_latency": "measurement",
    "open_bundle": "bundle",
    "read_artifact": "artifact",
    "read_public_key": "signing",
}

__all__ = [
    "Artifact",
    "ArtifactError",
    "Bundle",
    "BundleError",
    "CheckVectors",
    "DeployError",
    "LatencyStatistics",
    "Manifest",
    "PublicKey",
    "describe_machine",
    "measure_latency",
    "open_bundle",
    "read_artifact",
    "read_public_key",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'deploy' has no attribute {name!r}")
    return getattr(importlib.import_module(f"deploy.{_HOMES[name]}"), name)


def __dir__() -> "list[str]":
    return __all__
