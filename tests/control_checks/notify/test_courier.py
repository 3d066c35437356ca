"""Delivery to real servers on loopback: retries, patience, order, and who sends."""

import asyncio
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from collector import clock, http
from collector.errors import Misconfigured, Transient
from collector.store import alerts
from control_checks.notify import courier
from tests.control_checks.notify.alerting import (
    COMPLETE,
    OLD_SECRET,
    PAID,
    SECRET,
    Till,
    open_till,
    signed,
    verified,
    webhook,
)
from tests.docs.test_commands import ROOT, blocks
from tests.support.hooks import Receiver, receiving
from tests.support.postgres import Database
from tests.support.store import DatabaseStore

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "T0KEN-IN-THE-PATH"  # noqa: S105 -- nobody's


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(Receiver) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def till(database: Database, tmp_path: Path, receiver: Receiver) -> Till:
    """One run was kept, and its notice waits to be delivered."""
    store = DatabaseStore(database)
    till = await open_till(
        store, tmp_path, webhook(cases=f"{receiver.url}/{TOKEN}"), PAID, COMPLETE
    )
    await till.run()
    return till


async def states(till: Till) -> list[tuple[str, int]]:
    """(State, attempts) of each delivery, oldest first."""
    async with till.store.connect() as conn:
        return [
            (state, row["attempts"])
            for state in ("sent", "given up", "pending")
            for row in reversed(await alerts.listed(conn, state, 99))
        ]


async def test_a_notice_arrives_once_signed_as_standard_webhooks_says(
    till: Till, receiver: Receiver
) -> None:
    done = await till.courier().deliver()
    assert (done.sent, done.failed, done.given_up) == (1, {}, 0)
    assert (await till.courier().deliver()).sent == 0
    (post,) = receiver.posts
    assert verified(post) == SECRET
    assert post.headers["content-type"] == "application/json"
    assert abs(int(post.headers["webhook-timestamp"]) - till.now.timestamp()) < 1
    assert post.document["type"] == "control.changed"
    assert post.document["data"]["control"] == "stuck_sales"
    assert await states(till) == [("sent", 1)]


async def test_the_documented_verification_takes_it_and_refuses_what_was_changed(
    till: Till, receiver: Receiver
) -> None:
    (verify,) = [b.text for b in blocks(ROOT / "docs/alerts.md") if b.path == "verify.py"]
    documented: dict[str, Any] = {}
    exec(verify, documented)  # noqa: S102 -- our own document
    till.now = clock.now()
    await till.courier().test("cases")
    (post,) = receiver.posts
    other = SECRET.replace("M", "N", 1)
    late = {**post.headers, "webhook-timestamp": str(int(till.now.timestamp()) - 301)}
    rotated = {**post.headers, "webhook-signature": f"v1,x {post.headers['webhook-signature']}"}
    assert documented["verify"](SECRET, post.headers, post.body)
    assert documented["verify"](SECRET, rotated, post.body)
    assert not documented["verify"](SECRET, post.headers, post.body + b" ")
    assert not documented["verify"](other, post.headers, post.body)
    assert not documented["verify"](SECRET, late, post.body)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 410, 422, 429, 500, 503])
async def test_what_is_not_taken_is_sent_again_with_the_same_id_after_a_while(
    till: Till, receiver: Receiver, status: int
) -> None:
    elsewhere = {"Location": f"{receiver.url}/elsewhere"} if status < 400 else {}
    receiver.answers = [(status, elsewhere, b"no")]
    done = await till.courier().deliver()
    assert (done.sent, list(done.failed)) == (0, ["cases"])
    assert len(receiver.posts) == 1  # no redirect was followed
    till.now += timedelta(seconds=2)
    await till.courier().deliver()
    assert len(receiver.posts) == 1  # too early
    till.now += timedelta(seconds=4)
    assert (await till.courier().deliver()).sent == 1
    first, second = receiver.posts
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
    assert (first.body, verified(second)) == (second.body, SECRET)
    assert await states(till) == [("sent", 2)]


