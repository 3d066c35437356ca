"""Batch bookings whose details are payments; the figures are added up by hand."""

from pathlib import Path

import pytest

from collector.connector import Record
from tests.connectors.reading import chunks_of, data, read

FEE = "<Ntry><AcctSvcrRef>E-1</AcctSvcrRef><Amt Ccy='EUR'>12.50</Amt><CdtDbtInd>DBIT</CdtDbtInd><NtryDtls><TxDtls><Refs/></TxDtls></NtryDtls></Ntry>"
SUM = "<Ntry><AcctSvcrRef>E-3</AcctSvcrRef><Amt Ccy='EUR'>70.00</Amt><CdtDbtInd>DBIT</CdtDbtInd><NtryDtls><Btch><NbOfTxs>4</NbOfTxs></Btch></NtryDtls></Ntry>"
SECOND = "<TxDtls><Refs><EndToEndId>T-2</EndToEndId></Refs><Amt Ccy='EUR'>150.00</Amt><CdtDbtInd>DBIT</CdtDbtInd></TxDtls>"
BATCH = f"""<Ntry><AcctSvcrRef>E-2</AcctSvcrRef><Amt Ccy='EUR'>300.00</Amt><CdtDbtInd>DBIT</CdtDbtInd><NtryDtls>
<Btch><PmtInfId>R-7</PmtInfId><NbOfTxs>3</NbOfTxs></Btch>
<TxDtls><Refs><EndToEndId>T-1</EndToEndId></Refs><Amt Ccy='EUR'>100.00</Amt></TxDtls>
{SECOND}
<TxDtls><Refs><EndToEndId>T-3</EndToEndId></Refs><Amt Ccy='EUR'>50.00</Amt></TxDtls>
</NtryDtls><AddtlNtryInf>Salaries</AddtlNtryInf></Ntry>"""
STATEMENT = f"<Document xmlns='urn:x'><B><Stmt><TxsSummry><TtlNtries><NbOfNtries>3</NbOfNtries></TtlNtries></TxsSummry>{FEE}{BATCH}{SUM}</Stmt></B></Document>"
WHOLE = [("E-1", 1, ""), ("E-2", 1, "T-1"), ("E-2", 2, "T-2"), ("E-2", 3, "T-3"), ("E-3", 1, "")]
SAID = "Entry E-2: {}. Nothing was taken from it: have the bank correct the statement and read that, then accept this record with a reason."


def seen(record: Record) -> tuple[str, int, str] | str:
    """Entry, number and reference of a record; the sentence of one that cannot be used."""
    if record.fault is not None:
        assert record.body is None
        return f"{record.fault.reason}: {record.fault.sentence}"
    body = record.body
    assert body is not None
    payment = body["NtryDtls"].get("TxDtls", {})
    refs = payment.get("Refs") or {}
    return body["AcctSvcrRef"], body["#number"], refs.get("EndToEndId", "")


def split(folder: Path, text: str) -> tuple[list[tuple[str, int, str] | str], int | None, str]:
    """What a statement gives; how many records it states, and how."""
    path = folder / "a.xml"
    path.write_text(text)
    chunks = chunks_of(path, records="Stmt/Ntry", split="NtryDtls/TxDtls")
    stated = chunks[-1].stated
    assert stated is not None
    assert stated.grade == "A"
    records = [record for chunk in chunks for record in chunk.records]
    assert [record.position for record in records] == [*range(1, len(records) + 1)]
    return [seen(record) for record in records], stated.count, stated.what


def test_a_batch_with_details_gives_a_record_per_payment_and_one_without_a_record(
    tmp_path: Path,
) -> None:
    found, count, what = split(tmp_path, STATEMENT)
    assert found == WHOLE
    assert count == 5
    assert what.endswith("of 1 statement(s): 3 entries, and 2 more payments in their details")


