"""Requests of `send-mms`, written out as they go over the line (pure but for the text's number)."""

import base64
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

_BOUNDARY = "6b1c0de7f2a94c538d0e5a7b9c3f1e24"
NUMBERS_MAX = 1_000


def send_requests(api_url: str, *, key: str, picture: bytes, numbers: int) -> Iterator[bytes]:
    """Without end; each with a text of its own, to `numbers` numbers, and with the PNG `picture`.

    The headers and the order of the parts are those that the worker sends.
    """
    if not 1 <= numbers <= NUMBERS_MAX:
        raise ValueError(f"A call carries 1 to {NUMBERS_MAX} numbers, not {numbers}.")
    address = urlsplit(api_url)
    delimiter = f"--{_BOUNDARY}\r\n"
    before = f'{delimiter}Content-Disposition: form-data; name="mms_text"\r\n\r\n'.encode()
    listed = json.dumps([f"+61400{number:06}" for number in range(numbers)], separators=(",", ":"))
    after = b"".join(
        (
            f'\r\n{delimiter}Content-Disposition: form-data; name="mms_file"; filename="picture.png"\r\n'.encode(),
            b"Content-Type: image/png\r\n\r\n",
            picture,
            f'\r\n{delimiter}Content-Disposition: form-data; name="numbers"\r\n\r\n{listed}'.encode(),
            f"\r\n--{_BOUNDARY}--\r\n".encode(),
        )
    )
    length = len(before) + len(_text(0)) + len(after)
    head = "\r\n".join(
        (
            f"POST {address.path}/send-mms HTTP/1.1",
            f"Host: {address.netloc}",
            "Accept: application/json",
            "Accept-Encoding: identity",
            "User-Agent: bench",
            f"Authorization: Basic {base64.b64encode(f'{key}:'.encode()).decode()}",
            f"Content-Type: multipart/form-data; boundary={_BOUNDARY}",
            f"Content-Length: {length}",
            "\r\n",
        )
    ).encode()
    first = head + before
    number = 0
    while True:
        number += 1
        yield b"".join((first, _text(number), after))


def _text(number: int) -> bytes:
    """All of one length."""
    return b"Your parcel %010d is on its way." % number
