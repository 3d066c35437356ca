"""Memory stays bounded whatever the file."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

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
