"""XML documents: a record per element at the path `records`, names without their namespaces.

An attribute becomes `@name`, an element text, or a dict where it has attributes or elements (its
own text is then `#text`), and elements of the same name a list.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from lxml import etree
from typing_extensions import override

from collector.connector import Body, Record, Stated
from connectors.files.parse import DocumentParser
from connectors.files.sniff import local_name
from connectors.files.xml_blocks import EntitiesError, elements, let_go
from connectors.kit.streams import Stream

_CAMT_COUNT: Final = ("TxsSummry", "TtlNtries", "NbOfNtries")
_CAMT_CONTAINERS: Final = frozenset({"Stmt", "Rpt", "Ntfctn"})

Path = tuple[str, ...]


class XmlDocument(DocumentParser):
    """Reads element by element.

    `context` values are those that came last before the record inside the element that their path
    begins with: a statement without an account number does not inherit that of the one before.
    """

    def __init__(
        self,
        stream: Stream,
        records: str,
        context: Mapping[str, str],
        encoding: str | None = None,
    ) -> None:
        super().__init__()
        self._stream = stream
        self._encoding = encoding
        self._records: Path = tuple(records.split("/"))
        self._context = {name: tuple(path.split("/")) for name, path in context.items()}
        self._around: dict[str, str | None] = dict.fromkeys(context)
        self._totals = _CamtTotals() if self._records[-1] == "Ntry" else None

    @override
    def records(self) -> Iterator[Record]:
        position = 0
        tags = {self._records[-1] or "*"}  # nothing was sniffed: find out what is wrong
        for path in self._context.values():
            tags |= {path[0], path[-1].removeprefix("@")}
            tags |= {path[-2]} if path[-1].startswith("@") and len(path) > 1 else set()
        if self._totals:
            tags |= {_CAMT_COUNT[-1], *_CAMT_CONTAINERS}
        for event, element in elements(self._stream, ("start", "end"), tags, self._encoding):
            if event == "end":
                path = path_of(element)
                self._keep(element, path)
                if _ends(path, self._records) and not _ends_inside(path, self._records):
                    position += 1
                    yield self._record(element, position)
                    let_go(element)
            elif event == "start":
                self._forget(element)
        self.stated = self._totals.stated() if self._totals else None
        if not position:
            self.sentence = (
                f"No element was found at `records: {'/'.join(self._records)}`."
                " If there should be some, correct the path."
            )

    def _forget(self, element: etree._Element) -> None:
        """Drop the values of the element of the same name before."""
        name = local_name(element)
        for key, path in self._context.items():
            if len(path) > 1 and path[0] == name:
                self._around[key] = None

    def _keep(self, element: etree._Element, at: Path) -> None:
        for key, path in self._context.items():
            if path[-1].startswith("@"):
                if _ends(at, path[:-1]):
                    self._around[key] = attribute(element, path[-1][1:])
            elif _ends(at, path):
                self._around[key] = (element.text or "").strip()
        if self._totals:
            self._totals.see(element, at)

    def _record(self, element: etree._Element, position: int) -> Record:
        value = value_of(element)
        body: Body = value if isinstance(value, dict) else {"#text": value}
        return Record(position, body | self._around, etree.tostring(element, with_tail=False))


class _CamtTotals:
    """Adds up the numbers of entries that the statements of a camt document state."""

    def __init__(self) -> None:
        self._count = 0
        self._statements = 0
        self._stating = 0

    def see(self, element: etree._Element, at: Path) -> None:
        if at[-1] in _CAMT_CONTAINERS:
            self._statements += 1
        elif at[-4:-3] and at[-4] in _CAMT_CONTAINERS and _ends(at, _CAMT_COUNT):
            text = (element.text or "").strip()
            if text.isdecimal():
                self._stating += 1
                self._count += int(text)

    def stated(self) -> Stated | None:
        """Return the sum, if every statement states its number."""
        if not self._statements or self._stating != self._statements:
            return None
        what = f"TxsSummry/TtlNtries/NbOfNtries of {self._statements} statement(s)"
        return Stated("A", what, self._count)


def path_of(element: etree._Element) -> Path:
    """Return the local names from the root to the element."""
    names = [local_name(element)]
    names += [local_name(above) for above in element.iterancestors()]
    return tuple(names[::-1])


def _ends(path: Path, end: Path) -> bool:
    return path[-len(end) :] == end


def _ends_inside(path: Path, end: Path) -> bool:
    """Tell whether an element around it is a record already."""
    return any(_ends(path[:i], end) for i in range(len(end), len(path)))


def attribute(element: etree._Element, name: str) -> str | None:
    """Return the attribute of that name in any namespace."""
    for key, value in element.attrib.items():
        if str(key).rpartition("}")[2] == name:
            return str(value)
    return None


def value_of(element: etree._Element) -> "str | Body":
    """Return the element as text or dict; raise EntitiesError where it refers to an entity."""
    body: Body = {f"@{str(k).rpartition('}')[2]}": str(v) for k, v in element.attrib.items()}
    texts = [element.text or ""]
    for child in element:
        texts.append(child.tail or "")
        if isinstance(child, etree._Entity):  # noqa: SLF001 -- lxml has no other name for it
            raise EntitiesError(etree.tostring(element))
        if not isinstance(child.tag, str):
            continue  # type: ignore[unreachable]  # a comment; the stubs know none here
        name, value = local_name(child), value_of(child)
        if name not in body:
            body[name] = value
        elif isinstance(body[name], list):
            body[name].append(value)
        else:
            body[name] = [body[name], value]
    if not body:
        text = "".join(texts)
        return "" if text.isspace() else text
    if text := "".join(texts).strip():
        body["#text"] = text
    return body
