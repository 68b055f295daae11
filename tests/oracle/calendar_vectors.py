#!/usr/bin/env python3
"""Writes tests/it/calendar/vectors.csv: until when points are valid, reckoned by another implementation of zones and calendars.

    python3 tests/oracle/calendar_vectors.py            write the table
    python3 tests/oracle/calendar_vectors.py --check    say whether it is as it was written

Python's datetime and zoneinfo know nothing of what the service is built with. Where a day begins is found by looking at every minute of the
clocks. Zones' rules of the past do not change, so all instants lie in it.
"""

import argparse
import calendar
import datetime
import pathlib
import sys
import zoneinfo

TABLE = pathlib.Path(__file__).resolve().parent.parent / "it/calendar/vectors.csv"
UTC = datetime.timezone.utc
MINUTE = datetime.timedelta(minutes=1)
DAY = datetime.timedelta(days=1)

# A zone, and instants in UTC: next to where its clocks, or its calendar, do something uncommon.
INSTANTS = {
    "UTC": ["2023-12-31T23:59:59", "2024-01-01T00:00:00", "2024-02-29T12:00:00", "2023-02-28T12:00:00", "2024-01-31T00:00:00"],
    # The year ends seven hours before it does in UTC.
    "Asia/Ho_Chi_Minh": ["2023-12-31T16:59:59", "2023-12-31T17:00:00", "2024-03-30T17:00:00", "2024-03-31T16:59:59", "2024-01-30T18:00:00"],
    # Clocks go forward at midnight: the day begins at 01:00.
    "Africa/Cairo": ["2023-04-27T12:00:00", "2023-04-27T21:59:59", "2023-04-27T22:00:00", "2024-04-25T10:00:00", "2023-10-26T20:30:00"],
    "Asia/Beirut": ["2022-03-26T10:00:00", "2022-03-26T22:00:00", "2024-03-30T21:59:59", "2023-10-28T20:59:00", "2022-02-26T10:00:00"],
    "America/Havana": ["2023-03-11T12:00:00", "2023-03-12T04:59:59", "2023-03-12T05:00:00", "2023-11-05T04:30:00", "2022-03-12T12:00:00"],
    "America/Santiago": ["2023-09-02T12:00:00", "2023-09-03T03:59:59", "2023-09-03T04:00:00", "2023-04-02T03:30:00", "2024-08-08T12:00:00"],
    "America/Sao_Paulo": ["2018-11-03T12:00:00", "2018-11-04T02:59:59", "2018-11-04T03:00:00", "2018-02-18T01:30:00", "2018-10-04T12:00:00"],
    "America/Asuncion": ["2023-09-30T12:00:00", "2023-10-01T04:00:00", "2024-03-24T02:30:00", "2023-08-31T12:00:00"],
    "Atlantic/Azores": ["2023-03-25T12:00:00", "2023-03-26T00:59:59", "2023-10-29T00:30:00", "2023-10-29T01:30:00"],
    # Clocks change by night, as in most zones; by half an hour; by a quarter past.
    "America/New_York": ["2024-03-10T06:59:59", "2024-03-10T07:00:00", "2023-11-05T05:30:00", "2023-11-05T06:30:00", "2024-02-29T04:59:59"],
    "Europe/Berlin": ["2024-03-31T00:59:59", "2023-10-29T00:30:00", "2023-12-31T22:59:59", "2023-12-31T23:00:00", "2020-01-31T23:00:00"],
    "Australia/Lord_Howe": ["2023-09-30T15:29:59", "2023-09-30T15:30:00", "2024-04-06T14:45:00", "2023-12-31T12:59:59"],
    "Asia/Kathmandu": ["2023-12-31T18:14:59", "2023-12-31T18:15:00", "2024-02-28T18:15:00"],
    # At both sides of the date line; and Samoa, which crossed it: there was no 30 December 2011.
    "Pacific/Kiritimati": ["2023-12-31T09:59:59", "2023-12-31T10:00:00", "2024-02-29T09:59:59"],
    "Pacific/Pago_Pago": ["2024-01-01T10:59:59", "2024-01-01T11:00:00", "2024-03-01T10:59:59"],
    "Pacific/Apia": ["2011-12-29T12:00:00", "2011-12-30T09:59:59", "2011-12-30T10:00:00", "2011-11-30T12:00:00", "2010-12-30T12:00:00"],
}


def add_months(date, months):
    month = date.year * 12 + date.month - 1 + months
    year, month = month // 12, month % 12 + 1
    return datetime.date(year, month, min(date.day, calendar.monthrange(year, month)[1]))


def days(number):
    return f"after: {{ days: {number} }}", lambda date: date + number * DAY + DAY


def months(number):
    return f"after: {{ months: {number} }}", lambda date: add_months(date, number) + DAY


def end_of(name, length, more):
    def after(date):
        first = datetime.date(date.year, (date.month - 1) // length * length + 1, 1)
        return add_months(first, length * (more + 1))

    return f"end_of_period: {{ period: CALENDAR_PERIOD_{name}, additional_periods: {more} }}", after


def fixed(month, day, least):
    def after(date):
        earliest = date + least * DAY
        for year in (earliest.year, earliest.year + 1):
            last = datetime.date(year, month, min(day, calendar.monthrange(year, month)[1]))
            if last > earliest:
                return last + DAY
        raise AssertionError("a year has this day")

    return f"fixed_date: {{ month: {month}, day: {day}, minimum_days: {least} }}", after


POLICIES = [
    days(1), days(2), days(30), days(365),
    months(1), months(2), months(6), months(11), months(12), months(13),
    end_of("MONTH", 1, 0), end_of("MONTH", 1, 1), end_of("QUARTER", 3, 0), end_of("QUARTER", 3, 3), end_of("HALF_YEAR", 6, 0),
    end_of("YEAR", 12, 0), end_of("YEAR", 12, 1),
    fixed(2, 29, 0), fixed(12, 31, 0), fixed(3, 31, 60), fixed(12, 29, 0),
]  # fmt: skip


def start_of_day(zone, date):
    """The first minute at which the zone's clocks show this date, or a later one."""
    instant = datetime.datetime(date.year, date.month, date.day, tzinfo=UTC) - 27 * 60 * MINUTE
    while instant.astimezone(zone).date() < date:
        instant += MINUTE
    return instant


def table():
    lines = ["zone,earned,policy,expire_time"]
    for name, instants in INSTANTS.items():
        zone = zoneinfo.ZoneInfo(name)
        for text in instants:
            earned = datetime.datetime.fromisoformat(text).replace(tzinfo=UTC)
            for policy, after in POLICIES:
                expires = start_of_day(zone, after(earned.astimezone(zone).date()))
                lines.append(f'{name},{text}Z,"{policy}",{expires:%Y-%m-%dT%H:%M:%SZ}')
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        if TABLE.read_text() != table():
            sys.exit(f"{TABLE} is not what this makes: run it without --check, and see what changed")
        print(f"{TABLE.read_text().count(chr(10)) - 1} vectors are as another implementation reckons them")
    else:
        TABLE.write_text(table())


if __name__ == "__main__":
    main()
