"""The settings: values, relations, everything wrong at once."""

from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from worker.settings import AccountSettings, Settings, SettingsProblems, load, load_receiver, settings_reference

REQUIRED = {"MMS_API_URL": "https://api.example/api/v3", "MMS_APP_KEY": "key-1"}
TOKEN = "a-token-of-the-callbacks"


# A revocation list: PEM that loads, without any certificate.
CRL = """\
-----BEGIN X509 CRL-----
MIGWMD4CAQEwCgYIKoZIzj0EAwIwDzENMAsGA1UEAwwEdGVzdBcNMjYwMTAxMDAw
MDAwWhcNMjYwMTAyMDAwMDAwWjAKBggqhkjOPQQDAgNIADBFAiEArnK0RAsZN4hI
tcsZWMRRcXnb58p0geeEAIiOkqkvUTYCICaYIQEu3Hh1/ATYnwqJI+lbgwl/ttz8
vH05J5KDcMPi
-----END X509 CRL-----
"""


def loaded(**variables: str) -> Settings:
    settings = load({**REQUIRED, **variables})
    assert isinstance(settings, Settings), settings
    return settings


def problems_of(**variables: str) -> tuple[str, ...]:
    result = load({**REQUIRED, **variables})
    assert isinstance(result, SettingsProblems), "nothing was found wrong"
    return result.problems


def only_problem_of(**variables: str) -> str:
    problems = problems_of(**variables)
    assert len(problems) == 1, problems
    return problems[0]


def test_defaults_are_those_of_the_fixed_table() -> None:
    settings = loaded()
    assert settings.amqp_url.get_secret_value() == "amqp://guest:guest@127.0.0.1:5672/"
    assert settings.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert settings.accounts == (AccountSettings("default", SecretStr("key-1"), SecretStr(""), 15.0, "basic"),)
    assert (settings.admin_host, settings.admin_port) == ("127.0.0.1", 9464)
    assert (settings.recipients_per_call_max, settings.read_timeout_s, settings.region) == (1000, 30, "AU")
    assert (settings.media_hosts_allowed, settings.media_ca_file, settings.api_ca_file) == ((), None, None)
    assert settings.deduplication_s == 7 * 24 * 3600


def test_every_variable_of_the_fixed_table_is_in_the_reference_with_its_default() -> None:
    defaults = {doc.name: doc.default for doc in settings_reference()}
    assert (
        defaults.items()
        >= {
            "MMS_AMQP_URL": "amqp://guest:guest@127.0.0.1:5672/",
            "MMS_REDIS_URL": "redis://127.0.0.1:6379/0",
            "MMS_API_URL": "none: required",
            "MMS_API_CA_FILE": "system store",
            "MMS_ACCOUNT": "default",
            "MMS_APP_KEY": "none",
            "MMS_APP_SECRET": "none",
            "MMS_RATE_PER_S": "15",
            "MMS_AUTH": "basic",
            "MMS_ACCOUNTS_FILE": "none",
            "MMS_RECIPIENTS_PER_CALL_MAX": "1000",
            "MMS_ADMIN_HOST": "127.0.0.1",
            "MMS_ADMIN_PORT": "9464",
            "MMS_READ_TIMEOUT_S": "30",
            "MMS_REGION": "AU",
            "MMS_MEDIA_HOSTS_ALLOWED": "none",
            "MMS_MEDIA_CA_FILE": "system store",
            "MMS_DRAIN_S_MAX": "covers the longest call",
            "MMS_DEDUPLICATION_S": "604800",
            "MMS_RECEIVE_HOST": "127.0.0.1",
            "MMS_RECEIVE_PORT": "8080",
            "MMS_CALLBACK_TOKEN": "none",
            "MMS_REPLIES_POLL_S": "30",
        }.items()
    )


def test_every_setting_says_what_it_means_and_secrets_are_marked() -> None:
    reference = settings_reference()
    assert all(doc.meaning and doc.default for doc in reference)
    assert {doc.name for doc in reference if doc.is_secret} == {
        "MMS_AMQP_URL",
        "MMS_REDIS_URL",
        "MMS_APP_KEY",
        "MMS_APP_SECRET",
        "MMS_CALLBACK_TOKEN",
    }


