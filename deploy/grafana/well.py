"""Overview, what one sees first: is it well, is it sending, how much of the limit, until when, what is in doubt."""

from deploy.grafana.asked import (
    BACKLOG,
    CRITICAL,
    DOUBT_S,
    DRAIN,
    DRAIN_S,
    HAS_BACKLOG,
    IN_DOUBT,
    IN_FORCE,
    LIMITS,
    OLDEST_DOUBT,
    SHARE_USED,
    SUSPENDED,
    TAKEN_BY,
    THROTTLED_PER_1000,
    USED_BY,
    WARNINGS,
)
from deploy.grafana.colours import NEVER_ENDS, NEVER_WAS, NONE_IS, NOTHING_WAITS, YES_IS_BAD
from deploy.grafana.dashboard import Row
from deploy.grafana.levels import LEAST_LEFT
from deploy.grafana.panels import Stat, StateTimeline
from deploy.grafana.parts import NEUTRAL, ORANGE, RED, Query, bad_from, falling, rising
from deploy.grafana.promql import ACCOUNT, age_s, firing, folded, now, per_second, ruled, up
from deploy.grafana.table import Column, Table

REFUSED = per_second("mms_recipients_total", ACCOUNT, 'result="refused"', by=())
ANSWERED = per_second("mms_recipients_total", ACCOUNT, by=())
THROTTLED = ruled("mms_account_result:sends:ratio_rate5m", ACCOUNT, 'result="throttled"')


def _of_each(expression: str) -> str:
    """Of each account, under no other name: rows of a table are told apart by it."""
    return folded("max", expression, ("account",))


NOBODY_TAKES = _of_each(f"{TAKEN_BY} == bool 0 unless on (account) {_of_each(SUSPENDED)} == 1") + " > 0"

