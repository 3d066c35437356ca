"""What the tests of the SAP Cloud Integration connector share: a tenant, a clock and a store."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random  # noqa: TID251 -- seeded below
from typing import Any

import pytest

from collector.connector import Body, Chunk, Cursor, End, Part, Stated
from connectors.sap_cloud_integration.connector import MessagesReader
from connectors.sap_cloud_integration.options import MessagesOptions
from connectors.sap_cloud_integration.sandbox import (
    CLIENT_ID,
    CLIENT_SECRET,
    UNVERIFIED,
    Message,
    Phase,
    Sandbox,
    Tenant,
)
from tests.connectors.reading import through_json

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def unverified(name: str) -> pytest.MarkDecorator:
    """Mark a test that rests on what SAP's documentation does not say, by the sandbox's name for it."""
    assert name in UNVERIFIED
    return pytest.mark.unverified(name)


class Time:
    """A clock that is set by hand."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def pass_by(self, span: timedelta) -> None:
        self.at += span

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def ended(
    guid: str,
    at: datetime,
    status: str = "COMPLETED",
    **fields: Any,  # noqa: ANN401 -- of Message
) -> Message:
    """A message that took two seconds and was shown as soon as it ended."""
    return Message(guid, at - timedelta(seconds=2), [Phase(at, status, at)], **fields)


class House:
    """A tenant that is served, and what a store would keep of it; a restart is a new reader."""

    def __init__(self, sandbox: Sandbox, time: Time, skew: timedelta = timedelta()) -> None:
        self.sandbox = sandbox
        self.tenant = sandbox.tenant
        self.time = time
        self.clock = lambda: time() + skew
        self.cursor: Cursor | None = None
        self.bodies: list[Body] = []
        self.stated: list[Stated] = []
        self.end: End | None = None
        self.errors: list[str] = []

    def read_section(self) -> dict[str, Any]:
        """What stands under `read:` in a configuration."""
        return {
            "base_url": self.sandbox.base_url,
            "token_url": self.sandbox.token_url,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }

    def reader(self, **options: Any) -> MessagesReader:  # noqa: ANN401 -- of MessagesOptions
        return MessagesReader(
            MessagesOptions(**{**self.read_section(), **options}),
            clock=self.clock,
            random=Random(1),  # noqa: S311 -- of waiting times
            sleep=self.time.sleep,
        )

    def chunks(self, **options: Any) -> Iterator[Chunk]:  # noqa: ANN401 -- of MessagesOptions
        reader = self.reader(**options)
        (part,) = reader.parts({})
        return reader.read(Part(part.id, part.name), self.cursor)

    def keep(self, chunk: Chunk) -> list[str]:
        """Commit a chunk, as the pipeline does; return the keys of its messages."""
        bodies = [record.body for record in chunk.records]
        self.bodies += [body for body in bodies if body is not None]
        self.cursor = through_json(chunk.cursor)
        self.stated += [chunk.stated] if chunk.stated is not None else []
        self.end = chunk.end or self.end
        return [str(body["MessageGuid"]) for body in bodies if body is not None]

    def read(self, **options: Any) -> list[str]:  # noqa: ANN401 -- of MessagesOptions
        """Read to the present; return the keys of the messages that came."""
        return [guid for chunk in self.chunks(**options) for guid in self.keep(chunk)]

    def last(self) -> dict[str, tuple[str, str | None]]:
        """What is known last of each message: its status and its end."""
        return {str(b["MessageGuid"]): (str(b["Status"]), b["LogEnd"]) for b in self.bodies}

    def truth(self) -> dict[str, tuple[str, str | None]]:
        """What the tenant shows now."""
        rows = [shown.row("", expanded=True) for shown in self.tenant.shown()]
        return {row["MessageGuid"]: (row["Status"], row["LogEnd"]) for row in rows}


@contextmanager
def house(
    *messages: Message, page_rows: int = 1_000, skew: timedelta = timedelta()
) -> Iterator[House]:
    time = Time()
    tenant = Tenant(time, page_rows=page_rows)
    tenant.add(*messages)
    with Sandbox(tenant) as sandbox:
        yield House(sandbox, time, skew)
