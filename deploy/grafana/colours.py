"""What has a colour of its own, the same on every dashboard."""

import math

from deploy.grafana.parts import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, YELLOW, Look, Texts

#: How jobs end.
ENDS = (
    Look("sent", GREEN),
    Look("refused", YELLOW),
    Look("expired", GREY),
    Look("dead", RED),
    Look("in_doubt", PURPLE),
    Look("duplicate", BLUE),
)

#: What the API makes of calls.
RESULTS = (
    Look("sent", GREEN),
    Look("refused", YELLOW),
    Look("throttled", ORANGE),
    Look("not_sent", BLUE),
    Look("suspended", RED),
    Look("in_doubt", PURPLE),
)

#: How far messages came, by their reports.
STATUSES = (
    Look("delivered", GREEN),
    Look("dispatched", BLUE),
    Look("queued", "light-blue"),
    Look("failed", RED),
    Look("rejected", "dark-red"),
    Look("aborted", "light-red"),
    Look("expired", ORANGE),
    Look("unknown", PURPLE),
    Look("other", GREY),
)

LIMIT = Look(".*limit", RED, is_dashed=True)

YES_IS_BAD: Texts = {0: ("no", GREEN), 1: ("yes", RED)}
#: A wait for something that cannot happen at present.
NEVER_ENDS: Texts = {math.inf: ("stopped", RED)}
#: A moment that was not yet.
NEVER_WAS: Texts = {0: ("never", GREY)}
NONE_IS: Texts = {0: ("none", GREEN)}
#: The share of a limit, for which there is no need.
NOTHING_WAITS: Texts = {-1: ("nothing waits", BLUE)}
