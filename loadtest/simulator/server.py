"""The simulator as a whole: the one place where its parts are put together."""

import asyncio
import random
import tempfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from loadtest.simulator.accounts import RATE_PER_S_MAX, Account, Accounts
from loadtest.simulator.callback_plan import CallbackPlan
from loadtest.simulator.callbacks import Callbacks
from loadtest.simulator.clock import SteadyWallClock
from loadtest.simulator.config import SimulatorConfig
from loadtest.simulator.control import control_application
from loadtest.simulator.envelopes import Envelopes
from loadtest.simulator.faults import Fault, FaultPlan
from loadtest.simulator.form import normal_number
from loadtest.simulator.http_front import BASE_PATH, HttpFront
from loadtest.simulator.inbox import Inbox
from loadtest.simulator.ledger import Ledger
from loadtest.simulator.limit import Limit, limit_for
from loadtest.simulator.listener import CuttingServer, Listener, make_certificate
from loadtest.simulator.metrics import metrics_text
from loadtest.simulator.posting import Poster
from loadtest.simulator.records import OutageKind, ReplyRecord
from loadtest.simulator.service import MmsService

CREDIT_MAX = 1_000_000_000


class Simulator:
    """The MMS API on a port of this machine: `async with Simulator(SimulatorConfig()) as simulator: …`.

    Inside the event loop the methods here steer it and `ledger` answers; from elsewhere the control interface
    does the same. What is wrong with an argument is a ValueError with one sentence.
    """

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._clock = SteadyWallClock()
        self._stack = AsyncExitStack()
        self.ledger = Ledger()
        self._faults = FaultPlan(self._chance("faults"))
        due = asyncio.Event()
        self.callbacks = Callbacks(self._chance("callbacks"), due.set)
        self._poster = Poster(self.callbacks, self._clock, due)
        self._posting: asyncio.Task[None] | None = None
        self._service = MmsService(
            self._accounts(),
            Envelopes(config.envelope, self._chance("quirks")),
            self._faults,
            self.ledger,
            Inbox(self._chance("replies")),
            callbacks=self.callbacks,
        )
        self._front = HttpFront(
            self._service,
            self._clock,
            self._chance("times"),
            latency_s=config.latency_ms / 1e3,
            latency_spread_s=config.latency_spread_ms / 1e3,
            spread_s=config.spread_ms / 1e3,
        )
        self._listener: Listener | None = None
        self.ca_file = Path()
        self.api_url = ""
        self.control_url = ""

    async def __aenter__(self) -> Self:
        """Start; OSError when a port is taken, the directory cannot be written to, or callbacks cannot be posted."""
        async with AsyncExitStack() as stack:
            directory = self._config.directory
            if directory is None:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mms-simulator-")))
            directory.mkdir(parents=True, exist_ok=True)
            self.ca_file = directory / "ca.pem"
            self._listener = await self._open_api(stack)
            self.api_url = f"https://{self._config.host}:{self._listener.port}{BASE_PATH}"
            self.control_url = await self._open_control(stack)
            try:
                self._set_callbacks_of_config()
            except ValueError as error:  # whom to trust cannot be read, or the accounts file does not know the key
                raise OSError(str(error).removesuffix(".")) from error
            self._posting = asyncio.create_task(self._poster.run())
            stack.push_async_callback(self._stop_posting)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cut all connections and stop."""
        await self._stack.aclose()

    async def serve(self, stopped: asyncio.Event) -> None:
        """Return when `stopped` is set, or when callbacks cannot be posted any more: leaving tells why."""
        assert self._posting is not None  # noqa: S101 - only a started simulator can serve
        stopping = asyncio.create_task(stopped.wait())
        await asyncio.wait((stopping, self._posting), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()

    def set_rate(self, rate_per_s: int, account: str | None = None) -> None:
        """Change the limit of one account, or of all and of those to come."""
        if not 1 <= rate_per_s <= RATE_PER_S_MAX:
            raise ValueError(f"The rate is between 1 and {RATE_PER_S_MAX} calls, not {rate_per_s}.")
        if account is not None:
            self._known(account)
        self._service.set_rate(rate_per_s, account, self._clock.now_us())

    def add_fault(self, fault: Fault) -> None:
        """Put a fault in force."""
        self._faults.add(fault)

    def clear_faults(self) -> None:
        """Take all faults back."""
        self._faults.clear()

    def revoke(self, account: str) -> None:
        """From now on the account's key is wrong."""
        self._known(account).revoked = True

    def restore(self, account: str) -> None:
        """The account's key is right again."""
        self._known(account).revoked = False

    def set_credit(self, account: str, amount: int | None) -> None:
        """Leave the account so many credits, one a recipient; None is plenty."""
        if amount is not None and not 0 <= amount <= CREDIT_MAX:
            raise ValueError(f"The credit is between 0 and {CREDIT_MAX}, not {amount}.")
        self._known(account).credit = amount

    def add_replies(self, account: str, replies: list[dict[str, Any]]) -> list[str]:
        """Have replies come in; their ids."""
        now_us = self._clock.now_us()
        date = datetime.fromtimestamp(now_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        inbox, key = self._service.inbox, self._known(account).key
        ids = inbox.add(key, replies, date)
        self.callbacks.replied(key, inbox.posted(key, ids), now_us)
        return ids

    def replies(self, account: str) -> list[ReplyRecord]:
        """All replies of the account, in the order in which they came in."""
        return self._service.inbox.records(self._known(account).key)

    def set_callbacks(self, account: str, plan: CallbackPlan | None) -> None:
        """Post the account's reports and replies by this plan from now on; None: nothing any more."""
        key = self._known(account).key
        if plan is not None:
            self._poster.trust(plan.ca_file)
        self.callbacks.set_plan(key, plan)

    async def outage(self, kind: OutageKind | None) -> None:
        """Begin an outage of a kind, or end it; calls that hang stay so until their clients give up."""
        assert self._listener is not None  # noqa: S101 - only a started simulator can be steered
        self._front.outage = kind
        if kind == "refuse":
            await self._listener.refuse()
        else:
            await self._listener.open()

    def opt_out(self, number: str) -> None:
        """From now on the number is unsubscribed."""
        normal = normal_number(number)
        if normal is None:
            raise ValueError(f"{number!r} is not a phone number of 8 to 15 digits.")
        self._service.opt_outs.add(normal)

    def metrics(self) -> bytes:
        """What the ledger has counted, in Prometheus' text format."""
        tallies = self.ledger.tallies(self._clock.now_us())
        limits = [self._known(tally.account).rate_per_s for tally in tallies]
        return metrics_text(tallies, limits, self.callbacks.summary())

    async def reset(self) -> None:
        """Put everything back as it was at the start; calls still running are forgotten."""
        self._faults.clear()
        self._service.opt_outs.clear()
        self._service.inbox.clear()
        self.callbacks.clear()
        self._service.accounts = self._accounts()
        self.ledger.reset()
        self._set_callbacks_of_config()
        await self.outage(None)

    def _accounts(self) -> Accounts:
        config = self._config

        def new_limit(rate_per_s: int) -> Limit:
            return limit_for(config.window, rate_per_s, burst=config.burst, refused_count=config.count_refused)

        return Accounts(None if config.unlimited else config.rate_per_s, new_limit, config.accounts)

    def _set_callbacks_of_config(self) -> None:
        for account, plan in (self._config.callbacks or {}).items():
            self.set_callbacks(account, plan)

    def _known(self, account: str) -> Account:
        known = self._service.accounts.find(account)
        if known is None:
            raise ValueError(f"There is no account {account!r}: it is not in the accounts file.")
        return known

    def _chance(self, purpose: str) -> random.Random:
        """A source of chance of its own for each purpose, so that one does not shift the other."""
        return random.Random() if self._config.seed is None else random.Random(f"{self._config.seed}:{purpose}")

    async def _stop_posting(self) -> None:
        """Cut what is being posted; raises what had ended it before."""
        assert self._posting is not None  # noqa: S101 - it is started before this can be called
        self._posting.cancel()
        await asyncio.wait((self._posting,))
        if not self._posting.cancelled():
            self._posting.result()

    async def _open_api(self, stack: AsyncExitStack) -> Listener:
        config = self._config
        server = CuttingServer(
            self._front.handle,
            request_factory=self._front.request,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=config.keep_alive_s,
        )
        context = await asyncio.to_thread(make_certificate, self.ca_file, config.host)
        listener = Listener(server, context, config.host, config.port)
        stack.push_async_callback(listener.close)
        await listener.open()
        return listener

    async def _open_control(self, stack: AsyncExitStack) -> str:
        runner = web.AppRunner(control_application(self), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        host = self._config.control_host
        site = web.TCPSite(runner, host, self._config.control_port)
        await site.start()
        return f"http://{host}:{runner.addresses[0][1]}"
