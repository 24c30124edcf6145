"""What has a colour of its own, the same on every dashboard."""

from deploy.grafana.parts import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, YELLOW, Look

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

LIMIT = Look(".*limit", RED, is_dashed=True)

YES_IS_BAD = {0: ("no", GREEN), 1: ("yes", RED)}
YES_IS_ODD = {0: ("no", GREEN), 1: ("yes", ORANGE)}
YES_IS_GOOD = {0: ("no", RED), 1: ("yes", GREEN)}
