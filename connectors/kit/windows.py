"""A cursor on time, for sources that are asked for what happened in a window.

Records can appear late: some time after the instant that they carry. So each instant is asked for
twice: at once, and again when the `overlap` has passed, after which nothing is expected any more.
That costs two readings however often one asks; looking back from every request would cost a reading
of the whole overlap each time.
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec

SECOND: Final = timedelta(seconds=1)


class Window(msgspec.Struct, frozen=True):
    """The instants from `start` up to but not including `end`; both on whole seconds."""

    start: datetime
    end: datetime

    def first(self, width: timedelta) -> "Window":
        """Return the beginning of the window, at most `width` and at least a second wide."""
        return Window(self.start, min(self.end, self.start + max(width, SECOND)))


class Front(msgspec.Struct, frozen=True):
    """How far the time has been asked for: from `since` up to `asked`, and again up to `settled`."""

    since: datetime
    settled: datetime
    asked: datetime

    def due(self, now: datetime, quiet: datetime) -> Window | None:
        """Return what is to be asked for next; None where there is nothing.

        `quiet` is the instant before which nothing appears any more: now less the overlap.
        """
        if self.settled < quiet:
            return Window(self.settled, quiet)
        asked = max(self.asked, self.settled)
        return Window(asked, now) if asked < now else None

    def behind(self, window: Window, quiet: datetime) -> "Front":
        """Return the front once the beginning of what was due has been asked for."""
        settled = window.end if window.end <= quiet else self.settled
        return Front(self.since, settled, max(self.asked, window.end))

    def starting(self, at: datetime) -> "Front":
        """Return the front of somebody who wants to know from `at` on, and from then on only."""
        if at < self.since:
            return Front(at, at, at)
        return Front(at, max(self.settled, at), max(self.asked, at))


def whole_second(instant: datetime) -> datetime:
    """Return the second that an instant lies in."""
    return instant.replace(microsecond=0)


def in_words(span: timedelta) -> str:
    """Write a span of time as people do: `29 days 23 hours`."""
    minutes = max(int(span.total_seconds() // 60), 0)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    return f"{days} days {hours} hours" if days else f"{hours} hours {minutes} minutes"
