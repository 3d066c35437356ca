"""The connectors there are: one line each, sorted by name."""

from typing import Final

from collector.connector import Spec
from connectors.files import connector as files

CONNECTORS: Final[dict[str, Spec]] = {
    "files": files.SPEC,
}
