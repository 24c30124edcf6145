"""The kinds of value a setting can have, as annotations: what each takes, and why it does not take the rest.

A check raises ValueError with the rest of a sentence that begins with the setting's name (pydantic's way; see
`worker.settings.sentences`). No sentence repeats a secret or an address, which may hold a password; and none
passes on a foreign error's words about one, since those quote what they could not read.
"""

import ipaddress
import re
import ssl
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

import phonenumbers
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from worker.core.steps import Failpoint, Poison, ReplyStep, Step
from worker.core.topology import is_account_name
from worker.settings.sentences import shown

SECRET_FILE_BYTES_MAX: Final = 65_536
ACCOUNTS_FILE_BYTES_MAX: Final = 1_048_576
MEDIA_HOSTS_MAX: Final = 1_000

_NAME_PART: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER_PART: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_STEPS: Final[dict[str, Step | ReplyStep]] = {step.value: step for step in (*Step, *ReplyStep)}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that cannot be used, and why, in words."""

    why: str


def read_text(path: Path, *, bytes_max: int) -> str | Unreadable:
    """The file's content as UTF-8."""
    try:
        with path.open("rb") as file:
            content = file.read(bytes_max + 1)
        if len(content) > bytes_max:
            return Unreadable(f"it holds more than {bytes_max:,} bytes")
        return content.decode()
    except UnicodeDecodeError:
        return Unreadable("it is not UTF-8 text")
    except OSError as error:
        return Unreadable(error.strerror or type(error).__name__)
    except ValueError:  # a NUL in the name
        return Unreadable("this cannot be a file name")


def read_secret(path: Path) -> str | Unreadable:
    """The secret in the file, without one line break at its end (editors and `echo` leave one)."""
    content = read_text(path, bytes_max=SECRET_FILE_BYTES_MAX)
    if isinstance(content, Unreadable):
        return content
    secret = content.removesuffix("\n").removesuffix("\r") if content.endswith("\n") else content
    return secret or Unreadable("it is empty")


def _check_ca_file(path: Path) -> Path:
    remedy = "name a PEM file with the certificates to trust, or leave it out to trust the system's"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:  # before OSError, which it is a kind of
        raise ValueError(f"names {shown(path)}, which holds no readable certificate: {remedy}") from None
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ValueError(f"names {shown(path)}, which cannot be read ({why}): {remedy}") from None
    except ValueError:  # a NUL in the name
        raise ValueError(f"names {shown(path)}, which cannot be a file name: {remedy}") from None
    if context.cert_store_stats()["x509"] == 0:
        raise ValueError(f"names {shown(path)}, which holds no certificate: {remedy}")
    return path


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_host(text: str) -> bool:
    """Whether this is an IP address or a host name; a name whose last part is a number is neither."""
    if _is_ip_address(text):
        return True
    parts = text.removesuffix(".").split(".")
    return (
        len(text) <= 253  # noqa: PLR2004  RFC 1035, 2.3.4, without the length octets
        and all(_NAME_PART.fullmatch(part) for part in parts)
        and not _NUMBER_PART.fullmatch(parts[-1])
    )


