"""Identities: spelled out by hand here, because they may never change after a release."""

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from collector.model.reference import Name, content_id, digest, fold, value_hash


def by_hand(*fields: bytes) -> bytes:
    state = blake2b(digest_size=16)
    for field in fields:
        state.update(len(field).to_bytes(4, "big"))
        state.update(field)
    return state.digest()


def test_a_digest_is_of_lengths_and_bytes() -> None:
    laid_out = b"\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x03\xe2\x82\xac"
    assert digest("a", "", "€") == blake2b(laid_out, digest_size=16).digest()
    assert digest("a", "", "€").hex() == "d7e3b32bffc6e6257e637c0a6043f173"


def test_the_content_id_of_a_document_never_changes() -> None:
    name = Name("journal", "DE10/2026", "5100000456")
    of_value = blake2b(b"5100000456", digest_size=8).digest()
    of_name = by_hand(b"document", b"journal", b"DE10/2026", b"5100000456")
    assert content_id(name) == of_value + of_name[:8]
    assert content_id(name).hex() == "b6e1731debbd137a5d544ed5309fee96"


def test_the_hash_of_a_value_never_changes() -> None:
    expected = blake2b(b"de10 strasse", digest_size=8).digest()
    assert value_hash("  DE10   Straße ") == int.from_bytes(expected, "big", signed=True)
    assert value_hash("5100000456") == -5_268_803_516_700_486_790


@given(st.lists(st.text()), st.lists(st.text()))
def test_no_two_lists_of_fields_look_alike(a: list[str], b: list[str]) -> None:
    a, b = ([t.encode("utf-8", "replace").decode() for t in fields] for fields in (a, b))
    assert (digest(*a) == digest(*b)) == (a == b)


@given(st.text())
def test_folding_twice_is_folding_once_but_for_letters_that_fold_apart(value: str) -> None:
    assert fold(fold(value)).split() == fold(fold(fold(value))).split()
