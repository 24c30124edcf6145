"""What the API tells back in the demo: where the receiver listens, and what the simulator posts there."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from deploy.local.ports import LOOPBACK, free_port
from loadtest.demo.jobs import ACCOUNT, CUT
from loadtest.simulator.callback_plan import CallbackPlan
from loadtest.simulator.records import Accepted

API_KEY = "demo-key"
REPLIES = 10
REPLIES_POLL_S = 2
TEXTS = ("Thank you!", "Can you leave it at the neighbour's?", "STOP calling me a parcel", "ありがとう", "👍")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the API is to post, whom it is to trust there, and the settings of the receiver that listens."""

    url: str = field(repr=False)
    ca_file: Path
    settings: dict[str, str] = field(repr=False)


def make_address(folder: Path) -> Address:
    """Make up a token, and a certificate with an authority of its own in `folder`."""
    authority = trustme.CA()
    ca_file, cert_file = folder / "receiver-ca.pem", folder / "receiver.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    authority.issue_cert(LOOPBACK).private_key_and_cert_chain_pem.write_to_path(str(cert_file))
    port, token = free_port(), secrets.token_urlsafe()
    settings = {
        "MMS_CALLBACK_TOKEN": token,
        "MMS_RECEIVE_PORT": str(port),
        "MMS_RECEIVE_CERT_FILE": str(cert_file),
        "MMS_REPLIES_POLL_S": str(REPLIES_POLL_S),
    }
    return Address(f"https://{LOOPBACK}:{port}/callbacks/{ACCOUNT}/{token}", ca_file, settings)


def plan_for(address: Address) -> CallbackPlan:
    """How the API posts: with every bad habit that is known of it, and half of the replies."""
    return CallbackPlan(
        url=address.url,
        ca_file=str(address.ca_file),
        delay_s=2.0,
        spread_s=1.5,
        finals={"Delivered": 95, "Failed": 3, "Expired": 2},
        dispatched=0.5,
        out_of_order=0.2,
        repeated=0.2,
        early=0.05,
        replies=0.5,
        retries_s=(0.5, 1.0, 2.0),
        tries_max=60,
    )


def replies_to(accepted: Iterable[Accepted]) -> list[dict[str, Any]]:
    """Answers to the first messages, as the API shows them; not to the one that is in doubt for a while."""
    messages = [entry for entry in accepted if CUT not in entry.text][:REPLIES]
    return [
        {
            "from": entry.to,
            "body": TEXTS[place % len(TEXTS)],
            "original_message_id": entry.message_id,
            "original_body": entry.text,
        }
        for place, entry in enumerate(messages)
    ]