WELL = Row(
    "Is it well?",
    (
        Stat(
            title="Critical alerts",
            shows="How many critical alerts of ours fire now. They are listed below.",
            healthy="0.",
            otherwise="open the runbook at the alert's name; it has the first three commands.",
            queries=(Query(f"count({CRITICAL}) or vector(0)", "critical"),),
            unit="none",
            steps=bad_from(1),
            height=3,
        ),
        Stat(
            title="Warnings",
            shows="How many warnings of ours fire now.",
            healthy="0. A warning may wait until the morning, and becomes worse if it is left.",
            otherwise="look at the list below, then at the runbook.",
            queries=(Query(f"count({WARNINGS}) or vector(0)", "warnings"),),
            unit="none",
            steps=rising(1),
            height=3,
        ),
        Stat(
            title="Sent to, per second",
            shows="Recipients that the API accepted, all accounts together.",
            healthy="as many as the limit and the size of the jobs permit, while there is a backlog.",
            otherwise="with a backlog and 0 here nothing leaves: see what keeps sending back, below.",
            queries=(Query(per_second("mms_recipients_total", ACCOUNT, 'result="sent"', by=()), "sent"),),
            unit="cps",
            decimals=1,
            steps=NEUTRAL,
            alerts=("SendingStalled",),
            height=3,
        ),
        Stat(
            title="Least use of a limit",
            shows="The share of its limit that is in use, of the account with a backlog that uses the least of it.",
            healthy="95 to 100 %, or that nothing waits.",
            otherwise="the list of accounts says which it is; what keeps sending back, below it, says why.",
            queries=(
                Query(
                    f"min({USED_BY} and on (account) {HAS_BACKLOG} == 1) or (0 * mms:workers:count - 1)",
                    "share",
                ),
            ),
            unit="percentunit",
            decimals=0,
            texts=NOTHING_WAITS,
            steps=falling(0.8, 0.95),
            alerts=("ThroughputBelowLimit",),
            height=3,
        ),
        Stat(
            title="All is sent in",
            shows="How long the backlog of the account with the longest takes, at the pace in force.",
            healthy="below an hour, or what was agreed with those who publish.",
            otherwise="the list of accounts says whose it is; `stopped`: an account cannot send at all.",
            queries=(Query(f"max({DRAIN})", "clears in"),),
            unit="s",
            decimals=0,
            texts=NEVER_ENDS,
            steps=rising(*DRAIN_S),
            alerts=("BacklogWillMissDeadline",),
            height=3,
        ),
        Stat(
            title="In doubt now",
            shows="Jobs of which nobody knows whether they were sent. They are held, and nothing repeats them.",
            healthy="0, or a few after a fault, which their delivery reports resolve within minutes.",
            otherwise="do not send them again before you know why: `mms-worker in-doubt list`.",
            queries=(Query(f"sum({IN_DOUBT})", "in doubt"),),
            unit="none",
            steps=rising(1, 50),
            alerts=("InDoubtAgeing",),
            height=3,
        ),
        Stat(
            title="Processes up",
            shows="Workers and receivers that Prometheus reaches.",
            healthy="as many of each as are deployed, and never 0.",
            otherwise="see whether they run, and why they ended: exit code 2 and one sentence say what is missing.",
            queries=(Query(f"sum by (job) ({up()})", "{{job}}"),),
            unit="none",
            steps=falling(1),
            alerts=("WorkersAbsent", "ReceiversAbsent", "NoConsumers"),
            height=3,
            has_names=True,
        ),
        Stat(
            title="Refused, per 1,000",
            shows="Of 1,000 recipients that the API answered for, how many it refused for good.",
            healthy="few: numbers that have opted out.",
            otherwise="see Account, Why the API refuses: mostly a producer makes something wrong.",
            queries=(Query(f"1000 * {REFUSED} / ({ANSWERED} > 0) or 0 * mms:workers:count", "refused"),),
            unit="none",
            decimals=1,
            steps=rising(50, 250),
            alerts=("ApiErrorRatio",),
            height=3,
        ),
        Stat(
            title="Answered 429, per 1,000",
            shows="Of 1,000 sends in five minutes, how many the API refused as too many; of the account with the most.",
            healthy="below 2. Some are the price of finding a raised limit.",
            otherwise="somebody else sends with the same key, or the limit was lowered: see Account, Pace.",
            queries=(Query(f"1000 * max({THROTTLED})", "429"),),
            unit="none",
            decimals=1,
            steps=rising(*THROTTLED_PER_1000),
            alerts=("OverLimit",),
            height=3,
        ),
        *LEAST_LEFT,
        Table(
            title="Accounts",
            shows="Each account now: what it may send, what it does, what waits, and what keeps it back. A click on "
            "its name leads to its own dashboard.",
            healthy="with a backlog, more than 95 % of the limit is used; nothing is suspended, nothing in doubt.",
            otherwise="the next panel says why an account is suspended; little use without a backlog is no fault.",
            alerts=("SendingStalled", "ThroughputBelowLimit", "BacklogWillMissDeadline", "CreditLow"),
            height=6,
            to_account=True,
            labels=("account",),
            worst_first="Clears in",
            columns=(
                Column(title="Limit", query=Query(_of_each(LIMITS)), unit="reqps"),
                Column(title="Pace in force", query=Query(_of_each(IN_FORCE)), unit="reqps", decimals=1),
                Column(
                    title="Share of the limit in use",
                    query=Query(_of_each(USED_BY)),
                    unit="percentunit",
                    decimals=1,
                    steps=SHARE_USED,
                ),
                Column(title="Backlog", query=Query(_of_each(BACKLOG)), unit="short"),
                Column(
                    title="Clears in",
                    query=Query(_of_each(DRAIN)),
                    unit="s",
                    decimals=0,
                    texts=NEVER_ENDS,
                    steps=rising(*DRAIN_S),
                ),
                Column(
                    title="Suspended",
                    query=Query(_of_each(SUSPENDED)),
                    unit="none",
                    texts=YES_IS_BAD,
                ),
                Column(title="In doubt", query=Query(_of_each(IN_DOUBT)), unit="none", steps=rising(1, 50)),
                Column(
                    title="Oldest doubt",
                    query=Query(_of_each(OLDEST_DOUBT)),
                    unit="s",
                    decimals=0,
                    texts=NONE_IS,
                    steps=rising(*DOUBT_S),
                ),
                Column(
                    title="Last sent",
                    query=Query(age_s("mms_last_sent_timestamp_seconds", ACCOUNT)),
                    unit="s",
                    decimals=0,
                    texts=NEVER_WAS,
                ),
                Column(
                    title="Credit",
                    query=Query(now("mms_account_balance", ACCOUNT, how="min")),
                    unit="short",
                    steps=falling(1, 100),
                ),
            ),
        ),
        StateTimeline(
            title="What keeps sending back",
            shows="Only what is not as it should be, and since when: an account that is suspended (key, credit, api), "
            "closed after a 429 or lowered by the API; Redis or RabbitMQ away; its alarm; nobody takes jobs.",
            healthy="empty.",
            otherwise="credentials and credit: the vendor's portal; api: its status, the worker asks by itself; store: "
            "Redis; broker: RabbitMQ. None of these needs a restart of the worker.",
            alerts=(
                "CredentialsRejected",
                "AccountSuspended",
                "LimiterStopped",
                "JournalUnavailable",
                "PublisherBlocked",
                "OverLimit",
                "NoConsumers",
                "WorkersAbsent",
            ),
            width=16,
            height=8,
            unit="none",
            steps=bad_from(1),
            none_text="nothing keeps it back",
            texts={1: ("yes", RED)},
            queries=(
                Query(f"{SUSPENDED} > 0", "{{account}} suspended: {{reason}}"),
                Query(now("mms_ratelimit_closed", ACCOUNT) + " > 0", "{{account}} closed after a 429"),
                Query(now("mms_ratelimit_lowered", ACCOUNT) + " > 0", "{{account}} lowered by the API"),
                Query(now("mms_ratelimit_mode", 'mode="stopped"', by=("job",)) + " > 0", "Redis away ({{job}})"),
                Query(
                    f"1 - {now('mms_broker_connected', how='min', by=('job',))} > 0",
                    "RabbitMQ away ({{job}})",
                ),
                Query(now("mms_broker_blocked", by=("job",)) + " > 0", "RabbitMQ has an alarm ({{job}})"),
                Query(NOBODY_TAKES, "{{account}} taken by nobody"),
                Query(now("mms_draining", by=("instance",)) + " > 0", "{{instance}} is draining"),
                Query("absent(mms:workers:count)", "no worker can be seen", silent_because="one is always there"),
            ),
        ),
        Table(
            title="Alerts that fire",
            shows="All alerts of ours that fire now. `Watchdog` always does: it shows that alerting works.",
            healthy="Watchdog alone.",
            otherwise="the runbook has a section for each.",
            alerts=("Watchdog",),
            width=8,
            height=8,
            labels=("severity", "alertname", "account"),
            columns=(
                Column(
                    title="Firing",
                    query=Query(f"max by (alertname, severity, account) ({firing()})"),
                    unit="none",
                    texts={1: ("yes", ORANGE)},
                ),
            ),
        ),
    ),
)
