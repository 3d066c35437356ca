"""Say what a definition refuses: one problem per mistake, with its place and its remedy."""

import difflib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from collector.settings.secrets import is_hidden, refers
from collector.settings.tree import Loc, Problem, Tree

_SECTION = ("must be a section of keys", "Write `key: value` lines, indented, below it.")
_LIST = ("must be a list", "Write [a, b], or lines that begin with a dash.")
_TEXT = ("must be text", "Write a word or a quoted text.")
_WHOLE = ("must be a whole number", "Write digits only.")
_YES_NO = ("must be true or false", "Write true or false, without quotes.")
_PLAIN = {
    "string_type": _TEXT,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": ("must be a number", "Write digits, with a point for decimals."),
    "float_parsing": ("must be a number", "Write digits, with a point for decimals."),
    "bool_type": _YES_NO,
    "bool_parsing": _YES_NO,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "dict_type": _SECTION,
    "model_type": _SECTION,
    "model_attributes_type": _SECTION,
    "missing": ("is missing", "Add it."),
}


def explain(
    tree: Tree, error: ValidationError, prefix: Loc, model: type[BaseModel]
) -> list[Problem]:
    """Turn a validation's errors into problems.

    Where a value may be one of several things each refuses it in its own words: the most exact place
    counts, and of one place the first sentence. A key that is missing because it is misspelt is one
    mistake.
    """
    found: dict[Loc, tuple[bool, Any]] = {}
    for e in error.errors(include_url=False):
        loc = _place(tree, prefix, e)
        of_branch = len(loc) - len(prefix) < len(e["loc"])
        found.setdefault(loc, (of_branch, e))
    meant = {
        (*loc[:-1], name)
        for loc, (_, e) in found.items()
        if e["type"] == "extra_forbidden"
        for name in _close(str(loc[-1]), keys_at(model, loc[len(prefix) : -1]))
    }
    return [
        tree.problem(loc, *_sentence(tree, e, loc, keys_at(model, loc[len(prefix) : -1])))
        for loc, (of_branch, e) in found.items()
        if not (of_branch and any(len(i) > len(loc) and i[: len(loc)] == loc for i in found))
        and not (e["type"] == "missing" and loc in meant)
    ]


def _place(tree: Tree, prefix: Loc, error: Any) -> Loc:  # noqa: ANN401 -- pydantic's ErrorDetails
    loc = prefix
    for part in error["loc"]:  # names of branches are nowhere in the file
        if (*loc, part) in tree.positions:
            loc = (*loc, part)
    if error["type"] == "missing":
        loc = (*loc, error["loc"][-1])
    return loc


def _sentence(tree: Tree, error: Any, loc: Loc, known: list[str]) -> tuple[str, str]:  # noqa: ANN401, PLR0911 -- pydantic's ErrorDetails; one per kind of mistake
    kind = error["type"]
    given = None if is_hidden(loc) or refers(tree, loc) else error["input"]
    if kind == "extra_forbidden":
        return "unknown key", _meant(str(loc[-1]), known)
    if kind.startswith("union_tag_"):
        return _tagged(error["ctx"])
    if kind in _PLAIN:
        what, remedy = _PLAIN[kind]
        return what, remedy if kind == "missing" else _with_given(remedy, given)
    if given is None and error["input"] is not None:
        return "has the wrong form", "Look it up in the reference of the configuration."
    if kind == "string_pattern_mismatch":
        return f"'{given!s:.80}' has the wrong form", f"It must match {error['ctx']['pattern']}."
    if kind == "literal_error":
        return f"{given!r:.80} is not possible", f"Write one of {error['ctx']['expected']}."
    message = str(error["msg"]).removeprefix("Value error, ")
    what, _, remedy = message.partition("; ")
    return what[:1].lower() + what[1:], _capital(remedy) or _with_given("Correct it.", given)


def _tagged(about: dict[str, str]) -> tuple[str, str]:
    """Say what a section lacks that is told from others by one of its keys."""
    key = about["discriminator"].strip("'")
    if "expected_tags" in about:
        return f"this `{key}` is not possible", f"Write one of {about['expected_tags']}."
    return f"has no `{key}`", "Add it."


def _with_given(remedy: str, given: object) -> str:
    return f"{remedy} Given: {given!r:.80}." if isinstance(given, (str, int)) else remedy


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _close(key: str, names: list[str]) -> list[str]:
    return difflib.get_close_matches(key, names, n=1)


def _meant(key: str, names: list[str]) -> str:
    close = _close(key, names)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Remove it; known here: {', '.join(names)}." if names else "Remove it."


def keys_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """List the keys that a definition knows at a location."""
    schema = model.model_json_schema()
    nodes = [schema]
    for part in loc:
        nodes = [
            child
            for node in nodes
            for one in _branches(node, schema)
            for child in _children(one, part)
        ]
    return sorted(
        {
            key
            for node in nodes
            for one in _branches(node, schema)
            for key in one.get("properties", {})
        }
    )


def _branches(node: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Follow references and alternatives of a JSON Schema to what they stand for."""
    if "$ref" in node:
        yield from _branches(schema["$defs"][node["$ref"].rsplit("/", 1)[1]], schema)
        return
    yield node
    for inner in (*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())):
        yield from _branches(inner, schema)


def _children(node: dict[str, Any], part: str | int) -> Iterator[dict[str, Any]]:
    if isinstance(part, int):
        candidates = [node.get("items")]
    elif part in node.get("properties", {}):
        candidates = [node["properties"][part]]
    else:
        candidates = [
            node.get("additionalProperties"),
            *node.get("patternProperties", {}).values(),
        ]
    yield from (c for c in candidates if isinstance(c, dict))
