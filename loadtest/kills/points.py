"""Where a worker is killed, and what is to be found there (pure)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A failpoint of the worker, by its name in `MMS_FAILPOINT`.

    `records` and `is_accepted` are about a quiet kill, at the moment of death: what the journal may say of the call's
    jobs, by the first letter of the record ("-": there is none), and whether the API had accepted them.
    """

    name: str
    records: str
    is_accepted: bool

    @property
    def needs_a_refusal(self) -> bool:
        """Whether a job must be put back for the step to be passed."""
        return self.name == "between_copy_and_ack"

    @property
    def needs_a_stop(self) -> bool:
        """Whether the worker must be told to stop for it."""
        return self.name == "in_drain"

    @property
    def is_broken_off(self) -> bool:
        """Whether the API sees a request that ends in the middle."""
        return self.name == "mid_upload"


POINTS = (
    Point("after_deliver", records="-", is_accepted=False),
    Point("after_slot", records="-", is_accepted=False),
    Point("after_claim", records="C", is_accepted=False),
    Point("mid_upload", records="C", is_accepted=False),
    Point("after_request", records="C", is_accepted=True),
    Point("before_outcome", records="C", is_accepted=True),
    Point("after_outcome", records="E", is_accepted=True),
    Point("before_ack", records="ET", is_accepted=True),
    Point("between_copy_and_ack", records="O", is_accepted=False),
    Point("in_drain", records="C", is_accepted=True),
)


def nth_of(point: Point, number: int, *, is_quiet: bool) -> int:
    """At which passing the worker dies in kill `number`: quiet ones at the first, the others here and there."""
    if is_quiet or point.needs_a_stop:
        return 1
    return 1 + number % 3 if point.needs_a_refusal else 2 + number * 5 % 8
