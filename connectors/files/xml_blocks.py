"""XML elements from a stream, block by block, without entities and without network."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, cast

from lxml import etree

from collector.connector import RAW_KEPT_BYTES_MAX
from connectors.files.parse import DamagedError
from connectors.files.sniff import Elements
from connectors.kit.streams import BLOCK_BYTES, Stream

_BLOCK_BYTES = 1 << 17  # feeds the parser; larger gains nothing, and the elements must be held
_UNMATCHED_BYTES_MAX = 64 << 20
"""Read without finding a record: more would fill the memory with a tree that nobody wants."""
_ENTITY = re.compile(rb"<!ENTITY")
_PROLOG_BYTES: Final = BLOCK_BYTES


Events = Sequence[Literal["start", "end"]]


class EntitiesError(Exception):
    """The document declares or uses entities; `head` is its beginning."""

    def __init__(self, head: bytes) -> None:
        super().__init__("the document declares entities")
        self.head = head


def elements(
    stream: Stream, events: Events, tags: Iterable[str], encoding: str | None = None
) -> Elements:
    """Yield (event, element) for local names in `tags`, and finally ("root", root).

    `encoding` overrides what the document declares.
    Raise EntitiesError where the document declares entities, DamagedError where it is not
    well-formed or ends early, and what the stream raises.
    """
    block = stream.read(_BLOCK_BYTES)
    if not block.strip():
        return
    parser = etree.XMLPullParser(
        events=events,
        tag=[f"{{*}}{tag}" for tag in tags],
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        encoding=encoding,
    )
    head = block[:RAW_KEPT_BYTES_MAX]
    _refuse_entities(block, head)
    read = matched = 0
    while block:
        read += len(block)
        for event, element in _fed(parser, block, read - len(block)):
            if not matched:
                refuse_declared(element, head)
            matched = read
            yield event, element
        if read - matched > _UNMATCHED_BYTES_MAX:
            raise DamagedError(
                f"no record was found in {_UNMATCHED_BYTES_MAX:,} bytes; correct `records`"
            )
        block = stream.read(_BLOCK_BYTES)
    try:
        root = parser.close()
    except etree.XMLSyntaxError as error:
        raise DamagedError(
            f"it ends at byte {read} before its root element is closed ({error.msg});"
            " have it sent again"
        ) from None
    refuse_declared(root, head)
    yield "root", root


def _fed(parser: "etree.XMLPullParser", block: bytes, at: int) -> Elements:
    """Feed a block; what was whole before an error comes first."""
    damage: etree.XMLSyntaxError | None = None
    try:
        parser.feed(block)
    except etree.XMLSyntaxError as error:
        damage = error
    try:
        events = cast("Elements", parser.read_events())
        yield from events  # start and end only: their payload is an element
    except etree.XMLSyntaxError as error:
        damage = damage or error
    if damage is not None:
        line, column = damage.position
        raise DamagedError(
            f"it is not well-formed at line {line}, column {column}, between bytes {at} and"
            f" {at + len(block)} ({damage.msg}); have it sent again"
        )


def _refuse_entities(block: bytes, head: bytes) -> None:
    """Look for a declaration before anything is parsed."""
    text = block if b"\0" not in block[:4] else block.replace(b"\0", b"")
    if _ENTITY.search(text):
        raise EntitiesError(head)


def refuse_declared(element: etree._Element, head: bytes) -> None:
    """Look for declarations in the document type of what was parsed."""
    dtd: Any = element.getroottree().docinfo.internalDTD  # the stubs know no DTD.entities
    if dtd is not None and dtd.entities():
        raise EntitiesError(head)


def let_go(element: etree._Element) -> None:
    """Free an element and its earlier siblings, which the parser has finished with."""
    element.clear()
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]
