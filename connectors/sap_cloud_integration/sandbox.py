"""A tenant on loopback: an HTTP server that behaves as SAP documents its API, for tests and trials.

    tenant = Tenant(clock)
    tenant.add(Message("AGX7...", log_start, [Phase(seen_at, "COMPLETED", log_end)]))
    with Sandbox(tenant) as sandbox:
        ...  # read sandbox.base_url with sandbox.token_url, CLIENT_ID and CLIENT_SECRET

A message is its history: from each phase's `seen_at` on, by the tenant's own clock, the API shows it
like that. So a log that appears late, a retry or a message that hangs is data, and what the tenant
shows at any time is known beforehand.

What SAP's documentation does not say, and the sandbox therefore decides, stands in UNVERIFIED.
"""

import base64
import re
import socket
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Final, NamedTuple, Self
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import msgspec
from typing_extensions import override

from collector.clock import Clock

UNVERIFIED: Final = {
    "throttling": "Over the limit of requests it answers 429 with Retry-After in seconds.",
    "limit_by_clock": "Requests are counted by whole seconds of the tenant's clock.",
    "skiptoken_after_restart": "A restart makes the tokens of next pages invalid: 400.",
    "token_after_restart": "A restart makes bearer tokens invalid: 401.",
    "processing_has_no_end": "A message in PROCESSING or ABANDONED has a LogEnd of null.",
    "retry_moves_end": "A message in RETRY has a LogEnd, and each attempt writes it anew.",
    "late_entries": "A log can appear up to ten minutes after its LogEnd.",
    "count_on_first_page": "With $inlinecount each page states the number of all rows.",
    "plus_is_no_blank": "A plus in an address is a plus; a blank is %20 only.",
    "combined_filters": "Comparisons are combined with `and` only; `or` is refused.",
    "retention_by_start": "Messages are dropped 30 days after their LogStart, to the second.",
    "empty_ids": "An ApplicationMessageId that is not set is null.",
    "expanded_properties": "$expand gives all custom header properties in `results`, unpaged.",
}
"""What the sandbox decides for lack of documentation, each by a name that tests refer to."""

CLIENT_ID: Final = "sb-tieout!b1|it-rt-sandbox!b1"
CLIENT_SECRET: Final = "only-for-the-sandbox"  # noqa: S105 -- opens nothing but the sandbox
PAGE_ROWS_MAX: Final = 1_000
TOKEN_LIFE: Final = timedelta(hours=1)
RETENTION: Final = timedelta(days=30)

_RESOURCE = "/api/v1/MessageProcessingLogs"
_TYPE = "com.sap.hci.api.MessageProcessingLog"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COMPARISON = re.compile(r"(\w+) (eq|ge|gt|le|lt|ne) (datetime'[^']*'|'(?:[^']|'')*')")
_LITERAL = re.compile(r"datetime'(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?)'")
_ENTITY = re.compile(re.escape(_RESOURCE) + r"\('((?:[^']|'')+)'\)")
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "ge": lambda a, b: a is not None and a >= b,
    "gt": lambda a, b: a is not None and a > b,
    "le": lambda a, b: a is not None and a <= b,
    "lt": lambda a, b: a is not None and a < b,
}


class Phase(NamedTuple):
    """How a message is shown from `seen_at` on."""

    seen_at: datetime
    status: str
    log_end: datetime | None = None


class Message(msgspec.Struct):
    """One message processing log, with its history in the order of time."""

    guid: str
    log_start: datetime
    phases: list[Phase]
    correlation_id: str = ""
    application_id: str | None = None
    application_type: str | None = None
    sender: str | None = None
    receiver: str | None = None
    flow: str = "Flow"
    headers: list[tuple[str, str]] = []

    def at(self, instant: datetime) -> Phase | None:
        """Return the phase that is shown at an instant; None before the first."""
        return next((p for p in reversed(self.phases) if p.seen_at <= instant), None)


