"""The control interface: plain HTTP and JSON on loopback, for the tests and demos that steer the simulator.

GET /summary[?account=] /accepted?since= /calls?since= /healthz /metrics · POST /rate /faults /outage /optout
/reset /accounts/KEY/revoke /accounts/KEY/restore /accounts/KEY/credit · GET and POST /accounts/KEY/replies
· POST and DELETE /accounts/KEY/callbacks · GET /callbacks?since= /callbacks/summary · DELETE /faults.
What is wrong with a request is said in one sentence, `{"error": …}`, with status 400.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, get_args

import orjson
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from loadtest.simulator.callback_plan import CallbackPlan
from loadtest.simulator.callbacks import Callbacks
from loadtest.simulator.faults import Fault
from loadtest.simulator.ledger import Ledger
from loadtest.simulator.records import OutageKind, ReplyRecord

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Steered(Protocol):
    """What can be steered: the simulator."""

    ledger: Ledger
    callbacks: Callbacks

    def set_rate(self, rate_per_s: int, account: str | None = None) -> None: ...
    def add_fault(self, fault: Fault) -> None: ...
    def clear_faults(self) -> None: ...
    def revoke(self, account: str) -> None: ...
    def restore(self, account: str) -> None: ...
    def set_credit(self, account: str, amount: int | None) -> None: ...
    async def outage(self, kind: OutageKind | None) -> None: ...
    def opt_out(self, number: str) -> None: ...
    def add_replies(self, account: str, replies: list[dict[str, Any]]) -> list[str]: ...
    def replies(self, account: str) -> list[ReplyRecord]: ...
    def set_callbacks(self, account: str, plan: CallbackPlan | None) -> None: ...
    async def reset(self) -> None: ...
    def metrics(self) -> bytes: ...


def control_application(simulator: Steered) -> web.Application:
    """Build the control interface of a simulator."""
    control = _Control(simulator)
    application = web.Application()
    application.add_routes(
        [
            web.get("/healthz", _sentences(control.health)),
            web.get("/metrics", control.metrics),
            web.get("/summary", _sentences(control.summary)),
            web.get("/accepted", _sentences(control.accepted)),
            web.get("/calls", _sentences(control.calls)),
            web.post("/rate", _sentences(control.rate)),
            web.post("/faults", _sentences(control.add_fault)),
            web.delete("/faults", _sentences(control.clear_faults)),
            web.post("/accounts/{key}/revoke", _sentences(control.revoke)),
            web.post("/accounts/{key}/restore", _sentences(control.restore)),
            web.post("/accounts/{key}/credit", _sentences(control.credit)),
            web.get("/accounts/{key}/replies", _sentences(control.replies)),
            web.post("/accounts/{key}/replies", _sentences(control.add_replies)),
            web.post("/accounts/{key}/callbacks", _sentences(control.set_callbacks)),
            web.delete("/accounts/{key}/callbacks", _sentences(control.stop_callbacks)),
            web.get("/callbacks", _sentences(control.callbacks)),
            web.get("/callbacks/summary", _sentences(control.callback_summary)),
            web.post("/outage", _sentences(control.outage)),
            web.post("/optout", _sentences(control.opt_out)),
            web.post("/reset", _sentences(control.reset)),
        ]
    )
    return application


class _Control:
    def __init__(self, simulator: Steered) -> None:
        self._simulator = simulator

    async def health(self, _: web.Request) -> Any:
        return {"status": "ok"}

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._simulator.metrics(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def summary(self, request: web.Request) -> Any:
        return self._simulator.ledger.summary(request.query.get("account"))

    async def accepted(self, request: web.Request) -> Any:
        return {"accepted": self._simulator.ledger.accepted(_since(request))}

    async def calls(self, request: web.Request) -> Any:
        return {"calls": self._simulator.ledger.calls(_since(request))}

    async def rate(self, request: web.Request) -> Any:
        body = await _body(request, "rate_per_s", "account")
        self._simulator.set_rate(_whole(body, "rate_per_s"), _text_or_none(body, "account"))

    async def add_fault(self, request: web.Request) -> Any:
        body = await _body(request, *Fault.__dataclass_fields__)
        try:
            fault = Fault(**body)
        except TypeError:
            raise ValueError("A fault needs at least its kind, and numbers where numbers belong.") from None
        self._simulator.add_fault(fault)

    async def clear_faults(self, _: web.Request) -> Any:
        self._simulator.clear_faults()

    async def revoke(self, request: web.Request) -> Any:
        self._simulator.revoke(request.match_info["key"])

    async def restore(self, request: web.Request) -> Any:
        self._simulator.restore(request.match_info["key"])

    async def credit(self, request: web.Request) -> Any:
        body = await _body(request, "amount")
        amount = None if body.get("amount") is None else _whole(body, "amount")
        self._simulator.set_credit(request.match_info["key"], amount)

    async def replies(self, request: web.Request) -> Any:
        return {"replies": self._simulator.replies(request.match_info["key"])}

    async def add_replies(self, request: web.Request) -> Any:
        replies = (await _body(request, "replies")).get("replies")
        if not isinstance(replies, list) or not all(isinstance(one, dict) for one in replies):
            raise ValueError("replies must be a list of objects.")
        return {"message_ids": self._simulator.add_replies(request.match_info["key"], replies)}

    async def set_callbacks(self, request: web.Request) -> Any:
        body = await _body(request, *CallbackPlan.__dataclass_fields__)
        try:
            plan = CallbackPlan(**body)
        except (TypeError, AttributeError):
            raise ValueError("A plan of callbacks needs at least its url, and numbers where numbers belong.") from None
        self._simulator.set_callbacks(request.match_info["key"], plan)

    async def stop_callbacks(self, request: web.Request) -> Any:
        self._simulator.set_callbacks(request.match_info["key"], None)

    async def callbacks(self, request: web.Request) -> Any:
        return {"callbacks": self._simulator.callbacks.records(_since(request))}

    async def callback_summary(self, _: web.Request) -> Any:
        return self._simulator.callbacks.summary()

    async def outage(self, request: web.Request) -> Any:
        kind = _text_or_none(await _body(request, "kind"), "kind")
        if kind is not None and kind not in get_args(OutageKind):
            raise ValueError(f"An outage is one of {', '.join(get_args(OutageKind))} or null, not {kind!r}.")
        await self._simulator.outage(kind)  # type: ignore[arg-type]  # checked the line above

    async def opt_out(self, request: web.Request) -> Any:
        number = _text_or_none(await _body(request, "number"), "number")
        if number is None:
            raise ValueError("number is missing: send the number that opts out.")
        self._simulator.opt_out(number)

    async def reset(self, _: web.Request) -> Any:
        await self._simulator.reset()


def _sentences(handler: Callable[[web.Request], Awaitable[Any]]) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            told, status = await handler(request), 200
        except ValueError as error:
            told, status = {"error": str(error)}, 400
        body = orjson.dumps({} if told is None else told)
        return web.Response(body=body, status=status, content_type="application/json")

    return answer


async def _body(request: web.Request, *names: str) -> dict[str, Any]:
    try:
        body: Any = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise ValueError("The body must be a JSON object.")  # noqa: TRY004 - of the client's data, not of a caller
    if unknown := body.keys() - set(names):
        raise ValueError(f"{', '.join(sorted(unknown))} is not known here: use {', '.join(names)}.")
    return body


def _whole(body: dict[str, Any], name: str) -> int:
    number = body.get(name)
    if isinstance(number, bool) or not isinstance(number, (int, float)) or number != int(number):
        raise ValueError(f"{name} must be a whole number, not {number!r}.")
    return int(number)


def _text_or_none(body: dict[str, Any], name: str) -> str | None:
    text = body.get(name)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{name} must be a string or null, not {text!r}.")
    return text


def _since(request: web.Request) -> int:
    since = request.query.get("since", "0")
    if not since.isascii() or not since.isdigit():
        raise ValueError(f"since is the index to start from, not {since!r}.")
    return int(since)
