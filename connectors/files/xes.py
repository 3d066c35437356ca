"""XES event logs: a record per event, with the attributes of its trace as `case:<key>`."""

from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from lxml import etree
from typing_extensions import override

from collector.connector import Body, Fault, Record
from connectors.files.parse import DocumentParser
from connectors.files.sniff import local_name
from connectors.files.xml_blocks import elements, let_go
from connectors.kit.streams import Stream

_TYPED: Final[dict[str, Callable[[str], Any]]] = {
    "int": int,
    "float": Decimal,
    "boolean": lambda text: {"true": True, "false": False, "1": True, "0": False}[text.lower()],
}
_NESTING: Final = frozenset({"list", "container", "values"})
_DEPTH_MAX = 50  # of nested attributes


class Xes(DocumentParser):
    """Reads trace by trace.

    string, date and id stay text, int and boolean are themselves, float is Decimal from its text.
    An attribute with attributes of its own is `{value: …, children: {…}}`, a list is a list.
    """

    def __init__(self, stream: Stream, encoding: str | None = None) -> None:
        super().__init__()
        self._stream = stream
        self._encoding = encoding
        self._kinds: dict[str, str] = {}

    @override
    def records(self) -> Iterator[Record]:
        position = 0
        for event, element in elements(self._stream, ("end",), ("trace",), self._encoding):
            for record in self._events(element, position, trace=event == "end"):
                position = record.position
                yield record
            let_go(element)

    def _events(self, parent: etree._Element, position: int, *, trace: bool) -> Iterator[Record]:
        """Yield the events of a trace, or those that stand in the log without one."""
        kinds = self._kinds
        common: Body = {}
        events: list[etree._Element] = []
        for child in parent:
            kind = kinds.get(child.tag) or self._kind(child)
            if kind == "event":
                events.append(child)
            elif trace:
                self._attribute(child, kind, common, "case:")
        for element in events:
            position += 1
            try:
                yield Record(position, self._body(element, common))
            except (ValueError, InvalidOperation, KeyError, TypeError) as error:
                raw = etree.tostring(element, with_tail=False)
                sentence = f"Event {position} holds a value that is not of its type ({error}): have it corrected."
                yield Record(position, None, raw, Fault("WRONG_TYPE", sentence))

    def _body(self, element: etree._Element, common: Body) -> Body:
        kinds = self._kinds
        body = common.copy()
        for child in element:
            kind = kinds.get(child.tag) or self._kind(child)
            if kind == "text" and not len(child):
                body[child.get("key")] = child.get("value")  # type: ignore[index]  # checked by XES
            else:
                self._attribute(child, kind, body)
        return body

    def _kind(self, element: etree._Element) -> str:
        """Return text, int, float, boolean, list, container, event or another tag; and keep it."""
        if not isinstance(element.tag, str):
            return "comment"  # type: ignore[unreachable]  # the stubs know no comments here
        name = local_name(element)
        kind = "text" if name in {"string", "date", "id"} else name
        self._kinds[element.tag] = kind
        return kind

    def _attribute(
        self, element: etree._Element, kind: str, body: Body, prefix: str = "", depth: int = 0
    ) -> None:
        key = element.get("key")
        if key is None or kind == "comment" or depth > _DEPTH_MAX:
            return
        text = element.get("value")
        value: Any = text if text is None or kind not in _TYPED else _TYPED[kind](text.strip())
        if kind in _NESTING:
            value = self._nested(element, kind, depth)
        elif len(element):
            value = {"value": value, "children": self._nested(element, "container", depth)}
        body[prefix + key] = value

    def _nested(self, element: etree._Element, kind: str, depth: int) -> list[Body] | Body:
        """Return the attributes inside as a dict, those of a list as a list of dicts."""
        items = self._items(element, depth)
        if kind in {"list", "values"}:
            return items
        merged: Body = {}
        for item in items:
            merged |= item
        return merged

    def _items(self, element: etree._Element, depth: int) -> list[Body]:
        items: list[Body] = []
        for child in element:
            kind = self._kind(child)
            item: Body = {}
            if kind == "values":
                items += self._items(child, depth + 1)
            else:
                self._attribute(child, kind, item, depth=depth + 1)
            items += [item] if item else []
        return items
