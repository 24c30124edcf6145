"""The jobs that the demo makes up."""

from base64 import b64decode
from collections import Counter
from datetime import UTC, datetime

import pytest

from loadtest.demo.jobs import ACCOUNT, CUT, OPTED_OUT, RECIPIENTS_MAX, UNKNOWN_ACCOUNT, DemoJob, End, make_jobs
from loadtest.demo.pictures import sample_pictures
from worker.core.job import Job, Rejected, decode
from worker.core.picture import Picture

CREATED_AT = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)
PICTURE_BYTES_MAX = 20_000


@pytest.fixture(scope="module")
def jobs() -> tuple[DemoJob, ...]:
    return make_jobs(600, sample_pictures(), CREATED_AT)


def test_six_hundred_jobs_hold_some_of_every_kind(jobs: tuple[DemoJob, ...]) -> None:
    ends = Counter(job.should_end for job in jobs)
    assert ends == {End.SENT: 569, End.REFUSED: 6, End.EXPIRED: 3, End.DEAD: 18, End.UNROUTABLE: 4}


def test_the_worker_reads_every_job_as_the_demo_means_it(jobs: tuple[DemoJob, ...]) -> None:
    for job in jobs:
        read = decode(job.body, region="AU")
        if job.should_end is End.DEAD:
            assert isinstance(read, Rejected), job.name
            assert read.job_id == job.id
            continue
        assert isinstance(read, Job), job.name
        assert read.id == job.id
        assert (read.expires_at is not None) == (job.should_end is End.EXPIRED)
        if job.should_end is End.SENT:
            assert read.text == job.text
            assert set(read.to) - set(OPTED_OUT) == job.to
            assert isinstance(read.media, Picture)


def test_wrong_jobs_have_different_mistakes(jobs: tuple[DemoJob, ...]) -> None:
    reasons = set()
    for job in jobs:
        read = decode(job.body, region="AU")
        if isinstance(read, Rejected):
            reasons.add(read.reasons[0].split(":")[0])
    assert reasons == {"to[0]", "text", "colour", "media.data", "id", "body"}


def test_each_text_and_each_body_belongs_to_one_job(jobs: tuple[DemoJob, ...]) -> None:
    texts = [job.text for job in jobs if job.text]
    assert len(set(texts)) == len(texts) == 569
    assert len({job.body for job in jobs}) == len(jobs)


def test_the_job_whose_call_is_cut_is_told_by_its_text_alone(jobs: tuple[DemoJob, ...]) -> None:
    (cut,) = [job for job in jobs if CUT in job.text]
    assert (cut.name, cut.should_end, len(cut.to)) == (CUT, End.SENT, 1)


def test_all_three_number_forms_and_all_sizes_occur(jobs: tuple[DemoJob, ...]) -> None:
    sent = [job for job in jobs if job.should_end is End.SENT]
    firsts = {job.body.split(b'"to": ["')[1][:2] for job in sent}
    assert firsts == {b"+6", b"61", b"04"}
    assert {len(job.to) for job in sent} == set(range(1, RECIPIENTS_MAX + 1))
    assert {job.routing_key for job in jobs} == {ACCOUNT, f"{ACCOUNT}.urgent", UNKNOWN_ACCOUNT}


@pytest.mark.parametrize(
    ("name", "magic"), [("parcel.png", b"\x89PNG\r\n\x1a\n"), ("van.jpg", b"\xff\xd8\xff"), ("logo.gif", b"GIF8")]
)
def test_each_picture_is_a_small_one_of_its_kind(name: str, magic: bytes) -> None:
    picture = next(picture for picture in sample_pictures() if picture.name == name)
    content = b64decode(picture.data)
    assert content.startswith(magic)
    assert len(content) < PICTURE_BYTES_MAX
