"""Which URLs, hosts and addresses a picture may come from. Pure: no I/O, no clock.

A producer chooses the URL, so the worker can be asked to fetch from inside its own network. Three gates, all
here: the URL's form (`checked_url`), its host before any look-up (`Allowance.refusal_of_host`), and each
address after the look-up (`Allowance.permits`).

With no entries every public address is permitted. With entries, they are the only way in: a host entry
(`cdn.example.com`, `*.example.com` for everything below it) permits that host on public addresses, a network
entry (`10.0.0.0/8`, `127.0.0.1`) permits those addresses under any name. An exact host entry also permits the
host on private and loopback addresses. A wildcard does not (whoever controls one name below it could point it
inside), and link-local, where clouds serve credentials, needs a network entry.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from yarl import URL

from worker.flow.ports import MediaRefused

URL_CHARACTERS_MAX: Final = 4_096
HOST_CHARACTERS_MAX: Final = 253
SETTING: Final = "MMS_MEDIA_HOSTS_ALLOWED"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA special-purpose registries, written out because `is_global` differs between Python 3.11 releases.
_SPECIAL_IPV4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
# Inside global unicast, but not hosts: protocol assignments with Teredo, documentation, and 6to4. Teredo and
# 6to4 carry an IPv4 address of someone's choice to a relay; no picture is served from there, so they are
# refused whatever they carry.
_SPECIAL_IPV6: Final = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
# A network with IPv6 only reaches every IPv4 host through these; what counts is the IPv4 address inside.
_NAT64: Final = IPv6Network("64:ff9b::/96")
# What an exact host entry opens besides public addresses.
_PRIVATE_BY_NAME: Final = tuple(
    ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "::1/128", "fc00::/7")
)

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# The resolver of the system reads such names as addresses: 2130706433, 0x7f.1, 017700000001.
_ENDS_IN_A_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_SPACE_OR_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")
# A URL wholly of these characters is sent as it was given: quoting it anew can break a signature in it.
_WELL_QUOTED: Final = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")


def canonical(address: Address) -> Address:
    """The IPv4 address inside an IPv4-mapped or NAT64 one; any other address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether the address is one that hosts on the public Internet have."""
    real = canonical(address)
    if isinstance(real, IPv6Address):
        inside = real in _GLOBAL_UNICAST and not any(real in network for network in _SPECIAL_IPV6)
    else:
        inside = not any(real in network for network in _SPECIAL_IPV4)
    return inside and real.is_global


def address_from(text: str) -> Address | None:
    """The address that `text` writes canonically; None for a name, an old number form, or one with a zone."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return None
    return address


def _name_from(host: str) -> str:
    return host.lower().rstrip(".")


@dataclass(frozen=True, slots=True)
class Allowance:
    """The entries of MMS_MEDIA_HOSTS_ALLOWED, read. Empty: any public host."""

    hosts: frozenset[str] = frozenset()
    domains: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    def _is_anything_listed(self) -> bool:
        return bool(self.hosts or self.domains or self.networks)

    def _names(self, host: str) -> bool:
        return host in self.hosts or any(host.endswith(f".{domain}") for domain in self.domains)

    def refusal_of_host(self, host: str) -> str | None:
        """Why `host` (a name, or an address without brackets) is refused, in a sentence, or None."""
        address = address_from(host)
        if address is not None:
            return None if self.permits(host, address) else self.refusal_of_addresses(host)
        name = _name_from(host)
        if len(name) > HOST_CHARACTERS_MAX or not _HOST_NAME.fullmatch(name):
            return "The host in the picture's URL is not a host name or an address; correct the URL."
        if _ENDS_IN_A_NUMBER.fullmatch(name):
            return f"The host {name} in the picture's URL is a number, not a host name; write the host name."
        if self._is_anything_listed() and not self.networks and not self._names(name):
            return (
                f"{name} is not among the hosts that pictures may come from; add it to {SETTING} or use another host."
            )
        return None

    def refusal_of_addresses(self, host: str) -> str:
        """The sentence for a host without a permitted address. Names no address: producers read it."""
        if self._is_anything_listed():
            return (
                f"{host} and its addresses are not among those that pictures may come from; "
                f"add the host or its network to {SETTING} or use another host."
            )
        return (
            f"{host} has no public address, and pictures are fetched from those only; "
            f"use a public host or add this one to {SETTING}."
        )

    def permits(self, host: str, address: Address) -> bool:
        """Whether a connection to `address` may be opened for `host`."""
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return False
        real = canonical(address)
        if any(address in network or real in network for network in self.networks):
            return True
        name = _name_from(host)
        if is_public(real):
            return self._names(name) or not self._is_anything_listed()
        return name in self.hosts and any(real in network for network in _PRIVATE_BY_NAME)


def allowance_from(entries: Iterable[str]) -> Allowance:
    """Read host and network entries.

    ValueError with one sentence for each entry that is neither, all of them at once.
    """
    hosts: set[str] = set()
    domains: list[str] = []
    networks: list[Network] = []
    mistakes: list[str] = []
    for entry in entries:
        read = _read_entry(entry.strip())
        match read:
            case IPv4Network() | IPv6Network():
                networks.append(read)
            case None:
                mistakes.append(
                    f"{SETTING}: {entry!r} is neither a host name (cdn.example.com, *.example.com) "
                    "nor a network (10.0.0.0/8, without bits set behind the mask); correct or remove it."
                )
            case str() if read.startswith("*."):
                domains.append(read[2:])
            case str():
                hosts.add(read)
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return Allowance(hosts=frozenset(hosts), domains=tuple(domains), networks=tuple(networks))


def _read_entry(entry: str) -> Network | str | None:
    """A network, a name (with `*.` kept in front), or None when it is neither."""
    try:
        return ip_network(entry)
    except ValueError:
        pass
    star, written = ("*.", entry[2:]) if entry.startswith("*.") else ("", entry)
    try:
        name = _name_from(URL.build(scheme="https", host=written).raw_host or "")
    except ValueError:
        return None
    if len(name) > HOST_CHARACTERS_MAX or not _HOST_NAME.fullmatch(name) or _ENDS_IN_A_NUMBER.fullmatch(name):
        return None
    return star + name


def checked_url(text: str, allowance: Allowance) -> URL | MediaRefused:
    """The URL to ask, or why it is refused.

    The host that is checked is the one of the URL returned, so nothing is read twice in two ways. Reasons
    name the host at most: the rest of a URL may carry a token.
    """
    if len(text) > URL_CHARACTERS_MAX:
        return MediaRefused(f"The picture's URL is longer than {URL_CHARACTERS_MAX:,} characters; shorten it.")
    if _SPACE_OR_CONTROL.search(text):
        return MediaRefused("The picture's URL contains a space or a control character; quote it.")
    try:
        url = _url_from(text)
    except ValueError:
        return MediaRefused("The picture's URL cannot be read; correct it.")
    if url.scheme != "https" or not url.raw_host:
        return MediaRefused("The picture's URL does not begin with https:// and a host; only https is fetched.")
    if url.raw_user is not None or url.raw_password is not None:
        return MediaRefused("The picture's URL carries a user name or a password; none is ever sent, remove it.")
    refusal = allowance.refusal_of_host(url.raw_host)
    return url if refusal is None else MediaRefused(refusal)


def _url_from(text: str) -> URL:
    url = URL(text)
    if not _WELL_QUOTED.fullmatch(text):
        return url
    as_given = URL(text, encoded=True)
    same_host = as_given.raw_host is not None and as_given.raw_host.lower() == url.raw_host
    return as_given if same_host else url
