"""The device side of compressor: standard library and numpy only, no TensorFlow.

It never imports `compressor`, so that it can go to a device as it is, and runs on Python 3.9.
"""

from deploy.artifact import Artifact, read_artifact
from deploy.errors import ArtifactError, DeployError
from deploy.machine import describe_machine
from deploy.measurement import LatencyStatistics, measure_latency
from deploy.vectors import CheckVectors

__all__ = [
    "Artifact",
    "ArtifactError",
    "CheckVectors",
    "DeployError",
    "LatencyStatistics",
    "describe_machine",
    "measure_latency",
    "read_artifact",
]
