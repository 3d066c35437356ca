"""The bridge of each flow over a period: from step to step, in count and amount, to the minor unit.

`from = to + in transit + undone + excluded + components + exceptions by control + unexplained`. What
`bridge.sql` cannot place by what is known, or by what a kept control run reported, stays unexplained:
no cell is filled by what remains.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from collector.errors import Misconfigured
from collector.model.control import Run
from collector.settings.definitions import Control, Flow
from collector.store import runs as kept
from collector.store import totals
from collector.store.ingest import Connection
from collector.store.runs import Settled, population
from control_checks.runner import Engine

OWNERS = (
    "duplicate_posting",
    "amount_differs",
    "approved_not_posted",
    "approved_not_paid",
    "status_not_returned",
    "stuck_transaction",
    "posted_not_approved",
    "approval_missing",
)
"""Checks in the order in which they own an item's exposure. What is committed without approval comes last."""
LATE = ("posted_not_approved", "approval_missing")
DUE = {
    "approved_not_posted": ("posted", "approved"),
    "approved_not_paid": ("paid", "approved"),
    "status_not_returned": ("returned", "of"),
}
"""Parameters of checks that say when a step is due: the step, and what it is counted from."""
CELLS = ("from", "to", "in_transit", "rejected_or_withdrawn", "reversed", "excluded", "components")

_PERIOD = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_PARTS = Path(__file__).with_name("bridge.sql").read_text(encoding="utf-8")
_FIRST_SIGHT = Path(__file__).with_name("plain.sql").read_text(encoding="utf-8")
_SUMS = """
SELECT hop, from_step, to_step, entity, currency, cell, sum(count)::bigint AS count,
       sum(amount_minor)::bigint AS amount_minor, count(*) AS items
FROM part GROUP BY hop, from_step, to_step, entity, currency, cell
UNION ALL  -- the memo: reported, and in no sum
SELECT 0, NULL, e.control, e.entity, e.currency, NULL, count(*), sum(e.difference_minor)::bigint, 0
FROM run r JOIN read.exception e ON e.run = r.run
WHERE NOT EXISTS (SELECT FROM subject x WHERE x.run = e.run AND x.ordinal = e.ordinal)
GROUP BY e.control, e.entity, e.currency
ORDER BY entity, currency, hop, to_step
"""
_ITEMS = """
SELECT * FROM (
    SELECT entity, currency, hop, from_step AS "from", to_step AS "to", cell, number, document_id, count,
           amount_minor, basis_at, due_at, reason, sentence,
           row_number() OVER (PARTITION BY hop, entity, currency, cell
                              ORDER BY abs(amount_minor) DESC NULLS LAST, number, document_id) AS nth,
           count(*) OVER (PARTITION BY hop, entity, currency, cell) AS of
    FROM part, p
    WHERE (p.p ->> 'to' IS NULL OR to_step = p.p ->> 'to') AND (p.p ->> 'cell' IS NULL OR cell = p.p ->> 'cell')
      AND (p.p ->> 'entity' IS NULL OR entity = p.p ->> 'entity')
      AND (p.p ->> 'currency' IS NULL OR currency = p.p ->> 'currency')) x
WHERE nth <= coalesce((SELECT (p.p ->> 'limit')::int FROM p), nth) ORDER BY entity, currency, hop, cell, nth
OFFSET (SELECT (p.p ->> 'skip')::int FROM p) LIMIT (SELECT (p.p ->> 'page')::int FROM p)
"""
Document = dict[str, Any]
Connect = Callable[[], AbstractAsyncContextManager[Connection]]
"""Lends a connection that can read."""


