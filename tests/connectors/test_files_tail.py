"""Tailing: rotation, truncation, partial lines, restarts. Every poll is a new reader."""

import gzip
import json
import os
import shutil
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded
from typing import IO, Any, BinaryIO

import pytest

from collector.connector import Ending
from collector.errors import NotConnected, Transient
from connectors.files.connector import FilesReader
from connectors.files.options import FilesOptions
from tests.connectors.reading import Store, chunks_of, through_json


def lines(first: int, last: int) -> str:
    return "".join(json.dumps({"n": n, "pad": "x" * 40}) + "\n" for n in range(first, last))


def numbers(store: Store) -> list[int]:
    return [record.body["n"] for record in store.records if record.body]


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


@pytest.fixture(params=["app.log", "app.log*"])
def tail(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path, path=request.param, format="jsonl", follow=True)


def test_a_partial_last_line_waits_for_its_line_feed(tail: Store) -> None:
    log = tail.folder / "app.log"
    whole = lines(0, 3)
    for cut in range(0, len(whole), 7):
        log.write_text(whole[:cut])
        tail.poll()
        assert numbers(tail) == list(range(whole[:cut].count("\n")))
        os.utime(log)
    log.write_text(whole)
    tail.poll()
    assert numbers(tail) == [0, 1, 2]
    assert tail.ends["app.log"].ending is Ending.OPEN
    assert len(tail.known) == 1


def test_identity_is_stable_while_a_file_grows_past_its_fingerprint(tail: Store) -> None:
    log = tail.folder / "app.log"
    log.write_text("")
    for n in range(60):
        tail.poll()
        append(log, lines(n, n + 1))
    tail.poll()
    assert numbers(tail) == list(range(60))
    assert len(tail.known) == 1


def test_rotation_by_rename_loses_and_repeats_nothing(tail: Store) -> None:
    log = tail.folder / "app.log"
    log.write_text(lines(0, 10))
    tail.poll()
    append(log, lines(10, 13))
    log.rename(tail.folder / "app.log.1")
    log.write_text(lines(13, 20))
    tail.poll()
    assert numbers(tail) == list(range(20))
    (tail.folder / "app.log.1").rename(tail.folder / "app.log.2")
    log.rename(tail.folder / "app.log.1")
    log.write_text(lines(20, 22))
    tail.poll()
    assert numbers(tail) == list(range(22))
    assert len(tail.known) == 3


def test_rotation_by_copy_and_truncate_loses_and_repeats_nothing(tail: Store) -> None:
    log = tail.folder / "app.log"
    log.write_text(lines(0, 40))
    tail.poll()
    append(log, lines(40, 45))
    shutil.copy(log, tail.folder / "app.log.1")
    os.truncate(log, 0)
    append(log, lines(45, 50))
    tail.poll()
    assert sorted(numbers(tail)) == list(range(50))
    os.truncate(log, 0)
    append(log, lines(50, 99))
    tail.poll()
    assert sorted(numbers(tail)) == list(range(99))


def test_a_file_truncated_to_the_same_head_gets_a_new_id(tail: Store) -> None:
    log = tail.folder / "app.log"
    for _ in range(3):
        log.write_text(lines(0, 30))
        tail.poll()
        log.write_text("")
        tail.poll()
    assert numbers(tail) == list(range(30)) * 3
    assert len(tail.known) >= 3


