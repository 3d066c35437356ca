"""What `tieout init` writes."""

import glob
import json
import os
import re
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
    """Draft a configuration for a folder from files: one source each, in one stream."""
    text = _HEAD
    taken: set[str] = set()
    for path in files:
        name = _name(path, taken)
        text += (
            f"  {name}:\n    connector: files\n    system: {name}\n    streams:\n      records:\n"
        )
        fragment = _reading_from(folder, path, draft_mapping_yaml(path))
        text += "".join(f"        {line}\n" if line else "\n" for line in fragment.splitlines())
    return text


def _name(path: Path, taken: set[str]) -> str:
    """Return a source id made of a file's name, another one for each file."""
    stem = re.sub(r"[^a-z0-9]+", "_", path.name.split(".")[0].lower()).strip("_")[:50] or "file"
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name)
    return name


def _reading_from(folder: Path, path: Path, fragment: str) -> str:
    """Name the file as it is seen from the configuration's folder; what looks like a glob is none."""
    relative = glob.escape(os.path.relpath(path.resolve(), folder.resolve()))
    line = f"  path: {json.dumps(relative, ensure_ascii=False)}"
    return re.sub(r"^  path: .*$", lambda _: line, fragment, count=1, flags=re.MULTILINE)
