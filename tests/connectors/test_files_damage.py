"""Damaged and hostile files: what is whole is delivered, what is not is said."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from collector.connector import Ending
from connectors.files.options import FilesOptions
from tests.connectors.reading import bodies, chunks_of, read, reasons, through_json

LINES = [
    json.dumps({"n": i, "text": hashlib.sha256(str(i).encode()).hexdigest()}) for i in range(5000)
]


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("a.jsonl", b'{"a":1}\n{"a":\n{"a":2}\n', ["", "INVALID_JSON", ""]),
        ("a.jsonl", b'{"a":1}\n[1]\n7\n', ["", "NOT_AN_OBJECT", "NOT_AN_OBJECT"]),
        ("a.jsonl", b'{"a":1}\n{"a":"\xff\xc3\xa4\xc3\xa4"}\n', ["", "WRONG_ENCODING"]),
        ("a.jsonl", b'{"a":1}\n\0\0\0\n{"a":2}\n', ["", "BINARY", ""]),
        ("a.jsonl", b'{"a":1}\n' + b"[" * 5000 + b"\n", ["", "INVALID_JSON"]),
        ("a.csv", b"a,b\n1,2\n1\n1,2,3\n3,4\n", ["", "WRONG_COLUMNS", "WRONG_COLUMNS", ""]),
        ("a.csv", b'a,b\n1,"x\n3,4\n5,6\n', ["UNCLOSED_QUOTE", "", ""]),
        ("a.csv", b"a,b\n1,\xc3\xa4\xc3\xa4\n2,\xff\n", ["", "WRONG_ENCODING"]),
        ("a.csv", b"a,b\n1,2\n3,\0\n" + b"5,6\n" * 20, ["", "BINARY"] + [""] * 20),
    ],
)
def test_a_bad_line_is_a_fault_and_the_stream_goes_on(
    tmp_path: Path, name: str, raw: bytes, expected: list[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    records, end = read(path, format=name[2:])
    assert reasons(records) == expected
    assert end.ending is Ending.INTACT
    for record in records:
        assert record.raw == raw[record.start : record.start + record.length]
        assert record.fault is None or "byte" in record.fault.sentence


def test_a_line_that_does_not_match_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("k=1\nnothing\n")
    records, _ = read(path, pattern=r"k=(?P<k>\d)")
    assert bodies(records) == [{"k": "1"}, None]
    assert reasons(records) == ["", "NO_MATCH"]


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl", "a.xml", "a.xes", "a.log", "a"])
@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_file_is_intact_without_records(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    format_ = {"a.log": "text", "a": None}.get(name, name[2:])
    records, end = read(path, format=format_)
    assert records == []
    assert (end.ending, end.unread) == (Ending.INTACT, 0)


def test_a_cut_gzip_gives_the_whole_lines_and_is_broken(tmp_path: Path) -> None:
    whole = gzip.compress("\n".join(LINES).encode())
    path = tmp_path / "a.jsonl.gz"
    for cut in (len(whole) - 1, len(whole) - 8, len(whole) // 2, 20, 0):
        path.write_bytes(whole[:cut])
        records, end = read(path, format="jsonl")
        assert bodies(records) == [json.loads(line) for line in LINES[: len(records)]]
        assert (end.ending, end.unread) == (Ending.BROKEN, None)
        assert "a.jsonl.gz" in end.sentence
        assert "gzip" in end.sentence


def test_a_gzip_with_a_wrong_checksum_is_broken_and_all_whole_lines_are_delivered(
    tmp_path: Path,
) -> None:
    whole = bytearray(gzip.compress(("\n".join(LINES) + "\n").encode()))
    whole[-8] ^= 1
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole)
    records, end = read(path)
    assert len(records) == len(LINES)
    assert end.ending is Ending.BROKEN


def test_gzip_members_padding_and_garbage(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    members = gzip.compress(b'{"a":1}\n') + gzip.compress(b'{"a":2}\n')
    path.write_bytes(members + b"\0" * 100)
    records, end = read(path)
    assert (bodies(records), end.ending) == ([{"a": 1}, {"a": 2}], Ending.INTACT)
    path.write_bytes(members + b"garbage")
    records, end = read(path)
    assert (len(records), end.ending) == (2, Ending.BROKEN)


@pytest.mark.parametrize("cut", [5, 30, 60, 90])
@pytest.mark.parametrize("records", [None, "items"])
def test_a_cut_json_document_gives_the_items_before_the_damage(
    tmp_path: Path, cut: int, records: str | None
) -> None:
    items = [{"n": i, "t": "x]"} for i in range(7)]
    text = json.dumps(items if records is None else {"h": {"a": 1}, "items": items})
    path = tmp_path / "a.json"
    path.write_text(text[:cut])
    got, end = read(path, format="json", **({"records": records} if records else {}))
    whole = [
        i
        for i in range(7)
        if 0 <= text.find(json.dumps(items[i])) < cut - len(json.dumps(items[i]))
    ]
    assert bodies(got) == items[: len(got)]
    assert len(got) == len(whole)
    assert (end.ending, end.unread) == (Ending.BROKEN, None)
    assert "a.json" in end.sentence


@pytest.mark.parametrize("bad", ["", "</x>", "<n>&nope;</n>", "\x00"])
def test_bad_xml_in_the_middle_gives_the_records_before_it(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<d>" + "<n>1</n>" * 3 + bad + ("<n>2</n></d>" if bad else ""))
    records, end = read(path, records="n")
    assert bodies(records)[:3] == [{"#text": "1"}] * 3
    assert all(r.fault is None or r.fault.reason == "ENTITIES_REFUSED" for r in records)
    assert (end.ending, end.unread) == (Ending.BROKEN, None)


BILLION = '<!DOCTYPE d [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)
) + "]><d><n>&j;</n></d>"  # fmt: skip


@pytest.mark.parametrize("format_", ["xml", "xes", None])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "document",
    [
        BILLION,
        '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><d><n>&x;</n></d>',
        '<!DOCTYPE d [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x">%p;]><d><n>1</n></d>',
        '<!DOCTYPE d [<!ENTITY a "b">]><d><n q="&a;">1</n></d>',
    ],
)
def test_documents_with_entities_are_refused(
    tmp_path: Path, document: str, encoding: str, format_: str | None
) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(document.encode(encoding))
    records, end = read(path, format=format_)
    assert reasons(records) == ["ENTITIES_REFUSED"]
    assert records[0].raw == document.encode(encoding)[: 64 << 10]
    assert end.ending is Ending.BROKEN
    assert "without a DTD" in end.sentence


def test_entities_declared_beyond_the_first_block_are_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(f"<!DOCTYPE d [<!--{'x' * 300_000}--><!ENTITY a 'b'>]><d><n>&a;</n></d>")
    records, _ = read(path, format="xml", records="n")
    assert reasons(records) == ["ENTITIES_REFUSED"]


@pytest.mark.parametrize("raw", [b"PK\x03\x04" + bytes(range(256)) * 500, bytes(range(256)) * 300])
def test_a_binary_file_is_one_fault_with_length_and_digest(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "a.dat"
    path.write_bytes(raw)
    (record,), _ = read(path)
    assert record.fault is not None
    assert record.fault.reason == "BINARY"
    assert (record.raw, record.length) == (raw[: 64 << 10], len(raw))
    assert record.sha256 == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize("size", [101, 70_000, 3_000_000])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.log"])
def test_a_line_over_the_limit_keeps_its_beginning_length_and_digest(
    tmp_path: Path, name: str, size: int
) -> None:
    format_ = {"a.log": "text"}.get(name, name[2:])
    good = {"jsonl": b'{"a":1}', "csv": b"1,2", "text": b"hello"}[format_]
    head = b"a,b\n" if format_ == "csv" else b""
    long = b"x" * size
    raw = head + b"\n".join([good, long, good, good, long])
    path = tmp_path / name
    path.write_bytes(raw)
    records, end = read(path, format=format_, record_bytes_max=100)
    assert reasons(records) == ["", "TOO_LONG", "", "", "TOO_LONG"]
    assert [record.position for record in records] == [1, 2, 3, 4, 5]
    for record in (records[1], records[4]):
        assert raw[record.start : record.start + record.length] == long
        assert record.raw == long[: 64 << 10]
        assert record.sha256 == hashlib.sha256(long).hexdigest()
    assert end.ending is Ending.INTACT


def test_an_unchanged_broken_file_says_so_again_without_records(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(LINES).encode())[:-9])
    (*_, last) = chunks_of(path)
    (again,) = chunks_of(path, through_json(last.cursor))
    assert (again.records, again.end) == ([], last.end)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"path": ""}, "path"),
        ({"path": "a", "encoding": "klingon"}, "encoding"),
        ({"path": "a", "pattern": "("}, "pattern"),
        ({"path": "a", "pattern": "x"}, "named group"),
        ({"path": "a", "format": "xml", "follow": True}, "remove `follow`"),
        ({"path": "a", "format": "json", "delimiter": ";"}, "`delimiter` means nothing"),
        ({"path": "a", "header": 0}, "header"),
        ({"path": "a", "colour": "red"}, "colour"),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        FilesOptions(**options)


def test_a_json_document_that_is_too_long_is_one_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.files.json_document.DOCUMENT_BYTES_MAX", 1000)
    raw = json.dumps([{"text": "x" * 100}] * 30_000).encode()
    path = tmp_path / "a.json"
    path.write_bytes(raw)
    (record,), end = read(path)
    assert reasons([record]) == ["TOO_LONG"]
    assert (record.length, record.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())
    assert end.ending is Ending.BROKEN


@pytest.mark.parametrize(("name", "text"), [("a.json", '{"a": []}'), ("a.xml", "<d><e/></d>")])
def test_a_path_that_finds_nothing_is_said(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    records, end = read(path, records="nowhere")
    assert records == []
    assert "`records: nowhere`" in end.sentence


@pytest.mark.parametrize(
    "raw",
    [b"[" * 100_000, b'{"a":' * 100_000, b'{"\xff', b"<", b"<\xff", b"\xff\xfe", b"\xff\xfe\xd8", b"\x1f\x8b",
     b"\xef\xbb\xbf", b'"', b'a,"', b"\0", b"\r", b"{}\n\xff{", b"[1,", b"<?xml version='1.0' encoding='nope'?><a/>"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a", "a.csv", "a.jsonl", "a.gz"])
def test_no_beginning_of_a_file_makes_the_reader_fail(
    tmp_path: Path, name: str, raw: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    for options in ({}, *({"format": f} for f in ("csv", "json", "jsonl", "xml", "xes", "text"))):
        records, end = read(path, **options)
        assert end.ending in {Ending.INTACT, Ending.BROKEN}
        assert end.ending is Ending.INTACT or end.sentence
        assert all((r.body is None) == (r.fault is not None) for r in records)