@dataclass(frozen=True)
class Bridge:
    """The bridges of some flows at a status time T, as known at K; made by `prepared` or `kept_at`.

    `runs` are the control runs, of this T and K, that its exceptions come from.
    """

    engine: Engine
    connect: Connect
    flows: Sequence[Flow]
    as_of: datetime
    as_known: datetime
    runs: Sequence[Run]

    @property
    def lacking(self) -> list[str]:
        """The controls that the bridge needs a run of and has none."""
        return [name for name in _wanted(self.engine, self.flows) if name not in self._runs()]

    @property
    def failed(self) -> str | None:
        """Which of its controls did not run, in words; None where all did."""
        return "; ".join(self._did_not_run()) or None

    def of(self, flow: Flow) -> "Bridge":
        """Return the bridge of one flow alone."""
        controls = _of(self.engine.configuration.settings.controls, flow)
        return replace(self, flows=[flow], runs=[r for r in self.runs if r.control in controls])

    async def document(self, period: str) -> Document:
        """Return the bridge of a period (`YYYY-MM`, months by the entity's clock) as `--json` shows it."""
        rows: list[Document] = []
        memo: list[Document] = []
        for flow in self.flows:
            settled, sums = await self._ask(_PARTS + _SUMS, flow, period)
            sums += _passed(flow, settled)
            rows += _rows(flow, [row for row in sums if row["hop"]])
            memo += [_memo(flow.flow, row) for row in sums if not row["hop"]]
        return {
            "period": period,
            "as_of": self.as_of,
            "as_known": self.as_known,
            "complete": all(run.complete for run in self.runs),
            "gaps": self._gaps(),
            "runs": self._runs(),
            "rows": rows,
            "memo": memo,
        }

    async def items(
        self, period: str, limit: int, flow: str | None = None, **only: str | None
    ) -> list[Document]:
        """List what stands in the cells, at most `limit` items of each, the largest first.

        `only` narrows by `flow`, `to` (the later step), `cell`, `entity` and `currency`. Of each item,
        `of` says how many its cell holds.
        """
        narrowed = {**only, "limit": limit}
        return [
            {"flow": of.flow, **row}
            for of in self.flows
            if flow in (None, of.flow)
            for row in await self._list(of, period, **narrowed)
        ]

    async def page(self, period: str, skip: int, length: int, **only: str | None) -> list[Document]:
        """List what stands in the cells, in the same order, from one item on; at most `length` of each flow."""
        return [
            {"flow": of.flow, **row}
            for of in self.flows
            for row in await self._list(of, period, **only, skip=skip, page=length)
        ]

    def _runs(self) -> dict[str, int]:
        return {run.control: run.run for run in self.runs}

    def _gaps(self) -> list[str]:
        gaps = {gap["sentence"] for run in self.runs for gap in run.gaps}
        return sorted(gaps) + self._did_not_run()

    def _did_not_run(self) -> list[str]:
        return [f"{run.control} did not run: {run.error}" for run in self.runs if run.error]

    async def _list(self, flow: Flow, period: str, **only: str | int | None) -> list[Document]:
        # what passes at first sight is in these two cells, and in no other
        listed = {"listed": True} if only.get("cell") in (None, "from", "to") else {}
        _, rows = await self._ask(_PARTS + _ITEMS, flow, period, **listed, **only)
        return rows

    async def _ask(
        self, query: str, flow: Flow, period: str, **only: str | int | None
    ) -> tuple[list[Settled], list[Document]]:
        if not _PERIOD.fullmatch(period):
            raise Misconfigured(f"'{period}' is no period. Write a month, such as 2026-10.")
        parameters = {**self._parameters(flow), "period": period, **only}
        async with self.connect() as conn:
            settled, rows = await population(
                conn,
                _FIRST_SIGHT,
                query,
                (),
                flow.flow,
                self.as_of,
                self.as_known,
                msgspec.json.encode(parameters).decode(),
                kind="entity, currency, hops",
            )
        return settled, [dict(row) for row in rows]

    def _parameters(self, flow: Flow) -> Document:
        controls = self.engine.configuration.settings.controls
        rules: dict[str, Document] = {}
        for control in _of(controls, flow).values():
            parameters = self.engine.checks[control.check].parameters.model_validate(
                control.parameters
            )
            if control.check in DUE:
                step, after = (getattr(parameters, name) for name in DUE[control.check])
                rules.setdefault(step, {"after": after, "due": getattr(parameters, "due", None)})
        runs = [
            (run, controls[run.control].check)
            for run in self.runs
            if run.control in _of(controls, flow)
        ]
        return {
            "hops": [
                {
                    "hop": n,
                    "from_step": left,
                    "to_step": right,
                    "undone": "rejected_or_withdrawn" if n == 1 else "reversed",
                }
                for n, (left, right) in enumerate(pairwise(flow.bridge), start=1)
            ],
            "once": f"{{{','.join(flow.bridge[1:])}}}",
            "rules": rules,
            "runs": [
                {
                    "run": run.run,
                    "owner": OWNERS.index(check),
                    "late": check in LATE,
                    "duplicates": check == "duplicate_posting",
                }
                for run, check in runs
            ],
            "rounding": next(
                (
                    {
                        "line": run.parameters["rounding_minor"],
                        "max": run.parameters["rounding_minor_max"],
                    }
                    for run, check in runs
                    if check == "amount_differs"
                ),
                None,
            ),
        }


