//! Timestamps as bunq writes them: UTC in microseconds, with a space between date and time, and no zone.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use jiff::civil::DateTime;
use jiff::fmt::StdFmtWrite;
use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::Offset;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::InvalidValue;

/// How many characters a date has.
const DATE_CHARS: usize = "2025-08-13".len();

/// Writes as bunq does. It is the printer of JSON too, so that a program need not have that of `strftime`.
const PRINTER: DateTimePrinter = DateTimePrinter::new().separator(b' ').precision(Some(6));

/// A point in time, as in `2025-08-13 14:45:18.621550`.
///
/// bunq writes no zone and means UTC; a text with a zone is read too. The latest is `9999-12-31 23:59:59.999999`, which
/// some APIs write for "never".
///
/// ```
/// use bunq_partner::Timestamp;
///
/// let created: Timestamp = "2025-08-13 14:45:18.621550".parse()?;
/// assert_eq!(created.as_jiff().to_string(), "2025-08-13T14:45:18.62155Z");
/// assert_eq!(created.to_string(), "2025-08-13 14:45:18.621550");
/// # Ok::<(), bunq_partner::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime);

impl Timestamp {
    /// Returns the time as a [`jiff::Timestamp`]. A time that is later than jiff's last becomes jiff's last.
    pub fn as_jiff(self) -> jiff::Timestamp {
        Offset::UTC.to_timestamp(self.0).unwrap_or(jiff::Timestamp::MAX)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let refused = || InvalidValue::new("timestamp", format_args!("`{text}` is not a moment"));
        if let Ok(moment) = text.parse::<jiff::Timestamp>() {
            return Ok(Self::from(moment));
        }
        // A text without a zone. If it has a zone that cannot be read, it is refused and not taken for UTC.
        let has_zone = text.chars().skip(DATE_CHARS).any(|c| !matches!(c, '0'..='9' | ':' | '.' | ' ' | 'T' | 't'));
        text.parse().ok().filter(|_| !has_zone).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PRINTER.print_datetime(&self.0, StdFmtWrite(f)).map_err(|_| fmt::Error)
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.as_jiff().into()
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(timestamp: jiff::Timestamp) -> Self {
        Self(Offset::UTC.to_datetime(timestamp))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_in_bunqs_form_and_related_forms() {
        test_timeout::start();
        for (text, written) in [
            ("2025-08-13 14:45:18.621550", "2025-08-13 14:45:18.621550"),
            ("2025-08-13 14:45:18", "2025-08-13 14:45:18.000000"),
            ("0099-01-02 03:04:05.999999999", "0099-01-02 03:04:05.999999"),
            ("2025-08-13T14:45:18Z", "2025-08-13 14:45:18.000000"),
            ("2025-08-13T14:45:18.5+02:00", "2025-08-13 12:45:18.500000"),
            ("2025-08-13 14:45:18.5+02:00", "2025-08-13 12:45:18.500000"),
            ("2025-08-13 14:45:18-0200", "2025-08-13 16:45:18.000000"),
            ("2025-08-13T14:45:18+02:00[Europe/Amsterdam]", "2025-08-13 12:45:18.000000"),
            ("9999-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999"),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), written, "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2025-13-01 00:00:00",
            "1755096318",
            "2025-08-13T14:45:18[Europe/Amsterdam]",
            "2025-08-13 14:45:18 CEST",
            "2025-08-13 14:45:18+99:00",
        ] {
            let error = text.parse::<Timestamp>().unwrap_err();
            assert_eq!(error.to_string(), format!("timestamp: `{text}` is not a moment"));
        }
        let never: Timestamp = "9999-12-31 23:59:59.999999".parse().unwrap();
        assert_eq!(never.as_jiff(), jiff::Timestamp::MAX);
    }
}
