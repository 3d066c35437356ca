"""The chart, rendered as Helm renders it, with several sets of values."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

from tests.api.till import CONFIGURATION

CHART = Path(__file__).parents[2] / "helm/tieout"
REQUIRED = {"database": {"existingSecret": "postgres"}, "api": {"existingSecret": "api-key"}}
OWN_SECTIONS = {"tieout", "store", "api"}
"""Sections of tieout.yaml that the chart writes."""
CONFIG = {k: v for k, v in yaml.safe_load(CONFIGURATION).items() if k not in OWN_SECTIONS}


def merged(first: Mapping[str, Any], *others: Mapping[str, Any]) -> dict[str, Any]:
    """Lay values over values, as Helm does."""
    found = dict(first)
    for other in others:
        for key, value in other.items():
            both = isinstance(value, dict) and isinstance(found.get(key), dict)
            found[key] = merged(found[key], value) if both else value
    return found


def documented(language: str) -> str:
    """Return the first block of a language in docs/kubernetes.md."""
    text = (CHART.parents[1] / "docs/kubernetes.md").read_text(encoding="utf-8")
    return text.split(f"```{language}\n", 1)[1].split("```", 1)[0]


CASES: dict[str, dict[str, Any]] = {
    "documented": yaml.safe_load(documented("yaml")),
    "least": REQUIRED,
    "ordinary": merged(REQUIRED, {"config": CONFIG}),
    "one pod": merged(REQUIRED, {"api": {"replicas": 1}}),
    "everything": merged(
        REQUIRED,
        {
            "image": {"repository": "images.example.com/tieout", "tag": "1", "pullSecrets": ["r"]},
            "database": {"dsnKey": "app", "migrationDsnKey": "owner"},
            "config": CONFIG,
            "secrets": ["sap", "123"],
            "api": {
                "keyKey": "first",
                "replicas": 3,
                "ingress": {
                    "enabled": True,
                    "className": "nginx",
                    "host": "tieout.example.com",
                    "tlsSecret": "tieout-tls",
                },
            },
            "collector": {"exportsClaim": "exports"},
            "networkPolicy": {"enabled": True},
            "serviceMonitor": {"enabled": True, "interval": "2m"},
        },
    ),
}


def rendered(values: Mapping[str, Any], name: str = "tieout") -> dict[str, str]:
    """Render with a chart loaded anew; the texts by their template's file name."""
    with Chart.load(CHART) as chart:
        texts = chart.render(dict(values), name=name, namespace="finance")
    return {Path(path).name: text for path, text in texts.items()}


@cache
def manifests(case: str) -> dict[str, dict[str, Any]]:
    """Return a case's manifests by file name; what is switched off is left out."""
    texts = rendered(CASES[case])
    loaded = {n: yaml.safe_load(text) for n, text in texts.items() if n.endswith(".yaml")}
    return {name: manifest for name, manifest in loaded.items() if manifest}


def pod_specs(node: object) -> Iterator[dict[str, Any]]:
    """Find every pod's specification, wherever it stands."""
    if isinstance(node, dict):
        if "containers" in node:
            yield node
        for inner in node.values():
            yield from pod_specs(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from pod_specs(inner)


PODS = [
    (case, name, spec)
    for case in CASES
    for name, manifest in manifests(case).items()
    for spec in pod_specs(manifest)
]
"""Every pod's specification of every rendering."""
IDS = [f"{case}: {name}" for case, name, _ in PODS]


def containers(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all containers of a pod, those that only begin it included."""
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [container for kind in kinds for container in spec.get(kind, [])]
