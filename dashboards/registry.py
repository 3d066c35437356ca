"""The boards there are: one line each, sorted by name."""

from collections.abc import Callable
from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.boards import operations

BOARDS: Final[dict[str, Callable[[], Dashboard]]] = {
    "operations": operations.build,
}
