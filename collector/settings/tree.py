"""YAML as data with positions: every key and value knows its file, line and column.

Plain scalars follow YAML 1.2's core schema (`no` and `on` are words, not booleans); times and
decimals stay text until a definition says what they are.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from collector.errors import Misconfigured

Loc = tuple[str | int, ...]


class Position(NamedTuple):
    """Where something stands: file, line and column from 1."""

    file: Path
    line: int
    column: int


class Tree:
    """Parsed YAML: `data`, and for each location in it the position in its file."""

    def __init__(self) -> None:
        self.data: Any = None
        self.positions: dict[Loc, Position] = {}
        self.problems: list[tuple[Position, str, str]] = []

    def at(self, loc: Loc) -> Position:
        """Return the position of a location, or of the nearest one around it."""
        while loc and loc not in self.positions:
            loc = loc[:-1]
        return self.positions[loc]

    def graft(self, loc: Loc, other: "Tree") -> None:
        """Put another file's content in at a location."""
        target = self.data
        for key in loc[:-1]:
            target = target[key]
        target[loc[-1]] = other.data
        self.positions.update({loc + inner: at for inner, at in other.positions.items()})
        self.problems += other.problems


def read(path: Path) -> Tree:
    """Read a YAML file.

    Raises:
        Misconfigured: there is no such file, it cannot be read, or it is no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise Misconfigured(f"{path}: there is no such file. `tieout init` writes one.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path}: cannot be read: {error}") from None
    tree = Tree()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        raise Misconfigured(
            f"{path}{where}: no valid YAML: {error.problem}. Look at the indentation and quotes there."
        ) from None
    except yaml.YAMLError as error:
        raise Misconfigured(f"{path}: no valid YAML: {error}") from None
    tree.positions[()] = Position(path, 1, 1)
    if node is not None:
        tree.data = _build(tree, node, (), path)
    return tree


def _build(tree: Tree, node: yaml.Node, loc: Loc, path: Path) -> Any:  # noqa: ANN401 -- any YAML
    here = Position(path, node.start_mark.line + 1, node.start_mark.column + 1)
    tree.positions.setdefault(loc, here)
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return [_build(tree, item, (*loc, i), path) for i, item in enumerate(node.value)]
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        at = Position(path, key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        if key in out:
            tree.problems.append((at, key, "stands twice; keep one of them"))
        tree.positions[*loc, key] = at
        out[key] = _build(tree, value_node, (*loc, key), path)
    return out


def _scalar(node: yaml.ScalarNode) -> str | int | bool | None:
    text: str = node.value
    if node.style is not None:
        return text
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?(0|[1-9]\d{0,17})", text) else text
