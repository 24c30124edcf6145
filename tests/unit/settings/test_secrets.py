"""Secrets: read from files, shown nowhere."""

import json
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.settings import Settings, SettingsProblems, settings_reference
from worker.settings import load_receiver as load

MARK = "Zq7hidden"
API = {"MMS_API_URL": "https://api.example/api/v3"}
SECRETS = [doc.name for doc in settings_reference() if doc.is_secret]
GOOD = {
    "MMS_AMQP_URL": f"amqp://user:{MARK}@127.0.0.1/",
    "MMS_REDIS_URL": f"redis://:{MARK}@127.0.0.1/1",
    "MMS_APP_KEY": f"key-{MARK}",
    "MMS_APP_SECRET": MARK,
    "MMS_CALLBACK_TOKEN": f"token-{MARK}-token",
}


def everything_shown(result: Settings | SettingsProblems) -> str:
    if isinstance(result, SettingsProblems):
        return f"{result} {result!r} {' '.join(result.problems)}"
    return f"{result} {result!r} {result.model_dump()} {result.model_dump_json()} {result.accounts!r}"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_is_read_from_a_file_without_one_line_break_at_its_end(
    tmp_path: Path, name: str, ending: str
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(f"{GOOD[name]}{ending}".encode())
    others = {other: value for other, value in GOOD.items() if other != name}
    assert load({**API, **others, f"{name}_FILE": str(file)}) == load({**API, **GOOD})


def test_only_one_line_break_is_taken_off(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{MARK}\n\n")
    result = load({**API, "MMS_APP_KEY_FILE": str(file)})
    assert isinstance(result, SettingsProblems)
    assert [problem.split(":")[0] for problem in result.problems] == [
        "MMS_APP_KEY begins or ends with white space, which no key does"
    ]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), (b"", "empty"), (b"\xff\xfe", "UTF-8"), (b"x" * 70_000, "65,536 bytes")],
)
def test_an_unusable_secret_file_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes | None, why: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    others = {other: value for other, value in GOOD.items() if other != name}
    result = load({**API, **others, f"{name}_FILE": str(file)})
    assert isinstance(result, SettingsProblems)
    assert len(result.problems) == 1, result.problems
    assert result.problems[0].startswith(f"{name}_FILE names '{file}'"[:60])
    assert why in result.problems[0]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_and_its_file_exclude_each_other(tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    file.write_text(GOOD[name])
    result = load({**API, **GOOD, f"{name}_FILE": str(file)})
    assert isinstance(result, SettingsProblems)
    assert result.problems == (f"{name} and {name}_FILE are both set: keep one of them.",)


def test_good_settings_show_no_secret() -> None:
    settings = load({**API, **GOOD})
    assert isinstance(settings, Settings), settings
    assert MARK not in everything_shown(settings)
    assert settings.accounts[0].app_secret.get_secret_value() == MARK  # it is there, only not shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MMS_AMQP_URL", f"amqp://user:{MARK}/x@127.0.0.1/"),  # the foreign error quotes it as a port
        ("MMS_AMQP_URL", f"amqp://user:1@[{MARK}]/"),
        ("MMS_AMQP_URL", f"ampq://user:{MARK}@127.0.0.1/"),
        ("MMS_AMQP_URL", f"amqp://user:{MARK} @127.0.0.1/"),
        ("MMS_AMQP_URL", f"amqp://user:{MARK}@@/"),
        ("MMS_AMQP_URL", f"{MARK}\ud800"),
        ("MMS_AMQP_URL_FILE", f"amqp://user:{MARK}@127.0.0.1/"),
        ("MMS_REDIS_URL", f"redis://:{MARK}@127.0.0.1:port/1"),
        ("MMS_REDIS_URL", f"redis://:{MARK}#@127.0.0.1/1"),
        ("MMS_REDIS_URL", f"redis://127.0.0.1/{MARK}"),
        ("MMS_API_URL", f"https://{MARK}:x@api.example/"),
        ("MMS_API_URL", f"http://{MARK}:x@api.example/"),
        ("MMS_API_URL", f"https://api.example/?key={MARK}"),
        ("MMS_API_URL", f"https://x:{MARK}@api.example/\ud800"),
        ("MMS_APP_KEY", f"{MARK}:"),
        ("MMS_APP_KEY", f"{MARK}\n"),
        ("MMS_APP_KEY", f"{MARK}ü"),
        ("MMS_APP_KEY", f"{MARK}\ud800"),
        ("MMS_APP_SECRET", f"{MARK}\x00"),
        ("MMS_APP_SECRET", f"{MARK}\ud800"),
        ("MMS_UNKNOWN_KEY", MARK),
    ],
)
def test_wrong_secrets_are_not_shown_either(name: str, value: str) -> None:
    environ = {**API, **GOOD, name: value}
    if name.endswith("_FILE"):
        del environ[name.removesuffix("_FILE")]
    result = load(environ)
    assert isinstance(result, SettingsProblems)
    assert MARK not in everything_shown(result)


