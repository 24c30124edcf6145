"""What several dashboards ask, and from where on it is bad."""

from deploy.grafana.promql import ACCOUNT, firing, per_second, ruled

#: How long a backlog may take until somebody should know, and until somebody has to act.
DRAIN_S = (3_600, 14_400)
DOUBT_S = (300, 900)
CRITICAL = firing('severity="critical"')
WARNINGS = firing('severity="warning"')
LIMITS = ruled("mms_account:limit:calls_per_second", ACCOUNT)
IN_FORCE = ruled("mms_account:pace:calls_per_second", ACCOUNT)
USED_BY = ruled("mms_account:limit_used:ratio_rate1m", ACCOUNT)
BACKLOG = ruled("mms_account:backlog:jobs", ACCOUNT)
DRAIN = ruled("mms_account:drain:seconds", ACCOUNT)
CALLS = per_second("mms_api_requests_total", ACCOUNT, 'operation="send_mms"')
THROTTLED = per_second("mms_api_requests_total", ACCOUNT, 'result="throttled"')
ALL_CALLS = per_second("mms_api_requests_total", ACCOUNT)
IN_DOUBT = ruled("mms_account:in_doubt:jobs", ACCOUNT)
OLDEST_DOUBT = ruled("mms_account:in_doubt_age:seconds", ACCOUNT)
SUSPENDED = ruled("mms_account_reason:suspended:bool", ACCOUNT)
BACK = 'status!~"queued|dispatched|other"'
