"""Exact shrinking: units and channels that do not matter go, the function stays."""

from compressor.shrinking._shrink import Shrunk, shrink
from compressor.shrinking.channels import ChannelMap, VariableAxis, channel_map

__all__ = ["ChannelMap", "Shrunk", "VariableAxis", "channel_map", "shrink"]
