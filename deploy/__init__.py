"""The device side of compressor: standard library and numpy only, no TensorFlow.

It never imports `compressor`, so that it can go to a device as it is.
"""

from deploy.machine import describe_machine
from deploy.measurement import LatencyStatistics, measure_latency

__all__ = ["LatencyStatistics", "describe_machine", "measure_latency"]
