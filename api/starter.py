"""What `tieout init` writes."""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from connectors.files.draft import draft_mapping_yaml


def _starter() -> dict[str, str]:
    folder = resources.files("api") / "starter_files"
    return {
        f.name if f.name != "orders.jsonl" else "in/orders.jsonl": f.read_text(encoding="utf-8")
        for f in sorted(folder.iterdir(), key=lambda f: f.name)
    }


STARTER_FILES = _starter()

_HEAD = """\
# Drafted by `tieout init --from`: look at every line that says "guessed", then
#   tieout config check
#   tieout sync --dry-run --limit 5
tieout: 1

sources:
"""


def starter_from(folder: Path, files: Iterable[Path]) -> str:
    """Draft a configuration from files: one source each, in one stream."""
    text = _HEAD
    for path in files:
        name = "".join(c if c.isalnum() else "_" for c in path.name.split(".")[0].lower()) or "file"
        text += (
            f"  {name}:\n    connector: files\n    system: {name}\n    streams:\n      records:\n"
        )
        fragment = draft_mapping_yaml(path)
        text += "".join(f"        {line}\n" if line else "\n" for line in fragment.splitlines())
    return text
