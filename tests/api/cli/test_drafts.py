"""A first look: a configuration drafted from one's own files, and a dry run that touches no store."""

from pathlib import Path

import pytest

from tests.api.cli.desk import Desk

CSV = "id;date;amount;currency;status\nP-1;2026-01-05;12,50;EUR;paid\nP-2;2026-01-06;1.013,50;EUR;open\n"
JSON_LINES = (
    '{"id": "I-1", "at": "2026-01-05T09:00:00Z", "total": "12.50", "currency": "EUR"}\n'
    '{"id": "I-2", "at": "2026-01-06T09:00:00Z", "total": "13.00", "currency": "EUR"}\n'
)
ENTRY = """
      <Ntry><NtryRef>{0}</NtryRef><Amt Ccy="EUR">{1}</Amt><CdtDbtInd>DBIT</CdtDbtInd>
        <Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>{2}</Dt></BookgDt></Ntry>"""
CAMT = f"""<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08">
  <BkToCstmrStmt>
    <GrpHdr><MsgId>M1</MsgId><CreDtTm>2026-01-06T06:00:00+01:00</CreDtTm></GrpHdr>
    <Stmt><Id>S1</Id><Acct><Id><IBAN>DE02120300000000202051</IBAN></Id></Acct>
{ENTRY.format("N-1", "12.50", "2026-01-05")}{ENTRY.format("N-2", "13.00", "2026-01-06")}
    </Stmt>
  </BkToCstmrStmt>
</Document>
"""
FILES = {"payments.csv": CSV, "invoices.jsonl": JSON_LINES, "statement.xml": CAMT}
NAMES = {"payments.csv": "P-1", "invoices.jsonl": "I-1", "statement.xml": "N-1"}


def write(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)


def first(desk: Desk, source: str) -> tuple[str, int, str]:
    """Return what a dry run makes of a source's first record."""
    streams = desk.shown(f"sync {source} --dry-run --limit 1", "sync-dry-run")["streams"]
    assert [s["source"] for s in streams] == [source]
    (record,) = streams[0]["records"]
    assert record["quarantine"] is None, record
    (event,) = record["events"]
    return event["document"].split()[1], event["amount_minor"], event["currency"]


@pytest.mark.parametrize("name", FILES)
def test_a_draft_of_a_file_passes_its_check_and_maps_its_records(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    desk = Desk(tmp_path)
    answer = desk(f"init --from {tmp_path / name}")
    assert answer.code == 0, answer
    assert "Next: tieout sync --dry-run --limit 5" in answer.out
    assert "guessed" in desk.config.read_text()
    assert desk("config check").code == 0
    assert first(desk, name.split(".", maxsplit=1)[0]) == (NAMES[name], 1250, "EUR")


def test_files_from_elsewhere_are_found_and_each_is_a_source_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b")
    odd = tmp_path / "b" / "2026-01 [final].csv"
    odd.write_text(CSV)
    (tmp_path / "conf").mkdir()
    desk = Desk(tmp_path / "conf")
    named = [tmp_path / "a/payments.csv", tmp_path / "b/payments.csv", odd]
    assert desk("init --from " + " ".join(f"'{path}'" for path in named)).code == 0
    assert desk("config check").code == 0, desk("config check")
    for source in ("payments", "payments_2", "2026_01_final"):
        assert first(desk, source) == ("P-1", 1250, "EUR")


@pytest.mark.parametrize(
    ("name", "kind", "scoped"),
    [
        ("Payments-2026.csv", "payments_2026", False),
        ("payments.csv", "payment", False),
        ("journals.csv", "journal", True),
    ],
)
def test_a_draft_names_the_kind_that_the_file_is_named_after(
    tmp_path: Path, name: str, kind: str, *, scoped: bool
) -> None:
    (tmp_path / name).write_text(CSV)
    desk = Desk(tmp_path)
    assert desk(f"init --from {tmp_path / name}").code == 0
    drafted = desk.config.read_text()
    assert f"type: {kind}\n" in drafted
    assert ("scope: =all  # a guess" in drafted) == scoped
    assert desk("config check").code == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "empty.csv"),
        ("book.xlsx", b"PK\x03\x04rest", "book.xlsx is a ZIP archive: unpack it"),
    ],
)
def test_what_cannot_be_drafted_from_is_refused_and_nothing_is_written(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    desk = Desk(tmp_path)
    answer = desk(f"init --from {tmp_path / name}")
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert not desk.config.exists()


def test_a_dry_run_shows_records_beside_events_and_why_one_would_stay_out(tmp_path: Path) -> None:
    desk = Desk(tmp_path, tmp_path / "never-made").start()
    path = tmp_path / "in/orders.jsonl"
    path.write_text(path.read_text().replace('"ordered"', '"teleported"', 1) + '{"id": broken\n')
    shown = desk("sync --dry-run --limit 9").out
    assert "✗ UNKNOWN_VALUE" in shown
    assert "→ sales_order.invoiced" in shown
    records = desk.shown("sync --dry-run --limit 9", "sync-dry-run")["streams"][0]["records"]
    assert [bool(r["events"]) for r in records] == [False, *[True] * 6, False]
    assert "teleported" in records[0]["quarantine"]["sentence"]
    assert records[7]["body"] == '{"id": broken'
    assert len(desk.shown("sync --dry-run", "sync-dry-run")["streams"][0]["records"]) == 5
    assert not (tmp_path / "never-made").exists()


def test_a_dry_run_without_files_says_where_it_looked(tmp_path: Path) -> None:
    desk = Desk(tmp_path, tmp_path / "never-made").start()
    desk.change("in/orders.jsonl", "out/*.jsonl")
    answer = desk("sync --dry-run")
    assert answer.code == 0
    assert "does `read.path` name existing files?" in answer.out
