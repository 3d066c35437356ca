"""Control runs: written once, with the lock that gives every fact its place, and read often."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from collector.model.control import Exception_, Run
from collector.store import ingest
from collector.store.ingest import Connection

_COLUMNS = (
    "control",
    "verdict",
    "complete",
    "as_of",
    "as_known",
    "started_at",
    "finished_at",
    "trigger",
    "actor",
    "definition",
    "parameters",
    "rule_hash",
    "code_hash",
    "query",
    "certificate",
    "gaps",
    "population",
    "notes",
    "error",
)
_JSON = {"definition", "parameters", "gaps", "population", "notes"}
_INSERT = f"""
INSERT INTO tieout.control_run (seq, {", ".join(_COLUMNS)})
VALUES ($1, {", ".join(f"${i + 2}" for i in range(len(_COLUMNS)))})
"""  # noqa: S608 -- the names are constants


async def record(conn: Connection, run: Run, clock: datetime) -> int:
    """Keep a run with its exceptions; return its number."""
    async with conn.transaction():
        seq = await ingest.lock(conn) + 1
        await ingest.append_commit(conn, seq, "control run", clock)
        await conn.execute(
            _INSERT,
            seq,
            *(
                msgspec.json.encode(value).decode() if name in _JSON else value
                for name in _COLUMNS
                for value in (getattr(run, name),)
            ),
        )
        await conn.copy_records_to_table(
            "control_exception",
            records=[(seq, n, *msgspec.structs.astuple(e)) for n, e in enumerate(run.exceptions)],
            columns=["run", "ordinal", *Exception_.__struct_fields__],
            schema_name="tieout",
        )
    return seq


@asynccontextmanager
async def reading(conn: Connection) -> AsyncIterator[None]:
    """Let queries read whole tables, all of one state of the store.

    They join functions whose size the planner cannot know: by nested loops, which it takes for small ones,
    twenty thousand items took forty times as long as by hashes.
    """
    async with conn.transaction(readonly=True, isolation="repeatable_read"):
        await conn.execute(
            "SET LOCAL enable_nestloop = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off;"
            " SET LOCAL work_mem = '64MB'"
        )
        yield


class Settled(NamedTuple):
    """So many items of one kind are OK; their sum in minor units.

    What is of one kind is asked for: the same currency (None: without amount), or more than that.
    """

    kind: list[Any]
    items: int
    amount_minor: int | None


REST_SHARE_MAX = 0.15
"""Where more of the transactions are not plain, it is quicker to ask for all than to look them up one by one."""

GROWN_SHARE_MAX = 0.05
"""Where more was told since K, what is known now says too little of what was known then."""


async def population(
    conn: Connection,
    plain: str,
    query: str,
    subjects: Collection[str],
    *parameters: object,
    kind: str = "currency",
) -> tuple[list[Settled], list[Any]]:
    """Return what a check's `plain.sql` settles, and the items that its query finds in all the rest.

    `parameters` are flow, T, K, and the control's own. What is known of `subjects` (content ids) is not
    settled, but looked at closely. As known earlier than now nothing is settled of what was told of since, and
    nothing at all where that is much, or something was taken back. `kind` are the columns of `plain.sql` that
    make a kind of items.
    """
    async with reading(conn):
        settled: list[Settled] = []
        documents: list[int] | None = None
        grown = await _grown(conn, parameters[2]) if plain else None
        if grown is not None:
            *seen, rest = await conn.fetch(
                _FIRST_SIGHT.format(plain=plain, kind=kind), *parameters, list(subjects), grown
            )
            if rest["others"] <= REST_SHARE_MAX * rest["items"]:
                settled = [
                    Settled(msgspec.json.decode(s["kind"]), s["items"], s["amount_minor"])
                    for s in seen
                ]
                documents = rest["documents"] or []
        return settled, await conn.fetch(query, *parameters, documents)


async def _grown(conn: Connection, as_known: object) -> list[int] | None:
    """List the transactions of which something was told since K; None where what is known now is no help."""
    if await conn.fetchval("SELECT read.is_present($1)", as_known):
        return []
    share = await conn.fetchval("SELECT read.grown_share($1)", as_known)
    if share is None or share > GROWN_SHARE_MAX:
        return None
    return [row[0] for row in await conn.fetch("SELECT read.grown($1)", as_known)]


_FIRST_SIGHT = """
WITH typed AS (SELECT $1::text, $2::timestamptz, $3::timestamptz, $4::jsonb),
seen AS MATERIALIZED (
    SELECT s.component, s.items, s.amount_minor, {kind},
           coalesce(s.settled, false) AND s.component <> ALL ($6::bigint[]) AND s.component NOT IN (
               SELECT component FROM read.present_document
               WHERE cardinality($5::uuid[]) > 0 AND document_id = ANY ($5)) AS settled
    FROM ({plain}) s)