def _address_parts(url: str, *, schemes: tuple[str, ...], needs_host: bool) -> SplitResult:
    """Split an address. Only errors in our words leave here: those of urlsplit quote passwords."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("holds a space, a control or a non-ASCII character: write such characters as %XX")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("is not an address: write it as scheme://host:port/…") from None
    if parts.scheme not in schemes:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if "#" in url:
        raise ValueError("must hold no '#': in a password write it as %23")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, 0
    if port == 0:
        raise ValueError("has no usable port: it is a number from 1 to 65535; in a password write / as %2F")
    if needs_host and not (host and is_host(host)):
        raise ValueError("names no usable host: correct it (in a password, write @ / : ? as %40 %2F %3A %3F)")
    return parts


def _check_parameters(parts: SplitResult, allowed: tuple[str, ...]) -> None:
    """The libraries take parameters behind '?' that turn the check of certificates off; those must not pass."""
    given = [pair.split("=", 1)[0] for pair in parts.query.split("&") if pair]
    if not all(name in allowed for name in given):
        raise ValueError(
            f"may hold only {' and '.join(allowed)} behind '?': leave other parameters out (certificates are always"
            " checked, and time limits are settings of their own)"
        )


def _check_amqp_url(value: SecretStr) -> SecretStr:
    parts = _address_parts(value.get_secret_value(), schemes=("amqp", "amqps"), needs_host=True)
    if "/" in parts.path[1:]:
        raise ValueError("names more than one virtual host: a / within its name is written %2F")
    _check_parameters(parts, ("cafile", "certfile", "keyfile"))
    return value


def _check_redis_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    over_network = not url.startswith("unix:")
    parts = _address_parts(url, schemes=("redis", "rediss", "unix"), needs_host=over_network)
    _check_parameters(parts, ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"))
    if over_network and not re.fullmatch(r"/?[0-9]{0,5}", parts.path):
        raise ValueError("must end in the number of a database, such as /0")
    if not over_network and len(parts.path) < 2:  # noqa: PLR2004  a / and at least one character
        raise ValueError("must name the socket's file: unix:///run/redis/redis.sock")
    return value


def _check_api_url(url: str) -> str:
    """The address without a slash at its end: `{api_url}/send-mms` is a call."""
    url = url.strip()
    if not url.lower().startswith("https://"):
        raise ValueError(
            "must begin with https://: the API is called over TLS only, and no setting turns that off, nor"
            " the check of its certificate (a private certificate authority is named in MMS_API_CA_FILE)"
        )
    parts = _address_parts(url, schemes=("https",), needs_host=True)
    if "@" in parts.netloc:
        raise ValueError("must hold no user name or password: give the key as MMS_APP_KEY or MMS_APP_KEY_FILE")
    if "?" in url:
        raise ValueError("must hold no '?': leave the query out, credentials and parameters are added per call")
    return url.rstrip("/")


def _check_host(text: str) -> str:
    text = text.strip()
    if not is_host(text):
        raise ValueError(
            f"must be an IP address or a host name, not {shown(text)}: 127.0.0.1 serves this machine only, 0.0.0.0 all"
        )
    return text


def _split_list(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(entry.strip().lower() for entry in value.split(",") if entry.strip())


def _check_media_host(entry: str) -> str:
    """Entry: a host name, `*.` and a host name, an IP address, or a network such as 10.1.0.0/16."""
    name_below = entry.removeprefix("*.")
    if is_host(entry) or (is_host(name_below) and not _is_ip_address(name_below)):
        return entry
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        pass
    else:
        return entry
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        raise ValueError(
            f"holds {shown(entry)}, which is no host name, address or network: write cdn.example.com,"
            " *.example.com or 10.1.0.0/16, without scheme, port or path, and commas between them"
        ) from None
    raise ValueError(f"holds {shown(entry)}, an address within a network: write {network} for the whole network")


def _check_region(text: str) -> str:
    region = text.strip().upper()
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"must be a country's two letters, such as AU or NZ, not {shown(text)}")
    return region


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _no_bool(value: object) -> object:
    """True and False are numbers to Python; in a file they are a mistake, which an empty text is as well."""
    return "" if isinstance(value, bool) else value


def _check_app_key(value: SecretStr) -> SecretStr:
    """The key stands in a header: RFC 9110, 5.5 (no control characters), and visible ASCII to be safe."""
    key = value.get_secret_value()
    if key != key.strip():
        raise ValueError("begins or ends with white space, which no key does: remove it")
    if not key:
        raise ValueError("is empty: put the account's APPKEY there")
    if not (key.isascii() and key.isprintable()):
        raise ValueError("holds a character that cannot stand in a header: copy the key again, letters and digits")
    return value


def _check_app_secret(value: SecretStr) -> SecretStr:
    """A Basic password: any text that UTF-8 can carry, without control characters (RFC 7617, 2)."""
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value.get_secret_value()):
        raise ValueError("holds a line break or another control character: copy the secret again")
    return value


def _check_callback_token(value: SecretStr) -> SecretStr:
    """It stands in an address as it is: RFC 3986, 2.3 (unreserved characters)."""
    token = value.get_secret_value()
    if token and not re.fullmatch(r"[A-Za-z0-9_~-]{16,200}", token):
        raise ValueError(
            "must be 16 to 200 letters, digits, _, ~ or -, since it stands in an address and must not be guessed:"
            " take what `openssl rand -hex 24` prints"
        )
    return value


def certificate_fault(cert: Path, key: Path | None) -> str | None:
    """Why a server cannot show the certificate in `cert`, whose key is in `key` or in `cert` itself; None: it can."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password="")  # one with a password must not ask for it
    except ssl.SSLError:  # before OSError, which it is a kind of
        return "they hold no certificate in PEM with the key to it, without a password"
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError:  # a NUL in the name
        return "this cannot be a file name"
    return None


