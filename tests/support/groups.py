"""Three groups that pay many documents in one sum: a payment run of invoices, a batch of card sales, a payout.

A member names its group; an invoice has a payment besides, which names both. A payout is less than its charges
and refunds by the provider's fee.
"""

import json
from pathlib import Path
from typing import NamedTuple

CONFIGURATION = """\
tieout: 1
kinds: {{card_sale: {{}}, card_batch: {{}}}}
sources:
{streams}
flows:
{flows}
"""
STREAM = """\
  {name}:
    connector: files
    system: {name}
    streams:
      records:
        read: {{path: in/{name}.jsonl, format: jsonl}}
        mapping:
          key: id
          document: {document}
          occurred_at: {{value: at, timezone: in value}}
          amount: {{value: amount, currency: =EUR}}
          references: [{references}]
          events: [{{rule: told, type: {name}.told}}]
"""
FLOW = """\
  - flow: {member}s
    title: What a {group} settles
    anchor: {member}
    steps:
      - {{name: told, system: {member}, done_by: [{member}.told]}}
      - {{name: settled, system: {group}, after: told, via: [{group}], done_by: [{group}.told]}}
"""


class Shape(NamedTuple):
    """A kind of document, and of the group that pays many of them."""

    member: str
    group: str
    scope: str = ""
    refunds: bool = False
    fee_minor: int = 0

    def minor(self, n: int) -> int:
        """Return the amount of a member; every tenth of a payout is a refund."""
        amount = 1_000 + n % 97
        return -amount if self.refunds and n % 10 == 9 else amount

    def settled_minor(self, members: int) -> int:
        return sum(map(self.minor, range(members))) - self.fee_minor

    def number(self, group: str, n: int) -> str:
        return f"{self.member}-{group}-{n:05}"

    def streams(self) -> str:
        """Return the streams of members and of groups; of payments too, where members are invoices."""
        scope = f", scope: {self.scope}" if self.scope else ""
        one, own = (
            f"{{kind: {self.group}, role: group, value: group}}",
            "{{type: {}, number: id{}}}",
        )
        streams = [(self.member, own.format(self.member, scope), one)]
        streams.append((self.group, own.format(self.group, ""), ""))
        if self.member == "supplier_invoice":
            pays = f"{{kind: {self.member}, role: identity, value: pays{scope}}}"
            streams.append(("payment", own.format("payment", ""), f"{pays}, {one}"))
        return "".join(
            STREAM.format(name=name, document=document, references=references)
            for name, document, references in streams
        )


SHAPES = (
    Shape("supplier_invoice", "payment_run", scope="=S-1"),
    Shape("card_sale", "card_batch"),
    Shape("charge", "payout", refunds=True, fee_minor=1_234),
)


def write(folder: Path, members: dict[str, int]) -> None:
    """Write a configuration and its files: of each shape, groups of so many members, by name."""
    streams = "".join(shape.streams() for shape in SHAPES)
    flows = "".join(FLOW.format(member=s.member, group=s.group) for s in SHAPES)
    text = CONFIGURATION.format(streams=streams, flows=flows)
    (folder / "tieout.yaml").write_text(text, encoding="utf-8")
    (folder / "in").mkdir(exist_ok=True)
    for shape in SHAPES:
        told = [
            _record(shape.number(group, n), shape.minor(n), 5, group=f"{shape.group}-{group}")
            for group, count in members.items()
            for n in range(count)
        ]
        settled = [
            _record(f"{shape.group}-{group}", shape.settled_minor(count), 8)
            for group, count in members.items()
        ]
        _write(folder, shape.member, told)
        _write(folder, shape.group, settled)
        if shape.member == "supplier_invoice":
            paid = [r | {"id": f"payment of {r['id']}", "pays": r["id"]} for r in told]
            _write(folder, "payment", paid)


def _record(number: str, minor: int, day: int, **more: str) -> dict[str, str]:
    sign, whole = "-" if minor < 0 else "", abs(minor)
    amount = f"{sign}{whole // 100}.{whole % 100:02}"
    return {"id": number, "amount": amount, "at": f"2026-01-0{day}T10:00:00+01:00", **more}


def _write(folder: Path, name: str, records: list[dict[str, str]]) -> None:
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / f"in/{name}.jsonl").write_text(text, encoding="utf-8")
