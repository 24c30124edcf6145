"""Account, second half: what becomes of the jobs, doubts, reports, replies and credit."""

from deploy.grafana.asked import BACK, DOUBT_S, IN_DOUBT, OLDEST_DOUBT
from deploy.grafana.colours import ENDS, STATUSES
from deploy.grafana.dashboard import Row
from deploy.grafana.panels import TimeSeries
from deploy.grafana.parts import BLUE, GREEN, NEUTRAL, ORANGE, PURPLE, RED, Look, Query, falling, rising
from deploy.grafana.promql import ACCOUNT, added, now, per_second, quantile

SENT_TO = added("mms_recipients_total", ACCOUNT, 'result="sent"')
REPORTED = added("mms_reports_total", ACCOUNT, BACK)

OUTCOMES = Row(
    "What becomes of jobs",
    (
        TimeSeries(
            title="Jobs by how they end",
            shows="Jobs that ended, per second.",
            healthy="nearly all are sent.",
            otherwise="dead: `mms-worker dead-letters list`; refused: the event has the API's words.",
            queries=(Query(per_second("mms_jobs_finished_total", ACCOUNT, by=("outcome",)), "{{outcome}}"),),
            looks=ENDS,
            is_stacked=True,
            unit="cps",
            steps=NEUTRAL,
            alerts=("DeadLettersGrowing",),
        ),
        TimeSeries(
            title="Why the API refuses",
            shows="Sends that the API refused for good, per minute, by its own code.",
            healthy="few, and for reasons that are the recipients' own (opted out).",
            otherwise="FIELD_INVALID and the like: the producer makes something wrong; the event has the API's words.",
            queries=(Query(f"60 * {per_second('mms_api_refusals_total', ACCOUNT, by=('code',))}", "{{code}}"),),
            is_stacked=True,
            unit="cpm",
            steps=NEUTRAL,
            alerts=("ApiErrorRatio",),
        ),
        TimeSeries(
            title="Later than planned",
            shows="How much later jobs ended than the backlog at their publishing takes at the full limit; an hour and "
            "more show as one.",
            healthy="99 % within a minute: that is the service level.",
            otherwise="the pace was below the limit meanwhile, or the jobs came back: see Jobs put back.",
            queries=(
                Query(quantile(0.5, "mms_job_overdue_seconds", ACCOUNT), "half are less late than"),
                Query(quantile(0.99, "mms_job_overdue_seconds", ACCOUNT), "99 % are less late than"),
            ),
            unit="s",
            steps=rising(60, 900),
            alerts=("ErrorBudgetBurnFast",),
        ),
        TimeSeries(
            title="Jobs put back",
            shows="Jobs that went back to a queue, per second, by why.",
            healthy="some, after a 429; all at once, when an account is suspended or a worker drains.",
            otherwise="for long: the same jobs go round; the reason says which fault to look for.",
            queries=(Query(per_second("mms_jobs_requeued_total", ACCOUNT, by=("reason",)), "{{reason}}"),),
            is_stacked=True,
            unit="cps",
            steps=NEUTRAL,
            alerts=("RetryStorm",),
        ),
        TimeSeries(
            title="Jobs that came again",
            shows="Jobs that had ended and came once more, per minute, and were not sent again: handed out again by "
            "the broker, or published twice. And jobs that came back so often that each was looked at alone.",
            healthy="none, or some after a fault.",
            otherwise="published twice, and for long: a producer repeats itself. Looked at alone: a message may be "
            "ending its workers; the log names it.",
            queries=(
                Query(
                    f"60 * {per_second('mms_duplicates_suppressed_total', ACCOUNT, by=('source',))}",
                    "ended before: {{source}}",
                ),
                Query(f"60 * {per_second('mms_jobs_suspected_total', ACCOUNT, by=())}", "looked at alone"),
            ),
            unit="cpm",
            steps=NEUTRAL,
            width=16,
        ),
    ),
)