def _check_account_name(text: str) -> str:
    if not is_account_name(text):
        raise ValueError(
            f"must be 1 to 64 letters, digits, _ or -, not {shown(text)}: with a dot it could not be told"
            " from ACCOUNT.urgent in a routing key"
        )
    return text


def _read_failpoint(value: object) -> object:
    """Step, or step:n; or decode:marker."""
    if not isinstance(value, str):
        return value
    if poison := re.fullmatch(r"decode:([A-Za-z0-9_-]{1,64})", value.strip()):
        return Poison(poison[1])
    told = re.fullmatch(r"([a-z_]+)(?::([1-9][0-9]{0,8}))?", value.strip())
    if told is None or told[1] not in _STEPS:
        raise ValueError(
            f"must be STEP or STEP:N, not {shown(value)}: N is from 1, STEP one of {', '.join(_STEPS)}; or"
            " decode:MARKER; or leave it out, it is for tests only"
        )
    return Failpoint(_STEPS[told[1]], int(told[2] or 1))


AmqpUrl = Annotated[SecretStr, AfterValidator(_check_amqp_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_check_redis_url)]
ApiUrl = Annotated[str, AfterValidator(_check_api_url)]
CaFile = Annotated[Path, AfterValidator(_check_ca_file)]
Host = Annotated[str, AfterValidator(_check_host)]
MediaHost = Annotated[str, AfterValidator(_check_media_host)]
MediaHosts = Annotated[tuple[MediaHost, ...], BeforeValidator(_split_list), Field(max_length=MEDIA_HOSTS_MAX)]
Region = Annotated[str, AfterValidator(_check_region)]
AppKey = Annotated[SecretStr, AfterValidator(_check_app_key)]
AppSecret = Annotated[SecretStr, AfterValidator(_check_app_secret)]
CallbackToken = Annotated[SecretStr, AfterValidator(_check_callback_token)]
AccountName = Annotated[str, AfterValidator(_check_account_name)]
RatePerS = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, le=100_000, allow_inf_nan=False)]
WholeSeconds = Annotated[int, Field(ge=1, le=31_536_000)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=3_600, allow_inf_nan=False)]
SecondsOrNever = Annotated[float, Field(ge=0, le=3_600, allow_inf_nan=False)]
DoubtRuleName = Annotated[Literal["hold", "resend", "give_up"], BeforeValidator(_lower)]
DoubtSeconds = Annotated[int, BeforeValidator(_no_bool), Field(ge=60, le=31_536_000)]
Auth = Annotated[Literal["basic", "appkey"], BeforeValidator(_lower)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
LogFormat = Annotated[Literal["json", "console"], BeforeValidator(_lower)]
FailpointSetting = Annotated[Failpoint | Poison, BeforeValidator(_read_failpoint)]
