"""A JSON document: its records are the items of a list, or what lies at the path `records`.

Paths are of names, matched at their end; lists are passed through. A document that is damaged is
read item by item up to the damage.
"""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
from typing_extensions import override

from collector.connector import Body, Fault, Record
from connectors.files.parse import DamagedError, DocumentParser
from connectors.kit.records import Overlong, OverlongBuilder, overlong
from connectors.kit.streams import BLOCK_BYTES, CutOffError, Stream

DOCUMENT_BYTES_MAX: Final = 64 << 20
"""A larger document belongs into JSON Lines: parsed it takes ten times as much memory."""

_DEPTH_MAX = 200  # levels of nesting; deeper is an attack
_SPACE = re.compile(r"[ \t\r\n]*")

Path = tuple[str, ...]


class JsonDocument(DocumentParser):
    """Reads the whole document; one over 64 MiB is a fault of which the beginning is kept."""

    def __init__(
        self, stream: Stream, encoding: str, records: str, context: Mapping[str, str]
    ) -> None:
        super().__init__()
        self._stream = stream
        self._encoding = encoding
        self._path: Path = tuple(records.split("/")) if records else ()
        self._context = {name: tuple(path.split("/")) for name, path in context.items()}

    @override
    def records(self) -> Iterator[Record]:
        data, cut_off = self._data()
        if len(data) > DOCUMENT_BYTES_MAX:
            yield overlong(1, self._rest_of(data), DOCUMENT_BYTES_MAX)
            raise DamagedError("the document is too long; have the source write JSON Lines")
        if not data.strip():
            if cut_off is not None:
                raise cut_off
            return
        try:
            text = data.decode("utf-8-sig" if self._encoding == "utf-8" else self._encoding)
            root = msgspec.json.Decoder(float_hook=Decimal).decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            yield from self._numbered(self._salvaged(data))
            raise (cut_off or self._damage(data, error)) from None
        found = False
        for record in self._numbered(self._items(root)):
            found = True
            yield record
        if self._path and not found:
            self.sentence = (
                f"Nothing was found at `records: {'/'.join(self._path)}`."
                " If there should be something, correct the path."
            )
        if cut_off is not None:
            raise cut_off

    def _data(self) -> tuple[bytes, CutOffError | None]:
        blocks: list[bytes] = []
        size = 0
        try:
            while block := self._stream.read(BLOCK_BYTES):
                blocks.append(block)
                size += len(block)
                if size > DOCUMENT_BYTES_MAX:
                    break
        except CutOffError as error:
            return b"".join(blocks), error
        return b"".join(blocks), None

    def _rest_of(self, data: bytes) -> Overlong:
        """Read a document that is too long to its end, and keep only what is kept of it."""
        item = OverlongBuilder(0)
        item.add(data)
        while block := self._stream.read(BLOCK_BYTES):
            item.add(block)
        return item.done()

    def _damage(self, data: bytes, error: Exception) -> DamagedError:
        if isinstance(error, UnicodeDecodeError):
            return DamagedError(
                f"byte {error.start} is not {self._encoding}; state the right `encoding`"
            )
        try:
            json.loads(data.decode(self._encoding).removeprefix("\ufeff"))
        except json.JSONDecodeError as where:
            return DamagedError(
                f"it is not JSON at line {where.lineno}, column {where.colno}"
                f" (character {where.pos}: {where.msg}); have the source write it again"
            )
        except RecursionError:
            pass
        return DamagedError(f"it is not JSON ({error}); have the source write it again")

    def _numbered(self, items: Iterator[tuple[Any, list[Body]]]) -> Iterator[Record]:
        for position, (item, around) in enumerate(items, 1):
            if isinstance(item, dict):
                body = item | self._around(around) if self._context else item
                yield Record(position, body)
            else:
                sentence = f"Record {position} is not an object with names but {item!r:.80}: set `records` to the path of objects."
                raw = msgspec.json.encode(item)
                yield Record(position, None, raw, Fault("NOT_AN_OBJECT", sentence))

    def _around(self, ancestors: list[Body]) -> Body:
        return {name: _nearest(ancestors, path) for name, path in self._context.items()}

    def _items(self, root: object) -> Iterator[tuple[Any, list[Body]]]:
        if not self._path:
            if isinstance(root, dict):
                self.notes["records"] = "the whole document; set `records` to the path of a list"
            for item in root if isinstance(root, list) else [root]:
                yield item, []
            return
        yield from self._matching(root, (), [])

    def _matching(
        self, value: object, at: Path, above: list[Body]
    ) -> Iterator[tuple[Any, list[Body]]]:
        """Walk the values; `at` is the path of names, `above` the objects around."""
        if at[-len(self._path) :] == self._path:
            for item in value if isinstance(value, list) else [value]:
                yield item, above
        elif isinstance(value, dict):
            for name, inner in value.items():
                yield from self._matching(inner, (*at, name), [*above, value])
        elif isinstance(value, list):
            for item in value:
                yield from self._matching(item, at, above)

    def _salvaged(self, data: bytes) -> Iterator[tuple[Any, list[Body]]]:
        text = data.decode(self._encoding, "replace").removeprefix("\ufeff")
        try:
            yield from _Scanner(text, self._path).records(0, (), [])
        except (ValueError, RecursionError):
            return


