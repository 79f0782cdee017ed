//! The values of faults as text.

use std::time::Duration;

use jiff::SignedDuration;

/// The value of a fault, as it is written.
pub(crate) trait FaultValue: Sized {
    /// The placeholder in the list of all faults.
    const PLACEHOLDER: &str;

    const EXAMPLE: Self;

    fn read(text: &str) -> Option<Self>;

    fn write(self) -> String;
}

/// A status.
impl FaultValue for u16 {
    const PLACEHOLDER: &str = "STATUS";
    const EXAMPLE: Self = 503;

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|status| (100..1000).contains(status))
    }

    fn write(self) -> String {
        self.to_string()
    }
}

impl FaultValue for Duration {
    const PLACEHOLDER: &str = "TIME";
    const EXAMPLE: Self = Self::from_millis(10);

    fn read(text: &str) -> Option<Self> {
        let time: SignedDuration = text.parse().ok()?;
        time.try_into().ok()
    }

    fn write(self) -> String {
        SignedDuration::try_from(self).map_or_else(|_| format!("{}s", self.as_secs()), |time| format!("{time:#}"))
    }
}

/// A number of bytes.
impl FaultValue for usize {
    const PLACEHOLDER: &str = "BYTES";
    const EXAMPLE: Self = 100_000;

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn write(self) -> String {
        self.to_string()
    }
}
