"""Load `tieout.yaml`: everything that is wrong is said at once, with its place and its remedy."""

import json
from collections.abc import Mapping as MappingOf
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from collector.connector import Spec
from collector.errors import Misconfigured
from collector.settings.check import Known, check, include, produced
from collector.settings.definitions import Flow, Settings, Stream
from collector.settings.explain import explain
from collector.settings.mapping import Mapping
from collector.settings.secrets import check_secrets, resolve
from collector.settings.tree import Position, Problem, Tree, read

__all__ = ["Configuration", "Position", "Problem", "examine", "load", "produced", "resolve"]


class Configuration(NamedTuple):
    """A valid configuration. `options` holds each stream's `read:` with its secrets: never print it."""

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
            mode="json", by_alias=True, exclude={"store", "api", "telemetry", "alerts"}
        )

    def hash(self) -> str:
        """Return the hash of `document()`."""
        return sha256(json.dumps(self.document(), sort_keys=True).encode()).hexdigest()


def load(
    path: Path,
    connectors: MappingOf[str, Spec],
    checks: MappingOf[str, type[BaseModel]],
    *,
    sources_only: bool = False,
) -> Configuration:
    """Load a configuration.

    `connectors` and `checks` are the registries: a check by its parameters' definition. With
    `sources_only` secrets that reading the sources does not need may be missing.

    Raises:
        Misconfigured: with every problem, a line each.
    """
    configuration, problems = examine(path, connectors, checks, sources_only=sources_only)
    if problems or configuration is None:
        raise Misconfigured("\n".join(map(str, problems)))
    return configuration


def examine(
    path: Path,
    connectors: MappingOf[str, Spec],
    checks: MappingOf[str, type[BaseModel]],
    *,
    sources_only: bool = False,
) -> tuple[Configuration | None, list[Problem]]:
    """Load a configuration and list every problem; the configuration is None where it has any."""
    try:
        tree = read(path)
    except Misconfigured as error:
        tree = Tree(path)
        return None, [tree.problem((), str(error), "`tieout init` writes one.")]
    if tree.data is None:
        empty = tree.problem((), "the file is empty", "`tieout init` writes one.")
        return None, tree.problems or [empty]
    problems = [*include(tree, path.parent), *tree.problems]
    settings, wrong = _validated(tree)
    said = {problem.at for problem in problems}
    problems += [problem for problem in wrong if problem.at not in said]
    further, options = check(tree, Known(connectors, checks, path.parent))
    secrets = check_secrets(tree, path.parent, sources_only=sources_only)
    said = {problem.at for problem in secrets}  # a reference that leads nowhere fits no definition
    problems += [*secrets, *(problem for problem in further if problem.at not in said)]
    if problems or settings is None:
        return None, sorted(set(problems))
    return Configuration(settings, path, options), []


def _validated(tree: Tree) -> tuple[Settings | None, list[Problem]]:
    try:
        return Settings.model_validate(tree.data), []
    except ValidationError as error:
        return None, explain(tree, error, (), Settings)
