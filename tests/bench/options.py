"""The measurements' options as they are when nothing is said."""

from loadtest.bench.limit.options import LimitOptions
from loadtest.bench.options import PaceOptions, SpeedOptions

PACE = PaceOptions(
    rate_per_s=15, workers=4, seconds=60, window="rolling", spread_ms=0, latency_ms=20, seed=1, json_file=None
)
SPEED = SpeedOptions(
    jobs=20_000, pictures=("url", "data"), workers=1, recipients=1, latency_ms=5, seed=1, json_file=None
)
LIMIT = LimitOptions(
    parts=("grid", "idle", "changes", "batches", "urgent", "neighbours", "rivals"),
    windows=None,
    rates_per_s=None,
    workers=None,
    spreads_ms=(5.0, 40.0),
    rivals=("incr", "throttled", "celery", "limits", "pyrate", "gcra"),
    learn_s=30,
    rival_learn_s=10,
    seconds=None,
    parallel=4,
    latency_ms=20.0,
    seed=1,
    json_file=None,
)
