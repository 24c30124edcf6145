"""How many bytes of jobs this process holds, and which account holds more than its share of them.

The broker's prefetch bounds the number of jobs and not their size: a job with its picture inside may have half a
megabyte. So the accounts share a bound on bytes. While the whole is above it, whoever holds more than an equal share
takes no more until it fell below half of that.
"""

from __future__ import annotations

import asyncio

#: An account that takes no more begins again below this part of its share: not at every job that leaves.
BEGIN_AGAIN_BELOW = 0.5


class HeldBytes:
    """The bound on the bodies of all accounts together."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.total_bytes = 0
        self._shares: set[Share] = set()

    @property
    def share_bytes(self) -> float:
        """What each account may hold while the whole is above the bound."""
        return self.bytes_max / max(1, len(self._shares))

    def open_share(self) -> Share:
        """The part of one more account."""
        share = Share(self)
        self._shares.add(share)
        return share

    def close_share(self, share: Share) -> None:
        """The account takes no more; what it still holds counts until it is given up."""
        self._shares.discard(share)


class Share:
    """What one account holds."""

    def __init__(self, whole: HeldBytes) -> None:
        self._whole = whole
        self.held_bytes = 0
        self._fell = asyncio.Event()

    @property
    def bytes_max(self) -> float:
        """What the account may hold if all others hold theirs."""
        return self._whole.share_bytes

    @property
    def is_too_large(self) -> bool:
        """Whether the account must take no more now."""
        return self._whole.total_bytes > self._whole.bytes_max and self.held_bytes > self._whole.share_bytes

    def take(self, count_bytes: int) -> None:
        """So many more are held."""
        self.held_bytes += count_bytes
        self._whole.total_bytes += count_bytes

    def give_up(self, count_bytes: int) -> None:
        """So many are not held any more."""
        self.held_bytes -= count_bytes
        self._whole.total_bytes -= count_bytes
        if self._is_small:
            self._fell.set()

    async def small(self) -> None:
        """Wait until the account may take again."""
        while not self._is_small:
            self._fell.clear()
            await self._fell.wait()

    @property
    def _is_small(self) -> bool:
        return self.held_bytes < self._whole.share_bytes * BEGIN_AGAIN_BELOW
