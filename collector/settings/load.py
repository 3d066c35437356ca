"""Load `tieout.yaml`: everything that is wrong is said at once, with its place and its remedy."""

import difflib
import json
import os
import re
from collections.abc import Mapping as MappingOf
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from collector.connector import Spec
from collector.errors import Misconfigured
from collector.settings.definitions import Flow, Settings, Stream
from collector.settings.mapping import Mapping, TypeByValue
from collector.settings.tree import Loc, Position, Tree, read

_REFERENCE = re.compile(r"\$\{(env|file):([^}]+)\}")
_SECRET_PLACES = (("store", "dsn"), ("api", "keys"), ("telemetry", "headers"))


class Problem(NamedTuple):
    """One thing that is wrong: where, which key, what, and the remedy."""

    at: Position
    key: str
    what: str
    remedy: str

    def __str__(self) -> str:
        """Say it in one line, as compilers do."""
        return f"{self.at.file}:{self.at.line}:{self.at.column}: {self.key}: {self.what}. {self.remedy}"


class Configuration(NamedTuple):
    """A valid configuration, and what was read with it."""

    settings: Settings
    path: Path
    options: dict[tuple[str, str], BaseModel]

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from."""
        return self.path.parent

    @property
    def flows(self) -> list[Flow]:
        """The flows, those from files included."""
        return [f for f in self.settings.flows if isinstance(f, Flow)]

    def flow(self, flow_id: str) -> Flow:
        """Return a flow by its id.

        Raises:
            Misconfigured: there is none; the message lists those that there are.
        """
        for flow in self.flows:
            if flow.flow == flow_id:
                return flow
        known = ", ".join(f.flow for f in self.flows) or "none is configured"
        raise Misconfigured(f"There is no flow '{flow_id}'. Flows: {known}.")

    def streams(self) -> dict[tuple[str, str], Stream]:
        """Return all streams by (source, stream)."""
        return {
            (source_id, stream_id): stream
            for source_id, source in self.settings.sources.items()
            for stream_id, stream in source.streams.items()
        }

    def mapping(self, source: str, stream: str) -> Mapping:
        """Return a stream's mapping."""
        found = self.settings.sources[source].streams[stream].mapping
        assert isinstance(found, Mapping)  # noqa: S101 -- paths were replaced while loading
        return found

    def namespace(self, source: str, stream: str) -> str:
        """Return the immutable id that enters the identity of a stream's events."""
        return self.settings.sources[source].streams[stream].namespace or f"{source}/{stream}"

    def document(self) -> dict[str, Any]:
        """Return what is stored of the configuration: everything that decides, and no secret."""
        return self.settings.model_dump(
            mode="json", by_alias=True, exclude={"store", "api", "telemetry"}
        )

    def hash(self) -> str:
        """Return the hash of `document()`."""
        return sha256(json.dumps(self.document(), sort_keys=True).encode()).hexdigest()


def load(
    path: Path, connectors: MappingOf[str, Spec], checks: MappingOf[str, type[BaseModel]]
) -> Configuration:
    """Load a configuration.

    `connectors` and `checks` are the registries: a check by its parameters' definition.

    Raises:
        Misconfigured: with every problem, a line each.
    """
    configuration, problems = examine(path, connectors, checks)
    if problems or configuration is None:
        raise Misconfigured("\n".join(map(str, problems)))
    return configuration


def examine(
    path: Path, connectors: MappingOf[str, Spec], checks: MappingOf[str, type[BaseModel]]
) -> tuple[Configuration | None, list[Problem]]:
    """Load a configuration and list every problem; the configuration is None where it has any."""
    tree = read(path)
    problems = _include(tree, path.parent)
    problems += [Problem(at, key, what, "") for at, key, what in tree.problems]
    try:
        settings = Settings.model_validate(tree.data if tree.data is not None else {})
    except ValidationError as error:
        return None, sorted([*problems, *_explain(tree, error, (), Settings)])
    options: dict[tuple[str, str], BaseModel] = {}
    problems += _check_sources(tree, settings, connectors, options)
    problems += _check_references(tree, settings, checks)
    problems += _check_secrets(tree, settings, path.parent)
    configuration = Configuration(settings, path, options)
    return (None if problems else configuration), sorted(problems)


