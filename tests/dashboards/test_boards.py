import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from collector.telemetry.metrics import CATALOGUE
from dashboards import render
from dashboards.registry import BOARDS

DOCUMENTS = {path.stem: (path, text) for path, text in render.documents().items()}


def panels(name: str) -> Iterator[dict[str, Any]]:
    for panel in json.loads(DOCUMENTS[name][1])["panels"]:
        if panel["type"] != "row":
            yield panel


@pytest.mark.parametrize("name", BOARDS)
def test_the_committed_json_is_what_python_renders(name: str) -> None:
    path, text = DOCUMENTS[name]
    assert path.read_text(encoding="utf-8") == text, "run `python -m dashboards.render`"


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_says_its_title_its_unit_and_what_to_do_when_it_is_red(name: str) -> None:
    seen = [panel["title"] for panel in panels(name)]
    assert len(seen) == len(set(seen))
    for panel in panels(name):
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert re.search(r"\S\. When red: \S.*\.$", panel["description"]), panel["title"]
        assert panel["options"] is not None


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_numbers_of_their_own_and_do_not_overlap(name: str) -> None:
    content = json.loads(DOCUMENTS[name][1])["panels"]
    assert len({p["id"] for p in content}) == len(content)
    cells = [
        (x, y)
        for p in content
        for x in range(p["gridPos"]["x"], p["gridPos"]["x"] + p["gridPos"]["w"])
        for y in range(p["gridPos"]["y"], p["gridPos"]["y"] + p["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23


@pytest.mark.parametrize("name", BOARDS)
def test_queries_speak_of_the_catalogue_and_the_schema_read_only(name: str) -> None:
    known = {m.name for m in CATALOGUE}
    known |= {
        f"{m.name}_{part}"
        for m in CATALOGUE
        if m.kind == "histogram"
        for part in ("bucket", "sum", "count")
    }
    for panel in panels(name):
        for target in panel["targets"]:
            if "expr" in target:
                assert set(re.findall(r"tieout_\w+", target["expr"])) <= known
                assert target["datasource"]["uid"] == "${prometheus}"
            else:
                assert set(re.findall(r"(?:FROM|JOIN) (\w+)\.", target["rawSql"])) == {"read"}
                assert target["datasource"]["uid"] == "${postgres}"