def test_each_payment_has_what_the_entry_says_of_all(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(STATEMENT)
    records, _ = read(path, records="Stmt/Ntry", split="NtryDtls/TxDtls")
    second = records[2].body
    assert second == {
        "AcctSvcrRef": "E-2",
        "Amt": {"@Ccy": "EUR", "#text": "300.00"},
        "CdtDbtInd": "DBIT",
        "NtryDtls": {
            "Btch": {"PmtInfId": "R-7", "NbOfTxs": "3"},
            "TxDtls": {
                "Refs": {"EndToEndId": "T-2"},
                "Amt": {"@Ccy": "EUR", "#text": "150.00"},
                "CdtDbtInd": "DBIT",
            },
        },
        "AddtlNtryInf": "Salaries",
        "#number": 2,
    }


LACKS = {
    "an entry without details": (SUM, [*WHOLE[:4]], 5),
    "an entry with details": (BATCH, [WHOLE[0], WHOLE[4]], 3),
}


@pytest.mark.parametrize(("gone", "records", "count"), LACKS.values(), ids=LACKS)
def test_one_entry_less_is_one_less_than_stated_whatever_it_lists(
    tmp_path: Path, gone: str, records: list[tuple[str, int, str]], count: int
) -> None:
    found, stated, what = split(tmp_path, STATEMENT.replace(gone, ""))
    assert (found, stated) == (records, count)
    assert count - len(records) == 1
    assert "of 1 statement(s)" in what


WRONG = {
    "a payment is missing": (
        (SECOND, ""),
        (
            "its batch has 3 payments (Btch/NbOfTxs) and lists 2, and it is booked as EUR -300.00,"
            " and its payments make EUR -150.00, a difference of 150.00"
        ),
    ),
    "a payment is missing, and nobody counted": (
        (f"<NbOfTxs>3</NbOfTxs></Btch>\n{BATCH.splitlines()[2]}", "</Btch>"),
        "it is booked as EUR -300.00, and its payments make EUR -200.00, a difference of 100.00",
    ),
    "a payment comes twice": (
        (SECOND, SECOND * 2),
        (
            "its batch has 3 payments (Btch/NbOfTxs) and lists 4, and it is booked as EUR -300.00,"
            " and its payments make EUR -450.00, a difference of -150.00"
        ),
    ),
    "an amount is wrong": (
        ("150.00", "105.00"),
        "it is booked as EUR -300.00, and its payments make EUR -255.00, a difference of 45.00",
    ),
    "the entry's amount is wrong": (
        ("300.00", "330.00"),
        "it is booked as EUR -330.00, and its payments make EUR -300.00, a difference of 30.00",
    ),
    "a sign is wrong": (
        ("<CdtDbtInd>DBIT</CdtDbtInd></TxDtls>", "<CdtDbtInd>CRDT</CdtDbtInd></TxDtls>"),
        "it is booked as EUR -300.00, and its payments make EUR 0.00, a difference of 300.00",
    ),
    "a payment states no amount": (
        ("<Amt Ccy='EUR'>150.00</Amt>", ""),
        "2 of its 3 payments state an amount in EUR",
    ),
    "another currency": (
        ("<Amt Ccy='EUR'>150.00", "<Amt Ccy='USD'>150.00"),
        "2 of its 3 payments state an amount in EUR",
    ),
    "no number": (("150.00", "15O.00"), "'15O.00' is not an amount"),
}


@pytest.mark.parametrize(("damage", "why"), WRONG.values(), ids=WRONG)
def test_an_entry_that_its_details_contradict_gives_one_record_with_a_sentence(
    tmp_path: Path, damage: tuple[str, str], why: str
) -> None:
    text = STATEMENT.replace(*damage)
    assert text != STATEMENT
    found, count, _ = split(tmp_path, text)
    assert found == [WHOLE[0], f"DETAILS_DIFFER: {SAID.format(why)}", WHOLE[4]]
    assert count == 3, "it was read, and is not missing"


AGREES = {
    "the batch does not count": ("<NbOfTxs>3</NbOfTxs>", "", 5),
    "two parts of details, one of them empty, with a payment and its reversal": (
        "<CdtDbtInd>DBIT</CdtDbtInd></TxDtls>",
        (
            "<CdtDbtInd>DBIT</CdtDbtInd></TxDtls></NtryDtls><NtryDtls><Btch/></NtryDtls><NtryDtls>"
            "<TxDtls><Amt Ccy='EUR'>9</Amt></TxDtls>"
            "<TxDtls><Amt Ccy='EUR'>9</Amt><CdtDbtInd>CRDT</CdtDbtInd></TxDtls>"
        ),
        7,
    ),
    "exchanged": (
        "<Amt Ccy='EUR'>150.00</Amt>",
        "<Amt Ccy='USD'>180</Amt><AmtDtls><TxAmt><Amt Ccy='EUR'>150</Amt></TxAmt></AmtDtls>",
        5,
    ),
    "version 2": (
        "<Amt Ccy='EUR'>150.00</Amt>",
        "<AmtDtls><TxAmt><Amt Ccy='EUR'>150.00</Amt></TxAmt></AmtDtls>",
        5,
    ),
}


@pytest.mark.parametrize(("old", "new", "records"), AGREES.values(), ids=AGREES)
def test_details_that_agree_are_taken(tmp_path: Path, old: str, new: str, records: int) -> None:
    text = STATEMENT.replace(old, new).replace("<NbOfTxs>3</NbOfTxs>", "")
    assert new in text
    found, count, _ = split(tmp_path, text)
    assert not [f for f in found if isinstance(f, str)]
    assert count == len(found) == records


def test_reading_goes_on_amid_the_details_of_an_entry(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(STATEMENT)
    (whole,) = chunks_of(path, split="NtryDtls/TxDtls")
    cursor = {key: value for key, value in whole.cursor.items() if key != "end"} | {"records": 2}
    (rest,) = chunks_of(path, cursor, split="NtryDtls/TxDtls")
    assert [seen(record) for record in rest.records] == WHOLE[2:]
    assert rest.stated is not None
    assert rest.stated.count == 5, "of the whole file"


PUBLISHED = {
    "camt052.v2.xml": "Entry AAAASESS-FP-ACCR-01: its batch has 20 payments (Btch/NbOfTxs) and lists 1.",
    "camt052.v4.xml": "",  # its one payment is in USD and CHF, and booked in SEK
    "camt053.v2.multi.statement.xml": "",
    "camt053.v2.five.decimals.xml": "",
}


@pytest.mark.parametrize(("name", "sentence"), PUBLISHED.items(), ids=PUBLISHED)
def test_of_published_statements_those_are_taken_that_agree_with_themselves(
    name: str, sentence: str
) -> None:
    records, _ = read(data(f"bank/genkgo-camt/{name}"), split="NtryDtls/TxDtls")
    said = [record.fault.sentence for record in records if record.fault]
    assert len(said) == bool(sentence)
    assert sentence in "".join(said)
    assert [record.body is None for record in records] == [bool(sentence)] * len(records)
