"""The settings that `receive` alone has."""

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from worker.settings import ReceiverSettings, Settings, SettingsProblems, changed_settings, load, load_receiver

TOKEN = "a-token-of-the-callbacks"
REQUIRED = {"MMS_API_URL": "https://api.example/api/v3", "MMS_APP_KEY": "key-1", "MMS_CALLBACK_TOKEN": TOKEN}


def loaded(**variables: str) -> ReceiverSettings:
    settings = load_receiver({**REQUIRED, **variables})
    assert isinstance(settings, ReceiverSettings), settings
    return settings


def only_problem_of(**variables: str) -> str:
    result = load_receiver({**REQUIRED, **variables})
    assert isinstance(result, SettingsProblems), "nothing was found wrong"
    (problem,) = result.problems
    return problem


def tokens(settings: ReceiverSettings) -> dict[str, str]:
    return {account.name: account.callback_token.get_secret_value() for account in settings.accounts}


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """A folder with a certificate, its key, another key, and both in one file."""
    issued = trustme.CA().issue_cert("receive.example")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    trustme.CA().issue_cert("receive.example").private_key_pem.write_to_path(tmp_path / "other-key.pem")
    return tmp_path


def test_defaults_are_those_of_the_fixed_table() -> None:
    settings = loaded()
    assert (settings.receive_host, settings.receive_port, settings.replies_poll_s) == ("127.0.0.1", 8080, 30)
    assert (settings.receive_cert_file, settings.receive_key_file) == (None, None)
    assert tokens(settings) == {"default": TOKEN}


def test_what_all_processes_share_is_read_as_they_read_it() -> None:
    shared = {"MMS_API_URL": "https://api.example/api/v3", "MMS_APP_KEY": "key-1", "MMS_REGION": "nz"}
    others = load(shared)
    assert isinstance(others, Settings)
    ours = loaded(**shared)
    assert {name: getattr(ours, name) for name in Settings.model_fields if name != "accounts"} == {
        name: getattr(others, name) for name in Settings.model_fields if name != "accounts"
    }


