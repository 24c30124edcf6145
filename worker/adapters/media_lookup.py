"""Look-up of host names for media: in threads of its own, and only permitted addresses come out."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

from worker.adapters.media_addresses import Allowance, address_from

# One name can have hundreds of addresses; trying the first few is enough.
ADDRESSES_MAX: Final = 8


class AddressesRefusedError(Exception):
    """Carries a sentence through the HTTP library: the name has addresses, and none is permitted.

    Not an OSError: the library would turn that into "could not be looked up", which is tried again.
    """


class CheckedResolver(AbstractResolver):
    """Passes on only addresses that are permitted for the host; the connection is made to one of them."""

    def __init__(self, lookup: AbstractResolver, allowance: Allowance) -> None:
        self._lookup = lookup
        self._allowance = allowance

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """AddressesRefusedError when no address is permitted, OSError when there is none."""
        found = await self._lookup.resolve(host, port, family)
        if not found:
            raise OSError(None, "no address")
        permitted = [result for result in found if self._is_permitted(host, result["host"])]
        if not permitted:
            raise AddressesRefusedError(self._allowance.refusal_of_addresses(host))
        return permitted[:ADDRESSES_MAX]

    def _is_permitted(self, host: str, text: str) -> bool:
        address = address_from(text)
        return address is not None and self._allowance.permits(host, address)

    async def close(self) -> None:
        await self._lookup.close()


class ThreadedLookup(AbstractResolver):
    """The system's look-up. A name server that hangs takes none of the event loop's threads from others."""

    def __init__(self, *, threads_max: int) -> None:
        self._threads = ThreadPoolExecutor(max_workers=threads_max, thread_name_prefix="media-lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _look_up, host, port, family)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    # AI_ADDRCONFIG: no IPv6 addresses on a machine that has none itself.
    infos = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=port,
            family=found_family,
            proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for found_family, _, proto, _, address in infos
    ]