@pytest.mark.parametrize("name", [doc.name for doc in settings_reference()])
def test_every_number_is_bounded_on_both_sides(name: str) -> None:
    default = next(doc.default for doc in settings_reference() if doc.name == name)
    if default.isdecimal() or name == "MMS_DRAIN_S_MAX":
        for wrong in ("-1", "99999999999"):
            result = load_receiver({**REQUIRED, "MMS_CALLBACK_TOKEN": TOKEN, name: wrong})
            assert isinstance(result, SettingsProblems)
            assert [name in problem for problem in result.problems] == [True]


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("MMS_API_URL", "https://api.example/api/v3/", "api_url", "https://api.example/api/v3"),
        ("MMS_API_URL", "https://127.0.0.1:8443/api/v3//", "api_url", "https://127.0.0.1:8443/api/v3"),
        ("MMS_API_URL", "https://[::1]:8443", "api_url", "https://[::1]:8443"),
        ("MMS_REGION", "nz", "region", "NZ"),
        ("MMS_ADMIN_PORT", "0", "admin_port", 0),
        ("MMS_ADMIN_HOST", "::", "admin_host", "::"),
        ("MMS_READ_TIMEOUT_S", "0.5", "read_timeout_s", 0.5),
        ("MMS_LOG_LEVEL", "WARNING", "log_level", "warning"),
        ("MMS_LOG_FORMAT", "console", "log_format", "console"),
        (
            "MMS_MEDIA_HOSTS_ALLOWED",
            " CDN.example.com ,10.1.0.0/16,, ::1,*.img.example ",
            "media_hosts_allowed",
            ("cdn.example.com", "10.1.0.0/16", "::1", "*.img.example"),
        ),
    ],
)
def test_values_are_read(variable: str, value: str, field: str, expected: object) -> None:
    assert getattr(loaded(**{variable: value}), field) == expected


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("MMS_API_URL", "http://api.example/api/v3", "over TLS only"),
        ("MMS_API_URL", "api.example", "must begin with https://"),
        ("MMS_API_URL", "https://key@api.example", "no user name"),
        ("MMS_API_URL", "https://api.example/?key=1", "no '?'"),
        ("MMS_API_URL", "https://api.example/#a", "no '#'"),
        ("MMS_API_URL", "https://api.example:99999", "port"),
        ("MMS_API_URL", "https://api.example:0", "port"),
        ("MMS_API_URL", "https://", "host"),
        ("MMS_API_URL", "https://api.example\r\n.evil/", "%XX"),
        ("MMS_API_URL", "https://[::1", "not an address"),
        ("MMS_AMQP_URL", "http://127.0.0.1", "amqp:// or amqps://"),
        ("MMS_AMQP_URL", "amqp://", "host"),
        ("MMS_AMQP_URL", "amqp://127.0.0.1/a/b", "virtual host"),
        ("MMS_AMQP_URL", "amqps://broker.example/?no_verify_ssl=1", "certificates are always checked"),
        ("MMS_REDIS_URL", "rediss://redis.example/0?ssl_cert_reqs=none", "certificates are always checked"),
        ("MMS_REDIS_URL", "rediss://redis.example/0?ssl_check_hostname=false", "certificates are always checked"),
        ("MMS_AMQP_URL", "amqp://u:pü@127.0.0.1/", "%XX"),
        ("MMS_AMQP_URL", "amqp://u:p#w@127.0.0.1/", "%23"),
        ("MMS_REDIS_URL", "127.0.0.1:6379", "redis://"),
        ("MMS_REDIS_URL", "redis://127.0.0.1/first", "number of a database"),
        ("MMS_REDIS_URL", "unix://", "socket"),
        ("MMS_ADMIN_PORT", "65536", "whole number from 0 to 65535, not '65536'"),
        ("MMS_ADMIN_PORT", "http", "not 'http'"),
        ("MMS_ADMIN_HOST", "a host", "IP address or a host name"),
        ("MMS_READ_TIMEOUT_S", "0", "above 0"),
        ("MMS_READ_TIMEOUT_S", "nan", "above 0"),
        ("MMS_READ_TIMEOUT_S", "inf", "at most 3600"),
        ("MMS_RECIPIENTS_PER_CALL_MAX", "1001", "from 1 to 1000"),
        ("MMS_REGION", "AUS", "two letters"),
        ("MMS_REGION", "ZZ", "two letters"),
        ("MMS_MEDIA_HOSTS_ALLOWED", "https://cdn.example", "without scheme"),
        ("MMS_MEDIA_HOSTS_ALLOWED", "10.0.0.5/8", "write 10.0.0.0/8"),
        ("MMS_MEDIA_HOSTS_ALLOWED", "2130706433", "no host name"),
        ("MMS_MEDIA_HOSTS_ALLOWED", "*.10.0.0.1", "no host name"),
        ("MMS_MEDIA_HOSTS_ALLOWED", ",".join(["a"] * 1001), "more than 1,000 entries"),
        ("MMS_LOG_LEVEL", "loud", "debug or info or warning or error"),
        ("MMS_LOG_FORMAT", "xml", "json or console"),
        ("MMS_RATE_PER_S", "0", "above 0"),
        ("MMS_RATE_PER_S", "100001", "at most 100000"),
        ("MMS_AUTH", "digest", "basic or appkey"),
        ("MMS_ACCOUNT", "shop.urgent", "ACCOUNT.urgent"),
        ("MMS_ACCOUNT", "a" * 65, "1 to 64"),
        ("MMS_APP_KEY", "key\r\nX: y", "header"),
        ("MMS_APP_KEY", "schlüssel", "header"),
        ("MMS_APP_KEY", " key", "white space"),
        ("MMS_APP_KEY", "ke:y", "MMS_AUTH cannot be basic"),
        ("MMS_APP_SECRET", "a\nb", "line break"),
        ("MMS_API_CA_FILE", "/does/not/exist.pem", "No such file"),
        ("MMS_API_CA_FILE", "/", "cannot be read"),
        ("MMS_MEDIA_CA_FILE", "/does/not/exist.pem", "No such file"),
        ("MMS_ACCOUNTS_FILE_", "x", "did you mean MMS_ACCOUNTS_FILE?"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_variable(variable: str, value: str, part: str) -> None:
    problem = only_problem_of(**{variable: value})
    assert part in problem
    assert problem.startswith(variable if variable != "MMS_APP_KEY" or "MMS_AUTH" not in part else "MMS_AUTH")
    assert "\n" not in problem
    assert problem.endswith((".", "?"))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MMS_AMQP_URL", "amqps://user:p%40ss@broker.example/%2Fvhost"),
        ("MMS_AMQP_URL", "amqp://broker_1"),
        ("MMS_AMQP_URL", "amqps://broker.example/?cafile=/etc/ca.pem"),
        ("MMS_REDIS_URL", "rediss://redis.example/0?ssl_ca_certs=/etc/ca.pem"),
        ("MMS_REDIS_URL", "rediss://:pass@cache.example:6380/3"),
        ("MMS_REDIS_URL", "unix:///run/redis/redis.sock"),
    ],
)
def test_addresses_of_servers_are_taken_as_they_are(variable: str, value: str) -> None:
    secret = getattr(loaded(**{variable: value}), variable.removeprefix("MMS_").lower())
    assert secret.get_secret_value() == value


