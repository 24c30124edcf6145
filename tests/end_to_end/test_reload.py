"""SIGHUP: accounts come, change and go in a worker that goes on sending."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import httpx
import orjson
import pytest
from redis import Redis as RedisClient

from deploy.local import RabbitMQ, Redis
from tests.end_to_end.conftest import TERM, System, Upstream, Worker
from tests.jobs import job_body

Connect = Callable[[], Awaitable[Upstream]]
FIRST = '[accounts.first]\napp_key_file = "first.key"\nrate_per_s = {rate}\n'
SECOND = '[accounts.second]\napp_key = "key-second"\nrate_per_s = 50\n'


class Accounts:
    """The accounts file and a key file, and the worker that is told when they changed."""

    def __init__(self, system: System) -> None:
        self.folder: Path = system.folder
        self.write(FIRST.format(rate=40))
        self.key("key-first")
        own = {"MMS_ACCOUNT": "", "MMS_APP_KEY": "", "MMS_RATE_PER_S": ""}
        self.worker: Worker = system.start_worker(MMS_ACCOUNTS_FILE=str(self.folder / "accounts.toml"), **own)

    def write(self, *tables: str) -> None:
        (self.folder / "accounts.toml").write_text("\n".join(tables))

    def key(self, key: str) -> None:
        (self.folder / "first.key").write_text(f"{key}\n")

    async def reload(self) -> None:
        before = self._reloads()
        self.worker.signal(signal.SIGHUP)
        await until(lambda: self._reloads() > before)

    def _reloads(self) -> float:
        metrics = self.worker.metrics()
        return sum(metrics[f'mms_reloads_total{{result="{result}"}}'] for result in ("applied", "refused"))

    def told(self, event: str) -> list[dict[str, Any]]:
        lines = map(orjson.loads, self.worker.log().splitlines())
        return [line for line in lines if line["event"] == event]


async def until(is_so: Callable[[], object], limit_s: float = 20) -> None:
    async with asyncio.timeout(limit_s):
        while not is_so():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


def sent_by(system: System, key: str) -> list[str]:
    return sorted(one.text for one in system.simulator.control.accepted() if one.account == key)


async def test_accounts_are_added_and_removed_and_nothing_is_lost_or_doubled(system: System, upstream: Connect) -> None:
    accounts = Accounts(system)
    worker, outside = accounts.worker, await upstream()
    await outside.publish(job_body("early"), key="second")
    assert [letter.body for letter in await outside.waiting("mms.unroutable")] == [job_body("early")]

    await outside.publish(*(job_body(f"a{n}", text=f"a{n}") for n in range(300)), key="first")
    await outside.until_events(20)
    accounts.write(FIRST.format(rate=40), SECOND)
    await accounts.reload()
    assert accounts.told("accounts_changed")[-1] | {"timestamp": ""} == {
        "event": "accounts_changed",
        "level": "info",
        "added": ["second"],
        "removed": [],
        "changed": [],
        "timestamp": "",
    }
    await outside.publish(*(job_body(f"b{n}", text=f"b{n}") for n in range(100)), key="second")
    await outside.publish(job_body("b100", text="b100"), key="second.urgent")
    await until(lambda: len(sent_by(system, "key-second")) > 20)
    assert len(sent_by(system, "key-first")) < 300

    accounts.write(SECOND)
    await accounts.reload()
    assert accounts.told("accounts_changed")[-1]["removed"] == ["first"]
    await until(lambda: accounts.told("account_left"))
    assert not [name for name in worker.metrics() if '"first"' in name or "mms.jobs.first" in name]
    sent = sent_by(system, "key-first")
    await until(lambda: len(sent_by(system, "key-second")) == 101)
    await outside.publish(job_body("late", text="late"), key="first")
    await outside.until_events(len(sent) + 101)
    await asyncio.sleep(0.5)
    waiting = [orjson.loads(letter.body)["text"] for letter in await outside.waiting("mms.jobs.first")]
    assert sent_by(system, "key-first") == sent  # nothing more
    assert sorted([*sent, *waiting]) == sorted(["late", *(f"a{n}" for n in range(300))])
    assert set(map(tuple, outside.ends().values())) == {("sent",)}
    assert (system.simulator.control.summary().duplicates, accounts.told("broker_lost")) == (0, [])
    worker.signal(TERM)
    assert worker.wait() == 0


async def test_an_account_that_is_removed_and_added_again_goes_on_where_it_stopped(
    system: System, upstream: Connect
) -> None:
    accounts = Accounts(system)
    outside = await upstream()
    await outside.publish(*(job_body(f"a{n}", text=f"a{n}") for n in range(200)), key="first")
    for _ in range(3):
        await until(lambda: len(outside.events) > 10)
        accounts.write(SECOND)
        await accounts.reload()
        accounts.write(FIRST.format(rate=40), SECOND)
        await accounts.reload()
    await outside.until_events(200)
    assert outside.ends() == {f"a{n}": ["sent"] for n in range(200)}
    assert system.simulator.control.summary().duplicates == 0
    assert system.simulator.control.summary().worst_rolling_second <= 50


async def test_a_changed_rate_is_the_new_pace(system: System, upstream: Connect) -> None:
    accounts = Accounts(system)
    outside = await upstream()
    await outside.publish(*(job_body(f"a{n}", text=f"a{n}") for n in range(80)), key="first")
    await outside.until_events(20)
    accounts.write(FIRST.format(rate=5))
    await accounts.reload()
    assert accounts.told("accounts_changed")[-1]["changed"] == ["first"]
    assert accounts.worker.metrics()['mms_ratelimit_limit{account="first"}'] == 5
    await asyncio.sleep(1)
    before, since_s = len(system.simulator.control.calls()), time.monotonic()
    await asyncio.sleep(3)
    count, for_s = len(system.simulator.control.calls()) - before, time.monotonic() - since_s
    assert count / for_s == pytest.approx(5, abs=1)
    accounts.write(FIRST.format(rate=40))
    await accounts.reload()
    await outside.until_events(80)


async def test_a_file_with_mistakes_changes_nothing_and_all_of_them_are_told(system: System, upstream: Connect) -> None:
    accounts = Accounts(system)
    outside = await upstream()
    accounts.write(
        FIRST.format(rate="-1"),
        '[accounts.second]\napp_key_file = "missing.key"\n',
        '[accounts.third]\nkey = "s3cret"\n',
    )
    await accounts.reload()
    (refused,) = accounts.told("reload_refused")
    for word in ("first", "missing.key", "third"):
        assert word in " ".join(refused["problems"])
    assert "s3cret" not in accounts.worker.log()
    metrics = accounts.worker.metrics()
    assert metrics['mms_reloads_total{result="refused"}'] == 1
    assert metrics['mms_ratelimit_limit{account="first"}'] == 40
    await outside.publish(job_body("a"), key="first")
    await outside.until_events(1)


async def test_a_changed_key_is_used_by_the_next_call_and_ends_a_suspension(system: System, upstream: Connect) -> None:
    accounts = Accounts(system)
    outside = await upstream()
    await outside.publish(job_body("a", text="a"), key="first")
    await outside.until_events(1)
    accounts.key("key-second-life")
    await accounts.reload()
    await outside.publish(job_body("b", text="b"), key="first")
    await outside.until_events(2)
    assert (sent_by(system, "key-first"), sent_by(system, "key-second-life")) == (["a"], ["b"])

    system.simulator.control.revoke("key-second-life")
    await outside.publish(job_body("c", text="c"), key="first")
    await until(lambda: accounts.told("account_suspended"))
    accounts.key("key-third")
    changed_s = time.monotonic()
    await accounts.reload()
    await until(lambda: accounts.told("account_resumed"))
    assert time.monotonic() - changed_s < 5  # the next probe would come after 15 s
    await outside.until_events(3, limit_s=40)
    assert sent_by(system, "key-third") == ["c"]
    assert "key-third" not in accounts.worker.log()


async def test_an_account_that_cannot_start_is_told_and_the_others_go_on(system: System, upstream: Connect) -> None:
    accounts = Accounts(system)
    outside = await upstream()
    await outside.declare("mms.jobs.second")
    accounts.write(FIRST.format(rate=40), SECOND)
    await accounts.reload()
    (told,) = accounts.told("account_not_started")
    assert "queue mms.jobs.second exists in the broker with other properties" in told["why"]
    assert accounts.worker.metrics()["mms_accounts_not_started"] == 1
    await outside.publish(job_body("a"), key="first")
    await outside.until_events(1)
    assert accounts.told("broker_lost") == []
    await outside.delete("mms.jobs.second")
    await accounts.reload()
    await outside.publish(job_body("b"), key="second")
    await outside.until_events(2)
    assert accounts.worker.metrics()["mms_accounts_not_started"] == 0


async def test_the_one_accounts_key_is_read_from_its_file_again(system: System, upstream: Connect) -> None:
    """As Kubernetes and compose give it: no accounts file, one file with the key."""
    key = system.folder / "app-key"
    key.write_text("key-before\n")
    worker = system.start_worker(MMS_APP_KEY="", MMS_APP_KEY_FILE=str(key))
    outside = await upstream()
    await outside.publish(job_body("a", text="a"))
    await outside.until_events(1)
    key.write_text("key-after\n")
    worker.signal(signal.SIGHUP)
    await until(lambda: worker.metrics()['mms_reloads_total{result="applied"}'] == 1)
    await outside.publish(job_body("b", text="b"))
    await outside.until_events(2)
    assert (sent_by(system, "key-before"), sent_by(system, "key-after")) == (["a"], ["b"])
    for secret in ("key-before", "key-after"):
        assert secret not in worker.log()


async def test_a_renewed_login_counts_from_the_next_connection(
    own_rabbitmq: RabbitMQ, own_redis: Redis, system: System
) -> None:
    """The password is changed at the servers, which end all connections: with the old one nobody could come back."""
    broker, store = own_rabbitmq, own_redis
    urls = {"amqp": system.folder / "amqp-url", "redis": system.folder / "redis-url"}

    def give(password: str, by: str = "change_password") -> None:
        broker.control(by, "rotated", password)
        with RedisClient.from_url(store.url) as client:
            client.acl_setuser("rotated", enabled=True, reset=True, keys=["*"], channels=["*"], categories=["+@all"],
                               passwords=[f"+{password}"])  # fmt: skip
        for name, url in (("amqp", broker.url), ("redis", store.url)):
            parts = urlsplit(url)
            netloc = f"rotated:{password}@{parts.hostname}:{parts.port}"
            urls[name].write_text(parts._replace(netloc=netloc).geturl())

    give("login-before", by="add_user")
    vhost = urlsplit(broker.url).path.removeprefix("/") or "/"
    broker.control("set_permissions", "-p", vhost, "rotated", ".*", ".*", ".*")
    files = {"MMS_AMQP_URL_FILE": str(urls["amqp"]), "MMS_REDIS_URL_FILE": str(urls["redis"])}
    worker = system.start_worker(MMS_AMQP_URL="", MMS_REDIS_URL="", **files)
    receiver = system.start_receiver(MMS_AMQP_URL="", MMS_REDIS_URL="", **files)
    give("login-after")
    for process in (worker, receiver):
        process.signal(signal.SIGHUP)
        await until(lambda process=process: process.metrics()['mms_reloads_total{result="applied"}'] == 1)  # type: ignore[misc]
        assert process.log().count('"login_renewed"') == 2
        assert "settings_changed" not in process.log()
    broker.control("close_all_connections", "the password was changed")
    with RedisClient.from_url(store.url) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    async with await aio_pika.connect(broker.url) as connection:
        jobs = await (await connection.channel()).get_exchange("mms.jobs", ensure=False)
        await jobs.publish(aio_pika.Message(job_body("a", text="a")), "acme")
        await until(lambda: sent_by(system, "key-acme") == ["a"])
    for process in (worker, receiver):
        await until(lambda process=process: httpx.get(f"{process.admin}/readyz").status_code == 200)  # type: ignore[misc]
        assert "login-after" not in process.log()
