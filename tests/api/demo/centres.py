"""The truth about cost centres once more, from the written files and the control's wording alone."""

from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path

from tests.api.demo.outside import T, berlin, document, rows


def stale_dimension(folder: Path) -> dict[str, str]:
    """What the control says of each cost centre: the limit is an hour for a closure, a day otherwise."""
    held = {
        item["code"]: item
        for item in sorted(document(folder, "items"), key=lambda i: i["modifiedAt"])
    }
    owned: dict[str, list[tuple[datetime, datetime, dict[str, str]]]] = defaultdict(list)
    for row in rows(folder / "erp/csks.csv", ";"):
        entered = berlin(row["AEDAT"], row["AETIM"])
        valid = entered
        if row["DATAB"]:
            valid = datetime.strptime(row["DATAB"] + "+0000", "%Y%m%d%z")
        owned[row["KOSTL"].lstrip("0")].append((entered, valid, row))
    said = {}
    for code, values in owned.items():
        effective = [(entered, row) for entered, valid, row in values if valid <= T]
        if not effective:
            said[code] = "EXCLUDED"
            continue
        entered, row = max(effective, key=lambda e: e[0])
        closed, item = row["STATUS"] == "closed", held.get(code)
        if item is None:
            wrong = "MISSING"
        elif closed:
            wrong = "STILL_ACTIVE" if item["status"] == "active" else ""
        else:
            wrong = "" if item["name"] == row["KTEXT"] else "DIFFERENT(name)"
        late = T - entered > timedelta(hours=1 if closed else 24)
        said[code] = (wrong if late else "PENDING") if wrong else "OK"
    return said
