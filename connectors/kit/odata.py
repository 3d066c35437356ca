"""OData version 2: literals, pages and what its answers look like in JSON."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from collector.errors import Permanent

PAGES_MAX: Final = 1_000
"""Pages of one answer: more is a server that pages in a circle."""

Row = dict[str, Any]


class Page(msgspec.Struct, frozen=True):
    """One page: its rows, where the next one is, and of how many rows in all the server knows."""

    results: list[Row]
    next: str | None = msgspec.field(default=None, name="__next")
    count: str | None = msgspec.field(default=None, name="__count")


class _Paged(msgspec.Struct):
    d: Page


class _Single(msgspec.Struct):
    d: Row


_paged = msgspec.json.Decoder(_Paged, float_hook=Decimal)
_single = msgspec.json.Decoder(_Single, float_hook=Decimal)


def instant(at: datetime) -> str:
    """Write a literal, to the second and in UTC: it takes no offset and no Z."""
    return f"datetime'{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}'"


def text(value: str) -> str:
    """Write a literal; a quote in it is doubled."""
    return "'" + value.replace("'", "''") + "'"


def query(resource: str, **options: str) -> str:
    """Write a request for JSON with system query options: `filter="..."` becomes `$filter=...`.

    A blank is written %20: not every server takes a plus for one.
    """
    named = {f"${name}": value for name, value in options.items()}
    return f"{resource}?{urlencode({**named, '$format': 'json'}, safe='$', quote_via=quote)}"


def decode_page(body: bytes) -> Page:
    """Return a page; raise ValueError where the body is none."""
    try:
        return _paged.decode(body).d
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"no OData page: {error}") from None


def decode_single(body: bytes) -> Row:
    """Return one entity; raise ValueError where the body is none."""
    try:
        return _single.decode(body).d
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"no OData entity: {error}") from None


def pages(get: Callable[[str], Page], url: str) -> Iterator[Page]:
    """Follow an answer from page to page, as the server leads.

    Raises:
        Permanent: it leads on and on.
    """
    for _ in range(PAGES_MAX):
        page = get(url)
        yield page
        if not page.next:
            return
        url = page.next
    raise Permanent(
        f"The server pages on after {PAGES_MAX:,} pages: it leads in a circle. Report it to whoever"
        " runs it."
    )
