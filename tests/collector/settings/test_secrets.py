"""Secrets stand in no file, in no message and in nothing that is stored."""

import json
from pathlib import Path

import pytest

from collector.errors import Misconfigured
from collector.settings.secrets import resolve
from tests.collector.settings.house import FILES, TIEOUT, look, said

SECRET = "hunter2-of-the-house"  # noqa: S105 -- nobody's


def with_section(text: str) -> dict[str, str]:
    return {**FILES, "tieout.yaml": TIEOUT.replace("tieout: 1\n", f"tieout: 1\n{text}\n", 1)}


def with_option(text: str) -> dict[str, str]:
    return {**FILES, "tieout.yaml": TIEOUT.replace("format: csv", text, 1)}


@pytest.mark.parametrize(
    ("section", "where"),
    [
        (f"api: {{keys: [{SECRET}]}}", "tieout.yaml:2:14: api.keys.0:"),
        ("api: {keys: [12345]}", "tieout.yaml:2:14: api.keys.0:"),
        (f"api: {{keys: {SECRET}}}", "tieout.yaml:2:7: api.keys:"),
        (f"telemetry: {{headers: {{k: {SECRET}}}}}", "tieout.yaml:2:23: telemetry.headers.k:"),
        (f'telemetry: {{headers: {{k: "${{env:HOME}}{SECRET}"}}}}', "tieout.yaml:2:23: "),
        (f"store: {{dsn: 'postgresql://a:{SECRET}@h/d'}}", "tieout.yaml:2:9: store.dsn:"),
        (f"store: {{dsn: 'host=h password={SECRET}'}}", "tieout.yaml:2:9: store.dsn:"),
        (f"telemetry: {{otlp_endpoint: 'http://a:{SECRET}@h'}}", "tieout.yaml:2:13: "),
    ],
)
def test_a_secret_in_clear_is_refused_and_not_repeated(
    tmp_path: Path, section: str, where: str
) -> None:
    problems = said(tmp_path, with_section(section))
    assert problems[0].startswith(where)
    assert any("a secret stands in the file" in problem for problem in problems)
    assert SECRET not in " ".join(problems)


def test_an_option_that_is_named_like_a_secret_is_one(tmp_path: Path) -> None:
    problems = said(tmp_path, with_option(f"token: {SECRET}"))
    assert any("a secret stands in the file" in problem for problem in problems)
    assert SECRET not in " ".join(problems)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("api: {keys: ['${env:TIEOUT_NOT_SET}']}", "TIEOUT_NOT_SET is not set"),
        ("api: {keys: ['${env:TIEOUT_EMPTY}']}", "TIEOUT_EMPTY is empty"),
        ("api: {keys: ['${file:no.key}']}", "no.key cannot be read"),
        ("api: {keys: ['${file:bad.key}']}", "bad.key cannot be read (it is no UTF-8 text)"),
        ("api: {keys: ['${file:empty.key}']}", "empty.key is empty"),
        ("api: {keys: ['${HOME}']}", "a reference is not complete"),
        ("api: {host: '${env:HOST}'}", "a reference is not replaced here"),
    ],
)
def test_a_reference_that_leads_nowhere_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, words: str
) -> None:
    monkeypatch.setenv("TIEOUT_EMPTY", "")
    (tmp_path / "bad.key").write_bytes(b"\xff")
    (tmp_path / "empty.key").write_text("\n")
    (problem,) = said(tmp_path, with_section(section))
    assert words in problem
    assert problem.startswith("tieout.yaml:2:")


def test_references_are_resolved_and_what_is_stored_holds_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIEOUT_KEY", SECRET)
    (tmp_path / "db.key").write_text(f"{SECRET}\n")
    section = (
        "api: {keys: ['${env:TIEOUT_KEY}']}\n"
        "telemetry: {headers: {authorization: 'Bearer ${env:TIEOUT_KEY}'}}\n"
        "store: {dsn: 'postgresql://a:${file:db.key}@h/d'}"
    )
    configuration, problems = look(tmp_path, with_section(section))
    assert problems == []
    assert configuration is not None
    assert resolve("a:${file:db.key}@h", tmp_path) == f"a:{SECRET}@h"
    stored = json.dumps(configuration.document())
    assert SECRET not in stored
    assert not {"api", "telemetry", "store"} & set(configuration.document())


def test_what_is_stored_does_not_change_with_a_secret(tmp_path: Path) -> None:
    plain, _ = look(tmp_path, FILES)
    with_dsn, _ = look(tmp_path, with_section("store: {dsn: 'postgresql://a@h/d'}"))
    assert plain is not None
    assert with_dsn is not None
    assert plain.hash() == with_dsn.hash()


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="TIEOUT_NOT_SET is not set"):
        resolve("${env:TIEOUT_NOT_SET}", tmp_path)
