"""Pieces of PromQL that the dashboards are made of.

A selector names the job and the instances that are chosen at the top of the dashboard; recording rules have neither
label. `where` is more matchers, `by` the labels that are kept.
"""

from collections.abc import Sequence

CHOSEN = ('job=~"$job"', 'instance=~"$instance"')
ACCOUNT = 'account=~"$account"'
RATE = "$__rate_interval"


def series(metric: str, *where: str) -> str:
    """The metric's series of the chosen processes."""
    return f"{metric}{{{', '.join((*CHOSEN, *where))}}}"


def ruled(rule: str, *where: str) -> str:
    """A recording rule's series."""
    return f"{rule}{{{', '.join(where)}}}" if where else rule


def firing(*where: str) -> str:
    """Our alerts that fire."""
    ours = ('service="mms-worker"', 'alertstate="firing"')
    return f"ALERTS{{{', '.join((*ours, *where))}}}"


def folded(how: str, expression: str, by: Sequence[str] = ()) -> str:
    """`how` is an aggregation: sum, max, ..."""
    return f"{how} by ({', '.join(by)}) ({expression})" if by else f"{how}({expression})"


def of_ours(metric: str, expression: str) -> str:
    """What is asked of a metric: of one that every program may have, of workers and receivers alone.

    With all jobs chosen, whatever else the same Prometheus scrapes would be in it.
    """
    if metric.startswith("mms_"):
        return expression
    return f"{expression} and on (job, instance) {series('mms_build_info')}"


def up() -> str:
    """1 for each process that is reached, else 0; of jobs that have had a worker or receiver in the time shown."""
    return f"{series('up')} and on (job) max_over_time({series('mms_build_info')}[$__range])"


def now(metric: str, *where: str, how: str = "max", by: Sequence[str] = ("account",)) -> str:
    """A gauge. What all processes share, each exports: so the highest is taken, not the sum."""
    return folded(how, of_ours(metric, series(metric, *where)), by)


def per_second(metric: str, *where: str, by: Sequence[str] = ("account",)) -> str:
    """How fast a counter grows, all processes together."""
    return folded("sum", of_ours(metric, f"rate({series(metric, *where)}[{RATE}])"), by)


def added(metric: str, *where: str, by: Sequence[str] = ("account",)) -> str:
    """How much a counter grew in the time that is shown."""
    return folded("sum", f"increase({series(metric, *where)}[$__range])", by)


def counted(metric: str, *where: str, by: Sequence[str], over: str) -> str:
    """How much it grew in the time `over`. All of it of a young process: it may have counted before it was scraped."""
    each = series(metric, *where)
    young = f"({each} unless max_over_time({each}[1h] offset {over}))"
    return folded("sum", f"{young} or increase({each}[{over}])", by)


def quantile(share: float, metric: str, *where: str, by: Sequence[str] = ()) -> str:
    """A histogram's quantile, from the buckets of all processes together."""
    return f"histogram_quantile({share:g}, {per_second(f'{metric}_bucket', *where, by=('le', *by))})"


def mean(metric: str, *where: str, by: Sequence[str] = ()) -> str:
    """A histogram's mean."""
    return f"{per_second(f'{metric}_sum', *where, by=by)} / {per_second(f'{metric}_count', *where, by=by)}"


def buckets(metric: str, *where: str) -> str:
    """What a heatmap is made of."""
    return per_second(f"{metric}_bucket", *where, by=("le",))


def age_s(metric: str, *where: str, by: Sequence[str] = ("account",)) -> str:
    """Seconds since the latest moment that a gauge tells; 0 while it is 0, which means never."""
    moment = folded("max", f"{series(metric, *where)} > 0", by)
    return f"(time() - {moment}) or {folded('max', f'0 * {series(metric, *where)}', by)}"


def share(part: str, whole: str) -> str:
    """A part of a whole, of estimates: never more than 1, and none while there is nothing at all."""
    return f"clamp_max({part} / ({whole} > 0), 1)"
