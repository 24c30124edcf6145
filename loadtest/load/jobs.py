"""The jobs, made up by their number (pure): every number has recipients of its own, so that a number tells its job."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from loadtest.bench.jobs import BenchJob
from loadtest.load.scenario import Jobs

NAME = "load-"
FIRST_NUMBER = 61_400_000_000
"""And eight digits more: mobile numbers of Australia."""
NUMBERS = 100_000_000


@dataclass(frozen=True, slots=True)
class JobMaker:
    """`accounts`: their names; `media`: the picture, as a job has it."""

    shape: Jobs
    accounts: tuple[str, ...]
    media: Mapping[str, str]

    def make(self, job: int, account: int) -> BenchJob:
        """The job of that number, for the account in that place."""
        body = {
            "id": name_of(job),
            "to": [f"+{number}" for number in self.numbers_of(job)],
            "text": self.text_of(job),
            "media": self.media,
        }
        key = self.accounts[account]
        return BenchJob(name_of(job), f"{key}.urgent" if self.is_urgent(job) else key, json.dumps(body).encode())

    def numbers_of(self, job: int) -> range:
        """The recipients, without the plus."""
        first = FIRST_NUMBER + job * self.shape.recipients
        return range(first, first + self.shape.recipients)

    def job_of(self, number: int) -> int:
        """Whose recipient that is; it may be nobody's: below 0, or above the last job."""
        return (number - FIRST_NUMBER) // self.shape.recipients

    def text_of(self, job: int) -> str:
        """What is sent."""
        return "Your parcel is on its way." if self.shape.content == "equal" else f"Parcel {job} is on its way."

    def is_urgent(self, job: int) -> bool:
        """By turns, so that every part of the schedule has its share."""
        share = self.shape.urgent_share
        return int((job + 1) * share) > int(job * share)


def name_of(job: int) -> str:
    """The job's id."""
    return f"{NAME}{job:07}"


def number_of(name: str) -> int | None:
    """The job's number by its id; None when that is none of ours."""
    digits = name.removeprefix(NAME)
    return int(digits) if digits != name and digits.isascii() and digits.isdigit() else None
