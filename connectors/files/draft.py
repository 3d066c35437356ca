"""Draft the configuration of a stream from a file: what it is, and which field may be what.

A guess rests on a field's name and on its values: `likely` where both agree, `perhaps` where only
one speaks for it. Nothing is certain, and the draft says so.
"""

import glob
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from collector.connector import Body, Record
from collector.errors import Misconfigured
from collector.model.words import counted
from collector.settings.kinds import PLAIN, built_in, slip_of
from connectors.files.connector import FilesReader, sniffed
from connectors.files.dialect import is_value
from connectors.files.options import FilesOptions, Layout
from connectors.kit.identity import found

RECORDS_LOOKED_AT: Final = 200
_CASE: Final = "case:concept:name"  # of an event log: the document that the events are about
SAMPLES_MAX: Final = 3

_NAMES: Final[dict[str, str]] = {
    "time": r"time|date|created|posted|occurred|bookg|timestamp|_at$|\bdt\b",
    "key": r"(^|[^a-z])(id|key|no|number|nr|ref|reference|uuid|trans)([^a-z]|$)|ref$|id$",
    "amount": r"amount|amt|betrag|value$|total|net|gross|sum",
    "currency": r"curr|ccy|waers|iso",
    "name": r"status|state|event|type|activity|action|concept:name|cdtdbtind|\bsts\b",
}
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")
_OFFSET = re.compile(r"(Z|[+-]\d\d:?\d\d)$")
_FORMATS: Final = {
    r"\d\d/\d\d/\d{4}": "%d/%m/%Y",
    r"\d\d\.\d\d\.\d{4}": "%d.%m.%Y",
    r"\d{8}": "%Y%m%d",
    r"\d\d/\d\d/\d\d": "%d/%m/%y",
    r"\d{4}/\d\d/\d\d": "%Y/%m/%d",
}
_AMOUNT = re.compile(r"[+-]?(\d+|\d{1,3}([.,' ]\d{3})+)([.,]\d+)?")


class FieldDraft(msgspec.Struct, frozen=True):
    """A field by its path, with up to three values as text."""

    path: str
    samples: tuple[str, ...]
    distinct: int
    filled: int


class Guess(msgspec.Struct, frozen=True):
    """Which field may be the key, time, amount, currency or name; `likely` or `perhaps`."""

    path: str
    confidence: str


class Draft(msgspec.Struct, frozen=True):
    """What a file is, its fields, and what they may be, by role."""

    name: str
    layout: Layout
    records: int
    fields: tuple[FieldDraft, ...]
    guesses: Mapping[str, Guess]


def sniff(path: Path) -> Draft:
    """Look at the first 200 records; raise Misconfigured where there is nothing to map."""
    options = FilesOptions(path=glob.escape(path.name))
    file = found(path, path.name)
    layout = sniffed(file, options) if file is not None else None
    if layout is None:
        raise Misconfigured(f"{path.name} is no file with anything in it: name another file.")
    if layout.format == "binary":
        raise Misconfigured(f"{path.name} is {layout.notes['format']}.")
    bodies = _bodies(path, options)
    if not bodies:
        raise Misconfigured(f"{path.name} holds no record that can be read: name another file.")
    fields = _fields(bodies)
    return Draft(path.name, layout, len(bodies), fields, _guesses(fields, len(bodies)))


def _bodies(path: Path, options: FilesOptions) -> list[Body]:
    reader = FilesReader(options, path.parent)
    records: list[Record] = []
    for part in reader.parts({}):
        for chunk in reader.read(part, None):
            records += [r for r in chunk.records if r.body is not None]
            if len(records) >= RECORDS_LOOKED_AT:
                break
    return [r.body for r in records[:RECORDS_LOOKED_AT] if r.body is not None]


