"""What a whole list lacks is gone, whatever the order of reading; from any other nothing is concluded."""

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.wiring import Application, read_configuration
from collector.clock import Clock
from collector.pipeline.collect import Tally
from collector.pipeline.commit import Batch, commit
from collector.pipeline.correlate import Limit
from collector.pipeline.documents import Memory
from collector.pipeline.dump import dump
from collector.pipeline.publish import publish
from collector.pipeline.remap import Remapping
from collector.pipeline.replay import Asked, Replay
from collector.pipeline.sweep import Span
from collector.store import ingest, totals
from collector.store.embedded import Server
from tests.support.postgres import Database, fresh_database
from tests.support.store import DatabaseStore, at

NOW = datetime(2026, 2, 20, tzinfo=UTC)
CONFIGURATION = """\
tieout: 1
sources:
  erp:
    connector: files
    system: erp
    streams:
      centres:
        read:
          path: "csks_*"
          format: csv
          file_name: 'csks_(?P<as_of>\\d{8}).*'
        mapping:
          snapshot: {value: as_of, format: "%Y%m%d", timezone: UTC}
          key: KOSTL
          document: {type: cost_center, number: KOSTL}
          status: STATUS
          attributes: {name: KTEXT}
          events: [{rule: listed, type: cost_center.listed}]
flows:
  - flow: centres
    title: Cost centres
    anchor: cost_center
    steps: [{name: owned, system: erp, done_by: [cost_center.listed]}]
"""
SALES, SOUTH, WEST = "4711;open;Sales", "4712;open;Sales South", "4713;open;Sales West"


class Lists:
    """Daily lists of cost centres in a folder, and a store that reads them."""

    def __init__(self, database: Database, folder: Path, text: str = CONFIGURATION) -> None:
        self.folder = folder
        self.store = DatabaseStore(database)
        self.configure(text)

    def has(self, day: int, *rows: str, name: str = ".csv") -> None:
        text = "".join(f"{row}\n" for row in ("KOSTL;STATUS;KTEXT", *rows)).encode()
        content = gzip.compress(text) if name.endswith(".gz") else text
        (self.folder / f"csks_202601{day:02}{name}").write_bytes(content)

    async def read(self) -> Tally:
        async with self.store.connect() as conn:
            await publish(conn, self.application.configuration, at(NOW))
            with self.application.collector(conn) as collector:
                (source,) = self.application.sources()
                return await collector.sync(source)

    def configure(self, text: str) -> None:
        (self.folder / "tieout.yaml").write_text(text)
        self.application = Application(
            read_configuration(self.folder / "tieout.yaml"), self.store, at(NOW)
        )

    async def dumped(self) -> list[bytes]:
        async with self.store.connect() as conn:
            known = await totals.last_recorded(conn, NOW)
            return [line async for line in dump(conn, ["centres"], None, known)]

    async def gone(self) -> list[tuple[str, int, int, int | None]]:
        """Return what is told as deleted: row, day of the last list with it, of the one without, of its return."""
        async with self.store.connect() as conn:
            rows = await conn.fetch(
                "SELECT * FROM tieout.unlisted(read.seq_at('infinity'), $1) ORDER BY line, gone_at",
                NOW,
            )
        return [
            (
                r["line"],
                r["last_at"].day,
                r["gone_at"].day,
                r["again_at"] and r["again_at"].day,
            )
            for r in rows
        ]

    async def values(self, as_of: datetime = NOW) -> list[tuple[Any, ...]]:
        async with self.store.connect() as conn:
            rows = await conn.fetch(
                "SELECT v.value ->> 'name' AS name, v.valid_from, nullif(v.valid_to, 'infinity') AS valid_to FROM"
                " read.dimension_values('centres', $1, 'infinity') v ORDER BY v.valid_from, name",
                as_of,
            )
        return [(r["name"], r["valid_from"].day, r["valid_to"] and r["valid_to"].day) for r in rows]


@pytest.fixture
def lists(database: Database, tmp_path: Path) -> Lists:
    return Lists(database, tmp_path)


async def test_what_the_next_list_lacks_is_gone_as_of_its_instant_and_may_come_back(
    lists: Lists,
) -> None:
    lists.has(1, SALES, SOUTH)
    lists.has(2, SALES, SOUTH)
    lists.has(3, SOUTH)
    lists.has(4, SALES, SOUTH)
    tally = await lists.read()
    assert (tally.complete, tally.remarks) == (True, [])
    assert await lists.gone() == [("4711", 2, 3, 4)]
    assert await lists.values() == [
        ("Sales", 1, 3),
        ("Sales South", 1, None),
        ("Sales", 4, None),
    ]


