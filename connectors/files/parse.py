"""What the driver of a pass asks of a format: of lines (`LineParser`) or of a whole document."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final

from collector.connector import Fault, Record, Stated
from connectors.kit.lines import Batch
from connectors.kit.records import overlong, unreadable


class DamagedError(Exception):
    """A document cannot be read on; the message is a clause that says why, where and the remedy."""


class LineParser(ABC):
    """Makes records of lines; counts them from `position` on.

    `held` is the offset of the first line that waits for what follows, -1 where none does.
    """

    held: int = -1
    settles: bool = False
    """Whether what is held may be taken as whole once the file has been quiet for a while."""

    def __init__(self, position: int, limit: int) -> None:
        self.position = position
        self.limit = limit

    def feed(self, batch: Batch) -> list[Record]:
        """Return the records that are whole now."""
        if batch.flush:
            return self.close()
        if batch.long is not None:
            self.position += 1
            return [overlong(self.position, batch.long, self.limit)]
        return self.parse(batch.start, batch.lines)

    @abstractmethod
    def parse(self, start: int, lines: list[bytes]) -> list[Record]:
        """Return the records of consecutive lines, the first of which starts at `start`."""

    def close(self) -> list[Record]:
        """Return what was held: nothing follows."""
        return []

    def fault(self, raw: bytes, start: int, reason: str, sentence: str) -> Record:
        """Return the next record as one that cannot be read."""
        self.position += 1
        return unreadable(self.position, raw, start, Fault(reason, sentence))

    def undecodable(self, raw: bytes, start: int, encoding: str) -> Record:
        """Return the fault of a line that is binary or in another encoding."""
        where = f"Record {self.position + 1} at byte {start}"
        if b"\0" in raw:
            sentence = f"{where} holds NUL bytes: it is binary, or was overwritten while it was written. Have the source write it again."
            return self.fault(raw, start, "BINARY", sentence)
        try:
            raw.decode(encoding)
        except UnicodeDecodeError as error:
            sentence = (
                f"{where} is not {encoding}: byte {raw[error.start]:#04x} at {start + error.start}."
                " State the right `encoding`, for example cp1252, or have the line corrected."
            )
            return self.fault(raw, start, "WRONG_ENCODING", sentence)
        raise AssertionError("only lines that cannot be decoded come here")


class DocumentParser(ABC):
    """Makes records of a whole document; after the last one `stated` and `sentence` are set."""

    stated: Stated | None = None
    sentence: str = ""
    notes: Final[dict[str, str]]

    def __init__(self) -> None:
        self.notes = {}

    @abstractmethod
    def records(self) -> Iterator[Record]:
        """Yield the records from the first on; raise DamagedError or CutOffError behind the last."""