class Shown(NamedTuple):
    """A message as it is shown now."""

    message: Message
    phase: Phase

    def row(self, root: str, *, expanded: bool) -> dict[str, Any]:
        """Return the message in the vendor's shape."""
        uri = f"{root}/MessageProcessingLogs('{self.message.guid}')"
        return {
            "__metadata": {"id": uri, "uri": uri, "type": _TYPE},
            **{name: value(self) for name, value in FILTERABLE.items()},
            "LogStart": _date(self.message.log_start),
            "LogEnd": _date(self.phase.log_end),
            "LogLevel": "INFO",
            "TransactionId": f"{self.message.guid.lower():0<32.32}",
            "CustomHeaderProperties": self._properties(uri, expanded=expanded),
            "ErrorInformation": {"__deferred": {"uri": f"{uri}/ErrorInformation"}},
        }

    def _properties(self, uri: str, *, expanded: bool) -> dict[str, Any]:
        if not expanded:
            return {"__deferred": {"uri": f"{uri}/CustomHeaderProperties"}}
        rows = [
            {"__metadata": {"id": f"{uri}/{n}"}, "Id": f"{n}", "Name": name, "Value": value}
            for n, (name, value) in enumerate(self.message.headers)
        ]
        return {"results": rows}


FILTERABLE: Final[dict[str, Callable[[Shown], Any]]] = {
    "MessageGuid": lambda s: s.message.guid,
    "CorrelationId": lambda s: s.message.correlation_id or s.message.guid,
    "ApplicationMessageId": lambda s: s.message.application_id,
    "ApplicationMessageType": lambda s: s.message.application_type,
    "LogStart": lambda s: s.message.log_start,
    "LogEnd": lambda s: s.phase.log_end,
    "Sender": lambda s: s.message.sender,
    "Receiver": lambda s: s.message.receiver,
    "IntegrationFlowName": lambda s: s.message.flow,
    "Status": lambda s: s.phase.status,
    "CustomStatus": lambda s: s.phase.status,
}
"""What `$filter` and `$orderby` compare: text, or an instant."""


class Trouble(StrEnum):
    """What can go wrong with one request, on purpose."""

    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    RESET = "reset"  # the connection breaks in the middle of the body
    CUT = "cut"  # the JSON ends early, and HTTP does not notice
    LOGIN_PAGE = "login page"
    TOKEN_REVOKED = "token revoked"  # noqa: S105 -- a name
    RESTART = "restart"  # tokens and next pages are forgotten
    ROW_LOST = "row lost"  # a page lacks its last row, and the next one goes on behind it


