"""What a mapping makes of a record; and that nothing it is given makes it fail but NotMapped."""

import json
import pickle
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.connector import Fault, Record
from collector.model.event import Event
from collector.model.reference import CONTEXT, GROUP, IDENTITY, Name
from collector.pipeline.mapping import CompiledMapping, event_types, record_hash
from collector.pipeline.values import NAME_CHARS_MAX, NotMapped
from collector.settings.kinds import ReferenceKind, kinds
from collector.settings.mapping import Mapping

LATEST = datetime(2026, 2, 7, tzinfo=UTC)
EARLIEST = date(2000, 1, 1)
PLAIN: dict[str, Any] = {
    "key": "id",
    "document": {"type": "claim", "number": "no"},
    "occurred_at": {"value": "at", "timezone": "in value"},
    "events": [{"rule": "approval", "type": "claim.approved"}],
}
BODY: dict[str, Any] = {"id": "k1", "no": "4711", "at": "2026-01-30T17:02:00+01:00"}


def compiled(
    namespace: str = "erp/claims", own: dict[str, Any] | None = None, **changes: object
) -> CompiledMapping:
    known = kinds({name: ReferenceKind.model_validate(kind) for name, kind in (own or {}).items()})
    mapping = Mapping.model_validate({**PLAIN, **changes})
    return CompiledMapping(mapping, namespace, EARLIEST, kinds=known)


def one(mapping: CompiledMapping, **fields: object) -> Event:
    (event,) = mapping.apply(Record(1, {**BODY, **fields}), LATEST)
    return event


def refused(mapping: CompiledMapping, **fields: object) -> str:
    with pytest.raises(NotMapped) as caught:
        mapping.apply(Record(1, {**BODY, **fields}), LATEST)
    assert str(caught.value).endswith((".", "?"))
    return caught.value.fault.reason


def test_a_stream_of_one_entity_takes_no_record_of_another_nor_of_none() -> None:
    mapping = Mapping.model_validate({**PLAIN, "entity": "company"})
    alone = CompiledMapping(mapping, "erp/claims", EARLIEST, "DE10")
    assert one(alone, company="DE10").entity == "DE10"
    assert refused(alone, company="KW10") == refused(alone) == "OTHER_ENTITY"


# ---------------------------------------------------------------------------------- identity


def laid_out(*fields: str) -> bytes:
    parts = [len(f.encode()).to_bytes(4, "big") + f.encode() for f in fields]
    return blake2b(b"".join(parts), digest_size=16).digest()


def test_the_identity_of_an_event_never_changes() -> None:
    event = one(compiled(), no="Änderung")
    assert event.event_id == laid_out("event", "erp/claims", "k1", "approval")
    assert event.event_id.hex() == "16b956eb49aa9f87e7f731fbad537232"


def test_discriminators_enter_the_identity_in_the_order_of_the_mapping() -> None:
    rule = {"rule": "submit", "type": "claim.submitted", "discriminators": ["when", "{a}-{b}", "c"]}
    mapping = compiled(events=[rule], nulls=["NONE"])
    event = one(mapping, when="2026-01-30", a="1", b="2", c=None)
    base = ("event", "erp/claims", "k1", "submit")
    assert event.event_id == laid_out(*base, "2026-01-30", "1-2", "")
    assert one(mapping, when="2026-01-31").event_id != event.event_id
    said_none = one(mapping, when="NONE").event_id  # a word for nothing that is declared later
    assert said_none == laid_out(*base, "NONE", "", "")  # must not give the event another id


def test_the_hash_of_a_record_never_changes() -> None:
    body: dict[str, Any] = {
        "b": 'Ä\u2028/"\\\t', "a": [1, Decimal("1.10"), None, True, 2**70], "ä": {"z": "", "y": []},
    }  # fmt: skip
    text = '{"a":[1,1.10,null,true,1180591620717411303424],"b":"Ä\u2028/\\"\\\\\\t","ä":{"y":[],"z":""}}'
    assert record_hash(body) == blake2b(text.encode(), digest_size=16).digest()
    assert record_hash(body).hex() == "8b2867b2e0ab969c06f0d40d0f1fb166"
    assert (
        one(compiled()).revision
        == blake2b(
            b'{"at":"2026-01-30T17:02:00+01:00","id":"k1","no":"4711"}', digest_size=16
        ).digest()
    )


