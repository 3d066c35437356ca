"""The `sap_cloud_integration` connector: the message processing logs of a tenant.

A log is one run of an integration flow. What ended is read by the time at which it ended, in windows
small enough to be one chunk, each held against the number that the source itself states: a window
is delivered whole, or what it lacks is a gap with its number. What has not ended (PROCESSING, RETRY,
ABANDONED) has no such time: it is found by status and start, watched, and read by its key once it is
no longer listed.

Cursor: `front` (how far was asked, see `connectors.kit.windows`), `watched` (what has not ended, with
a fingerprint of what was delivered of it), `gaps`, and `records` delivered so far. A chunk's cursor
lies behind whole windows, so that after `kill -9` the last window is read again; the store knows
what it has.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- the type; tests inject a seeded one
from typing import Final, NamedTuple

import msgspec

from collector.clock import Clock, now
from collector.connector import (
    CHUNK_RECORDS_MAX,
    Body,
    Chunk,
    Cursor,
    End,
    Ending,
    Part,
    Record,
    Redelivers,
    Spec,
    Stated,
)
from collector.errors import Permanent
from collector.http import Http, NotFound, NotPermitted, Rejected
from connectors.kit import odata
from connectors.kit.oauth import BearerHttp, Client
from connectors.kit.odata import Row
from connectors.kit.windows import SECOND, Front, Window, in_words, whole_second
from connectors.sap_cloud_integration import wire
from connectors.sap_cloud_integration.options import MessagesOptions

ASKS_MAX: Final = 3
"""How often a window is asked for that gives fewer messages than it counts: it may have changed."""

WATCHED_MAX: Final = 1_000
"""Messages of one status that are watched until they end: each stands in the cursor."""

WINDOW_MAX: Final = timedelta(days=1)
SECOND_RECORDS_MAX: Final = 100_000
"""Messages that ended within one second, which cannot be divided: they are held in memory."""

GAPS_MAX: Final = 100
SENTENCES_MAX: Final = 5
PAUSE_S: Final = 60.0
"""The API is limited to 100 requests a second and user, and each pass takes at least six."""


class Gap(msgspec.Struct, frozen=True):
    """Messages that ended in a window and were not read; `missing` is None where nobody knows how many."""

    window: Window
    missing: int | None


class State(msgspec.Struct):
    """What the cursor holds."""

    front: Front
    records: int = 0
    watched: dict[str, str] = {}
    gaps: list[Gap] = []


class Answer(NamedTuple):
    """The messages of an answer by their key, and how many the source says there are."""

    stated: int
    rows: dict[str, Row]

    @property
    def missing(self) -> int:
        """How many messages the source counts and does not give."""
        return max(self.stated - len(self.rows), 0)


class MessagesReader:
    """The messages of one tenant: a stream of one part."""

    def __init__(
        self,
        options: MessagesOptions,
        *,
        clock: Clock = now,
        random: Random | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._options = options
        self._clock = clock
        self._random = random
        self._sleep = sleep

    def parts(self, known: Mapping[str, Cursor]) -> list[Part]:  # noqa: ARG002 -- there is always the one
        """List the one part, named by the tenant's address."""
        return [Part(self._options.base_url, self._options.base_url)]

    def read(self, part: Part, cursor: Cursor | None) -> Iterator[Chunk]:  # noqa: ARG002 -- there is one
        """Read on to the present; raise as `collector.http` says where the tenant cannot be read."""
        options = self._options
        state = None if cursor is None else msgspec.convert(cursor, State)
        client = Client(options.token_url, options.client_id, options.client_secret)
        with self._http(options.base_url) as http, self._http(options.token_url) as issuer:
            bearer = BearerHttp(http, issuer, client, self._clock)
            try:
                present = source_time(bearer, self._clock)
                yield from Pass(options, bearer, present, state).chunks()
            except NotPermitted as error:
                raise NotPermitted(
                    f"{error} The role template is MonitoringDataRead.", detail=error.detail
                ) from None

    def _http(self, url: str) -> Http:
        base = url if url.endswith("/") else f"{url}/"
        return Http(base, clock=self._clock, random=self._random, sleep=self._sleep)


