"""What Grafana should hold, and the steps that lead there: the plan comes first, then it is carried out.

A dashboard is saved with its fingerprint as the message of that version. Where the last version bears
another message, somebody saved the dashboard by hand, and it is left alone unless told otherwise. What
people moved or renamed stays where it is. A password cannot be read back: it is sent with each change.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from importlib import resources
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from collector.errors import Misconfigured

FOLDER_UID, FOLDER_TITLE = "tieout", "Tieout"
POSTGRES_PORT = 5432
SSL_MODES = ("disable", "require", "verify-ca", "verify-full")
"""What Grafana knows of libpq's."""
SSL_MODE = "require"
POSTGRES_VERSION = 1500
"""The oldest that Tieout works with, as Grafana writes it."""

Document = dict[str, Any]


class Reading(Protocol):
    """What a plan asks Grafana: each None where there is no such thing."""

    def folder(self, uid: str) -> Document | None:
        """Return a folder."""

    def data_source(self, uid: str) -> Document | None:
        """Return a data source."""

    def dashboard(self, uid: str) -> Document | None:
        """Return a dashboard with its `meta`."""

    def last_version(self, uid: str) -> Document:
        """Return the last saved version of a dashboard: its number, message and author."""


class Source(NamedTuple):
    """A data source as it should be, and the boards' variable that chooses it."""

    variable: str
    body: Document


class Step(NamedTuple):
    """One thing in Grafana, what is to be done about it, and what would be sent for that."""

    kind: Literal["folder", "data source", "dashboard"]
    uid: str
    title: str
    action: Literal["create", "update", "unchanged", "blocked"]
    detail: str
    body: Document


def prometheus(url: str) -> Source:
    """Describe the Prometheus at a URL, as Grafana reaches it."""
    body = {"uid": "tieout-prometheus", "name": "Tieout metrics", "type": "prometheus", "url": url}
    return Source("prometheus", {**body, "access": "proxy", "jsonData": {}})


def postgres(dsn: str) -> Source:
    """Describe the store behind the DSN of a reader, as Grafana reaches it.

    Raises:
        Misconfigured: it lacks host, user or database, or its sslmode is none of Grafana's.
    """
    try:
        parts = urlsplit(dsn)
        host, port = parts.hostname, parts.port or POSTGRES_PORT
    except ValueError:
        raise Misconfigured(_WRONG_DSN) from None
    database = unquote(parts.path.lstrip("/"))
    mode = parse_qs(parts.query).get("sslmode", [SSL_MODE])[0]
    if not (host and parts.username and database):
        raise Misconfigured(_WRONG_DSN)
    if mode not in SSL_MODES:
        raise Misconfigured(
            f"sslmode={mode} of the DSN: Grafana knows {', '.join(SSL_MODES)} only."
        )
    body = {
        "uid": "tieout-postgres",
        "name": "Tieout store",
        "type": "grafana-postgresql-datasource",
        "url": f"{host}:{port}",
        "access": "proxy",
        "user": unquote(parts.username),
        "jsonData": {"database": database, "sslmode": mode, "postgresVersion": POSTGRES_VERSION},
        "secureJsonData": {"password": unquote(parts.password or "")},
    }
    return Source("postgres", body)


_WRONG_DSN = "The reader's DSN should be like postgresql://user:password@host:5432/database."


def boards(sources: Iterable[Source]) -> Iterator[Document]:
    """Return the boards' JSON; their variables choose the data sources that are given."""
    chosen = {source.variable: source.body for source in sources}
    folder = resources.files("dashboards") / "boards"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            board: Document = json.loads(file.read_text(encoding="utf-8"))
            for variable in board["templating"]["list"]:
                body = chosen.get(variable["name"])
                if variable["type"] == "datasource" and body is not None:
                    variable["current"] = {"text": body["name"], "value": body["uid"]}
            yield board


def plan(grafana: Reading, sources: Iterable[Source], *, overwrite: bool = False) -> list[Step]:
    """Compare what Grafana holds with what it should hold; with `overwrite` hand edits give way."""
    wanted = list(sources)
    return [
        _folder(grafana.folder(FOLDER_UID)),
        *(_data_source(grafana.data_source(s.body["uid"]), s.body) for s in wanted),
        *(_dashboard(grafana, board, overwrite=overwrite) for board in boards(wanted)),
    ]


def _folder(found: Document | None) -> Step:
    title = found["title"] if found else FOLDER_TITLE
    return Step("folder", FOLDER_UID, title, "unchanged" if found else "create", "", {})


def _data_source(found: Document | None, wanted: Document) -> Step:
    def step(action: Literal["create", "update", "unchanged", "blocked"], detail: str = "") -> Step:
        return Step("data source", wanted["uid"], wanted["name"], action, detail, body)

    body = wanted
    if found is None:
        return step("create")
    changes = sorted(_changes(found, wanted))
    body = {**found, **wanted, "jsonData": {**(found.get("jsonData") or {}), **wanted["jsonData"]}}
    if not changes:
        return step("unchanged")
    if found.get("readOnly"):
        return step("blocked", "comes from a file of Grafana's own provisioning: change it there")
    return step("update", ", ".join(changes))


def _changes(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for name, value in wanted.items():
        if name == "secureJsonData":
            there = found.get("secureJsonFields") or {}
            yield from (secret for secret in value if not there.get(secret))
        elif name == "jsonData":
            yield from _changes(found.get(name) or {}, value)
        elif found.get(name) != value:
            yield name


def _dashboard(grafana: Reading, board: Document, *, overwrite: bool) -> Step:
    def step(action: Literal["create", "update", "unchanged", "blocked"], detail: str = "") -> Step:
        body = {"dashboard": board, "folderUid": folder, "message": message, "overwrite": False}
        return Step("dashboard", board["uid"], board["title"], action, detail, body)

    folder, message = FOLDER_UID, f"tieout {fingerprint(board)}"
    found = grafana.dashboard(board["uid"])
    if found is None:
        return step("create")
    last = grafana.last_version(board["uid"])
    folder = found["meta"].get("folderUid", "")
    board = {**board, "version": last["version"]}  # so that Grafana refuses if it is no longer that
    if last["message"] == message:
        return step("unchanged")
    if found["meta"].get("provisioned"):
        return step("blocked", "comes from a file of Grafana's own provisioning: remove it there")
    if not (last["message"].startswith("tieout ") or overwrite):
        by = f" by {last['createdBy']}" if last.get("createdBy") else ""
        return step(
            "blocked",
            f"was saved by hand (version {last['version']}{by}): save it under another name if it is "
            "worth keeping, then say --overwrite",
        )
    return step("update")


def fingerprint(board: Document) -> str:
    """Return what tells one state of a board from another."""
    return sha256(json.dumps(board, sort_keys=True).encode()).hexdigest()[:16]
