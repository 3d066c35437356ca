"""YAML as data with positions: every key and value knows its file, line and column.

Plain scalars follow YAML 1.2's core schema (`no` and `on` are words, not booleans); times and
decimals stay text until a definition says what they are.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from typing_extensions import override

from collector.errors import Misconfigured

Loc = tuple[str | int, ...]

FILE_BYTES_MAX = 4 << 20
NODES_MAX = 100_000
"""Keys and values in one file, aliases counted as often as they are used."""
DEPTH_MAX = 30
WHOLE_FILE = "(file)"
"""The key of a problem that is no single key's."""


class Position(NamedTuple):
    """Where something stands: file, line and column from 1."""

    file: Path
    line: int
    column: int


class Problem(NamedTuple):
    """One thing that is wrong: where, which key, what, and the remedy."""

    at: Position
    key: str
    what: str
    remedy: str

    @override
    def __str__(self) -> str:
        """Say it in one line, as compilers do."""
        return f"{self.at.file}:{self.at.line}:{self.at.column}: {self.key}: {self.what}. {self.remedy}"


class Tree:
    """Parsed YAML: `data`, for each location in it the position in its file, and what is wrong."""

    def __init__(self, path: Path) -> None:
        self.data: Any = None
        self.positions: dict[Loc, Position] = {(): Position(path, 1, 1)}
        self.problems: list[Problem] = []

    def at(self, loc: Loc) -> Position:
        """Return the position of a location, or of the nearest one around it."""
        while loc not in self.positions:
            loc = loc[:-1]
        return self.positions[loc]

    def problem(self, loc: Loc, what: str, remedy: str) -> Problem:
        """Make a problem of what is wrong at a location."""
        return Problem(self.at(loc), key_of(loc), what, remedy)

    def graft(self, loc: Loc, other: "Tree") -> None:
        """Put another file's content in at a location."""
        target = self.data
        for key in loc[:-1]:
            target = target[key]
        target[loc[-1]] = other.data
        self.positions.update({loc + inner: at for inner, at in other.positions.items()})
        self.take_problems(loc, other)

    def take_problems(self, loc: Loc, other: "Tree") -> None:
        """Take over another file's problems, with keys as seen from this one."""
        prefix = key_of(loc)
        self.problems += [
            p if p.key == WHOLE_FILE else p._replace(key=f"{prefix}.{p.key}")
            for p in other.problems
        ]

    def scalars(self) -> Iterator[tuple[Loc, str]]:
        """List every value that is a text or a number, as text, with its location."""
        waiting: list[tuple[Loc, object]] = [((), self.data)]
        while waiting:
            loc, value = waiting.pop()
            if isinstance(value, dict):
                waiting += [((*loc, key), inner) for key, inner in value.items()]
            elif isinstance(value, list):
                waiting += [((*loc, i), inner) for i, inner in enumerate(value)]
            elif isinstance(value, (str, int)):
                yield loc, str(value)


def key_of(loc: Loc) -> str:
    """Write a location as people do: `sources.erp.streams.documents`."""
    return ".".join(map(str, loc)) or "(top)"


class _Broken(Exception):
    """Carries the problem that ends the reading of a file."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def read(path: Path) -> Tree:
    """Read a YAML file; what is wrong with its text is among the tree's problems.

    Raises:
        Misconfigured: there is no such file, or it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise Misconfigured(f"there is no such file as {path}") from None
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read ({error.strerror})") from None
    tree = Tree(path)
    try:
        node = _compose(_text(raw, path), path)
        if node is not None:
            tree.data = _Builder(tree, path).build(node, ())
    except _Broken as broken:
        tree.problems.append(broken.problem)
    return tree


def _text(raw: bytes, path: Path) -> str:
    if len(raw) > FILE_BYTES_MAX:
        raise _broken(
            path, (1, 1), "is larger than 4 MiB", "This is no configuration; name another file."
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8", "replace")
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        raise _broken(
            path,
            (line, column),
            f"is no UTF-8: byte {error.object[error.start]:#04x}",
            "Save the file as UTF-8.",
        ) from None


def _broken(path: Path, at: tuple[int, int], what: str, remedy: str) -> _Broken:
    return _Broken(Problem(Position(path, *at), WHOLE_FILE, what, remedy))


def _compose(text: str, path: Path) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        at = (before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        raise _broken(
            path, at, "holds a character that YAML does not allow", "Remove it."
        ) from None
    except yaml.MarkedYAMLError as error:
        raise _unparsed(path, error) from None
    except RecursionError:
        raise _broken(path, (1, 1), "is nested too deeply", "Write it flatter.") from None
    return node


def _unparsed(path: Path, error: yaml.MarkedYAMLError) -> _Broken:
    mark, problem = error.problem_mark, error.problem or "no valid YAML"
    remedy = "Look at the indentation and the quotes there."
    if "'\\t'" in problem:
        problem, remedy = "a tab", "Indent with spaces: YAML allows no tabs there."
    elif "unexpected end of stream" in problem and error.context_mark is not None:
        mark, problem = error.context_mark, "a quote is not closed"
        remedy = "Close it with the same quote."
    at = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    return _broken(path, at, f"no valid YAML: {problem}", remedy)


class _Builder:
    """Turns nodes into data, and notes where each stood."""

    def __init__(self, tree: Tree, path: Path) -> None:
        self.tree = tree
        self.path = path
        self.nodes = 0

    def build(self, node: yaml.Node, loc: Loc) -> Any:  # noqa: ANN401 -- any YAML
        """Return a node's data."""
        at = self._at(node)
        if loc:
            self.tree.positions.setdefault(loc, at)
        self.nodes += 1
        if self.nodes > NODES_MAX or len(loc) > DEPTH_MAX:
            raise _broken(
                self.path,
                (at.line, at.column),
                "is nested too deeply, or an alias repeats too much",
                "Write out what the alias stands for.",
            )
        if isinstance(node, yaml.ScalarNode):
            self._check_text(loc, at, node.value)
            return _scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*loc, i)) for i, item in enumerate(node.value)]
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            self._entry(out, loc, key_node, value_node)
        return out

    def _entry(self, out: dict[str, Any], loc: Loc, key_node: Any, value_node: Any) -> None:  # noqa: ANN401 -- yaml.Node
        at = self._at(key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            self._problem(
                at, key_of(loc), "a key is no plain text", "Write a word before the colon."
            )
            return
        key = str(key_node.value)
        inner = (*loc, key)
        self._check_text(inner, at, key)
        if key in out:
            self._problem(at, key_of(inner), "stands twice", "Keep one of them.")
            return
        self.tree.positions[inner] = at
        out[key] = self.build(value_node, inner)

    def _check_text(self, loc: Loc, at: Position, text: str) -> None:
        if "\0" in text or (not text.isascii() and _unpaired(text)):
            self._problem(at, key_of(loc), "holds a character that cannot be stored", "Remove it.")

    def _problem(self, at: Position, key: str, what: str, remedy: str) -> None:
        self.tree.problems.append(Problem(at, key, what, remedy))

    def _at(self, node: yaml.Node) -> Position:
        return Position(self.path, node.start_mark.line + 1, node.start_mark.column + 1)


def _unpaired(text: str) -> bool:
    return re.search(r"[\ud800-\udfff]", text) is not None


def _scalar(node: yaml.ScalarNode) -> str | int | bool | None:
    text: str = node.value
    if node.style is not None:
        return text
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text) else text
