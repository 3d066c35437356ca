"""Write every board as the JSON that Grafana imports: `python -m dashboards.render`."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.registry import BOARDS

FOLDER = Path(__file__).parent / "boards"


def documents() -> dict[Path, str]:
    """Return the text of every board's file."""
    return {
        FOLDER / f"{name}.json": json.dumps(build(), cls=JSONEncoder, indent=2, sort_keys=True)
        + "\n"
        for name, build in BOARDS.items()
    }


def write() -> list[Path]:
    """Write every board beside its module; return the files."""
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
    return list(documents())


if __name__ == "__main__":
    for written in write():
        print(written)  # noqa: T201 -- a command says what it did
