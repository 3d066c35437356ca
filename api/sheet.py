"""The bridge as one static page: a working paper that prints on A4 and needs nothing but itself."""

import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from api.present import titled
from collector.model.money import from_minor

_STYLE = """
@page { size: A4; margin: 18mm 15mm; }
body { font: 10pt/1.35 "Liberation Sans", Arial, sans-serif; color: #111; max-width: 180mm; margin: 8mm auto; padding: 0 4mm; }
h1 { font-size: 16pt; margin: 0 0 2mm; } h2 { font-size: 11pt; margin: 6mm 0 1mm; } h3 { font-size: 10pt; margin: 5mm 0 1mm; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 5mm; margin: 0; } dt { color: #555; } dd { margin: 0; }
section.hop { break-inside: avoid; } section.items { break-before: page; } h3 { break-after: avoid; }
table { border-collapse: collapse; width: 100%; } thead { display: table-header-group; } tr { break-inside: avoid; }
th { text-align: left; font-weight: 600; border-bottom: 1px solid #111; } th, td { padding: 0.6mm 2mm 0.6mm 0; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.from { font-weight: 600; } tr.unexplained { border-top: 1px solid #111; } tr.wrong { font-weight: 700; color: #a00000; }
.items table { table-layout: fixed; } .items th, .items td { font-size: 8.5pt; overflow-wrap: anywhere; }
th.name { width: 26mm; } th.entity { width: 13mm; } th.money { width: 29mm; } th.time { width: 20mm; }
.hop table { table-layout: fixed; } .hop th.number { width: 45mm; } code { font-size: 8pt; }
b { font-weight: 600; font-size: 7.5pt; } .gap { color: #a00000; } a { color: inherit; text-decoration: underline dotted; }
@media print { body { margin: 0; padding: 0; max-width: none; } a { text-decoration: none; } }
"""

Document = Mapping[str, Any]
Key = tuple[str, ...]


def page(document: Document, items: Iterable[Document]) -> str:
    """Return the page: every hop with its cells, then the items of each cell, as far as they are given."""
    listed: dict[Key, list[Document]] = {}
    for item in items:
        listed.setdefault(_key(item), []).append(item)
    places = [_key({**row, "cell": cell}) for row in document["rows"] for cell in row["cells"]]
    anchors = {place: f"cell-{n}" for n, place in enumerate(places, start=1) if place in listed}
    hops = "".join(_hop(row, anchors) for row in document["rows"])
    tables = "".join(_items(document, anchor, listed[place]) for place, anchor in anchors.items())
    title = f"Bridge {escape(document['period'])}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{title}</h1>{_about(document)}"
        f"{hops or '<p>Nothing was done in this period.</p>'}{_memo(document['memo'])}"
        + (f'<section class="items"><h2>Items</h2>{tables}</section>' if tables else "")
        + "</main></body></html>\n"
    )


def _about(document: Document) -> str:
    gaps = "".join(f'<dt>Gap</dt><dd class="gap">{escape(gap)}</dd>' for gap in document["gaps"])
    runs = ", ".join(f"{name} (run {run})" for name, run in document["runs"].items())
    state = "complete" if document["complete"] else '<span class="gap">not complete</span>'
    return (
        f"<dl><dt>As of</dt><dd>{_minute(document['as_of'])} UTC</dd>"
        f"<dt>As known</dt><dd>{_minute(document['as_known'])} UTC</dd>"
        f"<dt>Sources</dt><dd>{state}</dd>{gaps}<dt>Control runs</dt><dd>{escape(runs or 'none')}</dd></dl>"
    )


def _key(item: Document) -> Key:
    return tuple(str(item[name] or "") for name in _KEY)


_KEY = ("flow", "entity", "currency", "from", "to", "cell")


def _hop(row: Document, anchors: Mapping[Key, str]) -> str:
    lines = []
    for name, cell in row["cells"].items():
        anchor = anchors.get(_key({**row, "cell": name}))
        label = escape(titled(name, row))
        label = f'<a href="#{anchor}">{label}</a>' if anchor else label
        wrong = " wrong" if name == "unexplained" and row["unexplained_items"] else ""
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


def _items(document: Document, anchor: str, rows: list[Document]) -> str:
    first = rows[0]
    entity = first["entity"] or "no entity"
    cell = titled(first["cell"], first)
    title = f"{first['flow']}, {entity}: {first['from']} → {first['to']}: {cell}"
    lines = "".join(
        f"<tr><td>{escape(item['number'])}</td><td>{escape(item['entity'] or '')}</td>"
        f'<td class="number">{_money(item["amount_minor"], item["currency"])}</td>'
        f"<td>{_minute(item['basis_at'])}</td><td>{_minute(item['due_at'])}</td>"
        f"<td>{_finding(item)}</td></tr>"
        for item in rows
    )
    more = first["of"] - len(rows)
    command = escape(_command(document, first))
    rest = f"<p>… and {more:,} more: <code>{command}</code> shows them.</p>" if more else ""
    return (
        f'<h3 id="{anchor}">{escape(title)}</h3><table><thead>{_HEADS}</thead>'
        f"<tbody>{lines}</tbody></table>{rest}"
    )


def _command(document: Document, item: Document) -> str:
    """Return the line for a shell that lists the whole cell of an item, as this page knew it."""
    options = {
        "--period": document["period"],
        "--as-of": document["as_of"].isoformat(),
        "--as-known": document["as_known"].isoformat(),
        "--flow": item["flow"],
        "--items": f"{item['to']}/{item['cell']}",
        "--entity": item["entity"],
        "--currency": item["currency"],
        "--limit": str(item["of"]),
    }
    words = [word for name, value in options.items() if value for word in (name, value)]
    return shlex.join(["tieout", "bridge", *words])


def _finding(item: Document) -> str:
    if item["reason"] is None:
        return ""
    return f"<b>{escape(item['reason'])}</b> {escape(item['sentence'])}"


_HEADS = (
    '<tr><th scope="col" class="name">Number</th><th scope="col" class="entity">Entity</th>'
    '<th scope="col" class="number money">Amount</th><th scope="col" class="time">Done (UTC)</th>'
    '<th scope="col" class="time">Due (UTC)</th><th scope="col">What the control says</th></tr>'
)


def _memo(memo: list[Document]) -> str:
    lines = "".join(
        f"<li>{escape(m['control'])}, {escape(m['entity'] or 'no entity')}: {m['count']:,}, {_money(m['amount_minor'], m['currency'])}</li>"
        for m in memo
    )
    return f"<h2>Memo: reported outside these sums</h2><ul>{lines}</ul>" if memo else ""


def _money(amount_minor: int | None, currency: str | None) -> str:
    return (
        "-"
        if amount_minor is None or currency is None
        else escape(from_minor(amount_minor, currency))
    )


def _minute(instant: datetime | None) -> str:
    return "" if instant is None else instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
