"""A client of the control interface, for sync code and (being on loopback and quick) for async tests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from loadtest.simulator.callback_plan import CallbackPlan
from loadtest.simulator.faults import Fault
from loadtest.simulator.records import (
    Accepted,
    CallbackRecord,
    CallbackSummary,
    CallRecord,
    OutageKind,
    ReplyRecord,
    Summary,
)

TIMEOUT_S = 10.0


class SimulatorControlError(Exception):
    """The simulator did not do what it was asked; the one sentence says why."""


class SimulatorControl:
    """Steers one simulator process and asks its ledger; never from the event loop that runs it."""

    def __init__(self, control_url: str) -> None:
        self._http = httpx.Client(base_url=control_url, timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def summary(self, account: str | None = None) -> Summary:
        """The ledger's answer over all accounts, or over one."""
        query = {} if account is None else {"account": account}
        return Summary(**self._ask("GET", "/summary", query=query))

    def accepted(self, since: int = 0) -> list[Accepted]:
        """All accepted recipients from index `since` on."""
        return list(self.each_accepted(since))

    def each_accepted(self, since: int = 0) -> Iterator[Accepted]:
        """The same one by one, for a million of them."""
        return (Accepted(**entry) for entry in self._pages("accepted", since))

    def calls(self, since: int = 0) -> list[CallRecord]:
        """All calls from index `since` on."""
        return list(self.each_call(since))

    def each_call(self, since: int = 0) -> Iterator[CallRecord]:
        """The same one by one."""
        return (CallRecord(**entry) for entry in self._pages("calls", since))

    def set_rate(self, rate_per_s: int, account: str | None = None) -> None:
        """Change the limit of one account, or of all and of those to come."""
        self._ask("POST", "/rate", {"rate_per_s": rate_per_s, "account": account})

    def add_fault(self, fault: Fault) -> None:
        """Put a fault in force."""
        self._ask("POST", "/faults", asdict(fault))

    def clear_faults(self) -> None:
        """Take all faults back."""
        self._ask("DELETE", "/faults")

    def revoke(self, account: str) -> None:
        """From now on the account's key is wrong."""
        self._ask("POST", f"/accounts/{quote(account, safe='')}/revoke")

    def restore(self, account: str) -> None:
        """The account's key is right again."""
        self._ask("POST", f"/accounts/{quote(account, safe='')}/restore")

    def set_credit(self, account: str, amount: int | None) -> None:
        """Leave the account so many credits, one a recipient; None is plenty."""
        self._ask("POST", f"/accounts/{quote(account, safe='')}/credit", {"amount": amount})

    def add_replies(self, account: str, replies: Sequence[Mapping[str, Any]]) -> list[str]:
        """Have replies come in, with the fields of `get-responses` and `type`; their ids, made up where left out."""
        body = {"replies": [dict(one) for one in replies]}
        ids: list[str] = self._ask("POST", f"/accounts/{quote(account, safe='')}/replies", body)["message_ids"]
        return ids

    def replies(self, account: str) -> list[ReplyRecord]:
        """All replies of the account, in the order in which they came in."""
        listed = self._ask("GET", f"/accounts/{quote(account, safe='')}/replies")["replies"]
        return [ReplyRecord(**one) for one in listed]

    def set_callbacks(self, account: str, plan: CallbackPlan | None) -> None:
        """Post the account's reports and replies by this plan from now on; None: nothing any more, nor what waits."""
        path = f"/accounts/{quote(account, safe='')}/callbacks"
        if plan is None:
            self._ask("DELETE", path)
        else:
            self._ask("POST", path, asdict(plan))

    def callbacks(self, since: int = 0) -> list[CallbackRecord]:
        """All reports and replies that are posted, from index `since` on."""
        return [CallbackRecord(**entry) for entry in self._pages("callbacks", since)]

    def callback_summary(self) -> CallbackSummary:
        """Counts of what was posted, and what became of it."""
        return CallbackSummary(**self._ask("GET", "/callbacks/summary"))

    def outage(self, kind: OutageKind | None) -> None:
        """Begin an outage of a kind, or end it."""
        self._ask("POST", "/outage", {"kind": kind})

    def opt_out(self, number: str) -> None:
        """From now on the number is unsubscribed."""
        self._ask("POST", "/optout", {"number": number})

    def reset(self) -> None:
        """Put everything back as it was at the start."""
        self._ask("POST", "/reset")

    def _pages(self, what: str, since: int) -> Iterator[dict[str, Any]]:
        while entries := self._ask("GET", f"/{what}", query={"since": str(since)})[what]:
            yield from entries
            since += len(entries)

    def _ask(
        self, method: str, path: str, body: object | None = None, *, query: dict[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, json=body, params=query)
        except httpx.HTTPError as error:
            raise SimulatorControlError(
                f"The simulator's control interface at {self._http.base_url} does not answer: {error}."
            ) from error
        told: dict[str, Any] = {}
        if answer.headers.get("Content-Type", "").startswith("application/json"):
            told = answer.json()
        if answer.status_code != httpx.codes.OK:
            raise SimulatorControlError(told.get("error", f"{method} {path}: HTTP {answer.status_code}."))
        return told
