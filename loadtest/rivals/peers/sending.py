"""The call, as one makes it with each HTTP library, one client for all calls; and the result that is published."""

import json
import logging
import ssl
from typing import Any, Protocol

import aiohttp
import httpx

from loadtest.rivals.peers.surroundings import Surroundings

FILE_NAME, FILE_TYPE = "picture.png", "image/png"
CALL_S_MAX = 30.0
HTTP_OK = 200

Job = dict[str, Any]
Result = dict[str, Any]

logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write a line for each call


def form_of(job: Job) -> dict[str, str]:
    """The fields of `send-mms` but the picture."""
    return {"mms_text": job["text"], "numbers": json.dumps(job["to"])}


def result_of(job: Job, answer: dict[str, Any]) -> Result:
    """What is published about a job that was sent."""
    sent = [{"to": one["to"], "message_id": one["message_id"]} for one in answer["data"]["messages"]]
    return {"type": "sent", "job_id": job["id"], "recipients": sent}


def _trusting(here: Surroundings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=here.ca_file)


class HttpxSender:
    """httpx as it comes, for threads, greenlets and processes."""

    def __init__(self, here: Surroundings) -> None:
        self._url = f"{here.api_url}/send-mms"
        self._picture = here.picture
        self._http = httpx.Client(auth=(here.app_key, ""), verify=_trusting(here), timeout=CALL_S_MAX, trust_env=False)

    def send(self, job: Job) -> Result:
        """Raises httpx.HTTPError."""
        file = (FILE_NAME, self._picture, FILE_TYPE)
        answer = self._http.post(self._url, data=form_of(job), files={"mms_file": file})
        answer.raise_for_status()
        return result_of(job, answer.json())

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()


class AsyncSender(Protocol):
    """For event loops."""

    async def send(self, job: Job) -> Result:
        """Raises what the library raises."""
        ...

    async def close(self) -> None:
        """Let go of the connections."""
        ...


class AsyncHttpxSender:
    """Implements AsyncSender with httpx as it comes."""

    def __init__(self, here: Surroundings) -> None:
        self._url = f"{here.api_url}/send-mms"
        self._picture = here.picture
        self._http = httpx.AsyncClient(
            auth=(here.app_key, ""), verify=_trusting(here), timeout=CALL_S_MAX, trust_env=False
        )

    async def send(self, job: Job) -> Result:
        """As the protocol says."""
        file = (FILE_NAME, self._picture, FILE_TYPE)
        answer = await self._http.post(self._url, data=form_of(job), files={"mms_file": file})
        answer.raise_for_status()
        return result_of(job, answer.json())

    async def close(self) -> None:
        """As the protocol says."""
        await self._http.aclose()


class AiohttpSender:
    """Implements AsyncSender with aiohttp as it comes."""

    def __init__(self, here: Surroundings) -> None:
        self._url = f"{here.api_url}/send-mms"
        self._picture = here.picture
        self._http = aiohttp.ClientSession(
            headers={"Authorization": aiohttp.encode_basic_auth(here.app_key, "")},
            connector=aiohttp.TCPConnector(ssl=_trusting(here)),
            timeout=aiohttp.ClientTimeout(total=CALL_S_MAX),
        )

    async def send(self, job: Job) -> Result:
        """As the protocol says."""
        form = aiohttp.FormData(form_of(job))
        form.add_field("mms_file", self._picture, filename=FILE_NAME, content_type=FILE_TYPE)
        async with self._http.post(self._url, data=form) as answer:
            answer.raise_for_status()
            return result_of(job, await answer.json())

    async def close(self) -> None:
        """As the protocol says."""
        await self._http.close()


def async_sender(here: Surroundings) -> AsyncSender:
    """The one that was asked for; made inside the event loop that uses it."""
    return AiohttpSender(here) if here.http == "aiohttp" else AsyncHttpxSender(here)
