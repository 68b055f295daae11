//! Times and dates as files hold them.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    fmt::strtime::BrokenDownTime,
    tz::TimeZone,
};

use super::file::Refusal;

/// Reads an instant: with a zone offset as it is; without one in the given time zone, where a time that the clocks show twice is
/// the earlier, and one that they skip is moved on by the gap; a date alone is its first instant there.
#[derive(Debug, Clone)]
pub struct TimeReader {
    pub zone: TimeZone,
    /// In strftime's letters; `None`: ISO 8601.
    pub format: Option<String>,
}

impl TimeReader {
    pub fn instant(&self, text: &str) -> Result<prost_types::Timestamp, Refusal> {
        let instant = match &self.format {
            Some(format) => self.formatted(format, text),
            None => self.iso(text),
        };
        instant.map(to_proto).ok_or_else(|| {
            let expected = self.format.as_deref().unwrap_or("2026-01-31, 2026-01-31T18:05:00 or 2026-01-31T18:05:00+07:00");
            Refusal::row(format!("the time {text:?} is not of the form {expected}"))
        })
    }

    fn iso(&self, text: &str) -> Option<Timestamp> {
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Some(instant);
        }
        if let Ok(date) = text.parse::<Date>()
            && text.len() <= 10
        {
            return self.start_of(date);
        }
        self.local(text.parse::<DateTime>().ok()?)
    }

    fn formatted(&self, format: &str, text: &str) -> Option<Timestamp> {
        let parts = BrokenDownTime::parse(format, text).ok()?;
        if let Ok(instant) = parts.to_timestamp() {
            return Some(instant);
        }
        match parts.to_datetime() {
            Ok(time) => self.local(time),
            Err(_) => self.start_of(parts.to_date().ok()?),
        }
    }

    fn local(&self, time: DateTime) -> Option<Timestamp> {
        Some(time.to_zoned(self.zone.clone()).ok()?.timestamp())
    }

    fn start_of(&self, date: Date) -> Option<Timestamp> {
        Some(date.to_zoned(self.zone.clone()).ok()?.start_of_day().ok()?.timestamp())
    }
}

fn to_proto(instant: Timestamp) -> prost_types::Timestamp {
    let nanoseconds = instant.as_nanosecond();
    let second = 1_000_000_000;
    prost_types::Timestamp {
        seconds: i64::try_from(nanoseconds.div_euclid(second)).expect("an instant's seconds fit 64 bits"),
        nanos: i32::try_from(nanoseconds.rem_euclid(second)).expect("less than a second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(zone: &str, format: Option<&str>, text: &str) -> Option<i64> {
        let reader = TimeReader { zone: TimeZone::get(zone).expect("a zone of the bundled database"), format: format.map(str::to_owned) };
        reader.instant(text).ok().map(|instant| instant.seconds)
    }

    #[test]
    fn times_of_files() {
        let new_york = |text| seconds("America/New_York", None, text);
        assert_eq!(new_york("1997-01-01"), Some(852_094_800));
        assert_eq!(new_york("2017-01-01T15:34:46"), Some(1_483_302_886));
        assert_eq!(new_york("2017-01-01 15:34:46"), Some(1_483_302_886));
        assert_eq!(new_york("2017-01-01T15:34:46Z"), Some(1_483_284_886));
        assert_eq!(new_york("2017-01-01T15:34:46+07:00"), Some(1_483_259_686));
        // The clocks show 01:40:15 twice on this day: the earlier, still in summer time.
        assert_eq!(new_york("2017-11-05T01:40:15"), Some(1_509_860_415));
        assert_eq!(seconds("America/New_York", Some("%m/%d/%Y"), "01/31/1997"), Some(854_686_800));
        assert_eq!(seconds("Asia/Ho_Chi_Minh", Some("%d/%m/%Y %H:%M"), "31/01/2026 18:05"), Some(1_769_857_500));
        for broken in ["", "yesterday", "2017-02-29", "2017-01-01T25:00:00", "01/31/1997"] {
            assert_eq!(new_york(broken), None, "{broken}");
        }
    }
}
