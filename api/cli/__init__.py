"""The command line: `tieout --config FILE --data-dir DIR COMMAND`."""

from api.cli import (
    alerts,
    backup,
    bridge,
    config,
    control,
    coverage,
    data,
    demo,
    dimension,
    flow,
    grafana,
    link,
    mapping,
    quarantine,
    readiness,
    service,
    story,
    sweep,
)
from api.cli.root import cli

for _commands in (
    config,
    data,
    readiness,
    sweep,
    coverage,
    flow,
    story,
    link,
    control,
    dimension,
    bridge,
    alerts,
    quarantine,
    mapping,
    backup,
    service,
    grafana,
    demo,
):
    for _command in _commands.COMMANDS:
        cli.add_command(_command)


def main() -> None:
    """Run the command line; what cannot be done is said in a sentence, with an exit code."""
    cli.main(prog_name="tieout")
