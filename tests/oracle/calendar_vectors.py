#!/usr/bin/env python3
"""Writes the tables of tests/it/calendar, reckoned by another implementation of zones and calendars.

    python3 tests/oracle/calendar_vectors.py            write the tables
    python3 tests/oracle/calendar_vectors.py --check    say whether they are as they were written

expiry.csv says until when points are valid; tier_window.csv what tiers count and until when one is held; birthday.csv when a birthday is
celebrated and rewarded, in this year and in the next; voucher.csv from when until when a voucher is valid.

Python's datetime and zoneinfo know nothing of what the service is built with. Where a day begins is found by looking at every minute of the
clocks. Zones' rules of the past do not change, so all instants lie in it.
"""

import argparse
import calendar
import datetime
import functools
import pathlib
import sys
import zoneinfo

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "it/calendar"
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


def on(year, month, day):
    """The day of a year; of one that the month has not the last before it."""
    return datetime.date(year, month, min(day, calendar.monthrange(year, month)[1]))


def end_of(name, length, more):
    def after(date):
        first = datetime.date(date.year, (date.month - 1) // length * length + 1, 1)
        return add_months(first, length * (more + 1))

    return f"end_of_period: {{ period: CALENDAR_PERIOD_{name}, additional_periods: {more} }}", after


def fixed(month, day, least):
    def after(date):
        earliest = date + least * DAY
        for year in (earliest.year, earliest.year + 1):
            last = on(year, month, day)
            if last > earliest:
                return last + DAY
        raise AssertionError("a year has this day")

    return f"fixed_date: {{ month: {month}, day: {day}, minimum_days: {least} }}", after


def idle(number, extension, after):
    text = f"inactivity: {{ months: {number}, activities: [COUNTED_ACTIVITY_PURCHASE], extension: EXTENSION_{extension} }}"
    return text, lambda date: after(date, number)


def all_anew(number):
    return idle(number, "RESTART", lambda date, number: add_months(date, number) + DAY)


def by_month(number):
    return idle(number, "MONTH", lambda date, number: add_months(date.replace(day=1), number + 1))


POLICIES = [
    days(1), days(2), days(30), days(365),
    months(1), months(2), months(6), months(11), months(12), months(13),
    end_of("MONTH", 1, 0), end_of("MONTH", 1, 1), end_of("QUARTER", 3, 0), end_of("QUARTER", 3, 3), end_of("HALF_YEAR", 6, 0),
    end_of("YEAR", 12, 0), end_of("YEAR", 12, 1),
    fixed(2, 29, 0), fixed(12, 31, 0), fixed(3, 31, 60), fixed(12, 29, 0),
    all_anew(1), all_anew(6), by_month(1), by_month(2), by_month(6), by_month(12),
]  # fmt: skip


@functools.cache
def start_of_day(zone, date):
    """The first minute at which the zone's clocks show this date, or a later one."""
    instant = datetime.datetime(date.year, date.month, date.day, tzinfo=UTC) - 27 * 60 * MINUTE
    while instant.astimezone(zone).date() < date:
        instant += MINUTE
    return instant


def instant_of(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=UTC)


def begins(zone, date):
    return f"{start_of_day(zone, date):%Y-%m-%dT%H:%M:%SZ}"


def expiry():
    yield "zone,earned,policy,expire_time"
    for name, instants in INSTANTS.items():
        zone = zoneinfo.ZoneInfo(name)
        for text in instants:
            day = instant_of(text).astimezone(zone).date()
            for policy, after in POLICIES:
                yield f'{name},{text}Z,"{policy}",{begins(zone, after(day))}'


# Of a member's tier: a zone, when the member enrolled, and when it buys what is enough for the tier.
MEMBERSHIPS = [
    # A year ends, and a quarter with it; the second is the same day of UTC and another one of the programme.
    ("UTC", "2023-03-15T12:00:00", "2023-12-31T23:59:59"),
    ("UTC", "2023-03-15T12:00:00", "2024-01-01T00:00:00"),
    ("Asia/Ho_Chi_Minh", "2023-03-15T12:00:00", "2023-12-31T16:59:59"),
    ("Asia/Ho_Chi_Minh", "2023-03-15T12:00:00", "2023-12-31T17:00:00"),
    # Quarters end after 30 and 31 days, and in a zone that is ahead of UTC the evening before.
    ("Asia/Ho_Chi_Minh", "2024-01-02T00:00:00", "2024-03-31T16:59:59"),
    ("Asia/Ho_Chi_Minh", "2024-01-02T00:00:00", "2024-06-30T17:00:00"),
    ("America/New_York", "2024-01-02T12:00:00", "2024-10-01T03:59:59"),
    # An anniversary: the day before it, on it, and that of somebody who enrolled on the evening before as UTC says.
    ("UTC", "2022-05-20T08:00:00", "2024-05-19T23:59:59"),
    ("UTC", "2022-05-20T08:00:00", "2024-05-20T00:00:00"),
    ("Asia/Ho_Chi_Minh", "2022-05-19T18:00:00", "2024-05-19T18:00:00"),
    # Enrolled on 29 February: the anniversary of a common year is the 28th, of a leap year the 29th.
    ("Europe/Berlin", "2020-02-29T09:00:00", "2023-02-27T09:00:00"),
    ("Europe/Berlin", "2020-02-29T09:00:00", "2023-02-28T09:00:00"),
    ("Europe/Berlin", "2020-02-29T09:00:00", "2024-02-28T09:00:00"),
    ("Europe/Berlin", "2020-02-29T09:00:00", "2024-02-29T09:00:00"),
    # Months clamp: backwards from the last days of a month, and forwards.
    ("UTC", "2023-01-31T12:00:00", "2023-03-30T12:00:00"),
    ("UTC", "2023-01-31T12:00:00", "2024-02-28T12:00:00"),
    ("UTC", "2023-01-31T12:00:00", "2024-08-31T12:00:00"),
    # A window or a status ends on a day that begins at 01:00: the second half year of the Azores, Cairo, Beirut, Asuncion, Sao Paulo.
    ("Atlantic/Azores", "2022-03-26T12:00:00", "2022-09-26T12:00:00"),
    ("Africa/Cairo", "2023-01-02T12:00:00", "2023-10-28T12:00:00"),
    ("Asia/Beirut", "2021-03-28T12:00:00", "2021-09-27T12:00:00"),
    ("America/Asuncion", "2022-10-01T12:00:00", "2023-07-01T12:00:00"),
    ("America/Sao_Paulo", "2017-11-04T12:00:00", "2018-08-04T12:00:00"),
    # At both sides of the date line; and where a year ended without its 30 December.
    ("Pacific/Kiritimati", "2023-12-30T10:00:00", "2023-12-31T09:59:59"),
    ("Pacific/Pago_Pago", "2023-03-01T10:59:59", "2024-01-01T10:59:59"),
    ("Pacific/Apia", "2010-12-30T12:00:00", "2011-09-30T12:00:00"),
    ("Pacific/Apia", "2010-12-31T12:00:00", "2011-12-30T09:59:59"),
    ("Pacific/Apia", "2010-12-31T12:00:00", "2011-12-30T10:00:00"),
]  # fmt: skip


def yearly(_, day):
    return datetime.date(day.year, 1, 1), datetime.date(day.year + 1, 1, 1)


def quarterly(_, day):
    first = datetime.date(day.year, (day.month - 1) // 3 * 3 + 1, 1)
    return first, add_months(first, 3)


def membership(enrolled, day):
    anniversaries = [on(year, enrolled.month, enrolled.day) for year in range(day.year - 1, day.year + 2)]
    return max(date for date in anniversaries if date <= day), min(date for date in anniversaries if date > day)


def rolling(number):
    # As long as one of these days lies in it: it has no end of its own.
    return lambda _, day: (add_months(day + DAY, -number), None)


def lifetime(_, day):
    return None, None


def to_end(periods):
    def end(window, enrolled, day):
        for _ in range(periods):
            day = window(enrolled, day)[1]
        return day

    return end


WINDOWS = [
    ("WINDOW_CALENDAR_YEAR", yearly), ("WINDOW_CALENDAR_QUARTER", quarterly), ("WINDOW_MEMBERSHIP_YEAR", membership),
    ("WINDOW_ROLLING_MONTHS, rolling_months: 1", rolling(1)), ("WINDOW_ROLLING_MONTHS, rolling_months: 12", rolling(12)),
    ("WINDOW_LIFETIME", lifetime),
]  # fmt: skip
PERIODS = [("VALIDITY_END_OF_PERIOD", to_end(1)), ("VALIDITY_END_OF_NEXT_PERIOD", to_end(2))]
VALIDITIES = [
    ("VALIDITY_MONTHS, validity_months: 6", lambda window, enrolled, day: add_months(day, 6)),
    ("VALIDITY_MONTHS, validity_months: 3", lambda window, enrolled, day: add_months(day, 3)),
    ("VALIDITY_UNLIMITED", lambda window, enrolled, day: None),
]


def tier_window():
    yield "zone,enrolled,bought,policy,window_start,window_end,end_time,review_time"
    for name, enrolled_text, text in MEMBERSHIPS:
        zone = zoneinfo.ZoneInfo(name)
        enrolled, day = (instant_of(text).astimezone(zone).date() for text in (enrolled_text, text))
        for window_name, window in WINDOWS:
            first, last = window(enrolled, day)
            has_periods = last is not None
            for validity_name, validity in (PERIODS if has_periods else []) + VALIDITIES:
                end = validity(window, enrolled, day)
                for grace in (0, 30) if end else (0,):
                    policy = f"window: {window_name}, validity: {validity_name}" + (f", grace_days: {grace}" if grace else "")
                    ends = f"{begins(zone, end)},{begins(zone, end + grace * DAY)}" if end else ","
                    yield f'{name},{enrolled_text}Z,{text}Z,"{policy}",{first or ""},{last or ""},{ends}'


# A zone, when the date is entered, and the birthday.
BIRTHDAYS = [
    # Born on 29 February: entered before and after it in common years, in leap years, and in that before the next one.
    ("UTC", "2023-02-01T12:00:00", (2, 29)),
    ("UTC", "2023-02-28T12:00:00", (2, 29)),
    ("UTC", "2023-03-01T12:00:00", (2, 29)),
    ("UTC", "2024-02-01T12:00:00", (2, 29)),
    ("UTC", "2024-02-29T12:00:00", (2, 29)),
    ("Asia/Ho_Chi_Minh", "2023-02-27T18:00:00", (2, 29)),
    # Windows over New Year, seen from both sides of it; in a zone where the year ends earlier.
    ("UTC", "2023-12-20T12:00:00", (12, 31)),
    ("UTC", "2024-01-02T12:00:00", (12, 31)),
    ("UTC", "2023-12-30T12:00:00", (1, 1)),
    ("UTC", "2024-01-03T12:00:00", (1, 2)),
    ("Asia/Ho_Chi_Minh", "2023-12-31T17:00:01", (12, 31)),
    ("Asia/Ho_Chi_Minh", "2023-12-31T16:59:59", (12, 31)),
    ("Asia/Ho_Chi_Minh", "2023-12-31T16:59:59", (1, 1)),
    # The last and the first day of a month, on which the window of a month turns.
    ("Europe/Berlin", "2023-04-30T21:59:59", (4, 30)),
    ("Europe/Berlin", "2023-04-30T22:00:01", (4, 30)),
    ("Europe/Berlin", "2023-03-20T12:00:00", (3, 31)),
    # The day begins at 01:00, for daylight saving time takes its first hour.
    ("America/Sao_Paulo", "2018-10-01T12:00:00", (11, 4)),
    ("America/Sao_Paulo", "2017-10-01T12:00:00", (10, 15)),
    ("Asia/Beirut", "2022-03-01T12:00:00", (3, 27)),
    ("Africa/Cairo", "2023-04-01T12:00:00", (4, 28)),
    ("America/Asuncion", "2023-09-01T12:00:00", (10, 1)),
    ("Atlantic/Azores", "2023-03-01T12:00:00", (3, 26)),
    ("America/Havana", "2023-03-01T12:00:00", (3, 12)),
    ("America/Santiago", "2023-09-01T12:00:00", (9, 3)),
    # Its first hour comes twice; and clocks that go back a minute after midnight show the day before once more.
    ("Atlantic/Azores", "2023-10-01T12:00:00", (10, 29)),
    ("America/Havana", "2023-11-01T12:00:00", (11, 5)),
    ("America/St_Johns", "2010-11-01T12:00:00", (11, 7)),
    # At both sides of the date line the same birthday is a day apart.
    ("Pacific/Kiritimati", "2023-05-15T12:00:00", (6, 1)),
    ("Pacific/Pago_Pago", "2023-05-15T12:00:00", (6, 1)),
    ("Pacific/Kiritimati", "2024-02-29T10:00:01", (2, 29)),
    ("Pacific/Pago_Pago", "2024-02-29T10:59:59", (2, 28)),
    # Samoa had no 30 December 2011: who was born on that day, and who celebrates around it.
    ("Pacific/Apia", "2011-12-01T12:00:00", (12, 30)),
    ("Pacific/Apia", "2010-12-31T12:00:00", (12, 30)),
    ("Pacific/Apia", "2011-12-01T12:00:00", (12, 29)),
    ("Pacific/Apia", "2011-12-01T12:00:00", (12, 31)),
    ("Pacific/Apia", "2011-12-30T10:00:01", (12, 29)),
]  # fmt: skip


def birthday_in(year, month, day, in_march):
    return datetime.date(year, 3, 1) if in_march and (month, day) == (2, 29) and not calendar.isleap(year) else on(year, month, day)


def around(before, after):
    return f"window: WINDOW_AROUND, days_before: {before}, days_after: {after}", lambda day: (day - before * DAY, day + (after + 1) * DAY)


def month_of(birth):
    return lambda year, _: (datetime.date(year, birth[0], 1), add_months(datetime.date(year, birth[0], 1), 1))


def of_day(days):
    return lambda birth: lambda year, in_march: days(birthday_in(year, *birth, in_march))


CELEBRATIONS = [
    ("window: WINDOW_DAY", of_day(lambda day: (day, day + DAY))),
    ("window: WINDOW_MONTH", month_of),
    *[(text, of_day(days)) for text, days in (around(3, 3), around(0, 30), around(14, 0))],
]
LATE = ["", ", late_date: LATE_DATE_AT_ONCE", ", notice_days: 30"]
LEAP_DAYS = ["", ", leap_day: LEAP_DAY_MARCH_1"]


def birthday():
    yield "zone,entered,birth_date,policy,due_time,start_time,end_time,next_start_time,next_end_time"
    for name, text, birth in BIRTHDAYS:
        zone, entered = zoneinfo.ZoneInfo(name), instant_of(text)
        year = entered.astimezone(zone).year
        for celebration, of in CELEBRATIONS:
            days = of(birth)
            for late in LATE:
                for leap in LEAP_DAYS if birth == (2, 29) else [""]:
                    notice = 30 * DAY if "notice" in late else 0 * DAY
                    for which in range(year - 1, year + 3):
                        first, after = days(which, bool(leap))
                        start, end = start_of_day(zone, first), start_of_day(zone, after)
                        in_time = entered <= start_of_day(zone, first - notice)
                        if in_time or "AT_ONCE" in late and entered < end:
                            break
                    else:
                        raise AssertionError("one of these years is in time")
                    shown = [f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in (max(start, entered), start, end)]
                    shown += [begins(zone, date) for date in days(which + 1, bool(leap))]
                    yield f'{name},{text}Z,{birth[0]:02}-{birth[1]:02},"{celebration}{late}{leap}",{",".join(shown)}'


VOUCHERS = [
    *[(f"valid_days: {number}", lambda day, number=number: day + number * DAY) for number in (0, 1, 30, 365)],
    *[(f"valid_months: {number}", lambda day, number=number: add_months(day, number)) for number in (1, 3, 12)],
]


def voucher():
    yield "zone,issued,kind,valid_from_time,expire_time"
    for name, instants in INSTANTS.items():
        zone = zoneinfo.ZoneInfo(name)
        for text in instants:
            day = instant_of(text).astimezone(zone).date()
            for kind, last in VOUCHERS:
                # One that is valid later is valid through the same day.
                for after in (0, 1) if kind not in ("valid_days: 0",) else (0,):
                    said = kind + (f", after_days: {after}" if after else "")
                    yield f'{name},{text}Z,"{said}",{begins(zone, day + after * DAY)},{begins(zone, last(day) + DAY)}'


TABLES = [expiry, tier_window, birthday, voucher]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    is_check = parser.parse_args().check
    for table in TABLES:
        path, lines = FOLDER / f"{table.__name__}.csv", list(table())
        if is_check and path.read_text().splitlines() != lines:
            sys.exit(f"{path} is not what this makes: run it without --check, and see what changed")
        if not is_check:
            path.write_text("\n".join(lines) + "\n")
        print(f"{table.__name__}: {len(lines) - 1} vectors")


if __name__ == "__main__":
    main()
