"""The facts of `control_checks.cases`, committed without a file to read them from."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby

from collector.clock import Clock
from collector.model.event import Event
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.publish import publish
from collector.settings.load import Configuration
from collector.store import ingest, streams
from collector.store.snapshots import Whole
from control_checks.cases import STREAM, Fact
from tests.support.store import at

MOST = 20
"""How many documents may hold a key."""


async def begin(conn: ingest.Connection, settings: Configuration, clock: Clock) -> None:
    """Publish a configuration, and read every source once while it holds nothing."""
    await publish(conn, settings, clock)
    for source in settings.settings.sources:
        await tell(conn, source, [], clock)


async def tell(
    conn: ingest.Connection,
    source: str,
    events: Sequence[Event],
    clock: Clock,
    most: int = MOST,
    *,
    whole: bool = False,
) -> None:
    """Commit events as one batch that a source's stream was read to its end in; perhaps a `whole` list."""
    stream = await streams.register(conn, source, STREAM, source)
    row = ingest.BatchRow(
        0, stream, None, source, "m", None, None, read=len(events), ending="intact"
    )
    batch = batch_of(row, list(events))
    if whole:
        batch.whole = Whole(events[0].event_id, events[0].month, len(events))
    await commit(conn, batch, lambda _kind: most, clock)


async def tell_in_turn(
    conn: ingest.Connection, settings: Configuration, facts: Iterable[Fact], most: int = MOST
) -> None:
    """Begin the day before the first, then commit facts in the order in which they became known."""
    listed = sorted(facts, key=lambda fact: (fact.known_at, fact.stream))
    await begin(conn, settings, at(listed[0].known_at - timedelta(days=1)))
    for (known_at, source), together in groupby(listed, lambda f: (f.known_at, f.stream)):
        rows = list(together)
        whole = all(fact.of_whole_list for fact in rows)
        await tell(conn, source, [fact.event for fact in rows], at(known_at), most, whole=whole)