@given(
    st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.booleans()), st.randoms()
)
def test_the_hash_of_a_record_does_not_depend_on_the_order_of_its_keys(
    body: dict[str, Any],
    random: Any,  # noqa: ANN401 -- Hypothesis names no type
) -> None:
    keys = list(body)
    random.shuffle(keys)
    assert record_hash({key: body[key] for key in keys}) == record_hash(body)


def test_a_body_without_a_canonical_form_still_has_a_hash() -> None:
    nested: Any = []
    for _ in range(20_000):
        nested = [nested]
    bodies: list[dict[str, Any]] = [
        {"a": "\ud800"},
        {"a": "\ud801"},
        {"\ud800": "a"},
        {"a": nested},
    ]
    assert len({record_hash(body) for body in bodies}) == len(bodies)


ZONED = {"value": "at", "timezone": "Europe/Berlin", "ambiguous": "earlier"}


def test_mending_a_timezone_moves_neither_event_nor_month() -> None:
    written = "2026-02-01T00:30:00"  # still January in UTC
    before = one(compiled(occurred_at={**ZONED, "timezone": "UTC"}), at=written)
    after = one(compiled(occurred_at=ZONED), at=written)
    assert after.occurred_at != before.occurred_at
    assert (after.event_id, after.revision, after.month) == (
        before.event_id, before.revision, date(2026, 2, 1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "month"), [("2025-12-31", date(2025, 12, 1)), ("20260131", date(2026, 1, 1)), ("2026.01", date(2026, 1, 1))]
)  # fmt: skip
def test_the_month_comes_from_the_field_that_the_mapping_names(text: str, month: date) -> None:
    assert one(compiled(month="entered"), entered=text).month == month


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "NO_MONTH"), ("2026-13", "NO_MONTH"), ("2026-00-01", "NO_MONTH"), ("31.01.2026", "NO_MONTH"),
     ("\uff12\uff10\uff12\uff16-01", "NO_MONTH"), ("0000-01", "NO_MONTH"), ("1999-12", "TOO_EARLY"), ("2026-03", "IN_THE_FUTURE")],
)  # fmt: skip
def test_a_month_that_cannot_be_is_quarantined(text: str, reason: str) -> None:
    assert refused(compiled(month="entered"), entered=text) == reason


# ---------------------------------------------------------------------------------- types and rules


def by_value(unknown: str) -> CompiledMapping:
    values = {"A": "claim.approved", "X": "ignore"}
    chosen = {"value": "status", "values": values, "unknown": unknown}
    return compiled(events=[{"rule": "status", "type": chosen}])


def test_the_type_follows_a_value_and_an_unknown_one_has_an_explicit_answer() -> None:
    assert one(by_value("quarantine"), status="A").type == "claim.approved"
    assert refused(by_value("quarantine"), status="B") == "UNKNOWN_VALUE"
    assert refused(by_value("quarantine")) == "UNKNOWN_VALUE"
    assert one(by_value("claim.changed"), status="B").type == "claim.changed"
    for unknown, status in (("ignore", "B"), ("quarantine", "X")):
        assert by_value(unknown).apply(Record(1, {**BODY, "status": status}), LATEST) == []


