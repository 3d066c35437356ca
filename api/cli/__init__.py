"""The command line: `tieout --config FILE --data-dir DIR COMMAND`."""

from api.cli.root import cli


def main() -> None:
    """Run the command line; what cannot be done is said in a sentence, with an exit code."""
    cli.main(prog_name="tieout")