class Tenant:
    """What a tenant holds and how it answers; `trouble` is asked before each answer."""

    def __init__(self, clock: Clock, *, page_rows: int = PAGE_ROWS_MAX) -> None:
        self.clock = clock
        self.page_rows = page_rows
        self.retention = RETENTION
        self.requests_per_s: int | None = None
        self.relative_links = False
        self.trouble: Callable[[], Trouble | None] = lambda: None
        self.requests = 0
        self._messages: dict[str, Message] = {}
        self._tokens: dict[str, datetime] = {}
        self._serial = count(1)
        self._generation = 1
        self._second: tuple[datetime, int] = (_EPOCH, 0)
        self._now: tuple[datetime, list[Shown]] = (_EPOCH, [])
        self._found: tuple[Any, list[Shown]] = (None, [])
        self._lock = threading.Lock()

    def add(self, *messages: Message) -> None:
        """Enter messages, or replace those of the same key."""
        with self._lock:
            self._messages |= {m.guid: m for m in messages}
            self._now, self._found = (_EPOCH, []), (None, [])

    def remove(self, guid: str) -> None:
        """Delete a message, as an administrator can."""
        with self._lock:
            del self._messages[guid]
            self._now, self._found = (_EPOCH, []), (None, [])

    def revoke(self) -> None:
        """Forget the tokens that were given out."""
        with self._lock:
            self._tokens.clear()

    def restart(self) -> None:
        """Forget tokens and next pages, as a server does that is started anew."""
        self.revoke()
        self._generation += 1

    def shown(self) -> list[Shown]:
        """Return all messages that the tenant shows now: the truth that a reader must arrive at."""
        now = self.clock()
        with self._lock:
            if self._now[0] != now:
                kept = [m for m in self._messages.values() if m.log_start >= now - self.retention]
                pairs = [(m, m.at(now)) for m in kept]
                self._now = (now, [Shown(m, phase) for m, phase in pairs if phase is not None])
            return self._now[1]

    def grant(self) -> str:
        """Give out a bearer token."""
        with self._lock:
            token = f"sandbox-token-{next(self._serial)}"
            self._tokens[token] = self.clock() + TOKEN_LIFE
        return token

    def knows(self, token: str) -> bool:
        """Tell whether a token is valid now."""
        with self._lock:
            return self._tokens.get(token, _EPOCH) > self.clock()

    def throttles(self) -> bool:
        """Count a request; tell whether it is one too many."""
        with self._lock:
            self.requests += 1
            second = self.clock().replace(microsecond=0)
            n = self._second[1] + 1 if self._second[0] == second else 1
            self._second = (second, n)
            return self.requests_per_s is not None and n > self.requests_per_s

    def find(self, conditions: str, order: str) -> list[Shown]:
        """Return what a query finds, in its order; raise ValueError where it is refused."""
        question = (conditions, order, self.clock())
        if self._found[0] == question:
            return self._found[1]
        found = self.shown()
        for test in _tests(conditions):
            found = list(filter(test, found))
        if order:
            name, _, direction = order.partition(" ")
            if name not in FILTERABLE or direction not in ("", "asc", "desc"):
                raise ValueError("Invalid order by expression")
            value = FILTERABLE[name]
            found.sort(key=lambda s: (value(s) or _EPOCH, s.message.guid))
            if direction == "desc":
                found.reverse()
        self._found = (question, found)
        return found

    def page(self, root: str, query: dict[str, str]) -> dict[str, Any]:
        """Return one page in the vendor's shape; raise ValueError where the query is refused."""
        found = self.find(query.get("$filter", ""), query.get("$orderby", ""))
        top = int(query.get("$top", len(found)))
        skip, skipped = int(query.get("$skip", 0)), 0
        if token := query.get("$skiptoken"):
            offset, _, generation = token.partition("-")
            if generation != str(self._generation):
                raise ValueError("Invalid value for $skiptoken")
            skipped = int(offset)
        wanted = found[skip : skip + top]
        shown = wanted[skipped : skipped + self.page_rows]
        expanded = "CustomHeaderProperties" in query.get("$expand", "")
        page: dict[str, Any] = {"results": [s.row(root, expanded=expanded) for s in shown]}
        if query.get("$inlinecount") == "allpages":
            page["__count"] = str(len(found))
        if skipped + self.page_rows < len(wanted):
            following = {**query, "$skiptoken": f"{skipped + self.page_rows}-{self._generation}"}
            link = f"MessageProcessingLogs?{urlencode(following, safe='$', quote_via=quote)}"
            page["__next"] = link if self.relative_links else f"{root}/{link}"
        return page


def _tests(conditions: str) -> list[Callable[[Shown], bool]]:
    return [_test(part) for part in re.split(r" and (?=\w+ \w\w )", conditions) if part]


def _test(condition: str) -> Callable[[Shown], bool]:
    match = _COMPARISON.fullmatch(condition)
    if match is None or match[1] not in FILTERABLE:
        raise ValueError("Invalid filter expression")
    name, compare, wanted = match[1], _OPERATORS[match[2]], _literal(match[3])
    if isinstance(wanted, datetime) is not name.startswith("Log"):
        raise ValueError(f"Invalid literal for property {name}")
    value = FILTERABLE[name]
    return lambda shown: compare(value(shown), wanted)


def _literal(text: str) -> datetime | str:
    if not text.startswith("datetime"):
        return text[1:-1].replace("''", "'")
    match = _LITERAL.fullmatch(text)
    if match is None:  # a Z, an offset, or no time: time-zone text is not parsed
        raise ValueError("Invalid datetime literal")
    return datetime.fromisoformat(match[1]).replace(tzinfo=UTC)