def _fields(bodies: list[Body]) -> tuple[FieldDraft, ...]:
    values: dict[str, list[str]] = {}
    for body in bodies:
        for path, value in _leaves(body, ""):
            values.setdefault(path, []).append(value)
    drafts = []
    for path, texts in values.items():
        filled = [text for text in texts if text.strip()]
        seen = tuple(dict.fromkeys(filled))
        drafts.append(FieldDraft(path, seen[:SAMPLES_MAX], len(seen), len(filled)))
    return tuple(drafts)


def _leaves(value: object, path: str) -> list[tuple[str, str]]:
    """Return (path, text) of the values; a dot in a name is escaped, a list keeps one item."""
    if isinstance(value, dict):
        leaves = []
        for name, inner in value.items():
            step = name.replace("\\", "\\\\").replace(".", "\\.")
            leaves += _leaves(inner, f"{path}.{step}" if path else step)
        return leaves
    if isinstance(value, list):
        return _leaves(value[0], path) if len(value) == 1 else []
    return [(path, "" if value is None else str(value))]


def _guesses(fields: tuple[FieldDraft, ...], records: int) -> dict[str, Guess]:
    """Return the best guess for each role; a field has at most one."""
    guesses: dict[str, Guess] = {}
    for role in ("time", "currency", "amount", "key", "name"):
        taken = {guess.path for guess in guesses.values()}
        scored = [(_score(role, f, records), -i, f) for i, f in enumerate(fields)]
        scored = [s for s in scored if s[0] > 0 and s[2].path not in taken]
        if scored:
            score, _, field = max(scored, key=lambda s: s[:2])
            guesses[role] = Guess(field.path, "likely" if score > _BOTH else "perhaps")
    return guesses


_BOTH = 3  # a score above means that name and values agree


def _score(role: str, field: FieldDraft, records: int) -> int:
    """Return 2 for a telling name and 2 for fitting values, and something for being filled."""
    if not field.samples:
        return 0
    named = bool(re.search(_NAMES[role], field.path.split(".")[-1].lower())) or (
        role == "currency" and field.path.endswith("@Ccy")
    )
    fits = _fits(role, field, records)
    if not fits:
        return 0
    return 2 * named + 2 * (fits > 1) + (field.filled == records and named)


