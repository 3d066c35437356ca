"""Secrets stand in no file, in no message and in nothing that is stored."""

import json
from pathlib import Path
from typing import Any

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


SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def with_alerts(destination: str) -> dict[str, str]:
    return with_section(f"alerts: {{cases: {{{destination}}}}}")


@pytest.mark.parametrize(
    ("destination", "words"),
    [
        (f"to: webhook, url: 'https://c.test/x', secret: {SIGNING}", "a secret stands in the file"),
        ("to: webhook, url: 'https://c.test/x', secret: '${file:no}'", "no cannot be read"),
        (
            "to: webhook, url: 'https://c.test/x', secret: '${file:short}'",
            "is no secret for signing",
        ),
        (
            "to: webhook, url: 'https://c.test/x', secret: '${file:plain}'",
            "is no secret for signing",
        ),
        (
            f"to: webhook, url: 'https://c.test/x', secret: '${{file:hook}}', old_secret: {SIGNING}",
            "a secret stands in the file",
        ),
        (
            "to: webhook, url: 'https://c.test/x', secret: '${file:hook}', old_secret: '${file:short}'",
            "old_secret: is no secret for signing",
        ),
        ("to: webhook, url: 'http://c.test/x', secret: '${file:hook}'", "is not encrypted"),
        ("to: webhook, url: '${file:plain}', secret: '${file:hook}'", "url: is no address"),
        (
            f"to: webhook, url: 'https://u:{SECRET}@c.test', secret: '${{file:hook}}'",
            "a secret stands",
        ),
        (
            f"to: alertmanager, url: 'http://p', headers: {{Authorization: {SECRET}}}",
            "a secret stands",
        ),
        (
            "to: alertmanager, url: 'http://p', headers: {Authorization: '${env:NO_SUCH}'}",
            "is not set",
        ),
        ("to: alertmanager, url: 'http://p', headers: {A: '${file:umlaut}'}", "printable ASCII"),
        ("to: alertmanager, url: 'ftp://p'", "url: is no address"),
        ("to: alertmanager, url: 'http://p:port'", "url: is no address"),
    ],
)
def test_what_is_wrong_with_a_destination_is_said_without_its_secrets(
    tmp_path: Path, destination: str, words: str
) -> None:
    (tmp_path / "hook").write_text(f"{SIGNING}\n")
    (tmp_path / "plain").write_text(SECRET)
    (tmp_path / "short").write_text("whsec_MfKQ9r8GKYqr")
    (tmp_path / "umlaut").write_text("schlüssel")
    problems = said(tmp_path, with_alerts(destination))
    assert any(words in problem for problem in problems)
    assert all(problem.startswith("tieout.yaml:2:") for problem in problems)
    assert not any(secret in " ".join(problems) for secret in (SECRET, SIGNING, "schlüssel"))


@pytest.mark.parametrize(
    "destination",
    [
        "to: webhook, url: 'https://c.test/x', secret: '${file:hook}'",
        "to: webhook, url: 'http://127.0.0.1:8000/x', secret: '${file:hook}'",
        "to: webhook, url: 'https://c.test/x', secret: '${file:hook}', old_secret: '${file:hook}'",
        "to: webhook, url: '${file:address}', secret: '${file:hook}'",
        "to: alertmanager, url: 'http://p:9093/path', headers: {Authorization: 'Bearer ${file:hook}'}",
    ],
)
def test_a_destination_that_is_right_is_stored_nowhere(tmp_path: Path, destination: str) -> None:
    (tmp_path / "hook").write_text(f"{SIGNING}\n")
    (tmp_path / "address").write_text("https://c.test/token\n")
    configuration, problems = look(tmp_path, with_alerts(destination))
    assert problems == []
    assert configuration is not None
    assert "alerts" not in configuration.document()
    assert SIGNING not in repr(configuration.settings)


CPI = """\
    connector: sap_cloud_integration
    system: erp
    streams:
      claims:
        read:
          base_url: https://cpi.test/api/v1
          token_url: https://login.test/oauth/token
          client_id: "${env:CPI_CLIENT_ID}"
          client_secret: "${file:cpi.secret}"
        mapping: claims.yaml
"""


def with_cpi(old: str = "", new: str = "") -> dict[str, str]:
    before, _, rest = TIEOUT.partition("    connector: files\n")
    return {**FILES, "tieout.yaml": before + CPI.replace(old, new) + rest[rest.index("flows:") :]}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CPI_CLIENT_ID", "me")
    (tmp_path / "cpi.secret").write_text(f"{SECRET}\n")
    return tmp_path


def test_references_under_read_reach_the_connector_and_nothing_that_is_stored(kept: Path) -> None:
    configuration, problems = look(kept, with_cpi())
    assert problems == []
    assert configuration is not None
    options: Any = configuration.options["erp", "claims"]
    assert (options.client_id, options.client_secret.get_secret_value()) == ("me", SECRET)
    assert SECRET not in repr(options)
    assert SECRET not in json.dumps(configuration.document())
    assert "${file:cpi.secret}" in json.dumps(configuration.document())


def test_a_reference_in_a_path_of_files_is_replaced(kept: Path) -> None:
    configuration, problems = look(kept, with_option('encoding: "${env:CPI_CLIENT_ID}"'))
    assert configuration is None
    assert [(p.key, p.what) for p in problems] == [
        ("sources.erp.streams.claims.read.encoding", "has the wrong form")
    ]
    (kept / "name").write_text("claims-2026.csv")
    files = {**FILES, "tieout.yaml": TIEOUT.replace("path: claims.csv", 'path: "${file:name}"')}
    configuration, problems = look(kept, files)
    assert configuration is not None
    options: Any = configuration.options["erp", "claims"]
    assert options.path == "claims-2026.csv"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("${file:cpi.secret}", SECRET, "client_secret: a secret stands in the file"),
        ("${env:CPI_CLIENT_ID}", "${env:CPI_NOT_SET}", "CPI_NOT_SET is not set"),
        ("https://cpi.test/api/v1", "${env:CPI_NOT_SET}", "CPI_NOT_SET is not set"),
        ("https://cpi.test/api/v1", "http://cpi.test/api", "base_url: is not encrypted"),
        ("https://cpi.test/api/v1", "${file:cpi.secret}", "base_url: has the wrong form"),
        ("https://cpi.test/api/v1", "cpi.test", "base_url: is no address"),
        ("https://cpi.test/api/v1", "https://u:p@cpi.test/", "a secret stands in the file"),
        ("base_url", "bas_url", "Did you mean 'base_url'?"),
        ("client_id:", "start: 2026-01-01T00:00:00\n          client_id:", "has no offset"),
        ("client_id:", "overlap_minutes: 5\n          client_id:", "overlap_minutes: "),
    ],
)
def test_a_mistake_under_read_is_named_once_and_no_secret_with_it(
    kept: Path, old: str, new: str, words: str
) -> None:
    (problem,) = said(kept, with_cpi(old, new))
    assert words in problem
    assert problem.startswith("tieout.yaml:1")
    assert SECRET not in problem


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="TIEOUT_NOT_SET is not set"):
        resolve("${env:TIEOUT_NOT_SET}", tmp_path)
