"""Compile a mapping once; apply it to records without looking at configuration again."""

from collections.abc import Callable
from datetime import date, datetime
from hashlib import blake2b
from typing import Any

import msgspec

from collector.connector import Body, Record
from collector.model.event import Event
from collector.model.reference import CONTEXT, GROUP, IDENTITY, digest
from collector.pipeline.values import (
    NotMapped,
    compile_conditions,
    compile_expr,
    compile_money,
    compile_month,
    compile_name,
    compile_optional,
    compile_time,
)
from collector.settings.mapping import AccountingRule, EventFields, EventRule, Mapping, TypeByValue

ROLES = {"identity": IDENTITY, "group": GROUP, "context": CONTEXT}

_canonical = msgspec.json.Encoder(order="sorted", decimal_format="number").encode
_encode = msgspec.json.Encoder().encode


def record_hash(body: Body) -> bytes:
    """Hash a record's parsed content (16 bytes): the same for any file format and key order."""
    return blake2b(_canonical(body), digest_size=16).digest()


def _compile_type(rule: EventRule, nulls: frozenset[str]) -> Callable[[Body], str]:
    chosen = rule.type
    if not isinstance(chosen, TypeByValue):
        return lambda _body: chosen
    value_of = compile_expr(chosen.value, nulls)
    values, unknown = chosen.values, chosen.unknown

    def type_of(body: Body) -> str:
        value = value_of(body)
        found = values.get(value or "", unknown)
        if found == "quarantine":
            raise NotMapped(
                "UNKNOWN_VALUE",
                f"'{chosen.value}' is '{value or ''}', which the mapping does not know; "
                "add it to `values`, or say `ignore`.",
            )
        return found

    return type_of


def _compile_accounting(
    rule: AccountingRule, nulls: frozenset[str]
) -> Callable[[Body], dict[str, str]]:
    getters = {
        name: compile_expr(expr, nulls)
        for name, expr in rule.model_dump(exclude={"format"}, exclude_none=True).items()
    }

    def accounting(body: Body) -> dict[str, str]:
        out = {}
        for name, getter in getters.items():
            text = getter(body)
            if text is None:
                continue
            if name.endswith("_date"):
                try:
                    text = datetime.strptime(text, rule.format).date().isoformat()  # noqa: DTZ007 -- a date
                except ValueError:
                    raise NotMapped(
                        "IMPOSSIBLE_DATE", f"The {name.replace('_', ' ')} '{text}' is no date."
                    ) from None
            out[name] = text
        return out

    return accounting


TEXT_FIELDS = ("counterparty", "actor", "status", "reason_code", "message")


def _merge(common: Mapping, rule: EventRule) -> EventFields:
    """Lay one event's fields over the common ones."""
    merged: dict[str, Any] = {}
    for name in EventFields.model_fields:
        top, own = getattr(common, name), getattr(rule, name)
        if isinstance(top, list):
            merged[name] = [*top, *own]
        elif isinstance(top, dict):
            merged[name] = {**top, **own}
        else:
            merged[name] = top if own is None else own
    return EventFields.model_construct(**merged)


