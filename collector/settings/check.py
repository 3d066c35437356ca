"""Check what no single definition can: that what is named somewhere is defined elsewhere.

Every part is looked at on its own, so that a mistake in one hides none in another.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as MappingOf
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from collector.connector import Spec
from collector.errors import Misconfigured
from collector.settings.alerts import Alertmanager, Webhook, wrong
from collector.settings.definitions import Control, Entity, Flow, Settings, Step
from collector.settings.explain import explain
from collector.settings.kinds import Kinds, ReferenceKind, kinds, slip_of
from collector.settings.links import LinkRule, LinkSide
from collector.settings.mapping import EventFields, Mapping, Role, TypeByValue
from collector.settings.parameters import named_steps
from collector.settings.secrets import resolved
from collector.settings.tree import WHOLE_FILE, Loc, Problem, Tree, read

Model = TypeVar("Model", bound=BaseModel)
Checks = MappingOf[str, type[BaseModel]]
STEP_SIDES = ("done_by", "undone_by", "failed_by", "skip_when")


class Known(NamedTuple):
    """What a configuration is held against: the registries, and the folder its paths start from."""

    connectors: MappingOf[str, Spec]
    checks: Checks
    folder: Path


# ---------------------------------------------------------------------------------- files


def include(tree: Tree, folder: Path) -> list[Problem]:
    """Replace paths of mappings and flows by the files' content."""
    data = _section(tree.data)
    places: list[tuple[Loc, object]] = _entries_of(data, "flows")
    places += [((*loc, "mapping"), stream.get("mapping")) for loc, _, stream in _streams(data)]
    problems = []
    for loc, name in places:
        if not isinstance(name, (str, int)):
            continue
        try:
            other = read(folder / str(name))
        except (Misconfigured, ValueError) as error:
            problems.append(tree.problem(loc, str(error), "Correct the path: it is relative."))
            continue
        if isinstance(other.data, dict):
            tree.graft(loc, other)
            continue
        if not other.problems:
            what = "is empty" if other.data is None else "must be a section of keys"
            other.problems.append(
                Problem(other.at(()), WHOLE_FILE, what, "Write the mapping or the flow there.")
            )
        tree.take_problems(loc, other)
    return problems