@pytest.mark.parametrize("read_before", [0, 5, 30, 40])
def test_a_compressed_rotated_file_goes_on_where_it_was(tail: Store, read_before: int) -> None:
    log = tail.folder / "app.log"
    log.write_text(lines(0, read_before))
    tail.poll()
    append(log, lines(read_before, 40))
    (tail.folder / "app.log.2.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    log.write_text(lines(40, 42))
    tail.poll()
    first = 0 if read_before or "*" in str(tail.options.path) else 40
    assert sorted(numbers(tail)) == list(range(first, 42))
    tail.poll()
    assert len(numbers(tail)) == 42 - first
    known = dict(tail.known)
    tail.poll()
    assert tail.known == known


def test_a_copy_that_is_being_compressed_is_left_alone(tail: Store) -> None:
    log = tail.folder / "app.log"
    log.write_text(lines(0, 40))
    tail.poll()
    log.rename(tail.folder / "app.log.1")
    whole = gzip.compress((tail.folder / "app.log.1").read_bytes())
    for cut in (0, 10, len(whole) // 2, len(whole)):
        (tail.folder / "app.log.1.gz").write_bytes(whole[:cut])
        tail.poll()
    (tail.folder / "app.log.1").unlink()
    tail.poll()
    assert numbers(tail) == list(range(40))
    assert tail.ends["app.log.1.gz"].ending is Ending.INTACT


class Rotating:
    """A log that is written, rotated and compressed at random, and a store that follows it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = Random(seed)  # noqa: S311 -- a seeded simulation
        self.store = Store(folder, path="app.log*", format="jsonl", follow=True)
        self.log = folder / "app.log"
        self.log.write_text("")
        self.written = self.rotated = 0
        self.held: list[BinaryIO] = []

    def write(self) -> None:
        more = self.chance.randrange(1, 30)
        text = lines(self.written, self.written + more)
        cut = self.chance.randrange(len(text) + 1)
        append(self.log, text[:cut])
        if cut % 3 == 0:
            self.store.poll()
        append(self.log, text[cut:])
        self.written += more

    def poll(self) -> None:
        self.store.poll()

    def rename(self) -> None:
        self.rotated += 1
        self.log.rename(self.log.with_name(f"app.log.{self.rotated}"))
        self.log.write_text("")

    def truncate(self) -> None:
        self.rotated += 1
        self.store.poll()
        shutil.copy(self.log, self.log.with_name(f"app.log.{self.rotated}"))
        os.truncate(self.log, 0)

    def compress(self) -> None:
        old = self.log.with_name(f"app.log.{self.chance.randrange(self.rotated + 1)}")
        if old.exists():
            old.with_name(old.name + ".gz").write_bytes(gzip.compress(old.read_bytes()))
            self.held.append(old.open("rb"))  # keeps the inode from being reused
            old.unlink()

    def let_go(self) -> None:
        for file in self.held:
            file.close()
        self.held.clear()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("reused", [False, True])
def test_any_sequence_of_rotations_delivers_each_record(
    tmp_path: Path, seed: int, *, reused: bool
) -> None:
    """Where the system reuses inodes a record may come twice, which the store recognises."""
    log = Rotating(tmp_path, seed)
    steps = [log.write, log.write, log.write, log.poll, log.rename, log.truncate, log.compress]
    for _ in range(60):
        log.chance.choice(steps)()
        if reused:
            log.let_go()
    log.poll()
    log.let_go()
    assert set(numbers(log.store)) == set(range(log.written))
    assert reused or sorted(numbers(log.store)) == list(range(log.written))


def test_the_last_record_of_several_lines_waits_until_the_file_is_quiet(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("> one\nmore\n> two\n")
    store = Store(tmp_path, path="a.log", starts="> ", follow=True, settle_s=60)
    assert [r.raw for r in store.poll()] == [b"> one\nmore"]
    append(log, "and more\n")
    assert store.poll() == []
    os.utime(log, (0, 0))
    assert [r.raw for r in store.poll()] == [b"> two\nand more"]
    assert store.poll() == []


def test_a_line_over_the_limit_waits_for_its_end_too(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("one\n" + "x" * 5000)
    store = Store(tmp_path, path="a.log", format="text", follow=True, record_bytes_max=100)
    assert [r.raw for r in store.poll()] == [b"one"]
    append(log, "x" * 5000 + "\ntwo\n")
    long, two = store.poll()
    assert (long.start, long.length, two.raw, two.position) == (4, 10_000, b"two", 3)


def test_a_quoted_row_waits_for_its_closing_quote(tmp_path: Path) -> None:
    log = tmp_path / "a.csv"
    log.write_text('a,b\n1,2\n3,"x\n')
    store = Store(tmp_path, path="a.csv", follow=True, header=True)
    assert [r.body for r in store.poll()] == [{"a": "1", "b": "2"}]
    append(log, 'y"\n')
    assert [r.body for r in store.poll()] == [{"a": "3", "b": "x\ny"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.json", "a.xml", "a.log"])
def test_a_restart_at_any_chunk_goes_on_without_loss_or_repetition(
    tmp_path: Path, name: str
) -> None:
    count = 35_000
    text = {
        "a.jsonl": "".join(f'{{"n":{n}}}\n' for n in range(count)),
        "a.csv": "n,t\n" + "".join(f'{n},"a\n""b"""\n' for n in range(count)),
        "a.json": json.dumps([{"n": n} for n in range(count)]),
        "a.xml": "<d>" + "".join(f"<r><n>{n}</n></r>" for n in range(count)) + "</d>",
        "a.log": "".join(f"> {n}\nmore\n" for n in range(count)),
    }[name.removesuffix(".gz")]
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    options: dict[str, Any] = {"starts": "> "} if name == "a.log" else {}
    whole = chunks_of(path, **options)
    records = [record for chunk in whole for record in chunk.records]
    assert len(records) == count
    assert max(len(chunk.records) for chunk in whole) <= 10_000
    done = 0
    for chunk in whole:
        done += len(chunk.records)
        again = chunks_of(path, through_json(chunk.cursor), **options)
        assert [r for c in again for r in c.records] == records[done:]
        assert again[-1].end == whole[-1].end
        assert again[-1].cursor == whole[-1].cursor == through_json(whole[-1].cursor)


def test_chunks_are_bounded_in_bytes_too(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes((b"x" * (3 << 20) + b"\n") * 20)
    chunks = chunks_of(path, format="text")
    assert sum(len(chunk.records) for chunk in chunks) == 20
    assert max(len(chunk.records) for chunk in chunks) <= 6


def test_a_file_read_once_that_grew_is_read_on_and_one_that_changed_is_read_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.csv"
    rows = "".join(f"{n},open\n" for n in range(2000))
    path.write_text("n,state\n" + rows)
    store = Store(tmp_path, path="*.csv")
    assert len(store.poll()) == 2000
    assert store.poll() == []
    append(path, "2000,open\n2001,cut")
    assert len(store.poll()) == 2
    append(path, " off\n")
    assert len(store.poll()) == 2002
    path.write_text("n,state\n" + rows.replace("1000,open", "1000,paid"))
    assert len(store.poll()) == 2000
    assert len(store.known) == 1


def test_files_with_the_same_header_are_different_files(tmp_path: Path) -> None:
    store = Store(tmp_path, path="*.csv*")
    (tmp_path / "jan.csv").write_text("n,state\n")
    store.poll()
    (tmp_path / "feb.csv.gz").write_bytes(gzip.compress(b"n,state\n1,open\n"))
    (tmp_path / "mar.csv").write_text("n,state\n2,open\n")
    assert sorted(r.body["n"] for r in store.poll() if r.body) == ["1", "2"]


def test_a_changed_document_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1}]')
    store = Store(tmp_path, path="a.json")
    assert len(store.poll()) == 1
    assert store.poll() == []
    path.write_text('[{"a": 1}, {"a": 2}]')
    assert len(store.poll()) == 2


