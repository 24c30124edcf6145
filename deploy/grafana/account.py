"""Account: everything of one account, from its pace to its replies."""

from deploy.grafana.account_jobs import DOUBTS, INBOUND, OUTCOMES
from deploy.grafana.asked import BACKLOG, CALLS, DRAIN, DRAIN_S, IN_FORCE, LIMITS, SHARE_USED, SUSPENDED, USED_BY
from deploy.grafana.colours import LIMIT, NEVER_ENDS, NEVER_WAS, RESULTS, YES_IS_BAD
from deploy.grafana.dashboard import Dashboard, Row
from deploy.grafana.panels import Heatmap, Stat, StateTimeline, TimeSeries
from deploy.grafana.parts import BLUE, GREEN, NEUTRAL, ORANGE, RED, Look, Query, bad_from, falling, rising
from deploy.grafana.promql import ACCOUNT, age_s, buckets, now, per_second, quantile, ruled

ANSWERED = per_second("mms_api_requests_total", ACCOUNT, 'operation="send_mms"', 'result=~"sent|refused"')

STATE = Row(
    "Now",
    (
        Stat(
            title="Share of the limit in use",
            shows="Calls per second against the limit.",
            healthy="95 to 100 % while there is a backlog.",
            otherwise="see Pace, below.",
            queries=(Query(USED_BY, "{{account}}"),),
            unit="percentunit",
            decimals=1,
            steps=SHARE_USED,
            alerts=("ThroughputBelowLimit",),
        ),
        Stat(
            title="Backlog",
            shows="Jobs that wait, in the queues and in the workers.",
            healthy="what the campaigns explain.",
            otherwise="see when it clears.",
            queries=(Query(f"sum({BACKLOG})", "jobs"),),
            unit="short",
            steps=NEUTRAL,
        ),
        Stat(
            title="Clears in",
            shows="The backlog at the pace in force, if nothing more came.",
            healthy="below an hour, or what was agreed.",
            otherwise="a higher limit, several recipients a job, or an end for jobs (`expires_at`).",
            queries=(Query(f"max({DRAIN})", "clears in"),),
            unit="s",
            decimals=0,
            texts=NEVER_ENDS,
            steps=rising(*DRAIN_S),
            alerts=("BacklogWillMissDeadline",),
        ),
        Stat(
            title="Last sent",
            shows="How long ago the API last accepted a job of this account; never: not since the workers started.",
            healthy="a second with a backlog; any time without one.",
            otherwise="with a backlog: see whether it is suspended, and What the API makes of calls.",
            queries=(Query(age_s("mms_last_sent_timestamp_seconds", ACCOUNT), "ago"),),
            unit="s",
            decimals=0,
            texts=NEVER_WAS,
            steps=NEUTRAL,
            alerts=("SendingStalled",),
        ),
        Stat(
            title="Suspended",
            shows="Whether nothing is sent for this account, since the API refused its key, its credit, or all calls.",
            healthy="no.",
            otherwise="the reason is in the panel below. It is asked about every minute, and goes on by itself.",
            queries=(Query(f"max({SUSPENDED})", "suspended"),),
            unit="none",
            steps=bad_from(1),
            texts=YES_IS_BAD,
            alerts=("CredentialsRejected", "AccountSuspended"),
        ),
        Stat(
            title="Credit now",
            shows="MMS credit that is left, as the API told it last (every 15 minutes, to a receiver).",
            healthy="enough for the backlog and a day.",
            otherwise="buy more before it is out: then the account is suspended, and keeps its jobs.",
            queries=(Query(f"min({now('mms_account_balance', ACCOUNT, how='min')})", "credit"),),
            unit="short",
            steps=falling(1, 100),
            alerts=("CreditLow",),
        ),
    ),
)

