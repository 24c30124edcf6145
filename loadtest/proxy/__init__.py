"""A TCP proxy that misbehaves on command, in toxiproxy's words."""

from loadtest.proxy.tcp import Proxy
from loadtest.proxy.toxics import Bandwidth, Latency, LimitData, ResetPeer, Slicer, Stream, Timeout, Toxic

__all__ = ["Bandwidth", "Latency", "LimitData", "Proxy", "ResetPeer", "Slicer", "Stream", "Timeout", "Toxic"]