def bridged(engine: Engine, flow: str | None = None) -> list[Flow]:
    """Return the flows that have a bridge, or the one by this name if it has one."""
    return [f for f in engine.configuration.flows if f.bridge and flow in (None, f.flow)]


def merged(documents: Sequence[Document]) -> Document:
    """Put the bridges of several flows, of one period, T and K, into one document."""
    return {
        **{name: documents[0][name] for name in ("period", "as_of", "as_known")},
        "complete": all(document["complete"] for document in documents),
        "gaps": sorted({gap for document in documents for gap in document["gaps"]}),
        "runs": {k: run for document in documents for k, run in document["runs"].items()},
        **{
            part: [x for document in documents for x in document[part]] for part in ("rows", "memo")
        },
    }


async def prepared(
    engine: Engine,
    as_of: datetime | None,
    as_known: datetime | None,
    actor: str,
    *,
    trigger: str = "command",
) -> Bridge:
    """Gather the kept runs of the controls of all bridges at T and K, and run those that have none.

    Without T it is the latest up to which the streams of all these controls are known, within `lag_max`.
    Without K it is what is known now, to all of them, whatever is told meanwhile.

    Raises:
        Misconfigured: no flow has a bridge; or nothing was read yet.
    """
    flows = bridged(engine)
    if not flows:
        raise Misconfigured(
            "No flow has a bridge. Name its steps in the flow: `bridge: [approved, posted, paid]`."
        )
    wanted = _wanted(engine, flows)
    as_of = as_of or await engine.status_time(wanted, as_known)
    async with engine.store.connect() as conn:
        known = as_known or await totals.last_recorded(conn, engine.clock())
        found = await _kept(conn, wanted, as_of, known)
    runs = [
        found.get(name) or await engine.run(name, as_of, known, trigger=trigger, actor=actor)
        for name in wanted
    ]
    connect = partial(engine.store.connect, "tieout_reader")
    return Bridge(engine, connect, flows, as_of, known, runs)


async def kept_at(
    engine: Engine,
    connect: Connect,
    flows: Sequence[Flow],
    as_of: datetime | None,
    as_known: datetime | None,
) -> Bridge:
    """Gather the kept runs of the controls of some bridges, and run none: it may be `lacking` some.

    T and K, where they are not given, are the latest for which each of the controls has a run.
    """
    wanted = _wanted(engine, flows)
    async with connect() as conn:
        latest = await kept.latest_of_all(conn, list(wanted), as_of, as_known)
        as_of = as_of or (latest.as_of if latest else engine.clock())
        as_known = as_known or (
            latest.as_known if latest else await totals.last_recorded(conn, engine.clock())
        )
        found = await _kept(conn, wanted, as_of, as_known)
    return Bridge(engine, connect, flows, as_of, as_known, list(found.values()))