def _date(instant: datetime | None) -> str | None:
    return None if instant is None else f"/Date({(instant - _EPOCH) // timedelta(milliseconds=1)})/"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    tenant: Tenant

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    @override
    def date_time_string(self, timestamp: float | None = None) -> str:
        return f"{self.tenant.clock():%a, %d %b %Y %H:%M:%S} GMT"

    def do_POST(self) -> None:
        """Answer at the token endpoint."""
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        given = self.headers.get("Authorization", "")
        known = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if self.path != "/oauth/token":
            self._refuse(HTTPStatus.NOT_FOUND, "Not Found", "no such address")
        elif self._troubled(self.tenant.trouble(), {}):
            pass
        elif given != f"Basic {known}" or form.get("grant_type") != ["client_credentials"]:
            self._json({"error": "unauthorized"}, HTTPStatus.UNAUTHORIZED)
        else:
            token, life = self.tenant.grant(), int(TOKEN_LIFE.total_seconds())
            self._json({"access_token": token, "token_type": "bearer", "expires_in": life})

    def do_GET(self) -> None:
        """Answer with a page or with one message."""
        if self.tenant.throttles():
            self._troubled(Trouble.THROTTLED, {})
            return
        trouble = self.tenant.trouble()
        if trouble is Trouble.RESTART:
            self.tenant.restart()
        elif trouble is Trouble.TOKEN_REVOKED:
            self.tenant.revoke()
        if not self.tenant.knows(self.headers.get("Authorization", "").removeprefix("Bearer ")):
            self._refuse(HTTPStatus.UNAUTHORIZED, "Unauthorized", "invalid or missing token")
            return
        try:
            answer = self._answer()
        except ValueError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, "Bad Request", str(error))
            return
        if answer is None:
            self._refuse(HTTPStatus.NOT_FOUND, "Not Found", "Requested entity could not be found")
        elif not self._troubled(trouble, answer):
            self._json({"d": answer})

    def _answer(self) -> dict[str, Any] | None:
        """Return a page or a message; None where there is none. Raise ValueError to refuse."""
        parts = urlsplit(self.path)
        pairs = (pair.partition("=") for pair in parts.query.split("&"))
        query = {unquote(name): unquote(value) for name, _, value in pairs}
        root = f"http://{self.headers['Host']}/api/v1"
        entity = _ENTITY.fullmatch(unquote(parts.path))
        if entity is not None:
            return self._one(entity[1].replace("''", "'"), root, query)
        return self.tenant.page(root, query) if parts.path == _RESOURCE else None

    def _one(self, guid: str, root: str, query: dict[str, str]) -> dict[str, Any] | None:
        expanded = "CustomHeaderProperties" in query.get("$expand", "")
        found = [s for s in self.tenant.shown() if s.message.guid == guid]
        return found[0].row(root, expanded=expanded) if found else None

    def _troubled(self, trouble: Trouble | None, answer: dict[str, Any]) -> bool:
        """Make the trouble; tell whether it is the answer."""
        whole = msgspec.json.encode({"d": answer})
        match trouble:
            case Trouble.THROTTLED:
                self._send(b"", HTTPStatus.TOO_MANY_REQUESTS, [("Retry-After", "1")])
            case Trouble.UNAVAILABLE:
                self._send(b"<html>no upstream</html>", HTTPStatus.SERVICE_UNAVAILABLE)
            case Trouble.RESET:
                self._send(whole, HTTPStatus.OK, cut=len(whole) // 2)
            case Trouble.CUT:
                self._send(whole[: len(whole) // 2], HTTPStatus.OK)
            case Trouble.LOGIN_PAGE:
                self._send(b"<html>Sign in</html>", HTTPStatus.OK)
            case Trouble.ROW_LOST if answer.get("results"):
                answer["results"].pop()
                return False
            case _:
                return False
        return True

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        value = {"lang": "en", "value": message}
        self._json({"error": {"code": code, "message": value}}, status)

    def _json(self, document: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(msgspec.json.encode(document), status, [("Content-Type", "application/json")])

    def _send(
        self,
        body: bytes,
        status: HTTPStatus,
        headers: Iterable[tuple[str, str]] = (),
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:cut])
        self.wfile.flush()
        if cut is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


class Sandbox:
    """Serves a tenant on the loopback interface while it is entered; port 0 is any free one."""

    def __init__(self, tenant: Tenant, port: int = 0) -> None:
        self.tenant = tenant
        handler = type("Handler", (_Handler,), {"tenant": tenant})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        root = f"http://127.0.0.1:{self._server.server_port}"
        self.base_url, self.token_url = f"{root}/api/v1", f"{root}/oauth/token"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