def test_a_key_with_a_colon_fits_the_appkey_header() -> None:
    assert loaded(MMS_APP_KEY="ke:y", MMS_AUTH="appkey").accounts[0].auth == "appkey"


def test_without_anything_both_required_settings_are_told() -> None:
    result = load({})
    assert isinstance(result, SettingsProblems)
    assert [problem.split()[0] for problem in result.problems] == ["MMS_API_URL", "MMS_APP_KEY"]


def test_an_empty_variable_counts_as_not_set() -> None:
    assert loaded(MMS_REGION="", MMS_ADMIN_PORT=" ", MMS_APP_KEY_FILE="").region == "AU"


def test_all_mistakes_are_told_at_once_with_relations_between_the_right_values() -> None:
    problems = problems_of(
        MMS_API_URL="http://x",
        MMS_ADMIN_PORT="x",
        MMS_RATE_PER_S="x",
        MMS_APP_SECRET_FILE="/does/not/exist",
        MMS_PREFECH="1",
        MMS_RECIPIENTS_PER_CALL_MAX="1",
        MMS_PREFETCH="100",
        MMS_CALLS_MAX="200",
        MMS_DRAIN_S_MAX="1",
        MMS_READ_TIMEOUT_S="x",
    )
    assert [problem.split()[0] for problem in problems] == [
        "MMS_PREFECH",
        "MMS_APP_SECRET_FILE",
        "MMS_API_URL",
        "MMS_READ_TIMEOUT_S",
        "MMS_ADMIN_PORT",
        "MMS_RATE_PER_S",
        "MMS_PREFETCH",  # its relation to MMS_CALLS_MAX; MMS_DRAIN_S_MAX has none while the timeout is unknown
    ]


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (
            {"MMS_PREFETCH": "10", "MMS_RECIPIENTS_PER_CALL_MAX": "1"},
            "MMS_PREFETCH (10) must be at least MMS_CALLS_MAX (64)",
        ),
        ({"MMS_PREFETCH": "1999"}, "MMS_PREFETCH (1999) must be at least 2 times MMS_RECIPIENTS_PER_CALL_MAX (1000)"),
        ({"MMS_HOLD_S_MAX": "30"}, "MMS_HOLD_S_MAX (30) must be more than MMS_READ_TIMEOUT_S (30)"),
        ({"MMS_HOLD_S_MAX": "1451"}, "well below the 30 minutes"),
        ({"MMS_DRAIN_S_MAX": "39"}, "MMS_DRAIN_S_MAX (39) must be at least"),
        ({"MMS_DEDUPLICATION_S": "639"}, "MMS_DEDUPLICATION_S (639) must be at least"),
        ({"MMS_REPORTS_S": "172799"}, "MMS_REPORTS_S (172799) must be at least 172800"),
        ({"MMS_RATE_PER_S": "0.003"}, "MMS_RATE_PER_S"),
    ],
)
def test_relations_are_checked(wrong: dict[str, str], part: str) -> None:
    assert part in only_problem_of(**wrong)