def _section(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _streams(data: dict[str, Any]) -> Iterator[tuple[Loc, dict[str, Any], dict[str, Any]]]:
    """List (location, source, stream) as written."""
    for source_id, source in _section(data.get("sources")).items():
        for stream_id, stream in _section(_section(source).get("streams")).items():
            loc = ("sources", source_id, "streams", stream_id)
            yield loc, _section(source), _section(stream)


# ---------------------------------------------------------------------------------- parts


class Parts:
    """The parts of a configuration that are right in themselves, each with its location."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        data = _section(tree.data)
        self.streams = list(_streams(data))
        self.mappings = _valid(
            Mapping, [((*at, "mapping"), s.get("mapping")) for at, _, s in self.streams]
        )
        flows = _entries_of(data, "flows")
        self.flows = _valid(Flow, flows)
        self.controls = _valid(Control, _entries_of(data, "controls"))
        self.entities = _valid(Entity, _entries_of(data, "entities"))
        self.links = _valid(LinkRule, _entries_of(data, "links"))
        kinds_of_its_own = _valid(ReferenceKind, _entries_of(data, "kinds"))
        self.kinds = kinds({str(loc[-1]): kind for loc, kind in kinds_of_its_own.items()})
        self.kind_names = self.kinds.keys() | set(self.names("kinds"))
        alerts = _entries_of(data, "alerts")
        self.alerts: dict[Loc, Alertmanager | Webhook] = {
            **_valid(Alertmanager, alerts),
            **_valid(Webhook, alerts),
        }
        self.whole = (
            set(data) <= set(Settings.model_fields)
            and len(self.flows) == len(flows)
            and len(self.mappings) == len(self.streams)
            and not any(map(_lacking, self.mappings.values()))
        )
        """Every section, flow and mapping is right: what none of them has is nowhere."""

    def names(self, section: str) -> list[str]:
        """List the names in a section, as written: a wrong one is there all the same."""
        return sorted(_section(_section(self.tree.data).get(section)))

    def flow_names(self) -> list[str]:
        """List the ids of flows as written."""
        flows = _items(_section(self.tree.data).get("flows"))
        return [str(f["flow"]) for f in flows if isinstance(f, dict) and "flow" in f]

    def unknown(self, loc: Loc, noun: str, name: str, known: Iterable[str]) -> Problem:
        """Say that there is nothing of this name, and what was meant perhaps."""
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=1)
        there = f"{', '.join(names[:20])}{', …' if len(names) > 20 else ''}"  # noqa: PLR2004 -- one line
        remedy = f"Did you mean '{close[0]}'?" if close else f"Known: {there or 'none'}."
        return self.tree.problem(loc, f"there is no {noun} '{name}'", remedy)


def _entries_of(data: dict[str, Any], section: str) -> list[tuple[Loc, object]]:
    """List what stands in a section, by name or by number."""
    value = data.get(section)
    entries = enumerate(value) if isinstance(value, list) else _section(value).items()
    return [((section, name), inner) for name, inner in entries]


def _valid(model: type[Model], places: Iterable[tuple[Loc, object]]) -> dict[Loc, Model]:
    found: dict[Loc, Model] = {}
    for loc, value in places:
        try:
            found[loc] = model.model_validate(value)
        except ValidationError:
            continue  # the settings' own validation says so
    return found


# ---------------------------------------------------------------------------------- checks


def check(tree: Tree, known: Known) -> tuple[list[Problem], dict[tuple[str, str], BaseModel]]:
    """Check how the parts fit together; the second value is each stream's options, secrets included."""
    parts = Parts(tree)
    options: dict[tuple[str, str], BaseModel] = {}
    problems = [*_check_sources(parts, known, options)]
    for loc, mapping in parts.mappings.items():
        problems += _check_mapping(parts, loc, mapping)
    problems += _check_kinds(parts)
    problems += _check_splits(parts)
    problems += _check_lists(parts)
    problems += _check_flows(parts)
    problems += _check_links(parts)
    problems += _check_controls(parts, known.checks)
    problems += [
        parts.unknown((*loc, "calendar"), "calendar", entity.calendar, parts.names("calendars"))
        for loc, entity in parts.entities.items()
        if entity.calendar not in parts.names("calendars")
    ]
    problems += [
        parts.unknown((*loc, "entity"), "entity", entity, parts.names("entities"))
        for loc, _, stream in parts.streams
        if isinstance(entity := stream.get("entity"), str) and entity not in parts.names("entities")
    ]
    problems += [
        parts.tree.problem((*loc, *place), what, remedy)
        for loc, destination in parts.alerts.items()
        for place, what, remedy in wrong(destination, known.folder)
    ]
    return problems, options


def _check_sources(
    parts: Parts,
    known: Known,
    options: dict[tuple[str, str], BaseModel],
) -> Iterator[Problem]:
    said: set[Loc] = set()
    for loc, source, stream in parts.streams:
        name = source.get("connector")
        spec = known.connectors.get(str(name))
        at = (*loc[:2], "connector")
        if spec is not None:
            given = resolved(stream.get("read", {}), known.folder)
            try:
                options[str(loc[1]), str(loc[3])] = spec.options.model_validate(given)
            except ValidationError as error:
                yield from explain(parts.tree, error, (*loc, "read"), spec.options)
        elif isinstance(name, str) and at not in said:
            said.add(at)
            yield parts.unknown(at, "connector", name, known.connectors)


def _check_mapping(parts: Parts, loc: Loc, mapping: Mapping) -> Iterator[Problem]:
    for i, rule, name in _lacking(mapping):
        yield parts.tree.problem(
            (*loc, "events", i),
            f"event '{rule}' has no `{name}`",
            "Add it to the event, or at the top of the mapping.",
        )
    yield from _check_entity(parts, loc, mapping)
    for i, own in enumerate(mapping.events):
        yield from _check_entity(parts, (*loc, "events", i), own)
    for name, n in Counter(rule.rule for rule in mapping.events).items():
        if n > 1:
            yield parts.tree.problem(
                (*loc, "events"), f"rule '{name}' stands twice", "Rename one of them."
            )


def _check_splits(parts: Parts) -> Iterator[Problem]:
    """Where `read.split` makes several records of one, their events must not have one identity."""
    for loc, _, stream in parts.streams:
        split = _section(stream.get("read")).get("split")
        mapping = parts.mappings.get((*loc, "mapping"))
        if mapping is None or not isinstance(split, str):
            continue
        names = [mapping.key, *(name for rule in mapping.events for name in rule.discriminators)]
        if not any("#number" in name or split.replace("/", ".") in name for name in names):
            yield parts.tree.problem(
                (*loc, "mapping", "key"),
                f"all records that `split: {split}` makes of one have this `key`: each would replace the last",
                'Add a value of their own, or their number: "{…}/{#number}".',
            )


def _check_lists(parts: Parts) -> Iterator[Problem]:
    """A part that is a whole list is not tailed: nothing would say that it has come to its end."""
    for loc, _, stream in parts.streams:
        mapping = parts.mappings.get((*loc, "mapping"))
        follows = _section(stream.get("read")).get("follow") is True
        if mapping is not None and mapping.snapshot is not None and follows:
            what = "a file that is tailed is never a whole list, and the mapping has a `snapshot`"
            yield parts.tree.problem((*loc, "read", "follow"), what, "Remove `follow`.")


def _check_kinds(parts: Parts) -> Iterator[Problem]:
    """Hold the kinds that mappings name against those there are, and see that those have their scope.

    A kind that mappings make documents of needs no entry, unless it looks like a slip of another.
    """
    made = {kind for mapping in parts.mappings.values() for kind in _documents(mapping)}
    slips = {kind for kind in made if slip_of(kind, parts.kind_names)}
    known = parts.kind_names | (made - slips)
    for loc, fields in _everywhere(parts.mappings):
        for place, key, kind, scoped in _named(fields):
            if kind not in known:
                problem = parts.unknown((*loc, *place, key), "kind", kind, known)
                remedy = f"{problem.remedy} Another is declared under `kinds`."
                yield problem._replace(remedy=remedy)
            elif not scoped and (within := _within(parts.kinds, kind)):
                what = f"a value of the kind '{kind}' is unique within its {within} only"
                yield parts.tree.problem((*loc, *place), what, "Say by `scope` within which.")


def _everywhere(mappings: MappingOf[Loc, Mapping]) -> Iterator[tuple[Loc, EventFields]]:
    """List what stands at the top of mappings and in each of their events."""
    for loc, mapping in mappings.items():
        yield loc, mapping
        for i, own in enumerate(mapping.events):
            yield (*loc, "events", i), own


def _within(known: Kinds, kind: str) -> str:
    return known[kind].within if kind in known else ""


def _named(fields: EventFields) -> Iterator[tuple[Loc, str, str, bool]]:
    """List the kinds that are named: (place, key, kind, whether it has the scope that it may need)."""
    if fields.document is not None:
        yield ("document",), "type", fields.document.type, fields.document.scope is not None
    for i, r in enumerate(fields.references):
        yield ("references", i), "kind", r.kind, r.scope is not None or r.role is Role.CONTEXT


def _lacking(mapping: Mapping) -> list[tuple[int, str, str]]:
    """List what events lack that they need: (number, rule, name)."""
    return [
        (i, rule.rule, name)
        for i, rule in enumerate(mapping.events)
        for name in ("document", "occurred_at")
        if getattr(rule, name) is None
        and getattr(mapping, name) is None
        and not (name == "occurred_at" and mapping.snapshot)
    ]


def _check_entity(parts: Parts, loc: Loc, fields: EventFields) -> Iterator[Problem]:
    entity = fields.entity or ""
    if entity.startswith("=") and entity[1:] not in parts.names("entities"):
        yield parts.unknown((*loc, "entity"), "entity", entity[1:], parts.names("entities"))


def _check_flows(parts: Parts) -> Iterator[Problem]:
    types = {t for mapping in parts.mappings.values() for t in _types(mapping)}
    kinds = {kind for mapping in parts.mappings.values() for kind in _documents(mapping)}
    for (loc, flow), n in zip(parts.flows.items(), _ordinals(parts.flows.values()), strict=True):
        if n > 1:
            what = f"flow '{flow.flow}' stands twice"
            yield parts.tree.problem((*loc, "flow"), what, "Rename one of them.")
        if parts.whole and parts.streams:
            for at, event_type in _used(loc, flow):
                if event_type not in types:
                    yield parts.unknown(at, "stream that produces", event_type, types)
            for at, kind in _kinds(loc, flow):
                if kind not in kinds:
                    noun = "mapping with a document of the type"
                    yield parts.unknown(at, noun, kind, kinds)
        yield from _check_steps(parts, loc, flow)


def _check_links(parts: Parts) -> Iterator[Problem]:
    """Hold what link rules name against what there is; two rules for one pair of sides would link twice."""
    seen: dict[str, LinkRule] = {}
    for loc, rule in parts.links.items():
        yield from _check_side(parts, (*loc, "left"), rule.left)
        yield from _check_side(parts, (*loc, "right"), rule.right)
        for other, before in seen.items():
            if rule.meets(before):
                yield parts.tree.problem(
                    loc,
                    f"links the same documents as '{other}': one could be linked to two",
                    "Make it one rule, or let them differ in events, documents or sources.",
                )
        seen[str(loc[-1])] = rule


def _check_side(parts: Parts, loc: Loc, side: LinkSide) -> Iterator[Problem]:
    named = [("sources", "source", side.sources, parts.names("sources"))]
    if parts.whole:
        types = {t for mapping in parts.mappings.values() for t in _types(mapping)}
        kinds = {kind for mapping in parts.mappings.values() for kind in _documents(mapping)}
        noun = "mapping with a document of the type"
        named.append(("events", "stream that produces", side.events, sorted(types)))
        named.append(("documents", noun, side.documents, sorted(kinds)))
    for key, noun, values, known in named:
        for i, value in enumerate(values):
            if value not in known:
                yield parts.unknown((*loc, key, i), noun, value, known)


def _ordinals(flows: Iterable[Flow]) -> Iterator[int]:
    seen: Counter[str] = Counter()
    for flow in flows:
        seen[flow.flow] += 1
        yield seen[flow.flow]


def _check_steps(parts: Parts, loc: Loc, flow: Flow) -> Iterator[Problem]:
    names = [step.name for step in flow.steps]
    for i, comparison in enumerate(flow.compare):
        for side in ("left", "right"):
            name = getattr(comparison, side)
            if name not in names:
                yield parts.unknown((*loc, "compare", i, side), "step", name, names)
    for i, name in enumerate(flow.bridge):
        if name not in names:
            yield parts.unknown((*loc, "bridge", i), "step", name, names)
    for i, step in enumerate(flow.steps):
        if step.due is not None and "business" in step.due and not parts.names("entities"):
            yield parts.tree.problem(
                (*loc, "steps", i, "due"),
                "business time needs a calendar, and no entity has one",
                "Add `entities:` and `calendars:`, or write days instead.",
            )


def _used(loc: Loc, flow: Flow) -> Iterator[tuple[Loc, str]]:
    """List every event type that a flow names, with its place."""
    for i, step in enumerate(flow.steps):
        for side in STEP_SIDES:
            for n, event_type in enumerate(_side(step, side)):
                yield (*loc, "steps", i, side, n), event_type
    for name, end in flow.ends.items():
        for side, event_types in (("by", end.by), ("until", end.until)):
            for n, event_type in enumerate(event_types):
                yield (*loc, "ends", name, side, n), event_type
    yield from _compared(loc, flow)


def _kinds(loc: Loc, flow: Flow) -> Iterator[tuple[Loc, str]]:
    """List every kind of document that a flow names, with its place."""
    yield (*loc, "anchor"), flow.anchor
    for i, step in enumerate(flow.steps):
        for n, kind in enumerate(step.via):
            yield (*loc, "steps", i, "via", n), kind


def _compared(loc: Loc, flow: Flow) -> Iterator[tuple[Loc, str]]:
    for i, pair in enumerate(flow.compare):
        for side, event_types in (("components", pair.components), ("tax", pair.tax)):
            for n, event_type in enumerate(event_types):
                yield (*loc, "compare", i, side, n), event_type


def _side(step: Step, side: str) -> list[str]:
    named: list[str] = getattr(step, side)
    return named


def _check_controls(parts: Parts, checks: Checks) -> Iterator[Problem]:
    flows = parts.flow_names()
    for loc, control in parts.controls.items():
        if parts.whole:
            for i, name in enumerate(control.flows):
                if name not in flows:
                    yield parts.unknown((*loc, "flows", i), "flow", name, flows)
        parameters = checks.get(control.check)
        if parameters is None:
            yield parts.unknown((*loc, "check"), "check", control.check, checks)
            continue
        at = (*loc, "parameters")
        try:
            yield from _check_named_steps(
                parts, at, control, parameters.model_validate(control.parameters)
            )
        except ValidationError as error:
            yield from explain(parts.tree, error, at, parameters)


def _check_named_steps(
    parts: Parts, at: Loc, control: Control, parameters: BaseModel
) -> Iterator[Problem]:
    """Hold the steps that a control names against its flows: else it would look at nothing."""
    flows = [flow for flow in parts.flows.values() if flow.flow in control.flows]
    everywhere = {step.name for flow in flows for step in flow.steps}
    for step in named_steps(parameters):
        for flow in flows if step.needed else ():
            names = [own.name for own in flow.steps]
            if step.name not in names:
                noun = f"step in the flow '{flow.flow}' called"
                yield parts.unknown((*at, *step.place), noun, step.name, names)
        if flows and step.given and not step.needed and step.name not in everywhere:
            yield parts.unknown((*at, *step.place), "step", step.name, everywhere)


# ---------------------------------------------------------------------------------- what is produced


def _types(mapping: Mapping) -> set[str]:
    found: set[str] = set()
    for rule in mapping.events:
        chosen = rule.type
        found |= (
            {*chosen.values.values(), chosen.unknown}
            if isinstance(chosen, TypeByValue)
            else {chosen}
        )
    return found - {"ignore", "quarantine"}


def _documents(mapping: Mapping) -> set[str]:
    common = [mapping.document] if mapping.document is not None else []
    own = [rule.document for rule in mapping.events if rule.document is not None]
    return {document.type for document in (*common, *own)}


def produced(settings: Settings) -> dict[str, set[tuple[str, str]]]:
    """Say which streams can produce each event type."""
    out: dict[str, set[tuple[str, str]]] = {}
    for source_id, source in settings.sources.items():
        for stream_id, stream in source.streams.items():
            if isinstance(stream.mapping, Mapping):
                for event_type in _types(stream.mapping):
                    out.setdefault(event_type, set()).add((source_id, stream_id))
    return out


def feeding(settings: Settings, side: LinkSide) -> list[tuple[str, str]]:
    """Say which streams can give the documents of a link rule's side."""
    return [
        (source_id, stream_id)
        for source_id, source in settings.sources.items()
        if not side.sources or source_id in side.sources
        for stream_id, stream in source.streams.items()
        if isinstance(stream.mapping, Mapping)
        and (
            _types(stream.mapping) & set(side.events)
            or _documents(stream.mapping) & set(side.documents)
        )
    ]
