"""Secrets: only by reference, and never printed."""

import os
import re
from pathlib import Path

from collector.errors import Misconfigured
from collector.settings.tree import Loc, Problem, Tree

_REFERENCE = re.compile(r"\$\{(env|file):([^}]+)\}")
_SECRET_NAME = re.compile(
    r"secret|passw|passphrase|token|credential|private_?key|api_?key|^dsn$", re.IGNORECASE
)
_ADDRESS = re.compile(r"_(url|uri|endpoint)$", re.IGNORECASE)  # where a token is got is no token
_PASSWORD = re.compile(r"://[^/@:\s]*:([^@/]+)@|\bpassword=([^&\s]+)", re.IGNORECASE)
_OF_ALERTS = (("secret",), ("old_secret",), ("headers",), ("url",))
_HIDDEN = ("store", "api", "telemetry", "alerts")


def is_hidden(loc: Loc) -> bool:
    """Tell whether what stands at a location is never to be printed."""
    return loc[:1] in [(name,) for name in _HIDDEN] or any(
        _is_secret_name(part) for part in loc[4:]
    )


def _is_secret_name(part: str | int) -> bool:
    return (
        isinstance(part, str)
        and _SECRET_NAME.search(part) is not None
        and _ADDRESS.search(part) is None
    )


def is_reference(text: str) -> bool:
    """Tell whether a text is nothing but one reference to a secret."""
    return _REFERENCE.fullmatch(text) is not None


def resolve(text: str, folder: Path) -> str:
    """Replace ${env:NAME} and ${file:PATH} by what they refer to. Never print the result.

    Raises:
        Misconfigured: the variable is not set, or the file cannot be read; or either is empty.
    """

    def value(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "env":
            found = os.environ.get(name)  # noqa: TID251 -- this is the place
            if not found:
                state = "empty" if found == "" else "not set"
                raise Misconfigured(
                    f"the environment variable {name} is {state}; set it, or use ${{file:PATH}}"
                )
            return found
        try:
            found = (folder / name).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise Misconfigured(f"the secret's file {name} cannot be read ({why})") from None
        if not found:
            raise Misconfigured(f"the secret's file {name} is empty")
        return found

    return _REFERENCE.sub(value, text)


def resolved(value: object, folder: Path) -> object:
    """Replace the references in a `read:` section; one that leads nowhere stays as it is written.

    `check_secrets` says which do. Never print the result.
    """
    if isinstance(value, dict):
        return {key: resolved(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolved(inner, folder) for inner in value]
    if not isinstance(value, str):
        return value
    try:
        return resolve(value, folder)
    except Misconfigured:
        return value


def refers(tree: Tree, loc: Loc) -> bool:
    """Tell whether the value at a location is, or holds, a reference."""
    return any(at == loc and _REFERENCE.search(text) for at, text in tree.scalars())


def check_secrets(tree: Tree, folder: Path, *, sources_only: bool) -> list[Problem]:
    """Find secrets in clear, references that lead nowhere, and those that nobody would replace.

    With `sources_only` a reference outside `sources` may lead nowhere.
    """
    found = [
        (loc, _check(loc, text, None if sources_only and loc[:1] != ("sources",) else folder))
        for loc, text in tree.scalars()
    ]
    return [tree.problem(loc, *wrong) for loc, wrong in found if wrong is not None]


def _check(loc: Loc, text: str, folder: Path | None) -> tuple[str, str] | None:
    """Say what is wrong with a text; without a folder, whatever its references lead to."""
    place = _place(loc)
    if place is not None and _in_clear(place, text):
        return "a secret stands in the file", "Refer to it: ${env:NAME} or ${file:PATH}."
    if "${" not in text:
        return None
    if place is None:
        return (
            "a reference is not replaced here",
            "Only store.dsn, api.keys, telemetry, alerts and `read:` take one.",
        )
    if "${" in _REFERENCE.sub("", text):
        return "a reference is not complete", "Write ${env:NAME} or ${file:PATH}."
    try:
        if folder is not None:
            resolve(text, folder)
    except Misconfigured as error:
        return str(error), "Nothing can be read without it."
    return None


def _place(loc: Loc) -> str | None:
    """Say whether a location holds a secret, a URL with one in it, or may hold a reference."""
    if loc[:2] in (("api", "keys"), ("telemetry", "headers")):
        return "secret"
    if loc[:2] in (("store", "dsn"), ("telemetry", "otlp_endpoint")):
        return "url"
    if loc[:1] == ("alerts",) and loc[2:3] in _OF_ALERTS:
        return "url" if loc[2] == "url" else "secret"
    if loc[:1] == ("sources",) and loc[4:5] == ("read",):
        return "secret" if any(map(_is_secret_name, loc[5:])) else "url"
    return None


def _in_clear(place: str, text: str) -> bool:
    rest = _REFERENCE.sub("", text)
    if "${" in rest:
        return False
    if place == "secret":  # a scheme such as Bearer may precede the reference
        return rest == text or (rest != "" and not rest.strip().isalpha())
    hidden = _REFERENCE.sub("\0", text)
    return any("".join(found).strip("\0") for found in _PASSWORD.findall(hidden))
