"""Internals, the middle: what the processes talk to, and how well."""

from deploy.grafana.colours import RESULTS
from deploy.grafana.dashboard import Row
from deploy.grafana.panels import StateTimeline, TimeSeries
from deploy.grafana.parts import GREEN, GREY, NEUTRAL, ORANGE, RED, YELLOW, Look, Query, bad_from, rising
from deploy.grafana.promql import ACCOUNT, mean, now, per_second, quantile

#: Answer times of what stands on every call's way (seconds): Redis, RabbitMQ.
QUICK_S = (0.05, 0.25)

LIMITER = Row(
    "Limiter (Redis)",
    (
        StateTimeline(
            title="Limiter's mode",
            shows="Whether slots can be had: shared, or stopped since Redis does not answer.",
            healthy="shared: green all the way.",
            otherwise="stopped: nothing is sent, and nothing is lost. Look at Redis; it goes on within five seconds of "
            "its return.",
            queries=(Query(now("mms_ratelimit_mode", 'mode="shared"', how="min", by=("instance",)), "{{instance}}"),),
            unit="none",
            steps=bad_from(1),
            texts={0: ("stopped", RED), 1: ("shared", GREEN)},
            alerts=("LimiterStopped",),
            width=12,
        ),
        TimeSeries(
            title="Answer time of the limiter's store",
            shows="How long Redis took to answer for slots.",
            healthy="half below 2 ms, 99 % below 20 ms.",
            otherwise="a slow Redis (big keys, fsync, network), or an event loop that is late: see below.",
            queries=(
                Query(quantile(0.5, "mms_ratelimit_store_duration_seconds"), "half are quicker than"),
                Query(quantile(0.99, "mms_ratelimit_store_duration_seconds"), "99 % are quicker than"),
            ),
            unit="s",
            steps=rising(*QUICK_S),
            width=12,
        ),
        TimeSeries(
            title="Calls that left late",
            shows="How late after its slot a call left.",
            healthy="99 % within 2 ms.",
            otherwise="the machine has no time for the worker: fewer other things on it, or more workers.",
            queries=(
                Query(quantile(0.5, "mms_ratelimit_late_seconds"), "half are later than"),
                Query(quantile(0.99, "mms_ratelimit_late_seconds"), "1 % are later than"),
            ),
            unit="s",
            steps=rising(0.01, 0.1),
            alerts=("EventLoopLag",),
        ),
        TimeSeries(
            title="Wait for a slot",
            shows="The wait of calls that lacked nothing but their slot.",
            healthy="at most 0.8 s.",
            otherwise="longer: the account was closed after a 429, or Redis was away meanwhile.",
            queries=(
                Query(quantile(0.5, "mms_ratelimit_wait_seconds", ACCOUNT, by=("account",)), "{{account}}, half"),
                Query(quantile(0.99, "mms_ratelimit_wait_seconds", ACCOUNT, by=("account",)), "{{account}}, 99 %"),
            ),
            unit="s",
            steps=rising(1, 5),
        ),
        TimeSeries(
            title="Pace in force",
            shows="The pace of each account against its limit (1: all of it).",
            healthy="1, or a little less.",
            otherwise="after a 429 the pace comes back along a curve, within a minute.",
            queries=(
                Query(
                    f"{now('mms_ratelimit_pace', ACCOUNT, how='min')} / {now('mms_ratelimit_limit', ACCOUNT)}",
                    "{{account}}",
                ),
            ),
            unit="percentunit",
            maximum=1.1,
            steps=NEUTRAL,
            alerts=("ThroughputBelowLimit",),
        ),
    ),
)