DOUBTS = Row(
    "In doubt",
    (
        TimeSeries(
            title="Jobs in doubt",
            shows="Jobs that were sent or not; nobody knows.",
            healthy="0, or falling.",
            otherwise="`mms-worker in-doubt list --account NAME` says why each is.",
            queries=(Query(IN_DOUBT, "in doubt"),),
            looks=(Look("in doubt", PURPLE),),
            unit="none",
            steps=rising(1, 50),
            alerts=("InDoubtAgeing",),
        ),
        TimeSeries(
            title="Oldest doubt",
            shows="For how long the oldest job in doubt is so; 0: none is.",
            healthy="below five minutes.",
            otherwise="its report does not come: is the receiver up, and does the vendor have its address?",
            queries=(Query(OLDEST_DOUBT, "oldest"),),
            looks=(Look("oldest", PURPLE),),
            unit="s",
            steps=rising(*DOUBT_S),
            alerts=("InDoubtAgeing",),
        ),
        TimeSeries(
            title="Doubts resolved, and messages that went out twice",
            shows="Doubts that were resolved, per minute, by how; and jobs that were surely sent twice.",
            healthy="resolved as fast as they come; sent twice: never.",
            otherwise="sent twice: stop sending for the account and read the runbook.",
            queries=(
                Query(
                    f"60 * {per_second('mms_in_doubt_resolved_total', ACCOUNT, by=('resolution',))}",
                    "resolved: {{resolution}}",
                ),
                Query(
                    f"60 * {per_second('mms_duplicate_sends_detected_total', ACCOUNT, by=())}",
                    "sent twice",
                    zero_because="nothing is sent twice, whatever is broken",
                ),
            ),
            looks=(
                Look("sent twice", RED),
                Look("resolved: sent", GREEN),
                Look("resolved: resent", BLUE),
                Look("resolved: given_up", ORANGE),
            ),
            unit="cpm",
            steps=NEUTRAL,
            alerts=("DuplicateSendDetected",),
        ),
    ),
)

INBOUND = Row(
    "Reports, replies and credit",
    (
        TimeSeries(
            title="Delivery reports",
            shows="Reports that were told, per second, by status.",
            healthy="nearly all delivered.",
            otherwise="many failed or expired: bad numbers, or a carrier has trouble.",
            queries=(Query(per_second("mms_reports_total", ACCOUNT, by=("status",)), "{{status}}"),),
            looks=STATUSES,
            is_stacked=True,
            unit="cps",
            steps=NEUTRAL,
        ),
        TimeSeries(
            title="Recipients without a final report",
            shows="Recipients sent to, less final reports, of as much time as is shown, up to each moment.",
            healthy="what was sent within the last minutes.",
            otherwise="it grows all day: the vendor does not reach the receiver, or its token was changed.",
            queries=(
                Query(
                    f"clamp_min({SENT_TO} - {REPORTED}, 0)",
                    "without a report",
                ),
            ),
            unit="short",
            steps=NEUTRAL,
            alerts=("ReportsMissing",),
        ),
        TimeSeries(
            title="Odd reports",
            shows="Reports per minute that waited for their message to be known, that were told before, or that belong "
            "to no job.",
            healthy="few. Others who send for the same account make many that belong to no job.",
            otherwise="many without a job: something else sends with this key, or MMS_REPORTS_S is too short.",
            queries=(
                Query(f"60 * {per_second('mms_reports_put_aside_total', ACCOUNT, by=())}", "waited"),
                Query(f"60 * {per_second('mms_reports_repeated_total', ACCOUNT, by=())}", "told before"),
                Query(f"60 * {per_second('mms_reports_unmatched_total', ACCOUNT, by=())}", "of no job"),
            ),
            unit="cpm",
            steps=NEUTRAL,
        ),
        TimeSeries(
            title="Replies",
            shows="Replies that were told, per minute, by how they came first; and those that came twice.",
            healthy="callbacks mostly, the rest found by asking.",
            otherwise="none by callback: the vendor does not reach the receiver.",
            queries=(
                Query(f"60 * {per_second('mms_replies_total', ACCOUNT, by=('way',))}", "by {{way}}"),
                Query(f"60 * {per_second('mms_replies_repeated_total', ACCOUNT, by=())}", "told before"),
            ),
            unit="cpm",
            steps=NEUTRAL,
        ),
        TimeSeries(
            title="Asking for replies",
            shows="How often unread replies were asked for, per minute, and whether all were had; what was found.",
            healthy="twice a minute, whole.",
            otherwise="ended early: the account is suspended, or the API does not answer.",
            queries=(
                Query(f"60 * {per_second('mms_reply_polls_total', ACCOUNT, by=('result',))}", "{{result}}"),
                Query(f"60 * {per_second('mms_replies_polled_total', ACCOUNT, by=())}", "replies found"),
            ),
            looks=(Look("ended_early", RED), Look("whole", GREEN), Look("replies found", BLUE)),
            unit="cpm",
            steps=NEUTRAL,
        ),
        TimeSeries(
            title="Credit",
            shows="MMS credit that is left, and whether answers warned of a low balance (per minute).",
            healthy="enough for the backlog and a day.",
            otherwise="buy more: without credit the account is suspended, and keeps its jobs.",
            queries=(
                Query(now("mms_account_balance", ACCOUNT, how="min"), "credit"),
                Query(f"60 * {per_second('mms_low_balance_warnings_total', ACCOUNT, by=())}", "warnings"),
            ),
            looks=(Look("credit", BLUE), Look("warnings", ORANGE)),
            unit="short",
            steps=falling(1, 100),
            has_bands=False,
            alerts=("CreditLow",),
        ),
    ),
)
