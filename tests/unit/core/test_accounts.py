"""What leads from one set of accounts to another."""

from __future__ import annotations

import dataclasses

import pytest

from tests.jobs import an_account
from worker.core.accounts import Account, AccountChanged, AccountsChange, plan

A, B = an_account("a"), an_account("b")
FASTER = dataclasses.replace(A, limit_per_s=50.0)
MORE = dataclasses.replace(A, prefetch=500)
NEW_KEY = an_account("a", app_key="new")
OTHER_WAY = dataclasses.replace(A, credentials=dataclasses.replace(A.credentials, auth="appkey"))
NEW_SECRET = dataclasses.replace(A, credentials=dataclasses.replace(A.credentials, app_secret="s"))
BOTH = dataclasses.replace(FASTER, credentials=NEW_KEY.credentials)
NOTHING = AccountsChange((), (), ())


def changed(account: Account, *, pace: bool = False, credentials: bool = False) -> AccountsChange:
    return AccountsChange((), (), (AccountChanged(account, is_pace_new=pace, are_credentials_new=credentials),))


@pytest.mark.parametrize(
    ("served", "wanted", "change"),
    [
        ((), (), NOTHING),
        ((A, B), (B, A), NOTHING),
        ((A,), (an_account("a"),), NOTHING),
        ((), (A, B), AccountsChange((A, B), (), ())),
        ((A,), (A, B), AccountsChange((B,), (), ())),
        ((A, B), (A,), AccountsChange((), ("b",), ())),
        ((A, B), (), AccountsChange((), ("a", "b"), ())),
        ((A,), (FASTER,), changed(FASTER, pace=True)),
        ((A,), (MORE,), changed(MORE, pace=True)),
        ((A,), (NEW_KEY,), changed(NEW_KEY, credentials=True)),
        ((A,), (OTHER_WAY,), changed(OTHER_WAY, credentials=True)),
        ((A,), (NEW_SECRET,), changed(NEW_SECRET, credentials=True)),
        ((A, B), (B, BOTH), changed(BOTH, pace=True, credentials=True)),
        (
            (A,),
            (dataclasses.replace(A, name="renamed"),),
            AccountsChange((dataclasses.replace(A, name="renamed"),), ("a",), ()),
        ),
        ((A,), (B,), AccountsChange((B,), ("a",), ())),
    ],
)
def test_what_leads_from_the_one_to_the_other(
    served: tuple[Account, ...], wanted: tuple[Account, ...], change: AccountsChange
) -> None:
    assert plan(served=served, wanted=wanted) == change


def test_no_secret_is_shown() -> None:
    assert "s3cret" not in repr(plan(served=(), wanted=(an_account("a", app_key="s3cret"),)))
