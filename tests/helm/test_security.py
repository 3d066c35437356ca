"""Every pod of every rendering keeps to the Pod Security Standard "restricted", and to more."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helm.rendering import IDS, PODS, containers

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SECCOMP = {"RuntimeDefault", "Localhost"}


def violations(spec: dict[str, Any]) -> Iterator[str]:
    """Say what the standard refuses, and what we ask for beyond it."""
    for flag in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(flag):
            yield flag
    for volume in spec.get("volumes", []):
        if volume.keys() - {"name"} - VOLUMES:
            yield f"volume {volume['name']}"
    if spec.get("automountServiceAccountToken") is not False:
        yield "a token is mounted"
    pod = spec.get("securityContext", {})
    for container in containers(spec):
        for found in container_violations(container, {**pod, **container["securityContext"]}):
            yield f"{container['name']}: {found}"


def container_violations(container: dict[str, Any], context: dict[str, Any]) -> Iterator[str]:
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") not in SECCOMP:
        yield "seccomp"
    if context.get("privileged") or context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    capabilities = context.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        yield "capabilities"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its image"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "host port"
    resources = container.get("resources", {})
    if not resources.get("requests") or "memory" not in resources.get("limits", {}):
        yield "resources without bounds"


@pytest.mark.parametrize(("case", "name", "spec"), PODS, ids=IDS)
def test_a_pod_is_restricted(case: str, name: str, spec: dict[str, Any]) -> None:
    assert list(violations(spec)) == []


def test_there_are_pods_to_look_at() -> None:
    assert {name for _, name, _ in PODS} == {
        "api-deployment.yaml",
        "collector-deployment.yaml",
        "migration-job.yaml",
    }


def _context(spec: dict[str, Any]) -> dict[str, Any]:
    context: dict[str, Any] = spec["containers"][0]["securityContext"]
    return context


BREAKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "hostNetwork": lambda s: s.update(hostNetwork=True),
    "volume": lambda s: s["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    "token": lambda s: s.pop("automountServiceAccountToken"),
    "root": lambda s: s["securityContext"].pop("runAsNonRoot"),
    "as root": lambda s: _context(s).update(runAsUser=0),
    "seccomp": lambda s: s["securityContext"].pop("seccompProfile"),
    "gain privileges": lambda s: _context(s).pop("allowPrivilegeEscalation"),
    "privileges": lambda s: _context(s).update(privileged=True),
    "capabilities": lambda s: _context(s).pop("capabilities"),
    "write": lambda s: _context(s).update(readOnlyRootFilesystem=False),
    "resources": lambda s: s["containers"][0].pop("resources"),
    "host port": lambda s: s["containers"][0]["ports"][0].update(hostPort=80),
    "may run as root": lambda s: s.update(
        initContainers=[{**s["containers"][0], "securityContext": {"runAsNonRoot": False}}]
    ),
}


@pytest.mark.parametrize("said", BREAKS)
def test_what_is_not_restricted_is_noticed(said: str) -> None:
    (spec,) = [spec for case, name, spec in PODS if (case, name[:3]) == ("everything", "api")]
    broken = copy.deepcopy(spec)
    BREAKS[said](broken)
    assert any(said in violation for violation in violations(broken))