class _Scanner:
    """Reads a damaged document value by value; raises ValueError at the damage."""

    def __init__(self, text: str, path: Path) -> None:
        self._text = text
        self._path = path
        self._value = json.JSONDecoder(parse_float=Decimal).raw_decode
        self.end = 0

    def records(self, at: int, names: Path, above: list[Body]) -> Iterator[tuple[Any, list[Body]]]:
        """Yield the records from the value that begins at `at`; `end` is then behind it."""
        at = self._skip(at)
        if len(names) + len(above) > _DEPTH_MAX:
            raise ValueError("nested too deeply")
        matches = names[-len(self._path) :] == self._path if self._path else not names
        opening = self._text[at : at + 1]
        if opening == "[":
            yield from self._list(at, names, above, whole=matches)
        elif opening == "{" and not matches:
            yield from self._object(at, names, above)
        else:
            value, self.end = self._value(self._text, at)
            if matches:
                yield value, above

    def _list(
        self, at: int, names: Path, above: list[Body], *, whole: bool
    ) -> Iterator[tuple[Any, list[Body]]]:
        at = self._skip(at + 1)
        while self._text[at : at + 1] != "]":
            if whole:
                value, self.end = self._value(self._text, at)
                if self._text[self._skip(self.end) :][:1] not in {",", "]"}:
                    raise ValueError("cut off: a number may go on")
                yield value, above
            else:
                yield from self.records(at, names, above)
            at = self._next(self.end, "]")
        self.end = at + 1

    def _object(self, at: int, names: Path, above: list[Body]) -> Iterator[tuple[Any, list[Body]]]:
        at = self._skip(at + 1)
        seen: Body = {}
        while self._text[at : at + 1] != "}":
            name, at = self._value(self._text, at)
            at = self._skip(at)
            if self._text[at : at + 1] != ":":
                raise ValueError("no colon")
            at = self._skip(at + 1)
            yield from self.records(at, (*names, name), [*above, seen])
            if self._text[at : at + 1] not in {"{", "["}:
                seen[name] = self._value(self._text, at)[0]
            at = self._next(self.end, "}")
        self.end = at + 1

    def _next(self, at: int, closing: str) -> int:
        at = self._skip(at)
        if self._text[at : at + 1] == ",":
            return self._skip(at + 1)
        if self._text[at : at + 1] != closing:
            raise ValueError("neither a comma nor the end")
        return at

    def _skip(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return match.end() if match else at


def _nearest(ancestors: list[Body], path: Path) -> object:
    """Return the value at `path`, counted from the nearest object that has it; None without."""
    for above in reversed(ancestors):
        value: object = above
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None
