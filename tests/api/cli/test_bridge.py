"""`tieout bridge`: the table, the CSV that foots, the page that prints, and the items behind a cell."""

import asyncio
import csv
import html
import io
import re
import subprocess
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from api import sheet
from api.cli.bridge import exit_code, write_csv
from api.wiring import Application, read_configuration
from control_checks.bridge.current import keep_current
from tests.api.cli.desk import Desk, same_signals
from tests.support import shop
from tests.support.debian import require
from tests.support.postgres import Database
from tests.support.store import DatabaseStore, at

LINE = "bridge --period 2026-01 --as-of 2026-01-31T08:00:00Z"
A4_POINTS = (595, 842)


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    shop.write(tmp_path)
    desk = Desk(tmp_path).over(database.server.dsn("postgres", database.name))
    assert desk("sync").code == 0
    return desk


@pytest.mark.usefixtures("database")
def test_the_csv_foots_to_the_minor_unit(desk: Desk) -> None:
    with same_signals():
        written = desk(f"{LINE} --csv -")
    assert written.code == 3
    total: dict[tuple[str, ...], Decimal] = defaultdict(Decimal)
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    for line in csv.DictReader(io.StringIO(written.out)):
        hop = tuple(line[k] for k in ("flow", "entity", "currency", "from", "to"))
        sign = 1 if line["cell"] == "from" else -1
        total[hop] += sign * Decimal(line["amount"])
        counts[hop] += sign * int(line["count"])
        assert Decimal(line["amount"]) * 100 == int(line["amount_minor"])
    assert set(total.values()) == {Decimal(0)}
    assert set(counts.values()) == {0}
    assert len(total) == 2


@pytest.mark.parametrize(
    ("currency", "minor", "amount"),
    [("JPY", -16000, "-16000"), ("KWD", 1001, "1.001"), ("EUR", 5, "0.05"), (None, None, "")],
)
def test_the_csv_writes_amounts_in_the_decimals_of_their_currency(
    currency: str | None, minor: int | None, amount: str
) -> None:
    file = io.StringIO()
    write_csv(file, _document("from", currency=currency, amount_minor=minor))
    (line,) = csv.DictReader(io.StringIO(file.getvalue()))
    assert (line["amount"], line["amount_minor"]) == (amount, "" if minor is None else str(minor))


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"cell": "to"}, 0),
        ({"cell": "to", "complete": False}, 4),
        ({"cell": "unexplained", "unexplained_items": 2, "amount_minor": 0}, 4),
        ({"cell": "exceptions:late", "complete": False, "unexplained_items": 1}, 3),
    ],
)
def test_the_exit_code_tells_exceptions_from_what_is_not_explained(
    document: dict[str, Any], code: int
) -> None:
    assert exit_code(_document(**document)) == code


def _document(cell: str, *, complete: bool = True, **given: Any) -> dict[str, Any]:  # noqa: ANN401 -- figures of a row
    figures = {"count": 1, "amount_minor": given.get("amount_minor", 5)}
    row = {"flow": "f", "entity": "DE10", "currency": given.get("currency", "EUR")}
    row |= {
        "from": "approved",
        "to": "paid",
        "from_system": "expense",
        "to_system": "bank",
        "unexplained_items": given.get("unexplained_items", 0),
    }
    return {"complete": complete, "rows": [{**row, "cells": {cell: figures}}]}


@pytest.mark.usefixtures("database")
def test_the_items_of_a_cell_are_listed_with_what_the_control_says(desk: Desk) -> None:
    with same_signals():
        listed = desk.shown(f"{LINE} --items paid/exceptions:late_payments", "bridge-items", 3)
        bounded = desk.shown(f"{LINE} --items paid/from --limit 1", "bridge-items", 3)
        written = desk(f"{LINE} --items paid/from --limit 1")
        elsewhere = desk.shown(f"{LINE} --items paid/from --flow other", "bridge-items", 3)
        wrong = desk(f"{LINE} --items paid")
    assert [(i["number"], i["amount_minor"], i["reason"]) for i in listed["items"]] == [
        ("B-MISSING", 125000, "WAITING_FOR_SYSTEM(bank)")
    ]
    assert "B-MISSING" in listed["items"][0]["sentence"]
    assert [(i["nth"], i["of"]) for i in bounded["items"]] == [(1, 4)]
    assert elsewhere["items"] == []
    assert "and 3 more" in written.out
    assert (wrong.code, "STEP/CELL" in wrong.err) == (2, True)


@pytest.mark.usefixtures("database")
def test_the_terminal_shows_each_hop_with_its_cells(desk: Desk) -> None:
    with same_signals():
        shown = desk(LINE)
        period = desk("bridge --period 2026-13")
    text = re.sub(" +", " ", shown.out)
    assert "invoices, DE10: approved → paid" in text
    assert "approved 4 EUR 5,000.00" in text
    assert "paid 2 EUR 2,500.00" in text
    assert "exceptions: late_payments 1 EUR 1,250.00" in text
    assert "in transit 1 EUR 1,250.00" in text
    assert (period.code, "such as 2026-10" in period.err) == (2, True)