class Pass:
    """One reading from a cursor to the present."""

    def __init__(
        self, options: MessagesOptions, http: BearerHttp, present: datetime, state: State | None
    ) -> None:
        self._options = options
        self._http = http
        self._now = present
        self._quiet = present - options.overlap
        self._kept_from = present - options.retention
        self._state = self._begun(state)
        self._width = WINDOW_MAX
        self._unread = 0
        self._remarks: list[str] = []

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks up to the present; the last one carries the end and no records."""
        yield from self._short_windows()
        while (due := self._state.front.due(self._now, self._quiet)) is not None:
            yield from self._ended_in(due.first(self._width))
        yield from self._not_ended()
        yield self._last()

    def _begun(self, state: State | None) -> State:
        """Return where to go on; what the tenant has dropped meanwhile is a gap."""
        start = None if self._options.start is None else whole_second(self._options.start)
        if state is None:
            since = start or self._kept_from
            state = State(Front(since, since, since))
        elif start is not None and start != state.front.since:
            state.front = state.front.starting(start)
        front = state.front
        state.gaps = [gap for gap in state.gaps if gap.window.end > front.since]
        if front.settled < self._kept_from:
            self._add_gap(state, Gap(Window(front.settled, self._kept_from), None))
            asked = max(front.asked, self._kept_from)
            state.front = Front(front.since, self._kept_from, asked)
        return state

    # ------------------------------------------------------------------------------ what ended

    def _ended_in(self, window: Window) -> Iterator[Chunk]:
        """Read a window, unless it holds too much: then the next one is half as wide."""
        divisible = window.end - window.start > SECOND
        most = CHUNK_RECORDS_MAX if divisible else SECOND_RECORDS_MAX
        answer = self._ask(wire.ended_in(window), most)
        if answer.stated > most:
            if not divisible:
                raise Permanent(
                    f"{answer.stated:,} messages ended at {window.start:%Y-%m-%d %H:%M:%S} UTC, more"
                    f" than the {SECOND_RECORDS_MAX:,} of one second that can be read."
                )
            self._width = max(whole_seconds((window.end - window.start) / 2), SECOND)
            return
        if answer.stated <= CHUNK_RECORDS_MAX // 2:
            self._width = min(self._width * 2, WINDOW_MAX)
        if answer.missing and window.end <= self._quiet:
            self._add_gap(self._state, Gap(window, answer.missing))
        elif answer.missing:  # it is asked for again when it is quiet
            self._unread += answer.missing
            self._remarks.append(_short(window, answer.missing))
        yield from self._window_chunks(
            window, answer, self._state.front.behind(window, self._quiet)
        )

    def _window_chunks(self, window: Window, answer: Answer, front: Front) -> Iterator[Chunk]:
        """Yield a window's messages; only the last chunk's cursor lies behind the window."""
        bodies = [wire.body_of(row) for row in answer.rows.values()]
        whole = max((len(bodies) - 1) // CHUNK_RECORDS_MAX, 0) * CHUNK_RECORDS_MAX
        for i in range(0, whole, CHUNK_RECORDS_MAX):
            yield self._chunk(bodies[i : i + CHUNK_RECORDS_MAX])
        for guid, row in answer.rows.items():
            if row.get("Status") not in wire.NOT_FINAL:
                self._state.watched.pop(guid, None)
        self._state.front = front
        if bodies:
            stated = Stated("B", f"messages that ended from {_span(window)}", answer.stated)
            yield self._chunk(bodies[whole:], stated)

    def _short_windows(self) -> Iterator[Chunk]:
        """Ask again for windows that gave less than they should have."""
        for gap in list(self._state.gaps):
            if gap.missing is None or gap.window.start < self._kept_from:
                continue
            answer = self._ask(wire.ended_in(gap.window), SECOND_RECORDS_MAX)
            self._state.gaps.remove(gap)
            if answer.missing:
                self._state.gaps.append(Gap(gap.window, answer.missing))
            yield from self._window_chunks(gap.window, answer, self._state.front)

    def _add_gap(self, state: State, gap: Gap) -> None:
        if len(state.gaps) == GAPS_MAX:
            raise Permanent(
                f"{GAPS_MAX} windows gave fewer messages than they count, the last from"
                f" {_span(gap.window)}: reading stops here. Ask SAP why, and set `start` behind them"
                " if what is missing is not needed."
            )
        state.gaps.append(gap)

    # ------------------------------------------------------------------------------ what did not

    def _not_ended(self) -> Iterator[Chunk]:
        """Deliver what has not ended, where it changed; and how those ended that are not listed now."""
        state, found = self._state, self._listed()
        changed = {g: b for g, b in found.items() if state.watched.get(g) != wire.fingerprint(b)}
        for guid in [guid for guid in state.watched if guid not in found]:
            body = self._by_key(guid)
            if body is not None:
                changed[guid] = body
                if body.get("Status") in wire.NOT_FINAL:
                    found[guid] = body
        most = WATCHED_MAX * len(wire.NOT_FINAL)
        state.watched = {guid: wire.fingerprint(found[guid]) for guid in list(found)[:most]}
        if changed:
            yield self._chunk(list(changed.values()))

    def _listed(self) -> dict[str, Body]:
        """Return what has not ended, by key, the oldest of each status."""
        since = Window(self._state.front.since, self._now)
        found: dict[str, Body] = {}
        for status in wire.NOT_FINAL:
            answer = self._ask(wire.not_ended(status, since), WATCHED_MAX)
            rows = dict(list(answer.rows.items())[:WATCHED_MAX])
            found |= {guid: wire.body_of(row) for guid, row in rows.items()}
            if answer.stated > WATCHED_MAX:
                self._remarks.append(
                    f"{answer.stated:,} messages are {status}: only the oldest {len(rows):,} are"
                    " watched until they end. Have them cleared or cancelled."
                )
            elif answer.missing:
                self._unread += answer.missing
                self._remarks.append(
                    f"Of the messages that are {status} the source counts {answer.missing} more than"
                    " it gives; it is asked again with the next pass."
                )
        return found

    def _by_key(self, guid: str) -> Body | None:
        """Return a message that was watched; None where the tenant no longer has it."""
        try:
            return wire.body_of(self._http.get(wire.message(guid), odata.decode_single))
        except NotFound:
            self._remarks.append(
                f"Message {guid} had not ended when it was last seen, and the tenant no longer has it:"
                " how it ended is not known."
            )
            return None

    # ------------------------------------------------------------------------------ common

    def _ask(self, url: str, most: int) -> Answer:
        """Ask until there are as many messages as the source counts, a few times.

        Where it counts more than `most`, the answer holds the first page only.
        """
        asked = 0
        while True:
            asked += 1
            try:
                answer = self._walk(url, most)
            except Rejected:  # it may have forgotten, meanwhile, the page that it led us to
                if asked == ASKS_MAX:
                    raise
            else:
                if not answer.missing or answer.stated > most or asked == ASKS_MAX:
                    return answer

    def _walk(self, url: str, most: int) -> Answer:
        rows: dict[str, Row] = {}
        stated = 0
        for page in odata.pages(lambda link: self._page(link, first=link == url), url):
            stated = stated or wire.counted(page)
            for row in page.results:
                rows[str(row.get("MessageGuid") or f"#{len(rows)}")] = row
            if stated > most:
                break
        return Answer(stated, rows)

    def _page(self, link: str, *, first: bool) -> odata.Page:
        return self._http.get(link, wire.decode_counted if first else odata.decode_page)

    def _chunk(self, bodies: list[Body], stated: Stated | None = None) -> Chunk:
        state = self._state
        records = [Record(state.records + n, body) for n, body in enumerate(bodies, 1)]
        state.records += len(records)
        return Chunk(records, msgspec.to_builtins(state), stated=stated)

    def _last(self) -> Chunk:
        front, options = self._state.front, self._options
        kept_until = front.settled + options.retention
        stated = Stated(
            "B",
            "messages by the time at which they ended, as the source counts them",
            covers=(front.since, front.settled),
            kept_until=kept_until,
        )
        sentences = [*map(self._sentence, self._state.gaps), *self._remarks]
        more = len(sentences) - SENTENCES_MAX
        shown = sentences[:SENTENCES_MAX] + ([f"And {more} more."] if more > 0 else [])
        sizes = [gap.missing for gap in self._state.gaps]
        end = End(
            Ending.OPEN,
            None if None in sizes else self._unread + sum(filter(None, sizes)),
            " ".join(shown),
            {"time to data loss": in_words(kept_until - self._now)},
        )
        return Chunk([], msgspec.to_builtins(self._state), end, stated)

    def _sentence(self, gap: Gap) -> str:
        if gap.missing is None:
            return (
                f"What ended from {_span(gap.window)} was not read in time: the tenant keeps"
                f" {self._options.retention_days} days, so it is lost here. If it is not needed, set"
                f" `start: {gap.window.end.isoformat()}`."
            )
        return _short(gap.window, gap.missing)


def source_time(http: BearerHttp, clock: Clock) -> datetime:
    """Return the earlier of both clocks: what the source has not dated yet cannot be asked for."""
    http.get(odata.query(wire.RESOURCE, top="1"), odata.decode_page)
    return whole_second(min(filter(None, (clock(), http.server_time))))


def whole_seconds(span: timedelta) -> timedelta:
    """Return a span without its fraction of a second."""
    return timedelta(seconds=span // SECOND)


def _short(window: Window, missing: int) -> str:
    return (
        f"Of what ended from {_span(window)} the source counts {missing} more messages than it gives;"
        " it is asked again."
    )


def _span(window: Window) -> str:
    return f"{window.start:%Y-%m-%d %H:%M:%S} to {window.end:%Y-%m-%d %H:%M:%S} UTC"


def open_messages(options: MessagesOptions, folder: Path) -> MessagesReader:  # noqa: ARG001 -- no paths
    """Open the stream of a tenant's messages; asks nobody anything yet."""
    return MessagesReader(options)


SPEC: Final = Spec(
    name="sap_cloud_integration",
    title="SAP Cloud Integration: message processing logs",
    options=MessagesOptions,
    open=open_messages,
    redelivers=Redelivers.OVERLAP,
    pause_s=PAUSE_S,
)