def test_polling_can_be_turned_off() -> None:
    assert loaded(MMS_REPLIES_POLL_S="0").replies_poll_s == 0


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("MMS_CALLBACK_TOKEN", "fifteen-letters", "must be 16 to 200 letters"),
        ("MMS_CALLBACK_TOKEN", "a" * 201, "must be 16 to 200 letters"),
        ("MMS_CALLBACK_TOKEN", "with a space in it", "stands in an address"),
        ("MMS_CALLBACK_TOKEN", "with/a/slash/in/it", "stands in an address"),
        ("MMS_CALLBACK_TOKEN", "mit-Umläuten-darin", "stands in an address"),
        ("MMS_CALLBACK_TOKEN", "", "of account 'default' is required by receive"),
        ("MMS_RECEIVE_HOST", "a host", "IP address or a host name"),
        ("MMS_RECEIVE_PORT", "65536", "whole number from 0 to 65535"),
        ("MMS_REPLIES_POLL_S", "3601", "a number from 0 to 3600"),
        ("MMS_REPLIES_POL_S", "1", "did you mean MMS_REPLIES_POLL_S?"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_variable(variable: str, value: str, part: str) -> None:
    problem = only_problem_of(**{variable: value})
    assert problem.startswith(variable)
    assert part in problem
    assert not value or value not in problem or "TOKEN" not in variable


def test_what_kubernetes_says_of_a_service_is_no_port() -> None:
    assert loaded(MMS_RECEIVE_PORT="tcp://10.0.0.1:8080").receive_port == 8080


# --- Accounts --------------------------------------------------------------------------------------------


def from_file(folder: Path, text: str, **variables: str) -> ReceiverSettings | SettingsProblems:
    (folder / "accounts.toml").write_text(text)
    api = {"MMS_API_URL": "https://api.example", "MMS_ACCOUNTS_FILE": str(folder / "accounts.toml")}
    return load_receiver({**api, **variables})


TWO = "[accounts.a]\napp_key='a'\n{}\n[accounts.b]\napp_key='b'\n{}\n"


def test_each_account_has_a_token_of_its_own_given_in_one_of_three_ways(tmp_path: Path) -> None:
    (tmp_path / "a.token").write_text("a-token-from-a-file\n")
    text = TWO.format("callback_token_file='a.token'", "callback_token_env='TOKEN_B'")
    text += "[accounts.c]\napp_key='c'\ncallback_token='a-token-in-the-file'\n"
    settings = from_file(tmp_path, text, TOKEN_B="a-token-of-a-variable")
    assert isinstance(settings, ReceiverSettings), settings
    assert tokens(settings) == {
        "a": "a-token-from-a-file",
        "b": "a-token-of-a-variable",
        "c": "a-token-in-the-file",
    }
    assert "a-token" not in repr(settings)


def test_the_variable_is_the_token_of_accounts_that_have_none(tmp_path: Path) -> None:
    settings = from_file(tmp_path, TWO.format("", "callback_token='the-token-of-b-alone'"), MMS_CALLBACK_TOKEN=TOKEN)
    assert isinstance(settings, ReceiverSettings), settings
    assert tokens(settings) == {"a": TOKEN, "b": "the-token-of-b-alone"}


@pytest.mark.parametrize(
    ("of_a", "variables", "part"),
    [
        ("", {}, "of account 'a' is required by receive"),
        ("callback_token='short'", {}, "callback_token of account 'a'"),
        ("callback_token=1234567890123456", {}, "callback_token of account 'a'"),
        ("callback_token_file='nowhere'", {}, "callback_token_file of account 'a'"),
        ("", {"MMS_CALLBACK_TOKEN": "short"}, "MMS_CALLBACK_TOKEN must be 16 to 200"),
        ("", {"MMS_CALLBACK_TOKEN_FILE": "/does/not/exist"}, "MMS_CALLBACK_TOKEN_FILE names"),
    ],
)
def test_what_is_wrong_with_a_token_is_told_once(
    tmp_path: Path, of_a: str, variables: dict[str, str], part: str
) -> None:
    result = from_file(tmp_path, TWO.format(of_a, "callback_token='the-token-of-b-alone'"), **variables)
    assert isinstance(result, SettingsProblems)
    (problem,) = result.problems
    assert part in problem


def test_the_others_do_not_look_at_tokens(tmp_path: Path) -> None:
    (tmp_path / "accounts.toml").write_text(TWO.format("callback_token='short'", "callback_token_file='nowhere'"))
    settings = load({"MMS_API_URL": "https://api.example", "MMS_ACCOUNTS_FILE": str(tmp_path / "accounts.toml")})
    assert isinstance(settings, Settings), settings
    assert [account.callback_token.get_secret_value() for account in settings.accounts] == ["", ""]


# --- The certificate -------------------------------------------------------------------------------------


def test_a_certificate_with_its_key_is_taken_from_one_file_or_two(pem: Path) -> None:
    two = loaded(MMS_RECEIVE_CERT_FILE=str(pem / "cert.pem"), MMS_RECEIVE_KEY_FILE=str(pem / "key.pem"))
    assert (two.receive_cert_file, two.receive_key_file) == (pem / "cert.pem", pem / "key.pem")
    assert loaded(MMS_RECEIVE_CERT_FILE=str(pem / "both.pem")).receive_key_file is None


@pytest.mark.parametrize(
    ("cert", "key", "part"),
    [
        (None, "key.pem", "MMS_RECEIVE_KEY_FILE is set without a certificate"),
        ("cert.pem", None, "they hold no certificate in PEM with the key to it"),
        ("cert.pem", "other-key.pem", "they hold no certificate in PEM with the key to it"),
        ("key.pem", "cert.pem", "they hold no certificate in PEM with the key to it"),
        ("nowhere.pem", "key.pem", "No such file"),
    ],
)
def test_a_certificate_that_cannot_be_shown_is_told_at_the_start(
    pem: Path, cert: str | None, key: str | None, part: str
) -> None:
    variables = {"MMS_RECEIVE_CERT_FILE": cert, "MMS_RECEIVE_KEY_FILE": key}
    given = {name: str(pem / value) for name, value in variables.items() if value is not None}
    assert part in only_problem_of(**given)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(pem: Path) -> None:
    locked = pem / "locked.pem"
    key = serialization.load_pem_private_key((pem / "key.pem").read_bytes(), password=None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    kind = serialization.PrivateFormat.PKCS8
    locked.write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, encryption))
    problem = only_problem_of(MMS_RECEIVE_CERT_FILE=str(pem / "cert.pem"), MMS_RECEIVE_KEY_FILE=str(locked))
    assert "without a password" in problem


# --- Reloads ---------------------------------------------------------------------------------------------


def test_what_waits_for_the_next_start_is_named_and_accounts_with_their_tokens_are_not() -> None:
    now = loaded(MMS_CALLBACK_TOKEN="another-token-than-before", MMS_RECEIVE_PORT="8081")
    assert changed_settings(loaded(), now) == ("MMS_RECEIVE_PORT",)