async def test_waits_grow_up_to_a_limit_and_chance_shortens_them(
    till: Till, receiver: Receiver
) -> None:
    receiver.answers = [(500, {}, b"")] * 14
    waited = []
    async with till.store.connect() as conn:
        for _ in range(14):
            await till.courier().deliver()
            (row,) = await alerts.listed(conn, "pending", 9)
            waited.append((row["due_at"] - till.now).total_seconds())
            till.now = row["due_at"]
    for n, seconds in enumerate(waited):
        whole = 5 * 2 ** min(n, 9)
        assert whole / 2 <= seconds <= whole
    assert len(receiver.posts) == 14


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7200", 7200),
        ("Sun, 01 Feb 2026 10:01:00 GMT", 7200),
        ("999999999", 86_400),
        ("1", None),
        ("soon", None),
    ],
)
async def test_a_receiver_that_asks_for_patience_gets_it(
    till: Till, receiver: Receiver, header: str, seconds: int | None
) -> None:
    assert till.now == datetime.fromisoformat("2026-02-01T08:01:00Z")
    receiver.answers = [(429, {"Retry-After": header}, b"")]
    await till.courier().deliver()
    async with till.store.connect() as conn:
        (row,) = await alerts.listed(conn, "pending", 9)
    wait = (row["due_at"] - till.now).total_seconds()
    assert wait == seconds if seconds is not None else 2.5 <= wait <= 5


async def test_a_receiver_that_hangs_or_is_gone_holds_up_nobody_else(
    database: Database, tmp_path: Path
) -> None:
    with receiving(Receiver) as hanging, receiving(Receiver) as fine:
        hanging.answers = [None]
        urls = {"hangs": hanging.url, "gone": "http://127.0.0.1:9/hook", "fine": fine.url}
        till = await open_till(DatabaseStore(database), tmp_path, webhook(**urls))
        await till.run()
        done = await till.courier(timeout_s=0.3).deliver()
        assert (done.sent, sorted(done.failed)) == (1, ["gone", "hangs"])
        assert "ReadTimeout" in done.failed["hangs"]
        assert "ConnectError" in done.failed["gone"]
        assert len(fine.posts) == 1
        till.now += timedelta(seconds=6)
        done = await till.courier(timeout_s=0.3).deliver()
        assert (done.sent, list(done.failed)) == (1, ["gone"])


async def test_of_one_control_the_oldest_goes_first_and_the_next_waits_for_it(
    till: Till, receiver: Receiver
) -> None:
    receiver.answers = [(500, {}, b"")]
    await till.courier().deliver()
    await till.bank("1002")
    await till.run()
    till.now -= timedelta(seconds=59)
    await till.courier().deliver()
    assert len(receiver.posts) == 1
    till.now += timedelta(seconds=59)
    assert (await till.courier().deliver()).sent == 2
    opened = [d["data"]["exceptions"]["open"] for d in receiver.documents()]
    assert opened == [3, 3, 2]


@pytest.mark.parametrize(
    ("status", "controls"),
    [
        pytest.param(400, ["stuck_sales", "stuck_again"], id="one message is refused"),
        pytest.param(500, ["stuck_sales"], id="the receiver is out of order"),
    ],
)
async def test_what_is_refused_holds_up_no_other_control(
    till: Till, receiver: Receiver, status: int, controls: list[str]
) -> None:
    await till.run("stuck_again")
    receiver.answers = [(status, {}, b"")]
    await till.courier().deliver()
    assert [d["data"]["control"] for d in receiver.documents()] == controls
    till.now += timedelta(seconds=6)
    await till.courier().deliver()
    assert [state for state, _ in await states(till)] == ["sent", "sent"]