def test_the_types_that_a_mapping_can_produce_are_listed() -> None:
    assert by_value("quarantine").event_types == {"claim.approved"}
    assert by_value("claim.changed").event_types == {"claim.approved", "claim.changed"}
    assert event_types(Mapping.model_validate(PLAIN)) == {"claim.approved"}


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        ({"is": ["A", "B"]}, ["A", "B"]),
        ({"is_not": ["A"]}, ["B", "C", None]),
        ({"is": ["A", "B"], "is_not": ["B"]}, ["A"]),
        ({"empty": True}, [None]),
        ({"empty": False}, ["A", "B", "C"]),
        ({}, ["A", "B", "C"]),
        ({"is_not": ["A"], "empty": False}, ["B", "C"]),
    ],
)
def test_a_condition_holds_for(condition: dict[str, Any], values: list[str | None]) -> None:
    when = [{"value": "x", **condition}]
    mapping = compiled(
        events=[{"rule": "r", "type": "claim.approved", "when": when}], nulls=["NONE"]
    )
    held = [x for x in ("A", "B", "C", None) if mapping.apply(Record(1, {**BODY, "x": x}), LATEST)]
    assert held == values
    assert bool(mapping.apply(Record(1, {**BODY, "x": "NONE"}), LATEST)) == (None in values)


def test_one_record_can_be_several_events_and_common_fields_are_laid_under_their_own() -> None:
    mapping = compiled(
        references=[{"kind": "budget", "role": "context", "value": "b"}],
        attributes={"a": "a"},
        events=[
            {"rule": "sent", "type": "claim.sent"},
            {
                "rule": "paid", "type": "claim.paid", "attributes": {"c": "a"},
                "occurred_at": {"value": "paid_at", "timezone": "in value"},
                "references": [{"kind": "payment", "role": "identity", "value": "p"}],
            },
        ],
    )  # fmt: skip
    body = {**BODY, "b": "B1", "a": "x", "p": "P1", "paid_at": "2026-01-31T10:00:00Z"}
    sent, paid = mapping.apply(Record(1, body), LATEST)
    assert (sent.type, paid.type) == ("claim.sent", "claim.paid")
    assert sent.event_id != paid.event_id
    assert paid.references == (
        (CONTEXT, Name("budget", "", "B1")),
        (IDENTITY, Name("payment", "", "P1")),
    )
    assert paid.occurred_at == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert msgspec.json.decode(paid.body)["attributes"] == {"a": "x", "c": "x"}


# ---------------------------------------------------------------------------------- names and nulls


@pytest.mark.parametrize(
    "value", [None, "", "  ", "UNKNOWN", " NOTPROVIDED ", [], {"#text": None}, ["UNKNOWN"]]
)
def test_a_word_for_no_value_never_becomes_a_reference(value: object) -> None:
    references = [{"kind": "run", "role": role, "value": "run"} for role in ("identity", "group")]
    mapping = compiled(references=references, nulls=["UNKNOWN", "NOTPROVIDED"])
    if value == []:
        assert refused(mapping, run=value) == "NOT_A_VALUE"
        return
    assert one(mapping, run=value).references == ()
    assert refused(compiled(nulls=["UNKNOWN", "NOTPROVIDED"]), no=value) == "NO_DOCUMENT"
    assert refused(compiled(nulls=["UNKNOWN", "NOTPROVIDED"]), id=value) == "NO_KEY"


@pytest.mark.parametrize(
    ("normalise", "value", "name"),
    [
        (["strip_zeros"], "0000004711", "4711"),
        (["strip_zeros"], "0000000000", None),
        (["strip_zeros"], "00A7", "00A7"),
        (["alnum"], "--- ---", None),
        (["alnum", "upper"], "re-47/11 a", "RE4711A"),
        (["upper"], "unknown", None),
        ([], "unknown", "unknown"),
    ],
)
def test_what_normalising_leaves_of_a_value_is_looked_at_again(
    normalise: list[str], value: str, name: str | None
) -> None:
    rule = {"kind": "invoice", "role": "identity", "value": "x"}
    own = {"invoice": {"normalise": normalise}}
    event = one(compiled(own=own, references=[rule], nulls=["UNKNOWN", "0"]), x=value)
    assert [n.value for _, n in event.references] == ([name] if name else [])


def test_a_document_and_those_that_name_it_are_compared_alike() -> None:
    own = {"claim": {"normalise": ["strip_zeros", "upper"]}}
    naming = {"kind": "claim", "role": "identity", "value": "x"}
    event = one(compiled(own=own, references=[naming]), no="0000004711", x="4711")
    assert event.document == event.references[0][1] == Name("claim", "", "4711")