def test_a_file_that_is_replaced_between_listing_and_reading_is_looked_for_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines(0, 2))
    reader = FilesReader(FilesOptions(path="a.jsonl"), tmp_path)
    (part,) = reader.parts({})
    path.rename(tmp_path / "b.jsonl")
    with pytest.raises(Transient):
        list(reader.read(part, None))
    path.write_text(lines(2, 4))
    with pytest.raises(Transient):
        list(reader.read(part, None))


def test_a_missing_file_is_an_error_only_where_it_is_named_and_read_once(tmp_path: Path) -> None:
    with pytest.raises(NotConnected, match=r"a\.csv"):
        FilesReader(FilesOptions(path="a.csv"), tmp_path).parts({})
    assert FilesReader(FilesOptions(path="*.csv"), tmp_path).parts({}) == []
    assert FilesReader(FilesOptions(path="a.csv", follow=True), tmp_path).parts({}) == []


def test_parts_are_listed_oldest_first_and_directories_are_passed_over(tmp_path: Path) -> None:
    for age, name in enumerate(["c.csv", "a.csv", "b.csv"]):
        (tmp_path / name).write_text("a,b\n1,2\n")
        os.utime(tmp_path / name, (age, age))
    (tmp_path / "d.csv").mkdir()
    parts = FilesReader(FilesOptions(path="*.csv"), tmp_path).parts({})
    assert [part.name for part in parts] == ["c.csv", "a.csv", "b.csv"]
    assert len({part.id for part in parts}) == 3


def test_a_file_that_may_not_be_read_does_not_keep_the_others_from_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    ordinary = Path.open

    def guarded(path: Path, mode: str = "r", buffering: int = -1) -> IO[Any]:
        if path.name == "a.csv":
            raise PermissionError(13, "Permission denied", str(path))
        return ordinary(path, mode, buffering)

    monkeypatch.setattr(Path, "open", guarded)
    reader = FilesReader(FilesOptions(path="*.csv"), tmp_path)
    forbidden, allowed = sorted(reader.parts({}), key=lambda part: part.name)
    assert len([r for chunk in reader.read(allowed, None) for r in chunk.records]) == 1
    with pytest.raises(NotConnected, match=r"a\.csv may not be read"):
        list(reader.read(forbidden, None))
