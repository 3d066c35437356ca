"""Compile a mapping once; apply it to records without looking at configuration again."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import msgspec
from typing_extensions import override

from collector.connector import Body, Record
from collector.model.event import Event
from collector.model.reference import (
    CONTEXT,
    GROUP,
    IDENTITY,
    Name,
    digest,
    digest_of,
    packed,
)
from collector.pipeline.amounts import NOTHING, compile_money
from collector.pipeline.periods import compile_valid
from collector.pipeline.times import compile_month, compile_time
from collector.pipeline.values import (
    Getter,
    NotMapped,
    compile_code,
    compile_conditions,
    compile_expr,
    compile_name,
    compile_number,
    compile_optional,
    compile_usable,
    shown,
)
from collector.settings.kinds import PLAIN, Kinds, ReferenceKind, built_in
from collector.settings.mapping import (
    TEXT_FIELDS,
    AccountingRule,
    EventFields,
    EventRule,
    Mapping,
    NumberRange,
    TypeByValue,
    named_kinds,
)

ROLES = {"identity": IDENTITY, "group": GROUP, "context": CONTEXT}
NO_NULLS: frozenset[str] = frozenset()
SEQUENCE_DIGITS_MAX = 18
BODY_BYTES_MAX = 1 << 20
"""What is kept with one event: more is a document of its own, and no finance fact."""

NameOf = Callable[[Body], Name | None]

_canonical = msgspec.json.Encoder(order="sorted", decimal_format="number").encode
_encode = msgspec.json.Encoder().encode
_NUL = b"\\u0000"  # as JSON writes it


def record_hash(body: Body) -> bytes:
    """Hash a record's parsed content (16 bytes): the same for any file format and key order.

    BLAKE2b with a digest of 16 bytes over the body as JSON in UTF-8: keys in the order of their code
    points, no blanks, text escaped only where JSON demands it, a number in the digits that the source
    wrote. A body that has no such form (half of a surrogate pair, nested without end) is never mapped;
    its hash is over its parts and only serves to know it again.
    """
    try:
        return digest_of(_canonical(body))
    except (UnicodeError, RecursionError, OverflowError, ValueError, TypeError):
        return digest_of(b"".join(_parts(body)))


def _parts(body: Body) -> list[bytes]:
    parts: list[bytes] = []
    waiting: list[object] = [body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            parts.append(b"{%d" % len(value))
            for key in sorted(value):
                waiting += (value[key], key)
        elif isinstance(value, list):
            parts.append(b"[%d" % len(value))
            waiting += value
        else:
            text = hex(value) if isinstance(value, int) else str(value)
            raw = text.encode("utf-8", "surrogatepass")
            parts.append(b"%d:%b" % (len(raw), raw))
    return parts


def _revision(body: Body) -> bytes:
    """Return the record's hash; refuse what a database cannot hold or a hash cannot name."""
    try:
        content = _canonical(body)
    except UnicodeError:
        raise NotMapped(
            "NOT_TEXT",
            "A text in the record holds half of a surrogate pair, which is no character; "
            "have the source export valid UTF-8.",
        ) from None
    except RecursionError:
        raise NotMapped("TOO_DEEP", "The record is nested too deeply to be read.") from None
    except (OverflowError, ValueError, TypeError):
        raise NotMapped("NOT_A_VALUE", "The record holds a value that JSON cannot write.") from None
    if b"\\" in content and _NUL in content and any(b"\0" in part for part in _parts(body)):
        raise NotMapped(
            "NUL_CHARACTER",
            "A text in the record holds a NUL character, which no database text can; "
            "look at the encoding of the source.",
        )
    return digest_of(content)


def _compile_type(rule: EventRule, nulls: frozenset[str]) -> Getter:
    chosen = rule.type
    if not isinstance(chosen, TypeByValue):
        return lambda _body: chosen
    value_of = compile_expr(chosen.value, nulls)
    values, unknown = chosen.values, chosen.unknown

    def type_of(body: Body) -> str | None:
        value = value_of(body) or ""
        found = values.get(value, unknown)
        if found == "quarantine":
            raise NotMapped(
                "UNKNOWN_VALUE",
                f"'{chosen.value}' is {shown(value)}, which the mapping does not know; "
                "add it to `values`, or say `ignore`.",
                chosen.value,
                value,
            )
        return None if found == "ignore" else found

    return type_of


