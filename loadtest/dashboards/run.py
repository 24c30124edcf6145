"""The scripted run: everything is started, one incident follows the other, and Prometheus looks on."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local import RabbitMQ, Redis
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.prometheus_server import Prometheus
from loadtest.dashboards.crew import Crew, Place
from loadtest.dashboards.incidents import INCIDENTS, KEYS, Incident, Stage
from loadtest.dashboards.jobs import CAMPAIGN, CRASHER, OPTED_OUT, SHOP, campaign_jobs, shop_jobs
from loadtest.dashboards.producer import Producer
from loadtest.demo.pictures import sample_pictures
from loadtest.failure import LoadTestError
from loadtest.simulator.callback_plan import CallbackPlan
from loadtest.simulator.process import SimulatorProcess

LIMITS = {SHOP: 10, CAMPAIGN: 20}
PUBLISHED_PER_S = {SHOP: 8.0, CAMPAIGN: 14.0}
CAMPAIGN_AT_ONCE = 800
WORKERS = 2
SCRAPE_S = 1.0
HOLD_S = 5.0
"""Alerts fire after so long, instead of after minutes."""
LOOK_S = 0.5
SEEN_S_MAX = 180.0
"""So long each thing may take until Prometheus has seen it."""
AFTER_S = 2.0
STRANGER = "prometheus"
"""What else the same Prometheus scrapes, and no dashboard of ours may show: itself."""
THERE = "sum(mms_account:backlog:jobs) > 300"
"""From then on there is something to look at."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run that Prometheus has seen: where it still answers, and from when to when (seconds since 1970)."""

    prometheus: Prometheus
    start_s: float
    end_s: float


@contextmanager
def recorded(folder: Path, say: Say, *, held_s: float = 0.0) -> Iterator[Recorded]:
    """Play the run; what it left in Prometheus can be asked in the block. Raises LoadTestError, ServerError.

    Each incident lasts `held_s` longer than until it is seen, so that people see it as well.
    """
    with ExitStack() as stack:
        stage = _set_up(stack, folder)
        targets = {**stage.crew.targets(), "mms-simulator": [stage.control_target], STRANGER: []}
        prometheus = stack.enter_context(Prometheus(targets, scrape_s=SCRAPE_S, evaluate_s=SCRAPE_S, hold_s=HOLD_S))
        prometheus.set_targets({STRANGER: [prometheus.url.removeprefix("http://")]})
        start_s = asyncio.run(_Play(stage.stage, prometheus, say, held_s).play())
        yield Recorded(prometheus, start_s, time.time())


@dataclass(frozen=True, slots=True)
class _SetUp:
    stage: Stage
    control_target: str

    @property
    def crew(self) -> Crew:
        return self.stage.crew


def _set_up(stack: ExitStack, folder: Path) -> _SetUp:
    rabbitmq = stack.enter_context(RabbitMQ())
    redis = stack.enter_context(Redis(append_only=True))
    simulator = stack.enter_context(
        SimulatorProcess(accounts={KEYS[name]: limit for name, limit in LIMITS.items()}, directory=folder / "simulator")
    )
    accounts_file, tokens = folder / "accounts.toml", {name: secrets.token_urlsafe() for name in LIMITS}
    accounts_file.write_text("".join(_account(name, tokens[name]) for name in LIMITS), encoding="utf-8")
    port = free_port()
    settings = {
        "MMS_AMQP_URL": rabbitmq.url,
        "MMS_REDIS_URL": redis.url,
        "MMS_API_URL": simulator.api_url,
        "MMS_API_CA_FILE": str(simulator.ca_file),
        "MMS_ACCOUNTS_FILE": str(accounts_file),
        "MMS_CONNECT_TIMEOUT_S": "2",
        "MMS_READ_TIMEOUT_S": "3",
        "MMS_REPLIES_POLL_S": "3",
        "MMS_RECEIVE_PORT": str(port),
        "MMS_FAILPOINT": f"decode:{CRASHER}",
    }
    crew = _crew(folder, settings)
    stack.callback(crew.end)
    control = simulator.control
    control.opt_out(OPTED_OUT)
    for name, key in KEYS.items():
        control.set_callbacks(key, _posting(f"http://{LOOPBACK}:{port}/callbacks/{name}/{tokens[name]}"))
    crew.start()
    stage = Stage(
        rabbitmq=rabbitmq,
        redis=redis,
        control=control,
        crew=crew,
        accounts_file=accounts_file,
        callbacks=f"http://{LOOPBACK}:{port}/callbacks/{SHOP}/{tokens[SHOP]}",
        picture=sample_pictures()[0].data,
        limits=LIMITS,
        api_url=simulator.api_url,
        api_ca_file=simulator.ca_file,
    )
    return _SetUp(stage, simulator.control_url.removeprefix("http://"))