@pytest.mark.parametrize(
    "text",
    [
        f"[accounts.a]\napp_key = {MARK}",
        f'[accounts.a]\napp_key = "{MARK}',
        f'[accounts.a]\napp_key = "{MARK}\\q"',
        f'[accounts.a]\napp_key = "{MARK}\x01"',
        f'[accounts.a]\napp_key = "{MARK}:"',
        f'[accounts.a]\napp_key = ["{MARK}"]',
        f'[accounts.a]\napp_key = "k"\napp_secret = {{a = "{MARK}"}}',
        f'[accounts.a]\napp_key = "{MARK}"\n[accounts.b]\napp_key = "{MARK}"',
        f'[accounts.a]\ncallback_token = "{MARK}"',
    ],
)
def test_a_wrong_accounts_file_shows_no_secret(tmp_path: Path, text: str) -> None:
    file = tmp_path / "accounts.toml"
    file.write_text(text)
    result = load({**API, "MMS_ACCOUNTS_FILE": str(file)})
    assert isinstance(result, SettingsProblems)
    assert MARK not in everything_shown(result)


@pytest.mark.parametrize("field", ["amqp_url", "redis_url", "api_url", "accounts", MARK.lower()])
def test_the_error_of_a_direct_construction_shows_no_value(field: str) -> None:
    values: dict[str, Any] = {field: f"wrong://user:{MARK}@x:y/"}
    with pytest.raises(ValidationError) as caught:
        Settings(**values)
    assert MARK not in "".join(traceback.format_exception(caught.value))


VARIABLES = [
    *(doc.name for doc in settings_reference()),
    *(f"{name}_FILE" for name in SECRETS),
    "MMS_ADMIN_PROT",
]
ANY_TEXT = st.text(st.characters(codec=None), max_size=40)


@given(st.dictionaries(st.sampled_from(VARIABLES) | ANY_TEXT, ANY_TEXT, max_size=8))
def test_no_environment_makes_it_raise_and_every_problem_can_be_printed(environ: dict[str, str]) -> None:
    result = load(environ)
    assert isinstance(result, SettingsProblems)  # MMS_API_URL is never right by chance
    assert all(problem and problem.isprintable() and problem.encode() for problem in result.problems)


@given(
    st.dictionaries(st.sampled_from(SECRETS), ANY_TEXT, min_size=1),
    st.sampled_from(["", "amqp://u:", "redis://:", "https://"]),
    st.sampled_from(["", "@127.0.0.1/", "@127.0.0.1:x/"]),
)
def test_no_secret_is_ever_shown(tails: dict[str, str], before: str, after: str) -> None:
    environ = {name: f"{before}{MARK}{tail}{after}" for name, tail in tails.items()}
    assert MARK not in everything_shown(load({**API, "MMS_APP_KEY": "k", **environ}))


def test_settings_are_dumped_as_json_with_stars() -> None:
    settings = load({**API, **GOOD})
    assert isinstance(settings, Settings)
    assert json.loads(settings.model_dump_json())["amqp_url"] == "**********"
