"""Can records be followed? Which of them carry a usable key, which do not, what that costs, and the mend.

A record's keys are the identity references that its mapping declares; and its document's own number, where
another system knows documents of that kind. A record with neither in its mapping is meant to stand alone.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from collector.model.reference import CONTEXT, IDENTITY
from collector.model.words import counted
from collector.pipeline.correlate import Limit
from collector.settings.definitions import Settings
from collector.settings.fields import carrying_field, names_an_interface
from collector.settings.kinds import PLAIN, Kinds
from collector.settings.load import Configuration
from collector.settings.mapping import EventRule, ReferenceRule, Role, TypeByValue
from collector.settings.mapping import Mapping as MappingRules
from collector.store import readiness
from collector.store.ingest import Connection

DEFAULTS_OF_A_KIND_MAX = 3
TIMES_NEXT = 5
"""So few values of a kind may stand in so many times the documents of the next one: these are defaults.

Where many values are frequent, as the entries of a bank that books whole runs, that is their nature.
"""

DEFAULTS_MAX = 100
"""Values listed; the most frequent come first."""

Amounts = dict[str, int]
Place = tuple[str, str, str | None]
"""Source, stream, and interface where the records name one."""


class Cost(msgspec.Struct):
    """Documents that cannot be followed, and what they last stated (minor units by currency)."""

    documents: int = 0
    amounts: Amounts = {}


class Key(msgspec.Struct, frozen=True):
    """A key that a mapping expects: its kind, the field it is taken from, and how long a field that cuts is."""

    kind: str
    field: str
    field_length: int | None = None


class Mend(msgspec.Struct, frozen=True):
    """Who must do what, in the system's own words; `says` is where the vendor says so."""

    field: str
    system: str
    sentence: str
    says: str | None


class Interface(msgspec.Struct):
    """What the records of one stream, or of one interface in it, carry.

    `share` is the usable part of the records that should carry a key. `lost` are documents without a usable
    key, `unmatched` those with one that nobody else has named.
    """

    source: str
    stream: str
    interface: str | None
    records: int = 0
    usable: int = 0
    missing: int = 0
    default: int = 0
    invalid: int = 0
    cut: int = 0
    not_expected: int = 0
    share: float | None = None
    keys: list[Key] = []
    lost: Cost = msgspec.field(default_factory=Cost)
    unmatched: Cost = msgspec.field(default_factory=Cost)
    mends: list[Mend] = []


class Default(msgspec.Struct):
    """A value that names too much to join: of a key (identity), or one that is searched (context)."""

    kind: str
    scope: str
    value: str
    role: str
    documents: int
    limit: int
    sentence: str


class Readiness(msgspec.Struct):
    """What `tieout readiness` says."""

    interfaces: list[Interface]
    defaults: list[Default]
    has_more: bool


class _Meant(msgspec.Struct):
    """What the mapping of a stream expects of the records behind one event type of a kind of document."""

    source: str
    stream: str
    type: str
    document: str
    interface: str | None
    keys: set[Key]
    is_shared: bool = False

    def asked(self, n: int, kinds: Kinds) -> dict[str, Any]:
        """Return what is asked of the store: patterns of an event's references."""
        names = sorted({key.kind for key in self.keys})
        meant = {name: kinds.get(name, PLAIN) for name in names}
        return {
            "n": n,
            "source": self.source,
            "stream": self.stream,
            "type": self.type,
            "document": self.document,
            "interface": self.interface,
            "keys": [_holds(IDENTITY, name) for name in names],
            "defaults": [_holds(CONTEXT, n, v) for n, kind in meant.items() for v in kind.defaults],
            "invalid": [_holds(CONTEXT, n) for n, kind in meant.items() if kind.check],
            "cut": [_holds(CONTEXT, key.kind) for key in self.keys if key.field_length is not None],
        }


def _holds(role: int, *name: str) -> dict[str, Any]:
    """Return what an event's body contains that holds such a reference."""
    return {"references": [[role, list(name)]]}