async def test_the_order_of_reading_and_reading_twice_change_nothing(
    server: Server, tmp_path: Path
) -> None:
    days = {1: (SALES, SOUTH), 2: (SOUTH,), 3: (SALES, "4712;closed;Sales South")}
    dumps = set()
    for n, order in enumerate([(1, 2, 3), (3, 2, 1), (1, 3, 2)]):
        folder = tmp_path / str(n)
        folder.mkdir()
        async with fresh_database(server) as database:
            lists = Lists(database, folder)
            for day in order:
                lists.has(day, *days[day])
                await lists.read()
            lists.has(order[0], *days[order[0]], name="_again.csv")  # in another file
            assert (await lists.read()).accepted == 0
            assert await lists.gone() == [("4711", 1, 2, 3)]
            dumps.add(tuple(await lists.dumped()))
    assert len(dumps) == 1


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ((SOUTH, "4711;open"), "1 row in quarantine could be any, until replayed"),
        ((SOUTH, ";open;Sales"), "1 row in quarantine could be any, until replayed"),
        ((), "it holds no rows"),
    ],
)
async def test_a_list_with_a_row_that_cannot_be_read_or_without_rows_tells_of_no_deletion(
    lists: Lists, rows: tuple[str, ...], why: str
) -> None:
    lists.has(1, SALES, SOUTH)
    lists.has(2, *rows)
    tally = await lists.read()
    assert tally.remarks == [
        f"csks_20260102.csv is no whole list, and nothing is told as deleted by it: {why}."
    ]
    assert await lists.gone() == []
    lists.has(3, SOUTH)
    await lists.read()
    assert await lists.gone() == [("4711", 1, 3, None)]


async def test_a_list_that_is_cut_off_tells_of_no_deletion_until_it_is_sent_whole(
    lists: Lists,
) -> None:
    lists.has(1, SALES, SOUTH, name=".csv.gz")
    lists.has(2, SOUTH, WEST, name=".csv.gz")
    cut = lists.folder / "csks_20260102.csv.gz"
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-6])  # all rows are there; the checksum is not
    assert not (await lists.read()).complete
    assert await lists.gone() == []
    (lists.folder / "csks_20260102_again.csv.gz").write_bytes(whole)
    await lists.read()
    assert await lists.gone() == [("4711", 1, 2, None)]


async def test_a_list_that_lost_more_than_half_is_believed_when_the_next_one_says_the_same(
    lists: Lists,
) -> None:
    lists.has(1, SALES, SOUTH, WEST)
    lists.has(2, SOUTH)
    await lists.read()
    assert await lists.gone() == []
    lists.has(3, SOUTH)
    await lists.read()
    assert await lists.gone() == [("4711", 1, 3, None), ("4713", 1, 3, None)]


async def test_rows_of_two_instants_are_no_list(database: Database, tmp_path: Path) -> None:
    text = CONFIGURATION.replace("          file_name: 'csks_(?P<as_of>\\d{8}).*'\n", "")
    lists = Lists(database, tmp_path, text.replace("value: as_of", "value: KTEXT"))
    lists.has(1, "4711;open;20260101", "4712;open;20260101")
    lists.has(2, "4711;open;20260102", "4713;open;20260103")
    (remark,) = (await lists.read()).remarks
    assert "its rows state different instants" in remark
    assert await lists.gone() == []


async def test_a_list_short_of_the_total_that_it_states_tells_of_no_deletion(
    database: Database, tmp_path: Path
) -> None:
    text = CONFIGURATION.replace("timezone: UTC}", "timezone: UTC, total: STATUS}", 1)
    lists = Lists(database, tmp_path, text)
    lists.has(1, "4711;2;Sales", "4712;2;Sales South")
    lists.has(2, "4712;2;Sales South")
    (remark,) = (await lists.read()).remarks
    assert remark.endswith("it states 2 and holds 1 row.")
    assert await lists.gone() == []


async def test_a_list_is_as_of_when_its_file_was_changed_only_where_that_is_said(
    database: Database, tmp_path: Path
) -> None:
    text = CONFIGURATION.replace("file_name: 'csks_(?P<as_of>\\d{8}).*'", "file_time: as_of")
    text = text.replace('format: "%Y%m%d", timezone: UTC', "timezone: in value")
    lists = Lists(database, tmp_path, text)
    for day, rows in ((5, (SALES, SOUTH)), (6, (SOUTH,))):
        lists.has(day, *rows)
        changed = datetime(2026, 1, day + 10, tzinfo=UTC).timestamp()
        os.utime(lists.folder / f"csks_202601{day:02}.csv", (changed, changed))
    await lists.read()
    assert await lists.gone() == [("4711", 15, 16, None)]


