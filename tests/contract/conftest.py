"""Adapters are tested on the event loop that the worker runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

#: Error mapping is tested on both: the two loops' transports fail in their own ways.
ON_BOTH = ("test_http_transport.py", "test_media.py")


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001 - the hook's signature
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Choose the loops of a test."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if item.path.name in ON_BOTH:
        loops["asyncio"] = asyncio.SelectorEventLoop
    return loops
