"""Expressions, times and amounts: a row per shape that real systems write."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.pipeline.amounts import compile_money
from collector.pipeline.times import compile_time
from collector.pipeline.values import NotMapped, compile_expr
from collector.settings.mapping import MoneyRule, TimeRule

LATEST = datetime(2026, 2, 7, tzinfo=UTC)
NONE: frozenset[str] = frozenset()

BODY: dict[str, Any] = {
    "a": "x", "v1.id": "dotted", "n": {"m": {"k": " deep "}}, "list": [{"id": "only"}],
    "lines": [{"id": "1"}, {"id": "2"}], "t": {"#text": "12.50", "@Ccy": "EUR"}, "yes": True, "no": False,
    "int": 7, "dec": Decimal("1.10"), "nil": None, "blank": " \t", "@x": "attr", "q": ["one"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("expr", "value"),
    [
        ("a", "x"),
        ("absent", None),
        ("nil", None),
        ("blank", None),
        ("v1.id", "dotted"),
        (r"v1\.id", "dotted"),
        ("n.m.k", "deep"),
        ("n.m.absent.k", None),
        ("list.id", "only"),
        ("lines.1.id", "2"),
        ("lines.7.id", None),
        ("lines.²", None),
        ("t", "12.50"),
        ("t.@Ccy", "EUR"),
        ("yes", "true"),
        ("no", "false"),
        ("int", "7"),
        ("dec", "1.10"),
        ("q", "one"),
        ("=EUR", "EUR"),
        ("{a}/{int}", "x/7"),
        ("{a}/{nil}", None),
        ("<{n.m.k}>", "<deep>"),
    ],
)
def test_an_expression_picks_a_value(expr: str, value: str | None) -> None:
    if expr == "lines.²":
        with pytest.raises(NotMapped, match="a list of 2"):
            compile_expr(expr, NONE)(BODY)
        return
    assert compile_expr(expr, NONE)(BODY) == value


@pytest.mark.parametrize(
    ("expr", "words"),
    [("lines.id", "a list of 2"), ("lines", "a list of several"), ("n", "an object")],
)
def test_an_expression_that_meets_more_than_one_value_says_so(expr: str, words: str) -> None:
    with pytest.raises(NotMapped, match=words):
        compile_expr(expr, NONE)(BODY)


def test_a_binary_fraction_is_not_taken() -> None:
    with pytest.raises(NotMapped, match="not read exactly"):
        compile_expr("f", NONE)({"f": 0.1})


# ---------------------------------------------------------------------------------- time


def when(text: str, **rule: str) -> datetime | str:
    definition = TimeRule.model_validate({"value": "at", "timezone": "in value", **rule})
    try:
        instant, month = compile_time(definition, NONE, date(2000, 1, 1))({"at": text}, LATEST)
    except NotMapped as refused:
        return refused.fault.reason
    assert month.day == 1
    return instant


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


BERLIN, SAP = (
    {"timezone": "Europe/Berlin"},
    {"format": "%Y%m%d %H%M%S", "timezone": "Europe/Berlin"},
)
ODATA, MILLI, SECONDS = {"format": "odata"}, {"format": "epoch_ms"}, {"format": "epoch_s"}
TIMES: list[tuple[str, dict[str, str], str]] = [
    ("2026-01-30T17:02:00+01:00", {}, "2026-01-30T16:02:00"),
    ("2026-01-30T17:02:00.123456-05:30", {}, "2026-01-30T22:32:00.123456"),
    ("2026-01-30 17:02Z", {}, "2026-01-30T17:02:00"),
    ("2026-01-30T17:02:00", {}, "NO_TIMEZONE"),
    ("2026-01-30", {}, "NO_TIMEZONE"),
    ("2026-01-30T17:02:00+01:00", BERLIN, "UNEXPECTED_OFFSET"),
    ("2026-01-30T17:02:00", BERLIN, "2026-01-30T16:02:00"),
    ("2025-07-30T17:02:00", BERLIN, "2025-07-30T15:02:00"),
    ("2026-01-30T17:02:00", {"timezone": "Asia/Tokyo"}, "2026-01-30T08:02:00"),
    ("2025-03-30T02:30:00", {"timezone": "Asia/Tokyo"}, "2025-03-29T17:30:00"),
    # the clocks go forward: 02:00 to 03:00 does not exist, whatever `ambiguous` says
    ("2025-03-30T01:59:59", BERLIN, "2025-03-30T00:59:59"),
    ("2025-03-30T02:00:00", BERLIN, "IMPOSSIBLE_TIME"),
    ("2025-03-30T02:30:00", {**BERLIN, "ambiguous": "later"}, "IMPOSSIBLE_TIME"),
    ("2025-03-30T03:00:00", BERLIN, "2025-03-30T01:00:00"),
    # the clocks go back: 02:00 to 03:00 happens twice
    ("2025-10-26T01:59:59", BERLIN, "2025-10-25T23:59:59"),
    ("2025-10-26T02:30:00", BERLIN, "AMBIGUOUS_TIME"),
    ("2025-10-26T02:30:00", {**BERLIN, "ambiguous": "earlier"}, "2025-10-26T00:30:00"),
    ("2025-10-26T02:30:00", {**BERLIN, "ambiguous": "later"}, "2025-10-26T01:30:00"),
    ("2025-10-26T03:00:00", BERLIN, "2025-10-26T02:00:00"),
    ("20260130 170200", SAP, "2026-01-30T16:02:00"),
    ("20260230 170200", SAP, "IMPOSSIBLE_TIME"),
    ("00000000 000000", SAP, "IMPOSSIBLE_TIME"),
    ("20260130T170200", SAP, "IMPOSSIBLE_TIME"),
    ("20260130 90200", SAP, "IMPOSSIBLE_TIME"),
    ("30.01.2026 17:02", {"format": "%d.%m.%Y %H:%M", **BERLIN}, "2026-01-30T16:02:00"),
    ("30/Jan/2026:17:02:00 +0100", {"format": "%d/%b/%Y:%H:%M:%S %z"}, "2026-01-30T16:02:00"),
    ("\uff130.01.2026 17:02", {"format": "%d.%m.%Y %H:%M", **BERLIN}, "IMPOSSIBLE_TIME"),
    ("/Date(1769788920000)/", ODATA, "2026-01-30T16:02:00"),
    ("/Date(1769788920000+0060)/", ODATA, "2026-01-30T16:02:00"),
    ("Date(1769788920000)", ODATA, "IMPOSSIBLE_TIME"),
    ("/Date(999999999999999)/", ODATA, "IMPOSSIBLE_TIME"),
    ("1769788920", SECONDS, "2026-01-30T16:02:00"),
    ("1769788920.5", SECONDS, "IMPOSSIBLE_TIME"),
    ("1_769_788_920", SECONDS, "IMPOSSIBLE_TIME"),
    ("1769788920001", MILLI, "2026-01-30T16:02:00.001"),
    ("9" * 5000, MILLI, "IMPOSSIBLE_TIME"),
    ("", MILLI, "NO_TIME"),
    ("1999-12-31T23:59:59Z", {}, "TOO_EARLY"),
    ("1900-01-01T00:00:00", BERLIN, "TOO_EARLY"),
    ("0001-01-01T00:00:00+14:00", {}, "TOO_EARLY"),
    ("9999-12-31T23:59:59-14:00", {}, "IMPOSSIBLE_TIME"),
    ("9999-12-31T23:59:59", {"timezone": "America/New_York"}, "IMPOSSIBLE_TIME"),
    ("9999-12-31T00:00:00Z", {}, "IN_THE_FUTURE"),
    ("2026-02-07T00:00:01Z", {}, "IN_THE_FUTURE"),
    ("2026-02-07T01:00:00+01:00", {}, "2026-02-07T00:00:00"),
]


@pytest.mark.parametrize(("text", "rule", "expected"), TIMES)
def test_a_time_is_an_instant_or_a_fault(text: str, rule: dict[str, str], expected: str) -> None:
    found = when(text, **rule)
    assert found == (utc(expected) if expected[0].isdigit() else expected)


@given(st.text(), st.sampled_from(["iso", "odata", "epoch_s", "epoch_ms"]))
def test_any_text_is_a_time_or_a_fault(text: str, form: str) -> None:
    found = when(text, format=form)
    assert isinstance(found, str) or found <= LATEST


@given(st.datetimes(datetime(2000, 1, 2), datetime(2026, 2, 1)))  # noqa: DTZ001 -- local times
def test_a_local_time_is_found_again_in_its_zone(local: datetime) -> None:
    local = local.replace(microsecond=0)
    found = when(local.strftime("%Y%m%d %H%M%S"), **SAP)
    if not isinstance(found, str):
        assert found.astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None) == local


# ---------------------------------------------------------------------------------- money


POINT: dict[str, object] = {"decimal": "."}
COMMA: dict[str, object] = {"decimal": ","}
IMPLIED: dict[str, object] = {"implied_decimals": 2}


@pytest.mark.parametrize(
    ("text", "rule", "minor"),
    [
        ("1250.00", POINT, 125_000),
        ("1,250.00", POINT, 125_000),
        ("1 250.00", POINT, 125_000),
        ("1\u202f250.00", POINT, 125_000),
        ("1'250.00", POINT, 125_000),
        ("12,345,678.90", POINT, 1_234_567_890),
        ("1,25", POINT, "NOT_MONEY"),
        ("1.250,00", POINT, "NOT_MONEY"),
        ("1,25,000.00", POINT, "NOT_MONEY"),
        ("1,250 000.00", POINT, "NOT_MONEY"),
        ("1250,000.00", POINT, "NOT_MONEY"),
        ("1.250,00", COMMA, 125_000),
        ("1.250", COMMA, 125_000),
        ("1250,5", COMMA, 125_050),
        ("1,250.00", COMMA, "NOT_MONEY"),
        ("1.25", COMMA, "NOT_MONEY"),
        ("1250.00", COMMA, "NOT_MONEY"),
        ("125000", IMPLIED, 125_000),
        ("-5", IMPLIED, -5),
        ("12.5", IMPLIED, "NOT_MONEY"),
        ("1_0", IMPLIED, "NOT_MONEY"),
        ("1e400", IMPLIED, "NOT_MONEY"),
        ("12.00-", POINT, -1200),
        ("1.250,00-", COMMA, -125_000),
        ("12.00 -", POINT, -1200),
        ("-12.00-", POINT, "NOT_MONEY"),
        ("-", POINT, "NOT_MONEY"),
        ("(12.00)", POINT, "NOT_MONEY"),
        ("12.001", POINT, "NOT_MONEY"),
        ("12.001", {"round": "half_up"}, 1200),
        (Decimal("12.5"), POINT, 1250),
        (12, POINT, 1200),
        ("", POINT, None),
        ("\uff11\uff12", POINT, "NOT_MONEY"),
        (Decimal("NaN"), {"round": "down"}, "NOT_MONEY"),
        ("12", {"currency": "c", "c": "JPY"}, 12),
        ("12.5", {"currency": "c", "c": "JPY"}, "NOT_MONEY"),
        ("12", {"currency": "c"}, "NO_CURRENCY"),
        ("12", {"currency": "c", "c": "eur"}, "NOT_MONEY"),
        ("12", {"negative_when": [{"value": "s", "is": ["DBIT"]}], "s": "DBIT"}, -1200),
        ("12", {"negative_when": [{"value": "s", "is": ["DBIT"]}], "s": "CRDT"}, 1200),
        ("12-", {"negative_when": [{"value": "s", "is": ["DBIT"]}], "s": "DBIT"}, 1200),
    ],
)
def test_an_amount_is_taken_exactly_or_quarantined(
    text: object, rule: dict[str, object], minor: int | str | None
) -> None:
    given = {key: value for key, value in rule.items() if key not in ("c", "s")}
    definition = MoneyRule.model_validate({"value": "v", "currency": "=EUR", **given})
    money = compile_money(definition, NONE)
    assert money is not None
    body = {"v": text, "c": rule.get("c"), "s": rule.get("s")}
    if isinstance(minor, str):
        with pytest.raises(NotMapped) as caught:
            money(body)
        assert caught.value.fault.reason == minor
    else:
        assert money(body)[0] == minor


def test_the_sentence_names_the_decimal_mark() -> None:
    money = compile_money(MoneyRule(value="v", currency="=EUR"), NONE)
    assert money is not None
    with pytest.raises(NotMapped, match=r"'1,25' is no number with the decimal mark '\.'"):
        money({"v": "1,25"})