API = Row(
    "API",
    (
        TimeSeries(
            title="Answer time of the API",
            shows="From a call's start to its whole answer: of sends, and of what is only asked.",
            healthy="95 % within two seconds.",
            otherwise="the vendor's trouble mostly; after three calls without an answer the account stops by itself.",
            queries=(
                Query(quantile(0.5, "mms_api_request_duration_seconds", by=("operation",)), "{{operation}}, half"),
                Query(quantile(0.95, "mms_api_request_duration_seconds", by=("operation",)), "{{operation}}, 95 %"),
            ),
            unit="s",
            steps=rising(5, 20),
            alerts=("ApiSlow",),
        ),
        TimeSeries(
            title="What the API makes of calls",
            shows="All calls per second, by what came of them.",
            healthy="nearly all sent.",
            otherwise="see Account, which tells each account's.",
            queries=(Query(per_second("mms_api_requests_total", ACCOUNT, by=("result",)), "{{result}}"),),
            looks=RESULTS,
            is_stacked=True,
            unit="reqps",
            steps=NEUTRAL,
            alerts=("ApiErrorRatio",),
        ),
        TimeSeries(
            title="Jobs and recipients per call",
            shows="How much leaves with one call, in the mean, and what may be under way at a time.",
            healthy="more than 1 in campaigns of one text and picture.",
            otherwise="1 with a backlog of equal messages: they differ somewhere, in text, subject or picture.",
            queries=(
                Query(mean("mms_jobs_per_call"), "jobs"),
                Query(mean("mms_recipients_per_call"), "recipients"),
                Query(now("mms_calls_max", by=()), "calls at a time, per account"),
            ),
            unit="none",
            decimals=1,
            steps=NEUTRAL,
        ),
    ),
)

BROKER = Row(
    "Broker (RabbitMQ)",
    (
        StateTimeline(
            title="Connections",
            shows="The two connections of each process, one to publish and one to consume.",
            healthy="green all the way.",
            otherwise="gone: no job is taken and no outcome told, so nothing is sent; see `broker_lost` in the log.",
            queries=(
                Query(
                    now("mms_broker_connected", how="min", by=("instance", "role"))
                    + " - (2 * "
                    + now("mms_broker_blocked", by=("instance", "role"))
                    + ")",
                    "{{instance}} {{role}}",
                ),
            ),
            unit="none",
            minimum=None,
            steps=bad_from(1),
            texts={
                -2: ("gone", RED),
                -1: ("alarm: takes nothing in", ORANGE),
                0: ("gone", RED),
                1: ("connected", GREEN),
            },
            alerts=("PublisherBlocked",),
            width=12,
        ),
        StateTimeline(
            title="Queues taken from",
            shows="Whether each queue has a consumer in some process.",
            healthy="green all the way; a suspended account takes nothing for a while.",
            otherwise="nobody: no worker runs, the queue is gone or has other properties, or a permission is missing.",
            queries=(Query(now("mms_consumer_active", by=("queue",)), "{{queue}}"),),
            unit="none",
            steps=bad_from(1),
            texts={0: ("nobody", RED), 1: ("taken from", GREEN)},
            alerts=("NoConsumers",),
            width=12,
        ),
        TimeSeries(
            title="Connections lost",
            shows="Lost connections and failed tries to connect again, per minute.",
            healthy="0.",
            otherwise="RabbitMQ restarts, or the network cuts idle connections.",
            queries=(Query(f"60 * {per_second('mms_broker_losses_total', by=('role',))}", "{{role}}"),),
            unit="cpm",
            steps=rising(1, 20),
        ),
        TimeSeries(
            title="Time until a publish is confirmed",
            shows="From publishing to the broker's confirm, of events, copies and dead letters.",
            healthy="99 % below 50 ms.",
            otherwise="slow disks, an alarm, or a quorum that lost a member.",
            queries=(
                Query(quantile(0.5, "mms_publish_confirm_duration_seconds"), "half are quicker than"),
                Query(quantile(0.99, "mms_publish_confirm_duration_seconds"), "99 % are quicker than"),
            ),
            unit="s",
            steps=rising(*QUICK_S),
        ),
        TimeSeries(
            title="Publications that failed",
            shows="Publications that were not confirmed, per minute, by why. Each is repeated.",
            healthy="0, or some while RabbitMQ restarts.",
            otherwise="unroutable: a queue or a binding was deleted; the worker declares it again.",
            queries=(Query(f"60 * {per_second('mms_publish_failures_total', by=('reason',))}", "{{reason}}"),),
            unit="cpm",
            steps=rising(1, 60),
            alerts=("PublishFailures",),
        ),
        TimeSeries(
            title="Dead letters",
            shows="What lies in mms.dead.",
            healthy="0, or what somebody is looking at.",
            otherwise="`mms-worker dead-letters list` says why each is there; retry, or drop, when it is understood.",
            queries=(Query(now("mms_dead_letters", by=()), "dead letters"),),
            looks=(Look("dead letters", RED),),
            unit="none",
            steps=rising(1, 100),
            alerts=("DeadLettersGrowing",),
            width=8,
        ),
        TimeSeries(
            title="Unroutable jobs",
            shows="What lies in mms.unroutable: jobs for an account that no worker knows.",
            healthy="0.",
            otherwise="a producer's routing key is wrong, or the account is missing in the accounts file. Publish "
            "them again when it is there.",
            queries=(Query(now("mms_unroutable_jobs", by=()), "unroutable"),),
            looks=(Look("unroutable", RED),),
            unit="none",
            steps=rising(1, 100),
            alerts=("UnroutableJobs",),
        ),
        TimeSeries(
            title="Drains",
            shows="Workers that were told to stop, ever since Redis remembers: in time, or broken off.",
            healthy="all whole.",
            otherwise="timed out: calls were broken off, their jobs are in doubt. Give it more time before SIGKILL.",
            queries=(Query(now("mms_drains_total", by=("result",)), "{{result}}"),),
            looks=(Look("whole", GREEN), Look("timed_out", RED)),
            unit="none",
            steps=NEUTRAL,
            alerts=("DrainTimedOut",),
        ),
    ),
)

