"""The look at what is told finds what it is for, however it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.privacy import EXAMPLE, private_in, secrets_in


@pytest.mark.parametrize(
    "words",
    ["+61412345679", "61412345679", "0412345679", "to +61 412 345 679 now", '{"to":"0412-345-679"}', "%2B61412345679x"],
)
def test_a_number_is_found(words: str) -> None:
    assert private_in(words, ()) != set()


@pytest.mark.parametrize(
    "words",
    [
        "1795677743.349700",
        "0.0412345678",
        "mms_x_sum 61.4123456799",
        "2026-11-26T07:38:58.149309Z",
        "614123456799",
        "port 41234",
    ],
)
def test_other_figures_are_none(words: str) -> None:
    assert private_in(words, ()) == set()


def test_the_example_in_our_sentences_is_nobodys() -> None:
    assert private_in(f"write it as {EXAMPLE}", ()) == set()


def test_secrets_are_found_wherever_they_were_given(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret of acme\n")
    environment = {
        "MMS_APP_KEY": "key-of-acme",
        "MMS_APP_SECRET_FILE": str(tmp_path / "secret"),
        "MMS_CALLBACK_TOKEN": "a-token-of-it",
        "MMS_AMQP_URL": "amqps://worker:p%40ssword@broker/mms",
        "MMS_REDIS_URL": "redis://:another@redis/0",
        "MMS_ACCOUNT": "acme-account",
    }
    secrets = secrets_in(environment)
    assert secrets == {"key-of-acme", "secret of acme", "a-token-of-it", "p@ssword", "another"}
    assert private_in("login p@ssword failed for acme-account", secrets) == {"p@ssword"}
    assert private_in("the secret\n  of acme", secrets) == {"secret of acme"}


def test_what_is_not_secret_is_not_looked_for() -> None:
    assert secrets_in({"MMS_AMQP_URL": "amqp://guest:guest@127.0.0.1/"}) == set()
