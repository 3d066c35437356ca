"""Pages: `?limit=&cursor=` in, `{"items": [...], "next": "<cursor>" | null}` out.

A cursor names a place in what only grows, so a walk meets everything once while new items arrive. It is
bound to the caller's key and to the question: it works on any process, and for no other question.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from api.errors import Problem

LIMIT_MAX = 500
LIMIT = 50
CURSOR_CHARACTERS_MAX = 2_000
_MAC_BYTES = 16

T = TypeVar("T")


class Parameters(BaseModel):
    """Query parameters; an unknown one is refused, lest a misspelt `as_of` answer as of now."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Paging(Parameters):
    """Which page, and how long."""

    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT
    cursor: Annotated[
        str | None, Field(max_length=CURSOR_CHARACTERS_MAX, description="`next` of the page before")
    ] = None


class Pages:
    """Reads and writes the cursors of one request."""

    def __init__(self, request: Request, paging: Paging) -> None:
        question = paging.model_dump(mode="json", exclude={"limit", "cursor"})
        self._about = request.url.path.encode() + b"?" + msgspec.json.encode(question)
        self._key: bytes = request.scope["state"]["api_key"]
        self._cursor = paging.cursor
        self.limit = paging.limit

    def after(self, shape: type[T], otherwise: T) -> T:
        """Return the place to go on from.

        Raises:
            Problem: the cursor is none of ours, or was made for another question or key.
        """
        if self._cursor is None:
            return otherwise
        try:
            raw = urlsafe_b64decode(self._cursor.encode("ascii") + b"==")
            place, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
            if hmac.compare_digest(mac, self._mac(place)):
                return msgspec.json.decode(place, type=shape)
        except (ValueError, msgspec.DecodeError):
            pass  # said below
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "wrong-cursor",
            "The cursor is wrong",
            "Give `cursor` the `next` of the page before, with the same key and parameters, "
            "or leave it out to begin anew.",
        )

    def next(self, place: Any) -> str:  # noqa: ANN401 -- any JSON
        """Write the cursor of a place."""
        raw = msgspec.json.encode(place)
        return urlsafe_b64encode(raw + self._mac(raw)).rstrip(b"=").decode()

    def _mac(self, place: bytes) -> bytes:
        return hmac.digest(self._key, self._about + b"\0" + place, sha256)[:_MAC_BYTES]
