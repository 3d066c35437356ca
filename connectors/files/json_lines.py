"""JSON Lines: an object per line."""

from decimal import Decimal

import msgspec
from typing_extensions import override

from collector.connector import Record
from connectors.files.parse import LineParser


class JsonLines(LineParser):
    """Decodes each line; numbers with a fraction become Decimal."""

    def __init__(self, position: int, limit: int, encoding: str) -> None:
        super().__init__(position, limit)
        self._decode = msgspec.json.Decoder(float_hook=Decimal).decode
        self._encoding = encoding
        if encoding not in {"utf-8", "ascii"}:
            plain = self._decode
            self._decode = lambda line: plain(line.decode(encoding))  # type: ignore[union-attr]  # bytes

    @override
    def parse(self, start: int, lines: list[bytes]) -> list[Record]:
        records: list[Record] = []
        append = records.append
        decode = self._decode
        position = self.position
        for line in lines:
            length = len(line)
            try:
                body = decode(line)
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                if line.strip():
                    self.position = position
                    append(self._fault(line, start, error))
                    position = self.position
            else:
                if type(body) is dict:
                    position += 1
                    append(Record(position, body, line, None, start, length))
                else:
                    self.position = position
                    append(self._no_object(line, start))
                    position = self.position
            start += length + 1
        self.position = position
        return records

    def _fault(self, line: bytes, start: int, error: Exception) -> Record:
        try:
            line.decode(self._encoding)
        except UnicodeDecodeError:
            return self.undecodable(line, start, self._encoding)
        if b"\0" in line:
            return self.undecodable(line, start, self._encoding)
        sentence = (
            f"Record {self.position + 1} at byte {start} is not JSON: {error}."
            " Have the source write one whole object per line."
        )
        return self.fault(line, start, "INVALID_JSON", sentence)

    def _no_object(self, line: bytes, start: int) -> Record:
        sentence = (
            f"Record {self.position + 1} at byte {start} is JSON, but not an object with names:"
            " write one object {…} per line."
        )
        return self.fault(line, start, "NOT_AN_OBJECT", sentence)
