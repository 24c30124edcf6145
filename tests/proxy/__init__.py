"""A TCP proxy for tests that misbehaves on command, in toxiproxy's words."""

from tests.proxy.tcp import Proxy
from tests.proxy.toxics import Bandwidth, Latency, LimitData, ResetPeer, Slicer, Stream, Timeout, Toxic

__all__ = ["Bandwidth", "Latency", "LimitData", "Proxy", "ResetPeer", "Slicer", "Stream", "Timeout", "Toxic"]