@pytest.mark.usefixtures("database")
def test_without_a_status_time_it_goes_no_further_back_than_the_lag_that_is_allowed(
    desk: Desk,
) -> None:
    started = datetime.now(UTC)  # noqa: TID251 -- the command takes the real time
    with same_signals():
        shown = desk.shown("bridge --period 2026-01", "bridge", 3)
        now = desk.shown("bridge --period 2026-01 --as-of now", "bridge", 3)
    as_of, then = (datetime.fromisoformat(found["as_of"]) for found in (shown, now))
    assert timedelta(0) <= as_of + timedelta(days=1) - started < timedelta(minutes=1)
    assert timedelta(0) <= then - started < timedelta(minutes=1)
    assert {"bank/payments", "erp/invoices"} == {gap.split()[0] for gap in shown["gaps"]}


@pytest.mark.usefixtures("database")
def test_a_browser_prints_the_page_on_a4_with_its_figures(desk: Desk, tmp_path: Path) -> None:
    chromium = require("chromium", binary="chromium")
    pdfinfo = require("poppler-utils", binary="pdfinfo")
    path, pdf = tmp_path / "bridge.html", tmp_path / "bridge.pdf"
    with same_signals():
        assert desk(f"{LINE} --html {path}").code == 3
    written = path.read_text(encoding="utf-8")
    assert not re.search(r"<script|src=|https?://|@import", written)
    links = re.findall(r'href="#([\w-]+)"', written)
    assert links
    assert set(links) <= set(re.findall(r'id="([\w-]+)"', written))
    _run(
        chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile",
        "--no-pdf-header-footer", f"--print-to-pdf={pdf}", path.as_uri(),
    )  # fmt: skip
    size = re.search(r"Page size:\s+([\d.]+) x ([\d.]+)", _run(pdfinfo, str(pdf)))
    assert size
    assert [round(float(n)) for n in size.groups()] == pytest.approx(A4_POINTS, abs=1)
    text = _run(pdfinfo.replace("pdfinfo", "pdftotext"), "-layout", str(pdf), "-")
    for figure in ("Bridge 2026-01", "EUR 5,000.00", "EUR 2,500.00", "B-MISSING", "late_payments"):
        assert figure in text


@pytest.mark.usefixtures("database")
def test_the_command_under_a_long_list_shows_the_whole_cell_as_the_page_knew_it(
    desk: Desk, tmp_path: Path
) -> None:
    path = tmp_path / "bridge.html"
    with same_signals():
        assert desk(f"{LINE} --limit 3 --html {path}").code == 3
        commands = re.findall(r"1 more: <code>tieout (.*?)</code>", path.read_text("utf-8"))
        (from_paid,) = [html.unescape(c) for c in commands if "paid/from" in c]
        listed = desk.shown(from_paid, "bridge-items", 3)
    assert [item["nth"] for item in listed["items"]] == [1, 2, 3, 4]
    assert {item["entity"] for item in listed["items"]} == {"DE10"}
    assert "--flow invoices" in from_paid


def test_the_status_tells_what_the_kept_bridges_leave_unexplained(
    desk: Desk, database: Database, tmp_path: Path
) -> None:
    with same_signals():
        before = desk.shown("status", "status")["bridge"]
        application = Application(
            read_configuration(tmp_path / "tieout.yaml"), DatabaseStore(database), at(shop.NOW)
        )
        asyncio.run(keep_current(application.engine()))
        kept = desk.shown("status", "status")["bridge"]
        written = desk("status").out
    assert before == []
    # C-WAITING and F-SHORTCUT: no due time, and no control over the approval
    assert [(of["period"], of["unexplained_items"]) for of in kept] == [
        ("2026-01", 2),
        ("2026-02", 0),
    ]
    assert "invoices 2026-01 as of 2026-02-01 08:00: 2 items unexplained" in written


def test_what_others_wrote_is_escaped_on_the_page() -> None:
    evil = "<script>alert('1')</script>&"
    row = {"flow": evil, "entity": evil, "currency": "EUR", "from": evil, "to": evil}
    cell = {"count": 1, "amount_minor": 5}
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    document = {
        "period": "2026-01",
        "as_of": moment,
        "as_known": moment,
        "complete": False,
        "gaps": [evil],
        "runs": {evil: 1},
        "rows": [{**row, "cells": {f"exceptions:{evil}": cell}}],
        "memo": [{"control": evil, "entity": evil, "currency": "EUR", **cell}],
    }
    item: dict[str, object] = {
        **row,
        "cell": f"exceptions:{evil}",
        "number": evil,
        "basis_at": moment,
        "due_at": None,
    }
    item |= {"amount_minor": 5, "reason": evil, "sentence": evil, "of": 9}
    page = sheet.page(document, [item])
    assert "<script" not in page
    for opened in ("&lt;script&gt;alert(&#x27;", "&lt;/script&gt;&amp;"):
        assert page.count(opened) == page.count("alert(")
    assert "8 more" in page


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)  # noqa: S603 -- constant programs
    assert done.returncode == 0, done.stderr
    return done.stdout
