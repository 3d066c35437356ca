"""The coverage certificate: all that is known of how completely streams were seen, under one hash.

It is a function of the facts known at K and of what was asked: the same question gives the same bytes, and so
the same hash, on any later day. Canonical JSON is that of RFC 8785; the hash is the SHA-256 of those bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from collector.pipeline.completeness import Coverage, Gap, known_coverage, never_read
from collector.pipeline.ledger import Ledger, Window, ledgers
from collector.store import totals
from collector.store.ingest import Connection
from collector.store.numbers import Hole
from collector.store.sweeps import LastSweep
from collector.store.totals import Totals

FORMAT = 1
"""Told by each certificate, so that one that is written otherwise later can be told from it."""

# As for the dump: keys are ASCII words and numbers integers below 2^53, for which this is RFC 8785.
_canonical = msgspec.json.Encoder(order="sorted").encode


class Asked(msgspec.Struct, frozen=True):
    """What a certificate is about: [since, until) of one entity or all, by at least a grade, as known at K.

    Without `since` it is everything up to `until`.
    """

    since: datetime | None
    until: datetime
    as_known: datetime
    entity: str | None = None
    least_grade: str = "C"


class Stated(msgspec.Struct, frozen=True):
    """What the source states itself: of how many of its parts, by the weakest grade, how many records."""

    parts: int
    grade: str
    records: int | None


class Stream(msgspec.Struct, frozen=True):
    """One stream in a certificate. `kept_until`: what is not read by then the source no longer has.

    `totals` are those of all that was read, by whatever day; None where nothing was. `ledger` has the lines of
    the days that were asked for, `swept` what its last sweep concluded; None where none were. `quarantined` counts records by reason.
    """

    stream: str
    grade: str
    covers_from: datetime | None
    watermark: datetime | None
    declared_by: str | None
    declared: int | None
    kept_until: datetime | None
    totals: dict[str, Any] | None
    stated: Stated | None
    quarantined: dict[str, int]
    missing_numbers: list[Hole]
    swept: LastSweep | None
    gaps: list[Gap]
    ledger: dict[str, Any] | None


class Certificate(msgspec.Struct, frozen=True):
    """What was seen of streams, by the weakest grade among them. `complete`: there is no gap."""

    format: int
    asked: Asked
    grade: str
    complete: bool
    streams: list[Stream]


class Sealed(NamedTuple):
    """A certificate as canonical JSON, and the SHA-256 of that."""

    hash: str
    body: str


def certificate(
    asked: Asked,
    streams: Iterable[Coverage],
    ledgers: Mapping[str, Ledger] | None = None,
) -> Certificate:
    """State what is known of streams."""
    shown = [
        _stream(asked, of, (ledgers or {}).get(of.stream))
        for of in sorted(streams, key=lambda of: of.stream)
    ]
    return Certificate(
        FORMAT,
        msgspec.structs.replace(
            asked, since=_utc(asked.since), until=_utc(asked.until), as_known=_utc(asked.as_known)
        ),
        max((s.grade for s in shown), default="D"),
        bool(shown) and not any(s.gaps for s in shown),
        shown,
    )


async def issue(
    conn: Connection, streams: Sequence[str], window: Window, as_known: datetime
) -> Sealed:
    """Certify the days of a window of some streams (`source/stream`), by the configuration in force at K."""
    asked = asked_of(window, as_known)
    in_force = await totals.configuration(conn, as_known)
    covered = {} if in_force is None else await known_coverage(conn, in_force, as_known)
    known = {of.stream: of for of in covered.values()}
    laid_out = await ledgers(conn, streams, window, as_known)
    return seal(
        certificate(
            asked,
            [known.get(name) or never_read(name) for name in streams],
            {ledger.stream: ledger for ledger in laid_out},
        )
    )


def asked_of(window: Window, as_known: datetime) -> Asked:
    """Return what a window of days asks for: from the first instant of the first one on (UTC)."""
    since, until = (datetime.combine(d, time(), UTC) for d in (window.start, window.end))
    return Asked(since, until, as_known, window.entity)


def seal(of: Certificate) -> Sealed:
    """Write a certificate as canonical JSON, and hash it."""
    body = _canonical(of)
    return Sealed(sha256(body).hexdigest(), body.decode())


def is_genuine(sealed: Sealed) -> bool:
    """Tell whether a certificate is what its hash says, in canonical form."""
    return sha256(sealed.body.encode()).hexdigest() == sealed.hash


def _stream(asked: Asked, of: Coverage, ledger: Ledger | None) -> Stream:
    held = of.totals
    return Stream(
        of.stream,
        of.grade,
        _utc(of.covers_from),
        _utc(of.watermark),
        of.declared_by or None,
        of.declared_records,
        _utc(of.kept_until),
        None if held is None else _totals(held),
        None if held is None or not held.trailers.parts else _stated(held),
        {} if held is None else held.reasons,
        of.missing_numbers,
        of.sweep,
        of.gaps_at(asked.until, asked.least_grade, asked.since),
        None if ledger is None else ledger.document(),
    )


_TOTALS = ("read", "accepted", "duplicate", "ignored", "quarantined", "waived", "events", "parts")


def _totals(held: Totals) -> dict[str, Any]:
    counts = {name: getattr(held, name) for name in _TOTALS}
    return {**counts, "amounts": held.amounts, "hash_total": held.hash_total}


def _stated(held: Totals) -> Stated:
    of = held.trailers
    return Stated(of.parts, of.grade, of.records)


def _utc(instant: Any) -> Any:  # noqa: ANN401 -- None stays None
    return None if instant is None else instant.astimezone(UTC)
