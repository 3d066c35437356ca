"""The demo's folder: made whole or not at all, and left alone where it is there already."""

import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import msgspec

from api.demo import middleware, plan, swaps, systems, transfers
from api.demo.company import COVERS_FROM, STATUS_TIME
from api.demo.truth import FORMAT, Truth, tell
from collector.errors import Misconfigured

TRUTH = "truth.json"
SETTINGS = "tieout.yaml"
MIDDLEWARE = "middleware"


def create(folder: Path, seed: int) -> Truth:
    """Make the demo in `folder` and return its truth; the same seed gives the same bytes.

    A folder with the demo of this seed is left as it is, that of another seed is replaced, and
    anything else is refused: nobody loses a folder to a demo.
    """
    there = _present(folder)
    if there == _Mark(FORMAT, seed):
        return msgspec.json.decode((folder / TRUTH).read_bytes(), type=Truth)
    company = swaps.swap(transfers.combine(plan.found(seed), seed), seed)
    exports = systems.export(company)
    truth = tell(company, exports, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        _write(made / TRUTH, msgspec.json.format(msgspec.json.encode(truth), indent=1))
        for name, text in _configuration(exports.records).items():
            _write(made / name, text.encode())
        for name, content in exports.files.items():
            _write(made / name, content)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        made.rename(folder)
    return truth


def tenant(folder: Path) -> tuple[list[middleware.Log], datetime, Path]:
    """Return what the middleware holds, when it is asked, and where its address is to be written."""
    place = folder / MIDDLEWARE
    return middleware.read((folder / systems.MIDDLEWARE).read_bytes()), middleware.present(), place


class _Mark(msgspec.Struct, frozen=True):
    """What tells a folder of ours, whatever format its truth has."""

    format: str
    seed: int


def _present(folder: Path) -> _Mark | None:
    """Return the mark of the demo that is there; None where the folder is free to be used."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        return msgspec.json.decode((folder / TRUTH).read_bytes(), type=_Mark)
    except (OSError, msgspec.MsgspecError) as error:
        raise Misconfigured(
            f"{folder} holds something else than the demo; name another folder, or empty this one.",
            detail=repr(error),
        ) from error


def _configuration(records: Mapping[str, int]) -> dict[str, str]:
    """Read the package's configuration; the exports' own counts go into `tieout.yaml`."""
    config = resources.files("api.demo") / "config"
    texts = dict(_texts(config, ""))
    counts = {name.replace("/", "_"): str(n) for name, n in records.items()}
    covers = f"[{COVERS_FROM.isoformat()}, {STATUS_TIME.isoformat()}]"
    texts[SETTINGS] = Template(texts[SETTINGS]).substitute(
        counts, covers=covers, covers_from=COVERS_FROM.isoformat()
    )
    return texts


def _texts(place: Traversable, path: str) -> Iterator[tuple[str, str]]:
    for item in sorted(place.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _texts(item, f"{path}{item.name}/")
        elif item.name.endswith(".yaml"):
            yield path + item.name, item.read_text("utf-8")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
