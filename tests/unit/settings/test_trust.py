"""Whom to trust at the broker and at Redis: the files, and how they relate to the addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from worker.settings import BrokerSettings, Settings, SettingsProblems, load, load_broker

REQUIRED = {"MMS_API_URL": "https://api.example/api/v3", "MMS_APP_KEY": "key-1"}
SECURE = {"AMQP": "amqps://u:s3cret@broker/mms", "REDIS": "rediss://u:s3cret@redis/0"}
PLAIN = {"AMQP": "amqp://u:s3cret@broker/mms", "REDIS": "redis://u:s3cret@redis/0"}
PARAMETER = {"AMQP": "cafile", "REDIS": "ssl_ca_certs"}
each_server = pytest.mark.parametrize("server", ["AMQP", "REDIS"])


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path)


def problems(**variables: str) -> tuple[str, ...]:
    result = load(REQUIRED | variables)
    return result.problems if isinstance(result, SettingsProblems) else ()


@each_server
def test_a_file_is_taken_with_tls(server: str, ca_file: str) -> None:
    settings = load({**REQUIRED, f"MMS_{server}_URL": SECURE[server], f"MMS_{server}_CA_FILE": ca_file})
    assert isinstance(settings, Settings)
    assert getattr(settings, f"{server.lower()}_ca_file") == Path(ca_file)


@each_server
def test_a_file_without_tls_is_a_mistake(server: str, ca_file: str) -> None:
    (problem,) = problems(**{f"MMS_{server}_URL": PLAIN[server], f"MMS_{server}_CA_FILE": ca_file})
    assert f"MMS_{server}_CA_FILE is set, but MMS_{server}_URL does not begin with {server.lower()}s://" in problem
    assert "s3cret" not in problem


def test_a_socket_in_the_file_system_has_no_tls(ca_file: str) -> None:
    (problem,) = problems(MMS_REDIS_URL="unix:///run/redis.sock", MMS_REDIS_CA_FILE=ca_file)
    assert "does not begin with rediss://" in problem


@each_server
def test_a_file_and_one_in_the_address_are_one_too_many(server: str, ca_file: str) -> None:
    url = f"{SECURE[server]}?{PARAMETER[server]}={ca_file}"
    assert problems(**{f"MMS_{server}_URL": url}) == ()
    (problem,) = problems(**{f"MMS_{server}_URL": url, f"MMS_{server}_CA_FILE": ca_file})
    assert f"MMS_{server}_CA_FILE is set, and MMS_{server}_URL holds {PARAMETER[server]} as well" in problem


@each_server
def test_a_file_that_holds_no_certificate_is_a_mistake(server: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for path in (empty, tmp_path / "missing.pem"):
        (problem,) = problems(**{f"MMS_{server}_URL": SECURE[server], f"MMS_{server}_CA_FILE": str(path)})
        assert problem.startswith(f"MMS_{server}_CA_FILE names ")


def test_publishing_looks_at_the_brokers_file_too(ca_file: str, tmp_path: Path) -> None:
    found = load_broker({"MMS_AMQP_URL": SECURE["AMQP"], "MMS_AMQP_CA_FILE": ca_file, "MMS_REDIS_CA_FILE": "missing"})
    assert isinstance(found, BrokerSettings)
    assert found.amqp_ca_file == Path(ca_file)
    for wrong in ({"MMS_AMQP_URL": PLAIN["AMQP"], "MMS_AMQP_CA_FILE": ca_file}, {"MMS_AMQP_CA_FILE": str(tmp_path)}):
        refused = load_broker(wrong)
        assert isinstance(refused, SettingsProblems)
        assert len(refused.problems) == 1
        assert refused.problems[0].startswith("MMS_AMQP_CA_FILE ")