def _compile_accounting(
    rule: AccountingRule | None, nulls: frozenset[str]
) -> Callable[[Body], dict[str, str]] | None:
    if rule is None:
        return None
    given = rule.model_dump(exclude={"format"}, exclude_none=True)
    getters = [(name, compile_expr(expr, nulls)) for name, expr in given.items()]

    def accounting(body: Body) -> dict[str, str]:
        found = {}
        for name, getter in getters:
            text = getter(body)
            if text is not None:
                is_date = name.endswith("_date")
                found[name] = _day(name, text, rule.format, given[name]) if is_date else text
        return found

    return accounting


def _day(name: str, text: str, form: str, expr: str) -> str:
    try:
        if not text.isascii():
            raise ValueError(text)  # noqa: TRY301 -- strptime takes any script's digits
        return datetime.strptime(text, form).date().isoformat()  # noqa: DTZ007 -- a date
    except ValueError:
        raise NotMapped(
            "IMPOSSIBLE_DATE",
            f"The {name.replace('_', ' ')} {shown(text)} is no date of the form '{form}'.",
            expr,
            text,
        ) from None


def _compile_sequence(
    expr: str | None, nulls: frozenset[str]
) -> Callable[[Body], int | None] | None:
    if expr is None:
        return None
    value_of = compile_expr(expr, nulls)

    def sequence(body: Body) -> int | None:
        text = value_of(body)
        if text is None:
            return None
        digits = text.removeprefix("-")
        if len(digits) > SEQUENCE_DIGITS_MAX or not (digits.isascii() and digits.isdecimal()):
            raise NotMapped(
                "NOT_A_NUMBER",
                f"The sequence {shown(text)} is no whole number of at most "
                f"{SEQUENCE_DIGITS_MAX} digits.",
                expr,
                text,
            )
        return int(text)

    return sequence


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
    if common.snapshot is not None:
        merged["occurred_at"] = common.snapshot
    return EventFields.model_construct(**merged)


class _Details:
    """Everything of an event that has no column: kept with it, or apart where it is personal."""

    def __init__(
        self,
        fields: EventFields,
        personal: frozenset[str],
        nulls: frozenset[str],
        number_range: NumberRange | None,
    ) -> None:
        texts = [(n, expr) for n in TEXT_FIELDS if (expr := getattr(fields, n)) is not None]
        groups = (("dimensions", fields.dimensions), ("attributes", fields.attributes))
        self._texts = [(n, compile_expr(e, nulls)) for n, e in texts if n not in personal]
        self._apart = [(n, compile_expr(e, nulls)) for n, e in texts if n in personal]
        self._groups: list[tuple[str, list[tuple[str, Getter]]]] = []
        for group, members in groups:
            compiled = [(n, compile_expr(e, nulls)) for n, e in members.items()]
            self._apart += [(n, getter) for n, getter in compiled if n in personal]
            if kept := [(n, getter) for n, getter in compiled if n not in personal]:
                self._groups.append((group, kept))
        self._accounting = _compile_accounting(fields.accounting, nulls)
        self._valid = compile_valid(fields.valid, nulls)
        self._number = compile_number(number_range, nulls)

    def kept(self, body: Body) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, getter in self._texts:
            value = getter(body)
            if value is not None:
                kept[name] = value
        for group, members in self._groups:
            found = {n: value for n, getter in members if (value := getter(body)) is not None}
            if found:
                kept[group] = found
        if self._valid is not None and (valid := self._valid(body)):
            kept["valid"] = valid
        if self._accounting is not None and (accounting := self._accounting(body)):
            kept["accounting"] = accounting
        if self._number is not None and (number := self._number(body)):
            kept["number"] = number
        return kept

    def apart(self, body: Body) -> dict[str, Any] | None:
        if not self._apart:
            return None
        found = {n: value for n, getter in self._apart if (value := getter(body)) is not None}
        return found or None