JOURNAL = Row(
    "Journal (Redis)",
    (
        TimeSeries(
            title="Answer time of the journal",
            shows="How long Redis took for a group of the journal's commands.",
            healthy="99 % below 20 ms.",
            otherwise="as for the limiter. Slower than the time-out, and sending stops.",
            queries=(
                Query(quantile(0.5, "mms_journal_duration_seconds"), "half are quicker than"),
                Query(quantile(0.99, "mms_journal_duration_seconds"), "99 % are quicker than"),
            ),
            unit="s",
            steps=rising(*QUICK_S),
            width=12,
        ),
        TimeSeries(
            title="Journal without an answer",
            shows="Groups of commands that the journal did not answer, per minute. Each is repeated.",
            healthy="0.",
            otherwise="Redis is away, full, read-only or evicts; `mms-worker check` says which.",
            queries=(Query(f"60 * {per_second('mms_journal_failures_total', by=('instance',))}", "{{instance}}"),),
            unit="cpm",
            steps=rising(1, 30),
            alerts=("JournalUnavailable",),
            width=12,
        ),
    ),
)

RECEIVER = Row(
    "Receiver",
    (
        TimeSeries(
            title="Callbacks",
            shows="Requests to the receiver per second, by what they were answered.",
            healthy="taken.",
            otherwise="not taken: RabbitMQ or Redis is away, and the vendor repeats them; unknown address: guesses, "
            "or a token that was changed here and not with the vendor.",
            queries=(Query(per_second("mms_callback_requests_total", by=("result",)), "{{result}}"),),
            looks=(
                Look("taken", GREEN),
                Look("not_taken", RED),
                Look("malformed", ORANGE),
                Look("too_large", YELLOW),
                Look("unknown_address", GREY),
            ),
            is_stacked=True,
            unit="reqps",
            steps=NEUTRAL,
            alerts=("CallbacksNotTaken", "ReceiversAbsent"),
        ),
        TimeSeries(
            title="Time until a callback is answered",
            shows="From a callback's headers to its answer, where the address was right.",
            healthy="99 % below half a second.",
            otherwise="slow confirms of the broker; after ten seconds the answer is 503.",
            queries=(
                Query(quantile(0.5, "mms_callback_duration_seconds"), "half are quicker than"),
                Query(quantile(0.99, "mms_callback_duration_seconds"), "99 % are quicker than"),
            ),
            unit="s",
            steps=rising(1, 5),
        ),
        TimeSeries(
            title="From a send's answer to its report",
            shows="How long delivery reports took, where the send is known.",
            healthy="half within a minute.",
            otherwise="hours: phones that are off, or a carrier with trouble.",
            queries=(
                Query(quantile(0.5, "mms_report_delay_seconds"), "half are quicker than"),
                Query(quantile(0.95, "mms_report_delay_seconds"), "95 % are quicker than"),
            ),
            unit="s",
            steps=rising(3_600, 43_200),
        ),
    ),
)
