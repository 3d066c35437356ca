"""Every reason for which a record can be quarantined is in the list, and nothing else is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.settings.reasons import Reason, reasons

ROOT = Path(__file__).parents[3]
RAISED_BY = {"NotMapped": 0, "Fault": 0, "fault": 2}
"""What makes a fault, by name, and which of its arguments is the reason."""


def raised() -> Iterator[tuple[str, str]]:
    """Find (reason, where) of every fault that the code can make with a reason of its own."""
    for package in ("collector", "connectors"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield from _reason(node, f"{path.relative_to(ROOT)}:{node.lineno}")


def _reason(call: ast.Call, where: str) -> Iterator[tuple[str, str]]:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    at = RAISED_BY.get(name)
    if at is not None and len(call.args) > at:
        given = call.args[at]
        if isinstance(given, ast.Constant):
            yield str(given.value), where


def test_no_code_gives_a_reason_that_is_not_in_the_list() -> None:
    found = list(raised())
    assert len(found) > 30
    assert [f"{where}: {code}" for code, where in found if code not in reasons()] == []


def test_no_reason_is_listed_that_no_code_gives() -> None:
    assert set(reasons()) == {code for code, _ in raised()}


def test_a_reason_handed_on_is_the_only_one_not_written_out() -> None:
    """Else a reason could be made up at run time, and the two tests above would not see it."""
    handed_on = []
    for package in ("collector", "connectors"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                    at = RAISED_BY.get(name)
                    if at is not None and not isinstance(node.args[at], ast.Constant):
                        handed_on.append(f"{path.name}: {ast.unparse(node.args[at])}")
    assert handed_on == [
        "mapping.py: record.fault.reason",
        "values.py: reason",
        "quarantine.py: *fault",
        "parse.py: reason",
    ]


@pytest.mark.parametrize("code", sorted(reasons()))
def test_a_reason_says_what_it_means_who_mends_it_and_how(code: str) -> None:
    reason: Reason = reasons()[code]
    assert code.isupper()
    for sentence in (reason.means, reason.mend):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert 25 <= len(sentence) <= 140
    assert reason.who.split()[0] in {"owner", "whoever", "bank"}
