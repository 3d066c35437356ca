"""Each format, against an independent reader."""

import csv
import gzip
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from collector.connector import Ending
from tests.connectors.reading import bodies, chunks_of, data, read, reasons

ROWS = [{"id": str(i), "name": f"Müller, {i}", "note": f'said "{i}"\nand left'} for i in range(50)]


def csv_text(delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["id", "name", "note"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("compressed", [False, True])
def test_csv_is_read_in_every_dialect_and_encoding(
    tmp_path: Path, delimiter: str, encoding: str, *, compressed: bool
) -> None:
    raw = csv_text(delimiter).encode(encoding)
    path = tmp_path / ("a.csv.gz" if compressed else "a.csv")
    path.write_bytes(gzip.compress(raw) if compressed else raw)
    records, end = read(path)
    assert bodies(records) == ROWS
    assert end.ending is Ending.INTACT
    assert end.notes["encoding"] == f"{encoding.removesuffix('-sig')} (sniffed)"
    assert end.notes["header"] == "line 1 (sniffed)"
    if not compressed and encoding != "utf-16":
        for record in records:
            assert raw[record.start : record.start + record.length] == record.raw


@pytest.mark.parametrize(
    ("text", "header", "expected"),
    [
        ("a,b\n1,2\n", None, [{"a": "1", "b": "2"}]),
        ("a,b\n1,2", None, [{"a": "1", "b": "2"}]),
        ("a , b\r\n1,2\r\n", None, [{"a": "1", "b": "2"}]),
        ("a,b\r1,2\r3,4\r", None, [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        (
            "Report of May\n\nid,amount\n1,2.50\n2,3.50\n",
            None,
            [{"id": "1", "amount": "2.50"}, {"id": "2", "amount": "3.50"}],
        ),
        (
            "1,2.50\n2,3.50\n",
            None,
            [{"column_1": "1", "column_2": "2.50"}, {"column_1": "2", "column_2": "3.50"}],
        ),
        (
            "x,y\np,q\n",
            False,
            [{"column_1": "x", "column_2": "y"}, {"column_1": "p", "column_2": "q"}],
        ),
        ("1,2\n3,4\n", True, [{"1": "3", "2": "4"}]),
        ("junk,junk\na,b\n1,2\n", 2, [{"a": "1", "b": "2"}]),
        ("1,2\n", ["a", "b"], [{"a": "1", "b": "2"}]),
        ("a,b\n1,2\n", ["a", "b"], [{"a": "1", "b": "2"}]),
        ("a,a,\n1,2,3\n", True, [{"a": "1", "a_2": "2", "column_3": "3"}]),
        ("a,b\n1,2,,\n,,\n\n3,4\n", None, [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        ("a,b\n", None, []),
        ("", None, []),
    ],
)
def test_header_layouts_are_understood(
    tmp_path: Path,
    text: str,
    *,
    header: bool | int | list[str] | None,
    expected: list[dict[str, str]],
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    records, end = read(path, header=header)
    assert bodies(records) == expected
    assert end.ending is Ending.INTACT


@pytest.mark.parametrize("quarter", ["jan-mar", "apr-jun", "jul-sep", "oct-dec"])
@pytest.mark.parametrize("year", [2014, 2015])
def test_the_council_files_equal_the_csv_module(quarter: str, year: int) -> None:
    path = data(f"oxford-ap-spend/expenditure-over-500-{quarter}-{year}.csv")
    records, end = read(path)
    raw = path.read_bytes()
    text = raw.decode("cp1252" if (quarter, year) == ("jan-mar", 2015) else "utf-8-sig")
    rows = csv.reader(io.StringIO(text, newline=""))
    names = [name.strip() for name in next(rows)]
    assert bodies(records) == [dict(zip(names, row, strict=True)) for row in rows if row]
    assert end.ending is Ending.INTACT


def test_json_lines_equal_the_json_module(tmp_path: Path) -> None:
    lines = [
        json.dumps({"n": i, "amount": i / 4, "deep": {"list": [i, None, True]}})
        for i in range(20_500)
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    records, _ = read(path)
    assert bodies(records) == [json.loads(line, parse_float=Decimal) for line in lines]
    assert [record.position for record in records] == list(range(1, 20_501))
    assert type(records[1].body["amount"]) is Decimal  # type: ignore[index]


@pytest.mark.parametrize(
    ("document", "options", "expected"),
    [
        ([{"a": 1.10}, {"a": 2}], {}, [{"a": Decimal("1.10")}, {"a": 2}]),
        ({"a": {"b": 1}}, {"format": "json"}, [{"a": {"b": 1}}]),
        ({"data": {"items": [{"a": 1}, {"a": 2}]}}, {"records": "items"}, [{"a": 1}, {"a": 2}]),
        ({"p": [{"q": {"id": 7, "items": [{"a": 1}]}}, {"q": {"id": 8, "items": [{"a": 2}]}}]},
         {"records": "q/items", "context": {"q": "id"}}, [{"a": 1, "q": 7}, {"a": 2, "q": 8}]),
        ([], {}, []),
    ],
)  # fmt: skip
def test_json_documents_give_the_records_at_the_path(
    tmp_path: Path, document: object, options: dict[str, Any], expected: list[Any]
) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps(document, indent=1).replace("1.1,", "1.10,").replace("1.1\n", "1.10\n")
    )
    records, end = read(path, **options)
    assert bodies(records) == expected
    assert end.ending is Ending.INTACT


XML = """<?xml version="1.0"?><d xmlns="urn:x" xmlns:o="urn:o"><h><id>H1</id></h>
<s no="1"><acct>A</acct><o:n c="EUR">1.50</o:n><n>2</n><n><k>x</k><k>y</k><k a="1"/></n></s>
<s no="2"><n>3 &amp; <!-- no -->4</n></s></d>"""


def test_xml_records_are_found_by_the_end_of_their_path_in_any_namespace(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(XML)
    context = {"head": "h/id", "acct": "s/acct", "no": "s/@no"}
    records, end = read(path, records="s/n", context=context)
    assert bodies(records) == [
        {"@c": "EUR", "#text": "1.50", "head": "H1", "acct": "A", "no": None},
        {"#text": "2", "head": "H1", "acct": "A", "no": None},
        {"k": ["x", "y", {"@a": "1"}], "head": "H1", "acct": "A", "no": None},
        {"#text": "3 & 4", "head": "H1", "acct": None, "no": None},
    ]
    assert end.ending is Ending.INTACT


def test_xml_records_are_split_at_a_path_inside_them_or_stay_one(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(XML)
    records, end = read(path, records="d/s", split="n/k", context={"head": "h/id"})
    first = {"@no": "1", "acct": "A", "head": "H1"}
    assert bodies(records) == [
        {**first, "n": {"k": "x"}, "#number": 1},
        {**first, "n": {"k": "y"}, "#number": 2},
        {**first, "n": {"k": {"@a": "1"}}, "#number": 3},
        {"@no": "2", "n": "3 & 4", "head": "H1", "#number": 1},
    ]
    assert [record.position for record in records] == [1, 2, 3, 4]
    assert end.ending is Ending.INTACT


def test_every_camt_entry_is_found_with_the_account_of_its_own_statement() -> None:
    for path in sorted(data("bank/genkgo-camt").glob("camt053*.xml")):
        if "wrong" in path.name:
            continue
        expected = []
        for statement in ET.parse(path).getroot().iterfind(".//{*}Stmt"):  # noqa: S314 -- trusted
            iban = statement.findtext("{*}Acct/{*}Id/{*}IBAN")
            entries = statement.findall("{*}Ntry")
            expected += [(iban, e.findtext("{*}Amt"), e.find("{*}Amt").get("Ccy")) for e in entries]  # type: ignore[union-attr]
        records, end = read(
            path, format="xml", records="Stmt/Ntry", context={"iban": "Stmt/Acct/Id/IBAN"}
        )
        got = [(b["iban"], b["Amt"]["#text"], b["Amt"]["@Ccy"]) for b in bodies(records) if b]
        assert got == expected, path.name
        assert end.ending is Ending.INTACT


def test_a_camt_statement_states_the_number_of_its_entries(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    summary = "<TxsSummry><TtlNtries><NbOfNtries>2</NbOfNtries></TtlNtries></TxsSummry>"
    path.write_text(f"<D><S><Stmt>{summary}<Ntry><Amt>1</Amt></Ntry><Ntry/></Stmt></S></D>")
    stated = chunks_of(path)[-1].stated
    assert stated is not None
    assert (stated.grade, stated.count) == ("A", 2)
    path.write_text(f"<D><S><Stmt>{summary}<Ntry/></Stmt><Stmt><Ntry/></Stmt></S></D>")
    assert chunks_of(path)[-1].stated is None


XES = """<log xes.version="1.0" xmlns="http://www.xes-standard.org/"><string key="creator" value="x"/>
<trace><string key="concept:name" value="c1"/><int key="n" value="3"/>
<event><string value="A" key="concept:name"/><float key="cost" value="1.10"/><boolean key="ok" value="true"/>
<date key="time:timestamp" value="2020-01-01T00:00:00+01:00"/>
<string key="who" value="me"><string key="role" value="boss"/></string>
<list key="l"><values><int key="a" value="1"/><int key="a" value="2"/></values></list></event>
<event><int key="bad" value="x"/></event></trace><event><id key="id" value="z"/></event></log>"""


def test_xes_events_have_typed_attributes_and_those_of_their_trace(tmp_path: Path) -> None:
    path = tmp_path / "a.xes"
    path.write_text(XES)
    records, end = read(path)
    assert bodies(records) == [
        {
            "case:concept:name": "c1",
            "case:n": 3,
            "concept:name": "A",
            "cost": Decimal("1.10"),
            "ok": True,
            "time:timestamp": "2020-01-01T00:00:00+01:00",
            "who": {"value": "me", "children": {"role": "boss"}},
            "l": [{"a": 1}, {"a": 2}],
        },
        None,
        {"id": "z"},
    ]
    assert reasons(records) == ["", "WRONG_TYPE", ""]
    assert end.ending is Ending.INTACT


@pytest.mark.parametrize(
    ("name", "events"), [("DomesticDeclarations", 55_628), ("RequestForPayment", 36_072)]
)
def test_the_real_event_logs_equal_another_reader(name: str, events: int) -> None:
    path = data(f"bpic2020/{name}.xes.gz")
    records, end = read(path)
    assert len(records) == events
    assert end.ending is Ending.INTACT
    position = 0
    with gzip.open(path) as file:
        for _, trace in ET.iterparse(file):  # noqa: S314 -- trusted
            if not trace.tag.endswith("}trace"):
                continue
            case = next(a.get("value") for a in trace if a.get("key") == "concept:name")
            for event in trace.iterfind("{*}event"):
                body = records[position].body
                assert body is not None
                assert body["case:concept:name"] == case
                own = {k: v for k, v in body.items() if not k.startswith("case:")}
                assert own == {a.get("key"): a.get("value") for a in event}
                position += 1
            trace.clear()
    assert position == events


def test_json_lines_in_another_encoding_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"a": "Müller"}\n'.encode("cp1252") * 3)
    records, end = read(path)
    assert bodies(records) == [{"a": "Müller"}] * 3
    assert end.notes["encoding"] == "cp1252 (sniffed)"


def test_text_without_a_pattern_is_a_message_per_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\r\n\ntwo")
    records, _ = read(path)
    assert bodies(records) == [{"message": "one"}, {"message": "two"}]


def test_the_middleware_log_is_split_at_the_lines_that_start_a_record() -> None:
    path = data("mulesoft/mule_ee.log")
    starts = ("INFO ", "WARN ", "DEBUG ", "ERROR ")
    expected: list[str] = []
    for line in path.read_text().splitlines():
        if line.startswith(starts) or not expected:
            expected.append(line)
        else:
            expected[-1] += "\n" + line
    records, _ = read(
        path, starts="(INFO|WARN|DEBUG|ERROR) ", pattern=r"(?P<level>\w+) (?P<rest>.*)"
    )
    assert [record.raw.decode().rstrip() for record in records] == [e.rstrip() for e in expected]
    events = [
        b["rest"].split("event: ")[1][:8] for b in bodies(records) if b and "event: " in b["rest"]
    ]
    assert events[0] == "e835b2c0"


def test_the_gateway_log_gives_its_columns_by_pattern() -> None:
    path = data("wso2/correlation.log")
    pattern = (
        r"(?P<at>[^|]+)\|(?P<correlation>[^|]*)\|(?P<thread>[^|]*)\|(?P<ms>\d+) ?\|(?P<rest>.*)"
    )
    records, _ = read(path, pattern=pattern)
    lines = path.read_text().splitlines()
    assert [b["ms"] for b in bodies(records) if b] == [line.split("|")[3].strip() for line in lines]
