"""The draft of a configuration: honest guesses, valid YAML."""

import io
import zipfile
from pathlib import Path

import pytest
import yaml

from collector.errors import Misconfigured
from collector.settings.mapping import Mapping
from connectors.files.draft import draft_mapping_yaml, sniff
from connectors.files.options import FilesOptions
from connectors.registry import CONNECTORS
from tests.connectors.reading import DATA, data

CSV = "doc no;posted;total;ccy;state\n" + "".join(
    f"R{n};0{n % 9 + 1}.05.2024;{n}.000,50;EUR;{'paid' if n % 3 else 'open'}\n"
    for n in range(1, 31)
)


def valid(text: str) -> tuple[FilesOptions, Mapping]:
    loaded = yaml.safe_load(text)
    assert set(loaded) == {"read", "mapping"}
    return FilesOptions(**loaded["read"]), Mapping(**loaded["mapping"])


def test_a_draft_names_the_fields_by_name_and_content(tmp_path: Path) -> None:
    path = tmp_path / "invoices 2024.csv"
    path.write_text(CSV)
    draft = sniff(path)
    assert (draft.layout.format, draft.layout.delimiter) == ("csv", ";")
    assert {role: guess.path for role, guess in draft.guesses.items()} == {
        "key": "doc no",
        "time": "posted",
        "amount": "total",
        "currency": "ccy",
        "name": "state",
    }
    assert draft.fields[0].samples == ("R1", "R2", "R3")
    options, mapping = valid(draft_mapping_yaml(path))
    assert options.delimiter == ";"
    assert mapping.key == "doc no"
    assert mapping.amount is not None
    assert (mapping.amount.currency, mapping.amount.decimal) == ("ccy", ",")
    assert mapping.occurred_at is not None
    assert mapping.occurred_at.format == "%d.%m.%Y"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"id": "1", "a.b": 2, "on: off": "#", "at": "2024-01-01T00:00:00Z"}\n' * 3),
        ("1.xml", "<d><r><Amt Ccy='EUR'>1</Amt></r><r><Amt Ccy='EUR'>2</Amt></r></d>"),
        ("ü.log", "free text: with colon\nmore\n"),
        ("a.json", '[{"nested": {"key": "x"}}]'),
        ("paid [2024] *final?.jsonl", '{"id": "1"}\n'),
    ],
)
def test_a_draft_is_valid_for_any_format_and_name(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    options, _ = valid(draft_mapping_yaml(path))
    (part,) = CONNECTORS["files"].open(options, tmp_path).parts({})
    assert part.name == name


WORKBOOK = io.BytesIO()
with zipfile.ZipFile(WORKBOOK, "w") as archive:
    for entry in ("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml"):
        archive.writestr(entry, "<x/>")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (WORKBOOK.getvalue(), "an Excel workbook (.xlsx): save each sheet as CSV"),
        (b"PK\x03\x04\x00\x00notes.txt", "a ZIP archive: unpack it and name the files in it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "an old Office document (.xls): save each sheet as CSV"),
        (b"%PDF-1.7", "a PDF, made for reading: ask for the same as CSV, XML or JSON (a bank: as camt.053)"),
    ],
)  # fmt: skip
def test_what_holds_no_data_is_named_with_the_way_to_get_some(
    tmp_path: Path, content: bytes, what: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(Misconfigured) as caught:
        sniff(path)
    assert str(caught.value).startswith(f"a.csv is {what}")


def test_drafts_of_real_files_are_valid() -> None:
    data("README.md")
    names = ["oxford-ap-spend/*.csv", "bpic2020/*.gz", "bank/genkgo-camt/*.xml", "*/*.log"]
    paths = [path for name in names for path in sorted(DATA.glob(name))]
    assert len(paths) > 20
    for path in paths:
        valid(draft_mapping_yaml(path))


@pytest.mark.parametrize("content", [b"", b"a,b\n"])
def test_a_file_without_a_record_is_refused_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match="holds no record that can be read: name another"):
        sniff(path)


def test_the_registry_is_sorted_and_names_its_specs() -> None:
    assert list(CONNECTORS) == sorted(CONNECTORS)
    assert all(name == spec.name for name, spec in CONNECTORS.items())
    assert CONNECTORS["files"].open(FilesOptions(path="*.none"), Path()).parts({}) == []
