"""Faults on demand: which call is hit by which fault. What a fault does is the service's matter."""

import random
import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

FaultKind = Literal[
    "500_after_accept",
    "500_before_accept",
    "reset_after_accept",
    "reset_before_accept",
    "late",
    "never",
    "never_before_accept",
    "truncated_200",
    "html_200",
    "200_with_error_code",
    "429_bare",
    "429_retry_after",
    "502_page",
    "redirect",
    "no_credit",
    "slow_body",
    "slow_head",
    "unknown_fields",
]
FaultOperation = Literal["send-mms", "account", "get-responses", "inbound-read", "inbound-read-bulk", "any"]

FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
FAULT_OPERATIONS: tuple[FaultOperation, ...] = get_args(FaultOperation)
FAULTS_MAX = 1_000
AFTER_S_DEFAULT: dict[FaultKind, float] = {"late": 5.0, "429_retry_after": 2.0, "slow_body": 1.0, "slow_head": 1.0}
CODE_DEFAULT = "FIELD_INVALID"

_IN_TEXT = re.compile(r"\[\[fault:([A-Za-z0-9_]+)(?::([^\]]*))?\]\]")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: it hits `count` calls (None: any number) of those that match, each with `probability`.

    `marker` is a piece of the message text. `after_s` is the wait of `late`, the `Retry-After` of
    `429_retry_after` and the pause between bytes of `slow_body` and `slow_head`; `code` is what
    `200_with_error_code` answers. `operation` widens it beyond sends. Raises ValueError with a sentence when a value
    is out of range.
    """

    kind: FaultKind
    count: int | None = None
    probability: float | None = None
    marker: str | None = None
    account: str | None = None
    after_s: float | None = None
    code: str | None = None
    operation: FaultOperation = "send-mms"

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"There is no fault {self.kind!r}: use one of {', '.join(FAULT_KINDS)}.")
        if self.operation not in FAULT_OPERATIONS:
            known = ", ".join(FAULT_OPERATIONS)
            raise ValueError(f"A fault's operation is one of {known}, not {self.operation!r}.")
        if self.count is not None and self.count < 1:
            raise ValueError(f"A fault's count is at least 1, not {self.count}.")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError(f"A fault's probability is between 0 and 1, not {self.probability}.")
        if self.after_s is not None and not 0 <= self.after_s <= 86_400:  # noqa: PLR2004 - a day, as the sentence says
            raise ValueError(f"A fault's after_s is between 0 and 86400 seconds, not {self.after_s}.")

    @property
    def wait_s(self) -> float:
        """`after_s`, or what is usual for the kind."""
        return AFTER_S_DEFAULT.get(self.kind, 0.0) if self.after_s is None else self.after_s


def fault_in_text(text: str) -> Fault | None:
    """Read `[[fault:KIND]]` or `[[fault:KIND:ARG]]`; ValueError with a sentence when it means nothing.

    ARG is a number of seconds, and for `200_with_error_code` the code.
    """
    found = _IN_TEXT.search(text)
    if found is None:
        return None
    kind, argument = cast("FaultKind", found[1]), found[2]  # Fault refuses what is none
    if argument is None:
        return Fault(kind)
    if kind == "200_with_error_code":
        return Fault(kind, code=argument)
    try:
        after_s = float(argument)
    except ValueError:
        raise ValueError(f"The number of the fault {kind!r} cannot be read: {argument!r}.") from None
    return Fault(kind, after_s=after_s)


class FaultPlan:
    """The faults in force, tried in the order of adding; a marker in the text goes before them."""

    __slots__ = ("_left", "_random")

    def __init__(self, chance: random.Random) -> None:
        self._random = chance
        self._left: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault) -> None:
        """Put a fault in force; ValueError when there are FAULTS_MAX already."""
        if len(self._left) >= FAULTS_MAX:
            raise ValueError(f"There are {FAULTS_MAX} faults in force already: clear them first.")
        self._left.append((fault, fault.count))

    def clear(self) -> None:
        """Take all faults back."""
        self._left.clear()

    def pick(self, operation: str, account: str, text: str) -> Fault | None:
        """Decide what hits this call, and use up one of its count; ValueError for a senseless marker."""
        if "[[fault:" in text and (marked := fault_in_text(text)) is not None:
            return marked
        for place, (fault, left) in enumerate(self._left):
            if not _matches(fault, operation, account, text):
                continue
            if fault.probability is not None and self._random.random() >= fault.probability:
                continue
            if left == 1:
                del self._left[place]
            elif left is not None:
                self._left[place] = (fault, left - 1)
            return fault
        return None


def _matches(fault: Fault, operation: str, account: str, text: str) -> bool:
    return (
        fault.operation in ("any", operation)
        and (fault.account is None or fault.account == account)
        and (fault.marker is None or fault.marker in text)
    )
