"""The steps on the way of a job, and of replies, for whoever wants to know: tests that end the process there (pure)."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


class Step(enum.StrEnum):
    """In the order in which a job passes them; the values are the names in ``MMS_FAILPOINT``."""

    AFTER_DELIVER = "after_deliver"
    """The broker handed a job over."""
    AFTER_SLOT = "after_slot"
    """The next slot is taken, and it is known which jobs are to leave in it."""
    AFTER_CLAIM = "after_claim"
    """The journal has the intent to call; nothing is sent."""
    MID_UPLOAD = "mid_upload"
    """Half of the request's body has left."""
    AFTER_REQUEST = "after_request"
    """All of the request has left; there is no answer yet."""
    BEFORE_OUTCOME = "before_outcome"
    """The answer is there; the journal does not know of it."""
    AFTER_OUTCOME = "after_outcome"
    """The journal knows how it ended; nobody is told."""
    BEFORE_ACK = "before_ack"
    """The event, if there is one, is confirmed; the delivery has no ack."""
    BETWEEN_COPY_AND_ACK = "between_copy_and_ack"
    """The copy that goes round again is confirmed; the delivery has no ack."""
    IN_DRAIN = "in_drain"
    """The worker was told to stop: it takes nothing more, and calls may be under way."""


Passed = Callable[[Step], None]


class ReplyStep(enum.StrEnum):
    """The steps on the way of replies that are polled, in order; names in ``MMS_FAILPOINT`` as well."""

    PAGE_READ = "replies_page_read"
    """One page of unread replies is read."""
    REPLIES_READ = "replies_read"
    """All pages of unread replies are read; nobody is told."""
    REPLIES_CLAIMED = "replies_claimed"
    """It is ours to tell them."""
    REPLIES_PUBLISHED = "replies_published"
    """Their events are confirmed; it is not noted that they are told."""
    REPLIES_TOLD = "replies_told"
    """That is noted; the API has them as unread."""
    REPLIES_MARKED = "replies_marked"
    """The API has some of them as read, or all."""


ReplyPassed = Callable[[ReplyStep], None]


def unwatched(step: Step | ReplyStep) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Poison:
    """The process ends whenever it reads a message whose body holds ``marker``, as a bug below Python would end it."""

    marker: str


@dataclass(frozen=True, slots=True)
class Failpoint:
    """The process ends when ``step`` is passed for the ``nth`` time (from 1)."""

    step: Step | ReplyStep
    nth: int = 1
