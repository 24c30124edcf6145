"""Where pictures may come from, and how long they are kept: tables and properties."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from worker.adapters.media_addresses import Allowance, address_from, allowance_from, checked_url, is_public
from worker.adapters.media_kept import ENTRY_BYTES, Kept, fresh_s
from worker.flow.ports import MediaRefused

NOT_PUBLIC = [
    ("this network", "0.0.0.0"),
    ("this network, further on", "0.1.2.3"),
    ("private", "10.0.0.1"),
    ("private", "172.16.0.1"),
    ("private, the last", "172.31.255.255"),
    ("private", "192.168.1.1"),
    ("carrier-grade NAT", "100.64.0.1"),
    ("carrier-grade NAT, the last", "100.127.255.255"),
    ("loopback", "127.0.0.1"),
    ("loopback, further on", "127.8.9.10"),
    ("link-local, where clouds serve credentials", "169.254.169.254"),
    ("protocol assignments", "192.0.0.192"),
    ("documentation", "192.0.2.1"),
    ("documentation", "198.51.100.1"),
    ("documentation", "203.0.113.1"),
    ("6to4 relays", "192.88.99.1"),
    ("benchmarks", "198.18.0.1"),
    ("multicast", "224.0.0.1"),
    ("reserved", "240.0.0.1"),
    ("broadcast", "255.255.255.255"),
    ("unspecified", "::"),
    ("loopback", "::1"),
    ("link-local", "fe80::1"),
    ("site-local", "fec0::1"),
    ("unique local", "fd00::1"),
    ("multicast", "ff02::1"),
    ("discard only", "100::1"),
    ("documentation", "2001:db8::1"),
    ("documentation", "3fff::1"),
    ("segment routing", "5f00::1"),
    ("IPv4-mapped loopback", "::ffff:127.0.0.1"),
    ("IPv4-mapped private", "::ffff:10.0.0.1"),
    ("IPv4-mapped link-local", "::ffff:a9fe:a9fe"),
    ("IPv4-compatible", "::127.0.0.1"),
    ("IPv4-translated", "::ffff:0:127.0.0.1"),
    ("NAT64 to loopback", "64:ff9b::7f00:1"),
    ("NAT64 to link-local", "64:ff9b::a9fe:a9fe"),
    ("local NAT64", "64:ff9b:1::808:808"),
    ("6to4 of private", "2002:a00:1::1"),
    ("6to4 of public", "2002:808:808::1"),
    ("Teredo", "2001:0:808:808::f5ff:fffe"),
    ("with a zone", "2606:4700::1111%1"),
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize(("what", "text"), NOT_PUBLIC)
def test_an_address_that_is_not_public_is_not_permitted(what: str, text: str) -> None:
    assert not Allowance().permits("cdn.example.com", ip_address(text)), what


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_permitted(text: str) -> None:
    assert Allowance().permits("cdn.example.com", ip_address(text))


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_is_judged_alike_in_each_of_its_ipv6_dresses(number: int) -> None:
    plain = is_public(IPv4Address(number))
    assert is_public(IPv6Address((0xFFFF << 32) | number)) == plain
    assert is_public(IPv6Address(int(IPv6Address("64:ff9b::")) | number)) == plain
    assert not is_public(IPv6Address((0x2002 << 112) | (number << 80) | 1))


@given(st.ip_addresses())
def test_nothing_that_the_registry_calls_special_is_public(address: IPv4Address | IPv6Address) -> None:
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        assert not is_public(address)


REFUSED_URLS = [
    ("plain http", "http://cdn.example.com/a.png"),
    ("a file", "file:///etc/passwd"),
    ("data", "data:image/gif;base64,R0lG"),
    ("no scheme", "cdn.example.com/a.png"),
    ("no host", "https:///a.png"),
    ("empty", ""),
    ("user name", "https://user@cdn.example.com/"),
    ("password", "https://:secret@cdn.example.com/"),
    ("a host in the place of a user", "https://cdn.example.com@127.0.0.1/"),
    ("a backslash", "https://cdn.example.com\\@127.0.0.1/"),
    ("port out of range", "https://cdn.example.com:99999/"),
    ("a space", "https://cdn.example.com/a b.png"),
    ("a line break", "https://cdn.example.com/\r\nX-Injected: 1"),
    ("NUL", "https://cdn.example.com\x00.evil.example/"),
    ("too long", "https://cdn.example.com/" + "a" * 5_000),
    ("label too long", "https://" + "a" * 64 + ".example.com/"),
    ("name too long", "https://" + "a." * 130 + "com/"),
    ("empty label", "https://cdn..example.com/"),
    ("percent in the host", "https://127%2e0.0.1/"),
    ("decimal", "https://2130706433/"),
    ("octal", "https://0177.0.0.1/"),
    ("octal number", "https://017700000001/"),
    ("hexadecimal", "https://0x7f000001/"),
    ("hexadecimal part", "https://0x7f.0.0.1/"),
    ("hexadecimal at the end", "https://127.0.0.0x1/"),
    ("hexadecimal without digits", "https://127.0.0.0x/"),
    ("short form", "https://127.1/"),
    ("dot at the end", "https://127.0.0.1./"),
    ("full-width digits", "https://\uff11\uff12\uff17.0.0.1/"),
    ("ideographic dots", "https://127。0。0。1/"),
    ("circled digits", "https://①②⑦.0.0.1/"),
    ("loopback", "https://127.0.0.1/"),
    ("unspecified", "https://0.0.0.0/"),
    ("cloud metadata", "https://169.254.169.254/latest/meta-data/"),
    ("IPv6 loopback", "https://[::1]/"),
    ("IPv4-mapped", "https://[::ffff:127.0.0.1]/"),
    ("IPv4-mapped in hexadecimal", "https://[::ffff:7f00:1]/"),
    ("NAT64", "https://[64:ff9b::7f00:1]/"),
    ("zone", "https://[fe80::1%25eth0]/"),
    ("zone on a public address", "https://[2606:4700::1111%25lo]/"),
    ("bare zone", "https://[fe80::1%eth0]/"),
    ("brackets unclosed", "https://[::1/"),
]


@pytest.mark.parametrize(("what", "text"), REFUSED_URLS)
def test_a_url_that_must_not_be_asked_is_refused_before_any_look_up(what: str, text: str) -> None:
    assert isinstance(checked_url(text, Allowance()), MediaRefused), what


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        ("https://cdn.example.com/a.png", "cdn.example.com", "/a.png"),
        ("HTTPS://CDN.Example.com:8443/a", "cdn.example.com", "/a"),
        ("https://münchen.example/ä.png", "xn--mnchen-3ya.example", "/%C3%A4.png"),
        ("https://8.8.8.8/a", "8.8.8.8", "/a"),
        ("https://[2606:4700::1111]/a", "2606:4700::1111", "/a"),
        ("https://my_bucket.example.com?x=1", "my_bucket.example.com", "/?x=1"),
        (
            "https://c.example/a%2Fb%7E?sig=a%2Bb/c%20d==&e=%7e#top",
            "c.example",
            "/a%2Fb%7E?sig=a%2Bb/c%20d==&e=%7e",
        ),
    ],
)
def test_a_good_url_is_asked_as_it_was_given_signature_and_all(text: str, host: str, path: str) -> None:
    url = checked_url(text, Allowance())
    assert isinstance(url, URL)
    assert ((url.raw_host or "").lower(), url.raw_path_qs) == (host, path)


URL_PIECES = st.lists(
    st.sampled_from(
        [
            "https://",
            "http:",
            "//",
            "[",
            "]",
            "::1",
            "127",
            ".",
            "0x7f",
            "%",
            "@",
            ":",
            "a",
            "ü",
            "\ud800",
            "?",
            "#",
        ]
    )
    | st.text(max_size=3),
    max_size=12,
)


@given(URL_PIECES.map("".join))
def test_whatever_the_text_the_answer_is_a_value_and_its_host_is_a_name_or_public(text: str) -> None:
    url = checked_url(text, Allowance())
    if isinstance(url, MediaRefused):
        return
    assert url.scheme == "https"
    address = address_from(url.raw_host or "")
    assert address is None or is_public(address)


HOST = ["cdn.example.com"]
WILDCARD = ["*.example.com"]
NETWORK = ["10.0.0.0/8"]
BOTH = ["cdn.example.com", "10.0.0.0/8"]


@pytest.mark.parametrize(
    ("entries", "host", "address", "is_permitted"),
    [
        (HOST, "cdn.example.com", "8.8.8.8", True),
        (HOST, "CDN.example.com.", "8.8.8.8", True),
        (HOST, "cdn.example.com", "10.0.0.1", True),
        (HOST, "cdn.example.com", "127.0.0.1", True),
        (HOST, "cdn.example.com", "::ffff:10.0.0.1", True),
        (HOST, "cdn.example.com", "fd00::1", True),
        (HOST, "cdn.example.com", "169.254.169.254", False),
        (HOST, "cdn.example.com", "0.0.0.0", False),
        (HOST, "cdn.example.com", "224.0.0.1", False),
        (HOST, "other.example.com", "8.8.8.8", False),
        (HOST, "evil-cdn.example.com", "8.8.8.8", False),
        (HOST, "cdn.example.com.evil.example", "8.8.8.8", False),
        (WILDCARD, "a.b.example.com", "8.8.8.8", True),
        (WILDCARD, "example.com", "8.8.8.8", False),
        (WILDCARD, "evilexample.com", "8.8.8.8", False),
        (WILDCARD, "a.example.com", "10.0.0.1", False),
        (NETWORK, "any.example", "10.1.2.3", True),
        (NETWORK, "any.example", "::ffff:10.1.2.3", True),
        (NETWORK, "any.example", "8.8.8.8", False),
        (NETWORK, "any.example", "11.0.0.1", False),
        (BOTH, "cdn.example.com", "8.8.8.8", True),
        (BOTH, "any.example", "10.1.2.3", True),
        (BOTH, "any.example", "8.8.8.8", False),
        (["::1"], "::1", "::1", True),
        (["fe80::/10"], "any.example", "fe80::1%eth0", False),
        (["169.254.0.0/16"], "any.example", "169.254.1.1", True),
        (["münchen.example"], "xn--mnchen-3ya.example", "8.8.8.8", True),
    ],
)
def test_entries_are_the_only_way_in(entries: list[str], host: str, address: str, is_permitted: bool) -> None:  # noqa: FBT001 - a column of the table
    assert allowance_from(entries).permits(host, ip_address(address)) is is_permitted


def test_a_host_that_no_entry_can_permit_is_refused_before_it_is_looked_up() -> None:
    assert allowance_from(HOST).refusal_of_host("other.example.com") is not None
    assert allowance_from(HOST).refusal_of_host("cdn.example.com") is None
    assert allowance_from(NETWORK).refusal_of_host("other.example.com") is None, "its address may be in the network"


def test_every_entry_that_cannot_be_read_is_named_at_once() -> None:
    bad = [
        "https://a.example",
        "a.example:443",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "*",
        "",
        "127.1",
        "a.*.example",
        "[::1]",
    ]
    with pytest.raises(ValueError, match="MMS_MEDIA_HOSTS_ALLOWED") as raised:
        allowance_from(["good.example", *bad])
    assert [line.split("'")[1] for line in str(raised.value).splitlines()] == bad


@pytest.mark.parametrize(
    ("header", "kept_s"),
    [
        ("", 300),
        ("public, max-age=60", 60),
        ("Max-Age=60", 60),
        ('max-age="60"', 60),
        ("max-age=86400", 300),
        ("max-age=0", 1),
        ("no-store", 1),
        ("private, no-cache", 1),
        ("no-store, max-age=60", 1),
        ("max-age=-5", 300),
        ("max-age=99999999999999999999", 300),
        ("max-age=soon, s-maxage=2", 300),
    ],
)
def test_a_picture_is_kept_no_longer_than_its_host_says_nor_than_we_say(header: str, kept_s: float) -> None:
    assert fresh_s(header, ttl_s=300) == kept_s


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 6_000), st.integers(0, 20)), max_size=60))
def test_what_is_kept_never_passes_its_bound_in_bytes(steps: list[tuple[str, int, int]]) -> None:
    kept: Kept[int] = Kept(bytes_max=3 * (ENTRY_BYTES + 1) + 5_000)
    for now_s, (url, size_bytes, for_s) in enumerate(steps):
        kept.get(url, now_s=now_s)
        kept.put(url, size_bytes, value_bytes=size_bytes, until_s=now_s + for_s)
        assert kept.size_bytes <= 3 * (ENTRY_BYTES + 1) + 5_000
        assert kept.size_bytes >= len(kept) * ENTRY_BYTES
        if for_s > 0 and size_bytes <= 5_000:
            assert kept.get(url, now_s=now_s) == size_bytes


def test_the_least_recently_used_leaves_first() -> None:
    kept: Kept[str] = Kept(bytes_max=2 * (ENTRY_BYTES + 1))
    for url in "ab":
        kept.put(url, url, value_bytes=0, until_s=9)
    kept.get("a", now_s=0)
    kept.put("c", "c", value_bytes=0, until_s=9)
    assert [kept.get(url, now_s=0) for url in "abc"] == ["a", None, "c"]


def test_what_is_too_old_is_not_handed_out() -> None:
    kept: Kept[str] = Kept(bytes_max=10_000)
    kept.put("a", "a", value_bytes=0, until_s=5)
    assert kept.get("a", now_s=4.9) == "a"
    assert kept.get("a", now_s=5) is None
    assert kept.size_bytes == 0
