"""What happens in the run, one thing after the other: what is done, by which expression it is seen, how it is undone.

Each is left when Prometheus has seen it: the run takes as long as it must, and not longer.
"""

import asyncio
import base64
import json
import signal
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from deploy.local import RabbitMQ, Redis
from loadtest.dashboards.crew import Crew
from loadtest.dashboards.jobs import CAMPAIGN, SHOP, crashing_job
from loadtest.dashboards.producer import publish_one
from loadtest.simulator.control_client import SimulatorControl
from loadtest.simulator.faults import Fault

SHOP_KEY = "key-shop"
KEYS = {SHOP: SHOP_KEY, CAMPAIGN: "key-campaign"}
REPLIES = 8
BODY_BYTES_TOO_MANY = 1_100_000
CREDIT_LOW = 60
STRANGE_MESSAGES = 3
HANGING = 8
"""Calls that hang at a time, so that each worker has some."""


@dataclass(slots=True)
class Stage:
    """All that is steered. `callbacks` is the receiver's address of the shop, with its token."""

    rabbitmq: RabbitMQ
    redis: Redis
    control: SimulatorControl
    crew: Crew
    accounts_file: Path
    callbacks: str = field(repr=False)
    picture: str = field(repr=False)
    limits: dict[str, int]
    api_url: str
    api_ca_file: Path


Do = Callable[[Stage], Awaitable[None]]


async def _nothing(_: Stage) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Incident:
    """`seen` holds (is over 0, for a series) once Prometheus has seen it, `over` once it is past."""

    name: str
    do: Do
    seen: Sequence[str]
    undo: Do = _nothing
    over: Sequence[str] = ()


async def _doubts(stage: Stage) -> None:
    # The campaign's is resolved by its report, in half a minute or so: there is nobody else's report to take for it.
    stage.control.add_fault(Fault("reset_after_accept", count=1, account=KEYS[CAMPAIGN]))
    for kind in ("reset_after_accept", "500_after_accept", "500_before_accept"):
        stage.control.add_fault(Fault(kind, count=1, account=SHOP_KEY))


async def _knocks(stage: Stage) -> None:
    """What comes to the receiver's door besides what the vendor posts."""
    async with httpx.AsyncClient(trust_env=False, timeout=10.0) as http:
        for _ in range(20):
            await http.post(f"{stage.callbacks}/reports", content=b"not what it should be")
            await http.post(f"{stage.callbacks}x/reports", content=b"[]")
        await http.post(f"{stage.callbacks}/reports", content=b" " * BODY_BYTES_TOO_MANY)


async def _stranger(stage: Stage) -> None:
    """Somebody else sends with the shop's key: reports will come of a message that no worker knows."""
    trust = ssl.create_default_context(cafile=str(stage.api_ca_file))
    picture = {"mms_file": ("picture.png", base64.b64decode(stage.picture))}
    async with httpx.AsyncClient(verify=trust, trust_env=False, timeout=10.0) as http:
        for number in range(STRANGE_MESSAGES):
            form = {"mms_text": f"From elsewhere, {number}", "numbers": json.dumps(["+61470000002"])}
            await http.post(f"{stage.api_url}/send-mms", data=form, files=picture, auth=(SHOP_KEY, ""))
            await asyncio.sleep(0.2)


async def _replies(stage: Stage) -> None:
    accepted = [one for one in stage.control.accepted() if one.account == SHOP_KEY][:REPLIES]
    fields = [{"from": one.to, "body": "Thank you!", "original_message_id": one.message_id} for one in accepted]
    stage.control.add_replies(SHOP_KEY, fields)


