"""A payment run of thousands of invoices, a batch of card sales and a payout link their members and never merge them."""

import asyncpg
import pytest

from tests.api.cli.desk import Desk
from tests.support import groups
from tests.support.postgres import Database

MEMBERS, OTHER = 5_000, 3
"""Members of two groups of each shape."""
SHOWN = 20
COMPONENTS = """
SELECT count(*) AS n, size FROM (
    SELECT count(*) AS size FROM tieout.document d
    WHERE EXISTS (SELECT FROM tieout.reference r WHERE r.document = d.id AND r.role = 0)
    GROUP BY component) c GROUP BY size
"""
LINKED = """
SELECT r.value, count(DISTINCT r.document) FROM tieout.reference r
WHERE r.role = 2 AND r.kind = $1 GROUP BY r.value
"""
SETTLED = """
SELECT status, count(*), sum(amount_minor)::bigint FROM read.steps($1, 'infinity', 'infinity')
WHERE step = 'settled' GROUP BY status
"""


@pytest.fixture
def settled(desk: Desk) -> Desk:
    """Read two groups of each shape, a large one and a small one."""
    groups.write(desk.folder, {"large": MEMBERS, "small": OTHER})
    desk.over((desk.folder / "store.dsn").read_text())
    assert desk("sync").code == 0
    return desk


async def test_groups_link_their_members_and_merge_none(settled: Desk, database: Database) -> None:
    conn = await asyncpg.connect(database.dsn("postgres"))
    try:
        found = {row["size"]: row["n"] for row in await conn.fetch(COMPONENTS)}
        every = MEMBERS + OTHER
        # an invoice and its payment; card sales, charges, and two groups of each shape
        assert found == {2: every, 1: 2 * every + 2 * len(groups.SHAPES)}
        for shape in groups.SHAPES:
            linked = dict(map(tuple, await conn.fetch(LINKED, shape.group)))
            documents = 2 if shape.member == "supplier_invoice" else 1
            assert linked == {
                f"{shape.group}-large": documents * MEMBERS,
                f"{shape.group}-small": documents * OTHER,
            }
            own = sum(shape.minor(n) for count in (MEMBERS, OTHER) for n in range(count))
            steps = [tuple(row) for row in await conn.fetch(SETTLED, f"{shape.member}s")]
            assert steps == [("DONE", every, own)]
    finally:
        await conn.close()


def test_a_member_is_told_with_its_group_and_a_group_with_the_first_of_its_members(
    settled: Desk,
) -> None:
    for shape in groups.SHAPES:
        one = shape.number("large", MEMBERS - 1)
        (told,) = settled.shown(f"trace {one}", "trace")["transactions"]
        assert told["status"] == "completed"
        own = {one, f"payment of {one}"} if shape.member == "supplier_invoice" else {one}
        assert {document["number"] for document in told["documents"]} == own
        (lent,) = [event for event in told["events"] if event["via"]]
        assert lent["via"] == f"{shape.group} {shape.group}-large"
        assert lent["amount_minor"] == shape.settled_minor(MEMBERS)
        group = settled.shown(f"trace {shape.group}-large", "trace")
        (alone,) = group["transactions"]
        assert [document["number"] for document in alone["documents"]] == [f"{shape.group}-large"]
        assert len(group["candidates"]) == SHOWN
        assert all("-large-" in candidate["value"] for candidate in group["candidates"])
        assert group["has_more"]