class _Rule:
    """One event rule, compiled."""

    def __init__(
        self, mapping: Mapping, rule: EventRule, namespace: str, earliest: date, kinds: Kinds
    ) -> None:
        nulls = frozenset(mapping.nulls)
        fields = _merge(mapping, rule)
        if fields.document is None or fields.occurred_at is None:
            missing = "document" if fields.document is None else "occurred_at"
            raise ValueError(f"event '{rule.rule}' has no `{missing}`; add it there or at the top")
        # The identity's layout is that of `digest("event", namespace, key, rule, *discriminators)`.
        self.before_key = packed("event") + packed(namespace)
        self.after_key = packed(rule.rule)
        told_apart = rule.discriminators
        if mapping.snapshot is not None:  # a row is told again by each list
            told_apart = [*told_apart, mapping.snapshot.value]
        self.discriminators = [compile_expr(expr, NO_NULLS) for expr in told_apart]
        self.row_of = compile_expr(mapping.key, nulls) if mapping.snapshot is not None else None
        self.namespace = namespace
        self.when = compile_conditions(rule.when, nulls) if rule.when else None
        self.type_of = _compile_type(rule, nulls)
        self.document_expr = fields.document.number
        meant = kinds.get(fields.document.type, PLAIN)
        self.document = compile_name(fields.document, meant, nulls)
        self.is_usable = compile_usable(fields.document, meant, nulls)
        self.time_of = compile_time(fields.occurred_at, nulls, earliest)
        self.month_of = compile_month(fields.month, nulls, earliest)
        self.money_of = compile_money(fields.amount, nulls)
        self.references: list[tuple[int, NameOf]] = []
        self.doubtful: list[tuple[int, NameOf, Callable[[Body, Name], bool]]] = []
        for r in fields.references:
            meant = kinds.get(r.kind, PLAIN)
            role, name_of, is_usable = (
                ROLES[r.role],
                compile_name(r, meant, nulls),
                compile_usable(r, meant, nulls),
            )
            if is_usable is None:
                self.references.append((role, name_of))
            else:
                self.doubtful.append((role, name_of, is_usable))
        self.entity_of = compile_code(fields.entity, nulls)
        self.sequence_of = _compile_sequence(fields.sequence, nulls)
        self.details = _Details(fields, frozenset(mapping.personal), nulls, mapping.number_range)

    def identity(self, body: Body, packed_key: bytes) -> bytes:
        layout = self.before_key + packed_key + self.after_key
        for getter in self.discriminators:
            layout += packed(getter(body) or "")
        return digest_of(layout)

    def names(self, body: Body) -> tuple[Name, tuple[tuple[int, Name], ...]]:
        document = self.document(body)
        if document is None:
            raise NotMapped(
                "NO_DOCUMENT",
                f"'{self.document_expr}' is empty: which document is it about?",
                self.document_expr,
            )
        if self.is_usable is not None and not self.is_usable(body, document):
            raise NotMapped(
                "NO_DOCUMENT",
                f"'{self.document_expr}' is {shown(document.value)}, a default or with wrong check "
                f"digits, and names no {document.kind.replace('_', ' ')}.",
                self.document_expr,
                document.value,
            )
        references = []
        for role, name_of in self.references:
            name = name_of(body)
            if name is not None:
                references.append((role, name))
        for role, name_of, is_usable in self.doubtful:
            name = name_of(body)
            if name is not None:
                references.append((role if is_usable(body, name) else CONTEXT, name))
        return document, tuple(references)

    def apply(
        self, record: Record, body: Body, known: tuple[bytes, bytes], latest: datetime
    ) -> Event | None:
        """Make the event, or None; `known` is what identifies the record: packed key, revision."""
        if self.when is not None and not self.when(body):
            return None
        event_type = self.type_of(body)
        if event_type is None:
            return None
        document, references = self.names(body)
        occurred_at, month = self.time_of(body, latest)
        if self.month_of is not None:
            month = self.month_of(body, latest)
        amount_minor, currency = self.money_of(body) if self.money_of is not None else NOTHING
        kept = self.details.kept(body)
        kept["document"] = document
        if self.row_of is not None:
            kept["listed"] = {"list": self.namespace, "row": self.row_of(body)}
        if references:
            kept["references"] = references
        encoded = _encode(kept)
        if len(encoded) > BODY_BYTES_MAX:
            raise NotMapped("TOO_LONG", "The mapped fields are larger than 1 MiB; map fewer.")
        return Event(
            self.identity(body, known[0]),
            known[1],
            month,
            record.position,
            occurred_at,
            event_type,
            document,
            references,
            self.sequence_of(body) if self.sequence_of is not None else None,
            amount_minor,
            currency,
            self.entity_of(body) if self.entity_of is not None else None,
            encoded,
            self.details.apart(body),
        )