async def assess(conn: Connection, configuration: Configuration, limit: Limit) -> Readiness:
    """Assess the whole store against the configuration, as it is at present."""
    settings = configuration.settings
    meant = _meant(settings)
    asked = [m.asked(n, settings.known_kinds) for n, m in enumerate(meant)]
    kinds, types = _kinds(configuration, meant), _types(configuration)
    most = settings.limits.max_documents
    found = _Found(meant)
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await readiness.read_whole(conn)
        held = await readiness.crowded(conn, min([most, *_own_limits(settings.known_kinds)]))
        crowded = [row for row in held if row["documents"] > limit(row["kind"])]
        names = [(row["value_hash"], row["name_hash"]) for row in crowded]
        only = await readiness.only_crowded(conn, names)
        for row in await readiness.records(conn, asked, only):
            found.count(row)
        for row in await readiness.alone(conn, asked, only, kinds, types):
            found.lose(row)
        frequent = await readiness.frequent(conn, DEFAULTS_OF_A_KIND_MAX + 1)
    interfaces = [found.rows[place] for place in sorted(found.rows, key=_order)]
    for interface in interfaces:
        _conclude(interface, settings)
    defaults = [_over_limit(row, limit) for row in crowded]
    for _, of_kind in groupby(frequent, key=itemgetter("kind")):
        defaults += _standing_out(list(of_kind), limit)
    defaults.sort(key=lambda d: (-d.documents, d.kind, d.scope, d.value))
    return Readiness(interfaces, defaults[:DEFAULTS_MAX], len(defaults) > DEFAULTS_MAX)


def _own_limits(kinds: Kinds) -> list[int]:
    return [kind.max_documents for kind in kinds.values() if kind.max_documents is not None]


def _order(place: Place) -> tuple[str, str, str]:
    source, stream, interface = place
    return source, stream, interface or ""


# ---------------------------------------------------------------------------------- what is expected


def _meant(settings: Settings) -> list[_Meant]:
    """List what the mappings expect, by stream, event type and kind of document."""
    found: dict[tuple[str, str, str, str], _Meant] = {}
    known_by: defaultdict[str, set[str]] = defaultdict(set)
    for source, stream, mapping in _mappings(settings):
        system = settings.sources[source].system
        interface = next((n for n, e in mapping.attributes.items() if names_an_interface(e)), None)
        for rule in mapping.events:
            document = rule.document or mapping.document
            assert document is not None  # noqa: S101 -- `config check` has seen to it
            joining = _joining(mapping, rule)
            known_by[document.type].add(system)
            for reference in joining:
                known_by[reference.kind].add(system)
            for event_type in _types_of(rule):
                place = source, stream, event_type, document.type
                said = found.setdefault(place, _Meant(*place, interface, set()))
                said.keys |= {
                    Key(r.kind, r.value, r.field_length) for r in joining if r.kind != document.type
                }
    for said in found.values():
        said.is_shared = len(known_by[said.document]) > 1
    return list(found.values())


def _mappings(settings: Settings) -> Iterator[tuple[str, str, MappingRules]]:
    for source_id, source in settings.sources.items():
        for stream_id, stream in source.streams.items():
            assert isinstance(stream.mapping, MappingRules)  # noqa: S101 -- paths were replaced while loading
            yield source_id, stream_id, stream.mapping


def _joining(mapping: MappingRules, rule: EventRule) -> list[ReferenceRule]:
    return [r for r in (*mapping.references, *rule.references) if r.role is Role.IDENTITY]


def _types_of(rule: EventRule) -> set[str]:
    chosen = rule.type
    types = (
        {*chosen.values.values(), chosen.unknown} if isinstance(chosen, TypeByValue) else {chosen}
    )
    return types - {"ignore", "quarantine"}


def _kinds(configuration: Configuration, meant: Sequence[_Meant]) -> dict[str, set[str]]:
    """Sort the kinds of documents: those that flows hang on, those apart by nature, those with a shared name."""
    anchors = {flow.anchor for flow in configuration.flows}
    groups = {kind for flow in configuration.flows for step in flow.steps for kind in step.via}
    shared = {m.document for m in meant if m.is_shared}
    return {"anchors": anchors, "apart": anchors | groups, "shared": shared}


