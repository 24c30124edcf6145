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


def now(metric: str, *where: str, how: str = "max", by: Sequence[str] = ("account",)) -> str:
    """A gauge. What all processes share, each exports: so the highest is taken, not the sum."""
    return folded(how, series(metric, *where), by)


def per_second(metric: str, *where: str, by: Sequence[str] = ("account",)) -> str:
    """How fast a counter grows, all processes together."""
    return folded("sum", f"rate({series(metric, *where)}[{RATE}])", by)


def added(metric: str, *where: str, by: Sequence[str] = ("account",), over: str = "$__range") -> str:
    """How much a counter grew in the time that is shown, or `over` another one."""
    return folded("sum", f"increase({series(metric, *where)}[{over}])", by)


def quantile(share: float, metric: str, *where: str, by: Sequence[str] = ()) -> str:
    """A histogram's quantile, from the buckets of all processes together."""
    return f"histogram_quantile({share:g}, {per_second(f'{metric}_bucket', *where, by=('le', *by))})"


def mean(metric: str, *where: str, by: Sequence[str] = ()) -> str:
    """A histogram's mean."""
    return f"{per_second(f'{metric}_sum', *where, by=by)} / {per_second(f'{metric}_count', *where, by=by)}"


def buckets(metric: str, *where: str) -> str:
    """What a heatmap is made of."""
    return per_second(f"{metric}_bucket", *where, by=("le",))


def age_s(metric: str, *where: str, by: Sequence[str] = ("account",), how: str = "max") -> str:
    """Seconds since the moment that a gauge tells; 0 while it is 0, which means never or none.

    Of processes that disagree, `how` says whose moment counts: the latest (max), or the first that is not 0 (min).
    """
    moment = folded(how, f"{series(metric, *where)} > 0", by)
    return f"(time() - {moment}) or {folded('max', f'0 * {series(metric, *where)}', by)}"


def share(part: str, whole: str) -> str:
    """A part of a whole, from 0 to 1; 0 while there is nothing at all."""
    return f"{part} / ({whole} > 0) or 0 * {whole}"


def at_most_all(part: str) -> str:
    """A share that is made of two counters, whose growth is estimated: never more than 1."""
    return f"clamp_max({part}, 1)"
