"""What lies in quarantine, told by defect: how many records, since when, what it means and who mends it."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from collector.model.words import counted, shape
from collector.pipeline.values import NotMapped, compile_expr
from collector.settings.reasons import reasons
from collector.store import quarantine_groups
from collector.store.ingest import Connection
from collector.store.quarantine_groups import Group

LOOKED_AT_MAX = 100
"""Accepted records that are looked at to say what a field was like before."""

USUAL_SHARE = 0.9
"""What share of them must look alike, before that is said to be how the field looked."""

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


class Defect(msgspec.Struct, frozen=True):
    """Open records of a stream with one reason, field and shape of the value.

    `before` is what the field looked like in the records accepted before, empty where the store does not say.
    `share` is that of the stream's records since the first, in parts per million.
    """

    group: Group
    before: str
    share_ppm: int | None
    means: str
    who: str
    mend: str

    @property
    def said(self) -> str:
        """Say in a sentence what has happened."""
        g, said = self.group, counted(self.group.records, "record")
        since = f"{g.first_at:%Y-%m-%d %H:%M}"
        if not g.field:
            return f"{said} since {since}"
        if not g.shape:
            return f"{said}: '{g.field}' holds nothing that can be taken, since {since}"
        was = f"; before it looked like '{self.before}'" if self.before else ""
        return f"{said}: '{g.field}' looks like '{g.shape}' since {since}{was}"


async def tell(conn: Connection, groups: Sequence[Group]) -> list[Defect]:
    """Tell what groups of quarantined records mean."""
    return [await _told(conn, group) for group in groups]


async def _told(conn: Connection, group: Group) -> Defect:
    reason = reasons()[group.reason]
    share = group.records * 1_000_000 // group.read_since if group.read_since else None
    before = await _before(conn, group)
    return Defect(group, before, share, reason.means, reason.who, reason.mend)


async def _before(conn: Connection, group: Group) -> str:
    """Say what a field looked like in the last records accepted before; empty where they differ or are not kept."""
    if not group.field or not group.shape:
        return ""
    stream = group.source, group.stream
    found = await quarantine_groups.bodies_before(conn, stream, group.first_seq, LOOKED_AT_MAX)
    value_of = compile_expr(group.field, frozenset())
    shapes: Counter[str] = Counter()
    for body in found:
        try:
            shapes[shape(value_of(_decode(body)) or "")] += 1
        except NotMapped:
            shapes[""] += 1
    usual, times = shapes.most_common(1)[0] if shapes else ("", 0)
    return usual if times >= USUAL_SHARE * len(found) and usual != group.shape else ""
