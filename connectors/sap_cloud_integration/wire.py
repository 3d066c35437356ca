"""The shapes of the OData API (version 2) of SAP Cloud Integration: what is asked, what is answered."""

from hashlib import blake2b
from typing import Any, Final

import msgspec

from collector.connector import Body
from connectors.kit import odata
from connectors.kit.odata import Row
from connectors.kit.windows import Window

RESOURCE: Final = "MessageProcessingLogs"
NOT_FINAL: Final = ("PROCESSING", "RETRY", "ABANDONED")
"""Statuses that still change: ABANDONED is interrupted, and may be taken up again."""

_EXPAND: Final = "CustomHeaderProperties"
_canonical = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


def ended_in(window: Window) -> str:
    """Ask for the messages that ended in a window, oldest first, and for their number."""
    return odata.query(
        RESOURCE,
        filter=f"LogEnd ge {odata.instant(window.start)} and LogEnd lt {odata.instant(window.end)}",
        orderby="LogEnd asc",
        expand=_EXPAND,
        inlinecount="allpages",
    )


def not_ended(status: str, window: Window) -> str:
    """Ask for the messages of a status that began in a window, oldest first, and for their number."""
    return odata.query(
        RESOURCE,
        filter=f"Status eq {odata.text(status)} and LogStart ge {odata.instant(window.start)}"
        f" and LogStart lt {odata.instant(window.end)}",
        orderby="LogStart asc",
        expand=_EXPAND,
        inlinecount="allpages",
    )


def message(guid: str) -> str:
    """Ask for one message by its key."""
    return odata.query(f"{RESOURCE}({odata.text(guid)})", expand=_EXPAND)


def counted(page: odata.Page) -> int:
    """Return how many rows the whole answer has; raise ValueError where the page does not say."""
    if page.count is None or not (page.count.isascii() and page.count.isdecimal()):
        raise ValueError("it does not say how many messages there are (__count)")
    return int(page.count)


def decode_counted(body: bytes) -> odata.Page:
    """Return a first page, which says how many rows the whole answer has."""
    page = odata.decode_page(body)
    counted(page)
    return page


def body_of(row: Row) -> Body:
    """Return the record: the message without OData's own links, which hold the tenant's address.

    Custom header properties become `{name: value}`, so that a mapping can name one; of a name that
    stands several times all values are kept, sorted, since their order means nothing.
    """
    body = _plain(row)
    properties = body.get(_EXPAND)
    if isinstance(properties, list) and all(isinstance(each, dict) for each in properties):
        values: dict[str, list[Any]] = {}
        for each in properties:
            values.setdefault(str(each.get("Name")), []).append(each.get("Value"))
        body[_EXPAND] = {n: v[0] if len(v) == 1 else sorted(v, key=str) for n, v in values.items()}
    return body


def _plain(row: Row) -> Body:
    return {
        name: _unwrapped(value) if isinstance(value, (dict, list)) else value
        for name, value in row.items()
        if name != "__metadata" and not (isinstance(value, dict) and "__deferred" in value)
    }


def _unwrapped(value: object) -> object:
    """Return what an expanded property holds: rows, or one entity."""
    if isinstance(value, list):
        return [_unwrapped(each) for each in value]
    if not isinstance(value, dict):
        return value
    rows = value.get("results")
    return _unwrapped(rows) if isinstance(rows, list) else _plain(value)


def fingerprint(body: Body) -> str:
    """Return what tells whether a message has changed: 16 hexadecimal digits over its content."""
    return blake2b(_canonical(body), digest_size=8).hexdigest()