SELECT 1 AS part, jsonb_build_array({kind}) AS kind, sum(items)::bigint AS items, sum(items * amount_minor)::bigint AS amount_minor,
       NULL::bigint AS others, NULL::bigint[] AS documents
FROM seen WHERE settled AND items > 0 GROUP BY {kind}
UNION ALL
SELECT 2, NULL, count(*), NULL, count(*) FILTER (WHERE NOT settled), (
    SELECT array_agg(d.document)
    FROM (SELECT component FROM seen WHERE NOT settled UNION SELECT component FROM read.entangled
          UNION SELECT unnest($6::bigint[])) s
    CROSS JOIN LATERAL (SELECT document FROM read.present_document d WHERE d.component = s.component OFFSET 0) d)
FROM seen ORDER BY part
"""


async def runs(conn: Connection, control: str, before: int | None, limit: int) -> list[Run]:
    """List a control's runs, newest first, older than run `before`; without their exceptions."""
    found = await conn.fetch(
        "SELECT * FROM tieout.control_run WHERE control = $1 AND ($2::bigint IS NULL OR seq < $2)"
        " ORDER BY seq DESC LIMIT $3",
        control,
        before,
        limit,
    )
    return [_run(row) for row in found]


async def last_runs(conn: Connection) -> dict[str, Run]:
    """Return the last run of every control, with its exceptions."""
    found = await conn.fetch(
        "SELECT DISTINCT ON (control) * FROM tieout.control_run ORDER BY control, seq DESC"
    )
    out = {}
    for row in found:
        run = _run(row)
        run.exceptions = await exceptions(conn, run.run)
        out[run.control] = run
    return out


async def runs_at(conn: Connection, as_of: datetime, as_known: datetime) -> dict[str, Run]:
    """Return each control's last run at T that knew what was known at K; without exceptions.

    What was recorded between its K and this one were runs alone: they change no answer.
    """
    found = await conn.fetch(
        "SELECT DISTINCT ON (control) r.* FROM tieout.control_run r"
        " WHERE as_of = $1 AND verdict <> 'ERROR' AND NOT EXISTS ("
        "  SELECT FROM tieout.commit_log c WHERE c.what <> 'control run'"
        "  AND c.recorded_at > least(r.as_known, $2) AND c.recorded_at <= greatest(r.as_known, $2))"
        " ORDER BY control, seq DESC",
        as_of,
        as_known,
    )
    return {row["control"]: _run(row) for row in found}


class Moment(NamedTuple):
    """A status time T and a knowledge time K."""

    as_of: datetime
    as_known: datetime


async def latest_of_all(
    conn: Connection, controls: Sequence[str], as_of: datetime | None, as_known: datetime | None
) -> Moment | None:
    """Return the latest T at which each of some controls has a run that evaluated, and what all of these knew.

    With T or K, of the runs at that T, and of those that knew no more than at K.
    """
    row = await conn.fetchrow(
        "SELECT as_of, min(as_known) AS as_known FROM ("
        "  SELECT control, as_of, max(as_known) AS as_known FROM tieout.control_run"
        "  WHERE control = ANY ($1) AND verdict <> 'ERROR' AND as_of = coalesce($2, as_of)"
        "  AND as_known <= coalesce($3, as_known) GROUP BY control, as_of) x"
        " GROUP BY as_of HAVING count(*) = cardinality($1) ORDER BY as_of DESC LIMIT 1",
        controls,
        as_of,
        as_known,
    )
    return None if row is None else Moment(row["as_of"], row["as_known"])


async def exceptions(conn: Connection, run: int) -> list[Exception_]:
    """List the exceptions of a run."""
    found = await conn.fetch(
        "SELECT * FROM tieout.control_exception WHERE run = $1 ORDER BY ordinal", run
    )
    return [msgspec.convert({**row, "subject": str(row["subject"])}, Exception_) for row in found]


def _run(row: Any) -> Run:  # noqa: ANN401 -- a database row
    fields = {
        name: msgspec.json.decode(row[name]) if name in _JSON else row[name] for name in _COLUMNS
    }
    return Run(run=row["seq"], **fields)