@pytest.mark.parametrize(
    "right",
    [
        {"MMS_PREFETCH": "64", "MMS_RECIPIENTS_PER_CALL_MAX": "32"},
        {"MMS_PREFETCH": "2000"},
        {"MMS_HOLD_S_MAX": "30.1"},
        {"MMS_HOLD_S_MAX": "1450"},
        {"MMS_DRAIN_S_MAX": "40"},
        {"MMS_DEDUPLICATION_S": "640"},
        {"MMS_REPORTS_S": "172800"},
        {"MMS_RATE_PER_S": "0.004"},
    ],
)
def test_relations_hold_at_their_edge(right: dict[str, str]) -> None:
    loaded(**right)


def test_the_drain_covers_the_longest_call_whatever_the_timeouts_are() -> None:
    assert loaded(MMS_READ_TIMEOUT_S="60", MMS_CONNECT_TIMEOUT_S="3").drain_s_max == 68


@pytest.mark.parametrize(
    ("rate_per_s", "expected"), [("15", 2000), ("0.1", 30), ("0.004", 1), ("100000", 2000), ("0.4", 120)]
)
def test_a_slow_account_holds_fewer_deliveries(rate_per_s: str, expected: int) -> None:
    settings = loaded(MMS_RATE_PER_S=rate_per_s)
    assert settings.prefetch_for(settings.accounts[0]) == expected


def test_one_delivery_is_held_at_least() -> None:
    """RabbitMQ takes a prefetch of 0 for no limit at all."""
    assert loaded().prefetch_for(AccountSettings("slow", SecretStr("k"), rate_per_s=0.0001)) == 1


@given(rate_per_s=st.floats(0.001, 100_000), hold_s_max=st.integers(31, 1400), prefetch=st.integers(2000, 10_000))
def test_what_both_lanes_hold_leaves_within_the_hold_time(rate_per_s: float, hold_s_max: int, prefetch: int) -> None:
    result = load(
        {
            **REQUIRED,
            "MMS_RATE_PER_S": str(rate_per_s),
            "MMS_HOLD_S_MAX": str(hold_s_max),
            "MMS_PREFETCH": str(prefetch),
        }
    )
    if isinstance(result, Settings):
        held = 2 * result.prefetch_for(result.accounts[0])
        assert 2 <= held <= 2 * prefetch
        assert held / rate_per_s <= hold_s_max * 1.000001
    else:
        assert rate_per_s * hold_s_max < 2


def test_a_misspelt_variable_names_the_nearest() -> None:
    assert only_problem_of(MMS_RECIPIENT_PER_CALL_MAX="1").endswith("did you mean MMS_RECIPIENTS_PER_CALL_MAX?")
    assert only_problem_of(mms_region="AU").endswith("did you mean MMS_REGION?")
    assert only_problem_of(MMS_ZZZZZ="1") == ("MMS_ZZZZZ is no setting: remove it; the README lists all.")


def test_what_is_not_ours_is_left_alone() -> None:
    loaded(
        PATH="/bin",
        XMMS_PORT="1",
        MMS_CALLBACK_TOKEN="t",
        MMS_CALLBACK_TOKEN_FILE="/x",
        MMS_RECEIVE_CERT_FILE="/x",
        MMS_RECEIVE_KEY_FILE="/x",
        MMS_RECEIVE_HOST="x",
        MMS_RECEIVE_PORT="x",
        MMS_REPLIES_POLL_S="x",
        MMS_REDIS_SERVICE_HOST="10.0.0.1",  # what Kubernetes adds for a Service called mms-redis
        MMS_REDIS_SERVICE_PORT_TCP="6379",
        MMS_REDIS_PORT="tcp://10.0.0.1:6379",
        MMS_REDIS_PORT_6379_TCP_ADDR="10.0.0.1",
    )


def test_ca_files_with_a_certificate_are_taken_and_others_refused(tmp_path: Path) -> None:
    good = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(good)
    settings = loaded(MMS_API_CA_FILE=str(good), MMS_MEDIA_CA_FILE=str(good))
    assert settings.api_ca_file == settings.media_ca_file == good
    bad = tmp_path / "bad.pem"
    for content in ("", "hello", "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"):
        bad.write_text(content)
        assert "no readable certificate" in only_problem_of(MMS_API_CA_FILE=str(bad))
    bad.write_text(CRL)
    assert "holds no certificate" in only_problem_of(MMS_API_CA_FILE=str(bad))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        loaded().admin_port = 1  # type: ignore[misc]  # what must fail


def test_the_process_environment_is_not_read_behind_the_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGION", "NZ")
    monkeypatch.setenv("MMS_REGION", "NZ")
    assert loaded().region == "AU"
