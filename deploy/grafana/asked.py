"""What several dashboards ask, and from where on it is bad."""

from deploy.grafana.parts import BLUE, GREEN, RED, Step
from deploy.grafana.promql import ACCOUNT, firing, per_second, ruled

#: How long a backlog may take until somebody should know, and until somebody has to act.
DRAIN_S = (3_600, 14_400)
DOUBT_S = (300, 900)
#: Of 1,000 sends so many answered 429 are an alert, and so many are bad.
THROTTLED_PER_1000 = (2, 20)
CRITICAL = firing('severity="critical"')
WARNINGS = firing('severity="warning"')
LIMITS = ruled("mms_account:limit:calls_per_second", ACCOUNT)
IN_FORCE = ruled("mms_account:pace:calls_per_second", ACCOUNT)
USED_BY = ruled("mms_account:limit_used:ratio_rate1m", ACCOUNT)
BACKLOG = ruled("mms_account:backlog:jobs", ACCOUNT)
HAS_BACKLOG = ruled("mms_account:has_backlog:bool", ACCOUNT)
DRAIN = ruled("mms_account:drain:seconds", ACCOUNT)
CALLS = per_second("mms_api_requests_total", ACCOUNT, 'operation="send_mms"')
IN_DOUBT = ruled("mms_account:in_doubt:jobs", ACCOUNT)
OLDEST_DOUBT = ruled("mms_account:in_doubt_age:seconds", ACCOUNT)
SUSPENDED = ruled("mms_account_reason:suspended:bool", ACCOUNT)
TAKEN_BY = ruled("mms_queue:consumers:count", ACCOUNT)
BACK = 'status!~"queued|dispatched|other"'
#: Of a limit: how much is full use, and how much is too much (what a rate over a minute estimates may be a little off).
FULL_USE, OVER_USE = 0.95, 1.1
SHARE_USED = (Step(None, BLUE), Step(FULL_USE, GREEN), Step(OVER_USE, RED))
