"""The chart renders the same bytes each time, and what Kubernetes takes."""

import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from helm_python import lint

from api.auth import OPEN
from api.cli.root import cli
from api.routes import COLLECTOR_ROUTERS, ROUTERS
from tests.api.cli.test_help import parse
from tests.helm.rendering import (
    CASES,
    CHART,
    CONFIG,
    IDS,
    PODS,
    REQUIRED,
    containers,
    manifests,
    merged,
    rendered,
)

CHART_YAML = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((CHART.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
OLDEST, NEWEST = "1.25", kubernetes_validate.latest_version()
CUSTOM = {"ServiceMonitor"}
"""Kinds of which the Kubernetes schemas know nothing."""
INFORMATION = 1
TMP = "/tmp"  # noqa: S108 -- the only place that a pod may write to


@pytest.mark.parametrize("case", CASES)
def test_helm_finds_nothing_to_say(case: str) -> None:
    report = lint(CHART, CASES[case], strict=True, kube_version=f"v{OLDEST}.0")
    assert report["errors"] == []
    assert [m for m in report["messages"] if m["severity"] > INFORMATION] == []


@pytest.mark.parametrize("case", CASES)
def test_it_renders_the_same_bytes_twice(case: str) -> None:
    assert rendered(CASES[case]) == rendered(CASES[case])


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("case", CASES)
def test_kubernetes_takes_every_manifest(case: str, version: str) -> None:
    for name, manifest in manifests(case).items():
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)
        assert name.removesuffix(".yaml").split("-")[1] == manifest["kind"].lower(), name


def test_kubernetes_would_refuse_a_misspelt_key() -> None:
    manifest = merged(manifests("least")["api-deployment.yaml"], {"spec": {"replica": 1}})
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_what_is_optional_is_off_until_asked_for() -> None:
    optional = {
        "api-ingress.yaml",
        "api-poddisruptionbudget.yaml",
        "collector-servicemonitor.yaml",
        "common-networkpolicy.yaml",
    }
    assert optional & set(manifests("one pod")) == set()
    assert optional & set(manifests("documented")) == {"api-poddisruptionbudget.yaml"}
    assert optional & set(manifests("least")) == {"api-poddisruptionbudget.yaml"}
    assert set(manifests("everything")) == {p.name for p in CHART.glob("templates/*.yaml")}


def test_its_version_is_the_project_s_and_the_image_s() -> None:
    assert CHART_YAML["appVersion"] == CHART_YAML["version"] == PROJECT["project"]["version"]
    assert CHART_YAML["description"] == PROJECT["project"]["description"]
    for case, _, spec in PODS:
        (container,) = containers(spec)
        image = {
            "repository": "tieout",
            "tag": CHART_YAML["appVersion"],
            **CASES[case].get("image", {}),
        }
        assert container["image"] == f"{image['repository']}:{image['tag']}"


@pytest.mark.parametrize("case", CASES)
def test_services_and_budgets_select_the_pods_of_their_component(case: str) -> None:
    found = manifests(case)
    pods = {
        n: m["spec"]["template"]["metadata"]["labels"] for n, m in found.items() if "-depl" in n
    }
    for name, labels in pods.items():
        assert found[name]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for name, manifest in found.items():
        if manifest["kind"] in {"Service", "PodDisruptionBudget"}:
            wanted = manifest["spec"]["selector"]
            wanted = wanted.get("matchLabels", wanted)
            chosen = {
                n.split("-")[0] for n, labels in pods.items() if wanted.items() <= labels.items()
            }
            assert chosen == {name.split("-")[0]}


def test_the_monitor_finds_the_collector_and_has_the_key() -> None:
    found = manifests("everything")
    monitor = found["collector-servicemonitor.yaml"]["spec"]
    service = found["collector-service.yaml"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["selector"]["matchLabels"].items() > {}.items()
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] in paths("collector")
    assert endpoint["authorization"]["credentials"] == {"name": "api-key", "key": "first"}


def paths(component: str) -> set[str]:
    routers = COLLECTOR_ROUTERS if component == "collector" else ROUTERS
    return {route.path for router in routers for route in router.routes}  # type: ignore[attr-defined]  # each is a route of ours


@pytest.mark.parametrize(("case", "name", "spec"), PODS, ids=IDS)
def test_a_pod_runs_what_is_there(case: str, name: str, spec: dict[str, Any]) -> None:
    (container,) = spec["containers"]
    leaf, context = parse(container["args"])
    component = name.partition("-")[0]
    assert leaf == ("migrate" if component == "migration" else "run")
    if leaf == "run":
        assert context.params["only"] == component
        assert context.params["port"] == container["ports"][0]["containerPort"]
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[kind]["httpGet"]["path"] in paths(component) & OPEN
            assert container[kind]["httpGet"]["port"] == container["ports"][0]["name"]
    context.close()
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}
    assert {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")} == {TMP}


@pytest.mark.parametrize(("case", "name", "spec"), PODS, ids=IDS)
def test_a_pod_knows_every_variable_that_its_configuration_names(
    case: str, name: str, spec: dict[str, Any]
) -> None:
    (container,) = spec["containers"]
    (volume,) = [v["configMap"]["name"] for v in spec["volumes"] if v["name"] == "config"]
    (config,) = [
        m["data"]["tieout.yaml"]
        for m in manifests(case).values()
        if m["kind"] == "ConfigMap" and m["metadata"]["name"] == volume
    ]
    named = set(re.findall(r"\${env:(\w+)}", config))
    assert named == {variable["name"] for variable in container["env"]}
    secrets = [source["secretRef"]["name"] for source in container.get("envFrom", [])]
    assert secrets == CASES[case].get("secrets", [])


def test_only_the_migration_is_the_owner() -> None:
    keys = {
        name: spec["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]["key"]
        for case, name, spec in PODS
        if case == "everything"
    }
    assert keys == {
        "migration-job.yaml": "owner",
        "api-deployment.yaml": "app",
        "collector-deployment.yaml": "app",
    }


def test_the_migration_goes_first_and_needs_nothing_of_the_release() -> None:
    found = manifests("everything")
    job, config = found["migration-job.yaml"], found["migration-configmap.yaml"]
    for manifest in (job, config):
        hooks = manifest["metadata"]["annotations"]
        assert hooks["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(config["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0
    spec = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in spec
    assert spec["volumes"][0]["configMap"]["name"] == config["metadata"]["name"]
    assert config["data"] == found["common-configmap.yaml"]["data"]


def test_pods_roll_when_the_configuration_changes_and_only_then() -> None:
    def sums(values: dict[str, Any]) -> list[str]:
        texts = rendered(merged(REQUIRED, values))
        return re.findall(r"checksum/config: (\w+)", "".join(texts.values()))

    before = sums({"config": CONFIG})
    assert len(before) == 2
    assert sums({"config": CONFIG, "api": {"replicas": 5}}) == before
    changed = merged(CONFIG, {"limits": {"max_documents": 30}})
    assert not set(sums({"config": changed})) & set(before)


def test_what_the_documentation_names_is_there() -> None:
    text = (CHART.parents[1] / "docs/kubernetes.md").read_text(encoding="utf-8")
    named = {
        (kind, name) for kind, name in re.findall(r"\b(deployment|service|job)/([\w-]+)", text)
    }
    there = manifests("documented").values()
    assert len(named) == 4
    assert named <= {(m["kind"].lower(), m["metadata"]["name"]) for m in there}
    made = dict(re.findall(r"create secret generic (\S+)(.*?)(?=\nkubectl|```)", text, re.DOTALL))
    keys = {
        secret: re.findall(r"--from-literal=(\w+)=", literals) for secret, literals in made.items()
    }
    for case, _, spec in PODS:
        if case == "documented":
            for variable in spec["containers"][0]["env"]:
                wanted = variable["valueFrom"]["secretKeyRef"]
                assert wanted["key"] in keys[wanted["name"]]


def test_the_rendered_configuration_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIEOUT_DSN", "postgresql://somewhere/tieout")
    monkeypatch.setenv("TIEOUT_API_KEY", "a-key-of-16-characters-or-more")
    for case in CASES:
        path = tmp_path / "tieout.yaml"
        path.write_text(manifests(case)["common-configmap.yaml"]["data"]["tieout.yaml"])
        done = CliRunner().invoke(cli, ["--config", str(path), "config", "check"])
        assert done.exit_code == 0, (case, done.output)
