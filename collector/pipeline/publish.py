"""Make the configuration a fact, so that what was decided by it can be re-performed later."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from collector.clock import Clock
from collector.model.calendar import Hours, business_days
from collector.model.reference import digest
from collector.settings.definitions import Calendar, Settings
from collector.settings.load import Configuration
from collector.store import streams
from collector.store.ingest import Connection

CALENDAR_BEFORE = timedelta(days=366)
"""Calendars begin so long before the earliest date that is believed: what happens before the first business
day after it is due from the business day before."""
CALENDAR_UNTIL = date(2045, 12, 31)


async def publish(conn: Connection, configuration: Configuration, clock: Clock) -> None:
    """Enter the configuration and its calendars in the store, unless they are in force already."""
    document = configuration.document()
    first = configuration.settings.limits.earliest - CALENDAR_BEFORE
    for calendar_id, calendar in configuration.settings.calendars.items():
        key = digest("calendar", calendar.model_dump_json(), str(first)).hex()
        _named(document["calendars"], calendar_id)["days"] = key
        days = business_days(hours(calendar), first, CALENDAR_UNTIL)
        await streams.add_business_days(conn, key, days)
    await streams.publish(conn, configuration.hash(), document, clock())


def settings_of(document: Mapping[str, Any]) -> Settings:
    """Return the settings that were published so, as far as they are stored."""
    calendars = {
        name: {key: value for key, value in calendar.items() if key != "days"}
        for name, calendar in document["calendars"].items()
    }
    return Settings.model_validate({**document, "calendars": calendars})


def _named(section: Mapping[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = section[name]
    return found


def hours(calendar: Calendar) -> Hours:
    """Turn a calendar's definition into what the model computes with."""
    return Hours(
        ZoneInfo(calendar.timezone),
        frozenset(calendar.week),
        calendar.opens,
        calendar.closes,
        frozenset(calendar.holidays),
    )
