"""What rules suggest, as a person reads it: with the names of documents, and what agrees and differs."""

from collections.abc import Iterable, Mapping

import msgspec

from collector.pipeline.explain import Named
from collector.store import evidence
from collector.store.evidence import Candidate, Suggestion
from collector.store.ingest import Connection

AGREES_FROM = 80
"""Texts that are at least so much alike are said to agree."""


class Rival(msgspec.Struct, frozen=True):
    """Another document that the candidate may belong to."""

    document: Named
    score: int


class Offered(msgspec.Struct, frozen=True):
    """A candidate, by its number within the suggestion. `linked`: a rule linked it, to this document."""

    n: int
    document: Named
    score: int
    days_apart: int
    fields: dict[str, str | int]
    agrees: list[str]
    differs: list[str]
    rivals: list[Rival]
    linked: Named | None


class Suggested(msgspec.Struct, frozen=True):
    """A document and its candidates, the likeliest first, `more` of them not shown; `why` no rule linked it."""

    id: str
    rule: str
    version: str
    why: str
    document: Named
    candidates: list[Offered]
    more: int


async def suggestions(conn: Connection, rule: str | None, after: str, most: int) -> list[Suggested]:
    """Return what rules suggest, by id, at most so many after one."""
    found = await evidence.suggestions(conn, rule, after, most)
    asked = {d for s in found for d in _documents(s)}
    named = {
        id_: Named(kind, number, id_)
        for id_, (kind, number) in (await evidence.named(conn, asked)).items()
    }
    return [
        Suggested(
            s.id,
            s.rule,
            s.version,
            s.why,
            named[s.document],
            [_offered(n, c, named) for n, c in enumerate(s.candidates, start=1)],
            s.more,
        )
        for s in found
    ]


def _documents(suggestion: Suggestion) -> Iterable[str]:
    yield suggestion.document
    for candidate in suggestion.candidates:
        yield candidate.document
        yield from (r.document for r in candidate.rivals)
        if candidate.linked is not None:
            yield candidate.linked


def _offered(n: int, candidate: Candidate, named: Mapping[str, Named]) -> Offered:
    agrees = [f for f, like in candidate.fields.items() if _agrees(like)]
    return Offered(
        n,
        named[candidate.document],
        candidate.score,
        candidate.days_apart,
        candidate.fields,
        agrees,
        [f for f in candidate.fields if f not in agrees],
        [Rival(named[r.document], r.score) for r in candidate.rivals],
        None if candidate.linked is None else named[candidate.linked],
    )


def _agrees(like: str | int) -> bool:
    return isinstance(like, str) or like >= AGREES_FROM