async def _lower(stage: Stage) -> None:
    for name, key in KEYS.items():
        stage.control.set_rate(stage.limits[name] // 2, key)
        stage.control.add_fault(Fault("429_retry_after", count=1, account=key, after_s=3.0))


async def _raise(stage: Stage) -> None:
    for name, key in KEYS.items():
        stage.control.set_rate(stage.limits[name], key)


async def _revoke(stage: Stage) -> None:
    stage.control.revoke(SHOP_KEY)


async def _restore(stage: Stage) -> None:
    stage.control.restore(SHOP_KEY)


async def _refuse(stage: Stage) -> None:
    stage.control.outage("refuse")


async def _open(stage: Stage) -> None:
    stage.control.outage(None)


async def _little_credit(stage: Stage) -> None:
    stage.control.set_credit(SHOP_KEY, CREDIT_LOW)


async def _much_credit(stage: Stage) -> None:
    stage.control.set_credit(SHOP_KEY, None)


async def _pause_redis(stage: Stage) -> None:
    await asyncio.to_thread(stage.redis.pause)


async def _resume_redis(stage: Stage) -> None:
    await asyncio.to_thread(stage.redis.resume)


async def _alarm(stage: Stage) -> None:
    await asyncio.to_thread(stage.rabbitmq.control, "set_vm_memory_high_watermark", "0.0000001")


async def _kill_broker(stage: Stage) -> None:
    """While the alarm lasts, so that publications are under way."""
    await asyncio.to_thread(stage.rabbitmq.kill)


async def _start_broker(stage: Stage) -> None:
    """The alarm is gone with it."""
    await asyncio.to_thread(stage.rabbitmq.start)


async def _crash(stage: Stage) -> None:
    await publish_one(stage.rabbitmq.url, crashing_job(stage.picture))


async def _bad_reload(stage: Stage) -> None:
    right = stage.accounts_file.read_text(encoding="utf-8")
    stage.accounts_file.write_text(right.replace("rate_per_s", "rate_per_a"), encoding="utf-8")
    _signal_all(stage, signal.SIGHUP)
    await asyncio.sleep(1.0)
    stage.accounts_file.write_text(right, encoding="utf-8")


async def _good_reload(stage: Stage) -> None:
    _signal_all(stage, signal.SIGHUP)


async def _drains(stage: Stage) -> None:
    """While calls hang, one is told to stop, and waits for them. The other is told twice, and breaks them off."""
    first, second = stage.crew.workers
    for worker, times in ((first, 1), (second, 2)):
        stage.control.add_fault(Fault("never", count=HANGING, account=KEYS[CAMPAIGN]))
        await asyncio.sleep(1.0)
        for _ in range(times):
            worker.signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
        await asyncio.to_thread(worker.running.wait_until_stopped)


def _signal_all(stage: Stage, number: signal.Signals) -> None:
    for place in stage.crew.places:
        place.signal(number)


SENDING = 'min(sum by (account) (rate(mms_recipients_total{result="sent"}[10s]))) > 0'
CONNECTED = "min(mms_broker_connected) == 1"
ALL_UP = 'sum(up{job=~"mms-.*"}) == 4'

SMALL_ONES = (
    Incident("another sender with the same key", _stranger, ("sum(mms_reports_put_aside_total) > 0",)),
    Incident(
        "strangers at the receiver's door",
        _knocks,
        tuple(
            f'sum(rate(mms_callback_requests_total{{result="{result}"}}[10s])) > 0'
            for result in ("malformed", "unknown_address", "too_large")
        ),
    ),
    Incident("replies", _replies, ("sum(mms_replies_total) > 0", "sum(mms_replies_polled_total) > 0")),
    Incident(
        "little credit", _little_credit, ("sum(rate(mms_low_balance_warnings_total[10s])) > 0",), undo=_much_credit
    ),
    Incident(
        "a mistake in the accounts, and its correction",
        _bad_reload,
        ('max(mms_reloads_total{result="refused"}) > 0',),
        undo=_good_reload,
        over=('max(mms_reloads_total{result="applied"}) > 0',),
    ),
)

#: What stands together happens at the same time.
INCIDENTS: tuple[tuple[Incident, ...], ...] = (
    (Incident("all is well", _nothing, (SENDING, "count(mms_account_balance) > 1")),),
    # Before the stranger, whose calls make 429s: a 429 is a proper answer, and ends a row of failures.
    (
        Incident(
            "answers that do not come",
            _doubts,
            ("max(mms_in_doubt_jobs) > 1", 'max(mms_account_suspended{reason="api"}) > 0'),
            over=('max(mms_account_suspended{reason="api"}) == 0',),
        ),
    ),
    SMALL_ONES,
    (
        Incident(
            "the limits are lowered",
            _lower,
            tuple(
                f'max(mms_ratelimit_{how}{{account="{account}"}}) > 0'
                for how in ("lowered", "closed")
                for account in KEYS
            ),
            undo=_raise,
        ),
    ),
    (
        Incident(
            "a key is revoked",
            _revoke,
            (
                'max(mms_account_suspended{reason="credentials"}) > 0',
                'sum(mms_reply_polls_total{result="ended_early"}) > 0',
            ),
        ),
    ),
    (
        Incident(
            "no connection to the API",
            _refuse,
            ('sum(mms_api_requests_total{result="not_sent"}) > 0',),
            undo=_open,
            over=(
                'max(mms_account_suspended{reason="api"}) == 0',
                'sum(rate(mms_recipients_total{result="sent"}[4s])) > 0',
            ),
        ),
    ),
    (
        Incident(
            "Redis hangs",
            _pause_redis,
            (
                'max(mms_ratelimit_mode{mode="stopped"}) > 0',
                "sum(mms_journal_failures_total) > 0",
                'sum(rate(mms_callback_requests_total{result="not_taken"}[10s])) > 0',
            ),
            undo=_resume_redis,
            over=('min(mms_ratelimit_mode{mode="shared"}) == 1',),
        ),
        Incident("the alert about the key", _nothing, ('count(ALERTS{alertstate="firing", severity="critical"}) > 0',)),
    ),
    (Incident("an alarm in RabbitMQ", _alarm, ("max(mms_broker_blocked) > 0",)),),
    (
        Incident(
            "RabbitMQ is killed",
            _kill_broker,
            ("min(mms_broker_connected) == 0", "sum(mms_publish_failures_total) > 0"),
            undo=_start_broker,
            over=(CONNECTED,),
        ),
        Incident("the key is right again", _restore, ("max(mms_account_suspended) == 0", SENDING)),
    ),
    (
        Incident(
            "workers are replaced",
            _drains,
            (
                "max(max_over_time(mms_draining[1m])) > 0",
                'max(mms_drains_total{result="whole"}) > 0',
                'max(mms_drains_total{result="timed_out"}) > 0',
            ),
            over=(ALL_UP, CONNECTED),
        ),
    ),
    (
        Incident(
            "a message that ends its workers",
            _crash,
            ("sum(rate(mms_jobs_suspected_total[20s])) > 0", 'sum(up{job="mms-worker"}) < 2'),
            over=(ALL_UP, CONNECTED),
        ),
    ),
    (
        Incident(
            "all is well again",
            _nothing,
            # Some of it was counted by a worker that is gone.
            (
                SENDING,
                *(
                    f"sum(max_over_time(mms_{what}_total[10m])) > 0"
                    for what in ("in_doubt_resolved", "reports_unmatched")
                ),
            ),
        ),
    ),
)