def _include(tree: Tree, folder: Path) -> list[Problem]:
    """Replace paths of mappings and flows by the files' content."""
    places: list[tuple[Loc, str]] = []
    data = tree.data if isinstance(tree.data, dict) else {}
    flows = data.get("flows")
    if isinstance(flows, list):
        places += [(("flows", i), f) for i, f in enumerate(flows) if isinstance(f, str)]
    for source_id, source in _dict(data.get("sources")).items():
        for stream_id, stream in _dict(_dict(source).get("streams")).items():
            if isinstance(mapping := _dict(stream).get("mapping"), str):
                places.append((("sources", source_id, "streams", stream_id, "mapping"), mapping))
    problems = []
    for loc, name in places:
        try:
            tree.graft(loc, read(folder / name))
        except Misconfigured as error:
            problems.append(
                Problem(tree.at(loc), _key(loc), str(error), "Mend the path or the file.")
            )
    return problems


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _key(loc: Loc) -> str:
    return ".".join(map(str, loc)) or "(top)"


def _explain(
    tree: Tree, error: ValidationError, prefix: Loc, model: type[BaseModel]
) -> list[Problem]:
    """Turn a validation's errors into problems; of a union only the branch that was meant."""
    problems = []
    for e in error.errors(include_url=False):
        given = e["input"]
        if (e["type"] == "string_type" and isinstance(given, dict)) or (
            e["type"] in ("model_type", "model_attributes_type") and isinstance(given, str)
        ):
            continue
        loc: Loc = prefix
        for part in e["loc"]:  # leave out what names a branch of a union
            if (*loc, part) in tree.positions or part == e["loc"][-1]:
                loc = (*loc, part)
        what, remedy = _sentence(e, model)
        problems.append(Problem(tree.at(loc), _key(loc), what, remedy))
    return problems


def _sentence(error: Any, model: type[BaseModel]) -> tuple[str, str]:  # noqa: ANN401 -- pydantic's ErrorDetails
    key = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        names = _all_keys(model)
        close = difflib.get_close_matches(key, names, n=1)
        return "unknown key", f"Did you mean '{close[0]}'?" if close else "Remove it."
    if error["type"] == "missing":
        return "is missing", "Add it."
    if error["type"] == "string_pattern_mismatch":
        return f"'{error['input']}' has the wrong form", f"It must match {error['ctx']['pattern']}."
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:], f"Given: {error['input']!r:.80}"


def _all_keys(model: type[BaseModel]) -> list[str]:
    schema = model.model_json_schema()
    definitions = [schema, *schema.get("$defs", {}).values()]
    return sorted({key for d in definitions for key in d.get("properties", {})})


def _check_sources(
    tree: Tree,
    settings: Settings,
    connectors: MappingOf[str, Spec],
    options: dict[tuple[str, str], BaseModel],
) -> list[Problem]:
    problems = []
    for source_id, source in settings.sources.items():
        spec = connectors.get(source.connector)
        if spec is None:
            loc: Loc = ("sources", source_id, "connector")
            problems.append(
                Problem(
                    tree.at(loc),
                    _key(loc),
                    f"there is no connector '{source.connector}'",
                    f"Connectors: {', '.join(sorted(connectors))}.",
                )
            )
            continue
        for stream_id, stream in source.streams.items():
            at: Loc = ("sources", source_id, "streams", stream_id)
            try:
                options[source_id, stream_id] = spec.options.model_validate(stream.read)
            except ValidationError as error:
                problems += _explain(tree, error, (*at, "read"), spec.options)
            problems += _check_mapping(tree, (*at, "mapping"), stream)
    return problems


def _check_mapping(tree: Tree, loc: Loc, stream: Stream) -> list[Problem]:
    mapping = stream.mapping
    if not isinstance(mapping, Mapping):
        return []
    problems = []
    for i, rule in enumerate(mapping.events):
        for name in ("document", "occurred_at"):
            if getattr(rule, name) is None and getattr(mapping, name) is None:
                problems.append(
                    Problem(
                        tree.at((*loc, "events", i)),
                        _key((*loc, "events", i)),
                        f"event '{rule.rule}' has no `{name}`",
                        "Add it to the event, or at the top of the mapping.",
                    )
                )
    rules = [r.rule for r in mapping.events]
    problems += [
        Problem(
            tree.at((*loc, "events")),
            _key((*loc, "events")),
            f"rule '{r}' stands twice",
            "Rename one.",
        )
        for r in sorted({r for r in rules if rules.count(r) > 1})
    ]
    return problems


