"""Keep what a run of the present left open, in the transaction that keeps the run."""

from collections.abc import Collection

import msgspec

from collector.model.control import Run
from collector.settings.definitions import Control
from collector.store import alerts
from collector.store.ingest import Connection
from control_checks.notify.notice import notice
from control_checks.notify.standing import after


async def keep(
    conn: Connection,
    control: Control,
    run: Run,
    settled: Collection[str],
    words: str,
    runbooks: str | None = None,
) -> bool:
    """Keep what a run left; return whether there is something to tell.

    `settled` are the documents that the run spoke for, `words` what people read for its verdict,
    `runbooks` where the pages of checks are published. The caller holds the lock under which runs are kept. A run about an earlier time than one kept before it
    leaves nothing.
    """
    before = await alerts.standing(conn, run.control)
    if before is not None and before.as_of is not None and run.as_of < before.as_of:
        return False
    left = after(before, run, settled)
    told = notice(control, run, before, left, words, runbooks)
    await alerts.keep(conn, run.control, msgspec.structs.replace(left, notice=told))
    return told is not None
