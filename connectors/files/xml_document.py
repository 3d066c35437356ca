"""XML documents: a record per element at the path `records`, names without their namespaces.

An attribute becomes `@name`, an element text, or a dict where it has attributes or elements (its
own text is then `#text`), and elements of the same name a list.

With `split`, a record per element at that path inside: each holds the whole, with that element as if it
were the only one, and its `#number`. What has no such element stays one record.
"""

from collections.abc import Iterator
from itertools import chain

from lxml import etree
from typing_extensions import override

from collector.connector import Body, Fault, Record
from connectors.files import camt
from connectors.files.options import FilesOptions
from connectors.files.parse import DocumentParser
from connectors.files.sniff import local_name
from connectors.files.xml_blocks import EntitiesError, elements, let_go
from connectors.kit.streams import Stream

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
        options: FilesOptions,
    ) -> None:
        super().__init__()
        self._stream = stream
        self._encoding = options.encoding
        self._records: Path = tuple(records.split("/"))
        self._context = {name: tuple(path.split("/")) for name, path in options.context.items()}
        self._around: dict[str, str | None] = dict.fromkeys(options.context)
        self._split: Path = tuple(options.split.split("/")) if options.split else ()
        self._totals = camt.Totals() if self._records[-1] == camt.ENTRY else None

    @override
    def records(self) -> Iterator[Record]:
        found = position = 0
        events = elements(self._stream, ("start", "end"), self._tags(), self._encoding)
        for event, element in events:
            if event == "end":
                path = path_of(element)
                self._keep(element, path)
                if _ends(path, self._records) and not _ends_inside(path, self._records):
                    found += 1
                    for record in self._made(element, position + 1):
                        position = record.position
                        yield record
                    let_go(element)
            elif event == "start":
                self._forget(element)
        self.stated = self._totals.stated(found, position) if self._totals else None
        if not position:
            self.sentence = (
                f"No element was found at `records: {'/'.join(self._records)}`."
                " If there should be some, correct the path."
            )

    def _tags(self) -> set[str]:
        """Return the names of all elements that have to be looked at."""
        tags = {self._records[-1] or "*"}  # nothing was sniffed: find out what is wrong
        for path in self._context.values():
            tags |= {path[0], path[-1].removeprefix("@")}
            tags |= {path[-2]} if path[-1].startswith("@") and len(path) > 1 else set()
        if self._totals:
            tags |= {camt.COUNT[-1], *camt.CONTAINERS}
        return tags

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

    def _made(self, element: etree._Element, position: int) -> Iterator[Record]:
        """Make the record of an element, or one of each part that it is split into."""
        value = value_of(element)
        body: Body = value if isinstance(value, dict) else {"#text": value}
        if not self._split:
            yield Record(position, body | self._around, etree.tostring(element, with_tail=False))
        elif self._totals and self._split == camt.DETAILS and (why := camt.contradiction(element)):
            raw = etree.tostring(element, with_tail=False)
            yield Record(position, None, raw, Fault("DETAILS_DIFFER", why))
        else:
            parts = _parts(body, self._split)
            for n, part in enumerate(chain([next(parts, body)], parts)):
                yield Record(position + n, part | {"#number": n + 1} | self._around)


def _parts(body: Body, path: Path) -> Iterator[Body]:
    """Yield the body once for each element at `path`, as if that one stood there alone."""
    name, *rest = path
    there = body.get(name, [])
    for item in there if isinstance(there, list) else [there]:
        if not rest:
            yield body | {name: item}
        elif isinstance(item, dict):
            yield from (body | {name: part} for part in _parts(item, tuple(rest)))


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
