"""The bridge as one static page: a working paper that prints on A4 and needs nothing but itself."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from typing import Any

from api.present import titled
from collector.model.money import from_minor

_STYLE = """
@page { size: A4; margin: 18mm 15mm; }
body { font: 10pt/1.35 "Liberation Sans", Arial, sans-serif; color: #111; max-width: 180mm; margin: 8mm auto; padding: 0 4mm; }
h1 { font-size: 16pt; margin: 0 0 2mm; } h2 { font-size: 11pt; margin: 6mm 0 1mm; } h3 { font-size: 10pt; margin: 5mm 0 1mm; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 5mm; margin: 0; } dt { color: #555; } dd { margin: 0; }
section.hop { break-inside: avoid; } section.items { break-before: page; }
table { border-collapse: collapse; width: 100%; } thead { display: table-header-group; } tr { break-inside: avoid; }
th { text-align: left; font-weight: 600; border-bottom: 1px solid #111; } th, td { padding: 0.6mm 2mm 0.6mm 0; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.from { font-weight: 600; } tr.unexplained { border-top: 1px solid #111; } tr.wrong { font-weight: 700; color: #a00000; }
.items td { font-size: 8.5pt; } .gap { color: #a00000; } a { color: inherit; text-decoration: underline dotted; }
@media print { body { margin: 0; padding: 0; max-width: none; } a { text-decoration: none; } }
"""

Document = Mapping[str, Any]


def page(document: Document, items: Iterable[Document]) -> str:
    """Return the page: every hop with its cells, then the items of each cell, as far as they are given."""
    place = lambda i: tuple(str(i[k] or "") for k in _KEY)  # noqa: E731 -- named once, used twice
    listed = {key: list(group) for key, group in groupby(sorted(items, key=place), place)}
    anchors = {key: f"i{n}" for n, key in enumerate(listed, start=1)}
    state = "complete" if document["complete"] else '<span class="gap">not complete</span>'
    gaps = "".join(f'<dt>Gap</dt><dd class="gap">{escape(gap)}</dd>' for gap in document["gaps"])
    runs = ", ".join(f"{name} (run {run})" for name, run in document["runs"].items()) or "none"
    hops = (
        "".join(_hop(row, anchors) for row in document["rows"])
        or "<p>Nothing was done in this period.</p>"
    )
    tables = "".join(_items(anchors[key], rows) for key, rows in listed.items())
    period = escape(document["period"])
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Bridge {period}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>Bridge {period}</h1>"
        f"<dl><dt>As of</dt><dd>{_minute(document['as_of'])}</dd>"
        f"<dt>As known</dt><dd>{_minute(document['as_known'])}</dd><dt>Sources</dt><dd>{state}</dd>{gaps}"
        f"<dt>Control runs</dt><dd>{escape(runs)}</dd></dl>{hops}{_memo(document['memo'])}"
        + (f'<section class="items"><h2>Items</h2>{tables}</section>' if tables else "")
        + "</main></body></html>\n"
    )


_KEY = ("flow", "entity", "currency", "from", "to", "cell")


def _hop(row: Document, anchors: Mapping[tuple[str, ...], str]) -> str:
    lines = []
    for name, cell in row["cells"].items():
        anchor = anchors.get(tuple(str({**row, "cell": name}[k] or "") for k in _KEY))
        label = escape(titled(name, row))
        label = f'<a href="#{anchor}">{label}</a>' if anchor else label
        wrong = " wrong" if name == "unexplained" and any(cell.values()) else ""
        lines.append(
            f'<tr class="{escape(name.partition(":")[0])}{wrong}"><td>{label}</td>'
            f'<td class="number">{cell["count"]:,}</td>'
            f'<td class="number">{_money(cell["amount_minor"], row["currency"])}</td></tr>'
        )
    title = f"{row['flow']}, {row['entity'] or 'no entity'}: {row['from']} → {row['to']}"
    return (
        f'<section class="hop"><h2>{escape(title)}</h2><table><thead><tr><th scope="col">Cell</th>'
        '<th scope="col" class="number">Count</th><th scope="col" class="number">Amount</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></section>"
    )


def _items(anchor: str, rows: list[Document]) -> str:
    first = rows[0]
    title = f"{first['flow']}, {first['entity'] or 'no entity'}: {first['from']} → {first['to']}: {titled(first['cell'], first)}"
    lines = "".join(
        f"<tr><td>{escape(str(i['number']))}</td><td>{escape(i['entity'] or '')}</td>"
        f'<td class="number">{_money(i["amount_minor"], i["currency"])}</td>'
        f"<td>{_minute(i['basis_at'])}</td><td>{_minute(i['due_at'])}</td>"
        f"<td>{escape(i['reason'] or '')}</td><td>{escape(i['sentence'] or '')}</td></tr>"
        for i in rows
    )
    more = first["of"] - len(rows)
    command = f"tieout bridge --items {first['to']}/{first['cell']}"
    rest = f"<p>… and {more:,} more: <code>{escape(command)}</code> shows them.</p>" if more else ""
    columns = (
        "Number",
        "Entity",
        "Amount",
        "Done (UTC)",
        "Due (UTC)",
        "Reason",
        "What the control says",
    )
    heads = "".join(
        f'<th scope="col"{" class=number" if c == "Amount" else ""}>{c}</th>' for c in columns
    )
    return f'<h3 id="{anchor}">{escape(title)}</h3><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>{rest}'


def _memo(memo: list[Document]) -> str:
    lines = "".join(
        f"<li>{escape(m['control'])}, {escape(m['entity'] or 'no entity')}: {m['count']:,}, {_money(m['amount_minor'], m['currency'])}</li>"
        for m in memo
    )
    return (
        f"<h2>Memo: reported about documents that belong to no single case</h2><ul>{lines}</ul>"
        if memo
        else ""
    )


def _money(amount_minor: int | None, currency: str | None) -> str:
    return (
        "-"
        if amount_minor is None or currency is None
        else escape(from_minor(amount_minor, currency))
    )


def _minute(instant: datetime | None) -> str:
    return "" if instant is None else instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
