"""The one outbound HTTP client: synchronous, for readers, which work in a thread of their own.

An `Http` talks to one origin (scheme, host, port) and to no other, so that what it is trusted with
leaks nowhere: it follows no redirect, and refuses an address elsewhere. What may pass by itself is
tried again, a bounded number of times; everything else is an error that says what to do:

    Transient                throttled, out of order, out of reach or broken off: try again later
    └── BrokenAnswer         an answer that is not what was asked for, each time
    NotConnected
    ├── NotAuthenticated     401: the credentials are not accepted
    ├── NotPermitted         403: they are, and the right is missing
    └── NotTrusted           the server's certificate does not hold
    Permanent
    ├── Rejected             another 4xx: this request will never be answered
    │   └── NotFound         404, 410
    └── Elsewhere            a redirect, or an address on another host

No message, detail or repr holds a credential.
"""

import logging
import re
import ssl
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from random import Random  # noqa: TID251 -- the type; a seeded one is injected where it matters
from typing import Any, Final, Self, TypeVar

import httpx
from typing_extensions import override

from collector.clock import Clock, now, stopwatch
from collector.errors import NotConnected, Permanent, Transient

T = TypeVar("T")
Decode = Callable[[bytes], T]
"""Turns a body into what was asked for; raises ValueError where it is not that."""

TRIES_MAX: Final = 5
BACKOFF_S: Final = 0.5
"""Before the second try; it doubles, and up to half of it is taken off by chance."""
WAIT_S_MAX: Final = 15.0
"""A server that asks for more patience than this is left to whoever called: a reader's thread that
sleeps holds up the end of the program."""
TIMEOUT_S: Final = 30.0
"""To connect, and from one piece of an answer to the next."""
ANSWER_S_MAX: Final = 300.0
BODY_BYTES_MAX: Final = 64 << 20
EXCERPT_CHARS_MAX: Final = 500

_PLAIN_HEADERS = frozenset(
    [
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    ]
)
"""Headers that hold no secret; the address of a POST may hold one too, in a part of 8 characters or more."""
_THROTTLED = 429
_OUT_OF_ORDER = 500


for _name in ("httpx", "httpcore"):  # they write whole addresses, which may hold a secret
    logging.getLogger(_name).setLevel(logging.WARNING)


class BrokenAnswer(Transient):
    """The server answers, and not with what was asked for."""


class NotAuthenticated(NotConnected):
    """401: the server does not accept the credentials."""


class NotPermitted(NotConnected):
    """403: the server knows who asks, and refuses."""


class NotTrusted(NotConnected):
    """The server could not prove who it is."""


