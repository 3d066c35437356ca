"""What is known to be complete, until when, on whose word; and what is known to be missing.

Grades (`core.md` 16): A proved by something independent of the extract, B stated by the source's own
interface, C declared by a named person, D nobody says anything. A file proves nothing after its last
record unless somebody says up to when it is complete: totals that the source states of every part, and
that agree with what was read, lift the grade of a declaration, and reach no further than it. A source
that says itself how far it was read is taken at its word, before what a person declares.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from collector.model.number import void as read_void
from collector.model.words import counted
from collector.store import numbers, sweeps, totals
from collector.store.ingest import Connection
from collector.store.numbers import Hole
from collector.store.sweeps import LastSweep
from collector.store.totals import Totals

HOLES_NAMED_MAX = 20


class Gap(msgspec.Struct, frozen=True):
    """Something that we know we did not see. `records` is None where nobody knows how many.

    `what` is UNREAD, SURPLUS, DIFFERS, BROKEN, QUARANTINED, NOT_COVERED, UNDECLARED, NEVER_READ or
    MISSING_NUMBERS. `amounts` is what it comes to in money, minor units by currency, where that follows from totals; else None.
    """

    stream: str
    what: str
    records: int | None
    grade: str
    sentence: str
    amounts: dict[str, int] | None = None


class Coverage(msgspec.Struct, frozen=True):
    """How completely a stream is known: from, until (the watermark), by whom, and its gaps.

    `gaps` are those that hold whatever time is asked for; `gaps_at` adds those of a time. Unless it
    is read again before `kept_until`, the source will have lost what follows; None where nobody says that it
    forgets anything.
    """

    stream: str
    grade: str
    covers_from: datetime | None
    watermark: datetime | None
    declared_by: str
    declared_records: int | None
    totals: Totals | None
    gaps: list[Gap]
    kept_until: datetime | None = None
    missing_numbers: list[Hole] = []
    sweep: LastSweep | None = None

    def gaps_at(
        self, until: datetime, least_grade: str = "C", since: datetime | None = None
    ) -> list[Gap]:
        """List why the stream is not known to be complete up to an instant; empty where it is.

        With `since`, it must be complete from then on: what is absent may lie before the declared time.
        """
        gaps = list(self.gaps)
        if self.watermark is None or self.grade > least_grade:
            needed = "nobody says up to when it is complete"
            if self.watermark is not None:
                needed = (
                    f"its completeness is of grade {self.grade}, and {least_grade} is asked for"
                )
            gaps.append(self._gap("UNDECLARED", f"{self.stream}: {needed}."))
        elif self.watermark < until:
            gaps.append(
                self._gap(
                    "NOT_COVERED",
                    f"{self.stream} is complete only up to {self.watermark.isoformat()}, "
                    f"not to {until.isoformat()}.",
                )
            )
        if since is not None and self.covers_from is not None and since < self.covers_from:
            gaps.append(
                self._gap(
                    "NOT_COVERED",
                    f"{self.stream} is complete only from {self.covers_from.isoformat()} on, "
                    f"not from {since.isoformat()}.",
                )
            )
        return gaps

    def _gap(self, what: str, sentence: str) -> Gap:
        return Gap(self.stream, what, None, self.grade, sentence)


def status_time(streams: Iterable[Coverage], now: datetime, lag_max: timedelta) -> datetime:
    """Return the latest instant up to which all streams are known; never one after `now`.

    Nor one before `now - lag_max`: what has fallen behind further is a gap then, and does not let the
    answer grow old in silence. A stream of which nobody says up to when it is known is a gap at any
    time, and holds nothing back.
    """
    known = min((s.watermark for s in streams if s.watermark is not None), default=now)
    return max(min(known, now), now - lag_max)


async def known_coverage(
    conn: Connection, configuration: dict[str, Any], as_known: datetime
) -> dict[tuple[str, str], Coverage]:
    """Return how completely each configured stream was known at K, its number ranges included."""
    ranges = {
        f"{source_id}/{stream_id}": number_range["first"]
        for source_id, source in configuration["sources"].items()
        for stream_id, stream in source["streams"].items()
        if (number_range := stream["mapping"].get("number_range")) is not None
    }
    covered = coverage(
        configuration,
        await totals.totals(conn, as_known),
        await numbers.holes(conn, as_known, ranges),
    )
    swept = await sweeps.last(conn, as_known)
    return {
        stream: msgspec.structs.replace(of, sweep=swept.get(stream))
        for stream, of in covered.items()
    }


def coverage(
    configuration: dict[str, Any],
    totals: Mapping[tuple[str, str], Totals],
    holes: Mapping[str, Sequence[Hole]] | None = None,
) -> dict[tuple[str, str], Coverage]:
    """Hold what is declared of each configured stream against what the store knows of it."""
    return {
        (source_id, stream_id): _of_stream(
            f"{source_id}/{stream_id}",
            stream,
            totals.get((source_id, stream_id)),
            (holes or {}).get(f"{source_id}/{stream_id}", ()),
        )
        for source_id, source in configuration["sources"].items()
        for stream_id, stream in source["streams"].items()
    }


def _of_stream(
    name: str, stream: dict[str, Any], totals: Totals | None, holes: Sequence[Hole]
) -> Coverage:
    declared, retained_days = stream.get("complete"), stream.get("retained_days")
    grade = _grade(totals) if declared else "D"
    start, end = map(datetime.fromisoformat, declared["covers"]) if declared else (None, None)
    records = declared["records"] if declared else None
    missing = not_void(holes, declared.get("void", ()) if declared else ())
    there_are_more = len(holes) >= numbers.HOLES_MAX
    reach = totals.reach if totals is not None else None
    if reach is not None:
        grade, start, end = reach.grade, reach.since, reach.until
    return Coverage(
        name,
        grade,
        start,
        end,
        declared["by"] if declared else "",
        records,
        totals,
        _gaps(name, grade, records, totals)
        + _gap_in_numbers(name, grade, missing, there_are_more=there_are_more),
        _kept_until(totals, retained_days),
        missing,
    )


def never_read(stream: str) -> Coverage:
    """Return what is known of a stream of which the store knows nothing."""
    gap = Gap(stream, "NEVER_READ", None, "D", f"{stream} was never read.")
    return Coverage(stream, "D", None, None, "", None, None, [gap])


def not_void(holes: Iterable[Hole], void: Iterable[str]) -> list[Hole]:
    """Return what is left of holes without the numbers that are declared to be void."""
    left = list(holes)
    for name, first, last in map(read_void, void):
        left = [
            part
            for hole in left
            for part in (hole.without(first, last) if hole.range == name else (hole,))
        ]
    return left


def _gap_in_numbers(
    name: str, grade: str, missing: Sequence[Hole], *, there_are_more: bool
) -> list[Gap]:
    """Name the holes; where there are more than were looked at, nobody knows how many numbers are missing."""
    if not missing and not there_are_more:
        return []
    size = sum(hole.size for hole in missing)
    least = "at least " * there_are_more
    named = ", ".join(map(str, missing[:HOLES_NAMED_MAX]))
    if len(missing) > HOLES_NAMED_MAX:
        named += f", and {len(missing) - HOLES_NAMED_MAX:,} more holes"
    sentence = f"{name} lacks {least}{counted(size, 'number')} of its range: {named}."
    return [Gap(name, "MISSING_NUMBERS", None if there_are_more else size, grade, sentence)]


def _kept_until(totals: Totals | None, retained_days: int | None) -> datetime | None:
    """Say by when the source loses what was not read: by its own word, else by the stream's setting."""
    if totals is None:
        return None
    reach = totals.reach
    if reach is not None and reach.kept_until is not None:
        return reach.kept_until
    read_until = reach.until if reach is not None else totals.last_read
    if retained_days is None or read_until is None:
        return None
    return read_until + timedelta(days=retained_days)