async def _kept(
    conn: Connection, wanted: Mapping[str, Control], as_of: datetime, as_known: datetime
) -> dict[str, Run]:
    """Find the kept runs of controls, as they are defined now, at T and K."""
    found = await kept.runs_at(conn, as_of, as_known)
    return {
        name: found[name]
        for name, control in wanted.items()
        if name in found and found[name].definition == control.model_dump(mode="json")
    }


def _wanted(engine: Engine, flows: Iterable[Flow]) -> dict[str, Control]:
    """Return the controls whose exceptions the bridges of flows show."""
    controls = engine.configuration.settings.controls
    return {name: control for flow in flows for name, control in _of(controls, flow).items()}


def _of(controls: Mapping[str, Control], flow: Flow) -> dict[str, Control]:
    return {
        name: control
        for name, control in controls.items()
        if flow.flow in control.flows and control.check in OWNERS
    }


def _passed(flow: Flow, settled: Iterable[Settled]) -> list[Document]:
    """Return what transactions add that were settled at first sight: on each hop the same to both cells."""
    hops = list(pairwise(flow.bridge))
    return [
        {
            "hop": hop,
            "from_step": hops[hop - 1][0],
            "to_step": hops[hop - 1][1],
            "entity": entity,
            "currency": currency,
            "cell": cell,
            "count": items,
            "amount_minor": amount_minor,
            "items": items,
        }
        for (entity, currency, begun), items, amount_minor in settled
        for hop in begun
        for cell in ("from", "to")
    ]


def _memo(flow: str, row: Document) -> Document:
    shown = {name: row[name] for name in ("entity", "currency", "count", "amount_minor")}
    return {"flow": flow, "control": row["to_step"], **shown}


def _rows(flow: Flow, sums: Iterable[Document]) -> list[Document]:
    """Put the cells of each flow, entity, currency and hop together."""
    systems = {step.name: step.system for step in flow.steps}
    rows: dict[tuple[Any, ...], Document] = {}
    for row in sums:
        key = (row["entity"], row["currency"], row["hop"])
        found = rows.setdefault(
            key,
            {
                "flow": flow.flow,
                "entity": row["entity"],
                "currency": row["currency"],
                "from": row["from_step"],
                "to": row["to_step"],
                "from_system": systems[row["from_step"]],
                "to_system": systems[row["to_step"]],
                "cells": {},
                "unexplained_items": 0,
            },
        )
        if row["cell"] == "unexplained":
            found["unexplained_items"] = row["items"]
        cell = found["cells"].setdefault(row["cell"], {"count": 0, "amount_minor": None})
        cell["count"] += row["count"]
        if row["amount_minor"] is not None:
            cell["amount_minor"] = (cell["amount_minor"] or 0) + row["amount_minor"]
    for found in rows.values():
        nothing = {"count": 0, "amount_minor": None if found["currency"] is None else 0}
        found["cells"].setdefault("unexplained", nothing)
        found["cells"] = dict(sorted(found["cells"].items(), key=_place))
        found["unexplained_minor"] = found["cells"]["unexplained"]["amount_minor"]
    return [rows[key] for key in sorted(rows, key=_order)]


def _order(key: tuple[str | None, str | None, int]) -> tuple[Any, ...]:
    """Put rows in the order of their entity, currency and hop; what is not known comes last."""
    entity, currency, hop = key
    return entity is None, entity or "", currency is None, currency or "", hop


def _place(cell: tuple[str, Any]) -> tuple[int, str]:
    kind = cell[0].partition(":")[0]
    after = {"tolerance": 1, "rounding": 2, "exceptions": 3, "unexplained": 4}
    return (CELLS.index(kind) if kind in CELLS else len(CELLS) + after[kind], cell[0])
