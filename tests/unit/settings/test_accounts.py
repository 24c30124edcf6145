"""Accounts from the TOML file."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from worker.settings import AccountSettings, Settings, SettingsProblems, load

API = {"MMS_API_URL": "https://api.example/api/v3"}


def load_file(tmp_path: Path, text: str, **variables: str) -> Settings | SettingsProblems:
    file = tmp_path / "accounts.toml"
    file.write_text(text)
    return load({**API, "MMS_ACCOUNTS_FILE": str(file), **variables})


def test_keys_come_from_the_file_itself_from_files_beside_it_and_from_variables(tmp_path: Path) -> None:
    (tmp_path / "b.key").write_text("key-b\n")
    (tmp_path / "absolute.secret").write_text("secret-b")
    settings = load_file(
        tmp_path,
        f"""
        [accounts.a]
        app_key = "key-a"
        [accounts.b]
        app_key_file = "b.key"
        app_secret_file = "{tmp_path}/absolute.secret"
        rate_per_s = 0.5
        auth = "appkey"
        callback_token = "for the receive command"
        [accounts.c-3_X]
        app_key_env = "KEY_OF_C"
        app_secret_env = "MMS_SECRET_OF_C"
        rate_per_s = 100
        in_doubt_rule = "give_up"
        in_doubt_after_s = 7200
        """,
        KEY_OF_C="key-c",
        MMS_SECRET_OF_C="secret-c",
    )
    assert isinstance(settings, Settings), settings
    assert settings.accounts == (
        AccountSettings("a", SecretStr("key-a"), SecretStr(""), 15.0, "basic"),
        AccountSettings("b", SecretStr("key-b"), SecretStr("secret-b"), 0.5, "appkey"),
        AccountSettings("c-3_X", SecretStr("key-c"), SecretStr("secret-c"), 100.0, "basic", "give_up", 7200),
    )


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "names no account"),
        ("[accounts]", "names no account"),
        ("accounts = 1", "names no account"),
        ("[account.a]\napp_key='k'", "holds 'account'"),
        ("accounts.a = 1", "must be a table"),
        ("[accounts.a\n", "not TOML at line 1, column 12"),
        ("[accounts.a]\napp_key = 'unended", "not TOML at end of document"),
        ("[accounts.a]", "has no key"),
        ("[accounts.a]\napp_key='k'\napp_key_env='K'", "has app_key and app_key_env: keep one"),
        ("[accounts.a]\napp_key='k'\napp_secret='s'\napp_secret_file='S'", "app_secret and app_secret_file"),
        ("[accounts.a]\napp_key_file='nowhere'", "names 'nowhere', which cannot be used (No such file"),
        ("[accounts.a]\napp_key_file='.'", "Is a directory"),
        ('[accounts.a]\napp_key_file="\\u0000"', "cannot be a file name"),
        ("[accounts.a]\napp_key_env='NOT_SET'", "names the variable 'NOT_SET', which is not set"),
        ("[accounts.a]\napp_key_env=1", "must be a name in quotes"),
        ("[accounts.a]\napp_key=1", "must be text (in a file: within quotes)"),
        ("[accounts.a]\napp_key=''", "is empty"),
        ("[accounts.a]\napp_key='k'\nrate_per_sec=1", "unknown key 'rate_per_sec': did you mean rate_per_s?"),
        ("[accounts.a]\napp_key='k'\nzzz=1", "unknown key 'zzz': known are"),
        ("[accounts.a]\napp_key='k'\nrate_per_s=true", "must be a number"),
        ("[accounts.a]\napp_key='k'\nrate_per_s=0", "above 0"),
        ("[accounts.a]\napp_key='k'\nrate_per_s=nan", "must be a number"),
        ("[accounts.a]\napp_key='k'\nrate_per_s=[1]", "must be a number"),
        ("[accounts.a]\napp_key='k'\nrate_per_s=0.001", "so low"),
        ("[accounts.a]\napp_key='k'\nauth='none'", "basic or appkey"),
        ("[accounts.a]\napp_key='k'\nin_doubt_rule='send'", "hold or resend or give_up"),
        ("[accounts.a]\napp_key='k'\nin_doubt_after_s=59", "a whole number from 60 to 31536000"),
        ("[accounts.a]\napp_key='k'\nin_doubt_after_s=true", "a whole number from 60"),
        ("[accounts.a]\napp_key='k'\nin_doubt_after=90", "did you mean in_doubt_after_s?"),
        ("[accounts.a]\napp_key='k'\nin_doubt_rule='resend'\nin_doubt_after_s=499", "must be at least 500"),
        ("[accounts.a]\napp_key='k'\nin_doubt_rule='give_up'\nin_doubt_after_s=302401", "must be at most 302400"),
        ("[accounts.a]\napp_key='k:k'", "auth of account 'a'"),
        ("[accounts.'a.urgent']\napp_key='k'", "the name of account 'a.urgent'"),
        ("[accounts.'']\napp_key='k'", "1 to 64 letters"),
        ("[accounts.a]\napp_key='k'\n[accounts.b]\napp_key='k'", "'a' and 'b' have the same APPKEY"),
        ("x = " + "[" * 5000, "not TOML"),
        ("\n".join(f"[accounts.a{n}]\napp_key='{n}'" for n in range(201)), "201 accounts, more than 200"),
        ("#" * 1_100_000, "more than 1,048,576 bytes"),
    ],
)
def test_a_wrong_file_is_one_sentence_that_says_where(tmp_path: Path, text: str, part: str) -> None:
    result = load_file(tmp_path, text)
    assert isinstance(result, SettingsProblems)
    assert len(result.problems) == 1, result.problems
    assert part in result.problems[0]
    assert "MMS_ACCOUNTS_FILE" in result.problems[0]


def test_all_mistakes_of_all_accounts_are_told_at_once(tmp_path: Path) -> None:
    result = load_file(tmp_path, "[accounts.a]\nrate_per_s=0\nauth='x'\n[accounts.b]\napp_keey='k'\nauth='y'")
    assert isinstance(result, SettingsProblems)
    where = f"in {str(tmp_path / 'accounts.toml')!r}"
    no_key = "has no key: give app_key_file, app_key_env or app_key."
    assert [problem.removeprefix("MMS_ACCOUNTS_FILE: ") for problem in result.problems] == [
        f"account 'a' {where} {no_key}",
        f"rate_per_s of account 'a' {where} must be a number above 0 and at most 100000, not '0'.",
        f"auth of account 'a' {where} must be basic or appkey, not 'x'.",
        f"account 'b' {where} has the unknown key 'app_keey': did you mean app_key?",
        f"account 'b' {where} {no_key}",
        f"auth of account 'b' {where} must be basic or appkey, not 'y'.",
    ]


def test_accounts_without_a_key_are_not_told_to_share_one(tmp_path: Path) -> None:
    result = load_file(tmp_path, "[accounts.a]\n[accounts.b]")
    assert isinstance(result, SettingsProblems)
    assert len(result.problems) == 2
    assert all("has no key" in problem for problem in result.problems)


def test_a_missing_file_is_told_with_its_reason() -> None:
    result = load({**API, "MMS_ACCOUNTS_FILE": "/does/not/exist.toml"})
    assert isinstance(result, SettingsProblems)
    assert len(result.problems) == 1
    assert result.problems[0] == (
        "MMS_ACCOUNTS_FILE '/does/not/exist.toml' cannot be read (No such file or directory):"
        " name a readable TOML file."
    )


@pytest.mark.parametrize("name", ["MMS_ACCOUNT", "MMS_APP_KEY", "MMS_APP_SECRET", "MMS_RATE_PER_S", "MMS_AUTH"])
def test_the_file_and_the_one_accounts_variables_exclude_each_other(tmp_path: Path, name: str) -> None:
    result = load_file(tmp_path, "[accounts.a]\napp_key='k'", **{name: "1"})
    assert isinstance(result, SettingsProblems)
    assert result.problems == (f"MMS_ACCOUNTS_FILE and {name} are both set: keep the file or the variables.",)


def test_the_file_may_refer_to_the_one_accounts_variables(tmp_path: Path) -> None:
    settings = load_file(tmp_path, "[accounts.a]\napp_key_env='MMS_APP_KEY'", MMS_APP_KEY="key-1")
    assert isinstance(settings, Settings), settings
    assert settings.accounts[0].app_key.get_secret_value() == "key-1"


def test_a_variable_the_file_does_not_refer_to_is_still_a_misspelling(tmp_path: Path) -> None:
    result = load_file(tmp_path, "[accounts.a]\napp_key_env='MMS_KEY_A'", MMS_KEY_A="k", MMS_KEY_B="k")
    assert isinstance(result, SettingsProblems)
    assert len(result.problems) == 1
    assert result.problems[0].startswith("MMS_KEY_B is no setting")