async def test_a_list_that_is_interrupted_is_read_again_from_its_beginning(
    lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.files.passes.FIRST_RECORDS_MAX", 2)
    lists.has(1, *(f"{n};open;Centre" for n in range(1000, 1010)))
    lists.has(2, *(f"{n};open;Centre" for n in range(1001, 1010)))
    commits = 0

    async def dies(
        conn: ingest.Connection,
        batch: Batch,
        limit: Limit,
        clock: Clock,
        *,
        careful: bool,
        memory: Memory | None,
    ) -> ingest.BatchRow:
        nonlocal commits
        commits += 1
        if commits == 5:  # amid the second list
            raise RuntimeError("killed")
        return await commit(conn, batch, limit, clock, careful=careful, memory=memory)

    monkeypatch.setattr("collector.pipeline.collect.commit", dies)
    with pytest.raises(RuntimeError, match="killed"):
        await lists.read()
    assert await lists.gone() == []
    await lists.read()
    assert await lists.gone() == [("1000", 1, 2, None)]


async def test_a_list_that_grew_after_it_was_read_is_not_read_on_as_a_list(lists: Lists) -> None:
    lists.has(1, SALES, SOUTH)
    lists.has(2, SOUTH)
    await lists.read()
    with (lists.folder / "csks_20260102.csv").open("a") as file:
        file.write(f"{SALES}\n")
    (remark,) = (await lists.read()).remarks
    assert remark.endswith("it was not read from its beginning.")
    assert await lists.gone() == []  # it was being written when it was read first


async def test_a_name_that_states_no_instant_is_refused_and_nothing_is_read(lists: Lists) -> None:
    lists.has(1, SALES)
    (lists.folder / "csks_final.csv").write_text(f"KOSTL;STATUS;KTEXT\n{SOUTH}\n")
    tally = await lists.read()
    assert "csks_final.csv: its name does not look as `file_name` says" in tally.failed
    assert (tally.accepted, tally.unread) == (1, None)


async def test_a_list_is_whole_once_its_last_row_in_quarantine_is_replayed(
    database: Database, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "late").mkdir()
    (tmp_path / "early").mkdir()
    words = "type: {value: STATUS, values: {open: cost_center.listed}, unknown: quarantine}"
    strict = CONFIGURATION.replace("type: cost_center.listed}]\nflows", f"{words}}}]\nflows")
    wider = strict.replace("values: {open:", "values: {frozen: cost_center.listed, open:")
    rows = ("4712;frozen;Sales South", WEST)

    late = Lists(database, tmp_path / "late", strict)
    late.has(1, SALES, SOUTH, WEST)
    late.has(2, *rows)
    (remark,) = (await late.read()).remarks
    assert remark.endswith("1 row in quarantine could be any, until replayed.")
    assert await late.gone() == []
    late.configure(wider)
    async with late.store.connect() as conn:
        await publish(conn, late.application.configuration, at(NOW))
        replay = Replay(conn, late.application.limit, at(NOW), "test")
        assert (await replay.run(late.application.sources(), Asked())).replayed == 1
    assert await late.gone() == [("4711", 1, 2, None)]
    async with fresh_database(server) as fresh:
        early = Lists(fresh, tmp_path / "early", wider)
        early.has(1, SALES, SOUTH, WEST)
        early.has(2, *rows)
        assert (await early.read()).remarks == []
        assert await early.dumped() == await late.dumped()


async def test_a_mended_timezone_moves_the_lists_and_what_was_known_stays(
    database: Database, tmp_path: Path
) -> None:
    kept = CONFIGURATION.replace("        mapping:\n", "        keep_raw: true\n        mapping:\n")
    lists = Lists(database, tmp_path, kept)
    lists.has(2, SALES, SOUTH)
    lists.has(3, SOUTH)
    await lists.read()
    async with lists.store.connect() as conn:
        before = await totals.last_recorded(conn, NOW)
    lists.configure(kept.replace("timezone: UTC", "timezone: Europe/Berlin"))
    async with lists.store.connect() as conn:
        (source,) = lists.application.sources()
        remapping = Remapping(conn, source, lists.application.limit, at(NOW), "test")
        assert (await remapping.apply()).replaced == 3
        known = [
            [
                row["at"]
                for row in await conn.fetch(
                    "SELECT at FROM tieout.whole_lists(read.seq_at($1)) ORDER BY at", k
                )
            ]
            for k in (before, await totals.last_recorded(conn, NOW))
        ]
    assert known == [
        [datetime(2026, 1, day, tzinfo=UTC) for day in (2, 3)],
        [datetime(2026, 1, day, 23, tzinfo=UTC) for day in (1, 2)],
    ]
    assert await lists.gone() == [("4711", 1, 2, None)]


async def test_a_sweep_finds_every_row_of_every_list(lists: Lists) -> None:
    lists.has(1, SALES, SOUTH)
    lists.has(2, SOUTH)
    await lists.read()
    before = await lists.dumped()
    async with lists.store.connect() as conn:
        (source,) = lists.application.sources()
        swept = (await lists.application.sweep(conn, source, Span(None, NOW))).sweep
    assert (swept.whole, swept.listed, swept.found, swept.deleted) == (True, 3, 0, 0)
    assert await lists.dumped() == before
