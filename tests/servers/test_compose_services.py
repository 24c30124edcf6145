"""The way through `docker compose`, as far as it can be seen without a Docker engine."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.located import Missing
from deploy.local.rabbitmq_server import RabbitMQ
from deploy.local.redis_server import DATABASES, Redis
from deploy.local.runners import COMPOSE_FILE, ComposeRunner, Plan

DOCKER = """#!/bin/sh
echo "$MMS_LOCAL_REDIS_PORT $*" >> "$DOCKER_CALLS"
case "$*" in *"--status paused"*) echo 4f3c;; esac
"""


@pytest.fixture
def docker_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for the docker command: notes what it is told, and that the container is paused."""
    docker = tmp_path / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("DOCKER_CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


@pytest.fixture
def servers() -> Iterator[tuple[RabbitMQ, Redis]]:
    made = RabbitMQ(), Redis()
    yield made
    for server in made:
        server.close()


def test_every_variable_of_the_compose_file_is_set_and_none_is_unknown(servers: tuple[RabbitMQ, Redis]) -> None:
    in_file = set(re.findall(r"\$\{(\w+)", COMPOSE_FILE.read_text()))
    assert in_file == {name for server in servers for name in server._plan().variables}


def test_the_compose_file_publishes_on_loopback_only_and_names_both_services() -> None:
    text = COMPOSE_FILE.read_text()
    published = re.findall(r'- "(.*):(?:\d+)"$', text, re.MULTILINE)
    assert [each.partition(":")[0] for each in published] == ["127.0.0.1"] * 3
    services = re.findall(r"^  (\w+):$", text, re.MULTILINE)
    assert services == [RabbitMQ.service, Redis.service]
    assert re.findall(r"image: (\S+)", text) == ["rabbitmq:4-management", "redis:7"]
    assert f'- "{DATABASES}"' in text


def test_each_step_is_one_compose_command_and_closing_removes_the_project(docker_calls: Path) -> None:
    runner = ComposeRunner("redis")
    runner.launch(Plan(commands=(), variables={"MMS_LOCAL_REDIS_PORT": "20001"}))
    runner.pause()
    runner.resume()
    runner.kill()
    runner.close()
    project = re.escape(" ".join(runner.command()))
    assert re.fullmatch(
        r"docker compose --file \S+/deploy/compose\.services\.yaml --project-name mms-local-\w+",
        project.replace("\\", ""),
    )
    calls = [re.sub(r"compose .* mms-local-\w+ ", "", line) for line in docker_calls.read_text().splitlines()]
    assert calls == [
        "20001 up --detach redis",
        "20001 pause redis",
        "20001 ps --quiet --status paused redis",
        "20001 unpause redis",
        "20001 kill redis",
        " down --volumes --timeout 0",
    ]
    assert not runner.folder.exists()


def test_advice_names_what_is_missing_and_what_to_do() -> None:
    advice = Missing(packages=("rabbitmq-server",)).advice
    assert "no rabbitmq-server here" in advice
    assert "install rabbitmq-server" in advice
    assert "make setup" in advice
