"""Internals: the limiter, the API's connections, the broker, the journal, the receiver and the processes."""

from deploy.grafana.dashboard import Dashboard, Row
from deploy.grafana.internals_servers import API, BROKER, JOURNAL, LIMITER, RECEIVER
from deploy.grafana.panels import Stat, TimeSeries
from deploy.grafana.parts import GREEN, NEUTRAL, ORANGE, RED, Look, Query, bad_from, rising
from deploy.grafana.promql import added, counted, mean, now, per_second, quantile, series, up
from deploy.grafana.table import Column, Table

PROCESSES = Row(
    "Processes",
    (
        Table(
            title="Processes",
            shows="Every process that Prometheus knows: whether it is reached, its age and what it uses.",
            healthy="all up, with ages that the last deployment explains.",
            otherwise="a young process among old ones was restarted: its log says why the one before ended.",
            alerts=("WorkersAbsent", "InternalErrors"),
            width=20,
            height=6,
            labels=("job", "instance"),
            columns=(
                Column(
                    title="Up",
                    query=Query(f"max by (job, instance) ({up()})"),
                    unit="none",
                    texts={0: ("no", RED), 1: ("yes", GREEN)},
                ),
                Column(
                    title="Age",
                    query=Query(f"time() - {now('process_start_time_seconds', by=('job', 'instance'))}"),
                    unit="s",
                    decimals=0,
                ),
                Column(
                    title="CPU",
                    query=Query(per_second("process_cpu_seconds_total", by=("job", "instance"))),
                    unit="percentunit",
                    decimals=0,
                    steps=rising(0.7, 0.9),
                ),
                Column(
                    title="Memory",
                    query=Query(now("process_resident_memory_bytes", by=("job", "instance"))),
                    unit="bytes",
                ),
                Column(
                    title="Late event loop",
                    query=Query(now("mms_event_loop_lag_seconds", by=("job", "instance"))),
                    unit="s",
                    steps=rising(0.1, 0.5),
                ),
                Column(
                    title="Draining",
                    query=Query(now("mms_draining", by=("job", "instance"))),
                    unit="none",
                    texts={0: ("no", GREEN), 1: ("yes", ORANGE)},
                ),
                Column(
                    title="Bugs caught",
                    query=Query(
                        counted("mms_surprises_total", by=("job", "instance"), over="$__range"),
                        zero_because="the run meets no bug",
                    ),
                    unit="none",
                    decimals=0,
                    steps=bad_from(1),
                ),
            ),
        ),
        Stat(
            title="Versions",
            shows="How many processes run which version.",
            healthy="one version; two during an upgrade.",
            otherwise="an upgrade has stopped half-way: two versions share queues and Redis without harm, for a while.",
            queries=(Query(f"count by (version) ({series('mms_build_info')})", "{{version}}"),),
            unit="none",
            steps=NEUTRAL,
            height=6,
            has_names=True,
        ),
    ),
)

JOBS = Row(
    "In the workers",
    (
        TimeSeries(
            title="Jobs in the workers, by stage",
            shows="Where the jobs are that the workers hold.",
            healthy="most of them wait for a slot; few are in calls, none is stuck in another stage.",
            otherwise="many to be told or settled: RabbitMQ or Redis is slow; many in calls: the API is.",
            queries=(Query(now("mms_jobs_in_flight", how="sum", by=("stage",)), "{{stage}}"),),
            is_stacked=True,
            unit="none",
            steps=NEUTRAL,
        ),
        TimeSeries(
            title="Oldest job in hand",
            shows="How long the oldest job has been in each worker, unacknowledged.",
            healthy="below a minute; up to MMS_HOLD_S_MAX (ten minutes) for a slow account.",
            otherwise="the broker takes its jobs back after its consumer timeout (30 minutes), and the channel with "
            "them: see which stage keeps it.",
            queries=(Query(now("mms_oldest_unacked_seconds", by=("instance",)), "{{instance}}"),),
            unit="s",
            steps=rising(600, 1_200),
            alerts=("AckTimeoutRisk",),
        ),
        TimeSeries(
            title="Attempts that jobs took",
            shows="Calls that a job took until it ended. A wait, a 429 and a shutdown are none.",
            healthy="1.",
            otherwise="more: no connection to the API (DNS, connect, TLS); after 8 it is a dead letter.",
            queries=(Query(mean("mms_job_attempts"), "mean"), Query(quantile(0.99, "mms_job_attempts"), "99 %")),
            unit="none",
            decimals=1,
            steps=rising(2, 4),
            alerts=("RetryStorm",),
        ),
    ),
)

