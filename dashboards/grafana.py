"""The one place that speaks to Grafana, by grafana-client.

401           Misconfigured   the token
403           Misconfigured   the rights of its service account
409, 412      Refused         a name is taken, or somebody changed the thing meanwhile
other         Permanent       what Grafana says of it
none          NotConnected    no answer; Misconfigured: not Grafana's answer
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from grafana_client import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException

from collector.errors import Misconfigured, NotConnected, Permanent, Refused, TieoutError
from dashboards.provision import Document, Step

TIMEOUT_S = 10.0
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT, PRECONDITION = 401, 403, 404, 409, 412

T = TypeVar("T")


class Grafana:
    """A Grafana at a URL, asked with the token of a service account. Close it after use."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise Misconfigured(
                f"--url '{parts._replace(netloc=parts.netloc.rpartition('@')[2]).geturl()}' should be "
                "like https://grafana.example.com, without a login: the token is given by --token."
            )
        self._url = url
        path = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""
        whole = parts._replace(path=f"/{path}", query="", fragment="").geturl()
        self._api = GrafanaApi.from_url(whole, credential=token, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        """Make sure that this is a Grafana."""
        health = self._ask("tell its health", self._api.health.check)
        if not isinstance(health, dict) or "database" not in health:
            raise self._not_grafana()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._api.client.s.close()

    def folder(self, uid: str) -> Document | None:
        """Return a folder."""
        return self._find("read folders", self._api.folder.get_folder, uid)

    def data_source(self, uid: str) -> Document | None:
        """Return a data source."""
        return self._find("read data sources", self._api.datasource.get_datasource_by_uid, uid)

    def dashboard(self, uid: str) -> Document | None:
        """Return a dashboard with its `meta`."""
        return self._find("read dashboards", self._api.dashboard.get_dashboard, uid)

    def last_version(self, uid: str) -> Document:
        """Return the last saved version of a dashboard."""
        ask = self._api.dashboard_versions.get_dashboard_versions_by_uid
        found = self._ask("read the versions of dashboards", ask, uid)
        versions = (
            found["versions"] if isinstance(found, dict) else found
        )  # a list up to Grafana 10
        last: Document = max(versions, key=lambda version: int(version["version"]))
        return last

    def apply(self, step: Step) -> None:
        """Carry out one step of a plan."""
        uid, body = step.uid, step.body
        if step.kind == "folder":
            self._ask("create folders", self._api.folder.create_folder, step.title, uid)
        elif step.kind == "dashboard":
            self._ask("save dashboards", self._api.dashboard.update_dashboard, body)
        elif step.action == "create":
            self._ask("create data sources", self._api.datasource.create_datasource, body)
        else:
            update = self._api.datasource.update_datasource_by_uid
            self._ask("change data sources", update, uid, body)

    def _find(self, what: str, ask: Callable[[str], Document], uid: str) -> Document | None:
        try:
            return self._ask(what, ask, uid)
        except _NotFound:
            return None

    def _ask(self, what: str, ask: Callable[..., T], *words: Any) -> T:  # noqa: ANN401 -- whatever it takes
        try:
            return ask(*words)
        except GrafanaClientError as error:
            raise self._explained(what, error) from error
        except GrafanaException as error:
            raise NotConnected(f"{self._url} is not well: {error.message}. Try again.") from error
        except ValueError as error:
            raise self._not_grafana() from error
        except OSError as error:
            raise NotConnected(
                f"{self._url} cannot be reached. Check --url, and that this machine may go there.",
                detail=repr(error),
            ) from error

    def _explained(self, what: str, error: GrafanaClientError) -> TieoutError:
        said = error.response.get("message", "") if isinstance(error.response, dict) else ""
        if error.status_code == UNAUTHORIZED:
            return Misconfigured(
                "Grafana does not accept the token. Make one in Grafana (Administration, Service "
                "accounts, role Admin, Add token) and give it by --token."
            )
        if error.status_code == FORBIDDEN:
            return Misconfigured(
                f"The token may not {what}. Give its service account the role Admin: Editor is enough "
                "for folders and dashboards, not for data sources."
            )
        if error.status_code in {CONFLICT, PRECONDITION}:
            return Refused(
                f"Grafana would not {what}: {said or 'it was changed meanwhile'}. Where a name is taken, "
                "rename what bears it; where something was changed meanwhile, run this again."
            )
        kind = _NotFound if error.status_code == NOT_FOUND else Permanent
        return kind(f"Grafana would not {what}: {said or error.message} ({error.status_code}).")

    def _not_grafana(self) -> Misconfigured:
        return Misconfigured(
            f"{self._url} does not answer as Grafana does. --url is Grafana's own address, with its path "
            "where it has one."
        )


class _NotFound(Permanent):
    """There is no such thing."""