class _Rule:
    """One event rule, compiled."""

    def __init__(self, mapping: Mapping, rule: EventRule, namespace: str, earliest: date) -> None:
        nulls = frozenset(mapping.nulls)
        fields = _merge(mapping, rule)
        if fields.document is None or fields.occurred_at is None:
            missing = "document" if fields.document is None else "occurred_at"
            raise ValueError(f"event '{rule.rule}' has no `{missing}`; add it there or at the top")
        self.prefix = (namespace,)
        self.rule = rule.rule
        self.when = compile_conditions(rule.when, nulls) if rule.when else None
        self.type_of = _compile_type(rule, nulls)
        self.discriminators = [(expr, compile_expr(expr, nulls)) for expr in rule.discriminators]
        self.document = compile_name(
            fields.document.type, fields.document, fields.document.number, nulls
        )
        self.document_expr = fields.document.number
        self.time_of = compile_time(fields.occurred_at, nulls, earliest)
        self.month_of = compile_month(fields.month, nulls)
        self.money_of = compile_money(fields.amount, nulls)
        self.references = [
            (ROLES[r.role], compile_name(r.kind, r, r.value, nulls)) for r in fields.references
        ]
        self.entity_of = compile_optional(fields.entity, nulls)
        self.sequence_of = compile_optional(fields.sequence, nulls)
        self.texts = [
            (name, compile_expr(expr, nulls))
            for name in TEXT_FIELDS
            if (expr := getattr(fields, name)) is not None
        ]
        self.groups = [
            (group, [(name, compile_expr(expr, nulls)) for name, expr in members.items()])
            for group, members in (
                ("dimensions", fields.dimensions),
                ("attributes", fields.attributes),
            )
            if members
        ]
        self.accounting = (
            _compile_accounting(fields.accounting, nulls) if fields.accounting is not None else None
        )
        self.personal = frozenset(mapping.personal)

    def identity(self, body: Body, key: str) -> bytes:
        raw = [getter(body) or "" for _, getter in self.discriminators]
        return digest("event", *self.prefix, key, self.rule, *raw)

    def sequence(self, body: Body) -> int | None:
        text = self.sequence_of(body) if self.sequence_of is not None else None
        if text is None:
            return None
        try:
            return int(text)
        except ValueError:
            raise NotMapped("NOT_A_NUMBER", f"The sequence '{text}' is no whole number.") from None

    def details(self, body: Body) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return the rest of the event: what is kept with it and what is personal."""
        kept: dict[str, Any] = {}
        apart: dict[str, Any] = {}
        for name, getter in self.texts:
            value = getter(body)
            if value is not None:
                (apart if name in self.personal else kept)[name] = value
        for group, members in self.groups:
            found: dict[str, str] = {}
            for name, getter in members:
                value = getter(body)
                if value is not None:
                    (apart if name in self.personal else found)[name] = value
            if found:
                kept[group] = found
        if self.accounting is not None:
            kept["accounting"] = self.accounting(body)
        return kept, apart or None

    def apply(self, record: Record, key: str, revision: bytes, latest: datetime) -> Event | None:
        body = record.body
        assert body is not None  # noqa: S101 -- the caller quarantines records without a body
        if self.when is not None and not self.when(body):
            return None
        event_type = self.type_of(body)
        if event_type == "ignore":
            return None
        document = self.document(body)
        if document is None:
            raise NotMapped(
                "NO_DOCUMENT", f"'{self.document_expr}' is empty: which document is it about?"
            )
        occurred_at, written = self.time_of(body, latest)
        amount_minor, currency = self.money_of(body)
        references = tuple(
            (role, name) for role, name_of in self.references if (name := name_of(body)) is not None
        )
        kept, apart = self.details(body)
        kept["document"] = document
        if references:
            kept["references"] = references
        return Event(
            self.identity(body, key),
            revision,
            self.month_of(body, written),
            record.position,
            occurred_at,
            event_type,
            document,
            references,
            self.sequence(body),
            amount_minor,
            currency,
            self.entity_of(body) if self.entity_of is not None else None,
            _encode(kept),
            apart,
        )


class CompiledMapping:
    """A mapping, ready to be applied.

    `version` identifies its content. `event_types` are all that it can produce.
    """

    def __init__(self, mapping: Mapping, namespace: str, earliest: date) -> None:
        self._key_of = compile_expr(mapping.key, frozenset(mapping.nulls))
        self._key_expr = mapping.key
        self._rules = [_Rule(mapping, rule, namespace, earliest) for rule in mapping.events]
        self.version = digest("mapping", mapping.model_dump_json(exclude_defaults=True)).hex()
        self.event_types = event_types(mapping)

    def apply(self, record: Record, latest: datetime) -> list[Event]:
        """Map one record to its events; none where the mapping ignores it.

        Raises NotMapped, with the reason, where it cannot be mapped.
        """
        if record.fault is not None or record.body is None:
            raise NotMapped(
                *(
                    (record.fault.reason, record.fault.sentence)
                    if record.fault is not None
                    else ("EMPTY", "The record is empty.")
                )
            )
        key = self._key_of(record.body)
        if key is None:
            raise NotMapped(
                "NO_KEY", f"'{self._key_expr}' is empty: the record has no key of its own."
            )
        revision = record_hash(record.body)
        events = []
        for rule in self._rules:
            event = rule.apply(record, key, revision, latest)
            if event is not None:
                events.append(event)
        return events

    def key(self, record: Record) -> str | None:
        """Return the record's native key, if it can be read."""
        return self._key_of(record.body) if record.body is not None else None


def event_types(mapping: Mapping) -> frozenset[str]:
    """List the event types that a mapping can produce."""
    found: set[str] = set()
    for rule in mapping.events:
        if isinstance(rule.type, TypeByValue):
            found |= {*rule.type.values.values(), rule.type.unknown}
        else:
            found.add(rule.type)
    return frozenset(found - {"ignore", "quarantine"})
