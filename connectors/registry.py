"""The connectors there are: one line each, sorted by name."""

from typing import Final

from collector.connector import Spec
from connectors.files import connector as files
from connectors.sap_cloud_integration import connector as sap_cloud_integration

CONNECTORS: Final[dict[str, Spec]] = {
    "files": files.SPEC,
    "sap_cloud_integration": sap_cloud_integration.SPEC,
}
