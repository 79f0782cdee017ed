//! When a line came that is written while a command runs.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// The time of each line: for a person at a terminal the local time, and the date where it changes; for a file or a log date, time
/// and offset.
pub(super) struct LineClock {
    zone: TimeZone,
    is_terminal: bool,
    /// The date of the last line.
    date: Option<Date>,
}

impl LineClock {
    /// A clock for lines that are written to a terminal, or not.
    pub(super) fn new(is_terminal: bool) -> Self {
        Self { zone: TimeZone::system(), is_terminal, date: None }
    }

    /// The date, if a terminal is to show it before this line, and the time of a line that comes now.
    pub(super) fn now(&mut self) -> (Option<Date>, String) {
        self.at(Timestamp::now())
    }

    fn at(&mut self, time: Timestamp) -> (Option<Date>, String) {
        let time = time.to_zoned(self.zone.clone());
        if !self.is_terminal {
            return (None, time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
        }
        let is_another = self.date.replace(time.date()).is_some_and(|before| before != time.date());
        (is_another.then(|| time.date()), time.strftime("%H:%M:%S").to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_when_the_date_changes() {
        test_timeout::start();
        let at = |clock: &mut LineClock, time: &str| {
            let (date, time) = clock.at(time.parse().unwrap());
            (date.map(|date| date.to_string()), time)
        };
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let mut clock = LineClock { zone: zone.clone(), is_terminal: true, date: None };
        let shown = ["2026-10-24T21:59:59Z", "2026-10-24T22:00:00Z", "2026-10-25T02:30:00Z", "2026-10-25T23:00:01Z"]
            .map(|time| at(&mut clock, time));
        let expected = [
            (None, "23:59:59"),
            (Some("2026-10-25"), "00:00:00"),
            (None, "03:30:00"),
            (Some("2026-10-26"), "00:00:01"),
        ];
        assert_eq!(shown, expected.map(|(date, time)| (date.map(str::to_owned), time.to_owned())));

        let mut clock = LineClock { zone, is_terminal: false, date: None };
        for (time, shown) in [
            ("2026-10-24T21:59:59Z", "2026-10-24T23:59:59+02:00"),
            ("2026-10-25T23:00:01Z", "2026-10-26T00:00:01+01:00"),
        ] {
            assert_eq!(at(&mut clock, time), (None, shown.to_owned()));
        }
    }
}