@pytest.mark.parametrize("role", ["identity", "group"])
@pytest.mark.parametrize(
    ("kind", "value", "stored", "joins"),
    [
        ("creditor_reference", "RF18 5390 0754 7034", "RF18539007547034", True),
        ("creditor_reference", "rf18539007547034", "RF18539007547034", True),
        ("creditor_reference", "RF18000000000539007547034", "RF18539007547034", True),
        ("creditor_reference", "RF18 5390 0754 7043", "RF18539007547043", False),
        ("creditor_reference", "Invoice 4711", "INVOICE4711", False),
        ("bank_account", "GB82 WEST 1234 5698 7654 32", "GB82WEST12345698765432", True),
        ("bank_account", "GB82 WEST 1234 5698 7654 23", "GB82WEST12345698765423", False),
        ("end_to_end_id", "57EE1FDA34", "57EE1FDA34", True),
        ("end_to_end_id", "NOTPROVIDED", "NOTPROVIDED", False),
    ],
)
def test_what_names_nothing_is_kept_to_be_searched_and_joins_nothing(
    kind: str, value: str, stored: str, role: str, *, joins: bool
) -> None:
    reference = {"kind": kind, "role": role, "value": "x"}
    wanted = {"identity": IDENTITY, "group": GROUP}[role] if joins else CONTEXT
    assert one(compiled(references=[reference]), x=value).references == (
        (wanted, Name(kind, "", stored)),
    )


@pytest.mark.parametrize(
    ("value", "role"),
    [
        ("57EE1FDA348046E", IDENTITY),  # shorter than the field: it is whole
        ("57EE1FDA348046E8", CONTEXT),  # 57EE1FDA348046E8A08B, or another that begins alike
        ("0000000000004711", CONTEXT),  # filled up: what was cut nobody knows
        ("57EE1FDA348046E8A08B", CONTEXT),  # longer than the field can be
    ],
)
def test_a_key_that_fills_a_field_which_cuts_joins_nothing_whatever_else_is_there(
    value: str, role: int
) -> None:
    own = {"report": {"normalise": ["strip_zeros"]}}
    cut = {"kind": "report", "role": "identity", "value": "XBLNR", "field_length": 16}
    whole = {"kind": "report", "role": "identity", "value": "BKTXT"}
    event = one(
        compiled(own=own, references=[cut, whole]), XBLNR=value, BKTXT="57EE1FDA348046E8A08B"
    )
    assert set(event.references) == {
        (role, Name("report", "", value.lstrip("0"))),
        (IDENTITY, Name("report", "", "57EE1FDA348046E8A08B")),
    }


def test_a_document_whose_own_name_names_nothing_is_quarantined() -> None:
    mapping = compiled(document={"type": "bank_account", "number": "no"})
    assert one(mapping, no="DE89 3704 0044 0532 0130 00").document.value == "DE89370400440532013000"
    assert refused(mapping, no="DE89 3704 0044 0532 0130 01") == "NO_DOCUMENT"


def test_the_version_of_a_mapping_tells_what_its_kinds_do_to_names() -> None:
    plain, titled = compiled(), compiled(own={"claim": {"title": "Claim", "max_documents": 50}})
    upper, other = (
        compiled(own={kind: {"normalise": ["upper"]}}) for kind in ("claim", "not_named")
    )
    assert plain.version == titled.version == other.version != upper.version
    record = Record(1, {**BODY, "no": "a7"})
    again = pickle.loads(pickle.dumps(upper))  # noqa: S301 -- our own bytes
    assert again.apply(record, LATEST) == upper.apply(record, LATEST)
    assert again.version == upper.version


