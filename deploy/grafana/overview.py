"""Overview: one look says whether messages leave at the limit, when the backlog clears, and what is wrong."""

from deploy.grafana.asked import (
    BACK,
    BACKLOG,
    CALLS,
    DOUBT_S,
    DRAIN,
    DRAIN_S,
    IN_DOUBT,
    LIMITS,
    OLDEST_DOUBT,
    OVER_USE,
    USED_BY,
)
from deploy.grafana.colours import ENDS, LIMIT, STATUSES
from deploy.grafana.dashboard import Dashboard, Row
from deploy.grafana.levels import SERVICE_LEVELS
from deploy.grafana.panels import TimeSeries
from deploy.grafana.parts import GREEN, NEUTRAL, RED, Query, Step, bad_from, falling, rising
from deploy.grafana.promql import ACCOUNT, added, counted, per_second, ruled, share
from deploy.grafana.well import WELL

BACKLOG_AND_PACE = Row(
    "Backlog and pace",
    (
        TimeSeries(
            title="Share of the limit in use",
            shows="Calls per second against the limit, per account.",
            healthy="95 to 100 % while there is a backlog; an estimate over a minute, which may be a little above.",
            otherwise="see Account: the guard against jitter, a lowered limit, an ailing API, or too few workers.",
            queries=(Query(USED_BY, "{{account}}"),),
            unit="percentunit",
            steps=(Step(None, GREEN), Step(OVER_USE, RED)),
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
            shows="The backlog at the pace in force, if nothing more came. No line: the account cannot send at all.",
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
            "them; four hours and more show as four.",
            healthy="the wait that the backlog explains, and a second.",
            otherwise="long without a backlog: a slow API (Internals, API), or a worker that cannot keep up.",
            queries=(
                Query(ruled("mms_account:end_to_end_seconds:p50_rate5m", ACCOUNT), "{{account}}, half"),
                Query(ruled("mms_account:end_to_end_seconds:p99_rate5m", ACCOUNT), "{{account}}, 99 %"),
            ),
            unit="s",
            steps=NEUTRAL,
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
                    counted("mms_duplicate_sends_detected_total", ACCOUNT, by=("account",), over="1h"),
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
            looks=STATUSES,
            is_stacked=True,
            unit="cps",
            steps=NEUTRAL,
            alerts=("ReportsMissing",),
        ),
        TimeSeries(
            title="Share of recipients with a final report",
            shows="Final reports against recipients sent to, of as much time as is shown, up to each moment.",
            healthy="above 90 %, an hour after the sending.",
            otherwise="is the receiver reached from outside? Are tokens and addresses those that the vendor has?",
            queries=(
                Query(
                    share(
                        added("mms_reports_total", ACCOUNT, BACK),
                        added("mms_recipients_total", ACCOUNT, 'result="sent"'),
                    ),
                    "{{account}}",
                ),
            ),
            unit="percentunit",
            steps=falling(0.9),
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
