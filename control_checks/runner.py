"""The control engine: one run of one control, from population to verdict.

The common wording of `docs/controls.md` is this module's: status time T and knowledge time K; every item
exactly one of OK, PENDING, EXCEPTION, EXCLUDED, UNEVALUABLE, in count and amount; presence and absence;
the verdict with `complete` beside it. A check only says what it found.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from collector.clock import Clock
from collector.errors import Misconfigured
from collector.model.control import Exception_, Run
from collector.pipeline.certificate import Asked, Sealed, certificate, seal
from collector.pipeline.completeness import (
    Coverage,
    Gap,
    known_coverage,
    never_read,
    status_time,
)
from collector.settings.definitions import Control, Flow
from collector.settings.load import Configuration, produced
from collector.settings.parameters import needed_steps
from collector.store import alerts, certificates, quarantine, totals
from collector.store.runs import Settled, population, record
from collector.store.session import Store
from control_checks.contract import Check, Item, Telling
from control_checks.notify import outbox
from control_checks.notify.standing import Watch

_SOURCE = Path(__file__).read_text(encoding="utf-8")

EVER = datetime.min.replace(tzinfo=UTC)
ACCEPTED = "ACCEPTED_UNREAD"
"""Why an accepted record of the quarantine is excluded."""
ACCEPTED_LISTED_MAX = 20

VERDICT_WORDS = {
    "PASS": "No exceptions",
    "WARN": "No exceptions, with a remark",
    "FAIL": "Exceptions noted",
    "INCOMPLETE": "Could not conclude",
    "ERROR": "Did not run",
    "SKIPPED": "Not due",
}


class Population(msgspec.Struct):
    """Counts, and amounts in minor units by currency, of each class of items.

    in_scope = ok + pending + exceptions + sum(excluded) + sum(unevaluable).
    """

    in_scope: int = 0
    ok: int = 0
    pending: int = 0
    exceptions: int = 0
    excluded: Counter[str] = msgspec.field(default_factory=Counter)
    unevaluable: Counter[str] = msgspec.field(default_factory=Counter)
    amounts: defaultdict[str, Counter[str]] = msgspec.field(
        default_factory=lambda: defaultdict(Counter)
    )

    def add(self, item: Item, state: str) -> str:
        """Count an item under a state (ok, pending, exceptions, excluded, unevaluable); return that."""
        self.in_scope += 1
        if state in ("excluded", "unevaluable"):
            getattr(self, state)[item.reason] += 1
        else:
            setattr(self, state, getattr(self, state) + 1)
        if item.amount_minor is not None and item.currency is not None:
            self.amounts["in_scope"][item.currency] += item.amount_minor
            self.amounts[state][item.currency] += item.amount_minor
        return state

    def settle(self, settled: Iterable[Settled]) -> None:
        """Count items that are OK, by currency."""
        for s in settled:
            self.in_scope += s.items
            self.ok += s.items
            (currency,) = s.kind
            if s.amount_minor is not None and currency is not None:
                self.amounts["in_scope"][currency] += s.amount_minor
                self.amounts["ok"][currency] += s.amount_minor


class Engine:
    """Runs controls against the store."""

    def __init__(
        self, configuration: Configuration, store: Store, checks: dict[str, Check], clock: Clock
    ) -> None:
        self.configuration = configuration
        self.store = store
        self.checks = checks
        self.clock = clock

    def control(self, control_id: str) -> Control:
        """Return a configured control.

        Raises:
            Misconfigured: there is none; the message lists those that there are.
        """
        try:
            return self.configuration.settings.controls[control_id]
        except KeyError:
            known = ", ".join(self.configuration.settings.controls) or "none is configured"
            raise Misconfigured(f"There is no control '{control_id}'. Controls: {known}.") from None

    async def run(
        self,
        control_id: str,
        as_of: datetime | None,
        as_known: datetime | None,
        *,
        trigger: str,
        actor: str,
    ) -> Run:
        """Run a control as of a status time and keep the run, whatever comes of it.

        Without one it is the latest up to which the control's streams are known, within its `lag_max`.
        Such a run, as known now, speaks of the present: what it changed is told.
        """
        started_at = self.clock()
        control = self.control(control_id)
        run = self._begin(
            control_id, control, as_of or as_known or started_at, started_at, trigger, actor
        )
        settings = self.configuration.settings
        told = settings.alerts if as_of is as_known is None else {}
        watch = Watch()
        sealed: Sealed | None = None
        try:
            if told:
                watch = await self._watch(control_id)
            run.as_known, covered = await self._covered(as_known, run.started_at)
            judges = self._judges(control, covered)
            if as_of is None:
                _take_status_time(run, judges, control.lag)
            await self._evaluate(run, control, judges, watch)
            sealed = _certificate(run, control, judges)
            run.certificate = sealed.hash
        except Exception as error:  # noqa: BLE001 -- whatever went wrong, that it did is kept
            run.verdict, run.complete, run.exceptions = "ERROR", False, []
            run.error = str(error) or type(error).__name__
        run.finished_at = self.clock()
        async with self.store.connect() as conn, conn.transaction():
            if sealed is not None:
                await certificates.keep(conn, *sealed, run.finished_at)
            run.run = await record(conn, run, self.clock())
            if told:
                words = VERDICT_WORDS[run.verdict]
                if await outbox.keep(conn, control, run, watch.settled, words, settings.runbooks):
                    await alerts.enter(conn, run.run, control_id, told, run.finished_at)
        return run

    async def _watch(self, control_id: str) -> Watch:
        """Watch the documents that have an open exception now."""
        async with self.store.connect() as conn:
            before = await alerts.standing(conn, control_id)
        return Watch(o.exception.subject for o in before.open) if before else Watch()

    async def status_time(self, control_ids: Iterable[str], as_known: datetime | None) -> datetime:
        """Return the status time that some controls can share: the earliest that one of them would take."""
        now = self.clock()
        _, covered = await self._covered(as_known, now)
        now = as_known or now
        taken = [now]
        for control in map(self.control, control_ids):
            known = _known(self._judges(control, covered)).values()
            taken.append(status_time(known, now, control.lag))
        return min(taken)

    async def _covered(
        self, as_known: datetime | None, now: datetime
    ) -> tuple[datetime, dict[tuple[str, str], Coverage]]:
        """Return K, and how completely each stream was known then."""
        async with self.store.connect() as conn:
            known_at = as_known or await totals.last_recorded(conn, now)
            in_force = await totals.configuration(conn, known_at)
            if in_force is None:
                raise Misconfigured("Nothing was read yet as known then: run `tieout sync` first.")
            return known_at, await known_coverage(conn, in_force, known_at)

    def _judges(
        self, control: Control, covered: dict[tuple[str, str], Coverage]
    ) -> dict[str, "_Judge"]:
        """Settle what is known of the streams behind each flow of a control."""
        steps = needed_steps(
            self.checks[control.check].parameters.model_validate(control.parameters)
        )
        return {
            flow_id: _Judge(
                self.configuration, self.configuration.flow(flow_id), control, covered, steps
            )
            for flow_id in control.flows
        }

    def _begin(
        self,
        control_id: str,
        control: Control,
        as_of: datetime,
        now: datetime,
        trigger: str,
        actor: str,
    ) -> Run:
        check = self.checks[control.check]
        parameters = check.parameters.model_validate(control.parameters)
        definition = control.model_dump(mode="json")
        query = "\n\n".join(filter(None, (check.plain, check.query)))
        return Run(
            control=control_id,
            as_of=as_of,
            as_known=now,
            started_at=now,
            finished_at=now,
            trigger=trigger,
            actor=actor,
            definition=definition,
            parameters=parameters.model_dump(mode="json"),
            rule_hash=sha256(
                (query + msgspec.json.encode(definition).decode()).encode()
            ).hexdigest(),
            code_hash=sha256((check.source + query + _SOURCE).encode()).hexdigest(),
            query=query,
            notes=[f"not tested: {name}" for name in check.not_tested(parameters)],
        )

    async def _evaluate(
        self, run: Run, control: Control, judges: Mapping[str, "_Judge"], watch: Watch
    ) -> None:
        check = self.checks[control.check]
        parameters = check.parameters.model_validate(control.parameters)
        items = Population()
        gaps: dict[tuple[str, str], Gap] = {}
        for flow_id, judge in judges.items():
            open_gaps = judge.gaps(judge.needed, run.as_of)
            gaps |= {(gap.stream, gap.what): gap for gap in open_gaps}
            judge.complete = not open_gaps
            async with self.store.connect("tieout_reader") as conn:
                settled, rows = await population(
                    conn,
                    check.plain,
                    check.query,
                    watch.subjects,
                    flow_id,
                    run.as_of,
                    run.as_known,
                    parameters.model_dump_json(),
                )
            items.settle(settled)
            for row in rows:
                item = msgspec.convert(_plain(row), Item)
                watch.note(item.subject, self._judge(run, items, judge, check, item))
        await self._exclude_accepted(run, items, _known(judges))
        run.population = msgspec.to_builtins(items)
        run.gaps = msgspec.to_builtins(list(gaps.values()))
        run.complete = not gaps
        if run.exceptions:
            run.verdict = "FAIL"
        elif gaps or items.unevaluable:
            run.verdict = "INCOMPLETE"
        else:
            run.verdict = "PASS"

    async def _exclude_accepted(
        self,
        run: Run,
        population: Population,
        streams: dict[tuple[str, str], Coverage],
    ) -> None:
        """Count the quarantined records that were accepted under EXCLUDED, and say why they were.

        Nobody knows their amounts, nor which items they would have been.
        """
        waived = sum(s.totals.waived for s in streams.values() if s.totals is not None)
        if not waived:
            return
        population.in_scope += waived
        population.excluded[ACCEPTED] += waived
        async with self.store.connect() as conn:
            listed = await quarantine.accepted(conn, streams, run.as_known, ACCEPTED_LISTED_MAX)
        run.notes += [
            f"excluded: record {a.position} of {a.part} ({a.source}/{a.stream}), accepted by {a.actor}: {a.reason}"
            for a in listed
        ]
        if waived > len(listed):
            run.notes.append(f"excluded: {waived - len(listed):,} more accepted records")

    def _judge(
        self, run: Run, population: Population, judge: "_Judge", check: Check, item: Item
    ) -> str:
        """Count an item, and say under which state."""
        if item.finding != "breach":
            return population.add(item, item.finding)
        if item.proof == "absence":
            until = min(item.due_at or run.as_of, run.as_of)
            since = item.since_at or EVER
            streams = judge.streams(tuple(item.missing), item.entity)
            unseen = judge.gaps(streams, until, since)
            if unseen and check.waits_for_streams and not judge.gaps(streams, EVER, since):
                return population.add(item, "pending")
            if unseen:
                item = msgspec.structs.replace(item, reason=unseen[0].what)
                return population.add(item, "unevaluable")
        telling = Telling(run.as_of, judge.zone(item.entity), judge.noun, judge.complete)
        run.exceptions.append(
            Exception_(
                item.subject,
                item.number,
                item.entity,
                item.reason,
                check.sentence(item, telling),
                item.expected,
                item.actual,
                item.difference_minor,
                item.amount_minor,
                item.currency,
                item.missing[0] if item.missing else None,
            )
        )
        return population.add(item, "exceptions")


class _Judge:
    """What is known of the streams behind one flow."""

    def __init__(
        self,
        configuration: Configuration,
        flow: Flow,
        control: Control,
        covered: dict[tuple[str, str], Coverage],
        steps: tuple[str, ...],
    ) -> None:
        self._settings = configuration.settings
        self._flow = flow
        self._least = control.completeness
        self._covered = covered
        self._produced = produced(configuration.settings)
        self.complete = True
        self.noun = flow.anchor.replace("_", " ").capitalize()
        self.needed = self.streams(steps)
        self.known = {s: covered[s] for s in sorted(self.needed) if s in covered}

    def streams(
        self, steps: tuple[str, ...], entity: str | None = None
    ) -> frozenset[tuple[str, str]]:
        """Return the streams that can show the events of steps; of the whole flow's where none is named.

        With an entity, without those that hold another one's records alone.
        """
        types = {
            event_type
            for step in self._flow.steps
            if not steps or step.name in steps
            for side in (step.done_by, step.undone_by, step.failed_by, step.skip_when)
            for event_type in side
        }
        return frozenset(
            s
            for t in types
            for s in self._produced.get(t, ())
            if entity is None or self._holds(s) in {None, entity}
        )

    def _holds(self, stream: tuple[str, str]) -> str | None:
        return self._settings.sources[stream[0]].streams[stream[1]].entity

    def gaps(
        self, streams: Iterable[tuple[str, str]], until: datetime, since: datetime | None = None
    ) -> list[Gap]:
        """List the gaps of streams up to an instant, and from one on where it is given."""
        return [
            gap
            for stream in sorted(streams)
            for gap in (
                self._covered[stream].gaps_at(until, self._least, since)
                if stream in self._covered
                else never_read("/".join(stream)).gaps
            )
        ]

    def zone(self, entity: str | None) -> ZoneInfo:
        """Return the clock of an entity; UTC where none is configured."""
        found = self._settings.entities.get(entity or "")
        return ZoneInfo(self._settings.calendars[found.calendar].timezone if found else "UTC")


def _known(judges: Mapping[str, _Judge]) -> dict[tuple[str, str], Coverage]:
    """Return what is known of all streams that a control needs."""
    return {stream: covered for judge in judges.values() for stream, covered in judge.known.items()}


def _certificate(run: Run, control: Control, judges: Mapping[str, _Judge]) -> Sealed:
    """Seal what is known of all streams that a run needs, also of those that were never read."""
    needed = {
        stream: judge.known.get(stream) or never_read("/".join(stream))
        for judge in judges.values()
        for stream in judge.needed
    }
    asked = Asked(None, run.as_of, run.as_known, least_grade=control.completeness)
    return seal(certificate(asked, needed.values()))


def _take_status_time(run: Run, judges: Mapping[str, _Judge], lag_max: timedelta) -> None:
    """Take the latest status time up to which the streams are known, and note what holds it back."""
    now, known = run.as_of, _known(judges).values()
    run.as_of = status_time(known, now, lag_max)
    run.notes += [
        f"status time: {s.stream} is known only up to {s.watermark.isoformat()}"
        for s in known
        if s.watermark is not None and s.watermark <= run.as_of < now
    ]


def _plain(row: Any) -> dict[str, Any]:  # noqa: ANN401 -- a database row
    out = dict(row)
    out["subject"] = str(out["subject"])
    out["details"] = msgspec.json.decode(out["details"] or b"{}")
    return out
