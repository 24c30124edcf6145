"""compose.yaml, as far as it can be seen without an engine: its form, its hardening, its secrets and its settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml
from pydantic import SecretStr

from deploy.access.installation import Hosts, prepare
from loadtest.simulator.__main__ import _config, _parser
from tests.deploy.places import COMPOSE_FILE, DEPLOY, DOCKERFILE
from worker.settings import BrokerSettings, Settings, SettingsProblems, load, load_broker, load_receiver

COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {"worker": load, "receiver": load_receiver, "publish": load_broker, "console": load}
#: Where each is found by the others.
ADDRESSES = Hosts()
MARGIN_S = 5


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def bytes_of(text: str) -> int:
    return int(text[:-1]) * {"m": 1024**2, "g": 1024**3}[text[-1]]


def test_it_is_a_compose_file_and_nothing_in_it_is_misspelt() -> None:
    strict = compose_spec.PyCompose.from_json(json.dumps(COMPOSE))
    strict.validate()
    assert set(strict.service_names()) == set(SERVICES)


# --- Hardening --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.keys().isdisjoint({"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "userns_mode"})
    is_ours = "build" in service
    assert is_ours or re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), "not root, and by number"
    assert service["pids_limit"] <= 512
    assert bytes_of(service["mem_limit"]) <= 1024**3
    options = service["logging"]["options"]
    assert bytes_of(options["max-size"]) * int(options["max-file"]) <= 100 * 1024**2


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_has_an_exact_version_or_is_made_here(name: str) -> None:
    service = SERVICES[name]
    if "build" in service:
        assert (COMPOSE_FILE.parent / service["build"]["context"] / service["build"]["dockerfile"]) == (
            COMPOSE_FILE.parent / ".." / "deploy/Dockerfile"
        )
        assert f" AS {service['build']['target']}\n" in DOCKERFILE.read_text()
        assert service["image"].endswith(":local")
    else:
        assert re.fullmatch(r"docker\.io/[a-z]+/[a-z]+:v?\d+\.\d+\.\d+(-[a-z]+)?", service["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_two_services_publish_the_same_port() -> None:
    published = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == len(set(published))


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "profiles" not in service])
def test_what_runs_all_the_time_tells_whether_it_is_well(name: str) -> None:
    health = SERVICES[name]["healthcheck"]
    assert health["test"][0] in {"CMD", "CMD-SHELL"}
    assert seconds(health["timeout"]) <= seconds(health["interval"])
    assert seconds(health["start_interval"]) <= seconds(health["interval"]) <= 15
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert how["condition"] == "service_healthy"
        assert "healthcheck" in SERVICES[needed]


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "profiles" not in service])
def test_what_runs_all_the_time_comes_back_also_after_it_was_told_to_read_its_files_again(name: str) -> None:
    """With "unless-stopped" the engine starts nothing again that had a SIGHUP (moby/moby#41302).

    Nor does it with "always" what does not say which signal stops it.
    """
    assert SERVICES[name]["restart"] == "always"
    if SERVICES[name].get("build", {}).get("target") == "worker":
        assert "\nSTOPSIGNAL SIGTERM\n" in DOCKERFILE.read_text().partition(" AS worker\n")[2]


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "profiles" in service])
def test_a_command_runs_also_while_others_are_broken(name: str) -> None:
    """Whoever looks why Redis is away must not have it started, nor wait until it is well."""
    assert SERVICES[name].keys().isdisjoint({"depends_on", "links", "healthcheck"})
    assert SERVICES[name]["restart"] == "no"


def test_mounted_files_are_there_and_cannot_be_changed() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            if mount["type"] == "bind":
                assert mount["read_only"] is True
                assert (COMPOSE_FILE.parent / mount["source"]).exists(), mount["source"]
            else:
                assert mount["source"] in COMPOSE["volumes"]


# --- Secrets ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secrets_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("access") / "secrets"
    prepare(folder, ADDRESSES)
    return folder


def test_each_secret_is_a_file_that_is_made_and_used(secrets_made: Path) -> None:
    declared = COMPOSE["secrets"]
    used = {name for service in SERVICES.values() for name in service.get("secrets", ())}
    assert used == set(declared)
    for name, source in declared.items():
        assert source == {"file": f"../.run/compose-secrets/{name}"}
        assert (secrets_made / name).is_file()


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    else:
        yield str(value)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_the_secrets_that_it_names_and_no_others(name: str) -> None:
    service = SERVICES[name]
    spoken_of = " ".join(texts([service.get(part) for part in ("command", "environment", "healthcheck")]))
    for mount in service.get("volumes", ()):
        if mount["type"] == "bind" and mount["source"].endswith(".conf"):
            spoken_of += (COMPOSE_FILE.parent / mount["source"]).read_text()
    if name == "simulator":  # it is in what simulator-callbacks.json says
        spoken_of += " /run/secrets/ca.pem"
    assert set(re.findall(r"/run/secrets/([\w.-]+)", spoken_of)) == set(service.get("secrets", ()))


def test_no_secret_stands_in_the_environment() -> None:
    for service in SERVICES.values():
        for name in service.get("environment", {}):
            assert not re.search(r"(PASSWORD|TOKEN|SECRET|_KEY|_URL)$", name) or name in {
                "MMS_API_URL",
                "PROMETHEUS_URL",
            }


# --- Settings ---------------------------------------------------------------------------------------------


def settings_of(name: str, secrets_made: Path) -> BrokerSettings:
    """What the process in the container would read, of the same files in another place."""
    image = dict(re.findall(r"\b(MMS_\w+)=(\S+)", DOCKERFILE.read_text()))
    environment = image | {key: str(value) for key, value in SERVICES[name]["environment"].items()}
    for key, value in environment.items():
        value = value.replace("/run/secrets", str(secrets_made))  # noqa: PLW2901 - the same value elsewhere
        environment[key] = value.replace("/run/simulator", str(secrets_made))
    loaded = OURS[name](environment)
    assert not isinstance(loaded, SettingsProblems), loaded.problems
    return loaded


@pytest.mark.parametrize("name", OURS)
def test_the_settings_are_right_and_lead_to_the_services_over_tls(name: str, secrets_made: Path) -> None:
    settings = settings_of(name, secrets_made)
    role = {"worker": "worker", "receiver": "receiver", "publish": "upstream", "console": "operator"}[name]
    assert re.fullmatch(rf"amqps://{role}:\w+@rabbitmq:5671/mms", settings.amqp_url.get_secret_value())
    if isinstance(settings, Settings):
        assert re.fullmatch(rf"rediss://{role}:\w+@redis:6379/0", settings.redis_url.get_secret_value())
        assert settings.api_url == "https://simulator:8443/api/v3"
        assert settings.accounts[0].app_key == SecretStr((secrets_made / "app-key").read_text())


@pytest.mark.parametrize("name", ["worker", "receiver"])
def test_there_is_time_to_drain_and_room_for_what_is_held(name: str, secrets_made: Path) -> None:
    settings = settings_of(name, secrets_made)
    assert isinstance(settings, Settings)
    assert seconds(SERVICES[name]["stop_grace_period"]) >= settings.drain_s_max + MARGIN_S
    if name == "worker":
        assert bytes_of(SERVICES[name]["mem_limit"]) >= 2 * settings.held_bytes_max + 200e6


@pytest.mark.parametrize("name", ["worker", "receiver"])
def test_health_is_asked_where_it_is_told(name: str, secrets_made: Path) -> None:
    settings = settings_of(name, secrets_made)
    assert isinstance(settings, Settings)
    assert f"http://127.0.0.1:{settings.admin_port}/readyz" in SERVICES[name]["healthcheck"]["test"][-1]
    assert settings.admin_host == "0.0.0.0"


def test_the_broker_listens_where_its_clients_go() -> None:
    config = dict(re.findall(r"^([\w.]+) = (.+)$", (DEPLOY / "compose/rabbitmq.conf").read_text(), re.MULTILINE))
    assert config["listeners.tcp"] == "none"
    assert ADDRESSES.broker == f"rabbitmq:{config['listeners.ssl.default']}"
    assert SERVICES["rabbitmq"]["healthcheck"]["test"][-1] == config["listeners.ssl.default"]
    assert f"127.0.0.1:{config['management.tcp.port']}:{config['management.tcp.port']}" in SERVICES["rabbitmq"]["ports"]


def test_redis_never_forgets() -> None:
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert ADDRESSES.store == f"redis:{options['--tls-port']}"
    assert (options["--port"], options["--appendonly"], options["--maxmemory-policy"]) == ("0", "yes", "noeviction")
    assert options["--appendfsync"] == "always"  # Redis and all workers are on one machine here
    assert SERVICES["redis"]["volumes"] == [{"type": "volume", "source": "redis", "target": "/data"}]


def test_the_simulator_is_started_as_it_wants_to_be(secrets_made: Path) -> None:
    arguments = [each.replace("/run/secrets", str(secrets_made)) for each in SERVICES["simulator"]["command"]]
    config = _config(_parser().parse_args(arguments))
    assert (config.host, config.port, config.control_host, config.control_port) == ("simulator", 8443, "0.0.0.0", 8444)
    assert config.callbacks is not None
    (plan,) = config.callbacks.values()
    token = (secrets_made / "callback-token").read_text()
    assert (
        plan.url
        == f"https://{ADDRESSES.receiver}/callbacks/{SERVICES['receiver']['environment']['MMS_ACCOUNT']}/{token}"
    )
    assert plan.ca_file == "/run/secrets/ca.pem"
    (shared,) = SERVICES["simulator"]["volumes"]
    assert shared["target"] == str(config.directory)
    for name in ("worker", "receiver"):
        (seen,) = SERVICES[name]["volumes"]
        assert seen["source"] == shared["source"]
        assert SERVICES[name]["environment"]["MMS_API_CA_FILE"] == f"{seen['target']}/ca.pem"


def test_prometheus_asks_those_who_are_there() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())
    asked = {
        scrape["job_name"]: (name, each["port"])
        for scrape in config["scrape_configs"]
        for each in scrape.get("dns_sd_configs", ())
        for name in each["names"]
    }
    assert asked == {
        "mms-worker": ("worker", 9464),
        "mms-receiver": ("receiver", 9464),
        "mms-simulator": ("simulator", 8444),
        "rabbitmq": ("rabbitmq", 15692),
    }