PACE = Row(
    "Pace",
    (
        TimeSeries(
            title="Calls, pace and limit",
            shows="Send calls per second, the pace in force, and the configured limit (dashed).",
            healthy="calls just below the pace, and the pace at the limit, while there is a backlog.",
            otherwise="pace below the limit: the API refused calls, and the pace comes back by itself. Calls below the "
            "pace: suspended, Redis away, an ailing API, or too few workers.",
            queries=(
                Query(CALLS, "calls"),
                Query(IN_FORCE, "pace in force"),
                Query(LIMITS, "limit"),
            ),
            looks=(LIMIT, Look("calls", GREEN), Look("pace in force", BLUE, is_filled=False)),
            unit="reqps",
            steps=NEUTRAL,
            width=12,
            alerts=("ThroughputBelowLimit", "SendingStalled"),
        ),
        TimeSeries(
            title="Worst rolling second",
            shows="The most calls of all workers within any second, lately, and the limit in whole calls (dashed).",
            healthy="never above the limit.",
            otherwise="several installations with the same key and different Redis? Each believes the limit its own.",
            queries=(
                Query(now("mms_ratelimit_rolling_max", ACCOUNT), "worst second"),
                Query(f"ceil({LIMITS})", "limit"),
            ),
            looks=(LIMIT, Look("worst second", BLUE)),
            unit="none",
            steps=NEUTRAL,
            width=12,
            alerts=("OverLimit",),
        ),
        TimeSeries(
            title="What the API makes of calls",
            shows="All calls per second (sending, asking), by what came of them.",
            healthy="nearly all sent.",
            otherwise="throttled: more than the API allows; not sent: no connection; suspended: key or credit; in "
            "doubt: no proper answer after the first byte.",
            queries=(Query(per_second("mms_api_requests_total", ACCOUNT, by=("result",)), "{{result}}"),),
            looks=RESULTS,
            is_stacked=True,
            unit="reqps",
            steps=NEUTRAL,
            alerts=("ApiErrorRatio", "OverLimit"),
        ),
        StateTimeline(
            title="What keeps it back",
            shows="When the account was suspended (and why), closed after a 429, or lowered by the API.",
            healthy="green all the way.",
            otherwise="credentials, credit: the vendor's portal; api: its status; lowered: ask the vendor.",
            alerts=("CredentialsRejected", "AccountSuspended"),
            width=16,
            unit="none",
            steps=bad_from(1),
            texts={0: ("no", GREEN), 1: ("yes", RED)},
            queries=(
                Query(SUSPENDED, "suspended: {{reason}}"),
                Query(now("mms_ratelimit_closed", ACCOUNT), "closed after a 429"),
                Query(now("mms_ratelimit_lowered", ACCOUNT), "lowered by the API"),
            ),
        ),
        TimeSeries(
            title="Guard against jitter",
            shows="What a second's calls take longer than it, so that none comes too soon after another.",
            healthy="some 5 ms; on a way with jitter half of what a call's time varies by.",
            otherwise="it costs its share of the limit: better a quieter network, or a machine with spare time.",
            queries=(Query(now("mms_ratelimit_guard_seconds", ACCOUNT), "guard"),),
            unit="s",
            steps=rising(0.05, 0.2),
        ),
        TimeSeries(
            title="Wait for a slot",
            shows="How long the jobs that lead calls waited in a worker, from delivery to their slot.",
            healthy="up to 8 s with a backlog, since that much is held ready; nothing without.",
            otherwise="more than that: the pace was lowered, or the account is suspended.",
            queries=(
                Query(quantile(0.5, "mms_job_queue_wait_seconds", ACCOUNT), "half wait less than"),
                Query(quantile(0.99, "mms_job_queue_wait_seconds", ACCOUNT), "99 % wait less than"),
            ),
            unit="s",
            steps=rising(60, 600),
            alerts=("AckTimeoutRisk",),
        ),
        TimeSeries(
            title="Recipients per call",
            shows="How many recipients each call carried that the API answered: jobs of equal content go together.",
            healthy="1 for single messages, up to 1,000 in a campaign.",
            otherwise="1 in a campaign: give it one text and one picture, so that jobs can share calls.",
            queries=(Query(f"{per_second('mms_recipients_total', ACCOUNT)} / ({ANSWERED} > 0)", "recipients"),),
            unit="none",
            decimals=1,
            steps=NEUTRAL,
        ),
    ),
)

BACKLOG_ROW = Row(
    "Backlog and time",
    (
        TimeSeries(
            title="Backlog by lane",
            shows="Jobs that wait in the queues, urgent and bulk.",
            healthy="urgent near 0: four of five calls are theirs while they wait.",
            otherwise="urgent grows: too much is published as urgent.",
            queries=(Query(ruled("mms_account_lane:backlog:jobs", ACCOUNT), "{{lane}}"),),
            is_stacked=True,
            looks=(Look("urgent", ORANGE), Look("bulk", BLUE)),
            unit="short",
            steps=NEUTRAL,
        ),
        TimeSeries(
            title="Jobs in and out",
            shows="Jobs that the broker handed over, and jobs that ended, per second.",
            healthy="out keeps up with in, over an hour.",
            otherwise="handed over again and again: a worker that dies, or a channel that is closed; see Internals.",
            queries=(
                Query(per_second("mms_jobs_received_total", ACCOUNT, 'redelivered="false"', by=()), "handed over"),
                Query(per_second("mms_jobs_received_total", ACCOUNT, 'redelivered="true"', by=()), "handed over again"),
                Query(per_second("mms_jobs_finished_total", ACCOUNT, by=()), "ended"),
            ),
            looks=(Look("handed over", BLUE), Look("ended", GREEN), Look("handed over again", ORANGE)),
            unit="cps",
            steps=NEUTRAL,
            alerts=("RetryStorm",),
        ),
        Heatmap(
            title="From publish to the end",
            shows="How long jobs took from the producer's publish to their end, all outcomes.",
            healthy="one dark band, where the backlog puts it.",
            otherwise="a second band far above: jobs that came back, from retry queues or from a dead worker.",
            queries=(Query(buckets("mms_job_end_to_end_seconds", ACCOUNT), "{{le}}"),),
            unit="s",
            steps=NEUTRAL,
        ),
    ),
)

ACCOUNT_BOARD = Dashboard(
    name="account",
    title="Account",
    about="Everything of one account: pace, backlog, outcomes, doubts, reports, replies, credit.",
    rows=(STATE, PACE, BACKLOG_ROW, OUTCOMES, DOUBTS, INBOUND),
    has_one_account=True,
)