def _crew(folder: Path, settings: dict[str, str]) -> Crew:
    workers = [Place(f"worker-{n}", "mms-worker", "run", settings, folder) for n in range(1, WORKERS + 1)]
    return Crew([*workers, Place("receiver", "mms-receiver", "receive", settings, folder)])


def _account(name: str, token: str) -> str:
    return f'[accounts.{name}]\napp_key = "{KEYS[name]}"\nrate_per_s = {LIMITS[name]}\ncallback_token = "{token}"\n'


def _posting(url: str) -> CallbackPlan:
    """With every bad habit that is known of the vendor."""
    return CallbackPlan(
        url=url,
        delay_s=2.0,
        spread_s=1.5,
        finals={"Delivered": 90, "Failed": 6, "Expired": 4},
        dispatched=0.5,
        out_of_order=0.2,
        repeated=0.2,
        early=0.1,
        replies=0.5,
        retries_s=(0.5, 1.0, 2.0),
        tries_max=60,
    )


class _Play:
    """The incidents, one after the other, and some at the same time."""

    def __init__(self, stage: Stage, prometheus: Prometheus, say: Say, held_s: float) -> None:
        self._stage = stage
        self._prometheus = prometheus
        self._say = say
        self._held_s = held_s
        self._background: list[asyncio.Task[None]] = []

    async def play(self) -> float:
        """When it began, for those who look at it later (seconds since 1970)."""
        stage, url = self._stage, self._stage.rabbitmq.url
        producers = (
            Producer(url, shop_jobs(stage.picture), PUBLISHED_PER_S[SHOP]),
            Producer(url, campaign_jobs(stage.picture), PUBLISHED_PER_S[CAMPAIGN], first=CAMPAIGN_AT_ONCE),
        )
        work = [stage.crew.supervise(), *(producer.publish() for producer in producers)]
        self._background = [asyncio.create_task(each) for each in work]
        try:
            await self._until((THERE,), "the beginning")
            start_s = time.time()
            for together in INCIDENTS:
                await asyncio.gather(*(self._let_happen(incident) for incident in together))
            await asyncio.sleep(AFTER_S)
        finally:
            for task in self._background:
                task.cancel()
        return start_s

    async def _let_happen(self, incident: Incident) -> None:
        began_s = time.monotonic()
        await incident.do(self._stage)
        try:
            await self._until(incident.seen, incident.name)
            await asyncio.sleep(self._held_s)
        finally:
            await incident.undo(self._stage)
        await self._until(incident.over, incident.name)
        self._say(f"{incident.name} ({time.monotonic() - began_s:.0f} s)")

    async def _until(self, expressions: Sequence[str], what: str) -> None:
        """Until each expression has held once."""
        waiting = list(expressions)
        give_up_at_s = time.monotonic() + SEEN_S_MAX
        while waiting:
            for task in self._background:
                if task.done():
                    task.result()
            waiting = [each for each in waiting if not await asyncio.to_thread(self._prometheus.query, each)]
            if waiting and time.monotonic() > give_up_at_s:
                missing, logs = ", ".join(waiting), self._stage.crew.log()
                raise LoadTestError(f"{what}: not seen within {SEEN_S_MAX:.0f} s: {missing}\n{logs}")
            await asyncio.sleep(LOOK_S if waiting else 0)
