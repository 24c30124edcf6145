"""Credentials and the accounts file."""

import base64
from pathlib import Path

import pytest

from loadtest.simulator.accounts import ACCOUNTS_MAX, Accounts, key_in_credentials, read_accounts_file
from loadtest.simulator.limit import RollingLimit


def basic(credentials: bytes) -> str:
    return "Basic " + base64.b64encode(credentials).decode()


@pytest.mark.parametrize(
    ("authorization", "appkey", "key"),
    [
        (None, None, None),
        (None, "", None),
        (None, "K", "K"),
        (basic(b"K:"), None, "K"),
        (basic(b"K:secret:with:colons"), None, "K"),
        (basic(b"K:").replace("Basic", "basic"), None, "K"),
        (basic(b"K:"), "other", "K"),
        (basic(b":secret"), None, None),
        ("Basic !!!", None, None),
        (basic(b"\xff\xff"), None, None),
        ("Bearer K", None, None),
        ("Bearer x", "K", "K"),
    ],
)
def test_the_key_is_the_basic_user_name_or_the_header(
    authorization: str | None, appkey: str | None, key: str | None
) -> None:
    assert key_in_credentials(authorization, appkey) == key


def new_accounts(fixed: dict[str, int] | None = None) -> Accounts:
    return Accounts(15, lambda rate_per_s: RollingLimit(rate_per_s, refused_count=False), fixed)


def test_without_a_file_any_key_is_an_account_up_to_a_bound() -> None:
    accounts = new_accounts()
    found = [accounts.find(f"key-{place}") for place in range(ACCOUNTS_MAX + 1)]
    assert found[-2] is not None
    assert found[-1] is None
    assert accounts.find("key-0") is found[0]
    assert new_accounts().find("") is None


def test_with_a_file_only_its_keys_are_accounts() -> None:
    accounts = new_accounts({"A": 7})
    known = accounts.find("A")
    assert known is not None
    assert known.rate_per_s == 7
    assert accounts.find("B") is None


def test_an_accounts_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "accounts.toml"
    file.write_text('[accounts.A]\nrate_per_s = 15\n[accounts."b c"]\nrate_per_s = 3\n')
    assert read_accounts_file(file) == {"A": 15, "b c": 3}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[",
        "[accounts]",
        "other = 1",
        "[accounts.A]",
        "[accounts.A]\nrate_per_s = 1.5",
        "[accounts]\nA = 15",
        "[accounts.A]\nrate_per_s = 1\nsecret = 2",
        "[accounts.A]\nrate_per_s = true",
    ],
)
def test_a_wrong_accounts_file_is_one_sentence_that_names_it(tmp_path: Path, content: str) -> None:
    file = tmp_path / "accounts.toml"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"accounts\.toml .*\.$"):
        read_accounts_file(file)
