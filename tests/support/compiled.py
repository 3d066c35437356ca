"""Compiled modules that no longer say what their sources say."""

from collections.abc import Iterable
from pathlib import Path


def outdated(folders: Iterable[Path]) -> list[Path]:
    """Return the sources that changed since they were compiled: Python runs what was compiled."""
    found = []
    for folder in folders:
        for built in sorted(folder.rglob("*.so")):
            source = built.with_name(f"{built.name.split('.')[0]}.py")
            if source.exists() and source.stat().st_mtime > built.stat().st_mtime:
                found.append(source)
    return found