def _fits(role: str, field: FieldDraft, records: int) -> int:
    """Return 0 where the values rule it out, 1 where they allow it, 2 where they speak for it."""
    texts = field.samples
    if role == "time":
        return 2 * all(time_format(text) is not None for text in texts)
    if role == "currency":
        return 2 * all(re.fullmatch("[A-Z]{3}", text) for text in texts)
    if role == "amount":
        return (1 + any(re.search(r"[.,]\d", t) for t in texts)) * all(
            _AMOUNT.fullmatch(t) for t in texts
        )
    if role == "key":
        unique = field.distinct == records == field.filled
        return 2 if unique and not any(_AMOUNT.fullmatch(t) and "." in t for t in texts) else 0
    few = 1 < field.distinct <= max(2, min(40, records // 3))
    return (1 + few) * (not any(is_value(text) for text in texts))


def time_format(text: str) -> str | None:
    """Return `iso` or the strptime format of a time as text; None where it is none."""
    if _ISO.fullmatch(text):
        return "iso"
    return next((f for pattern, f in _FORMATS.items() if re.fullmatch(pattern, text)), None)


def draft_mapping_yaml(path: Path) -> str:
    """Return the `read:` and `mapping:` of a stream as YAML, with comments on what was guessed."""
    draft = sniff(path)
    lines = [
        f"# Drafted from {counted(draft.records, 'record')} of {draft.name}: check every line."
    ]
    lines += [f"# {key}: {value}" for key, value in draft.layout.notes.items()]
    lines += ["read:", *_read(draft), "mapping:", *_mapping(draft), "# Fields and first values:"]
    lines += [f"#   {f.path}: {_joined(f.samples)}" for f in draft.fields]
    return "\n".join(lines) + "\n"


def _joined(samples: tuple[str, ...]) -> str:
    return " | ".join(" ".join(sample.split())[:60] for sample in samples) or "(empty)"


def _read(draft: Draft) -> list[str]:
    layout = draft.layout
    said: dict[str, Any] = {"path": glob.escape(draft.name), "format": layout.format}
    if layout.format in {"csv", "text", "jsonl"}:
        said["encoding"] = layout.encoding
    if layout.format == "csv":
        said["delimiter"] = layout.delimiter
    if layout.records:
        said["records"] = layout.records
    return [f"  {key}: {_scalar(value)}" for key, value in said.items()]


def _mapping(draft: Draft) -> list[str]:
    key, why_key = _said(draft, "key", draft.fields[0].path, "no field is unique")
    if key.startswith("case:"):
        why_key += "; it names a case, not an event: use a template of several fields"
    name, why_name = _said(draft, "name", "", "no field looks like a status or an event name")
    kind = _kind(Path(draft.name).name.split(".")[0])
    lines = [f"  key: {_scalar(key)}  # {why_key}", "  document:", f"    type: {kind}"]
    if within := built_in().get(kind, PLAIN).within:
        lines += [
            f"    scope: =all  # a guess: it is unique within its {within}; name these fields"
        ]
    number = _CASE if any(f.path == _CASE for f in draft.fields) else key
    lines += [
        f"    number: {_scalar(number)}  # guessed: replace it if another field names the document"
    ]
    lines += _time(draft) + _amount(draft)
    lines += ["  events:", f"    - rule: {kind}", f"      type: {kind}.recorded"]
    if name:
        lines += [f"      # {name} ({why_name}) may tell events apart:"]
        lines += [
            "      # type: {value: …, values: {…: " + kind + ".approved}, unknown: quarantine}"
        ]
    return lines


def _said(draft: Draft, role: str, default: str, otherwise: str) -> tuple[str, str]:
    guess = draft.guesses.get(role)
    if guess is None:
        return default, f"guessed: {otherwise}"
    return guess.path, f"guessed: {guess.confidence}"


def _time(draft: Draft) -> list[str]:
    guess = draft.guesses.get("time")
    if guess is None:
        return ["  # occurred_at: no field looks like a time"]
    sample = next(f.samples[0] for f in draft.fields if f.path == guess.path)
    zone, why = "in value", "the values carry their offset"
    if not (_ISO.fullmatch(sample) and ":" in sample and _OFFSET.search(sample)):
        zone, why = "UTC", "a guess: the values have no offset, state the zone of the source"
    return [
        "  occurred_at:",
        f"    value: {_scalar(guess.path)}  # guessed: {guess.confidence}",
        f"    format: {_scalar(time_format(sample))}",
        f"    timezone: {zone}  # {why}",
    ]


def _amount(draft: Draft) -> list[str]:
    amount, currency = draft.guesses.get("amount"), draft.guesses.get("currency")
    if amount is None:
        return ["  # amount: no field looks like an amount"]
    code = currency.path if currency else "=EUR"
    why = currency.confidence if currency else "no field holds a currency, state the right one"
    sample = next(f.samples for f in draft.fields if f.path == amount.path)
    rounded = "; the values have more decimals than money: add `round`"
    fine = any(re.search(r"[.,]\d{4,}$", text) for text in sample)
    comma = any(re.search(r",\d{1,2}$", text) for text in sample)
    return [
        "  amount:",
        f"    value: {_scalar(amount.path)}  # guessed: {amount.confidence}{rounded * fine}",
        f"    currency: {_scalar(code)}  # guessed: {why}",
        f"    decimal: {json.dumps(',' if comma else '.')}",
    ]


def _kind(stem: str) -> str:
    """Return a name for the document type: the kind that the file is named after, or the file's name."""
    kind = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    if not re.match("[a-z]", kind):
        return f"record_{kind}".rstrip("_")
    return slip_of(kind, built_in()) or kind


def _scalar(value: object) -> str:
    """Return a YAML scalar on one line."""
    text = yaml.safe_dump(value, allow_unicode=True, width=10_000, default_style=None)
    return text.removesuffix("\n").removesuffix("\n...").removesuffix("\n")