def _grade(totals: Totals | None) -> str:
    """Return the grade of what a person declares and the source's own totals may prove."""
    if totals is None or not totals.parts:
        return "C"
    stated = totals.trailers
    return stated.grade if stated.parts == totals.parts and not stated.differing else "C"


def _gaps(name: str, grade: str, declared: int | None, totals: Totals | None) -> list[Gap]:
    if totals is None or totals.parts == 0:
        return [Gap(name, "NEVER_READ", declared, grade, f"{name} was never read to its end.")]
    gaps = [
        Gap(
            name,
            "BROKEN",
            broken.unread,
            grade,
            broken.remark or f"{broken.part} was not read whole.",
        )
        for broken in totals.broken
    ]
    gaps += [
        Gap(
            name,
            "DIFFERS",
            abs(part.missing) if part.missing else None,
            grade,
            part.difference,
            None if part.quarantined else part.missing_amounts,
        )
        for part in totals.trailers.differing
    ]
    if totals.quarantined:
        gaps.append(
            Gap(
                name,
                "QUARANTINED",
                totals.quarantined,
                grade,
                f"{counted(totals.quarantined, 'record')} of {name} quarantined: see `tieout quarantine list`.",
                _amounts_quarantined(totals),
            )
        )
    if declared is not None and totals.known != declared:
        missing = declared - totals.known
        what, word = ("UNREAD", "fewer") if missing > 0 else ("SURPLUS", "more")
        gaps.append(
            Gap(
                name,
                what,
                abs(missing),
                grade,
                f"{name} holds {counted(totals.known, 'record')}, {abs(missing)} {word} than the {declared} declared.",
            )
        )
    return gaps


def _amounts_quarantined(totals: Totals) -> dict[str, int] | None:
    """Return what the quarantined records come to: what their parts state, less what came in of these.

    That follows only where each of them is in a part that states amounts, and nothing else lacks there.
    """
    parts = [s for s in totals.trailers.statements if s.quarantined]
    if sum(s.quarantined for s in parts) != totals.quarantined:
        return None
    amounts: Counter[str] = Counter()
    for part in parts:
        if part.missing or part.missing_amounts is None:
            return None
        amounts.update(part.missing_amounts)
    return dict(amounts)
