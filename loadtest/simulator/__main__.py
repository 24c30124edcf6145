"""`python -m loadtest.simulator`: the simulator as a process."""

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Never

import uvloop

from loadtest.simulator.accounts import read_accounts_file
from loadtest.simulator.callback_plan import read_callbacks_file
from loadtest.simulator.config import SimulatorConfig
from loadtest.simulator.faults import FAULT_KINDS
from loadtest.simulator.server import Simulator

EXIT_WRONG_OPTION = 2
EXIT_NOT_STARTED = 1
STDIN_BYTES_READ = 65_536
GC_THRESHOLDS = (50_000, 20, 50)
"""The collector runs seldom: in a pause of its, arrivals would be stamped late."""

_EXAMPLES = f"""\
examples:
  python -m loadtest.simulator
  python -m loadtest.simulator --rate 150 --window calendar --port 8443 --control-port 8444 --dir /tmp/sim
  python -m loadtest.simulator --accounts accounts.toml --spread-ms 40 --seed 7
  curl --cacert CA_FILE -u KEY: API_URL/account
  curl -X POST CONTROL_URL/faults -d '{{"kind": "500_after_accept", "count": 3}}'
  curl -X POST CONTROL_URL/accounts/KEY/callbacks -d '{{"url": "https://127.0.0.1:8080/callbacks/ACCOUNT/TOKEN"}}'
  curl -X POST CONTROL_URL/accounts/KEY/replies -d '{{"replies": [{{"from": "+61412345678", "body": "Thanks"}}]}}'

On start one line of JSON on stdout: api_url, ca_file, control_url. A message text that contains
[[fault:KIND]] or [[fault:KIND:SECONDS]] has that fault happen to its call. Kinds: {", ".join(FAULT_KINDS)}.
"""


class _OneSentenceParser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        sys.stderr.write(f"{self.prog}: {message}\n")
        raise SystemExit(EXIT_WRONG_OPTION)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, or until standard input ends if that is asked for; the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        config = _config(options)
    except ValueError as error:
        parser.error(str(error))
    try:
        uvloop.run(_serve(config, while_stdin_is_open=options.while_stdin_is_open))
    except OSError as error:
        sys.stderr.write(f"{parser.prog}: the simulator cannot start: {error}.\n")
        return EXIT_NOT_STARTED
    return 0


async def _serve(config: SimulatorConfig, *, while_stdin_is_open: bool) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    if while_stdin_is_open:
        loop.add_reader(sys.stdin.fileno(), _look_at_stdin, stopped)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with Simulator(config) as simulator:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        ready = {
            "api_url": simulator.api_url,
            "ca_file": str(simulator.ca_file),
            "control_url": simulator.control_url,
        }
        print(json.dumps(ready), flush=True)
        await simulator.serve(stopped)


def _look_at_stdin(stopped: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), STDIN_BYTES_READ):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stopped.set()


def _config(options: argparse.Namespace) -> SimulatorConfig:
    return SimulatorConfig(
        host=options.host,
        port=options.port,
        control_host=options.control_host,
        control_port=options.control_port,
        rate_per_s=options.rate,
        window=options.window,
        burst=options.burst,
        count_refused=options.count_refused,
        unlimited=options.unlimited,
        latency_ms=options.latency_ms,
        latency_spread_ms=options.latency_spread_ms,
        spread_ms=options.spread_ms,
        envelope=options.envelope,
        accounts=None if options.accounts is None else read_accounts_file(options.accounts),
        callbacks=None if options.callbacks is None else read_callbacks_file(options.callbacks),
        seed=options.seed,
        directory=options.dir,
        keep_alive_s=options.keep_alive_s,
    )


def _parser() -> argparse.ArgumentParser:
    defaults = SimulatorConfig()
    parser = _OneSentenceParser(
        prog="python -m loadtest.simulator",
        description="The MMS API over HTTPS, simulated: with a ledger, faults on demand and a control interface.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--host", default=defaults.host, help="address of the API (default: %(default)s)")
    add("--port", type=int, default=0, help="port of the API (default: any free one)")
    add(
        "--control-port",
        type=int,
        default=0,
        help="port of the control interface (default: any)",
    )
    add(
        "--control-host",
        default=defaults.control_host,
        help="its address; whoever reaches it can steer everything (default: %(default)s)",
    )
    add(
        "--rate",
        type=int,
        default=defaults.rate_per_s,
        help="calls a second per account (default: %(default)s)",
    )
    add(
        "--window",
        default=defaults.window,
        help="how a second is counted: rolling (default), calendar, bucket",
    )
    add("--burst", type=int, help="capacity of the bucket (default: the rate)")
    add(
        "--count-refused",
        action="store_true",
        help="calls answered OVER_LIMIT count against the limit as well",
    )
    add(
        "--while-stdin-is-open",
        action="store_true",
        help="also end where standard input ends: with whoever started this",
    )
    add("--unlimited", action="store_true", help="no limit, until one is set through the control interface")
    add("--latency-ms", type=float, default=defaults.latency_ms, help="answer time (default: %(default)s)")
    add(
        "--latency-spread-ms",
        type=float,
        default=defaults.latency_spread_ms,
        help="the answer time varies by so much up and down (default: %(default)s)",
    )
    add(
        "--spread-ms",
        type=float,
        default=0.0,
        help="hold each call back 0 to so long BEFORE it counts (default: 0)",
    )
    add("--envelope", default=defaults.envelope, help="form of the answers: meta (default) or error")
    add(
        "--accounts",
        type=Path,
        metavar="FILE.toml",
        help="[accounts.KEY] rate_per_s (default: any key)",
    )
    add(
        "--callbacks",
        type=Path,
        metavar="FILE.json",
        help="plans of callbacks by APPKEY, as POST /accounts/KEY/callbacks takes them (default: none are posted)",
    )
    add("--seed", type=int, help="makes all chance repeatable")
    add("--dir", type=Path, help="where ca.pem is kept, from one start to the next (default: a temporary directory)")
    add(
        "--keep-alive-s",
        type=float,
        default=defaults.keep_alive_s,
        help="close idle connections then (default: 75)",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
