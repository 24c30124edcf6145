"""Certificates for an installation of one's own: an authority, and what it has signed.

For an installation that others reach, take certificates of an authority that they trust instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import trustme

VALID_FOR = timedelta(days=825)


@dataclass(frozen=True, slots=True)
class Issued:
    """All as PEM: the authority's certificate; by name, each server's certificate (with its chain) and key."""

    authority: str
    servers: Mapping[str, tuple[str, str]]


def issue(
    names: Mapping[str, Sequence[str]], *, not_before: datetime | None = None, not_after: datetime | None = None
) -> Issued:
    """`names`: server to the hosts and addresses that its certificate is for. The authority's key is thrown away."""
    authority = trustme.CA(organization_name="mms-worker", organization_unit_name="of this installation alone")
    until = not_after or datetime.now(UTC) + VALID_FOR
    servers = {}
    for server, hosts in names.items():
        issued = authority.issue_cert(*dict.fromkeys(hosts), not_before=not_before, not_after=until)
        chain = "".join(part.bytes().decode() for part in issued.cert_chain_pems)
        servers[server] = (chain, issued.private_key_pem.bytes().decode())
    return Issued(authority.cert_pem.bytes().decode(), servers)