def produced(settings: Settings) -> dict[str, set[tuple[str, str]]]:
    """Say which streams can produce each event type."""
    out: dict[str, set[tuple[str, str]]] = {}
    for source_id, source in settings.sources.items():
        for stream_id, stream in source.streams.items():
            if not isinstance(stream.mapping, Mapping):
                continue
            for rule in stream.mapping.events:
                chosen = rule.type
                types = (
                    [*chosen.values.values(), chosen.unknown]
                    if isinstance(chosen, TypeByValue)
                    else [chosen]
                )
                for event_type in types:
                    out.setdefault(event_type, set()).add((source_id, stream_id))
    return out


def _check_references(
    tree: Tree, settings: Settings, checks: MappingOf[str, type[BaseModel]]
) -> list[Problem]:
    """Check that what is named somewhere is defined elsewhere."""
    problems: list[Problem] = []

    def unknown(loc: Loc, noun: str, name: str, known: list[str]) -> None:
        close = difflib.get_close_matches(name, known, n=1)
        remedy = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(known) or 'none'}."
        problems.append(Problem(tree.at(loc), _key(loc), f"there is no {noun} '{name}'", remedy))

    for entity_id, entity in settings.entities.items():
        if entity.calendar not in settings.calendars:
            unknown(
                ("entities", entity_id, "calendar"),
                "calendar",
                entity.calendar,
                sorted(settings.calendars),
            )
    flow_ids = [f.flow for f in settings.flows if isinstance(f, Flow)]
    types = produced(settings)
    for i, flow in enumerate(settings.flows):
        if not isinstance(flow, Flow):
            continue
        for n, step in enumerate(flow.steps):
            if types and not types.keys() & set(step.done_by):
                unknown(
                    ("flows", i, "steps", n, "done_by"),
                    "stream that produces",
                    step.done_by[0],
                    sorted(types),
                )
    for control_id, control in settings.controls.items():
        loc: Loc = ("controls", control_id)
        for name in control.flows:
            if name not in flow_ids:
                unknown((*loc, "flows"), "flow", name, flow_ids)
        parameters = checks.get(control.check)
        if parameters is None:
            unknown((*loc, "check"), "check", control.check, sorted(checks))
            continue
        try:
            parameters.model_validate(control.parameters)
        except ValidationError as error:
            problems += _explain(tree, error, (*loc, "parameters"), parameters)
    return problems


def _check_secrets(tree: Tree, settings: Settings, folder: Path) -> list[Problem]:
    problems = []
    for section, key in _SECRET_PLACES:
        value = getattr(getattr(settings, section), key)
        loc: Loc = (section, key)
        texts = (
            list(value.values())
            if isinstance(value, dict)
            else value
            if isinstance(value, list)
            else [value]
        )
        for text in filter(None, texts):
            if key != "dsn" and _REFERENCE.fullmatch(text) is None:
                problems.append(
                    Problem(
                        tree.at(loc),
                        _key(loc),
                        "a secret stands in the file",
                        "Refer to it: ${env:NAME} or ${file:PATH}.",
                    )
                )
                continue
            try:
                resolve(text, folder)
            except Misconfigured as error:
                problems.append(Problem(tree.at(loc), _key(loc), str(error), ""))
    return problems


def resolve(text: str, folder: Path) -> str:
    """Replace ${env:NAME} and ${file:PATH} by what they refer to. Never print the result.

    Raises:
        Misconfigured: the variable is not set, or the file cannot be read.
    """

    def value(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "env":
            found = os.environ.get(name)  # noqa: TID251 -- this is the place
            if found is None:
                raise Misconfigured(
                    f"the environment variable {name} is not set; set it, or use ${{file:…}}"
                )
            return found
        try:
            return (folder / name).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Misconfigured(
                f"the secret's file {name} cannot be read ({error.strerror})"
            ) from None

    return _REFERENCE.sub(value, text)
