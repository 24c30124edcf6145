"""``mms-worker account`` as a person uses it: balances and states, in a slot of the account's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from redis import Redis as RedisClient

from tests.end_to_end.conftest import System


def test_balances_and_states_of_all_accounts(system: System, tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.toml"
    names = ("rich", "poor", "spent", "wrong")
    accounts.write_text("".join(f'[accounts.{name}]\napp_key = "key-{name}"\nrate_per_s = 50\n' for name in names))
    settings: dict[str, Any] = {
        "MMS_ACCOUNTS_FILE": str(accounts),
        "MMS_ACCOUNT": "",
        "MMS_APP_KEY": "",
        "MMS_RATE_PER_S": "",
    }
    system.simulator.control.set_credit("key-rich", 500)
    system.simulator.control.set_credit("key-poor", 99)
    system.simulator.control.set_credit("key-spent", 0)
    system.simulator.control.revoke("key-wrong")
    with RedisClient.from_url(system.redis_url) as redis:
        assert redis.keys("mms:bucket:*") == []
        done = system.command("account", "--json", **settings)
        # Each question took a slot.
        assert len(redis.keys("mms:bucket:*")) == len(names)
    assert done.returncode == 1
    seen = {one["account"]: one for one in orjson.loads(done.stdout)["accounts"]}
    assert {name: (one["state"], one["mms_balance"], one["suspended"]) for name, one in seen.items()} == {
        "rich": ("well", 500.0, ""),
        "poor": ("low", 99.0, ""),
        "spent": ("used_up", 0.0, ""),
        "wrong": ("refused", None, ""),
    }
    shown = system.command("account", "rich", MMS_BALANCE_LOW="500.01", **settings)
    assert shown.returncode == 0
    assert "low" in shown.stdout.decode()
    assert "500.00" in shown.stdout.decode()
    assert "poor" not in shown.stdout.decode()
    assert system.command("account", "nobody", **settings).returncode == 2


def test_without_redis_the_api_is_asked_all_the_same(system: System, unused_tcp_port: int) -> None:
    done = system.command("account", "--json", MMS_REDIS_URL=f"redis://127.0.0.1:{unused_tcp_port}/0")
    assert done.returncode == 0, done.stderr
    (one,) = orjson.loads(done.stdout)["accounts"]
    assert (one["state"], one["suspended"]) == ("well", None)


@pytest.mark.parametrize("kind", ["refuse", "502"])
def test_an_api_that_is_away_is_one_sentence(system: System, kind: str) -> None:
    system.simulator.control.outage(kind)  # type: ignore[arg-type]
    done = system.command("account")
    words = (done.stdout + done.stderr).decode()
    assert done.returncode == 1
    assert "Traceback" not in words
    assert "unknown" in words
