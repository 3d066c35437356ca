"""Memory stays bounded whatever the file."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.files.connector import FilesReader
from connectors.files.options import FilesOptions

GIB = 1 << 30
PEAK_MIB_MAX = 256  # interpreter and libraries take about 60; a held line of 1 GiB would show

PROGRAM = """
import sys
from pathlib import Path
from connectors.files.connector import FilesReader
from connectors.files.options import FilesOptions
path = Path(sys.argv[1])
reader = FilesReader(FilesOptions(path=path.name, format=sys.argv[2]), path.parent)
(part,) = reader.parts({})
for chunk in reader.read(part, None):
    for record in chunk.records:
        print(record.fault and record.fault.reason, record.length, record.sha256)
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.long
@pytest.mark.parametrize("format_", ["jsonl", "csv", "text"])
def test_one_gibibyte_in_one_line_takes_little_memory(tmp_path: Path, format_: str) -> None:
    path = tmp_path / "a.dat"
    digest = hashlib.sha256()
    block = b"x" * (1 << 20)
    with path.open("wb") as file:
        file.write(b"a,b\n" if format_ == "csv" else b"")
        for _ in range(GIB // len(block)):
            file.write(block)
            digest.update(block)
    root = Path(__file__).parents[2]
    run = subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, "-c", PROGRAM, str(path), format_],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
        text=True,
    )
    *record, peak_kib = run.stdout.split()
    assert record == ["TOO_LONG", str(GIB), digest.hexdigest()]
    assert int(peak_kib) < PEAK_MIB_MAX << 10


@pytest.mark.parametrize(
    ("options", "head", "record", "foot"),
    [
        ({"format": "jsonl"}, "", '{"id": 1, "memo": "MEMO"}\n', ""),
        ({"format": "csv"}, "id,memo\n", "1,MEMO\n", ""),
        ({"format": "xml", "records": "r"}, "<d>", "<r><id>1</id><memo>MEMO</memo></r>", "</d>"),
    ],
)
def test_a_chunk_holds_two_mebibytes_and_a_record_at_most(
    tmp_path: Path, options: dict[str, str], head: str, record: str, foot: str
) -> None:
    text = record.replace("MEMO", "m" * 10_000)
    (tmp_path / "a.dat").write_text(head + text * 600 + foot)
    reader = FilesReader(FilesOptions.model_validate({"path": "a.dat", **options}), tmp_path)
    (part,) = reader.parts({})
    chunks = list(reader.read(part, None))
    assert [r.position for chunk in chunks for r in chunk.records] == list(range(1, 601))
    assert max(len(chunk.records) for chunk in chunks) <= 2 * 1_048_576 // len(text) + 2
