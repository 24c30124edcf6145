"""Which settings a reload cannot bring about."""

from __future__ import annotations

from pathlib import Path

from worker.settings import Settings, changed_settings, load

ENVIRONMENT = {"MMS_API_URL": "https://api.example", "MMS_APP_KEY": "key-1"}


def loaded(**changes: str) -> Settings:
    settings = load(ENVIRONMENT | changes)
    assert isinstance(settings, Settings)
    return settings


def test_the_same_again_is_no_change() -> None:
    assert changed_settings(loaded(), loaded()) == ()


def test_each_other_setting_is_named_and_no_value_is_shown(tmp_path: Path) -> None:
    url = tmp_path / "url"
    url.write_text("amqp://user:s3cret@broker/\n")
    now = loaded(MMS_AMQP_URL_FILE=str(url), MMS_READ_TIMEOUT_S="20", MMS_DRAIN_S_MAX="45")
    assert changed_settings(loaded(), now) == ("MMS_AMQP_URL", "MMS_READ_TIMEOUT_S")


def test_accounts_are_no_setting_that_waits() -> None:
    assert changed_settings(loaded(), loaded(MMS_APP_KEY="key-2", MMS_RATE_PER_S="50", MMS_ACCOUNT="other")) == ()
