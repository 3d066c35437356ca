"""Whatever the seed and however the files arrive: what was planted is found, and nothing else.

Each company takes some twenty seconds: ten seeds in order, one in each other way.
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from api.cli.control import run_controls
from api.cli.demo import defects, lookalikes
from api.demo import Truth, create, tenant
from api.demo.company import BERLIN, Dice
from api.wiring import Application, middleware, opened, read_configuration
from collector.model.control import Run
from control_checks.bridge.bridge import Document, prepared
from tests.api.demo.outside import rows
from tests.support.postgres import temporary_base

SEEDS = range(100, 110)
ACCOUNTS = (("DE10", "EUR"), ("JP10", "JPY"), ("KW10", "KWD"), ("KW10", "USD"))
PORTIONS = 8
PERIODS = ("2026-09", "2026-10")
HOPS = ("posted", "paid", "returned")


async def sync(app: Application, seed: int = 0, without: Sequence[str] = ()) -> None:
    """Read every stream once; with a seed in another order than the configuration's."""
    sources = [source for source in app.sources() if source.source not in without]
    if seed:
        Dice(seed).shuffle(sources)
    async with app.store.connect() as conn:
        with app.collector(conn) as collector:
            for source in sources:
                await collector.sync(source)


STOPPED = {
    "bank": ["bank/*-2026-1*.xml"],
    "expense": [
        "expense/reports-2026-1*.json",
        "expense/confirmations.json",
        "expense/payments.json",
    ],
    "erp": ["erp/bkpf.csv", "erp/interface.csv"],
    "hr": ["hr/workers.csv"],
    "middleware": [],  # it is not asked
}
"""What each source has not delivered yet while it is stopped; the first two did until the end of September."""


@contextmanager
def stopped(company: Path, sources: Sequence[str]) -> Iterator[None]:
    """Take away what sources wrote since they stopped. Nobody declares the bank complete beyond that."""
    aside = company.with_name("aside")
    aside.mkdir()
    late = [path for s in sources for pattern in STOPPED[s] for path in company.glob(pattern)]
    for path in late:
        path.rename(aside / path.name)
    settings = company / "tieout.yaml"
    whole = settings.read_text("utf-8")
    if "bank" in sources:
        until = datetime(2026, 10, 1, tzinfo=BERLIN).isoformat()
        told = re.sub(r"(covers: \[[^,]+, )[^]]+(\], by: Treasury)", rf"\g<1>{until}\g<2>", whole)
        assert told != whole
        settings.write_text(told, encoding="utf-8")
    yield
    settings.write_text(whole, encoding="utf-8")
    for path in late:
        (aside / path.name).rename(path)