def _types(configuration: Configuration) -> set[str]:
    """List the event types by which a document takes part in a flow."""
    return {
        event_type
        for flow in configuration.flows
        for step in flow.steps
        for event_type in (*step.done_by, *step.undone_by, *step.failed_by)
    }


# ---------------------------------------------------------------------------------- what was found


class _Found:
    """Gathers counts by stream and interface."""

    def __init__(self, meant: Sequence[_Meant]) -> None:
        self._meant = meant
        self.rows: dict[Place, Interface] = {}

    def _row(self, *place: *Place) -> Interface:
        return self.rows.setdefault(place, Interface(*place))

    def count(self, counted: Mapping[str, Any]) -> None:
        """Add the records of one event type and interface that carry the same."""
        meant = self._meant[counted["n"]]
        row = self._row(meant.source, meant.stream, counted["interface"])
        verdict = counted["verdict"]
        if meant.is_shared:
            verdict = "usable"
        elif not meant.keys:
            verdict = "not_expected"
        row.records += counted["records"]
        setattr(row, verdict, getattr(row, verdict) + counted["records"])
        expected = meant.keys if verdict != "not_expected" else set()
        row.keys = sorted(
            {*row.keys, *expected}, key=lambda key: (key.kind, key.field, key.field_length or 0)
        )

    def lose(self, alone: Mapping[str, Any]) -> None:
        """Add documents that stand alone."""
        row = self._row(alone["source"], alone["stream"], alone["interface"])
        cost = row.unmatched if alone["keyed"] else row.lost
        cost.documents += alone["documents"]
        if alone["currency"] is not None:
            held = cost.amounts.get(alone["currency"], 0)
            cost.amounts = {**cost.amounts, alone["currency"]: held + alone["amount_minor"]}


def _conclude(row: Interface, settings: Settings) -> None:
    expected = row.records - row.not_expected
    row.share = row.usable * 10_000 // expected / 10_000 if expected else None  # 1 is all of them
    if row.usable < expected:
        system = settings.sources[row.source].system
        row.mends = [_mend(key, system) for key in row.keys]


def _mend(key: Key, system: str) -> Mend:
    found = carrying_field(key.field)
    if found is None:
        sentence = f"Have {system} fill '{key.field}' with the number of the {_worded(key.kind)}."
        return Mend(key.field, system, sentence, None)
    _, field = found
    return Mend(key.field, field.system, f"{field.mend}.", field.says)


def _worded(kind: str) -> str:
    return kind.replace("_", " ")


def _over_limit(row: Mapping[str, Any], limit: Limit) -> Default:
    most = limit(row["kind"])
    sentence = (
        f"{counted(row['documents'], 'document')} hold it as a key, and at most {most} may: it joins nothing. Have the "
        f"sender leave it out, or list it in `defaults` of the kind '{row['kind']}'."
    )
    return Default(
        row["kind"], row["scope"], row["value"], "identity", row["documents"], most, sentence
    )


def _standing_out(frequent: Sequence[Mapping[str, Any]], limit: Limit) -> list[Default]:
    """Pick the values that stand out from the next one, out of the most frequent of a kind."""
    most = limit(frequent[0]["kind"])
    held = [row["documents"] for row in frequent]
    places = [n for n in range(1, len(held)) if held[n - 1] >= TIMES_NEXT * held[n]]
    return [
        _searched(row, held[places[-1]], most)
        for row in frequent[: places[-1] if places else 0]
        if row["documents"] > most
    ]


def _searched(row: Mapping[str, Any], following: int, most: int) -> Default:
    kind = row["kind"]
    sentence = (
        f"{counted(row['documents'], 'document')} name it, and at most {following:,} any {_worded(kind)} that is no such "
        f"default: it stands for none in particular, and as a key it would join nothing."
    )
    return Default(kind, row["scope"], row["value"], "context", row["documents"], most, sentence)
