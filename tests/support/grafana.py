"""A double of Grafana on loopback, as far as provisioning asks.

Behaves as the documentation of the HTTP API says (paths, statuses 401, 403, 404, 409, 412 with `status`,
version numbers, `secureJsonFields`) and, where that is silent, as Grafana's source code does: 409 where a
data source changed meanwhile, 403 where it is read-only, versions as a list up to Grafana 10 and as
`{"versions": ...}` later. Not verified against a running Grafana by this repository; the tests that
use it also run against one where TIEOUT_TEST_GRAFANA_URL names it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from typing_extensions import override

ADMIN, EDITOR, VIEWER = "admin-token", "editor-token", "viewer-token"
ROLES = {ADMIN: "Admin", EDITOR: "Editor", VIEWER: "Viewer"}
FOLDERS, SOURCES, BOARDS = "/api/folders", "/api/datasources", "/api/dashboards"

Answer = tuple[int, Any]


@dataclass
class State:
    """What the double holds."""

    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    boards: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    old: bool = False
    """Whether it answers as Grafana 10 did."""

    def answer(self, method: str, path: str, role: str | None, body: dict[str, Any]) -> Answer:
        """Answer one request."""
        if path == "/api/health":
            return 200, {"database": "ok", "version": "11.6.0"}
        if role is None:
            return 401, {"message": "Invalid API key"}
        writes = method != "GET"
        if (role == "Viewer" and writes) or (role == "Editor" and path.startswith(SOURCES)):
            return 403, {"message": "You'll need additional permissions to perform this action"}
        for prefix, ask in (
            (FOLDERS, self._folder),
            (SOURCES, self._source),
            (BOARDS, self._board),
        ):
            if path.startswith(prefix):
                return ask(method, path.removeprefix(prefix).strip("/"), body)
        return 404, {"message": "Not found"}

    def _folder(self, method: str, rest: str, body: dict[str, Any]) -> Answer:
        if method == "POST":
            if body["uid"] in self.folders:
                return 409, {"message": "a folder with the same uid already exists"}
            self.folders[body["uid"]] = {"id": len(self.folders) + 1, "version": 1, **body}
            return 200, self.folders[body["uid"]]
        found = self.folders.get(rest)
        if found is None:
            return 404, {"message": "folder not found", "status": "not-found"}
        if method == "PUT":
            found.update(title=body["title"], version=found["version"] + 1)
        if method == "DELETE":
            del self.folders[rest]
        return 200, found

    def _source(self, method: str, rest: str, body: dict[str, Any]) -> Answer:
        if method == "POST":
            if body["name"] in {source["name"] for source in self.sources.values()}:
                return 409, {"message": "data source with the same name already exists"}
            return 200, {"datasource": self._keep(body["uid"], body, 1)}
        uid = rest.removeprefix("uid/")
        found = self.sources.get(uid)
        if found is None:
            return 404, {"message": "Data source not found"}
        if method == "PUT":
            return self._change(found, body)
        return 200, self.sources.pop(uid) if method == "DELETE" else found

    def _change(self, found: dict[str, Any], body: dict[str, Any]) -> Answer:
        if found["readOnly"]:
            return 403, {"message": "Cannot update read-only data source"}
        if body.get("version", found["version"]) != found["version"]:
            return 409, {"message": "Datasource has already been updated by someone else."}
        return 200, {"datasource": self._keep(found["uid"], body, found["version"] + 1)}

    def _keep(self, uid: str, body: dict[str, Any], version: int) -> dict[str, Any]:
        secrets = self.secrets.setdefault(uid, {})
        secrets.update(body.get("secureJsonData", {}))
        told = {"id": 1, "orgId": 1, "basicAuth": False, "isDefault": False, "readOnly": False}
        kept = {k: v for k, v in body.items() if k != "secureJsonData"}
        kept |= {"version": version, "secureJsonFields": dict.fromkeys(secrets, True)}
        self.sources[uid] = {**told, **kept}
        return self.sources[uid]

    def _board(self, method: str, rest: str, body: dict[str, Any]) -> Answer:
        if method == "POST":
            return self._save(body)
        uid = rest.split("/")[1]
        found = self.boards.get(uid)
        if found is None:
            return 404, {"message": "Dashboard not found"}
        if method == "DELETE":
            del self.boards[uid], self.versions[uid]
        if rest.endswith("/versions"):
            told = list(reversed(self.versions[uid]))
            return 200, told if self.old else {"continueToken": "", "versions": told}
        return 200, found

    def _save(self, body: dict[str, Any]) -> Answer:
        board, folder = dict(body["dashboard"]), body.get("folderUid", "")
        if folder and folder not in self.folders:
            return 400, {"message": "folder not found"}
        found = self.boards.get(board["uid"])
        if found and not body.get("overwrite"):
            there = found["dashboard"]["version"]
            if board.get("version") != there:
                return 412, {
                    "message": "The dashboard has been changed by someone else",
                    "status": "version-mismatch",
                }
        board["version"] = found["dashboard"]["version"] + 1 if found else 1
        board["id"] = 1
        meta = {"folderUid": folder, "version": board["version"], "provisioned": False}
        self.boards[board["uid"]] = {"dashboard": board, "meta": meta}
        history = self.versions.setdefault(board["uid"], [])
        said = {"message": body.get("message", ""), "createdBy": "somebody"}
        history.append({"version": board["version"], **said})
        return 200, {"uid": board["uid"], "status": "success", "version": board["version"]}


@contextmanager
def grafana_double(state: State, prefix: str = "") -> Iterator[str]:
    """Serve the double; give its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            sent = self.rfile.read(size)
            path = self.path.partition("?")[0]
            state.requests.append(f"{self.command} {path}")
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            json_sent = self.headers.get("Content-Type") == "application/json"
            body = json.loads(sent) if json_sent and sent else {}
            status, document = 404, {"message": "Not found"}
            if path.startswith(prefix):
                rest = path.removeprefix(prefix)
                status, document = state.answer(self.command, rest, ROLES.get(token), body)
            text = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 -- the names that http.server asks for

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