def arriving(company: Path, seed: int) -> Iterator[int]:
    """Let the files of all sources arrive in any order, a few at a time; yield after each portion."""
    aside = company.with_name("aside")
    aside.mkdir()
    files = [
        path for kind in ("csv", "json", "xml") for path in sorted(company.glob(f"*/*.{kind}"))
    ]
    Dice(seed).shuffle(files)
    for n, path in enumerate(files):
        path.rename(aside / str(n))
    for n, path in enumerate(files):
        (aside / str(n)).rename(path)
        if n % (len(files) // PORTIONS) == 0:
            yield n


async def judged(
    app: Application, company: Path, truth: Truth, way: str
) -> tuple[list[Run], list[Document]]:
    """Return the controls' runs, and what the bridges of both months leave unexplained."""
    await app.prepare()
    if way == "in portions":
        for n in arriving(company, truth.seed):
            await sync(app, truth.seed + n)
    await sync(app, truth.seed if way == "shuffled" else 0)
    as_of = datetime.fromisoformat(truth.status_time)
    runs = await run_controls(app, list(app.configuration.settings.controls), as_of, None)
    bridge = await prepared(app.engine(), as_of, None, "test")
    assert {run.run for run in bridge.runs} <= {run.run for run in runs}
    items = [item for period in PERIODS for item in await bridge.items(period, limit=5_000)]
    left = [item for item in items if item["cell"] == "unexplained"]
    untold = [i for i in items if i["to"] == "returned" and i["cell"].startswith("exceptions:")]
    assert {(i["cell"], i["number"]) for i in untold} == {
        ("exceptions:payment_not_returned", number)
        for number, fate in truth.claims.items()
        if fate.control == "payment_not_returned"
    }
    assert all(i["amount_minor"] == truth.claims[i["number"]].payable_minor for i in untold)
    for period in PERIODS:
        rows = (await bridge.document(period))["rows"]
        shown = {(row["entity"], row["currency"], row["to"]) for row in rows}
        assert shown >= {(*account, to) for account in ACCOUNTS for to in HOPS}
        assert all(map(foots, rows))
    return runs, left


def foots(row: Document) -> bool:
    """Tell whether the cells of a hop add up to what it begins with, in count and amount."""
    cells = {name: cell for name, cell in row["cells"].items() if name != "from"}
    total = {p: sum(cell[p] for cell in cells.values()) for p in ("count", "amount_minor")}
    return bool(row["cells"]["from"] == total)


def followed(seed: int, way: str) -> tuple[Truth, list[Run], list[Document]]:
    """Make a company, read it in some way, and run all controls."""
    with temporary_base() as base:
        company = base / "company"
        truth = create(company, seed)
        with middleware(*tenant(company)):
            configuration = read_configuration(company / "tieout.yaml")
            with opened(configuration, base / "store") as app:
                return truth, *asyncio.run(judged(app, company, truth, way))


def must_be_said(truth: Truth) -> dict[tuple[str, str | None, str], str]:
    """Return the reason that each control must give, by control, entity and item: these and no others."""
    said: dict[tuple[str, str | None, str], str] = {}
    for fate in truth.fates():
        if fate.control:
            said[fate.control, fate.entity, fate.item] = str(fate.reason)
        for control, (item, reason) in fate.also.items():
            said[control, fate.entity, item] = reason
    return said


def check(truth: Truth, runs: list[Run], left: list[Document]) -> None:
    assert {r.control: (r.error, r.verdict) for r in runs} == dict.fromkeys(
        truth.controls, (None, "FAIL")
    )
    said = {(run.control, e.entity, e.number): e.reason for run in runs for e in run.exceptions}
    assert said.keys() == must_be_said(truth).keys(), "docs/demo.md, cell by cell"
    for item, reason in must_be_said(truth).items():
        assert said[item].partition("(")[0] == reason.partition("(")[0], item
    for found in defects(truth, runs):
        assert found["planted"] == found["found"] > 0 == found["false"], found
    for alike in lookalikes(truth, runs):
        assert alike["planted"] > 0 == alike["alarms"], alike
    paid = next(run for run in runs if run.control == truth.lost.control)
    assert not paid.complete
    assert {gap["stream"] for gap in paid.gaps} == {f"bank/{truth.lost.entity.lower()}"}
    assert not [e for e in paid.exceptions if e.entity == truth.lost.entity]
    assert sum(paid.population["unevaluable"].values()) >= len(truth.lost.claims)
    # what the bank has lost is the one thing that nobody can explain, and no control reports
    reported = {c for c in truth.lost.claims if truth.claims[c].control == "approval_missing"}
    assert sorted(item["number"] for item in left) == sorted({*truth.lost.claims} - reported)
    assert {(item["entity"], item["to"]) for item in left} == {(truth.lost.entity, "paid")}


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_everything_planted_is_found_and_nothing_else(seed: int) -> None:
    check(*followed(seed, "in order"))


@pytest.mark.long
@pytest.mark.parametrize("way", ["shuffled", "in portions"])
def test_the_order_in_which_files_arrive_changes_nothing(way: str) -> None:
    check(*followed(3, way))


@pytest.mark.long
@pytest.mark.parametrize("source", STOPPED)
def test_a_source_that_stops_accuses_nobody_and_catches_up(source: str) -> None:
    with temporary_base() as base:
        company = base / "company"
        truth = create(company, 3)
        with middleware(*tenant(company)):
            with stopped(company, [source]):
                runs = asyncio.run(judged_while_stopped(company, base / "store", source))
            claim_of = {
                f"{row['BUKRS']}-{row['BELNR']}-{row['GJAHR']}": row["BKTXT"]
                for row in rows(company / "erp/bkpf.csv", ";")
            }
            items = {(r.control, e.entity, e.number) for r in runs for e in r.exceptions}
            must = must_be_said(truth).keys()
            said = {i if i in must else (*i[:2], claim_of.get(i[2], i[2])) for i in items}
            # what was due before its bank lost a week can be told of KW10 too, as long as that week is to come
            early = {
                ("approved_not_paid", "KW10", f.item)
                for f in truth.fates()
                if f.control == "approved_not_posted"
            }
            assert said <= must | (early if source == "bank" else set())
            assert said, "what the others prove stands"
            configuration = read_configuration(company / "tieout.yaml")
            with opened(configuration, base / "store") as app:
                check(truth, *asyncio.run(judged(app, company, truth, "in order")))


async def judged_while_stopped(company: Path, store: Path, source: str) -> list[Run]:
    """Read the others and run the controls; those that need the source must know that they cannot conclude."""
    with opened(read_configuration(company / "tieout.yaml"), store) as app:
        await app.prepare()
        await sync(app, without=["middleware"] if source == "middleware" else [])
        as_of = datetime.fromisoformat("2026-11-05T08:00:00+01:00")
        runs = await run_controls(app, list(app.configuration.settings.controls), as_of, None)
    blind = {
        run.control for run in runs if any(g["stream"].startswith(f"{source}/") for g in run.gaps)
    }
    assert blind or source == "hr", "no control looks at the people"
    for run in runs:
        assert run.error is None
        assert not (run.control in blind and run.complete)
    return runs
