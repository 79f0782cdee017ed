//! The path on which calls are taken.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::error::Error;
use crate::types::Secret;

/// How long a secret segment is. 22 characters of base64 have 128 bits.
const SEGMENT_LEN: std::ops::RangeInclusive<usize> = 22..=128;

/// A folder, and the secret segments that may follow it. Nothing of them is in `Debug`.
pub(super) struct Place {
    /// Ends with a slash.
    folder: String,
    segments: Vec<Secret>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place(..)")
    }
}

impl Place {
    pub(super) fn new(folder: &str, segments: Vec<Secret>) -> Result<Self, Error> {
        if !folder.starts_with('/') || !folder.ends_with('/') || !folder.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = "it is not a path that begins and ends with a slash, without white space";
            return Err(Error::invalid_input("folder", problem));
        }
        let is_segment = |segment: &Secret| {
            let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            SEGMENT_LEN.contains(&segment.expose().len()) && segment.expose().bytes().all(is_safe)
        };
        if !segments.iter().all(is_segment) {
            let (least, most) = (SEGMENT_LEN.start(), SEGMENT_LEN.end());
            let problem = format_args!("it has not {least} to {most} letters, digits, `-` and `_`");
            return Err(Error::invalid_input("segment", problem));
        }
        Ok(Self { folder: folder.to_owned(), segments })
    }

    /// Whether a path leads here. The time does not depend on where a segment differs, nor on which of them it is.
    pub(super) fn is(&self, path: &str) -> bool {
        let Some(segment) = path.strip_prefix(&self.folder) else { return false };
        let is_same = |other: &Secret| verify_slices_are_equal(segment.as_bytes(), other.expose().as_bytes()).is_ok();
        self.segments.iter().fold(false, |found, other| is_same(other) | found)
    }
}
