"""Load test: what the workers say next to what the simulator of the API, an independent judge, has counted."""

from deploy.grafana.asked import BACKLOG, IN_DOUBT, LIMITS, THROTTLED_PER_1000
from deploy.grafana.colours import LIMIT
from deploy.grafana.dashboard import Dashboard, Row
from deploy.grafana.panels import Heatmap, Stat, TimeSeries
from deploy.grafana.parts import BLUE, GREEN, GREY, NEUTRAL, ORANGE, Look, Query, bad_from, falling, rising
from deploy.grafana.promql import ACCOUNT, added, buckets, now, per_second, quantile

#: The simulator has no account names; its job is not among the workers' that are chosen above.
JUDGED = "mms_simulator_"


def judged(metric: str) -> str:
    """What the judge counted in the time that is shown."""
    return f"sum(increase({JUDGED}{metric}[$__range]))"


def judged_rate(metric: str) -> str:
    """The same, per second."""
    return f"sum(rate({JUDGED}{metric}[$__rate_interval]))"


SENT_TOLD = added("mms_recipients_total", ACCOUNT, 'result="sent"', by=())
ENDED = added("mms_jobs_finished_total", ACCOUNT, by=())
TAKEN = added("mms_jobs_received_total", ACCOUNT, 'redelivered="false"', by=())
SENDS = per_second("mms_api_requests_total", 'operation="send_mms"', by=())

BOOKS = Row(
    "Do the books balance?",
    (
        Stat(
            title="Accepted by the API",
            shows="Recipients that the simulator accepted, in the time that is shown.",
            healthy="the same as what the workers tell as sent, once all is done.",
            otherwise="more: the rest is in doubt, or under way; fewer: something is told as sent that was not.",
            queries=(Query(judged("recipients_accepted_total"), "accepted"),),
            unit="short",
            steps=NEUTRAL,
        ),
        Stat(
            title="Told as sent",
            shows="Recipients that workers told as sent.",
            healthy="as many as were accepted.",
            otherwise="look at the jobs in doubt: each of them may have been accepted.",
            queries=(Query(SENT_TOLD, "told"),),
            unit="short",
            steps=NEUTRAL,
        ),
        Stat(
            title="Accepted twice",
            shows="Recipients that the simulator accepted again with the same text, subject and picture.",
            healthy="0, always.",
            otherwise="keep the logs and the seed: this is the one thing that must never happen.",
            queries=(
                Query(
                    judged("recipients_twice_total"),
                    "twice",
                    zero_because="nothing is sent twice, whatever is broken",
                ),
            ),
            unit="none",
            steps=bad_from(1),
            alerts=("DuplicateSendDetected",),
        ),
        Stat(
            title="In doubt",
            shows="Jobs of which nobody knows whether they were accepted.",
            healthy="no more than faults were injected after the first byte of a call.",
            otherwise="more than that: `mms-worker in-doubt list`.",
            queries=(Query(f"sum({IN_DOUBT})", "in doubt"),),
            unit="none",
            steps=rising(1, 50),
        ),
        Stat(
            title="Dead letters",
            shows="What lies in mms.dead.",
            healthy="as many as were published wrong on purpose.",
            otherwise="`mms-worker dead-letters list`.",
            queries=(Query(now("mms_dead_letters", by=()), "dead"),),
            unit="none",
            steps=NEUTRAL,
        ),
        Stat(
            title="Calls answered 429, per 1,000",
            shows="As the simulator counted them.",
            healthy="below 2, as long as the limit is not lowered.",
            otherwise="the guard is still being learned (the first half minute), or jitter is above the workers' own.",
            queries=(
                Query(f"1000 * {judged('calls_throttled_total')} / ({judged('calls_total')} > 0) or vector(0)", "429"),
            ),
            unit="none",
            decimals=2,
            steps=rising(*THROTTLED_PER_1000),
        ),
    ),
)

