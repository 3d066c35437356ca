import json
import re

import click
import pytest

from api.cli.root import cli
from dashboards.registry import BOARDS
from dashboards.render import documents
from tests.support.commands import commands_of


@pytest.mark.parametrize("name", BOARDS)
def test_a_command_that_a_panel_advises_exists(name: str) -> None:
    (text,) = [text for path, text in documents().items() if path.stem == name]
    said = [panel.get("description", "") for panel in json.loads(text)["panels"]]
    advised = [command for line in said for command in re.findall(r"`tieout ([a-z_ ]+)", line)]
    assert advised
    for words in advised:
        command: click.Command = cli
        for word in words.split():
            assert isinstance(command, click.Group), words
            known = commands_of(command)
            assert word in known, f"there is no `tieout {words}`"
            command = known[word]