def test_a_name_without_its_scope_joins_nothing() -> None:
    rule = {"kind": "journal", "role": "identity", "value": "n", "scope": "{c}/{y}"}
    mapping = compiled(references=[rule])
    assert one(mapping, n="1", c="DE10", y="2026").references == (
        (IDENTITY, Name("journal", "DE10/2026", "1")),
    )
    assert one(mapping, n="1", c="DE10", y="").references == ()


def test_a_name_that_is_a_text_is_quarantined_with_its_length() -> None:
    mapping = compiled(references=[{"kind": "run", "role": "group", "value": "run"}], entity="e")
    assert one(mapping, run="x" * NAME_CHARS_MAX).references[0][0] == GROUP
    assert refused(mapping, run="x" * 2_701) == "TOO_LONG"
    assert refused(mapping, no="x" * 2_701) == "TOO_LONG"
    assert refused(mapping, e="x" * 2_701) == "TOO_LONG"


def test_personal_fields_are_kept_apart() -> None:
    mapping = compiled(
        actor="who", message="say", attributes={"iban": "iban", "kind": "kind"},
        dimensions={"cost_center": "cc"}, personal=["actor", "iban"],
    )  # fmt: skip
    event = one(mapping, who="Erika", say="hi", iban="DE02", kind="x", cc="4711")
    assert event.personal == {"actor": "Erika", "iban": "DE02"}
    assert msgspec.json.decode(event.body) == {
        "message": "hi", "dimensions": {"cost_center": "4711"}, "attributes": {"kind": "x"},
        "document": ["claim", "", "4711"],
    }  # fmt: skip
    assert one(mapping).personal is None


@pytest.mark.parametrize(
    ("text", "sequence"), [("7", 7), ("-1", -1), (12, 12), ("", None), ("1.5", "no"), ("\uff11", "no"),
                           ("1_0", "no"), ("9" * 19, "no"), ("9" * 5000, "no"), ("--1", "no")]
)  # fmt: skip
def test_a_sequence_is_a_whole_number(text: object, sequence: object) -> None:
    mapping = compiled(sequence="seq")
    if sequence == "no":
        assert refused(mapping, seq=text) == "NOT_A_NUMBER"
    else:
        assert one(mapping, seq=text).sequence == sequence


def test_accounting_dates_are_dates() -> None:
    mapping = compiled(
        accounting={"format": "%Y%m%d", "posting_date": "budat", "fiscal_year": "gjahr"}
    )
    kept = msgspec.json.decode(one(mapping, budat="20260131", gjahr="2026").body)
    assert kept["accounting"] == {"posting_date": "2026-01-31", "fiscal_year": "2026"}
    assert "accounting" not in msgspec.json.decode(one(mapping).body)
    for text in ("20260230", "2026-01-31", "\uff12\uff10\uff12\uff160131", "00000000"):
        assert refused(mapping, budat=text) == "IMPOSSIBLE_DATE"


# ---------------------------------------------------------------------------------- odd records


def test_a_record_that_was_not_read_passes_its_fault_on() -> None:
    fault = Fault("INVALID_JSON", "The line ends within a text: \0\ud800.")
    for record, reason in (
        (Record(1, None, fault=fault), "INVALID_JSON"),
        (Record(1, None), "EMPTY"),
    ):
        with pytest.raises(NotMapped) as caught:
            compiled().apply(record, LATEST)
        assert caught.value.fault.reason == reason
        assert "\0" not in caught.value.fault.sentence


@pytest.mark.parametrize(
    ("value", "reason"),
    [("a\0b", "NUL_CHARACTER"), ("\ud800", "NOT_TEXT"), ({"\0": 1}, "NUL_CHARACTER"), ([["\0"]], "NUL_CHARACTER"),
     ({"\ud800": 1}, "NOT_TEXT")],
)  # fmt: skip
def test_what_a_database_text_cannot_hold_is_quarantined(value: object, reason: str) -> None:
    assert refused(compiled(), anything=value) == reason


def test_a_backslash_before_u0000_is_no_nul() -> None:
    assert one(compiled(), anything="a\\u0000b").type == "claim.approved"


