"""Names of documents, how they are compared and how they are hashed."""

import hashlib
import struct
from typing import NamedTuple

OWN, IDENTITY, GROUP, CONTEXT = 0, 1, 2, 3
"""Roles as stored: a document's own name, another name that joins, one that links, one to search."""

ROLE_NAMES = ("own", "identity", "group", "context")


class Name(NamedTuple):
    """What something is called: the kind of name, within what it is unique, and the value."""

    kind: str
    scope: str
    value: str


def digest(*fields: str) -> bytes:
    """Hash fields to 16 bytes (BLAKE2b); lengths go in, so that no two lists of fields look alike."""
    return hashlib.blake2b(
        b"".join(struct.pack(">I", len(b)) + b for b in (f.encode() for f in fields)),
        digest_size=16,
    ).digest()


def content_id(name: Name) -> bytes:
    """Return the public id of the document that is called so (16 bytes)."""
    return digest("document", *name)


def fold(value: str) -> str:
    """Fold a value as a person may type it: without case and surplus blanks."""
    return " ".join(value.casefold().split())


def value_hash(value: str) -> int:
    """Hash a folded value to a signed 64-bit number, as the index of references holds it."""
    raw = hashlib.blake2b(fold(value).encode(), digest_size=8).digest()
    return int.from_bytes(raw, "big", signed=True)
