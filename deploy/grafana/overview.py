"""Overview: one look says whether messages leave at the limit, when the backlog clears, and what is wrong."""

from deploy.grafana.asked import (
    ALL_CALLS,
    BACK,
    BACKLOG,
    CALLS,
    CRITICAL,
    DOUBT_S,
    DRAIN,
    DRAIN_S,
    IN_DOUBT,
    IN_FORCE,
    LIMITS,
    OLDEST_DOUBT,
    SUSPENDED,
    THROTTLED,
    USED_BY,
    WARNINGS,
)
from deploy.grafana.colours import ENDS, LIMIT, YES_IS_BAD
from deploy.grafana.dashboard import Dashboard, Row
from deploy.grafana.levels import SERVICE_LEVELS
from deploy.grafana.panels import Column, Stat, StateTimeline, Table, TimeSeries
from deploy.grafana.parts import BLUE, GREEN, NEUTRAL, ORANGE, RED, Look, Query, Step, bad_from, falling, rising
from deploy.grafana.promql import ACCOUNT, added, age_s, at_most_all, firing, now, per_second, ruled, series, share

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
        ),
        Stat(
            title="Warnings",
            shows="How many warnings of ours fire now.",
            healthy="0. A warning may wait until the morning, and becomes worse if it is left.",
            otherwise="look at the list below, then at the runbook.",
            queries=(Query(f"count({WARNINGS}) or vector(0)", "warnings"),),
            unit="none",
            steps=rising(1),
        ),
        Stat(
            title="Processes up",
            shows="Workers and receivers that Prometheus reaches.",
            healthy="as many of each as are deployed, and never 0.",
            otherwise="see whether they run, and why they ended: exit code 2 and one sentence say what is missing.",
            queries=(Query(f"sum by (job) ({series('up')})", "{{job}}"),),
            unit="none",
            steps=falling(1),
            alerts=("WorkersAbsent", "NoConsumers"),
            has_names=True,
            has_graph=False,
        ),
        Stat(
            title="Recipients sent to, per second",
            shows="Recipients that the API accepted, all accounts together.",
            healthy="as many as the limit and the size of the jobs permit, while there is a backlog.",
            otherwise="with a backlog and 0 here nothing leaves: see what holds sending back, below.",
            queries=(Query(per_second("mms_recipients_total", ACCOUNT, 'result="sent"', by=()), "sent"),),
            unit="cps",
            decimals=1,
            steps=NEUTRAL,
            alerts=("SendingStalled",),
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
        ),
        Stat(
            title="Calls answered 429, per 1,000",
            shows="How many of 1,000 calls the API refused as too many.",
            healthy="below 1. One in 20 s is normal while the API keeps to less than the configured limit.",
            otherwise="somebody else sends with the same key, or the limit was lowered: see Account, Pace.",
            queries=(Query(f"1000 * sum({THROTTLED}) / (sum({ALL_CALLS}) > 0) or vector(0)", "429"),),
            unit="none",
            decimals=1,
            steps=rising(1, 20),
            alerts=("OverLimit",),
        ),
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
            columns=(
                Column(title="Limit", query=Query(LIMITS), unit="reqps"),
                Column(title="Pace in force", query=Query(IN_FORCE), unit="reqps", decimals=1),
                Column(
                    title="Share of the limit in use",
                    query=Query(USED_BY),
                    unit="percentunit",
                    decimals=1,
                    steps=(Step(None, BLUE), Step(0.95, GREEN), Step(1.01, RED)),
                ),
                Column(title="Backlog", query=Query(BACKLOG), unit="short"),
                Column(
                    title="Clears in",
                    query=Query(DRAIN),
                    unit="s",
                    decimals=0,
                    steps=rising(*DRAIN_S),
                ),
                Column(
                    title="Suspended",
                    query=Query(f"max by (account) ({SUSPENDED})"),
                    unit="none",
                    texts=YES_IS_BAD,
                ),
                Column(title="In doubt", query=Query(IN_DOUBT), unit="none", steps=rising(1, 50)),
                Column(
                    title="Oldest doubt",
                    query=Query(OLDEST_DOUBT),
                    unit="s",
                    decimals=0,
                    steps=rising(*DOUBT_S),
                ),
                Column(
                    title="Last sent",
                    query=Query(age_s("mms_last_sent_timestamp_seconds", ACCOUNT)),
                    unit="s",
                    decimals=0,
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
            "closed after a 429 or lowered by the API; Redis or RabbitMQ away; an alarm in RabbitMQ.",
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
                Query(now("mms_draining", by=("instance",)) + " > 0", "{{instance}} is draining"),
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
            labels=("alertname", "severity", "account"),
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

BACKLOG_AND_PACE = Row(
    "Backlog and pace",
    (
        TimeSeries(
            title="Share of the limit in use",
            shows="Calls per second against the limit, per account.",
            healthy="95 to 100 % while there is a backlog. Above 100 % never.",
            otherwise="see Account: the guard against jitter, a lowered limit, an ailing API, or too few workers.",
            queries=(Query(USED_BY, "{{account}}"),),
            unit="percentunit",
            steps=(Step(None, GREEN), Step(1.01, RED)),
            alerts=("ThroughputBelowLimit",),
        ),
        TimeSeries(
            title="Backlog",
            shows="Jobs that wait: in the queues, and in the workers.",
            healthy="it comes and goes with campaigns.",
            otherwise="when it only grows, jobs come faster than the limit permits: look at when it clears.",
            queries=(Query(BACKLOG, "{{account}}"),),
            unit="short",
            steps=NEUTRAL,
            alerts=("SendingStalled",),
        ),
        TimeSeries(
            title="Time until the backlog clears",
            shows="The backlog at the pace in force, if nothing more came.",
            healthy="below an hour, or what was agreed with those who publish.",
            otherwise="ask for a higher limit, put several recipients into a job, or let jobs expire.",
            queries=(Query(DRAIN, "{{account}}"),),
            unit="s",
            steps=rising(*DRAIN_S),
            alerts=("BacklogWillMissDeadline",),
        ),
        TimeSeries(
            title="Calls against the limit",
            shows="Send calls per second, and what the API allows (dashed).",
            healthy="just below the limit while there is a backlog.",
            otherwise="far below with a backlog: what keeps sending back, above, or Account, Pace.",
            queries=(
                Query(CALLS, "{{account}}"),
                Query(LIMITS, "{{account}} limit"),
            ),
            looks=(LIMIT,),
            unit="reqps",
            steps=NEUTRAL,
        ),
        TimeSeries(
            title="Jobs by how they end",
            shows="Jobs that ended, per second. Duplicates had ended before, and were not sent again.",
            healthy="nearly all are sent.",
            otherwise="dead: `mms-worker dead-letters list` says why; refused: the API's own words are in the event; "
            "in doubt: an ailing API or a broken connection.",
            queries=(Query(per_second("mms_jobs_finished_total", ACCOUNT, by=("outcome",)), "{{outcome}}"),),
            looks=ENDS,
            is_stacked=True,
            unit="cps",
            steps=NEUTRAL,
            alerts=("DeadLettersGrowing", "ApiErrorRatio"),
        ),
        TimeSeries(
            title="From publish to accepted",
            shows="How long half and 99 % of the jobs took at most, from the producer's publish until the API accepted "
            "them.",
            healthy="the wait that the backlog explains, and a second.",
            otherwise="long without a backlog: a slow API (Internals, API), or a worker that cannot keep up.",
            queries=(
                Query(ruled("mms_account:end_to_end_seconds:p50_rate5m", ACCOUNT), "{{account}}, half"),
                Query(ruled("mms_account:end_to_end_seconds:p99_rate5m", ACCOUNT), "{{account}}, 99 %"),
            ),
            unit="s",
            steps=rising(900, 3_600),
        ),
    ),
)

DOUBTS = Row(
    "In doubt",
    (
        TimeSeries(
            title="Jobs in doubt",
            shows="Jobs that were sent or not; nobody knows. A delivery report, a rule or a person resolves them.",
            healthy="0, or falling.",
            otherwise="`mms-worker in-doubt list` says why each is; see the runbook before you send one again.",
            queries=(Query(IN_DOUBT, "{{account}}"),),
            unit="none",
            steps=rising(1, 50),
            alerts=("InDoubtAgeing",),
        ),
        TimeSeries(
            title="Oldest doubt",
            shows="For how long the oldest job in doubt is so; 0: none is.",
            healthy="below five minutes: a report resolves it within a minute or two.",
            otherwise="no report comes: is the receiver up, and does the vendor have the right address?",
            queries=(Query(OLDEST_DOUBT, "{{account}}"),),
            unit="s",
            steps=rising(*DOUBT_S),
            alerts=("InDoubtAgeing",),
        ),
        TimeSeries(
            title="Messages that went out twice",
            shows="Jobs that were called for again although they had been sent, in the last hour.",
            healthy="0, always. There is no budget for this.",
            otherwise="stop sending for the account and read the runbook: each of them is a person who got it twice.",
            queries=(
                Query(
                    added("mms_duplicate_sends_detected_total", ACCOUNT, over="1h"),
                    "{{account}}",
                    zero_because="nothing is sent twice, whatever is broken",
                ),
            ),
            unit="none",
            steps=bad_from(1),
            alerts=("DuplicateSendDetected",),
        ),
    ),
)

INBOUND = Row(
    "Reports and replies",
    (
        TimeSeries(
            title="Delivery reports",
            shows="Reports that were told, per second, by status.",
            healthy="nearly all delivered, as many as were sent.",
            otherwise="many failed or expired: the numbers are bad, or a carrier has trouble; ask the vendor.",
            queries=(Query(per_second("mms_reports_total", ACCOUNT, by=("status",)), "{{status}}"),),
            looks=(Look("delivered", GREEN), Look("failed", RED), Look("expired", ORANGE)),
            is_stacked=True,
            unit="cps",
            steps=NEUTRAL,
            alerts=("ReportsMissing",),
        ),
        TimeSeries(
            title="Share of recipients with a final report",
            shows="Final reports against recipients sent to, in the time that is shown.",
            healthy="above 90 %, an hour after the sending.",
            otherwise="is the receiver reached from outside? Are tokens and addresses those that the vendor has?",
            queries=(
                Query(
                    at_most_all(
                        share(
                            added("mms_reports_total", ACCOUNT, BACK),
                            added("mms_recipients_total", ACCOUNT, 'result="sent"'),
                        )
                    ),
                    "{{account}}",
                ),
            ),
            unit="percentunit",
            steps=falling(0.5, 0.9),
            has_bands=False,
            alerts=("ReportsMissing",),
        ),
        TimeSeries(
            title="Replies",
            shows="Replies that were told, per second, by how they came first.",
            healthy="callbacks mostly; polling finds what they lost.",
            otherwise="all by polling: the vendor does not reach the receiver.",
            queries=(Query(per_second("mms_replies_total", ACCOUNT, by=("way",)), "{{way}}"),),
            unit="cps",
            steps=NEUTRAL,
        ),
    ),
)

OVERVIEW = Dashboard(
    name="overview",
    title="Overview",
    about="One look: how much of the limit is used, when the backlog clears, what is wrong. Start here.",
    rows=(WELL, SERVICE_LEVELS, BACKLOG_AND_PACE, DOUBTS, INBOUND),
)
