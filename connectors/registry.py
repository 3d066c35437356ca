"""The connectors there are: one line each, sorted by name."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

from typing_extensions import override

from collector.connector import Spec


class Registry(Mapping[str, Spec]):
    """Connectors by name; one that is not asked for is not loaded: no command waits for a client it has no use for."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules

    @override
    def __getitem__(self, name: str) -> Spec:
        spec: Spec = import_module(self._modules[name]).SPEC
        return spec

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    @override
    def __len__(self) -> int:
        return len(self._modules)


CONNECTORS: Final = Registry(
    {
        "files": "connectors.files.connector",
        "sap_cloud_integration": "connectors.sap_cloud_integration.connector",
    }
)
