"""Names of documents, how they are compared and how they are hashed."""

from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

OWN, IDENTITY, GROUP, CONTEXT, CUT = 0, 1, 2, 3, 4
"""Roles as stored: a document's own name, another name that joins, one that links, one to search; and one
that would join, had not a person cut it."""

ROLE_NAMES = ("own", "identity", "group", "context", "cut")

LINK = "link:decided"
"""The kind of the name that two documents share because a person linked them: no mapping can name it."""

_length = Struct(">I").pack


class Name(NamedTuple):
    """What something is called: the kind of name, within what it is unique, and the value."""

    kind: str
    scope: str
    value: str


def packed(field: str) -> bytes:
    """Return a field as it enters a digest: the length of its UTF-8 bytes in four bytes, and these."""
    raw = field.encode()
    return _length(len(raw)) + raw


_empty_16 = blake2b(digest_size=16).copy  # a copy takes two thirds of a new one's time
_empty_8 = blake2b(digest_size=8).copy


def digest_of(layout: bytes) -> bytes:
    """Hash fields that are packed and joined already."""
    state = _empty_16()
    state.update(layout)
    return state.digest()


def digest(*fields: str) -> bytes:
    """Hash fields to 16 bytes: identities and content ids, which never change once released.

    The hash is BLAKE2b with a digest of 16 bytes, no key, salt or personalisation, over the fields in
    order, each as

        length    4 bytes, unsigned, big-endian: how many bytes follow
        field     the text in UTF-8, not normalised

    so that no two lists of fields look alike. What is hashed so, and with which fields:

        content id    "document", kind, scope, value (of the document's own name, normalised); see
                      `content_id` for what else is in it
        event id      "event", namespace, native key, rule, and the text of each discriminator in the
                      mapping's order; one that is empty is the empty text
    """
    return digest_of(b"".join(map(packed, fields)))


def content_id(name: Name) -> bytes:
    """Return the public id of the document that is called so (16 bytes).

    The first 8 bytes are the `value_hash` of its value, so that the index of references finds a
    document by its id as well. The last 8 are its name hash, the beginning of
    digest("document", *name). Both are signed 64-bit numbers in the store, big-endian here.
    """
    kind, scope, value = name
    return _value_digest(value) + digest_of(_before_value(kind, scope) + packed(value))[:8]


def link_name(a: bytes, b: bytes) -> Name:
    """Return the name that two documents, by content id, share because a person linked them."""
    return Name(LINK, "", " ".join(sorted((a.hex(), b.hex()))))


@lru_cache(4096)
def _before_value(kind: str, scope: str) -> bytes:
    return packed("document") + packed(kind) + packed(scope)


def fold(value: str) -> str:
    """Fold a value as a person may type it: without case and surplus blanks."""
    return " ".join(value.casefold().split())


def value_hash(value: str) -> int:
    """Hash a folded value to a signed 64-bit number, as the index of references holds it.

    BLAKE2b with a digest of 8 bytes over the folded value in UTF-8, big-endian.
    """
    return int.from_bytes(_value_digest(value), "big", signed=True)


def _value_digest(value: str) -> bytes:
    state = _empty_8()
    state.update(fold(value).encode())
    return state.digest()