PACE = Row(
    "Pace",
    (
        TimeSeries(
            title="Calls that arrived, against the limit",
            shows="By the simulator's count: calls per second, those admitted, and the limit (dashed).",
            healthy="both lines in one, just below the limit.",
            otherwise="a gap between them is what was answered 429.",
            queries=(
                Query(judged_rate("calls_total"), "arrived"),
                Query(judged_rate("calls_admitted_total"), "admitted"),
                Query(f"sum({JUDGED}limit)", "limit"),
            ),
            looks=(LIMIT, Look("admitted", GREEN), Look("arrived", BLUE, is_filled=False)),
            unit="reqps",
            steps=NEUTRAL,
        ),
        TimeSeries(
            title="Share of the limit",
            shows="Calls within the limit against the limit, by the simulator's count.",
            healthy="99 %, or 1 / (1 + J) with J seconds of jitter.",
            otherwise="less: an account without a backlog, too few workers, a machine without time, or a grown guard.",
            queries=(Query(f"{judged_rate('calls_admitted_total')} / sum({JUDGED}limit)", "share"),),
            unit="percentunit",
            steps=falling(0.8, 0.95),
            has_bands=False,
        ),
        TimeSeries(
            title="Worst rolling second",
            shows="The most calls within a second that the simulator has seen, in the last 20 s, of the account with "
            "the most; and the highest limit (dashed).",
            healthy="never above the limit, but for calls that were refused.",
            otherwise="compare with the same panel of Account, which is what the workers' store has seen.",
            queries=(
                Query(f"max({JUDGED}rolling_second_calls)", "arrived"),
                Query(f"max({JUDGED}rolling_second_admitted)", "admitted"),
                Query(f"max({JUDGED}limit)", "limit"),
            ),
            looks=(LIMIT, Look("admitted", GREEN), Look("arrived", BLUE, is_filled=False)),
            unit="none",
            steps=NEUTRAL,
        ),
        TimeSeries(
            title="Backlog against the ideal line",
            shows="Jobs that wait, and what would be left of those that waited first if each account used its limit in "
            "full, with a job in each call.",
            healthy="the two fall side by side.",
            otherwise="a widening gap is lost pace; a step is a fault, and its length the recovery.",
            queries=(
                Query(f"sum({BACKLOG})", "backlog"),
                Query(
                    f"sum(clamp_min({BACKLOG} @ start() - {LIMITS} * (time() - $__from / 1000), 0))",
                    "ideal",
                ),
            ),
            looks=(Look("ideal", GREY, is_dashed=True), Look("backlog", BLUE)),
            unit="short",
            steps=NEUTRAL,
            width=16,
        ),
        TimeSeries(
            title="Recipients per second",
            shows="Recipients accepted per second, by the simulator's count.",
            healthy="the calls times what each carries.",
            otherwise="see Account, Recipients per call.",
            queries=(Query(judged_rate("recipients_accepted_total"), "recipients"),),
            unit="cps",
            steps=NEUTRAL,
        ),
    ),
)

TIMES = Row(
    "Times",
    (
        TimeSeries(
            title="From publish to accepted",
            shows="How long jobs took from the producer's publish until they were accepted, by share.",
            healthy="what the backlog explains, and some milliseconds.",
            otherwise="a share far above the others is made of jobs that came back.",
            queries=tuple(
                Query(quantile(part, "mms_job_end_to_end_seconds", ACCOUNT, 'outcome="sent"'), name)
                for part, name in ((0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"))
            ),
            unit="s",
            is_logarithmic=True,
            minimum=None,
            steps=NEUTRAL,
        ),
        Heatmap(
            title="From publish to accepted, all of them",
            shows="The same as a picture of all jobs.",
            healthy="one band.",
            otherwise="several bands: lanes, faults, or accounts with different backlogs.",
            queries=(Query(buckets("mms_job_end_to_end_seconds", ACCOUNT, 'outcome="sent"'), "{{le}}"),),
            unit="s",
            steps=NEUTRAL,
        ),
        TimeSeries(
            title="CPU for a call",
            shows="What a send call costs all processes of the product together, whatever account it is for.",
            healthy="1 ms or less; some of it is there without any call.",
            otherwise="compare with `make bench-speed` of the commit before.",
            queries=(
                Query(
                    f"{per_second('process_cpu_seconds_total', by=())} / ({SENDS} > 0)",
                    "CPU",
                ),
            ),
            unit="s",
            steps=NEUTRAL,
        ),
    ),
)

BACK = Row(
    "What comes back",
    (
        TimeSeries(
            title="Jobs taken, and jobs ended",
            shows="Jobs handed over for the first time, and jobs that ended, in as much time as is shown, up to each "
            "moment.",
            healthy="side by side. A job that goes round is taken several times, and what a killed process had counted "
            "last is missing.",
            otherwise="fewer and fewer ended: look at the retry queues, and at `mms-worker status`.",
            queries=(Query(TAKEN, "taken"), Query(ENDED, "ended")),
            looks=(Look("taken", BLUE), Look("ended", GREEN)),
            unit="short",
            steps=NEUTRAL,
        ),
        TimeSeries(
            title="Reports and replies posted, and taken",
            shows="Different reports and replies per second that were to be posted, and those answered with 200.",
            healthy="all are taken, some later than made.",
            otherwise="not taken: Internals, Receiver.",
            queries=(
                Query(judged_rate("reports_total"), "reports"),
                Query(judged_rate("reports_taken_total"), "reports taken"),
                Query(judged_rate("replies_total"), "replies"),
                Query(judged_rate("replies_taken_total"), "replies taken"),
            ),
            unit="cps",
            steps=NEUTRAL,
        ),
        TimeSeries(
            title="Requests with reports and replies",
            shows="Requests per second that the simulator posted, and those not answered with 200.",
            healthy="none refused.",
            otherwise="503 while RabbitMQ or Redis is away; all of them come again.",
            queries=(
                Query(judged_rate("callback_requests_total"), "posted"),
                Query(judged_rate("callback_requests_refused_total"), "refused"),
            ),
            looks=(Look("refused", ORANGE), Look("posted", GREEN)),
            unit="reqps",
            steps=NEUTRAL,
        ),
    ),
)

LOAD_TEST = Dashboard(
    name="load-test",
    title="Load test",
    about="What the workers say next to what the simulator of the API, an independent judge, has counted.",
    rows=(BOOKS, PACE, TIMES, BACK),
    refresh="10s",
    shown="now-15m",
)
