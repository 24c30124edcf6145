"""The commands as a person uses them: exit codes, sentences, no tracebacks, no secrets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from redis import Redis as RedisClient

from deploy.local import Redis
from tests.end_to_end.conftest import System
from tests.jobs import PNG, job_body


def said(system: System, *arguments: str, code: int, given: bytes = b"", **settings: str) -> str:
    done = system.command(*arguments, given=given, **settings)
    words = (done.stdout + done.stderr).decode()
    assert done.returncode == code, words
    assert "Traceback" not in words
    return words


@pytest.mark.parametrize("command", ["run", "publish", "check", "account", "schema"])
def test_help_has_examples(system: System, command: str) -> None:
    words = said(system, command, "--help", code=0)
    assert "Example" in words
    assert f"mms-worker {command}" in words


@pytest.mark.parametrize("command", ["run", "check"])
def test_wrong_settings_are_all_told_at_once(system: System, command: str) -> None:
    words = said(system, command, code=2, MMS_RATE_PER_S="fast", MMS_API_URL="http://plain.example", MMS_APP_KEY="")
    for name in ("MMS_RATE_PER_S", "MMS_API_URL", "MMS_APP_KEY"):
        assert name in words


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("MMS_AMQP_URL", "amqp://guest:s3cret@127.0.0.1:{port}/"),
        ("MMS_REDIS_URL", "redis://:s3cret@127.0.0.1:{port}/0"),
    ],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_an_unreachable_server_is_one_sentence_that_names_the_setting(
    system: System, command: str, setting: str, url: str, unused_tcp_port: int
) -> None:
    settings: dict[str, Any] = {setting: url.format(port=unused_tcp_port)}
    words = said(system, command, code=2, **settings)
    assert setting in " ".join(words.split())
    assert "s3cret" not in words


def test_a_refused_login_names_the_setting(system: System) -> None:
    scheme = system.amqp_url.split(":")[0]
    wrong = f"{scheme}://nobody:wrong-s3cret@{system.amqp_url.split('@')[1]}"
    words = " ".join(said(system, "run", code=2, MMS_AMQP_URL=wrong).split())
    assert "refused the login" in words
    assert "MMS_AMQP_URL" in words
    assert "s3cret" not in words


def test_a_taken_admin_port_names_the_setting(system: System) -> None:
    worker = system.start_worker()
    taken = worker.admin.rsplit(":", 1)[1]
    assert "MMS_ADMIN_PORT" in said(system, "run", code=2, MMS_ADMIN_PORT=taken)


def test_check_finds_everything_well_and_changes_nothing(system: System, own_redis: Redis) -> None:
    words = said(system, "check", code=0, MMS_REDIS_URL=own_redis.url)
    assert "✗" not in words
    assert words.count("✓") == 4


def test_check_tells_of_a_failpoint(system: System, own_redis: Redis) -> None:
    words = said(system, "check", code=2, MMS_REDIS_URL=own_redis.url, MMS_FAILPOINT="after_slot")
    assert "MMS_FAILPOINT is set" in " ".join(words.split())
    assert words.count("✗") == 1


def test_check_tells_what_makes_redis_forget(system: System, own_redis: Redis) -> None:
    with RedisClient.from_url(own_redis.url) as client:
        client.config_set("appendonly", "no")
        client.config_set("maxmemory-policy", "allkeys-lru")
    words = said(system, "check", code=2, MMS_REDIS_URL=own_redis.url)
    assert "append-only" in words
    assert "noeviction" in words


def test_check_tells_a_refused_key(system: System) -> None:
    system.simulator.control.revoke("key-acme")
    words = " ".join(said(system, "check", code=2).split())
    assert "MMS_APP_KEY" in words
    assert "key-acme" not in words


def test_publish_from_lines_counts_and_names_what_is_wrong(system: System, tmp_path: Path) -> None:
    system.start_worker()
    lines = tmp_path / "jobs.jsonl"
    lines.write_bytes(b"\n".join([job_body("a"), b"", job_body("b", to=[]), b"{", job_body("c")]) + b"\n")
    words = said(system, "publish", str(lines), "--account", "acme", code=1)
    assert "2 published, 2 not published" in words
    assert "line 3" in words
    assert "line 4" in words


def test_publish_from_standard_input_and_the_urgent_lane(system: System) -> None:
    worker = system.start_worker()
    words = said(system, "publish", "-", "--account", "acme", "--urgent", code=0, given=job_body("a"))
    assert "1 published" in words
    assert worker.process.poll() is None


def test_publish_from_flags_says_the_id(
    system: System, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    system.start_worker()
    picture = tmp_path / "p.png"
    picture.write_bytes(PNG)
    flags = ["--to", "0400000001", "--text", "hi", "--media", str(picture), "--account", "acme"]
    assert said(system, "publish", *flags, "--id", "mine", code=0).strip() == "mine"
    assert "cannot be read" in said(system, "publish", *flags[:-3], "nowhere.png", code=2)
    assert "to" in said(system, "publish", "--to", "1", *flags[2:], code=2)
    unreachable = f"amqp://127.0.0.1:{unused_tcp_port_factory()}/"
    assert "MMS_AMQP_URL" in " ".join(said(system, "publish", *flags, code=2, MMS_AMQP_URL=unreachable).split())


def test_publish_to_an_unknown_account_is_refused_before_anything_is_sent(system: System) -> None:
    system.start_worker()
    words = " ".join(said(system, "publish", "-", "--account", "nobody", code=2, given=job_body()).split())
    assert "mms.jobs.nobody" in words
    assert "--account" in words


def test_the_schemas_are_schemas(system: System) -> None:
    job = orjson.loads(said(system, "schema", "job", code=0))
    jsonschema.Draft202012Validator.check_schema(job)
    jsonschema.Draft202012Validator(job).validate(orjson.loads(job_body()))
    jsonschema.Draft202012Validator.check_schema(orjson.loads(said(system, "schema", "event", code=0)))
