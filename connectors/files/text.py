"""Text logs: a record is a line, or a line that matches `starts` with those that continue it."""

import re

from typing_extensions import override

from collector.connector import Record
from connectors.files.parse import LineParser


class Text(LineParser):
    """Matches each record against `pattern`, whose named groups become the body.

    The pattern is searched from the beginning of the record; in records of several lines `.`
    matches line ends too. Without a pattern the body is `{message: text}`. Lines before the first
    start are a record of their own. A group that took no part is None.
    """

    settles = True

    def __init__(
        self, position: int, limit: int, encoding: str, *, pattern: str | None, starts: str | None
    ) -> None:
        super().__init__(position, limit)
        self._encoding = encoding
        self._pattern = re.compile(pattern, re.DOTALL if starts else 0) if pattern else None
        self._starts = re.compile(starts) if starts else None
        self._group: list[bytes] = []
        self._group_bytes = 0

    @override
    def parse(self, start: int, lines: list[bytes]) -> list[Record]:
        records: list[Record] = []
        for line in lines:
            if self._starts is None:
                if line.strip():
                    records.append(self._record(line, start))
            else:
                self._grouped(line, start, records)
            start += len(line) + 1
        return records

    def _grouped(self, line: bytes, start: int, records: list[Record]) -> None:
        begins = self._starts is not None and self._starts.match(
            line.decode(self._encoding, "replace")
        )
        if begins or self._group_bytes + len(line) > self.limit:
            records += self.close()
        if not self._group:
            self.held = start
        self._group.append(line)
        self._group_bytes += len(line) + 1

    @override
    def close(self) -> list[Record]:
        raw = b"\n".join(self._group)
        start, self._group, self._group_bytes, self.held = self.held, [], 0, -1
        return [self._record(raw, start)] if raw.strip() else []

    def _record(self, raw: bytes, start: int) -> Record:
        if b"\0" in raw:
            return self.undecodable(raw, start, self._encoding)
        try:
            text = raw.decode(self._encoding)
        except UnicodeDecodeError:
            return self.undecodable(raw, start, self._encoding)
        text = text.replace("\r\n", "\n").rstrip()
        if self._pattern is None:
            self.position += 1
            return Record(self.position, {"message": text}, raw, None, start, len(raw))
        match = self._pattern.match(text)
        if match is None:
            sentence = (
                f"Record {self.position + 1} at byte {start} does not match `pattern`: {text[:80]!r}."
                " Widen the pattern, or set `starts` where records run over several lines."
            )
            return self.fault(raw, start, "NO_MATCH", sentence)
        self.position += 1
        return Record(self.position, match.groupdict(), raw, None, start, len(raw))