async def test_what_cannot_be_delivered_is_given_up_and_what_follows_is_sent(
    till: Till, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [(500, {}, b"")]
    await till.courier().deliver()
    till.now += alerts.GIVE_UP - timedelta(minutes=2)
    await till.bank("1002")
    await till.run()
    receiver.answers = [(500, {}, b"")]
    assert (await till.courier().deliver()).given_up == 0
    till.now += timedelta(minutes=2)
    done = await till.courier().deliver()
    assert (done.sent, done.given_up) == (1, 1)
    assert "given up" in caplog.text
    assert await states(till) == [("sent", 1), ("given up", 2)]
    async with till.store.connect() as conn:
        (row,) = await alerts.listed(conn, "given up", 9)
    assert "is out of order (HTTP 500)" in row["error"]


async def test_what_a_removed_destination_was_to_be_told_is_given_up_too(till: Till) -> None:
    await till.change('"cases": {', '"others": {')
    till.now += alerts.GIVE_UP
    assert (await till.courier().deliver()).given_up == 1


async def test_a_flood_of_exceptions_arrives_as_one_small_message(
    till: Till, receiver: Receiver
) -> None:
    await till.sell(*(str(n) for n in range(10_000, 15_000)))
    assert len((await till.run()).exceptions) == 5_003
    assert (await till.courier().deliver()).sent == 2
    _, flood = receiver.posts
    assert len(flood.body) < 20_000
    (group,) = flood.document["data"]["groups"]
    assert (group["count"], group["new"], group["amounts"]) == (5_003, 5_000, {"EUR": 6_253_750})
    assert (len(group["sentences"]), group["has_more"]) == (5, True)


async def test_several_at_a_time_never_send_the_same_twice(till: Till, receiver: Receiver) -> None:
    for number in ("1002", "2003"):
        await till.bank(number)
        await till.run()
    done = await asyncio.gather(*(till.courier().deliver() for _ in range(8)))
    for _ in range(3):
        done += [await till.courier().deliver()]
    assert sum(d.sent for d in done) == len(receiver.posts) == 3
    assert [d["data"]["exceptions"]["open"] for d in receiver.documents()] == [3, 2, 1]


async def test_what_was_claimed_by_one_that_died_is_sent_when_the_claim_runs_out(
    till: Till, receiver: Receiver
) -> None:
    async with till.store.connect() as conn:
        (delivery,) = await alerts.due(conn, "cases", till.now)
        assert await alerts.claim(conn, "cases", delivery, till.now)
        assert not await alerts.claim(conn, "cases", delivery, till.now)
    till.now += alerts.CLAIM - timedelta(seconds=1)
    await till.courier().deliver()
    assert receiver.posts == []
    till.now += timedelta(seconds=1)
    assert (await till.courier().deliver()).sent == 1


async def test_a_claim_outlives_a_request() -> None:
    answer_s = http.ANSWER_S_MAX * courier.TIMEOUT_S / http.TIMEOUT_S
    assert alerts.CLAIM.total_seconds() >= answer_s + 2 * courier.TIMEOUT_S


@pytest.mark.parametrize("status", [302, 400, 401, 404, 429, 500, None])
async def test_no_secret_is_kept_shown_or_logged(
    till: Till, receiver: Receiver, caplog: pytest.LogCaptureFixture, status: int | None
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answers = [
        None
        if status is None
        else (status, {"Location": f"/{TOKEN}"}, f"there is no {TOKEN} here".encode())
    ]
    done = await till.courier(timeout_s=0.3).deliver()
    async with till.store.connect() as conn:
        (row,) = await alerts.listed(conn, None, 9)
        kept = await conn.fetch("SELECT d::text, s::text FROM tieout.delivery d, tieout.standing s")
    everything = f"{done} {row} {kept}" + "".join(r.getMessage() for r in caplog.records)
    assert TOKEN not in everything
    assert SECRET not in everything


async def test_while_a_secret_is_changed_both_sign_the_new_one_first(
    till: Till, receiver: Receiver
) -> None:
    (till.folder / "old.secret").write_text(OLD_SECRET)
    await till.change('"secret": ', '"old_secret": "${file:old.secret}", "secret": ')
    assert (await till.courier().deliver()).sent == 1
    (post,) = receiver.posts
    signatures = post.headers["webhook-signature"].split(" ")
    assert signatures == [signed(post, SECRET), signed(post, OLD_SECRET)]
    (page,) = [b.text for b in blocks(ROOT / "docs/alerts.md") if b.path == "verify.py"]
    given: dict[str, Any] = {}
    exec(page, given)  # noqa: S102 -- what the page tells a receiver to do
    for secret, genuine in ((SECRET, True), (OLD_SECRET, True), (SECRET[:-4] + "AAAA", False)):
        assert given["verify"](secret, post.headers, post.body, 10**10) is genuine


async def test_a_test_message_arrives_at_once_and_leaves_no_trace(
    till: Till, receiver: Receiver
) -> None:
    await till.courier().test("cases")
    (post,) = receiver.posts
    assert (verified(post), post.document["type"]) == (SECRET, "alert.test")
    assert await states(till) == [("pending", 0)]
    receiver.answers = [(503, {}, b"")]
    with pytest.raises(Transient, match="out of order"):
        await till.courier().test("cases")
    with pytest.raises(Misconfigured, match=r"no destination 'case'. Destinations: cases"):
        await till.courier().test("case")
