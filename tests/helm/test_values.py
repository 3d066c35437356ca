"""What the chart takes: each value is used, each that is used is there, and a wrong one is said."""

import re
from typing import Any

import pytest
import yaml
from helm_python import HelmError

from tests.helm.rendering import CHART, REQUIRED, merged, rendered
from tests.support.scripts import script

USED = re.compile(r"\.Values((?:\.\w+)+)")
TEMPLATES = "".join(p.read_text(encoding="utf-8") for p in sorted(CHART.glob("templates/*")))


def paths(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return every value by its path, sections included."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found[before + key] = value
        if isinstance(value, dict):
            found |= paths(value, f"{before}{key}.")
    return found


VALUES = paths(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")))


LEAVES = {path for path, value in VALUES.items() if not isinstance(value, dict) or not value}
USED_VALUES = {path.removeprefix(".") for path in USED.findall(TEMPLATES)}


def test_every_value_is_used_by_a_template() -> None:
    whole = re.findall(r"toYaml \.Values\.([\w.]+)", TEMPLATES)
    unused = {p for p in LEAVES - USED_VALUES if not any(p.startswith(f"{w}.") for w in whole)}
    assert unused == set()


def test_every_value_that_a_template_uses_is_there() -> None:
    assert USED_VALUES - set(VALUES) == set()


def test_every_value_has_a_sentence() -> None:
    known = script("generate").chart_values((CHART / "values.yaml").read_text(encoding="utf-8"))
    told = {".".join(value.path) for value in known}
    assert {p for p in LEAVES if not any(p == t or p.startswith(f"{t}.") for t in told)} == set()
    for value in known:
        assert re.fullmatch(r"[A-Z][^.].*\.", value.sentence), value.path


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"database": {"existingSecret": ""}}, "at '/database/existingSecret': minLength"),
    ({"database": {"existingSecret": 7}}, "at '/database/existingSecret': got number, want string"),
    ({"api": {"replicas": "two"}}, "at '/api/replicas': got string, want integer"),
    ({"api": {"replicas": 0}}, "at '/api/replicas': minimum: got 0, want 1"),
    ({"api": {"replica": 2}}, "at '/api': additional properties 'replica' not allowed"),
    ({"colector": {}}, "additional properties 'colector' not allowed"),
    ({"image": {"pullPolicy": "Often"}}, "must be one of 'Always', 'IfNotPresent', 'Never'"),
    ({"image": {"pullSecrets": [{"name": "x"}]}}, "at '/image/pullSecrets/0': got object"),
    ({"serviceMonitor": {"interval": "daily"}}, "at '/serviceMonitor/interval': 'daily' does not"),
    ({"config": {"store": {}}}, "config.store: the chart writes this section itself"),
    ({"config": {"api": {}}}, "config.api: the chart writes this section itself"),
    ({"api": {"ingress": {"enabled": True}}}, "api.ingress.host: say under which host name"),
    (
        {"api": {"ingress": {"enabled": True, "host": "x"}}},
        "api.ingress.tlsSecret: name the Secret with the certificate",
    ),
]


@pytest.mark.parametrize(("values", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_value_is_refused_with_its_place(values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError) as refused:
        rendered(merged(REQUIRED, values))
    assert said in str(refused.value)


def test_what_must_be_given_is_asked_for_all_at_once() -> None:
    with pytest.raises(HelmError) as refused:
        rendered({})
    assert "at '/database': missing property 'existingSecret'" in str(refused.value)
    assert "at '/api': missing property 'existingSecret'" in str(refused.value)


def test_it_can_be_a_part_of_another_chart() -> None:
    assert rendered(merged(REQUIRED, {"global": {"anything": 1}})) == rendered(REQUIRED)
