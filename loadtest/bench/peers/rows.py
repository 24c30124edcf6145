"""What is measured, one row of the table each (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loadtest.rivals.peers.catalogue import PEERS, Peer, peer_named

Kind = Literal["ours", "peer", "floor"]

OURS, FLOOR = "mms-worker", "floor"
FLOOR_IN_FLIGHT = 64
OUR_BATCHES = (1, 10, 100)
"""Recipients a call, at most."""
SLOW_SHARE = 0.25
"""Of all jobs: peers do some hundred a second, and are measured for as long as we are with fewer."""
BATCH_SHARES = {1: 1.0, 10: 2.0, 100: 4.0}
"""Jobs that share calls go faster."""
JOBS_MIN = 500


@dataclass(frozen=True, slots=True)
class Row:
    """One contender. `in_flight`: calls at a time of one process (0: as it decides). `share`: of the jobs asked for."""

    kind: Kind
    name: str
    processes: int
    in_flight: int = 0
    recipients_per_call: int = 1
    share: float = 1.0

    @property
    def peer(self) -> Peer:
        """What the catalogue says about it; of a peer alone."""
        return peer_named(self.name)

    @property
    def title(self) -> str:
        """For people."""
        match self.kind:
            case "ours":
                batch = f", up to {self.recipients_per_call} recipients a call" if self.recipients_per_call > 1 else ""
                return f"mms-worker{batch}"
            case "floor":
                return "the floor"
            case "peer":
                return f"{self.peer.title}, {self.peer.http}"

    @property
    def short_title(self) -> str:
        """For a table."""
        if self.kind == "ours" and self.recipients_per_call > 1:
            return f"mms-worker, {self.recipients_per_call} a call"
        return self.title

    @property
    def shape(self) -> str:
        """Processes, and calls at a time of each."""
        if self.kind == "peer" and self.peer.uses_children:
            return f"{self.processes * self.in_flight}x1"
        return f"{self.processes}x{self.in_flight}" if self.in_flight else f"{self.processes}"

    @property
    def key(self) -> str:
        """Unlike any other row's."""
        batch = f" x{self.recipients_per_call}" if self.recipients_per_call > 1 else ""
        return f"{self.name}{batch} {self.processes}x{self.in_flight}"

    def jobs(self, asked: int) -> int:
        """How many it gets."""
        return max(JOBS_MIN, round(asked * self.share))


def all_rows() -> list[Row]:
    """In the order of the table."""
    ours = [
        Row("ours", OURS, processes, recipients_per_call=batch, share=BATCH_SHARES[batch])
        for batch in OUR_BATCHES
        for processes in (1, 2)
    ]
    peers = [
        Row("peer", peer.name, processes, in_flight=peer.in_flight, share=_share(peer))
        for peer in PEERS
        for processes in (1, 2)
        if processes == 1 or not peer.uses_children
    ]
    return [*ours, *peers, Row("floor", FLOOR, 1, in_flight=FLOOR_IN_FLIGHT)]


def _share(peer: Peer) -> float:
    return SLOW_SHARE if peer.http == "httpx" else 2 * SLOW_SHARE


def row_names() -> tuple[str, ...]:
    """What can be asked for."""
    return tuple(dict.fromkeys(row.name for row in all_rows()))


def rows_for(only: Sequence[str] | None, processes: Sequence[int]) -> list[Row]:
    """Those that were asked for."""
    return [row for row in all_rows() if (only is None or row.name in only) and row.processes in processes]