class CompiledMapping:
    """A mapping, ready to be applied; pickled, it is compiled again where it is unpickled.

    `version` identifies its content, with what the kinds that it names say. `event_types` are all that it
    can produce. With `entity` a record of another one cannot be mapped.
    """

    def __init__(
        self,
        mapping: Mapping,
        namespace: str,
        earliest: date,
        entity: str | None = None,
        kinds: Kinds | None = None,
    ) -> None:
        known = built_in() if kinds is None else kinds
        meant = {name: known[name] for name in sorted(named_kinds(mapping) & known.keys())}
        self._given = mapping, namespace, earliest, entity, meant
        self._entity = entity
        self._key_of = compile_expr(mapping.key, frozenset(mapping.nulls))
        self._key_expr = mapping.key
        self.snapshot = mapping.snapshot is not None
        total = mapping.snapshot.total if mapping.snapshot is not None else None
        self.total_of = compile_optional(total, frozenset(mapping.nulls))
        self._rules = [_Rule(mapping, rule, namespace, earliest, meant) for rule in mapping.events]
        content = mapping.model_dump_json(exclude_defaults=True)
        rules = [f"{name} {said}" for name, kind in meant.items() if (said := _rules(kind))]
        self.version = digest("mapping", content, *filter(None, [entity]), *rules).hex()
        self.event_types = event_types(mapping)

    @override
    def __reduce__(self) -> tuple[type["CompiledMapping"], tuple[Any, ...]]:
        return CompiledMapping, self._given

    def apply(self, record: Record, latest: datetime) -> list[Event]:
        """Map one record to its events; none where the mapping ignores it.

        Raises NotMapped, with the reason, where it cannot be mapped.
        """
        body = record.body
        if record.fault is not None:
            raise NotMapped(record.fault.reason, record.fault.sentence)
        if body is None:
            raise NotMapped("EMPTY", "The record is empty.")
        revision = _revision(body)
        key = self._key_of(body)
        if key is None:
            raise NotMapped(
                "NO_KEY",
                f"'{self._key_expr}' is empty: the record has no key of its own.",
                self._key_expr,
            )
        known = (packed(key), revision)
        events = []
        for rule in self._rules:
            event = rule.apply(record, body, known, latest)
            if event is not None:
                if self._entity is not None and event.entity != self._entity:
                    raise NotMapped(
                        "OTHER_ENTITY",
                        f"The record is of the entity {shown(event.entity or '')}, and its stream is declared "
                        f"to hold {self._entity} alone; correct the `entity` of the stream, or its files.",
                    )
                events.append(event)
        return events

    def key(self, record: Record) -> str | None:
        """Return the record's native key, if it can be read."""
        try:
            return self._key_of(record.body) if record.body is not None else None
        except NotMapped:
            return None

    def identities(self, record: Record) -> list[bytes] | None:
        """Return the ids of all events that a record can ever have meant; None where it has no key.

        One that means something else by now, or cannot be mapped, is still there. Only what `discriminators`
        told of it earlier cannot be known.
        """
        key = self.key(record)
        if key is None or record.body is None:
            return None
        try:
            return [rule.identity(record.body, packed(key)) for rule in self._rules]
        except NotMapped:
            return None

    @property
    def discriminates(self) -> bool:
        """Whether ids of events hold more than the key and the rule."""
        return any(rule.discriminators for rule in self._rules)


def event_types(mapping: Mapping) -> frozenset[str]:
    """List the event types that a mapping can produce."""
    found: set[str] = set()
    for rule in mapping.events:
        if isinstance(rule.type, TypeByValue):
            found |= {*rule.type.values.values(), rule.type.unknown}
        else:
            found.add(rule.type)
    return frozenset(found - {"ignore", "quarantine"})


def _rules(kind: ReferenceKind) -> str:
    """Write what a kind does to names; empty where it does nothing."""
    rules = kind.model_dump_json(include={"normalise", "check", "defaults"}, exclude_defaults=True)
    return "" if rules == "{}" else rules
