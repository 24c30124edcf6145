"""`python -m loadtest.rivals.peers run|publish NAME …`, with the Python of `.venv-rivals`."""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from loadtest.rivals.life import end_with_owner
from loadtest.rivals.peers.catalogue import PEER_NAMES, Peer, peer_named

WORKERS_MAX, IN_FLIGHT_MAX = 64, 1_024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a peer until it or its owner ends, or publish the jobs on standard input, one a line."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.rivals.peers", description=main.__doc__)
    parser.add_argument("do", choices=("run", "publish"))
    parser.add_argument("name", choices=PEER_NAMES)
    parser.add_argument("--processes", type=int, default=1, help="where the framework has an option for it")
    parser.add_argument("--in-flight", type=int, default=1, help="calls at a time of one process")
    parser.add_argument("--place", type=int, default=1, help="which one it is of those that run side by side")
    told = parser.parse_args(arguments)
    peer = peer_named(told.name)
    if told.do == "publish":
        _publish(peer)
        return 0
    end_with_owner()
    command = (sys.executable, *peer.command(told.processes, told.in_flight, told.place))
    return subprocess.call(command, stdin=subprocess.DEVNULL)  # noqa: S603 - out of the catalogue


def _publish(peer: Peer) -> None:
    from loadtest.rivals.peers import publishing  # noqa: PLC0415 - imports what the others have no need of

    publishing.PUBLISHERS[peer.library](sys.stdin.buffer)


if __name__ == "__main__":
    sys.exit(main())