class Rejected(Permanent):
    """The server refuses this request; `body` is its answer, without credentials."""

    def __init__(self, message: str, *, body: str = "", detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.body = body


class NotFound(Rejected):
    """404 or 410: there is no such thing (any more)."""


class Elsewhere(Permanent):
    """What was asked for is on another host, where credentials are not sent."""


class Http:
    """A client for the origin of `base_url`; relative addresses start there (end it with a slash).

    `server_time` is the `Date` of the last answer: what the server's clock says.
    """

    def __init__(
        self,
        base_url: str,
        *,
        clock: Clock = now,
        random: Random | None = None,
        sleep: Callable[[float], None] = time.sleep,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._base = httpx.URL(base_url)
        self._clock = clock
        self._random = random or Random()  # noqa: S311 -- spreads retries; nothing secret
        self._sleep = sleep
        self._client = httpx.Client(verify=_tls(), timeout=timeout_s, follow_redirects=False)
        self._answer_s_max = ANSWER_S_MAX * timeout_s / TIMEOUT_S
        self.server_time: datetime | None = None

    @override
    def __repr__(self) -> str:
        return f"Http({self._base.host})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, url: str, decode: Decode[T], *, headers: Mapping[str, str]) -> T:
        """Return the decoded body of `url`; raise as the module says."""
        return self._retried("GET", url, decode, {"headers": dict(headers)})

    def post_form(
        self, url: str, decode: Decode[T], form: Mapping[str, str], *, basic: tuple[str, str]
    ) -> T:
        """Post a form as (user, password); only for what may be posted twice."""
        return self._retried("POST", url, decode, {"data": dict(form), "auth": basic})

    def post(self, url: str, body: bytes, *, headers: Mapping[str, str]) -> None:
        """Post once: whoever calls tries again. No message holds the path of `url`: it may be a secret."""
        target = self._target(url)
        self._decoded(
            "POST", target, bytes, {"content": body, "headers": dict(headers)}, target.host
        )

    def _retried(self, method: str, url: str, decode: Decode[T], request: dict[str, Any]) -> T:
        target = self._target(url)
        tries = 0
        while True:
            tries += 1
            try:
                return self._decoded(method, target, decode, request, f"{target.host}{target.path}")
            except Transient as error:
                wait_s = error.wait_s if error.wait_s is not None else self._backoff_s(tries)
                if tries == TRIES_MAX or wait_s > WAIT_S_MAX:
                    raise
            self._sleep(wait_s)

    def _backoff_s(self, tries: int) -> float:
        whole: float = BACKOFF_S * 2 ** (tries - 1)
        return whole * (1 - self._random.random() / 2)

    def _target(self, url: str) -> httpx.URL:
        target = self._base.join(url)
        if _origin(target) != _origin(self._base):
            raise Elsewhere(
                f"{self._base.host} points to {target.host or url!r} for what follows; credentials"
                " are not sent there. Correct the address in the configuration if that is the one."
            )
        return target

    def _decoded(
        self, method: str, target: httpx.URL, decode: Decode[T], request: dict[str, Any], place: str
    ) -> T:
        with self._answer(method, target, request) as answer:
            body = self._body(answer, place)
        self.server_time = _date(answer.headers.get("Date"))
        if not answer.is_success:
            raise self._error(answer, body, place)
        try:
            return decode(body)
        except ValueError as error:
            raise BrokenAnswer(
                f"{place} does not answer with what was asked for ({error}). It is tried again; if"
                " that stays so, look whether the address leads to the API and not to a login page.",
                detail=_excerpt(answer, body),
            ) from None

    @contextmanager
    def _answer(
        self, method: str, target: httpx.URL, request: dict[str, Any]
    ) -> Iterator[httpx.Response]:
        try:
            with self._client.stream(method, target, **request) as answer:
                yield answer
        except httpx.RequestError as error:
            if _is_certificate(error):
                raise NotTrusted(
                    f"The certificate of {target.host} is not trusted: have it renewed, or add its"
                    " authority to this machine (SSL_CERT_FILE).",
                    detail=str(error),
                ) from None
            raise Transient(
                f"{target.host} does not answer, or broke off ({type(error).__name__}). It is tried"
                " again; if that stays so, look at the address, the network and the proxy.",
                detail=str(error),
            ) from None

    def _body(self, answer: httpx.Response, place: str) -> bytes:
        body, elapsed_s = bytearray(), stopwatch()
        for block in answer.iter_bytes():
            body += block
            if len(body) > BODY_BYTES_MAX:
                raise BrokenAnswer(f"{place} answers with more than {BODY_BYTES_MAX >> 20} MiB.")
            if elapsed_s() > self._answer_s_max:
                raise Transient(f"{place} takes longer than {self._answer_s_max:.0f} s to answer.")
        return bytes(body)

    def _error(self, answer: httpx.Response, body: bytes, place: str) -> Exception:
        status, detail = answer.status_code, _excerpt(answer, body)
        if answer.is_redirect:
            return Elsewhere(
                f"{place} redirects to {_redirected(answer)}, and redirects are not followed:"
                " credentials stay with one host. Configure the address of the API itself.",
                detail=detail,
            )
        if status == _THROTTLED or status >= _OUT_OF_ORDER:
            wait_s = self._retry_after_s(answer)
            what = "asks for patience" if status == _THROTTLED else "is out of order"
            patience = "" if wait_s is None else f", after {wait_s:.0f} s"
            return Transient(
                f"{place} {what} (HTTP {status}). It is tried again{patience}.",
                wait_s=wait_s,
                detail=detail,
            )
        return _refusal(status, place, detail)

    def _retry_after_s(self, answer: httpx.Response) -> float | None:
        """Return how long the server asks to wait, in seconds; it says that, or says until when."""
        text = answer.headers.get("Retry-After", "").strip()
        if text.isascii() and text.isdecimal():
            return float(text[:9])
        until = _date(text)
        return None if until is None else max((until - self._clock()).total_seconds(), 0.0)


@cache
def _tls() -> ssl.SSLContext:
    """Return what servers are verified with, read once: that takes longer than most requests."""
    return httpx.create_ssl_context()


def _refusal(status: int, place: str, detail: str) -> Exception:
    match status:
        case 401:
            return NotAuthenticated(
                f"{place} does not accept the credentials (HTTP 401): correct or renew them.",
                detail=detail,
            )
        case 403:
            return NotPermitted(
                f"{place} refuses access (HTTP 403): have the missing role granted.", detail=detail
            )
        case 404 | 410:
            message = f"{place} does not exist (HTTP {status}): correct the address."
            return NotFound(message, body=detail, detail=detail)
        case _:
            message = (
                f"{place} refuses the request (HTTP {status}): {detail or 'it does not say why'}"
            )
            return Rejected(message, body=detail, detail=detail)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    port = url.port or {"https": 443, "http": 80}.get(url.scheme)
    return url.scheme, url.host, port


def _is_certificate(error: httpx.RequestError) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _redirected(answer: httpx.Response) -> str:
    """Return where a redirect leads: scheme and host; the rest may hold a token."""
    try:
        target = answer.url.join(answer.headers.get("Location", ""))
    except httpx.InvalidURL:
        return "an address that is none"
    return f"{target.scheme}://{target.host}"


def _date(text: str | None) -> datetime | None:
    """Return the instant of an HTTP date; None where it is absent or none."""
    try:
        return parsedate_to_datetime(text) if text and text.endswith("GMT") else None
    except ValueError:
        return None


def _excerpt(answer: httpx.Response, body: bytes) -> str:
    """Return the beginning of an answer, with what we were trusted with taken out."""
    text = body[: 4 * EXCERPT_CHARS_MAX].decode("utf-8", "replace")
    request = answer.request
    scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
    password = b64decode(sent).decode().partition(":")[2] if scheme == "Basic" else ""
    trusted = [sent, password]
    if request.method == "POST":
        trusted += [value for name, value in request.headers.items() if name not in _PLAIN_HEADERS]
        trusted += re.findall("[^/?&=]{8,}", request.url.raw_path.decode())
    for secret in filter(None, trusted):
        text = text.replace(secret, "…")
    return re.sub(r"\s+", " ", text).strip()[:EXCERPT_CHARS_MAX]
