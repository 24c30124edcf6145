"""The jobs that are measured with, and where their picture comes from."""

import json
import ssl
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import pytest

from loadtest.bench.jobs import SMALL_PICTURE_SIDE_PX, USUAL_PICTURE_SIDE_PX, inline, make_jobs, noise_png
from loadtest.bench.picture_server import PictureServer
from worker.core.job import Job, decode
from worker.core.picture import Picture, PictureKind, picture_from


def test_the_usual_picture_has_20_kb_and_the_small_one_next_to_none() -> None:
    assert abs(len(noise_png(USUAL_PICTURE_SIDE_PX, seed=1)) - 20_000) <= 500
    assert len(noise_png(SMALL_PICTURE_SIDE_PX, seed=1)) < 300


def test_a_seed_makes_a_picture_again_and_another_seed_another() -> None:
    assert noise_png(20, seed=1) == noise_png(20, seed=1) != noise_png(20, seed=2)


def test_the_picture_is_a_whole_png() -> None:
    picture = noise_png(20, seed=1)
    assert picture_from(picture) == Picture(picture, PictureKind.PNG)
    at, kinds = 8, []
    while at < len(picture):
        size = int.from_bytes(picture[at : at + 4])
        kind, content = picture[at + 4 : at + 8], picture[at + 8 : at + 8 + size]
        assert int.from_bytes(picture[at + 8 + size : at + 12 + size]) == zlib.crc32(kind + content)
        kinds.append(kind)
        if kind == b"IDAT":
            assert len(zlib.decompress(content)) == 20 * (1 + 20 * 3)
        at += 12 + size
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize("recipients", [1, 3])
@pytest.mark.parametrize("media", [inline(noise_png(8, seed=1)), {"url": "https://127.0.0.1:20001/picture.png"}])
def test_the_worker_reads_every_job_and_none_can_share_a_call(media: dict[str, str], recipients: int) -> None:
    jobs = list(make_jobs(50, media=media, recipients=recipients))
    read = [decode(job.body, region="AU") for job in jobs]
    assert all(isinstance(job, Job) and len(job.to) == recipients for job in read)
    assert len({json.loads(job.body)["text"] for job in jobs}) == len({job.name for job in jobs}) == 50


def test_the_picture_server_serves_it_to_those_who_trust_its_ca(tmp_path: Path) -> None:
    picture = noise_png(20, seed=1)
    with PictureServer(picture, folder=tmp_path) as server:
        trusting = ssl.create_default_context(cafile=str(server.ca_file))
        with urllib.request.urlopen(server.url, context=trusting, timeout=5) as answer:  # noqa: S310 - ours, https
            assert answer.headers["Content-Type"] == "image/png"
            assert answer.read() == picture
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(  # noqa: S310 - ours, https
                server.url, context=ssl.create_default_context(), timeout=5
            )
