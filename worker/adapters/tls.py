"""TLS as a client: always verified; and what is wrong with the other side, in words for a person."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

#: OpenSSL's X509_V_ERR_…, of openssl/x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
#: No issuer to be found, self-signed, or the chain ends nowhere.
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 64})
#: What OpenSSL makes of an answer that is no TLS.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})
#: No library wraps a failure more often than this.
_WRAPPED_MAX = 10


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What a client trusts, and shows of itself. ``ca_file``: PEM; without one, what the system trusts.

    ``cert_file``, ``key_file``: PEM, where the server asks for a certificate; the key may be in the first.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """A new context. Raises OSError (``ssl.SSLError`` is one) for files that cannot be used."""
        context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file, password="")  # one with a password must not ask
        return context


def tls_at(url: str, parameters: tuple[str, str, str], ca_file: Path | None = None) -> ssl.SSLContext | None:
    """Whom to trust at ``url``; None where there is no TLS. Raises as ``ClientTls.context`` does.

    ``parameters``: what the address calls the files that it may name itself: ``ca_file`` (if it is not given),
    ``cert_file`` and ``key_file``.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"amqps", "rediss"}:
        return None
    given = parse_qs(parts.query)
    in_url, cert, key = (Path(given[name][0]) if name in given else None for name in parameters)
    return ClientTls(ca_file or in_url, cert, key).context()


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Verified against ``ca_file`` alone, or what the system trusts."""
    return ClientTls(ca_file).context()


def tls_fault(error: BaseException, *, url: str, ca_file: str) -> str | None:
    """Why TLS failed, and what to do; None when that is not what ``error`` is about.

    ``url``, ``ca_file``: the names of the settings.
    """
    failure = next((each for each in _with_causes(error) if isinstance(each, ssl.SSLError)), None)
    if failure is None:
        return None
    if not isinstance(failure, ssl.SSLCertVerificationError):
        if failure.reason in _NO_TLS:
            return f"it does not speak TLS there; check port and scheme of {url}"
        return f"TLS failed ({failure.reason or type(failure).__name__}); look at its log"
    return _certificate_fault(failure, url, ca_file)


def _certificate_fault(failure: ssl.SSLCertVerificationError, url: str, ca_file: str) -> str:
    code = failure.verify_code
    if code == _EXPIRED:
        return "its certificate has expired; have it renewed there"
    if code == _NOT_YET_VALID:
        return "its certificate is not valid yet; look at the clocks of both machines"
    if code in _OTHER_NAME:
        return f"its certificate is for another host; name it in {url} as its certificate does"
    if code in _UNKNOWN_AUTHORITY:
        return f"its certificate is of an authority that is not trusted here; name that authority's in {ca_file}"
    return f"its certificate does not hold ({failure.verify_message}); have it renewed there"


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    for _ in range(_WRAPPED_MAX):
        if each is None:
            return
        yield each
        each = each.__cause__ or each.__context__
