"""Everything that can go wrong at once, from a seed: in the end the reader knows what the tenant shows."""

from collections.abc import Generator
from datetime import timedelta
from random import Random  # noqa: TID251 -- seeded below

import pytest

from collector.connector import CHUNK_RECORDS_MAX
from collector.errors import TieoutError
from connectors.sap_cloud_integration.sandbox import Message, Phase, Trouble
from tests.connectors.cpi import MINUTE, House, house, unverified

PASSES = 40
TROUBLE_SHARE = 0.15
KILL_SHARE = 0.1
LATE_S_MAX = 500  # with the wrong clock below the overlap of ten minutes
FINAL = ("COMPLETED", "FAILED", "ESCALATED", "CANCELLED", "DISCARDED")


def history(random: Random, guid: str, h: House) -> Message:
    """A message of the next minute: it ends at once or late, hangs, or is tried several times."""
    start = h.time() + timedelta(milliseconds=random.randrange(60_000))
    at = start + timedelta(milliseconds=random.randrange(1, 5_000))
    phases = []
    if random.random() < 0.3:
        phases.append(Phase(start, "PROCESSING"))
        at += timedelta(seconds=random.randrange(1_800))
    for _ in range(random.choice((0, 0, 0, 1, 3))):
        phases.append(Phase(at, "RETRY", at))
        at += timedelta(seconds=random.randrange(30, 300))
    if random.random() < 0.05:
        phases.append(Phase(at, "ABANDONED"))
    else:
        late = random.randrange(LATE_S_MAX) if random.random() < 0.2 else 0
        phases.append(Phase(at + timedelta(seconds=late), random.choice(FINAL), at))
    headers = [("po_number", f"{random.randrange(50)}")]
    return Message(guid, start, phases, correlation_id=f"C-{len(guid)}", headers=headers)


def disturbed(random: Random, h: House) -> None:
    """One pass with trouble; sometimes it is killed between two chunks."""
    reading = h.chunks()
    assert isinstance(reading, Generator)
    try:
        for chunk in reading:
            assert len(chunk.records) <= CHUNK_RECORDS_MAX
            if random.random() < KILL_SHARE:
                reading.close()
                return
            h.keep(chunk)
    except TieoutError as error:
        h.errors.append(f"{error} {error.detail}")


@unverified("late_entries")
@unverified("throttling")
@unverified("token_after_restart")
@unverified("skiptoken_after_restart")
@unverified("retry_moves_end")
@pytest.mark.parametrize("seed", range(8))
def test_the_reader_arrives_at_what_the_tenant_shows(seed: int) -> None:
    random = Random(seed)  # noqa: S311 -- replays
    skew = timedelta(seconds=random.randrange(-90, 90))
    with house(page_rows=random.choice((3, 10, 1000)), skew=skew) as h:
        troubles = list(Trouble)
        h.tenant.trouble = lambda: (
            random.choice(troubles) if random.random() < TROUBLE_SHARE else None
        )
        for minute in range(PASSES):
            h.tenant.add(
                *(history(random, f"M{minute:02}-{i}", h) for i in range(random.randrange(12)))
            )
            h.time.pass_by(MINUTE)
            disturbed(random, h)
        h.tenant.trouble = lambda: None
        h.time.pass_by(90 * MINUTE)  # all late entries are there, all attempts made
        h.read()
        assert h.last() == h.truth()
        assert h.end is not None
        assert (h.end.unread, h.end.sentence) == (0, "")
        real = {
            (m.message.guid, phase.status) for m in h.tenant.shown() for phase in m.message.phases
        }
        assert {(b["MessageGuid"], b["Status"]) for b in h.bodies} <= real
        assert not [said for said in h.errors if "sandbox-token" in said]
