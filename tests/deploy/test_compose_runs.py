"""What compose.yaml puts together works together: its servers' settings, its users, its secrets, its health checks.

Real servers, TLS everywhere, and a job that goes all the way to its delivery report; without an engine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from redis import Redis as RedisClient

from deploy.access.broker import ROLES
from deploy.local.located import Native, locate
from deploy.local.ports import LOOPBACK, free_port
from tests.deploy.compose_parts import (
    IMAGE_ENVIRONMENT,
    SERVICES,
    ComposeRabbitMQ,
    ComposeRedis,
    Ours,
    Places,
    environment,
    until,
)
from tests.deploy.places import ROOT
from tests.jobs import PNG


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    if not os.environ.get("CI") and not isinstance(locate(), Native):
        pytest.skip("RabbitMQ and Redis are not installed here, and this does without containers: make setup.")
    made = Places(tmp_path_factory.mktemp("compose"))
    made.prepare()
    return made


@pytest.fixture(scope="module")
def broker(places: Places) -> Iterator[ComposeRabbitMQ]:
    with ComposeRabbitMQ(places) as server:
        places.ports["broker"] = server.port
        yield server


@pytest.fixture(scope="module")
def store(places: Places) -> Iterator[ComposeRedis]:
    with ComposeRedis(places) as server:
        places.ports["redis"] = server.port
        yield server


def test_the_broker_is_well_by_its_health_check_and_tells_prometheus(broker: ComposeRabbitMQ) -> None:
    assert broker.is_well()
    told = httpx.get(f"http://{LOOPBACK}:{broker.metrics_port}/metrics", trust_env=False)
    assert "rabbitmq_build_info" in told.text
    users = {line.split()[0] for line in broker.control("list_users").splitlines()[1:]}
    assert users == {role.name for role in ROLES}, "nobody else, and no guest"
    broker.control("stop_app")
    assert not broker.is_well()
    broker.control("start_app")
    assert broker.is_well()


def test_redis_appends_before_it_answers_and_never_forgets(store: ComposeRedis, places: Places) -> None:
    password = (places.secrets / "operator.redis-password").read_text()
    with RedisClient(
        host="localhost",
        port=store.port,
        username="operator",
        password=password,
        ssl=True,
        ssl_ca_certs=str(places.secrets / "ca.pem"),
    ) as client:
        told: dict[str, Any] = client.info()
    assert (told["aof_enabled"], told["maxmemory_policy"]) == (1, "noeviction")
    assert told["maxmemory"] == 768 * 1024**2
    store.kill()
    assert not store.is_well()
    store.start()


def test_a_job_goes_from_upstream_to_its_report(broker: ComposeRabbitMQ, store: ComposeRedis, places: Places) -> None:
    assert broker.is_running()
    assert store.is_running()
    with ExitStack() as stack:
        receiver_port, admin_ports = free_port(), [free_port() for _ in range(3)]
        places.ports["receiver"] = receiver_port
        places.prepare()
        control_url = start_simulator(places, stack)
        admin = [{"MMS_ADMIN_PORT": str(port)} for port in admin_ports]
        running = [
            started("worker", places, stack, admin[index]) for index in range(SERVICES["worker"]["deploy"]["replicas"])
        ]
        for each in running:
            until(each.is_well, "health")
        assert "worker" in SERVICES["receiver"]["depends_on"]
        running.append(started("receiver", places, stack, {**admin[2], "MMS_RECEIVE_PORT": str(receiver_port)}))
        until(running[-1].is_well, "health")
        publish(places)
        until(
            lambda: total(admin_ports[:2], 'mms_jobs_finished_total{account="default",outcome="sent"}') == 1, "a send"
        )
        until(
            lambda: total(admin_ports[2:], 'mms_reports_total{account="default",status="delivered"}') == 1, "a report"
        )
        assert accepted(control_url) == 1
        assert status(places)["accounts"][0]["account"] == "default"
        assert [each.end() for each in running] == [0, 0, 0]


def start_simulator(places: Places, stack: ExitStack) -> str:
    """The URL that steers it."""
    control_port = free_port()
    places.ports["simulator"] = free_port()
    arguments = {
        "--host=simulator": f"--host={LOOPBACK}",
        "--port=8443": f"--port={places.ports['simulator']}",
        "--control-host=0.0.0.0": f"--control-host={LOOPBACK}",
        "--control-port=8444": f"--control-port={control_port}",
    }
    simulator = started("simulator", places, stack, {"CONTROL_PORT": str(control_port)}, arguments)
    until(simulator.is_well, "the simulator")
    return f"http://{LOOPBACK}:{control_port}"


def started(
    name: str, places: Places, stack: ExitStack, settings: dict[str, str], arguments: dict[str, str] | None = None
) -> Ours:
    process = Ours(name, places, arguments or {}, settings)
    stack.callback(process.process.wait)
    stack.callback(process.process.kill)
    return process


def publish(places: Places) -> None:
    """As `docker compose run publish` does it."""
    (places.folder / "picture.png").write_bytes(PNG)
    _, command = SERVICES["publish"]["entrypoint"]
    picture = str(places.folder / "picture.png")
    told_by("publish", places, command, "--to", "0412345678", "--text", "Hello", "--media", picture)


def status(places: Places) -> dict[str, Any]:
    """As `docker compose run console status --json` tells it."""
    read: dict[str, Any] = json.loads(told_by("console", places, "status", "--json"))
    return read


def told_by(name: str, places: Places, *arguments: str) -> str:
    """What a command of that service prints."""
    given = IMAGE_ENVIRONMENT | SERVICES[name]["environment"]
    command = [sys.executable, "-m", "worker", *arguments]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment(given, places), check=False, capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def total(admin_ports: list[int], series: str) -> float:
    """The sum of the series' values in what these processes export."""
    values = []
    for port in admin_ports:
        lines = httpx.get(f"http://{LOOPBACK}:{port}/metrics", trust_env=False).text.splitlines()
        values += [float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == series]
    return sum(values)


def accepted(control_url: str) -> int:
    told = httpx.get(f"{control_url}/accepted", trust_env=False).json()
    return len(told["accepted"])
