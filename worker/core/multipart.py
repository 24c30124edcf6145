"""The body of ``send-mms``: multipart/form-data as documented (pure; RFC 7578)."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from worker.core.picture import Picture


def content_type(boundary: str) -> str:
    """The Content-Type of a body with ``boundary``."""
    return f"multipart/form-data; boundary={boundary}"


def encode_call(*, boundary: str, subject: str | None, text: str, picture: Picture, numbers: Sequence[str]) -> bytes:
    """The body of one call to ``numbers`` (E.164), which go as a JSON array in a string, the API's way.

    ``boundary`` must be one that no content contains: random, and long enough that nobody can guess it.
    """
    delimiter = f"--{boundary}\r\n"
    before = [delimiter]
    if subject:
        before += ['Content-Disposition: form-data; name="subject"\r\n\r\n', subject, "\r\n", delimiter]
    before += [
        'Content-Disposition: form-data; name="mms_text"\r\n\r\n',
        text,
        "\r\n",
        delimiter,
        f'Content-Disposition: form-data; name="mms_file"; filename="picture.{picture.kind.extension}"\r\n',
        f"Content-Type: {picture.kind.content_type}\r\n\r\n",
    ]
    after = f'\r\n{delimiter}Content-Disposition: form-data; name="numbers"\r\n\r\n'
    end = f"\r\n--{boundary}--\r\n"
    return b"".join(("".join(before).encode(), picture.data, after.encode(), orjson.dumps(numbers), end.encode()))