RUNTIME = Row(
    "Runtime",
    (
        TimeSeries(
            title="Late event loop",
            shows="How late the event loop of each process woke up.",
            healthy="below 10 ms.",
            otherwise="no CPU left, or something blocks: calls miss their slots.",
            queries=(Query(now("mms_event_loop_lag_seconds", by=("instance",)), "{{instance}}"),),
            unit="s",
            steps=rising(0.1, 0.5),
            alerts=("EventLoopLag",),
        ),
        TimeSeries(
            title="CPU",
            shows="Cores that each process uses. One process uses one core at most.",
            healthy="below 70 %.",
            otherwise="start more workers: they share the limit.",
            queries=(Query(per_second("process_cpu_seconds_total", by=("instance",)), "{{instance}}"),),
            unit="percentunit",
            steps=rising(0.7, 0.9),
        ),
        TimeSeries(
            title="Memory",
            shows="Resident memory of each process.",
            healthy="100 MB, and twice what is held: MMS_HELD_BYTES_MAX at most (32 MB by default).",
            otherwise="lower MMS_HELD_BYTES_MAX, or give it more: as deployed, a worker may have 1 GiB, and "
            "a receiver 512 MiB.",
            queries=(Query(now("process_resident_memory_bytes", by=("instance",)), "{{instance}}"),),
            unit="bytes",
            steps=rising(600e6, 1e9),
        ),
        TimeSeries(
            title="File descriptors in use",
            shows="Open files and sockets against what is permitted.",
            healthy="below half.",
            otherwise="raise the limit (`ulimit -n`); each account takes MMS_CALLS_MAX connections.",
            queries=(
                Query(
                    f"{now('process_open_fds', by=('instance',))} / {now('process_max_fds', by=('instance',))}",
                    "{{instance}}",
                ),
            ),
            unit="percentunit",
            maximum=1,
            steps=rising(0.5, 0.8),
        ),
        TimeSeries(
            title="Garbage collections",
            shows="Collections per minute of each process; each stops it for a moment.",
            healthy="a few a minute; hundreds while it starts.",
            otherwise="many with a late event loop: fewer jobs in hand (MMS_PREFETCH).",
            queries=(
                Query(
                    f"60 * {per_second('python_gc_collections_total', by=('instance',))}",
                    "{{instance}}",
                ),
            ),
            unit="cpm",
            steps=rising(300),
        ),
        TimeSeries(
            title="Reloads, and accounts that could not start",
            shows="Reloads by SIGHUP in the time that is shown, and accounts that are wanted and not started.",
            healthy="applied; 0 not started.",
            otherwise="refused: the log lists every mistake (`reload_refused`), and nothing was changed.",
            queries=(
                Query(added("mms_reloads_total", by=("result",)), "{{result}}"),
                Query(
                    now("mms_accounts_not_started", by=()),
                    "not started",
                    zero_because="every account of the run can start",
                ),
            ),
            looks=(Look("applied", GREEN), Look("refused", RED), Look("not started", ORANGE)),
            unit="none",
            steps=NEUTRAL,
            alerts=("AccountsNotStarted",),
        ),
    ),
)

INTERNALS = Dashboard(
    name="internals",
    title="Internals",
    about="What is inside: processes, limiter, API, broker, journal, receiver, runtime. Choose instances above.",
    rows=(PROCESSES, JOBS, LIMITER, API, BROKER, JOURNAL, RECEIVER, RUNTIME),
    shown="now-1h",
)