def test_a_record_is_not_nested_without_end() -> None:
    nested: Any = "x"
    for _ in range(20_000):
        nested = [nested]
    assert refused(compiled(), no=nested) == "TOO_DEEP"


EVERYTHING = compiled(
    nulls=["UNKNOWN", "0"], key="id", month="month", sequence="seq", entity="entity", actor="who",
    status="a.0.b", document={"type": "claim", "number": "{no}/{a.b}", "scope": "scope"},
    amount={"value": "amount", "currency": "cur", "round": "half_even", "negative_when": [{"value": "sign", "is": ["-"]}]},
    references=[{"kind": "r", "role": "identity", "value": "ref"}, {"kind": "creditor_reference", "role": "identity", "value": "ref"}],
    own={"claim": {"normalise": ["strip_zeros", "alnum"]}, "r": {"normalise": ["upper"], "defaults": ["A"]}},
    accounting={"posting_date": "day"}, dimensions={"d": "d"}, attributes={"t": r"a\.b"}, personal=["t"],
    events=[
        {"rule": "iso", "type": {"value": "type", "values": {"A": "claim.a"}, "unknown": "claim.b"}, "discriminators": ["x"]},
        *({"rule": f"r{i}", "type": "claim.c", "when": [{"value": "form", "is": [str(i)]}], "occurred_at": rule}
          for i, rule in enumerate([
              {"value": "at", "timezone": "Europe/Berlin"},
              {"value": "at", "timezone": "in value", "format": "epoch_ms"},
              {"value": "at", "timezone": "in value", "format": "odata"},
              {"value": "at", "timezone": "America/New_York", "format": "%Y%m%d %H%M%S"},
              {"value": "at", "timezone": "in value", "format": "%d/%b/%Y %H:%M:%S %z"},
          ], 1)),
    ],
)  # fmt: skip
FIELDS = ["id", "no", "a", "a.b", "at", "month", "seq", "entity", "who", "scope", "amount", "cur",
          "sign", "ref", "day", "d", "type", "form", "x"]  # fmt: skip
PLAUSIBLE = st.sampled_from([
    "A", "UNKNOWN", "0", "EUR", "JPY", "-", "1", "2", "3", "4", "5", "2026-01-30", "2026-01",
    "2026-01-30T17:02:00+01:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00",
    "20260329 023000", "/Date(1769788920000)/", "/Date(99999999999999999)/", "1769788920000",
    "30/Jan/2026 17:02:00 +0100", "NaN", "-1e999", "1.250,00", "12-", "\0", "\ud800", "\uff11\uff12", "", " ",
])  # fmt: skip
VALUES = st.recursive(
    PLAUSIBLE | st.text() | st.integers() | st.booleans() | st.none() | st.decimals() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just("#text"), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES) | st.dictionaries(st.text(), VALUES)


@given(BODIES.map(lambda odd: {**BODY, "month": "2026-01", **odd}) | BODIES)
@example({**BODY, "amount": Decimal("NaN"), "cur": "EUR"})
@example({**BODY, "amount": 10**5000, "cur": "EUR"})
def test_any_record_gives_events_that_can_be_stored_or_a_fault_with_a_sentence(
    body: dict[str, Any],
) -> None:
    record = Record(1, body)
    EVERYTHING.key(record)
    assert len(record_hash(body)) == 16
    try:
        events = EVERYTHING.apply(record, LATEST)
    except NotMapped as refusal:
        fault = refusal.fault
        assert fault.reason.isupper()
        assert len(fault.sentence) <= 500
        assert "\0" not in fault.sentence
        fault.sentence.encode()
        return
    for event in events:
        assert EARLIEST <= event.month <= LATEST.date()
        assert event.occurred_at <= LATEST
        assert event.amount_minor is None or abs(event.amount_minor) < 2**63
        assert event.sequence is None or abs(event.sequence) < 2**63
        stored = [
            event.entity or "",
            *event.document,
            event.body.decode(),
            json.dumps(event.personal),
        ]
        for text in stored + [n.value for _, n in event.references]:
            assert "\0" not in text
            text.encode()
